"""Training: toy words are learned, a resumed run ends where an unbroken one does, nothing is dropped in silence."""

import csv
import time
from hashlib import sha256

import keras
import numpy as np
import pytest

import htr
from htr.config import ModelConfig, TrainConfig
from tests.toy import toy_dataset

NETWORK = ModelConfig(
    height=32, blocks=((12, 2, 2, 1), (24, 2, 2, 1), (48, 2, 1, 1)), columns=64, recurrent=(64, 64), dropout=0.1
)
SHORT = {"batch_size": 16, "ema": 0.9, "augment": 0.5, "seed": 1}


def weights(folder):
    with np.load(folder / "weights.npz") as file:
        return {name: file[name] for name in file.files}


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("objective", "epochs"), [("ctc", 4), ("crossentropy", 4)])
def test_toy_words_are_learned_in_a_minute(objective, epochs, tmp_path):
    train, test = toy_dataset(4000), toy_dataset(200, seed=9)
    settings = TrainConfig(objective, epochs=epochs, minutes=0.9, learning_rate=4e-3, ema=0.9, augment=0.0)
    reader = htr.train(train, out=tmp_path, model=NETWORK, training=settings)
    assert htr.evaluate(reader, test).cer < 0.05
    assert float(table(tmp_path / "history.csv")[-1]["seconds"]) < 60


def test_resumed_run_is_bit_for_bit_the_unbroken_one(tmp_path):
    train, validation = toy_dataset(60), toy_dataset(20, seed=5)
    options = {"model": NETWORK, "validation": validation}
    htr.train(train, **options, out=tmp_path / "whole", training=TrainConfig(epochs=4, **SHORT))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        htr.train(train, **options, out=broken, training=TrainConfig(epochs=4, **SHORT), callbacks=[Stop()])
    htr.train(train, **options, out=broken, training=TrainConfig(epochs=4, **SHORT), resume=True)

    for name, array in weights(tmp_path / "whole").items():
        np.testing.assert_array_equal(array, weights(broken)[name], err_msg=name)
    rows = [table(folder / "history.csv") for folder in (tmp_path / "whole", broken)]
    for a, b in zip(*rows, strict=True):
        assert {k: v for k, v in a.items() if "seconds" not in k} == {k: v for k, v in b.items() if "seconds" not in k}
    with np.load(tmp_path / "whole" / "state.npz") as a, np.load(broken / "state.npz") as b:
        for name in a.files:
            if name != "state":
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_begun_run_is_not_overwritten(tmp_path):
    train = toy_dataset(20)
    htr.train(train, out=tmp_path, model=NETWORK, training=TrainConfig(epochs=1, **SHORT))
    with pytest.raises(ValueError, match="already holds a run; go on with --resume"):
        htr.train(train, out=tmp_path, model=NETWORK, training=TrainConfig(epochs=1, **SHORT))
    with pytest.raises(ValueError, match="other settings .seed."):
        htr.train(
            train, out=tmp_path, model=NETWORK, training=TrainConfig(epochs=2, **{**SHORT, "seed": 2}), resume=True
        )


def test_rows_that_cannot_be_learned_stop_the_run_or_are_listed(tmp_path):
    rows = toy_dataset(12).to_list()
    features = toy_dataset(1).features
    rows[2]["text"], rows[5]["image"]["bytes"] = "a" * 200, b"spoiled"
    dataset = type(toy_dataset(1)).from_list(rows, features=features)
    settings = TrainConfig(epochs=1, **SHORT)
    with pytest.raises(ValueError, match="2 of 12 training rows cannot be used .*needs 399 frames.*--skip-bad"):
        htr.train(dataset, out=tmp_path / "a", model=NETWORK, training=settings)
    assert not (tmp_path / "a").exists()
    reader = htr.train(dataset, out=tmp_path / "b", model=NETWORK, training=settings, skip_bad=True)
    listed = table(tmp_path / "b" / "problems.csv")
    assert [int(row["row"]) for row in listed] == [2, 5] and reader.training["words"] == 10


def test_fine_tuning_keeps_the_classes_that_match(tmp_path):
    first = htr.train(toy_dataset(20), out=tmp_path / "a", model=NETWORK, training=TrainConfig(epochs=1, **SHORT))
    rows = [{**row, "text": row["text"].replace("a", "à")} for row in toy_dataset(20).to_list()]
    changed = type(toy_dataset(1)).from_list(rows, features=toy_dataset(1).features)
    settings = TrainConfig(epochs=1, learning_rate=1e-9, **SHORT)
    second = htr.train(changed, out=tmp_path / "b", init=tmp_path / "a", training=settings)
    assert "à" in second.charset.characters and "a" not in second.charset.characters
    old, new = weights(tmp_path / "a")["logits/bias"], weights(tmp_path / "b")["logits/bias"]
    for character in "ben":
        i, j = first.charset.encode(character)[0], second.charset.encode(character)[0]
        assert new[j] == pytest.approx(old[i], abs=1e-5)


def test_validation_reads_as_a_user_does(tmp_path):
    train, validation = toy_dataset(40), toy_dataset(30, seed=4)
    reader = htr.train(train, validation, out=tmp_path, model=NETWORK, training=TrainConfig(epochs=2, **SHORT))
    assert htr.evaluate(reader, validation).cer == pytest.approx(reader.training["validation_cer"], abs=1e-12)


def test_minutes_end_a_run_and_a_finished_run_stays(tmp_path):
    train = toy_dataset(40)
    settings = TrainConfig(minutes=0.05, **SHORT)
    begin = time.monotonic()
    htr.train(train, out=tmp_path, model=NETWORK, training=settings)
    assert time.monotonic() - begin < 60
    before = sha256((tmp_path / "state.npz").read_bytes()).hexdigest()
    htr.train(train, out=tmp_path, model=NETWORK, training=settings, resume=True)
    assert sha256((tmp_path / "state.npz").read_bytes()).hexdigest() == before


def test_run_without_progress_stops_early(tmp_path):
    settings = TrainConfig(epochs=50, patience=2, learning_rate=1e-12, **SHORT)
    htr.train(toy_dataset(20), toy_dataset(10, seed=3), out=tmp_path, model=NETWORK, training=settings)
    assert len(table(tmp_path / "history.csv")) <= 4


def test_mixed_precision_trains_a_reader_that_loads_in_float32(tmp_path):
    settings = TrainConfig(epochs=1, mixed_precision=True, **SHORT)
    reader = htr.train(toy_dataset(20), toy_dataset(10, seed=3), out=tmp_path, model=NETWORK, training=settings)
    assert reader.model.dtype_policy.name == "float32" and keras.config.dtype_policy().name == "float32"
    assert all(np.isfinite(array).all() for array in weights(tmp_path).values())

"""The network: padding cannot be seen in it, and it says how many frames it gives."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from htr.config import ModelConfig, preset
from htr.images import PAD
from htr.model import build_model

SMALL = ModelConfig(height=16, blocks=((4, 2, 2, 1), (6, 2, 2, 2)), columns=8, recurrent=(6, 6), dropout=0.3)


def images(widths, height=16, extra=0):
    rng = np.random.default_rng(0)
    batch = np.full((len(widths), height, max(widths) + extra, 1), PAD, np.float32)
    for row, width in enumerate(widths):
        batch[row, :, :width, 0] = rng.random((height, width))
    return batch


def run(model, batch, **options):
    return keras.ops.convert_to_numpy(model(batch, **options))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build_model(SMALL, 9)


@pytest.mark.parametrize("extra", [1, 2, 7, 64, 300])
@pytest.mark.parametrize("width", [21, 24])
def test_extra_columns_change_no_valid_frame(model, width, extra):
    alone = run(model, images([width]))
    wide = run(model, images([width], extra=extra))
    frames = SMALL.frames(width)
    assert alone.shape == (1, frames, 9)
    np.testing.assert_allclose(wide[:, :frames], alone, atol=1e-5 if keras.backend.backend() == "tensorflow" else 1e-4)


def test_a_word_reads_the_same_beside_a_longer_one(model):
    batch = images([20, 33])
    together = run(model, batch)
    alone = run(model, batch[:1, :, :20])
    np.testing.assert_allclose(together[:1, : SMALL.frames(20)], alone, atol=1e-5)


def test_blank_paper_inside_a_word_is_not_padding(model):
    batch = images([40])
    batch[:, :, 12:28] = 0
    logits = model(batch)
    assert np.all(keras.ops.convert_to_numpy(logits._keras_mask))


def test_dropout_does_not_depend_on_the_padded_width(model):
    before = model.get_weights()

    def noisy(batch):
        model.set_weights(before)  # a training step moves the batch statistics
        for layer in model.layers:
            if hasattr(layer, "seed_generator"):
                layer.seed_generator.state.assign([7, 0])
        return run(model, batch, training=True)

    narrow, wide = noisy(images([22, 18])), noisy(images([22, 18], extra=50))
    np.testing.assert_allclose(wide[:, :5], narrow[:, :5], atol=1e-4)


def test_backward_half_of_the_last_frame_does_not_see_the_first():
    keras.utils.set_random_seed(0)
    whole = build_model(SMALL, 9)
    lstm = keras.Model(whole.input, whole.get_layer("bilstm1").output)
    batch = images([64])
    poked = batch.copy()
    poked[:, :, :4] = 1 - poked[:, :, :4]
    before, after = run(lstm, batch), run(lstm, poked)
    assert np.abs(after[0, -1, 6:] - before[0, -1, 6:]).max() == 0
    assert np.abs(after[0, -1, :6] - before[0, -1, :6]).max() > 0


def test_tiny_has_about_0_8_million_parameters():
    assert 0.6e6 < build_model(preset("tiny"), 100).count_params() < 1.0e6


@pytest.mark.parametrize("switch", ["learned_mask", "learned_fill", "mask_channel"])
def test_switches_keep_padding_out_and_take_holes(switch):
    config = ModelConfig(height=16, blocks=((4, 2, 2, 1),), columns=8, recurrent=(4,), **{switch: True})
    network, batch = build_model(config, 5), images([30])
    if switch != "learned_mask":
        batch[:, 4:8, 5:9] = np.nan  # a hole in the picture, not padding
    wide = np.pad(batch, ((0, 0), (0, 0), (0, 9), (0, 0)), constant_values=PAD)
    narrow, wide = run(network, batch), run(network, wide)
    assert np.isfinite(narrow).all()
    np.testing.assert_allclose(wide[:, : narrow.shape[1]], narrow, atol=1e-5)


def test_mask_channel_tells_a_hole_from_paper():
    config = ModelConfig(height=16, blocks=((4, 2, 2, 1),), columns=8, recurrent=(4,), mask_channel=True)
    network, paper = build_model(config, 5), images([30])
    paper[:, 4:8, 5:9] = 0
    hole = paper.copy()
    hole[:, 4:8, 5:9] = np.nan
    assert np.abs(run(network, hole) - run(network, paper)).max() > 1e-4


def test_model_survives_keras_save_and_load_in_a_new_process(model, tmp_path):
    path, batch = tmp_path / "reader.keras", images([21, 30])
    model.save(path)
    np.save(tmp_path / "images.npy", batch)
    code = (
        "import sys, keras, numpy as np, htr.model, htr.objectives\n"
        f"model = keras.models.load_model({str(path)!r})\n"
        f"np.save({str(tmp_path / 'logits.npy')!r}, model.predict_on_batch(np.load({str(tmp_path / 'images.npy')!r})))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.predict_on_batch(batch), atol=1e-6)

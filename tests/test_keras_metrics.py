import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htr.decoding import best_paths, spellings
from htr.keras_metrics import CharacterErrorRate
from htr.losses import MaskedSparseCrossentropy
from htr.masking import PaddingMask
from htr.metrics import cer


def logits_of(*paths):
    return np.eye(5, dtype=np.float32)[np.array(paths)]


def rate(labels, logits, reading="path"):
    metric = CharacterErrorRate(reading=reading)
    metric.update_state(np.array(labels), logits)
    return float(metric.result())


def test_paths_by_hand():
    assert rate([[2, 3, 0]], logits_of([2, 2, 0, 3])) == 0
    assert rate([[2, 2, 0]], logits_of([2, 0, 2, 0])) == 0
    assert rate([[2, 2, 0]], logits_of([2, 2, 0, 0])) == 0.5
    assert rate([[2, 3, 4]], logits_of([3, 0, 0, 4])) == pytest.approx(1 / 3)
    assert rate([[2, 3, 4], [2, 0, 0]], logits_of([0, 0, 0, 0], [2, 3, 4, 2])) == pytest.approx(6 / 4)


def test_spellings_by_hand():
    assert rate([[2, 2, 0]], logits_of([2, 2, 1, 4]), "spelling") == 0
    assert rate([[2, 2, 0]], logits_of([2, 3, 4, 1]), "spelling") == 1


def test_it_adds_up_over_batches_and_starts_anew():
    metric = CharacterErrorRate()
    metric.update_state(np.array([[2]]), logits_of([3]))
    metric.update_state(np.array([[2, 3, 4]]), logits_of([2, 3, 4]))
    assert float(metric.result()) == 0.25
    metric.reset_state()
    assert np.isnan(float(metric.result()))
    metric.update_state(np.array([[2], [3]]), logits_of([3], [3]), sample_weight=np.array([1, 3]))
    assert float(metric.result()) == 0.25


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["path", "spelling"]))
def test_it_agrees_with_the_decoders_and_editdistance(seed, reading):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 7, 5)).astype("float32")
    labels = rng.integers(2, 5, (4, 6)) * (np.arange(6) < np.array([[6], [3], [1], [0]]))
    read = (best_paths if reading == "path" else spellings)(list(logits))
    texts = [
        ["".join(map(str, row)) for row in rows] for rows in ([row[row > 0] for row in labels], [r.ids for r in read])
    ]
    assert rate(labels, logits, reading) == pytest.approx(cer(*texts), rel=1e-6)


def test_frames_outside_the_mask_are_not_read_in_a_compiled_model():
    inputs = keras.Input((1, None, 5))
    dense = keras.layers.Dense(5, name="dense")
    model = keras.Model(inputs, dense(Frames()(PaddingMask()(inputs))))
    dense.set_weights([np.eye(5), np.array([0, 0, 0, 0, 0.5])])  # padding alone would read as class 4
    images = np.full((2, 1, 6, 5), -1, dtype=np.float32)
    images[0, 0, :3], images[1, 0, :1] = logits_of([2, 0, 3])[0], logits_of([4])[0]
    model.compile("sgd", loss=MaskedSparseCrossentropy(), metrics=[CharacterErrorRate()])
    labels = np.array([[2, 3, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0]])
    assert model.evaluate(images, labels, verbose=0, return_dict=True)["cer"] == 0


class Frames(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, features):
        return features[:, 0]


def test_it_comes_back_from_its_config_and_refuses_another_reading():
    config = keras.saving.serialize_keras_object(CharacterErrorRate(reading="spelling"))
    assert config["registered_name"] == "htr>CharacterErrorRate"
    assert keras.saving.deserialize_keras_object(config).reading == "spelling"
    with pytest.raises(ValueError, match="reading is 'beam', it must be one of path, spelling"):
        CharacterErrorRate(reading="beam")

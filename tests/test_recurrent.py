"""The bidirectional LSTM without a mask in its loop gives what Keras' own gives with one."""

import keras
import numpy as np
import pytest

from htr.recurrent import MaskedBidirectional
from tests.gradients import gradient

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(3, 7, 5)).astype("float32")
MASK = np.arange(7)[None] < np.array([[7], [4], [1]])


def pair():
    ours, stock = MaskedBidirectional(lstm(), name="ours"), keras.layers.Bidirectional(lstm(), name="stock")
    ours(FEATURES), stock(FEATURES)
    stock.set_weights(ours.get_weights())
    assert [w.path.split("/", 1)[1] for w in ours.weights] == [w.path.split("/", 1)[1] for w in stock.weights]
    return ours, stock


def lstm():
    return keras.layers.LSTM(4, return_sequences=True, name="lstm")


@pytest.mark.parametrize("mask", [MASK, None], ids=["masked", "whole"])
def test_valid_frames_are_those_of_keras_with_a_mask(mask):
    ours, stock = pair()
    got, expected = (keras.ops.convert_to_numpy(layer(FEATURES, mask=mask)) for layer in (ours, stock))
    assert np.isfinite(got).all()
    valid = MASK if mask is not None else np.ones_like(MASK)
    np.testing.assert_allclose(got[valid], expected[valid], atol=1e-6)


def test_gradients_are_those_of_keras_and_none_comes_from_padding():
    ours, stock = pair()

    def value(layer):
        def of(x):
            outputs = keras.ops.where(MASK[..., None], layer(x, mask=MASK), 0.0)
            return keras.ops.sum(keras.ops.square(outputs))

        return of

    (got,), (expected,) = gradient(value(ours), FEATURES), gradient(value(stock), FEATURES)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (got[~MASK] == 0).all()


def test_it_survives_saving(tmp_path):
    inputs = keras.Input((None, 5))
    model = keras.Model(inputs, MaskedBidirectional(lstm(), name="both")(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict_on_batch(FEATURES), model.predict_on_batch(FEATURES))


def test_other_layers_are_refused():
    with pytest.raises(ValueError, match="takes an LSTM with return_sequences=True"):
        MaskedBidirectional(keras.layers.LSTM(4))

import math

import keras
import numpy as np
import pytest
from keras import ops

from htr import losses
from htr.losses import (
    HeatmapLoss,
    MaskedCrossentropy,
    MaskedLoss,
    MaskedSparseCrossentropy,
    MaskedSquaredError,
    heatmap_loss,
    masked_crossentropy,
    masked_loss,
    masked_sparse_crossentropy,
    masked_squared_error,
)
from htr.masking import MaskedConv2D, PaddingMask
from tests.gradients import gradient

JUNK = (0.0, -1.0, 1e30, -1e30, math.inf, -math.inf, math.nan)
# two words, of 2 frames and of 1, over 3 classes
PROBABILITIES = np.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], [[0.2, 0.2, 0.6], [1, 1, 1]]], dtype=np.float32)
LABELS = np.array([[1, 2], [2, 0]])
EACH = [[-math.log(0.25), -math.log(0.1)], [-math.log(0.6), 0]]


def array(tensor):
    return ops.convert_to_numpy(tensor)


def number(tensor):
    return float(array(tensor))


# --- by hand


@pytest.mark.parametrize("from_logits", [True, False])
def test_sparse_crossentropy_by_hand(from_logits):
    predictions = np.log(PROBABILITIES) + 7 if from_logits else PROBABILITIES

    def loss(reduction):
        return array(masked_sparse_crossentropy(LABELS, predictions, from_logits=from_logits, reduction=reduction))

    assert loss("none") == pytest.approx(np.array(EACH), rel=1e-6)
    assert loss("sequence") == pytest.approx(np.sum(EACH, axis=1), rel=1e-6)
    assert loss("sum") == pytest.approx(np.sum(EACH), rel=1e-6)
    assert loss("mean") == pytest.approx(np.sum(EACH) / 3, rel=1e-6)


def test_a_mask_alone_decides_where_it_is_given():
    labels, mask = np.array([[0, 1]]), np.array([[True, False]])
    assert number(masked_sparse_crossentropy(labels, PROBABILITIES[:1], mask, from_logits=False)) == pytest.approx(
        math.log(2)
    )


def test_another_padding_value_frees_class_0():
    labels = np.array([[0, -1]])
    loss = masked_sparse_crossentropy(labels, PROBABILITIES[:1], padding=-1, from_logits=False)
    assert number(loss) == pytest.approx(math.log(2))


def test_one_hot_crossentropy_by_hand():
    one_hot = np.eye(3)[LABELS] * (LABELS > 0)[..., None]
    for predictions, from_logits in ((PROBABILITIES, False), (np.log(PROBABILITIES), True)):
        loss = masked_crossentropy(one_hot, predictions, from_logits=from_logits, reduction="none")
        assert array(loss) == pytest.approx(np.array(EACH), rel=1e-6)


def test_binary_crossentropy_is_divided_by_the_sum_of_the_mask():
    truth, guess = np.array([1.0, 0, 1]).reshape(1, 1, 3, 1), np.array([0.5, 0.25, 0.1]).reshape(1, 1, 3, 1)
    expected = (math.log(2) - math.log(0.75)) / 2
    assert number(masked_loss(truth, guess, np.array([[1, 1, 0]]))) == pytest.approx(expected)
    assert number(masked_loss(truth, guess, np.array([1, 1, 0]).reshape(1, 1, 3, 1))) == pytest.approx(expected)
    logits = np.log(guess / (1 - guess))
    assert number(masked_loss(truth, logits, np.array([[1, 1, 0]]), from_logits=True)) == pytest.approx(expected)
    weighed = (2 * math.log(2) - 0.5 * math.log(0.75)) / 2.5
    assert number(masked_loss(truth, guess, np.array([[2, 0.5, 0]]))) == pytest.approx(weighed)


def test_squared_error_of_words_and_of_pixels_by_hand():
    truth = np.zeros((1, 2, 1, 2, 1))  # a line of two words, each 1 high and 2 wide
    guess = np.array([1.0, 2, 3, 4]).reshape(truth.shape)
    assert number(masked_squared_error(truth, guess, np.array([[1, 0]]))) == pytest.approx(2.5)
    pixels = np.array([1, 0, 0, 1]).reshape(truth.shape)
    assert number(masked_squared_error(truth, guess, pixels)) == pytest.approx(8.5)
    assert array(masked_squared_error(truth, guess, pixels, reduction="sequence")).tolist() == [17]
    assert array(masked_squared_error(truth, guess, pixels, reduction="none")).ravel().tolist() == [1, 0, 0, 16]


def test_heatmaps_leave_their_padding_value_out():
    truth, guess = np.array([0.5, 1, -100]).reshape(1, 1, 3, 1), np.array([0.25, 0.5, 0.5]).reshape(1, 1, 3, 1)
    assert number(heatmap_loss(truth, guess)) == pytest.approx((0.0625 + 0.25) / 2)
    expected = (-0.5 * math.log(0.25) - 0.5 * math.log(0.75) + math.log(2)) / 2
    assert number(heatmap_loss(truth, guess, kind="crossentropy")) == pytest.approx(expected)
    truth[0, 0, 2] = math.nan
    assert number(heatmap_loss(truth, guess, hole=math.nan)) == pytest.approx((0.0625 + 0.25) / 2)


def test_unmasked_losses_are_those_of_keras():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 5, 4)).astype("float32"), rng.integers(1, 4, (3, 5))
    stock = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert number(masked_sparse_crossentropy(labels, logits)) == pytest.approx(number(stock), rel=1e-6)
    truth, guess = (rng.random((2, 3, 4, 1), dtype=np.float32) for _ in range(2))
    for ours, stock in (
        (masked_loss, keras.losses.BinaryCrossentropy()),
        (masked_squared_error, keras.losses.MeanSquaredError()),
    ):
        value = ours(truth, guess, np.ones((2, 3, 4, 1)))
        assert number(value) == pytest.approx(number(stock(truth, guess)), rel=1e-6)


# --- padding has no part


def padded_cases(junk, extra):
    """name -> (loss of predictions, predictions unpadded, the same padded, loss of those)."""
    rng = np.random.default_rng(1)

    def grown(values, fill, axis=1):
        return np.concatenate([values, np.full_like(np.repeat(values[:, :1], extra, axis=axis), fill)], axis=axis)

    logits, labels = rng.normal(size=(2, 4, 5)).astype("float32"), rng.integers(1, 5, (2, 4)).astype("float32")
    one_hot, probabilities = np.eye(5, dtype=np.float32)[labels.astype(int)], array(ops.softmax(logits))
    mask, words = grown(np.ones((2, 4), dtype=np.float32), 0), rng.random((2, 4, 3, 2, 1), dtype=np.float32)
    guess = rng.random((2, 4, 3, 2, 1), dtype=np.float32) * 0.8 + 0.1
    wide_logits, wide_probabilities, wide_guess = (grown(values, junk) for values in (logits, probabilities, guess))
    sparse, categorical = masked_sparse_crossentropy, masked_crossentropy
    ones = np.ones((2, 4))
    return {
        "labels": (lambda p: sparse(labels, p), logits, wide_logits, lambda p: sparse(grown(labels, 0), p)),
        "labels and mask": (
            lambda p: sparse(labels, p),
            logits,
            wide_logits,
            lambda p: sparse(grown(labels, junk), p, mask),
        ),
        "probabilities": (
            lambda p: sparse(labels, p, from_logits=False),
            probabilities,
            wide_probabilities,
            lambda p: sparse(grown(labels, 0), p, from_logits=False),
        ),
        "one-hot": (
            lambda p: categorical(one_hot, p),
            logits,
            wide_logits,
            lambda p: categorical(grown(one_hot, 0), p),
        ),
        "one-hot and mask": (
            lambda p: categorical(one_hot, p, from_logits=False),
            probabilities,
            wide_probabilities,
            lambda p: categorical(grown(one_hot, junk), p, mask, from_logits=False),
        ),
        "binary": (
            lambda p: masked_loss(words, p, ones),
            guess,
            wide_guess,
            lambda p: masked_loss(grown(words, junk), p, mask),
        ),
        "squared": (
            lambda p: masked_squared_error(words, p, ones),
            guess,
            wide_guess,
            lambda p: masked_squared_error(grown(words, junk), p, mask),
        ),
        "heatmap": (lambda p: heatmap_loss(words, p), guess, wide_guess, lambda p: heatmap_loss(grown(words, -100), p)),
        "heatmap crossentropy": (
            lambda p: heatmap_loss(words, p, kind="crossentropy"),
            guess,
            wide_guess,
            lambda p: heatmap_loss(grown(words, -100), p, kind="crossentropy"),
        ),
    }


@pytest.mark.parametrize("name", padded_cases(0.0, 1))
def test_padding_changes_neither_loss_nor_gradient(name):
    for junk in JUNK:
        for extra in (1, 300) if junk == JUNK[-1] else (3,):
            alone, predictions, padded, wide = padded_cases(junk, extra)[name]
            assert number(wide(padded)) == pytest.approx(number(alone(predictions)), rel=1e-6), junk
            (slope,), (wide_slope,) = gradient(alone, predictions), gradient(wide, padded)
            assert not wide_slope[:, 4:].any() and np.isfinite(wide_slope).all(), junk
            assert wide_slope[:, :4] == pytest.approx(slope, rel=1e-5, abs=1e-8), junk


@pytest.mark.parametrize("junk", JUNK)
def test_a_batch_of_padding_alone_costs_nothing_and_has_no_gradient(junk):
    frames, nothing, zeros = np.full((2, 3, 4), junk, dtype=np.float32), np.zeros((2, 3)), np.zeros((2, 3), dtype=int)
    for loss in (
        lambda p: masked_sparse_crossentropy(zeros, p),
        lambda p: masked_crossentropy(np.zeros((2, 3, 4)), p),
        lambda p: masked_loss(frames, p, nothing),
        lambda p: masked_squared_error(frames, p, nothing),
        lambda p: heatmap_loss(np.full((2, 3, 4), -100.0), p),
    ):
        assert number(loss(frames)) == 0
        assert not gradient(loss, frames)[0].any()


# --- refusals


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="reduction is 'avg', it must be one of none, sequence, sum, mean"):
        masked_sparse_crossentropy(LABELS, PROBABILITIES, reduction="avg")
    with pytest.raises(ValueError, match="3 labels came for 2 frames"):
        masked_sparse_crossentropy(np.ones((2, 3)), PROBABILITIES)
    with pytest.raises(ValueError, match="kind is 'hinge'"):
        heatmap_loss(np.ones((1, 1)), np.ones((1, 1)), kind="hinge")
    with pytest.raises(ValueError, match=r"A mask of shape \(1, 1, 1\) came for an array with 2 axes"):
        masked_loss(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1, 1)))


# --- as keras.losses.Loss


def test_classes_come_to_the_same_as_functions():
    assert number(MaskedSparseCrossentropy(from_logits=False)(LABELS, PROBABILITIES)) == pytest.approx(np.sum(EACH) / 3)
    one_hot = np.eye(3)[LABELS] * (LABELS > 0)[..., None]
    loss = MaskedCrossentropy(from_logits=False, reduction="sum")
    assert number(loss(one_hot, PROBABILITIES)) == pytest.approx(np.sum(EACH))
    loss = MaskedSparseCrossentropy(from_logits=False, reduction=None)
    assert array(loss(LABELS, PROBABILITIES)) == pytest.approx(np.array(EACH))
    truth, guess = np.array([0.5, 1, -100]).reshape(1, 1, 3, 1), np.array([0.25, 0.5, 0.5]).reshape(1, 1, 3, 1)
    assert number(HeatmapLoss()(truth, guess)) == pytest.approx((0.0625 + 0.25) / 2)
    weights = np.array([1, 1, 0]).reshape(1, 1, 3, 1)
    assert number(MaskedSquaredError()(truth, guess, weights)) == pytest.approx((0.0625 + 0.25) / 2)


def test_sample_weights_are_masks():
    loss = MaskedSparseCrossentropy(from_logits=False)
    assert number(loss(LABELS, PROBABILITIES, np.array([0, 1]))) == pytest.approx(-math.log(0.6))
    assert number(loss(LABELS, PROBABILITIES, np.array([[1, 0], [0, 0]]))) == pytest.approx(-math.log(0.25))
    truth, guess = np.array([1.0, 0]).reshape(2, 1, 1, 1), np.array([0.5, 0.25]).reshape(2, 1, 1, 1)
    assert number(MaskedLoss()(truth, guess, np.array([1, 0]))) == pytest.approx(math.log(2))


def test_the_mask_that_keras_carries_leaves_padding_out():
    images = np.random.default_rng(0).random((2, 4, 5, 1), dtype=np.float32)
    wide = np.pad(images, [(0, 0), (0, 0), (0, 7), (0, 0)], constant_values=-1)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, None, 1))
    model = keras.Model(inputs, MaskedConv2D(1, 3, activation="sigmoid")(PaddingMask()(inputs)))
    for loss in (MaskedLoss(), MaskedSquaredError()):
        target = np.where(wide == -1, np.nan, 0.3)
        alone = number(loss(np.full_like(images, 0.3), model(images)))
        assert number(loss(target, model(wide))) == pytest.approx(alone, rel=1e-6)


def test_stock_fit_learns_under_a_mask_of_sample_weights():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((8, 4, 6, 1), dtype=np.float32)
    target, weights = np.where(images > 0.5, 1.0, 0.0), np.ones((8, 4, 6, 1))
    weights[:, :, 4:] = 0
    target[:, :, 4:] = np.nan
    inputs = keras.Input((4, None, 1))
    model = keras.Model(inputs, MaskedConv2D(1, 1, activation="sigmoid")(inputs))
    model.compile(keras.optimizers.SGD(5.0), MaskedLoss())
    history = model.fit(images, target, sample_weight=weights, epochs=20, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize(
    "loss",
    [
        MaskedSparseCrossentropy(padding=-1, from_logits=False, reduction="sum"),
        MaskedCrossentropy(from_logits=False, name="mine"),
        MaskedLoss(from_logits=True),
        MaskedSquaredError(),
        HeatmapLoss(hole=-1, kind="crossentropy"),
    ],
)
def test_every_loss_comes_back_from_its_config(loss):
    config = keras.saving.serialize_keras_object(loss)
    assert config["registered_name"].startswith("htr>")
    assert keras.saving.serialize_keras_object(keras.saving.deserialize_keras_object(config)) == config


def test_every_reduction_has_a_name():
    assert losses.REDUCTIONS == ("none", "sequence", "sum", "mean")

"""Batch Renormalization: a training step computes what inference will, and still learns through the batch."""

import keras
import numpy as np

from htr.masking import MaskedBatchNormalization
from tests.gradients import gradient

MOVING = (np.array([1.0, -2.0]), np.array([4.0, 9.0]))  # mean and variance


def layer(**options):
    norm = MaskedBatchNormalization(epsilon=0.0, **options)
    norm.build((None, 1, None, 2))
    norm.moving_mean.assign(MOVING[0])
    norm.moving_variance.assign(MOVING[1])
    return norm


def features():
    return np.random.default_rng(0).normal(1.0, 2.0, (2, 1, 6, 2)).astype("float32")


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_training_gives_what_inference_gives():
    inference = (features() - MOVING[0]) / np.sqrt(MOVING[1])
    np.testing.assert_allclose(numbers(layer(renormalize=True)(features(), training=True)), inference, atol=1e-5)
    np.testing.assert_allclose(numbers(layer(renormalize=True)(features(), training=False)), inference, atol=1e-5)
    assert np.abs(numbers(layer()(features(), training=True)) - inference).max() > 0.1


def test_a_batch_far_from_the_moving_statistics_is_bounded():
    far = features() * 100 + 5000
    assert np.abs(numbers(layer(renormalize=True)(far, training=True))).max() < 3 * 4 + 5


def test_gradients_go_through_the_statistics_of_the_batch():
    norm = layer(renormalize=True)
    (slopes,) = gradient(lambda x: keras.ops.sum(norm(x, training=True)[..., 0] ** 2), features())
    # through the batch's mean a common shift of all values changes nothing; through moving statistics it would
    np.testing.assert_allclose(slopes[..., 0].sum(), 0, atol=1e-4)


def test_columns_outside_the_mask_are_not_seen():
    mask = np.array([[1, 1, 1, 1, 0, 0]] * 2, dtype=bool)
    spoiled = features()
    spoiled[:, :, 4:] = 1e6
    short = numbers(layer(renormalize=True)(features()[:, :, :4], training=True, mask=mask[:, :4]))
    np.testing.assert_allclose(
        numbers(layer(renormalize=True)(spoiled, training=True, mask=mask))[:, :, :4], short, atol=1e-5
    )


def test_a_training_step_gives_the_same_bits_however_wide_the_batch_is_padded():
    """A sum off by its last bit can put a unit on the other side of ReLU's edge: a gradient was off by 0.2 %."""
    rng = np.random.default_rng(1)
    narrow = rng.normal(1.0, 2.0, (8, 5, 573, 32)).astype("float32")
    mask = np.arange(573) < rng.integers(290, 574, (8, 1))

    def step(extra):
        norm = MaskedBatchNormalization(renormalize=True)
        wide = np.pad(narrow, ((0, 0), (0, 0), (0, extra), (0, 0)), constant_values=3.0)
        outputs = norm(wide, training=True, mask=np.pad(mask, ((0, 0), (0, extra))))
        return [numbers(values) for values in (outputs[:, :, :573], norm.moving_mean, norm.moving_variance)]

    exact = keras.backend.backend() == "tensorflow"  # XLA orders sums as it likes
    for extra in (1, 7, 64, 200):
        for a, b in zip(step(0), step(extra), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=0 if exact else 1e-5)

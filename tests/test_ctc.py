"""CTC against the sum over all paths, and against what padding could do to it."""

import itertools
import math

import keras
import numpy as np
import pytest

from htr.ctc import ctc_loss
from htr.decoding import frames_needed
from tests.gradients import gradient


def collapse(path):
    merged = [c for c, _ in itertools.groupby(path)]
    return [c for c in merged if c != 0]


def by_enumeration(ids, logits):
    """-log of the summed probability of every path that collapses to ids."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    frames, classes = logits.shape
    paths = itertools.product(range(classes), repeat=frames)
    total = sum(math.prod(p[t, c] for t, c in enumerate(path)) for path in paths if collapse(path) == list(ids))
    return -math.log(total) if total else math.inf


def loss_of(labels, logits, mask):
    return np.asarray(
        keras.ops.convert_to_numpy(ctc_loss(np.array(labels), np.array(logits, "float32"), np.array(mask)))
    )


@pytest.mark.parametrize("ids", [[2], [2, 2], [2, 3], [3, 2, 3], [2, 2, 3], []])
def test_loss_equals_the_sum_over_all_paths(ids):
    logits = np.random.default_rng(0).normal(size=(4, 4))
    labels = [ids + [0] * (4 - len(ids))]
    np.testing.assert_allclose(
        loss_of(labels, logits[None], np.ones((1, 4), bool)), [by_enumeration(ids, logits)], rtol=1e-5
    )


def test_label_that_cannot_fit_costs_inf_without_gradient_and_leaves_the_others_alone():
    logits = np.random.default_rng(1).normal(size=(2, 4, 4)).astype("float32")
    labels = np.array([[2, 2, 2, 0], [2, 3, 0, 0]])
    mask = np.ones((2, 4), bool)
    losses = loss_of(labels, logits, mask)
    assert math.isinf(losses[0]) and losses[1] == pytest.approx(by_enumeration([2, 3], logits[1]), rel=1e-5)
    (slopes,) = gradient(lambda x: keras.ops.sum(ctc_loss(labels, x, mask)), logits)
    assert np.all(slopes[0] == 0) and np.any(slopes[1] != 0) and np.all(np.isfinite(slopes))


@pytest.mark.parametrize("value", [0.0, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("extra", [1, 7])
def test_padding_of_any_value_is_not_seen(value, extra):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(2, 5, 4)).astype("float32")
    labels = np.array([[2, 3, 2], [3, 3, 0]])
    mask = np.ones((2, 5), bool)
    padded = np.concatenate([logits, np.full((2, extra, 4), value, "float32")], 1)
    wide = np.concatenate([mask, np.zeros((2, extra), bool)], 1)
    longer = np.pad(labels, ((0, 0), (0, extra)))
    np.testing.assert_allclose(loss_of(longer, padded, wide), loss_of(labels, logits, mask), rtol=1e-6)
    (slopes,) = gradient(lambda x: keras.ops.sum(ctc_loss(labels, x, mask)), logits)
    (padded_slopes,) = gradient(lambda x: keras.ops.sum(ctc_loss(longer, x, wide)), padded)
    np.testing.assert_allclose(padded_slopes[:, :5], slopes, atol=1e-6)
    assert np.all(padded_slopes[:, 5:] == 0)


def test_frames_needed_counts_a_blank_between_equal_neighbours():
    assert [frames_needed(ids) for ids in ([], [2], [2, 2], [2, 3, 3, 3])] == [0, 1, 3, 6]

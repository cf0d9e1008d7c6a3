"""No objective gives NaN, and no gradient is NaN or infinite, whatever the batch looks like."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htr.objectives import OBJECTIVES
from tests.gradients import gradient

CLASSES, LENGTH = 5, 4
FRAMES = [1, 2, 7]  # few shapes: each is compiled anew by some backends
LARGEST = {"float32": 1e30, "float16": 6e4, "bfloat16": 1e30}


@st.composite
def batches(draw):
    """labels (2, length), logits (2, frames, classes), mask (2, frames): two rows, as views come in pairs."""
    frames, rng = draw(st.sampled_from(FRAMES)), np.random.default_rng(draw(st.integers(0, 2**16)))
    scale = draw(st.sampled_from([0.0, 1.0, 50.0, 1e4, 1e30]))
    logits = (rng.normal(size=(2, frames, CLASSES)) * scale).astype("float32")
    if draw(st.booleans()):  # one class far above or below all others, in every frame
        logits[..., draw(st.integers(0, CLASSES - 1))] += draw(st.sampled_from([-1e4, -100.0, 100.0, 1e4]))
    letters = st.integers(2, CLASSES - 1)
    words = st.one_of(st.just([]), st.lists(letters, max_size=LENGTH), letters.map(lambda c: [c] * LENGTH))
    rows = [draw(words) for _ in range(2)]
    labels = np.array([row + [0] * (LENGTH - len(row)) for row in rows])
    counts = [draw(st.integers(0, frames)) for _ in range(2)]
    return labels, logits, np.arange(frames) < np.array(counts)[:, None]


def check(name: str, labels, logits, mask, kind: str = "float32") -> np.ndarray:
    """The losses, none NaN or -inf; their gradient is finite and 0 behind the mask, as it is for what cannot fit."""
    objective = OBJECTIVES[name]
    logits = np.clip(logits, -LARGEST[kind], LARGEST[kind])

    def losses(values):
        return objective.loss(labels, keras.ops.cast(values, kind), mask)

    values = np.asarray(keras.ops.convert_to_numpy(losses(keras.ops.convert_to_tensor(logits))))
    assert not np.isnan(values).any() and (values > -np.inf).all(), values
    (slopes,) = gradient(lambda each: keras.ops.sum(losses(each)), logits)
    assert np.isfinite(slopes).all()
    assert not slopes[~mask].any()
    if name != "crossentropy" and np.abs(logits[mask]).max(initial=0) < 1e6:
        fits = [objective.frames_needed(row[row > 0].tolist()) <= mask[i].sum() for i, row in enumerate(labels)]
        assert np.isinf(values).tolist() == [not each for each in fits], "what cannot fit, and nothing else, costs inf"
    return values


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(batch=batches())
def test_no_batch_gives_nan_or_an_endless_gradient(name, batch):
    check(name, *batch)


WHOLE = np.ones((2, 7), bool)
HALF = np.tile(np.arange(7) < 4, (2, 1))
BATCHES = {
    "one frame": ([[2], [0]], np.zeros((2, 1, CLASSES)), np.ones((2, 1), bool)),
    "no frames": ([[2], [0]], np.zeros((2, 1, CLASSES)), np.zeros((2, 1), bool)),
    "empty labels": ([[0, 0], [0, 0]], np.ones((2, 7, CLASSES)), WHOLE),
    "labels without a column": (np.zeros((2, 0)), np.ones((2, 7, CLASSES)), WHOLE),
    "equal letters": ([[2, 2, 2, 2], [3, 3, 3, 0]], np.zeros((2, 7, CLASSES)), WHOLE),
    "all blank": ([[2, 3], [3, 4]], np.eye(CLASSES)[np.zeros((2, 7), int)] * 1e4, WHOLE),
    "sure and right": ([[2, 3], [2, 3]], np.eye(CLASSES)[[[2, 3, 1, 0, 0, 0, 0]] * 2] * 1e4, WHOLE),
    "sure and wrong": ([[2, 3], [3, 4]], -np.eye(CLASSES)[[[2, 3, 1, 0, 0, 0, 0]] * 2] * 1e4, WHOLE),
    "far up": ([[2, 3], [3, 0]], np.full((2, 7, CLASSES), 1e30), WHOLE),
    "far apart": ([[2, 3], [3, 0]], np.where(np.arange(CLASSES) % 2, 1e30, -1e30) * np.ones((2, 7, 1)), WHOLE),
    "NaN in padding": ([[2, 3], [3, 0]], np.where(HALF[..., None], 0, np.nan) * np.ones(CLASSES), HALF),
}  # fmt: skip


@pytest.mark.parametrize("kind", LARGEST)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_hostile_batches_in_every_precision(name, kind):
    for labels, logits, mask in BATCHES.values():
        check(name, np.asarray(labels, "int32"), np.asarray(logits, "float32"), mask, kind)

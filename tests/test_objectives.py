"""The seam: what each objective learns is what it reads."""

import numpy as np
import pytest

from htr import objectives
from htr.losses import spelling_loss
from htr.objectives import OBJECTIVES
from tests.gradients import gradient


def test_spelling_reads_character_i_at_frame_i_and_then_the_end():
    logits = np.log(np.array([[[0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1]]], "float32"))
    loss = spelling_loss(np.array([[2, 0, 0]]), logits, np.ones((1, 3), bool))
    np.testing.assert_allclose(np.asarray(loss), [-np.log(0.7) - np.log(0.5)], rtol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_of_labels_and_frames_is_not_seen(name):
    rng = np.random.default_rng(0)
    logits, labels, mask = (
        rng.normal(size=(2, 6, 5)).astype("float32"),
        np.array([[2, 3, 3], [4, 0, 0]]),
        np.ones((2, 6), bool),
    )
    padded = np.concatenate([logits, np.full((2, 3, 5), np.nan, "float32")], axis=1)
    wide = np.concatenate([mask, np.zeros((2, 3), bool)], axis=1)
    loss = objectives.get(name).loss
    np.testing.assert_allclose(
        np.asarray(loss(np.pad(labels, ((0, 0), (0, 2))), padded, wide)),
        np.asarray(loss(labels, logits, mask)),
        rtol=1e-6,
    )
    import keras

    (slopes,) = gradient(lambda x: keras.ops.sum(loss(labels, x, wide)), padded)
    assert np.all(slopes[:, 6:] == 0) and np.isfinite(slopes).all()


def test_frames_needed():
    assert OBJECTIVES["ctc"].frames_needed([5, 5, 6]) == 4
    assert objectives.get("crossentropy").frames_needed([5, 5, 6]) == 4


@pytest.mark.parametrize("name", OBJECTIVES)
def test_perfect_logits_are_read_and_cost_nothing(name):
    ids = [2, 3, 3, 4]
    path = [2, 3, 3, 4, 1, 0] if name == "crossentropy" else [2, 3, 0, 3, 4, 0]
    logits = np.eye(5, dtype="float32")[path] * 50
    assert objectives.get(name).decode([logits])[0].ids == ids
    loss = objectives.get(name).loss(np.array([ids] * 2), np.stack([logits] * 2), np.ones((2, 6), bool))
    smoothed = 0.05 * 6 * np.log(5) if name == "smooth-ctc" else 0.0  # certainty is what it charges for
    assert float(np.asarray(loss)[0]) < smoothed + 1e-3


def test_unknown_objective_names_those_there_are():
    with pytest.raises(ValueError, match="ctc, shortcut-ctc, .*, crossentropy"):
        objectives.get("hinge")

"""Floor 2: the seam between network and text: what the frames mean, how that is learned and how it is read.

Nothing outside this file asks which objective it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from htr import ctc, decoding
from htr.charset import END
from htr.decoding import Reading
from htr.losses import masked_sparse_crossentropy
from htr.masking import carried_mask


@dataclass(frozen=True)
class Objective:
    """frames_needed(ids) -> frames; loss(labels, logits, mask) -> (batch,); decode(list of logits) -> list of Reading.

    labels (batch, length) are padded with 0, logits (batch, frames, classes) wherever mask (batch, frames) is False.
    has_positions: whether a character can be told where on the image it was read.
    """

    name: str
    frames_needed: Callable[[Sequence[int]], int]
    loss: Callable
    decode: Callable[[Sequence[np.ndarray]], list[Reading]]
    has_positions: bool


def spelling_loss(labels, logits, mask):
    """labels (batch, length), logits (batch, frames, classes), mask (batch, frames) -> (batch,) -log p

    Character i is read at frame i, END after the last; the frames behind END are left alone.
    """
    batch, frames = ops.shape(logits)[0], ops.shape(logits)[1]
    labels = ops.cast(labels, "int32")
    lengths = ops.sum(ops.cast(ops.not_equal(labels, 0), "int32"), axis=1, keepdims=True)
    place = ops.arange(frames, dtype="int32")[None, :]
    targets = ops.concatenate([labels, ops.zeros((batch, frames), dtype="int32")], axis=1)[:, :frames]
    targets = ops.where(ops.equal(place, lengths), END, targets)
    counts = ops.logical_and(ops.less_equal(place, lengths), ops.cast(mask, "bool"))
    return masked_sparse_crossentropy(targets, logits, counts, from_logits=True, reduction="sequence")


OBJECTIVES = {
    "ctc": Objective("ctc", ctc.frames_needed, ctc.ctc_loss, decoding.best_paths, has_positions=True),
    "crossentropy": Objective(
        "crossentropy", lambda ids: len(ids) + 1, spelling_loss, decoding.spellings, has_positions=False
    ),
}


def get(name: str) -> Objective:
    """The objective of that name. ValueError lists those there are."""
    if name not in OBJECTIVES:
        raise ValueError(f"There is no objective {name!r}; choose one of {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name]


@keras.saving.register_keras_serializable(package="htr")
class ObjectiveLoss(keras.losses.Loss):
    """An objective for `compile`: labels (batch, length), logits with their Keras mask -> the mean over the batch."""

    def __init__(self, objective: str, name: str = "objective_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.objective = objective
        self._loss = get(objective).loss

    def __call__(self, y_true, y_pred, sample_weight=None):
        # the stock call would multiply the mask into a per-frame loss; here it gives the words' lengths
        mask = carried_mask(y_pred)
        if mask is None:
            mask = ops.ones(ops.shape(y_pred)[:2], dtype="bool")
        losses = self._loss(y_true, y_pred, mask)
        return ops.mean(losses if sample_weight is None else losses * ops.cast(sample_weight, losses.dtype))

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def get_config(self):
        return {**super().get_config(), "objective": self.objective}

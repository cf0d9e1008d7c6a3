"""Floor 2: the seam between network and text: what the frames mean, how that is learned and how it is read.

Nothing outside this file asks which objective it has.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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
    """What is learned; an objective's fields are its hyper-parameters.

    name: what `--objective` calls it. has_positions: whether a character can be told where on the image it was read.
    shortcut: the weight of the same loss on the columns before the recurrent layers (0: none).
    """

    name: ClassVar[str]
    has_positions: ClassVar[bool] = True
    shortcut: ClassVar[float] = 0.0

    def frames_needed(self, ids: Sequence[int]) -> int:
        """The fewest frames in which ids can be told."""
        raise NotImplementedError

    def loss(self, labels, logits, mask):
        """labels (batch, length), logits (batch, frames, classes), mask (batch, frames) -> (batch,) floats

        Labels are padded with 0; what stands in logits where the mask is False has no influence, and gradient 0.
        """
        raise NotImplementedError

    def decode(self, batch: Sequence[np.ndarray]) -> list[Reading]:
        """logits (frames, classes) of each word -> what they read as."""
        raise NotImplementedError


@dataclass(frozen=True)
class CTC(Objective):
    """Connectionist temporal classification (Graves et al., ICML 2006)."""

    name: ClassVar[str] = "ctc"

    def frames_needed(self, ids):
        return ctc.frames_needed(ids)

    def loss(self, labels, logits, mask):
        return ctc.ctc_loss(labels, logits, mask)

    def decode(self, batch):
        return decoding.best_paths(batch)


@dataclass(frozen=True)
class ShortcutCTC(CTC):
    """CTC, and CTC again on a convolution over the columns, past the recurrent layers; reading does without it.

    Retsinas et al., "Best Practices for a Handwritten Text Recognition System", DAS 2022, arXiv:2404.11339.
    """

    name: ClassVar[str] = "shortcut-ctc"
    shortcut: float = 0.1


@dataclass(frozen=True)
class Crossentropy(Objective):
    """Character i is learned and read at frame i, END after the last; the frames behind END are left alone."""

    name: ClassVar[str] = "crossentropy"
    has_positions: ClassVar[bool] = False

    def frames_needed(self, ids):
        return len(ids) + 1

    def loss(self, labels, logits, mask):
        return spelling_loss(labels, logits, mask)

    def decode(self, batch):
        return decoding.spellings(batch)


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


OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in (CTC, ShortcutCTC, Crossentropy)}


def get(name: str, **options) -> Objective:
    """The objective of that name with these hyper-parameters. ValueError lists what there is."""
    if name not in OBJECTIVES:
        raise ValueError(f"There is no objective {name!r}; choose one of {', '.join(OBJECTIVES)}.")
    fields = [field.name for field in dataclasses.fields(OBJECTIVES[name])]
    if unknown := set(options) - set(fields):
        possible = f"it has {', '.join(fields)}" if fields else "it has none"
        raise ValueError(f"The objective {name} has no option {', '.join(sorted(unknown))}; {possible}.")
    return OBJECTIVES[name](**options)


@keras.saving.register_keras_serializable(package="htr")
class ObjectiveLoss(keras.losses.Loss):
    """An objective for `compile`: labels (batch, length), logits with their Keras mask -> the mean over the batch."""

    def __init__(self, objective: str, options: dict | None = None, name: str = "objective_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.objective = get(objective, **(options or {}))

    @classmethod
    def of(cls, objective: Objective) -> "ObjectiveLoss":
        """The loss of an objective that is at hand."""
        return cls(objective.name, dataclasses.asdict(objective))

    def __call__(self, y_true, y_pred, sample_weight=None):
        # the stock call would multiply the mask into a per-frame loss; here it gives the words' lengths
        mask = carried_mask(y_pred)
        if mask is None:
            mask = ops.ones(ops.shape(y_pred)[:2], dtype="bool")
        losses = self.objective.loss(y_true, y_pred, mask)
        return ops.mean(losses if sample_weight is None else losses * ops.cast(sample_weight, losses.dtype))

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def get_config(self):
        options = dataclasses.asdict(self.objective)
        return {**super().get_config(), "objective": self.objective.name, "options": options}

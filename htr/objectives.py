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
from htr import ctc_variants as variants
from htr.charset import END
from htr.decoding import Reading
from htr.losses import masked_sparse_crossentropy, per_replica
from htr.masking import carried_mask


@dataclass(frozen=True)
class Objective:
    """What is learned; an objective's fields are its hyper-parameters.

    name: what `--objective` calls it. has_positions: whether a character can be told where on the image it was read.
    shortcut: the weight of the same loss on the columns before the recurrent layers (0: none). views: rows of a batch
    that show the same word, one after the other, its looks augmented anew each time.
    """

    name: ClassVar[str]
    has_positions: ClassVar[bool] = True
    shortcut: ClassVar[float] = 0.0
    views: ClassVar[int] = 1

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
class FocalCTC(CTC):
    """alpha (1 - p)^gamma CTC: words that are read already count less (`ctc_variants.focal`)."""

    name: ClassVar[str] = "focal-ctc"
    gamma: float = 1.0
    alpha: float = 1.0

    def loss(self, labels, logits, mask):
        return variants.focal(ctc.ctc_loss(labels, logits, mask), self.gamma, self.alpha)


@dataclass(frozen=True)
class EntropyCTC(CTC):
    """CTC minus beta times the entropy of the alignments: one peak is not settled on too soon."""

    name: ClassVar[str] = "entropy-ctc"
    beta: float = 0.2

    def loss(self, labels, logits, mask):
        losses = ctc.ctc_loss(labels, logits, mask)
        return losses - self.beta * variants.alignment_entropy(labels, logits, mask) if self.beta else losses


@dataclass(frozen=True)
class SmoothCTC(CTC):
    """(1 - smoothing) CTC + smoothing KL(frame || uniform), summed over the valid frames: label smoothing."""

    name: ClassVar[str] = "smooth-ctc"
    smoothing: float = 0.05

    def loss(self, labels, logits, mask):
        far = variants.distance_to_uniform(logits, mask)
        return (1 - self.smoothing) * ctc.ctc_loss(labels, logits, mask) + self.smoothing * far


@dataclass(frozen=True)
class ConsistencyCTC(CTC):
    """CTC on two augmented views of every word, and agreement times how far each is from the other, frame by frame."""

    name: ClassVar[str] = "consistency-ctc"
    views: ClassVar[int] = 2
    agreement: float = 0.2

    def loss(self, labels, logits, mask):
        return ctc.ctc_loss(labels, logits, mask) + self.agreement * variants.disagreement(logits, mask)


@dataclass(frozen=True)
class PriorCTC(CTC):
    """CTC on probabilities divided by their batch mean to the power of strength: blanks lose their lead."""

    name: ClassVar[str] = "prior-ctc"
    strength: float = 0.3

    def loss(self, labels, logits, mask):
        if not self.strength:
            return ctc.ctc_loss(labels, logits, mask)
        return variants.prior_loss(labels, logits, mask, self.strength)


@dataclass(frozen=True)
class AlignmentCTC(CTC):
    """CTC + weight times the cross-entropy of every frame against the network's own best alignment of the label."""

    name: ClassVar[str] = "alignment-ctc"
    weight: float = 0.3

    def loss(self, labels, logits, mask):
        losses = ctc.ctc_loss(labels, logits, mask)
        return losses + self.weight * variants.alignment_loss(labels, logits, mask) if self.weight else losses


@dataclass(frozen=True)
class AlignmentCrossentropy(CTC):
    """The cross-entropy against the best alignment alone, after a share of CTC that finds the first alignments."""

    name: ClassVar[str] = "alignment-crossentropy"
    ctc_weight: float = 0.05

    def loss(self, labels, logits, mask):
        return variants.alignment_loss(labels, logits, mask) + self.ctc_weight * ctc.ctc_loss(labels, logits, mask)


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


_KINDS = (
    CTC, ShortcutCTC, FocalCTC, EntropyCTC, SmoothCTC, ConsistencyCTC, PriorCTC, AlignmentCTC, AlignmentCrossentropy,
    Crossentropy,
)  # fmt: skip
OBJECTIVES: dict[str, Objective] = {kind.name: kind() for kind in _KINDS}  # with their usual options


def get(name: str, **options) -> Objective:
    """The objective of that name with these hyper-parameters. ValueError lists what there is."""
    if name not in OBJECTIVES:
        raise ValueError(f"There is no objective {name!r}; choose one of {', '.join(OBJECTIVES)}.")
    fields = [field.name for field in dataclasses.fields(OBJECTIVES[name])]
    if unknown := set(options) - set(fields):
        possible = f"it has {', '.join(fields)}" if fields else "it has none"
        raise ValueError(f"The objective {name} has no option {', '.join(sorted(unknown))}; {possible}.")
    return dataclasses.replace(OBJECTIVES[name], **options)


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
        return per_replica(
            ops.mean(losses if sample_weight is None else losses * ops.cast(sample_weight, losses.dtype))
        )

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def get_config(self):
        options = dataclasses.asdict(self.objective)
        return {**super().get_config(), "objective": self.objective.name, "options": options}

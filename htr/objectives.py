"""Floor 2: the seam between network and text: what the frames mean, how that is learned and how it is read.

Nothing outside this file asks which objective it has. Keras is imported by the losses alone: reading may do without.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from htr import decoding
from htr.decoding import Reading, frames_needed


@dataclass(frozen=True)
class Objective:
    """What is learned; an objective's fields are its hyper-parameters.

    name: what `--objective` calls it. has_positions: whether a character can be told where on the image it was read.
    shortcut: the weight of the same loss on the columns before the recurrent layers (0: none). views: rows of a batch
    that show the same word, one after the other, its looks augmented anew each time.
    """

    name: ClassVar[str]
    has_positions: ClassVar[bool] = True
    shortcut = 0.0  # no ClassVar: it is a field of ShortcutCTC
    views: ClassVar[int] = 1

    def frames_needed(self, ids: Sequence[int] | np.ndarray) -> int:
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
        return frames_needed(ids)

    def loss(self, labels, logits, mask):
        from htr.ctc import ctc_loss

        return ctc_loss(labels, logits, mask)

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
        from htr.ctc_variants import focal

        return focal(super().loss(labels, logits, mask), self.gamma, self.alpha)


@dataclass(frozen=True)
class EntropyCTC(CTC):
    """CTC minus beta times the entropy of the alignments: one peak is not settled on too soon."""

    name: ClassVar[str] = "entropy-ctc"
    beta: float = 0.2

    def loss(self, labels, logits, mask):
        from htr.ctc_variants import alignment_entropy

        losses = super().loss(labels, logits, mask)
        return losses - self.beta * alignment_entropy(labels, logits, mask) if self.beta else losses


@dataclass(frozen=True)
class SmoothCTC(CTC):
    """(1 - smoothing) CTC + smoothing KL(frame || uniform), summed over the valid frames: label smoothing."""

    name: ClassVar[str] = "smooth-ctc"
    smoothing: float = 0.05

    def loss(self, labels, logits, mask):
        from htr.ctc_variants import distance_to_uniform

        far = distance_to_uniform(logits, mask)
        return (1 - self.smoothing) * super().loss(labels, logits, mask) + self.smoothing * far


@dataclass(frozen=True)
class ConsistencyCTC(CTC):
    """CTC on two augmented views of every word, and agreement times how far each is from the other, frame by frame."""

    name: ClassVar[str] = "consistency-ctc"
    views: ClassVar[int] = 2
    agreement: float = 0.2

    def loss(self, labels, logits, mask):
        from htr.ctc_variants import disagreement

        return super().loss(labels, logits, mask) + self.agreement * disagreement(logits, mask)


@dataclass(frozen=True)
class PriorCTC(CTC):
    """CTC on probabilities divided by their batch mean to the power of strength: blanks lose their lead."""

    name: ClassVar[str] = "prior-ctc"
    strength: float = 0.3

    def loss(self, labels, logits, mask):
        from htr.ctc_variants import prior_loss

        if not self.strength:
            return super().loss(labels, logits, mask)
        return prior_loss(labels, logits, mask, self.strength)


@dataclass(frozen=True)
class AlignmentCTC(CTC):
    """CTC + weight times the cross-entropy of every frame against the network's own best alignment of the label."""

    name: ClassVar[str] = "alignment-ctc"
    weight: float = 0.3

    def loss(self, labels, logits, mask):
        from htr.ctc_variants import alignment_loss

        losses = super().loss(labels, logits, mask)
        return losses + self.weight * alignment_loss(labels, logits, mask) if self.weight else losses


@dataclass(frozen=True)
class AlignmentCrossentropy(CTC):
    """The cross-entropy against the best alignment alone, after a share of CTC that finds the first alignments."""

    name: ClassVar[str] = "alignment-crossentropy"
    ctc_weight: float = 0.05

    def loss(self, labels, logits, mask):
        from htr.ctc_variants import alignment_loss

        return alignment_loss(labels, logits, mask) + self.ctc_weight * super().loss(labels, logits, mask)


@dataclass(frozen=True)
class Crossentropy(Objective):
    """Character i is learned and read at frame i, END after the last; the frames behind END are left alone."""

    name: ClassVar[str] = "crossentropy"
    has_positions: ClassVar[bool] = False

    def frames_needed(self, ids):
        return len(ids) + 1

    def loss(self, labels, logits, mask):
        from htr.losses import spelling_loss

        return spelling_loss(labels, logits, mask)

    def decode(self, batch):
        return decoding.spellings(batch)


_KINDS = (
    CTC, ShortcutCTC, FocalCTC, EntropyCTC, SmoothCTC, ConsistencyCTC, PriorCTC, AlignmentCTC, AlignmentCrossentropy,
    Crossentropy,
)  # fmt: skip
OBJECTIVES: dict[str, Objective] = {kind.name: kind() for kind in _KINDS}  # with their usual options


def get(name: str, /, **options) -> Objective:
    """The objective of that name with these hyper-parameters. ValueError lists what there is."""
    if name not in OBJECTIVES:
        raise ValueError(f"There is no objective {name!r}; choose one of {', '.join(OBJECTIVES)}.")
    fields = [field.name for field in dataclasses.fields(OBJECTIVES[name])]
    if unknown := set(options) - set(fields):
        possible = f"it has {', '.join(fields)}" if fields else "it has none"
        raise ValueError(f"The objective {name} has no option {', '.join(sorted(unknown))}; {possible}.")
    return dataclasses.replace(OBJECTIVES[name], **options)

"""Floor 1: connectionist temporal classification with the true lengths of every word."""

import numpy as np
from keras import ops

from htr.charset import BLANK


def frames_needed(ids) -> int:
    """The fewest frames that can spell ids: one each, and a blank between equal neighbours.

    >>> frames_needed([5, 5, 7])
    4
    """
    ids = np.asarray(ids)
    return int(len(ids) + (ids[1:] == ids[:-1]).sum())


def ctc_loss(labels, logits, mask):
    """labels (batch, length), logits (batch, frames, classes), mask (batch, frames) -> (batch,) -log p(labels)

    Labels are padded on the right with the blank (0), frames on the right wherever mask is False; neither is seen.
    A label that cannot fit its frames has probability 0: keep such words out (`frames_needed`).
    Graves et al., "Connectionist Temporal Classification", ICML 2006.
    """
    mask = ops.cast(mask, "int32")
    lengths = ops.sum(ops.cast(ops.not_equal(labels, BLANK), "int32"), axis=1)
    # a NaN or inf in a padded frame would poison the sum it is multiplied out of
    logits = ops.where(ops.cast(mask, "bool")[..., None], logits, 0.0)
    return ops.nn.ctc_loss(labels, logits, lengths, ops.sum(mask, axis=1), mask_index=BLANK)

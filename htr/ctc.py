"""Floor 1: connectionist temporal classification with the true lengths of every word."""

import math

import keras
from keras import ops

from htr.charset import BLANK

FLOOR = 80.0


def ctc_loss(labels, logits, mask):
    """labels (batch, length), logits (batch, frames, classes), mask (batch, frames) -> (batch,) -log p(labels)

    Labels are padded on the right with the blank (0), frames on the right wherever mask is False; neither is seen.
    A label that cannot fit its frames (`decoding.frames_needed`) has probability 0: its loss is inf, its gradient 0.
    Graves et al., "Connectionist Temporal Classification", ICML 2006.
    """
    labels, counts = ops.cast(labels, "int32"), ops.cast(mask, "int32")
    if labels.shape[1] == 0:
        labels = ops.zeros((ops.shape(labels)[0], 1), "int32")
    # a NaN or inf in a padded frame would poison the sum it is multiplied out of
    logits = ops.where(ops.cast(mask, "bool")[..., None], ops.cast(logits, "float32"), 0.0)
    # below e^-80 of the likeliest a probability would round to 0, and a label that needs it to an endless loss
    logits = ops.maximum(logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True)), -FLOOR)
    lengths, frames = _lengths(labels), ops.sum(counts, axis=1)
    possible = fits(labels, mask)
    plain = ops.logical_and(possible, lengths > 0)
    # other labels are replaced before the loss, not after: the gradient of an inf would be NaN
    labels = ops.where(plain[:, None], labels, BLANK)
    lengths = ops.where(plain, lengths, 0)
    losses = (_native if keras.backend.backend() == "tensorflow" else _keras)(labels, logits, lengths, frames)
    blanks = -ops.sum(ops.log_softmax(logits)[..., BLANK] * ops.cast(counts, "float32"), axis=1)
    return ops.where(plain, losses, ops.where(possible, blanks, math.inf))


def fits(labels, mask):
    """labels (batch, length), mask (batch, frames) -> (batch,) bool: whether the frames suffice for the label."""
    labels = ops.cast(labels, "int32")
    repeats = ops.logical_and(ops.equal(labels[:, 1:], labels[:, :-1]), ops.not_equal(labels[:, 1:], BLANK))
    needed = _lengths(labels) + ops.sum(ops.cast(repeats, "int32"), axis=1)
    return ops.less_equal(needed, ops.sum(ops.cast(mask, "int32"), axis=1))


def _lengths(labels):
    return ops.sum(ops.cast(ops.not_equal(labels, BLANK), "int32"), axis=1)


def _keras(labels, logits, lengths, frames):
    return ops.nn.ctc_loss(labels, logits, lengths, frames, mask_index=BLANK)


def _native(labels, logits, lengths, frames):
    # TensorFlow's kernel for sparse labels takes a fifth of the time of the dense code behind keras.ops. It wants the
    # blank last, and no empty label: those get a stand-in, and their result is thrown away
    import tensorflow as tf

    first = tf.where((lengths > 0)[:, None], labels[:, :1], 1)
    labels = tf.concat([first, labels[:, 1:]], axis=1)
    return tf.compat.v1.nn.ctc_loss(
        tf.sparse.map_values(lambda ids: ids - 1, tf.sparse.from_dense(labels)),
        tf.concat([logits[..., 1:], logits[..., :1]], axis=-1),
        frames,
        time_major=False,
        ignore_longer_outputs_than_inputs=True,
    )

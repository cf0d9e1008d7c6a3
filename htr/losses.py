"""Floor 1: losses in which padding has no part, whatever stands there: numbers, NaN or inf; its gradient is exactly 0.

Every loss weighs each place with a mask (0 or False: padding) and comes to the same as on the unpadded arrays. As
functions with a `reduction`: "none" (one value a place, 0 at padding), "sequence" (batch,): the sum over each sample,
"sum", or "mean": sum / sum of the mask, 0 where nothing counts. As `keras.losses.Loss` for `compile`, where
`sample_weight` gives the mask.
"""

import math

import keras
from keras import ops
from keras.src.losses.loss import scale_loss_for_distribution as per_replica

from htr.charset import END
from htr.masks import PACKAGE, align, carried_mask

REDUCTIONS = ("none", "sequence", "sum", "mean")


def masked_sparse_crossentropy(
    labels, predictions, mask=None, *, padding: int = 0, from_logits: bool = True, reduction: str = "mean"
):
    """labels (batch, frames), predictions (batch, frames, classes) -> -log p of each frame's label, reduced.

    A frame counts where its label is not `padding`; where a mask (batch, frames) is given, it alone decides.
    Predictions are logits, or probabilities with from_logits=False.
    """
    _same_frames(labels, predictions)
    weights = _weights(_holds(labels, padding) if mask is None else mask, 2)
    counts = ops.not_equal(weights, 0.0)
    # chosen before the loss and weighed behind it: one of the two alone lets a NaN into the value or the gradient
    labels = ops.cast(ops.where(counts, labels, 0), "int32")
    values = ops.sparse_categorical_crossentropy(labels, _safe(predictions, counts, 1.0), from_logits=from_logits)
    return _reduce(values, weights, reduction)


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
    return masked_sparse_crossentropy(targets, logits, counts, reduction="sequence")


def masked_crossentropy(y_true, predictions, mask=None, *, from_logits: bool = True, reduction: str = "mean"):
    """y_true (batch, frames, classes) one-hot or soft, predictions alike -> cross-entropy of each frame, reduced.

    A frame counts where its vector is not all zeros; where a mask (batch, frames) is given, it alone decides.
    """
    _same_frames(y_true, predictions)
    weights = _weights(ops.any(ops.not_equal(y_true, 0), axis=-1) if mask is None else mask, 2)
    counts = ops.not_equal(weights, 0.0)
    y_true, predictions = _safe(y_true, counts, 0.0), _safe(predictions, counts, 1.0)
    return _reduce(ops.categorical_crossentropy(y_true, predictions, from_logits=from_logits), weights, reduction)


def masked_loss(y_true, y_pred, mask, *, from_logits: bool = False, reduction: str = "mean"):
    """y_true, y_pred (batch, height, width, channels) of 0..1, mask (batch, height, width, 1) -> binary cross-entropy

    divided by the mask's sum (over every channel it is laid on). A mask (batch, width) is one of columns; any other
    belongs to the leading axes. Where nothing counts the loss and its gradient are 0.
    """

    def values(truth, guess):
        return ops.binary_crossentropy(truth, guess, from_logits=from_logits)

    return _by_place(values, y_true, y_pred, mask, reduction)


def masked_squared_error(y_true, y_pred, mask, *, reduction: str = "mean"):
    """y_true, y_pred of one shape, e.g. (batch, words, height, width, channels) -> the squared error where mask counts.

    The mask is of words (batch, words), of pixels (batch, words, height, width, 1), or as in `masked_loss`.
    """
    return _by_place(lambda truth, guess: ops.square(truth - guess), y_true, y_pred, mask, reduction)


def heatmap_loss(y_true, y_pred, *, hole: float = -100.0, kind: str = "squared_error", reduction: str = "mean"):
    """heatmaps y_true, y_pred of one shape -> the loss over the places where y_true is not `hole` (NaN may be one).

    kind: "squared_error", or "crossentropy" for probabilities of 0..1.
    """
    return _heatmap_kind(kind)(y_true, y_pred, _holds(y_true, hole), reduction=reduction)


def _heatmap_kind(kind: str):
    kinds = {"squared_error": masked_squared_error, "crossentropy": masked_loss}
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}, it must be one of {', '.join(kinds)}.")
    return kinds[kind]


def _by_place(loss, y_true, y_pred, mask, reduction: str):
    """loss(y_true, y_pred) of each place, weighed by a mask that is laid on all axes."""
    rank = len(y_pred.shape)
    weights = ops.broadcast_to(_weights(mask, rank), ops.shape(y_pred))
    counts = ops.not_equal(weights, 0.0)
    y_true, y_pred = (ops.where(counts, ops.cast(values, "float32"), 0.5) for values in (y_true, y_pred))
    return _reduce(loss(y_true, y_pred), weights, reduction)


def _weights(mask, rank: int):
    return align(ops.cast(mask, "float32"), rank)


def _holds(values, padding: float):
    """Where values are not the padding, which may be NaN."""
    return ops.logical_not(ops.isnan(values)) if math.isnan(padding) else ops.not_equal(values, padding)


def _safe(values, counts, instead: float):
    """values (batch, frames, classes), float32, with `instead` wherever counts (batch, frames) is False."""
    return ops.where(counts[..., None], ops.cast(values, "float32"), instead)


def _same_frames(labels, predictions) -> None:
    frames = labels.shape[1], predictions.shape[1]
    if None not in frames and frames[0] != frames[1]:
        raise ValueError(f"{frames[0]} labels came for {frames[1]} frames: pad both to one length.")


def _reduce(values, weights, reduction: str):
    """values and weights of one shape -> values * weights, reduced."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}, it must be one of {', '.join(REDUCTIONS)}.")
    values = values * weights
    if reduction == "none":
        return values
    if reduction == "sequence":
        return ops.sum(values, axis=tuple(range(1, len(values.shape))))
    if reduction == "sum":
        return ops.sum(values)
    total = ops.sum(weights)
    return ops.sum(values) / ops.where(ops.equal(total, 0.0), 1.0, total)


class _Masked(keras.losses.Loss):
    """A loss of this file for `compile`. `reduction` is Keras' word: "mean" (also "sum_over_batch_size"), "sum", None.

    `sample_weight` multiplies the loss's own mask: (batch,), or as fine as the mask itself; "mean" divides by the sum.
    """

    def __init__(self, *, reduction="sum_over_batch_size", name: str | None = None, **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras' own call would multiply a mask into the loss: 0 * NaN
        reduction = {None: "none", "none": "none", "sum": "sum"}.get(self.reduction, "mean")
        own = self._own_mask(y_true, y_pred)
        y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
        rank = len(own.shape)
        weights = ops.cast(own, "float32")
        if sample_weight is not None:
            weights = weights * align(ops.cast(sample_weight, "float32"), rank)
        loss = self._loss(y_true, y_pred, weights, reduction)
        return per_replica(loss) if reduction == "mean" else loss  # a distribution strategy sums over its devices

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def _own_mask(self, y_true, y_pred):
        """The mask that goes without saying: what Keras carries with the predictions, as wide as they are."""
        carried = carried_mask(y_pred)
        ones = ops.ones_like(y_pred, dtype="float32")
        return ones if carried is None else ones * _weights(carried, len(y_pred.shape))

    def _loss(self, y_true, y_pred, weights, reduction: str):
        raise NotImplementedError


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedSparseCrossentropy(_Masked):
    """`masked_sparse_crossentropy`; the labels say which frames count."""

    def __init__(self, *, padding: int = 0, from_logits: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.padding, self.from_logits = padding, bool(from_logits)

    def _own_mask(self, y_true, y_pred):
        return _holds(y_true, self.padding)

    def _loss(self, y_true, y_pred, weights, reduction):
        return masked_sparse_crossentropy(y_true, y_pred, weights, from_logits=self.from_logits, reduction=reduction)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedCrossentropy(_Masked):
    """`masked_crossentropy`; a label of zeros says that its frame does not count."""

    def __init__(self, *, from_logits: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.from_logits = bool(from_logits)

    def _own_mask(self, y_true, y_pred):
        return ops.any(ops.not_equal(y_true, 0), axis=-1)

    def _loss(self, y_true, y_pred, weights, reduction):
        return masked_crossentropy(y_true, y_pred, weights, from_logits=self.from_logits, reduction=reduction)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedLoss(_Masked):
    """`masked_loss`, binary cross-entropy under the mask that Keras carries, times `sample_weight`."""

    def __init__(self, *, from_logits: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.from_logits = bool(from_logits)

    def _loss(self, y_true, y_pred, weights, reduction):
        return masked_loss(y_true, y_pred, weights, from_logits=self.from_logits, reduction=reduction)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedSquaredError(_Masked):
    """`masked_squared_error` under the mask that Keras carries, times `sample_weight`."""

    def _loss(self, y_true, y_pred, weights, reduction):
        return masked_squared_error(y_true, y_pred, weights, reduction=reduction)


@keras.saving.register_keras_serializable(package=PACKAGE)
class HeatmapLoss(_Masked):
    """`heatmap_loss`; the targets say which places count."""

    def __init__(self, *, hole: float = -100.0, kind: str = "squared_error", **kwargs):
        super().__init__(**kwargs)
        self.hole, self.kind = float(hole), kind

    def _own_mask(self, y_true, y_pred):
        return _holds(y_true, self.hole)

    def _loss(self, y_true, y_pred, weights, reduction):
        return _heatmap_kind(self.kind)(y_true, y_pred, weights, reduction=reduction)

    def get_config(self):
        return {**super().get_config(), "hole": self.hole, "kind": self.kind}

"""Floor 0: masks: which columns or pixels count, how that follows a stride, a pool or a resize, how it is used.

Two kinds of mask occur everywhere: a column mask (batch, width), which Keras carries from layer to layer, and a pixel
mask (batch, height, width, 1), which is passed beside the image. True (or any number but 0) means "counts".
"""

import math

import keras
from keras import ops
from keras.src.backend import get_keras_mask

PACKAGE = "htr"  # the name under which Keras saves what is registered


def carried_mask(features):
    """What a layer gave out -> the mask that Keras carries with it, or None."""
    # not its attribute `_keras_mask`: a tracer of JAX cannot have one, there Keras keeps a table
    return get_keras_mask(features)


def align(mask, rank: int):
    """mask (batch, ...) -> the same, broadcastable to an array with `rank` axes.

    (batch, width) belongs to the columns of images (batch, height, width, channels); any other mask to leading axes.
    """
    if len(mask.shape) == 2 and rank == 4:
        return mask[:, None, :, None]
    if len(mask.shape) > rank:
        raise ValueError(
            f"A mask of shape {tuple(mask.shape)} came for an array with {rank} axes: give at most as many."
        )
    return mask[(..., *[None] * (rank - len(mask.shape)))]


def spread(mask, rank: int):
    """`align`, as booleans."""
    return align(ops.cast(mask, "bool"), rank)


def hide(features, mask, *, finite: bool = False):
    """features (batch, ..., channels) -> the same with 0 where mask is False; a NaN or inf there is gone too.

    `finite=True` says that there is neither: a product does then, in two thirds of the time on a CPU.
    """
    if mask is None:
        return features
    mask = spread(mask, len(features.shape))
    if finite:
        return features * ops.cast(mask, features.dtype)
    # where, not a product: 0 * NaN is NaN, and so is its gradient
    return ops.where(mask, features, 0.0)


def take_mask(inputs, mask=None):
    """What a masked layer was called with -> (features, mask or None, whether the mask came as a second input)."""
    if isinstance(inputs, (list, tuple)):
        if len(inputs) != 2:
            raise ValueError(f"{len(inputs)} inputs came, a masked layer takes features or [features, mask].")
        return inputs[0], inputs[1], True
    return inputs, mask, False


def stride_mask(mask, strides):
    """mask (batch, width) or (batch, height, width, 1) -> every stride-th entry: valid where the first pixel was."""
    # a pool of one pixel is mask[:, ::stride] in the arithmetic of a convolution: JAX proves the two widths equal
    return mask if max(strides) == 1 else pool_mask(mask, (1, 1), strides)


def window_mask(mask, kernel_size, strides, dilation_rate):
    """mask -> the mask of a "valid" convolution: an output counts where its whole window does."""
    mask = ops.cast(mask, "bool")
    axes = (1,) if len(mask.shape) == 2 else (0, 1)
    for axis in axes:
        reach, inside = (kernel_size[axis] - 1) * dilation_rate[axis], None
        for start in range(0, reach + 1, dilation_rate[axis]):
            part = slice(start, (start - reach) or None)
            tap = mask[:, part] if axis == 0 or len(mask.shape) == 2 else mask[:, :, part]
            inside = tap if inside is None else ops.logical_and(inside, tap)
        mask = inside
    return stride_mask(mask, strides)


def pool_mask(mask, pool_size, strides):
    """mask -> the mask of `max_pool`, boolean: an output counts where any of its window does."""
    values = ops.cast(mask, "float32")
    if len(mask.shape) == 2:
        # plain numbers: in a saved model a tuple comes back as a list, which Keras refuses on JAX
        pooled = max_pool(values[..., None], pool_size[1], strides[1])[..., 0]
    else:
        pooled = max_pool(values, pool_size, strides)
    return ops.cast(pooled, "bool")


def max_pool(features, pool_size, strides):
    """(batch, height, width, channels) -> (batch, ceil(height / s), ceil(width / s), channels), or without height.

    The grid starts at the first pixel whatever the size is, what is missing is added on the right and at the bottom,
    and it never wins. Keras' "same" centres the windows and so moves them with the width, if they are wider than 2.
    """
    sizes = (pool_size,) if isinstance(pool_size, int) else pool_size
    native = max(sizes) <= 2
    if not native:
        margins = [(0, 0), *((0, size - 1) for size in sizes), (0, 0)]
        features = ops.pad(features, margins, constant_values=-math.inf)
    return ops.max_pool(features, pool_size, strides, "same" if native else "valid", data_format="channels_last")


def resize_mask(mask, size=None, *, stride=None, mode: str = "exact"):
    """mask (batch, width) or (batch, height, width, 1) -> the mask of a feature map.

    Either `size` of the map (a width, or (height, width)) or the `stride` that made it. "exact" takes every stride-th
    entry, as a strided convolution does; "pool" asks for any entry of each stride, as a pool does; both keep the dtype.
    "bilinear" needs `size` and gives float32 between 0 and 1: how much of the place counts.
    """
    wide = len(mask.shape) == 2
    pixels = mask[:, None, :, None] if wide else mask
    size, stride = (pair and (1, pair) if wide else pair and tuple(pair) for pair in (size, stride))
    if mode not in ("exact", "pool", "bilinear") or (mode == "bilinear") > (size is not None) or not (size or stride):
        raise ValueError(
            f"mode {mode!r} came with size {size} and stride {stride}: give 'exact' or 'pool' a size or a stride, "
            "or 'bilinear' a size."
        )
    if mode == "bilinear":
        resized = ops.image.resize(ops.cast(pixels, "float32"), size, "bilinear", data_format="channels_last")
    else:
        stride = stride or _stride_between(pixels.shape[1:3], size)
        resized = ops.cast(pool_mask(pixels, (1, 1) if mode == "exact" else stride, stride), mask.dtype)
    return resized[:, 0, :, 0] if wide else resized


def _stride_between(before, after) -> tuple[int, int]:
    strides = tuple(-(-large // small) for large, small in zip(before, after, strict=True))
    reached = tuple(-(-large // stride) for large, stride in zip(before, strides, strict=True))
    if reached != tuple(after):
        raise ValueError(
            f"No stride takes a mask of {tuple(before)} to {tuple(after)}: give the stride, or 'bilinear'."
        )
    return strides


def binary_mask(probabilities, threshold: float = 0.5):
    """probabilities, any shape -> float32 of the same shape: 1 above the threshold, else 0 (a NaN too)."""
    return ops.cast(ops.greater(probabilities, threshold), "float32")


def apply_mask(images, mask):
    """images (..., channels), mask (..., 1), of 0..1 or boolean -> images * mask; whatever stands under a 0 is gone."""
    dtype = keras.backend.standardize_dtype(images.dtype)
    images, mask = (ops.cast(values, dtype if "float" in dtype else "float32") for values in (images, mask))
    return ops.where(ops.equal(mask, 0), 0.0, images) * mask


def time_mask(mask, features: int):
    """mask (batch, frames) -> (batch, frames, features) float32, each frame's value repeated."""
    return ops.repeat(ops.cast(mask, "float32")[..., None], features, axis=-1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PaddingMask(keras.layers.Layer):
    """images (batch, height, width, channels) -> the same with 0 for padding, carrying a column mask (batch, width).

    A column is padding where each of its pixels equals `value`, which no pixel of an image can have.
    """

    def __init__(self, value: float = -1.0, **kwargs):
        super().__init__(**kwargs)
        self.value = float(value)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        differs = ops.logical_not(ops.isnan(inputs)) if math.isnan(self.value) else ops.not_equal(inputs, self.value)
        return ops.any(differs, axis=(1, 3))

    def call(self, inputs):
        return hide(inputs, self.compute_mask(inputs))

    def get_config(self):
        return {**super().get_config(), "value": self.value}


class _MaskReader(keras.layers.Layer):
    """A layer that hands on the column mask that its features carry, alone or as the first of a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(inputs, (list, tuple)) and mask is not None else mask


@keras.saving.register_keras_serializable(package=PACKAGE)
class LearnedMask(_MaskReader):
    """features (batch, height, width, channels) -> the same times a gate (batch, height, width, 1) between 0 and 1.

    The gate is a sigmoid of one convolution, open (0.88) at the start: the network learns which places count. With
    `return_gate=True` -> [features, gate], so that `masked_loss` can show it the true ink. Padding stays 0.
    """

    def __init__(self, kernel_size: int = 3, *, return_gate: bool = False, **kwargs):
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, a gate needs an odd one: it stands over its pixel.")
        self.kernel_size, self.return_gate = int(kernel_size), bool(return_gate)

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], 1)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(1,), initializer=keras.initializers.Constant(2.0))

    def call(self, inputs, mask=None):
        features = hide(inputs, mask)
        gate = ops.conv(features, self.kernel, padding="same", data_format="channels_last") + self.bias
        gate = hide(ops.sigmoid(gate), mask, finite=True)
        return [features * gate, gate] if self.return_gate else features * gate

    def compute_mask(self, inputs, mask=None):
        return [mask, None] if self.return_gate else mask

    def get_config(self):
        return {**super().get_config(), "kernel_size": self.kernel_size, "return_gate": self.return_gate}


@keras.saving.register_keras_serializable(package=PACKAGE)
class LearnedFill(_MaskReader):
    """images (batch, height, width, channels) with holes -> the same with a trained value (channels,) in each hole.

    Holes are NaN pixels, or the zeros of a mask: [images, mask (batch, height, width, 1)], or with `mask_channel=True`
    the images' own last channel, which stays as it is. Padding is no hole: it stays 0, known by the column mask that
    the images carry from `PaddingMask`.
    """

    def __init__(self, *, mask_channel: bool = False, initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.mask_channel, self.initializer = bool(mask_channel), keras.initializers.get(initializer)

    def build(self, input_shape):
        channels = (input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape)[-1]
        self.fill = self.add_weight(name="fill", shape=(channels - self.mask_channel,), initializer=self.initializer)

    def call(self, inputs, mask=None):
        images, holes, listed = take_mask(inputs)
        columns = mask[0] if listed and mask is not None else mask
        if self.mask_channel:
            images, holes = images[..., :-1], images[..., -1:]
        missing = ops.isnan(images)
        if holes is not None:
            missing = ops.logical_or(missing, ops.equal(holes, 0))
        filled = ops.where(missing, ops.cast(self.fill, images.dtype), images)
        return hide(ops.concatenate([filled, holes], axis=-1) if self.mask_channel else filled, columns)

    def get_config(self):
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "mask_channel": self.mask_channel, "initializer": initializer}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskChannel(_MaskReader):
    """[images (batch, height, width, channels), mask (batch, height, width, 1)] -> images with one channel more.

    Stands behind `PaddingMask`: the column mask that the images carry goes on, and both are 0 outside it.
    """

    def call(self, inputs, mask=None):
        images, pixels = inputs
        stacked = ops.concatenate([images, ops.cast(pixels, images.dtype)], axis=-1)
        return hide(stacked, None if mask is None else mask[0])


@keras.saving.register_keras_serializable(package=PACKAGE)
class TimeMask(_MaskReader):
    """[frames (batch, time, features), mask (batch, time)] -> frames with `value` where the mask is 0, carrying it.

    For layers that read Keras' masks (LSTM, attention). A stock `Masking(value)` behind it finds the same frames, if
    `value` is one that no valid frame can have: 0 will not do, as blank paper in mid-word may well give zeros.
    """

    def __init__(self, value: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.value = float(value)

    def call(self, inputs):
        frames, mask = inputs
        return ops.where(spread(mask, 3), frames, self.value)

    def compute_mask(self, inputs, mask=None):
        return ops.cast(inputs[1], "bool")

    def get_config(self):
        return {**super().get_config(), "value": self.value}

"""Masks as arrays: which columns or pixels count, how that follows a stride, a pool or a resize, and how it is applied.

Two kinds of mask occur everywhere: a column mask (batch, width), which Keras carries from layer to layer, and a pixel
mask (batch, height, width, 1), which is passed beside the image. True (or any number but 0) means "counts".
"""

import math

from keras import ops


def spread(mask, rank: int):
    """mask (batch, width) or (batch, height, width[, 1]) -> the same, boolean, broadcastable to an array of `rank`."""
    mask = ops.cast(mask, "bool")
    if len(mask.shape) == rank:
        return mask
    if len(mask.shape) == 2 and rank == 4:
        return mask[:, None, :, None]
    if len(mask.shape) == rank - 1:
        return mask[..., None]
    raise ValueError(
        f"A mask of shape {tuple(mask.shape)} does not fit features with {rank} axes: give (batch, width), "
        "(batch, height, width) or (batch, height, width, 1)."
    )


def hide(features, mask):
    """features (batch, ..., channels) -> the same with 0 where mask is False; a NaN or inf there is gone too."""
    # where, not a product: 0 * NaN is NaN, and its gradient as well
    return features if mask is None else ops.where(spread(mask, len(features.shape)), features, 0.0)


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
        pooled = max_pool(values[:, None, :, None], (1, pool_size[1]), (1, strides[1]))[:, 0, :, 0]
    else:
        pooled = max_pool(values, pool_size, strides)
    return ops.cast(pooled, "bool")


def max_pool(features, pool_size, strides):
    """(batch, height, width, channels) -> (batch, ceil(height / s), ceil(width / s), channels).

    The grid starts at the first pixel whatever the size is, what is missing is added on the right and at the bottom,
    and it never wins. Keras' "same" centres the windows and so moves them with the width, if they are wider than 2.
    """
    native = max(pool_size) <= 2
    if not native:
        margins = [(0, 0), *((0, size - 1) for size in pool_size), (0, 0)]
        features = ops.pad(features, margins, constant_values=-math.inf)
    return ops.max_pool(features, pool_size, strides, "same" if native else "valid", data_format="channels_last")

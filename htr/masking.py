"""Floor 1: layers in which padding cannot be seen: features over a word do not depend on what stands right of it.

Every layer takes features with the column mask (batch, width) that Keras carries, or the list [features, mask] with a
pixel mask (batch, height, width, 1). Features come out as features, carrying their mask; a list comes out as a list
[features, mask]. Outputs are 0 outside the mask.
"""

import math

import keras
from keras import ops

from htr.masks import (
    PACKAGE,
    LearnedFill,
    LearnedMask,
    MaskChannel,
    PaddingMask,
    TimeMask,
    apply_mask,
    binary_mask,
    carried_mask,
    hide,
    max_pool,
    pool_mask,
    resize_mask,
    spread,
    stride_mask,
    take_mask,
    time_mask,
    window_mask,
)
from htr.normalization import KEEPS_ZERO, MaskedBatchNormalization, MaskedLayer

__all__ = [
    "PACKAGE",
    "LearnedFill",
    "LearnedMask",
    "MaskChannel",
    "MaskedBatchNormalization",
    "MaskedConv2D",
    "MaskedMaxPooling2D",
    "PaddingMask",
    "TimeMask",
    "apply_mask",
    "binary_mask",
    "carried_mask",
    "hide",
    "resize_mask",
    "time_mask",
]


def _pair(value, name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(int(size) for size in value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} is {value!r}, it must be a positive whole number or two (height, width).")
    return pair


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedConv2D(MaskedLayer):
    """features (batch, height, width, channels) -> (batch, new height, new width, filters), 0 outside the mask.

    "same" puts output j over input j * stride on every width: (kernel - 1) // 2 * dilation zeros go to the left and top
    and the rest to the right and bottom. Output j counts where input j * stride does. With "valid" an output counts
    where its whole window does. The sizes are ceil(size / stride), and floor((size - reach - 1) / stride) + 1 with
    reach = (kernel - 1) * dilation. `hide_outputs=False` leaves finite numbers outside the mask, for a
    `MaskedBatchNormalization(inputs_hidden=True)` behind, which then hides them at no cost.
    """

    def __init__(
        self,
        filters: int,
        kernel_size,
        *,
        strides=(1, 1),
        padding: str = "same",
        dilation_rate=(1, 1),
        activation=None,
        use_bias: bool = True,
        hide_outputs: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters, self.padding, self.use_bias, self.hide_outputs = int(filters), padding, use_bias, hide_outputs
        self.kernel_size, self.strides = _pair(kernel_size, "kernel_size"), _pair(strides, "strides")
        self.dilation_rate = _pair(dilation_rate, "dilation_rate")
        if padding not in ("same", "valid"):
            raise ValueError(f"padding is {padding!r}, it must be 'same' or 'valid'.")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"strides {self.strides} and dilation_rate {self.dilation_rate} exclude each other.")
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        channels = (input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape)[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer=self.bias_initializer)

    def call(self, inputs, mask=None):
        features, mask, listed = self._take(inputs, mask)
        outputs = self._convolve(features)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        # the padding that came in was 0: sums of weights went out, which the usual activations keep finite
        finite = self.activation in KEEPS_ZERO
        return self._hand_on(self.activation(outputs), mask, listed, hidden=not self.hide_outputs, finite=finite)

    def _convolve(self, features):
        # a centred stride-1 "same" has one grid for every width; any other is padded here, by amounts that ignore it
        native = self.padding == "valid" or (self.strides == (1, 1) and all(size % 2 for size in self.kernel_size))
        if not native:
            sides = [
                ((size - 1) // 2 * rate, size // 2 * rate)
                for size, rate in zip(self.kernel_size, self.dilation_rate, strict=True)
            ]
            features = ops.pad(features, [(0, 0), *sides, (0, 0)])
        return ops.conv(
            features,
            self.kernel,
            strides=self.strides,
            padding=self.padding if native else "valid",
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )

    def _follow(self, mask):
        if self.padding == "same":
            return stride_mask(mask, self.strides)
        return window_mask(mask, self.kernel_size, self.strides, self.dilation_rate)

    def get_config(self):
        plain = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "use_bias", "hide_outputs")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in plain},
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedMaxPooling2D(MaskedLayer):
    """features (batch, height, width, channels) -> (batch, ceil(height / s), ceil(width / s), channels), 0 outside.

    The grid starts at the first pixel and padding goes to the right, so the last valid column of an odd width stays and
    further columns change nothing. An output counts where any pixel of its window does; pixels that do not count never
    win. `nonnegative=True` says that the features are at least 0 (behind ReLU): hidden zeros then win nothing either,
    and a pass over memory is saved.
    """

    def __init__(self, pool_size=(2, 2), *, strides=None, nonnegative: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = _pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else _pair(strides, "strides")
        self.nonnegative = bool(nonnegative)

    def call(self, inputs, mask=None):
        if self.nonnegative:
            features, mask, listed = self._take(inputs, mask)
            # a window with nothing valid holds zeros alone
            return self._hand_on(max_pool(features, self.pool_size, self.strides), mask, listed, hidden=True)
        features, mask, listed = take_mask(inputs, mask)
        features = features if mask is None else ops.where(spread(mask, 4), features, -math.inf)
        return self._hand_on(max_pool(features, self.pool_size, self.strides), mask, listed)

    def _follow(self, mask):
        return pool_mask(mask, self.pool_size, self.strides)

    def get_config(self):
        own = {"pool_size": self.pool_size, "strides": self.strides, "nonnegative": self.nonnegative}
        return {**super().get_config(), **own}

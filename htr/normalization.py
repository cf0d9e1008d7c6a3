"""Floor 1: what masked layers share, and batch normalisation over what a mask lets through."""

import math

import keras
from keras import ops

from htr.devices import over_devices
from htr.masks import PACKAGE, hide, spread, take_mask

BLOCK = 64  # columns that are added up at a time
# activations with f(0) = 0
KEEPS_ZERO = tuple(map(keras.activations.get, ("linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh")))


class MaskedLayer(keras.layers.Layer):
    """What the layers share: taking [features, mask] or a carried mask, and handing the new one on the same way.

    `inputs_hidden=True` says that the features are 0 outside the mask already, as they come out of these layers and out
    of ReLU, dropout and sums behind them: a pass over memory is saved.
    """

    def __init__(self, *, inputs_hidden: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.inputs_hidden = bool(inputs_hidden)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        _, mask, listed = take_mask(inputs, mask)
        # a list hands its mask on as an output of its own; Keras then carries nothing
        return [None, None] if listed else None if mask is None else self._follow(ops.cast(mask, "bool"))

    def _take(self, inputs, mask):
        """-> features that are 0 outside the mask, mask or None, whether the mask came as an input."""
        features, mask, listed = take_mask(inputs, mask)
        return features if self.inputs_hidden else hide(features, mask), mask, listed

    def _follow(self, mask):
        """The mask of the input, boolean -> the mask of the output."""
        return mask

    def _hand_on(self, features, mask, listed: bool, *, hidden: bool = False, finite: bool = False):
        """Hide what lies outside the mask of the output; give that mask back where it came as an input."""
        if mask is None:
            return features
        followed = self._follow(ops.cast(mask, "bool"))
        features = features if hidden else hide(features, followed, finite=finite)
        return [features, ops.cast(followed, mask.dtype)] if listed else features

    def get_config(self):
        return {**super().get_config(), "inputs_hidden": self.inputs_hidden}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBatchNormalization(MaskedLayer):
    """features (batch, ..., channels) -> the same, normalised by mean and variance over what the mask lets through.

    Ioffe and Szegedy, "Batch Normalization", arXiv:1502.03167. Statistics are float32 whatever the dtype policy is; a
    batch in which nothing counts leaves the moving ones alone. Momentum is 0.9: 0.99 spoils short runs. With
    `inputs_hidden=True` finite numbers outside the mask will do: they are left out and hidden all the same.

    `renormalize=True` is Batch Renormalization (Ioffe, arXiv:1702.03275): a training step computes what inference will,
    and gradients go through the batch's statistics. Batches of like widths need it: their statistics are no one else's.
    """

    def __init__(
        self, *, momentum: float = 0.9, epsilon: float = 1e-3, activation=None, renormalize: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.momentum, self.epsilon, self.renormalize = float(momentum), float(epsilon), bool(renormalize)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        channels = (input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape)[-1]

        def weight(name, initializer, trainable):
            return self.add_weight(
                name=name, shape=(channels,), initializer=initializer, trainable=trainable, autocast=False
            )

        self.gamma, self.beta = weight("gamma", "ones", True), weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, inputs, training=None, mask=None):
        features, mask, listed = self._take(inputs, mask)
        features = ops.cast(features, "float32")
        counts = ops.ones((1,) * len(features.shape)) if mask is None else spread(mask, len(features.shape))
        counts = ops.cast(counts, "float32")
        if training and self.trainable:
            moving = ops.cast(self.moving_mean, "float32"), ops.cast(self.moving_variance, "float32")
            mean, variance = self._statistics(features, counts)
            gamma, beta = self._renormalized(mean, variance, *moving) if self.renormalize else (self.gamma, self.beta)
        else:
            mean, variance = ops.cast(self.moving_mean, "float32"), ops.cast(self.moving_variance, "float32")
            gamma, beta = self.gamma, self.beta
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        # masking the small scale and shift, (batch, 1, width, channels), saves a pass over the features
        outputs = features * (scale * counts) + (beta - mean * scale) * counts
        outputs = self.activation(ops.cast(outputs, self.compute_dtype))
        return self._hand_on(outputs, mask, listed, hidden=self.activation in KEEPS_ZERO)

    def _renormalized(self, mean, variance, moving_mean, moving_variance):
        """gamma and beta with which the batch comes out as the moving statistics would have it; bounds as published."""
        deviation = ops.sqrt(moving_variance + self.epsilon)
        ratio = ops.clip(ops.sqrt(variance + self.epsilon) / deviation, 1 / 3, 3.0)
        distance = ops.clip((mean - moving_mean) / deviation, -5.0, 5.0)
        return self.gamma * ops.stop_gradient(ratio), self.beta + self.gamma * ops.stop_gradient(distance)

    def _statistics(self, features, counts):
        """Mean and variance (channels,) over what counts, and the moving ones drawn towards them."""
        axes = tuple(range(len(features.shape) - 1))
        # first along the axes that the mask does not know (the height): what is then to be masked is small
        free = tuple(axis for axis in axes if counts.shape[axis] == 1 and features.shape[axis] != 1)
        size = math.prod(ops.shape(features)[axis] for axis in free)

        def total(values):
            values = ops.sum(values, axis=free, keepdims=True) if free else values
            return _sum_columns(ops.sum(values * counts, axis=axes[:-1]))

        count = ops.sum(counts) * ops.cast(size, "float32")
        # where devices share a batch, the statistics are the whole batch's
        count, values, squares = over_devices([count, total(features), total(ops.square(features))])
        mean = values / ops.maximum(count, 1.0)
        variance = ops.maximum(squares / ops.maximum(count, 1.0) - ops.square(mean), 0.0)
        keep = ops.where(count > 0, self.momentum, 1.0)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * keep + ops.stop_gradient(now) * (1.0 - keep))
        return mean, variance

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        own = {"momentum": self.momentum, "epsilon": self.epsilon, "renormalize": self.renormalize}
        return {**super().get_config(), **own, "activation": activation}


def _sum_columns(values):
    """values (width, channels) -> (channels,), added up in an order that columns of zeros behind do not change.

    A sum that is off by its last bit can push a unit over ReLU's edge, and a step's gradient with it.
    """
    channels = values.shape[-1]
    for _ in range(2):
        missing = -ops.shape(values)[0] % BLOCK
        values = ops.concatenate([values, ops.zeros((missing, channels))])
        values = ops.sum(ops.reshape(values, (-1, BLOCK, channels)), axis=1)
    return ops.sum(values, axis=0)

"""Floor 2: the network. It knows no text: images in, a distribution over classes at every frame out."""

import keras
from keras import layers, ops

from htr.config import ModelConfig
from htr.images import PAD
from htr.masking import LearnedFill, LearnedMask, MaskChannel, MaskedBatchNormalization, MaskedConv2D, PaddingMask
from htr.recurrent import MaskedBidirectional


@keras.saving.register_keras_serializable(package="htr")
class Columns(keras.layers.Layer):
    """features (batch, height, width, channels) -> (batch, width, height * channels), the column mask kept."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        height, channels = inputs.shape[1], inputs.shape[3]
        return ops.reshape(ops.transpose(inputs, (0, 2, 1, 3)), (ops.shape(inputs)[0], -1, height * channels))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, width, height * channels


@keras.saving.register_keras_serializable(package="htr")
class PixelMask(keras.layers.Layer):
    """images (batch, height, width, channels) -> (batch, height, width, 1): 0 where a pixel is NaN, else 1."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return 1.0 - ops.cast(ops.any(ops.isnan(inputs), axis=-1, keepdims=True), inputs.dtype)


def build_model(config: ModelConfig, num_classes: int) -> keras.Model:
    """images (batch, config.height, width, 1) padded with PAD on the right -> logits (batch, frames, num_classes)

    float32; the logits carry a Keras mask (batch, frames) of the frames that lie on the image. A CRNN (Shi et al.,
    "An End-to-End Trainable Neural Network for Image-based Sequence Recognition", arXiv:1507.05717) in which padding
    takes no part. Each layer is named: the names are the keys of the stored weights.
    """
    images = keras.Input((config.height, None, 1), name="images")
    features = PaddingMask(PAD, name="padding_mask")(images)
    if config.mask_channel:
        features = MaskChannel(name="mask_channel")([features, PixelMask(name="pixel_mask")(features)])
    if config.mask_channel or config.learned_fill:
        fill = LearnedFill(mask_channel=config.mask_channel, name="learned_fill")
        fill.trainable = config.learned_fill  # else a missing pixel stays 0, as paper is
        features = fill(features)
    for stage, (filters, stride_height, stride_width, convolutions) in enumerate(config.blocks, start=1):
        features = _convolution(features, filters, (stride_height, stride_width), f"conv{stage}_1", config)
        if config.learned_mask and stage == 1:
            features = LearnedMask(name="learned_mask")(features)
        for i in range(2, convolutions + 1):
            deeper = _convolution(features, filters, (1, 1), f"conv{stage}_{i}", config)
            features = layers.Add(name=f"add{stage}_{i}")([features, deeper])
    features = Columns(name="columns")(features)
    features = layers.Dense(config.columns, use_bias=False, name="project")(features)
    features = _norm("project_norm", config)(features)
    for i, units in enumerate(config.recurrent, start=1):
        # one draw a word and feature, the same at every frame: the noise cannot depend on the padded width
        features = layers.SpatialDropout1D(config.dropout, name=f"dropout{i}")(features)
        recurrent = layers.LSTM(units, return_sequences=True, name=f"lstm{i}")
        features = MaskedBidirectional(recurrent, name=f"bilstm{i}")(features)
    features = layers.SpatialDropout1D(config.dropout, name="dropout")(features)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(features)
    return keras.Model(images, logits, name="reader")


def _convolution(features, filters: int, strides: tuple[int, int], name: str, config: ModelConfig):
    # padding is hidden once, by the norm, not again by each layer: every pass over memory counts
    features = MaskedConv2D(
        filters, 3, strides=strides, use_bias=False, inputs_hidden=True, hide_outputs=False, name=name
    )(features)
    return _norm(f"{name}_norm", config)(features)


def _norm(name: str, config: ModelConfig) -> keras.layers.Layer:
    momentum = config.batch_norm_momentum
    return MaskedBatchNormalization(
        momentum=momentum, activation="relu", inputs_hidden=True, renormalize=True, name=name
    )

import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from htr.losses import MaskedSquaredError
from htr.masking import (
    LearnedFill,
    LearnedMask,
    MaskChannel,
    MaskedBatchNormalization,
    MaskedConv2D,
    MaskedMaxPooling2D,
    PaddingMask,
    TimeMask,
    apply_mask,
    binary_mask,
    carried_mask,
    resize_mask,
    time_mask,
)
from tests.gradients import gradient

EXTRA = (1, 2, 7, 64, 300)
# TensorFlow gives the very same bits; JAX picks another convolution for another width
TOLERANCE = 0 if keras.backend.backend() == "tensorflow" else 2e-6


def array(tensor):
    return ops.convert_to_numpy(tensor)


def image(*columns, height=1):
    """Numbers along a width -> (1, height, width, 1) float32."""
    return np.tile(np.array(columns, dtype=np.float32)[None, None, :, None], (1, height, 1, 1))


def widened(images, extra, value=-1.0):
    return np.pad(images, [(0, 0), (0, 0), (0, extra), (0, 0)], constant_values=value)


def with_mask(features, mask):
    """Features that carry a mask, as a layer would hand them on."""
    return Carrying()([features, np.asarray(mask, dtype=bool)])


class Carrying(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, inputs):
        return ops.convert_to_tensor(inputs[0]) + 0

    def compute_mask(self, inputs, mask=None):
        return inputs[1]


def ones(layer):
    """The same layer with a kernel of ones."""
    layer.kernel_initializer = keras.initializers.Ones()
    return layer


# --- PaddingMask


def test_padding_becomes_zero_and_its_columns_are_marked():
    out = PaddingMask()(image(0.5, 0, -1, -1))
    assert array(out)[0, 0, :, 0].tolist() == [0.5, 0, 0, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, False, False]]


def test_a_column_counts_where_any_of_its_pixels_is_no_padding():
    images = np.full((1, 3, 2, 1), -1, dtype=np.float32)
    images[0, 2, 0] = np.nan
    assert array(carried_mask(PaddingMask()(images))).tolist() == [[True, False]]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_any_value_may_stand_for_padding(value):
    out = PaddingMask(value)(image(0.5, value))
    assert array(out)[0, 0, :, 0].tolist() == [0.5, 0]
    assert array(carried_mask(out)).tolist() == [[True, False]]


# --- MaskedConv2D


def test_convolution_by_hand():
    out = ones(MaskedConv2D(1, (1, 3)))(with_mask(image(1, 2, 3, 4), [[1, 1, 1, 0]]))
    assert array(out)[0, 0, :, 0].tolist() == [3, 6, 5, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, True, False]]


def test_a_strided_convolution_starts_at_the_first_column_on_every_width():
    for columns, sums in (((1, 2, 3), [3, 5]), ((1, 2, 3, 4), [3, 9])):
        out = ones(MaskedConv2D(1, (1, 3), strides=(1, 2)))(image(*columns))
        assert array(out)[0, 0, :, 0].tolist() == sums


def test_a_strided_convolution_keeps_every_second_entry_of_the_mask():
    out = ones(MaskedConv2D(1, (1, 3), strides=(1, 2)))(with_mask(image(1, 2, 3, 9, 9), [[1, 1, 1, 0, 0]]))
    assert array(out)[0, 0, :, 0].tolist() == [3, 5, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]


def test_a_dilated_convolution_by_hand():
    out = ones(MaskedConv2D(1, (1, 3), dilation_rate=2))(with_mask(image(1, 2, 4, 8, 99), [[1, 1, 1, 1, 0]]))
    assert array(out)[0, 0, :, 0].tolist() == [5, 10, 5, 10, 0]


def test_an_even_kernel_leans_to_the_right():
    out = ones(MaskedConv2D(1, (1, 2)))(image(1, 2, 4))
    assert array(out)[0, 0, :, 0].tolist() == [3, 6, 4]


def test_a_valid_convolution_counts_where_its_whole_window_does():
    out = ones(MaskedConv2D(1, (1, 2), padding="valid"))(with_mask(image(1, 2, 4, 8), [[1, 1, 1, 0]]))
    assert array(out)[0, 0, :, 0].tolist() == [3, 6, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]
    out = ones(MaskedConv2D(1, (1, 3), padding="valid", strides=2))(with_mask(image(1, 2, 4, 8, 16), [[1, 1, 1, 1, 0]]))
    assert array(out)[0, 0, :, 0].tolist() == [7, 0]


def test_a_pixel_mask_goes_in_and_comes_out_beside_the_features():
    pixels = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=np.float32)[None, ..., None]
    images = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    images[pixels == 0] = np.nan
    features, mask = ones(MaskedConv2D(1, 3, strides=2))([images, pixels])
    assert array(features)[0, ..., 0].tolist() == [[7, 0], [19, 17]]
    assert array(mask)[0, ..., 0].tolist() == [[1, 0], [1, 1]]
    assert mask.dtype == features.dtype
    features, mask = ones(MaskedConv2D(1, 2, padding="valid"))([images, pixels])
    assert array(mask)[0, ..., 0].tolist() == [[0, 0], [0, 0]]
    features, mask = ones(MaskedConv2D(1, 3, dilation_rate=2))([images, pixels])
    assert array(mask).tolist() == pixels.tolist()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel, stride, rate", [(3, 1, 1), (3, 2, 1), (4, 2, 1), (5, 3, 1), (3, 1, 2), (1, 2, 1)])
def test_mask_and_features_have_one_shape(kernel, stride, rate, padding):
    layer = MaskedConv2D(2, kernel, strides=stride, dilation_rate=rate, padding=padding)
    for width in (5, 6, 7, 8, 9):
        images = np.random.default_rng(0).random((2, 6, width, 1), dtype=np.float32)
        features, mask = layer([images, np.ones_like(images)])
        assert features.shape[:3] == mask.shape[:3]
        assert array(mask).all()
        out = layer(with_mask(images, np.ones((2, width))))
        assert array(carried_mask(out)).shape == (2, out.shape[2])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_nothing_that_stands_in_padding_leaks(value):
    images, mask = image(1, 2, value, value, height=3), [[1, 1, 0, 0]]
    for layer in (MaskedConv2D(2, 3), MaskedBatchNormalization(), MaskedMaxPooling2D(), LearnedMask()):
        out = array(layer(with_mask(images, mask)))
        clean = array(layer(with_mask(image(1, 2, 0, 0, height=3), mask)))
        assert np.array_equal(out, clean), layer.name


def test_padding_gets_no_gradient():
    layer = MaskedConv2D(2, 3, strides=(1, 2))
    norm = MaskedBatchNormalization()

    def loss(features):
        out, mask = norm(
            layer([features, np.array([1, 1, 1, 0], dtype=np.float32)[None, None, :, None]]), training=True
        )
        return ops.sum(ops.square(out - 0.3))

    (slope,) = gradient(loss, image(1, 2, 4, np.nan))
    assert np.isfinite(slope).all() and slope[0, 0, 3, 0] == 0 and np.abs(slope[0, 0, :3, 0]).min() > 0


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"padding": "full"}, "padding is 'full', it must be 'same' or 'valid'"),
        ({"strides": 0}, "strides is 0, it must be a positive whole number"),
        ({"strides": 2, "dilation_rate": 2}, "exclude each other"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        MaskedConv2D(1, 3, **settings)


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 inputs came"):
        MaskedConv2D(1, 3)([image(1), image(1), image(1)])


# --- MaskedBatchNormalization


def test_statistics_are_those_of_what_counts():
    layer = MaskedBatchNormalization(momentum=0.5, epsilon=0)
    out = layer(with_mask(image(1, 3, 99), [[1, 1, 0]]), training=True)
    assert array(out)[0, 0, :, 0] == pytest.approx([-1, 1, 0])
    assert array(layer.moving_mean) == pytest.approx([1])  # half of the mean, 2
    assert array(layer.moving_variance) == pytest.approx([1])  # half of 1 and half of 1
    assert array(layer(with_mask(image(1, 3, 99), [[1, 1, 0]])))[0, 0, :, 0] == pytest.approx([0, 2, 0])


def test_a_pixel_mask_and_frames_are_normalised_alike():
    layer = MaskedBatchNormalization(epsilon=0)
    out, _ = layer([image(1, 3, 99), image(1, 1, 0)], training=True)
    assert array(out)[0, 0, :, 0] == pytest.approx([-1, 1, 0])
    frames = np.array([[[1.0], [3], [99]]], dtype=np.float32)
    out = MaskedBatchNormalization(epsilon=0)(with_mask(frames, [[1, 1, 0]]), training=True)
    assert array(out)[0, :, 0] == pytest.approx([-1, 1, 0])


def test_without_a_mask_it_is_keras_batch_normalization():
    images = np.random.default_rng(1).normal(2, 3, (4, 5, 6, 3)).astype("float32")
    ours, stock = MaskedBatchNormalization(), keras.layers.BatchNormalization(momentum=0.9)
    for _ in range(2):
        assert array(ours(images, training=True)) == pytest.approx(array(stock(images, training=True)), abs=1e-5)
    assert array(ours(images)) == pytest.approx(array(stock(images)), abs=1e-5)


def test_a_batch_in_which_nothing_counts_changes_no_statistics():
    layer = MaskedBatchNormalization()
    out = layer(with_mask(image(5, 7), [[0, 0]]), training=True)
    assert array(out).tolist() == np.zeros((1, 1, 2, 1)).tolist()
    assert array(layer.moving_mean).tolist() == [0] and array(layer.moving_variance).tolist() == [1]


def test_a_frozen_norm_uses_its_moving_statistics():
    layer = MaskedBatchNormalization(epsilon=0)
    layer.trainable = False
    assert array(layer(image(1, 3), training=True))[0, 0, :, 0] == pytest.approx([1, 3])


def test_a_norm_hides_what_a_convolution_left():
    features, mask = image(1, 2, 3, 0, 0, height=2), [[1, 1, 1, 0, 0]]
    results = []
    for hide in (True, False):
        conv = ones(MaskedConv2D(2, 3, hide_outputs=hide))(with_mask(features, mask))
        assert array(conv)[0, 0, 3].any() != hide
        norm = MaskedBatchNormalization(activation="relu", inputs_hidden=True)
        results.append([array(norm(conv, training=True)), array(norm.moving_mean), array(norm.moving_variance)])
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)
    assert not results[1][0][:, :, 3:].any()


def test_an_activation_that_lifts_zero_is_masked_behind():
    out = MaskedBatchNormalization(activation="sigmoid")(with_mask(image(1, 3), [[1, 0]]))
    assert array(out)[0, 0, 1, 0] == 0 < array(out)[0, 0, 0, 0]


# --- MaskedMaxPooling2D


def test_pooling_negative_numbers_never_takes_the_padding():
    out = MaskedMaxPooling2D((1, 2))(with_mask(image(-3, -2, -5, 0, 0, 0), [[1, 1, 1, 0, 0, 0]]))
    assert array(out)[0, 0, :, 0].tolist() == [-2, -5, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]


@pytest.mark.parametrize("nonnegative", [False, True])
def test_pooling_keeps_the_last_column_of_an_odd_width(nonnegative):
    layer = MaskedMaxPooling2D((1, 2), nonnegative=nonnegative)
    assert array(layer(image(3, 2, 5)))[0, 0, :, 0].tolist() == [3, 5]
    assert array(layer(with_mask(image(3, 2, 5, 9), [[1, 1, 1, 0]])))[0, 0, :, 0].tolist() == [3, 5]


def test_wide_pools_start_at_the_first_column():
    for columns, pooled in (((1, 9, 2, 3), [9, 3]), ((1, 9, 2, 3, 4), [9, 4]), ((1, 9, 2, 3, 4, 5, 0), [9, 5, 0])):
        assert array(MaskedMaxPooling2D((1, 3))(image(*columns)))[0, 0, :, 0].tolist() == pooled


def test_pooling_a_pixel_mask_takes_any_pixel_of_a_window():
    pixels = np.array([[0, 0, 0], [1, 0, 0]], dtype=np.float32)[None, ..., None]
    features, mask = MaskedMaxPooling2D()([-np.ones((1, 2, 3, 1), dtype=np.float32), pixels])
    assert array(features)[0, 0, :, 0].tolist() == [-1, 0] and array(mask)[0, 0, :, 0].tolist() == [1, 0]


# --- all together: extra columns change nothing


def network(channels=1, height=16):
    images = keras.Input((height, None, channels))
    x = PaddingMask(name="padding")(images)
    x = LearnedFill(name="fill")(x)
    x = MaskedConv2D(6, 3, strides=(2, 2), use_bias=False, inputs_hidden=True, hide_outputs=False, name="conv1")(x)
    x = MaskedBatchNormalization(activation="relu", inputs_hidden=True, name="norm1")(x)
    x = LearnedMask(name="gate")(x)
    x = MaskedMaxPooling2D((2, 1), nonnegative=True, name="pool1")(x)
    x = MaskedConv2D(6, 4, dilation_rate=2, activation="sigmoid", name="conv2")(x)
    x = MaskedMaxPooling2D((2, 3), name="pool2")(x)
    x = MaskedConv2D(4, (1, 2), padding="valid", name="conv3")(x)
    return keras.Model(images, x)


@pytest.mark.parametrize("width", [32, 33])
def test_extra_columns_change_nothing(width):
    keras.utils.set_random_seed(0)
    model = network()
    images = np.random.default_rng(width).random((2, 16, width, 1), dtype=np.float32)
    images[0, 3, 4:7] = np.nan  # holes, not padding
    alone = model(images)
    columns = alone.shape[2]
    assert array(carried_mask(alone)).all() and np.isfinite(array(alone)).all()
    for extra in EXTRA:
        wide = model(widened(images, extra))
        assert np.abs(array(wide)[:, :, :columns] - array(alone)).max() <= TOLERANCE, extra
        assert not array(wide)[:, :, columns:].any()
        assert array(carried_mask(wide)).sum(axis=1).tolist() == [columns, columns]


def test_a_training_step_does_not_see_extra_columns():
    images = np.random.default_rng(3).random((2, 16, 33, 1), dtype=np.float32)
    results = []
    for extra in (0, 200):
        keras.utils.set_random_seed(0)
        model = network()
        model.build((None, 16, None, 1))
        model.compile(keras.optimizers.SGD(0.1), MaskedSquaredError())
        wide = widened(images, extra)
        target = np.zeros(model.compute_output_shape(wide.shape), dtype=np.float32)
        results.append((model.train_on_batch(wide, target), [array(weight) for weight in model.weights]))
    (loss, weights), (wide_loss, wide_weights) = results
    assert wide_loss == pytest.approx(loss, rel=1e-6)
    for one, other in zip(weights, wide_weights, strict=True):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-6)


def test_mixed_precision_keeps_masks_and_float32_statistics():
    images = keras.Input((4, None, 1))
    x = PaddingMask(dtype="mixed_bfloat16")(images)
    x = MaskedConv2D(2, 3, dtype="mixed_bfloat16")(x)
    norm = MaskedBatchNormalization(activation="relu", dtype="mixed_bfloat16")
    model = keras.Model(images, MaskedMaxPooling2D(dtype="mixed_bfloat16")(norm(x)))
    out = model(image(0.5, 0.25, 0.125, -1, -1, height=4), training=True)
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(norm.moving_mean.dtype) == "float32"
    assert array(carried_mask(out)).tolist() == [[True, True, False]]


# --- LearnedMask, LearnedFill, MaskChannel, TimeMask


def test_a_gate_starts_open_and_gates_features():
    layer = LearnedMask(1, return_gate=True)
    layer.build((1, 1, None, 2))
    layer.kernel.assign(np.array([math.log(3), 0], dtype=np.float32).reshape(1, 1, 2, 1))
    layer.bias.assign([0])
    features = np.array([[[[1, 4], [-1, 8]]]], dtype=np.float32)
    gated, gate = layer(features)
    assert array(gate)[0, 0, :, 0] == pytest.approx([0.75, 0.25])
    assert array(gated)[0, 0] == pytest.approx(np.array([[0.75, 3], [-0.25, 2]]))
    assert array(LearnedMask()(np.zeros((1, 2, 2, 1), dtype=np.float32))).max() == 0
    with pytest.raises(ValueError, match="kernel_size is 2, a gate needs an odd one"):
        LearnedMask(2)


def test_holes_get_the_trained_value_and_padding_does_not():
    layer = LearnedFill(initializer=keras.initializers.Constant(0.25))
    out = layer(PaddingMask()(image(0.5, np.nan, -1)))
    assert array(out)[0, 0, :, 0].tolist() == [0.5, 0.25, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]
    out = layer([PaddingMask()(image(0.5, 0.75, -1)), image(1, 0, 0)])
    assert array(out)[0, 0, :, 0].tolist() == [0.5, 0.25, 0]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]


def test_holes_may_be_marked_in_the_last_channel():
    layer = LearnedFill(mask_channel=True, initializer=keras.initializers.Constant(0.25))
    images = np.concatenate([image(0.5, 0.75, -1), image(1, 0, -1)], axis=-1)
    out = array(layer(PaddingMask()(images)))
    assert out[0, 0].tolist() == [[0.5, 1], [0.25, 0], [0, 0]]


def test_a_fill_learns_from_its_holes_alone():
    layer = LearnedFill()
    layer.build((1, 1, None, 1))
    assert gradient(lambda value: ops.sum(ops.where(np.isnan(image(1, np.nan)), value, 0)), [2.0])[0].tolist() == [1]
    keras.utils.set_random_seed(0)
    images = keras.Input((1, None, 1))
    model = keras.Model(images, layer(PaddingMask()(images)))
    model.compile(keras.optimizers.SGD(0.5), MaskedSquaredError())
    for _ in range(20):
        model.train_on_batch(image(0.5, np.nan, np.nan, -1), image(0.5, 0.75, 0.25, 99))
    assert array(layer.fill) == pytest.approx([0.5], abs=1e-3)


def test_the_mask_becomes_one_more_channel():
    out = MaskChannel()([PaddingMask()(image(0.5, 0, -1)), image(1, 0, 1)])
    assert array(out)[0, 0].tolist() == [[0.5, 1], [0, 0], [0, 0]]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]


def test_frames_carry_a_time_mask():
    frames = np.array([[[1, 2], [0, 0], [np.nan, 5]]], dtype=np.float32)
    out = TimeMask()([frames, np.array([[1, 1, 0]], dtype=np.float32)])
    assert array(out).tolist() == [[[1, 2], [0, 0], [0, 0]]]
    assert array(carried_mask(out)).tolist() == [[True, True, False]]


def test_blank_paper_in_mid_word_stays_valid_before_a_masking_layer():
    frames = np.array([[[1, 2], [0, 0], [3, 4], [0, 0]]], dtype=np.float32)
    mask = np.array([[1, 1, 1, 0]], dtype=np.float32)
    found = keras.layers.Masking(-1e9)(TimeMask(-1e9)([frames, mask]))
    assert array(carried_mask(found)).tolist() == [[True, True, True, False]]
    lost = keras.layers.Masking(0.0)(frames)
    assert array(carried_mask(lost)).tolist() == [[True, False, True, False]]


# --- functions


def test_masks_are_resized_by_striding_pooling_or_bilinearly():
    mask = np.array([[1, 0, 0, 1, 1]], dtype=bool)
    assert array(resize_mask(mask, 3)).tolist() == [[True, False, True]]
    assert array(resize_mask(mask, stride=2)).tolist() == [[True, False, True]]
    assert array(resize_mask(mask, 3, mode="pool")).tolist() == [[True, True, True]]
    assert array(resize_mask(mask[:, :4], 2, mode="bilinear")).tolist() == [[0.5, 0.5]]
    pixels = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=np.float32)[None, ..., None]
    assert array(resize_mask(pixels, (2, 2)))[0, ..., 0].tolist() == [[1, 0], [0, 1]]
    assert array(resize_mask(pixels, stride=(1, 2)))[0, ..., 0].tolist() == [[1, 0], [1, 0], [0, 1]]
    assert array(resize_mask(pixels[:, :2, :2], (1, 1), mode="bilinear")).tolist() == [[[[1.0]]]]


def test_a_resize_that_no_stride_makes_is_refused():
    with pytest.raises(ValueError, match=r"No stride takes a mask of \(1, 5\) to \(1, 4\)"):
        resize_mask(np.ones((1, 5), dtype=bool), 4)
    with pytest.raises(ValueError, match="give 'exact' or 'pool' a size or a stride"):
        resize_mask(np.ones((1, 5), dtype=bool), mode="bilinear")
    with pytest.raises(ValueError, match="mode 'nearest'"):
        resize_mask(np.ones((1, 5), dtype=bool), 5, mode="nearest")


def test_a_binary_mask_is_float32():
    mask = binary_mask(np.array([0.2, 0.5, 0.7, np.nan]))
    assert keras.backend.standardize_dtype(mask.dtype) == "float32"
    assert array(mask).tolist() == [0, 0, 1, 0]
    assert array(binary_mask(np.array([0.2, 0.5]), 0.1)).tolist() == [1, 1]


def test_one_mask_channel_is_laid_on_three_image_channels():
    images = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3)
    assert array(apply_mask(images, np.array([1, 0.0]).reshape(1, 1, 2, 1))).tolist() == [[[[1, 2, 3], [0, 0, 0]]]]
    assert array(apply_mask(images, np.array([False, True]).reshape(1, 1, 2, 1))).tolist() == [[[[0] * 3, [4, 5, 6]]]]
    assert array(apply_mask(images, np.array([0.5, 0.0]).reshape(1, 1, 2, 1)))[0, 0, 0].tolist() == [0.5, 1, 1.5]
    assert array(apply_mask(images.astype("uint8"), np.array([True, False]).reshape(1, 1, 2, 1)))[0, 0, 0].tolist() == [
        1,
        2,
        3,
    ]
    images[0, 0, 1] = np.nan
    slopes = gradient(lambda mask: ops.sum(apply_mask(images, mask)), np.array([1, 0]).reshape(1, 1, 2, 1))
    assert np.isfinite(slopes[0]).all()


def test_a_time_mask_is_repeated_over_features():
    assert array(time_mask(np.array([[True, False]]), 3)).tolist() == [[[1, 1, 1], [0, 0, 0]]]


# --- stock Keras around it


CODE = """
import json, sys, keras, numpy as np
import htr.masking, htr.losses, htr.keras_metrics
model = keras.models.load_model(sys.argv[1])
inputs = np.load(sys.argv[2])
outputs = model.predict(dict(inputs), verbose=0)
print(json.dumps([np.asarray(outputs).tolist(), type(model.loss).__name__]))
"""


def everything():
    images, pixels = keras.Input((8, None, 1), name="images"), keras.Input((8, None, 1), name="pixels")
    x = LearnedFill(name="fill")([PaddingMask(name="padding")(images), pixels])
    x = MaskChannel(name="channel")([x, pixels])
    x, mask = MaskedConv2D(4, 3, kernel_regularizer="l2", name="conv1")([x, pixels])
    x, mask = MaskedBatchNormalization(activation="relu", name="norm")([x, mask])
    x, mask = MaskedMaxPooling2D(strides=(2, 2), nonnegative=True, name="pool")([x, mask])
    x = LearnedMask(name="gate")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean", keepdims=True)(x)
    frames = keras.layers.Reshape((1, 4), name="frames")(x)
    frames = TimeMask(-1e9, name="time")([frames, keras.layers.Reshape((1,), name="ones")(x[:, :, :, :1] * 0 + 1)])
    frames = keras.layers.Masking(-1e9, name="masking")(frames)
    out = keras.layers.LSTM(3, name="lstm")(frames)
    return keras.Model({"images": images, "pixels": pixels}, out)


def test_a_model_of_all_layers_fits_and_survives_a_new_process(tmp_path):
    keras.utils.set_random_seed(0)
    model = everything()
    model.compile(keras.optimizers.SGD(0.1), MaskedSquaredError())
    rng = np.random.default_rng(0)
    inputs = {"images": rng.random((4, 8, 9, 1), dtype=np.float32), "pixels": np.ones((4, 8, 9, 1), dtype=np.float32)}
    inputs["images"][:, :, 6:] = -1
    history = model.fit(inputs, rng.random((4, 3)), epochs=5, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    expected = model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    command = [sys.executable, "-c", CODE, str(tmp_path / "model.keras"), str(tmp_path / "inputs.npz")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    outputs, loss = json.loads(done.stdout.splitlines()[-1])
    assert np.array(outputs) == pytest.approx(expected, abs=1e-6)
    assert loss == "MaskedSquaredError"


@pytest.mark.parametrize(
    "layer",
    [
        PaddingMask(3),
        MaskedConv2D(2, (3, 2), strides=2, padding="valid", activation="relu", use_bias=False, hide_outputs=False),
        MaskedBatchNormalization(momentum=0.8, epsilon=0.1, activation="tanh"),
        MaskedMaxPooling2D((1, 2), strides=(1, 1), nonnegative=True),
        LearnedMask(5, return_gate=True),
        LearnedFill(mask_channel=True, initializer="ones"),
        MaskChannel(),
        TimeMask(-7),
    ],
)
def test_every_layer_comes_back_from_its_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"].startswith("htr>")
    assert keras.saving.serialize_keras_object(keras.saving.deserialize_keras_object(config)) == config

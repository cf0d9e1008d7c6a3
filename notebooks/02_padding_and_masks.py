# %% [markdown]
# # Padding and masks
#
# A batch holds words of different widths. What does the padding do to a word, and what keeps it out? First one word at
# every layer, then the tools one by one. `docs/masks.md` has all of them on numbers. Set `IMAGE` to a word of your own.

# %%
import keras
import numpy as np
from keras import layers

import htr
from htr import plotting
from htr.images import to_ink

IMAGE = "../docs/samples/lantern.jpg"
reader = htr.load(engine="keras")
ink = to_ink(IMAGE, reader.config.height).pixels
plotting.word(np.pad(ink, ((0, 0), (0, 64)))).resize((4 * (ink.shape[1] + 64), 128))

# %% [markdown]
# ## What leaks without masks
#
# The same weights in stock Keras layers, which take the 64 columns of padding for paper.

# %%
x = images = keras.Input((reader.config.height, None, 1))
for stage, (filters, down, across, convolutions) in enumerate(reader.config.blocks, start=1):
    for i in range(1, convolutions + 1):
        before, name = x, f"conv{stage}_{i}"
        strides = (down, across) if i == 1 else 1
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))
        x = x if i == 1 else layers.Add(name=f"add{stage}_{i}")([before, x])
x = layers.Permute((2, 1, 3))(x)
x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
x = layers.Dense(reader.config.columns, use_bias=False, name="project")(x)
x = layers.ReLU(name="project_relu")(layers.BatchNormalization(name="project_norm")(x))
# %%
for i, units in enumerate(reader.config.recurrent, start=1):
    x = layers.Bidirectional(layers.LSTM(units, return_sequences=True), name=f"bilstm{i}")(x)
stock = keras.Model(images, layers.Dense(reader.charset.num_classes, name="logits")(x))
for layer in stock.layers:
    if layer.weights:
        layer.set_weights(reader.model.get_layer(layer.name).get_weights())


# %%
def at_every_layer(model, names, word):
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in names])
    return [np.asarray(value) for value in outputs(word[None, :, :, None])]


def differences(model, names, padding, value):
    wide = np.pad(ink, ((0, 0), (0, padding)), constant_values=value)
    pairs = zip(at_every_layer(model, names, ink), at_every_layer(model, names, wide), strict=True)
    places = [(a, np.take(b, range(a.shape[-2]), axis=-2)) for a, b in pairs]
    return [np.abs(a - b).max(axis=tuple(k for k in range(a.ndim) if k != a.ndim - 2)) for a, b in places]


# %% [markdown]
# The difference between the word alone and the word with padding, column by column; each row is a layer, from the first
# convolution to the logits, dark where it is large.

# %%
ours = ["conv1_1_norm", "conv2_1_norm", "conv3_1_norm", "conv4_1_norm", "bilstm1", "bilstm2", "logits"]
theirs = [name.replace("_norm", "_relu") for name in ours]
heats = []
for model, names, value in ((stock, theirs, 0.0), (reader.model, ours, -1.0)):
    found = differences(model, names, 64, value)
    print([f"{row.max():.2g}" for row in found])
    rows = [np.repeat(row, -(-ink.shape[1] // len(row)))[: ink.shape[1]] for row in found]
    heats.append(np.clip(np.repeat(rows, 5, axis=0) / 2, 0, 1))
plotting.sheet(heats, ["stock layers", "the same with masks"], columns=1, cell=(460, 170), zoom=4)

# %% [markdown]
# Strided convolutions shift their grid with the width's parity, the padding is no longer 0 behind a bias, and the
# backward LSTM begins in it. So the same word reads differently in other company, or is believed less or more:

# %%
for padding in (0, 1, 7, 64, 300):
    wide = np.pad(ink, ((0, 0), (0, padding)))[None, :, :, None]
    frames = np.asarray(stock(wide))[0]
    with_masks = reader.logits([IMAGE], pad_to=ink.shape[1] + padding)
    readings = reader.objective.decode([frames, with_masks[0]])
    texts = [f"{reader.charset.decode(reading.ids)!r} {reading.confidence:.4f}" for reading in readings]
    print(f"{padding:3} columns: stock {texts[0]}, masked {texts[1]}")

# %% [markdown]
# ## Labels
#
# Padded behind with a value that cannot be a label; one-hot labels with vectors of zeros. The losses leave both out,
# whatever stands in the predictions there.

# %%
from htr.losses import masked_crossentropy, masked_sparse_crossentropy
from htr.padding import pad_labels, pad_one_hot

labels, lengths = pad_labels([[5, 2, 4], [3]])
one_hot, _ = pad_one_hot([np.eye(6)[[5, 2, 4]], np.eye(6)[[3]]])
logits = np.random.default_rng(0).normal(size=(2, 3, 6))
logits[1, 1:] = np.nan
print(labels.tolist(), lengths.tolist())
print(float(masked_sparse_crossentropy(labels, logits)), float(masked_crossentropy(one_hot, logits)))

# %% [markdown]
# ## A mask follows the features
#
# Strides and pools make features smaller; the mask goes along exactly, or bilinearly where a share is wanted.

# %%
from htr.masking import MaskedConv2D, PaddingMask, binary_mask, carried_mask, resize_mask

mask = np.array([[1, 1, 1, 1, 1, 0, 0, 0]])
print(np.array(resize_mask(mask, stride=2)).tolist(), np.array(resize_mask(mask, 4, mode="bilinear")).tolist())
print(np.array(binary_mask(resize_mask(mask, 4, mode="bilinear"), 0.5)).tolist())
features = PaddingMask()(np.pad(ink, ((0, 0), (0, 5)), constant_values=-1)[None, :, :, None])
halves = MaskedConv2D(4, 3, strides=(2, 2))(features)
print(halves.shape, int(np.sum(carried_mask(features))), "->", int(np.sum(carried_mask(halves))), "columns count")

# %% [markdown]
# ## Heatmaps and holes
#
# A special value (-100) says where a heatmap is not known; NaN in an image is a hole, which `LearnedFill` fills with a
# value that is trained. Here the fill learns the grey that the picture has on average around its holes.

# %%
from htr.losses import heatmap_loss
from htr.masking import LearnedFill
from htr.padding import pad_heatmaps

truth = pad_heatmaps([[[0.5, 1.0]], [[0.25]]])
print(truth[..., 0].tolist(), float(heatmap_loss(truth, np.full((2, 1, 2, 1), 0.5))))
grey = np.full((8, 4, 16, 1), 0.3, np.float32)
holed = np.where(np.random.default_rng(1).random(grey.shape) < 0.3, np.nan, grey)
filler = keras.Sequential([keras.Input((4, None, 1)), LearnedFill()])
filler.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
filler.fit(holed, grey, epochs=60, verbose=0)
print("learned", np.ravel(filler.weights[0]).round(2))

# %% [markdown]
# ## A learned mask
#
# A sigmoid convolution that gates the features. Shown which pixels are ink, it learns to let ink through and rules not.

# %%
from htr.masking import LearnedMask

ruled = np.stack([ink * 0.9] * 8)[..., None]
ruled[:, 20:22] = np.maximum(ruled[:, 20:22], 0.4)
pixels = keras.Input((ink.shape[0], ink.shape[1], 1))
gate = LearnedMask(7, return_gate=True)(layers.Conv2D(8, 7, padding="same", activation="relu")(pixels))[1]
network = keras.Model(pixels, gate)
network.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", jit_compile=False)
network.fit(ruled, np.stack([ink > 0.5] * 8)[..., None].astype("float32"), epochs=60, verbose=0)
seen = np.asarray(network(ruled[:1]))[0, :, :, 0]
plotting.sheet(
    [ruled[0, :, :, 0], seen], ["with a rule", "what the gate lets through"], columns=2, cell=(460, 150), zoom=4
)

# %% [markdown]
# ## Blank paper is no padding
#
# `Masking(0.0)` takes an empty frame in the middle of a word for padding. A value that no frame can have does not.

# %%
from htr.masking import TimeMask

frames, valid = np.array([[[1, 2], [0, 0], [3, 4], [0, 0]]], np.float32), np.array([[1, 1, 1, 0]])
print(np.array(carried_mask(layers.Masking(0.0)(frames))).tolist(), "the blank frame is lost")
print(np.array(carried_mask(layers.Masking(-1e9)(TimeMask(-1e9)([frames, valid])))).tolist(), "and kept")

# %% [markdown]
# ## Lines of words, and batches that pad on the fly
#
# The words of lines become one array with a mask of words and one of pixels. `Batches` pads words of like width
# together.

# %%
from htr.batches import Batches, Words
from htr.padding import pad_lines

images, words, inside = pad_lines([[ink[:, :60], ink[:, 60:90]], [ink]])
print(images.shape, words.tolist(), inside.sum(axis=(1, 2, 3, 4)).tolist(), "pixels count")
inks = [np.uint8(255 * ink[:, :width]) for width in (90, 20, 80, 30, 85, 25)]
batches = Batches(Words(inks, ["a"] * 6, [""] * 6), reader.charset, batch_size=2, shuffle=False)
print([batches[i][0].shape for i in range(len(batches))])

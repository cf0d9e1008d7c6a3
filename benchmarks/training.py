"""What masks and the feeder cost: words/s of training against the same network without masks, fed from memory.

    python benchmarks/training.py

Both networks have the same layers and batch shapes; the unmasked one is stock Keras (Conv2D, BatchNormalization, ReLU,
LSTM, CTC over the full width) and gets its batches ready-made. They take turns in one process; the ratio is the median
over the rounds. Then: the share of padding in an epoch, and resident memory over epochs.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import keras
import numpy as np

import htr
from htr.batches import POOL, Batches, Words, read_words
from htr.config import preset
from htr.images import PAD
from htr.learner import ObjectiveLoss
from htr.model import Columns, build_model
from htr.objectives import get


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batches", type=int, default=12, help="batches a turn")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    config = preset(args.preset)
    words = load_words(config.height)
    charset = htr.Charset.from_texts(words.texts)
    batches = Batches(words, charset, batch_size=32, config=config, frames_needed=get("ctc").frames_needed)
    masked = compiled(build_model(config, charset.num_classes), ObjectiveLoss("ctc"))
    plain = compiled(plain_model(config, charset.num_classes), plain_loss)
    print(f"{len(words)} words, {masked.count_params():,} parameters, batches of 32")
    ratios, speeds = compare(masked, plain, batches, args)
    print(f"  with masks, fed by Batches         {statistics.median(speeds[0]):6.0f} words/s")
    print(f"  without masks, fed from memory     {statistics.median(speeds[1]):6.0f} words/s")
    print(
        f"  ratio, median of {args.rounds} rounds          {statistics.median(ratios):6.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"  padding in an epoch                {waste(batches):6.2%}")
    augmented = Batches(
        words, charset, batch_size=32, config=config, frames_needed=get("ctc").frames_needed, strength=1.0
    )
    print(f"  padding in an augmented epoch      {waste(augmented):6.2%}")
    print(
        "  resident memory after each of 5 short epochs, MB: "
        + ", ".join(f"{mb:.0f}" for mb in memory(masked, words, charset, config))
    )


def load_words(height: int) -> Words:
    from htr import samples

    data = Path(os.environ.get("HTR_DATA", "../shared/data"))
    return read_words(samples.load_all([data / s / "train.parquet" for s in ("dhsd", "copiste")]).dataset, height)


def compiled(model: keras.Model, loss) -> keras.Model:
    model.compile(
        keras.optimizers.AdamW(1e-3, global_clipnorm=2.0), loss=loss, jit_compile=keras.backend.backend() == "jax"
    )
    return model


def plain_model(config, classes: int) -> keras.Model:
    """The network of htr.model in stock layers, without any mask."""
    from keras import layers

    def convolution(x, filters, strides):
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    images = keras.Input((config.height, None, 1))
    x = images
    for filters, stride_height, stride_width, convolutions in config.blocks:
        x = convolution(x, filters, (stride_height, stride_width))
        for _ in range(convolutions - 1):
            x = layers.Add()([x, convolution(x, filters, (1, 1))])
    x = layers.Dense(config.columns, use_bias=False)(Columns()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    for units in config.recurrent:
        x = layers.SpatialDropout1D(config.dropout)(x)
        x = layers.Bidirectional(layers.LSTM(units, return_sequences=True))(x)
    x = layers.SpatialDropout1D(config.dropout)(x)
    return keras.Model(images, layers.Dense(classes, dtype="float32")(x))


def plain_loss(labels, logits):
    """The same CTC, every frame taken for a real one."""
    from htr.ctc import ctc_loss

    return keras.ops.mean(ctc_loss(labels, logits, keras.ops.ones(keras.ops.shape(logits)[:2], dtype="bool")))


def compare(masked, plain, batches, args) -> tuple[list[float], list[list[float]]]:
    """Turns of the same batches, through Batches and kept in memory -> ratios, and words/s of both."""
    # from one pool: a turn of a few batches should not pay for sorting the whole epoch
    chosen = np.linspace(0, POOL - 1, args.batches).astype(int)
    kept = [batches[i] for i in chosen]
    for images, labels in kept[:3]:
        masked.train_on_batch(images, labels)
        plain.train_on_batch(np.where(images == PAD, 0, images), labels)
    ready = [(np.where(images == PAD, 0, images), labels) for images, labels in kept]
    count = sum(len(labels) for _, labels in kept)
    speeds: list[list[float]] = [[], []]
    for _ in range(args.rounds):
        begin = time.perf_counter()
        for i in chosen:
            masked.train_on_batch(*batches[i])
        middle = time.perf_counter()
        for images, labels in ready:
            plain.train_on_batch(images, labels)
        speeds[0].append(count / (middle - begin))
        speeds[1].append(count / (time.perf_counter() - middle))
    return [a / b for a, b in zip(*speeds, strict=True)], speeds


def waste(batches) -> float:
    """The share of padded columns in an epoch."""
    valid = total = 0
    for i in range(len(batches)):
        columns = (batches[i][0] != PAD).any(axis=(1, 3))
        valid, total = valid + columns.sum(), total + columns.size
    return 1 - valid / total


def memory(model, words: Words, charset, config) -> list[float]:
    """Resident memory in MB after each of five epochs over 320 words."""
    few = Words(words.inks[:320], words.texts[:320], words.writers[:320])
    batches = Batches(few, charset, batch_size=32, config=config, frames_needed=get("ctc").frames_needed, strength=1.0)
    sizes: list[float] = []

    def note(*_):
        with open("/proc/self/statm") as file:
            sizes.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    model.fit(
        batches, epochs=5, shuffle=False, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)]
    )
    return sizes


if __name__ == "__main__":
    main()

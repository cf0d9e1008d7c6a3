"""Words/s of training against the same network in stock layers, on the same batches and on words padded to the longest.

    python benchmarks/training.py

The stock network (Conv2D, BatchNormalization, ReLU, LSTM, CTC over the full width) has the same layers without masks
and gets its batches ready-made from memory: once those of `Batches`, which tells what masks and feeder cost; once the
same words in random order, all padded to the longest word of the data, as a plain Keras loop has them. All
take turns in one process; a ratio is the median over the rounds. Then: the share of padding in an epoch, and resident
memory over epochs.
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
    widths = [ink.shape[1] for ink in words.inks]
    print(
        f"{len(words):,} words, {np.mean(widths):.0f} px wide, the longest {max(widths)}; {masked.count_params():,} "
        "parameters, batches of 32.\n\n| network | words/s | masks and feeder, times as fast |\n| --- | --- | --- |"
    )
    for name, speeds, ratios in compare(masked, plain, batches, args, max(widths)):
        last = statistics.median(ratios)
        spread = f"{last:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(speeds):.0f} | {spread} |")
    print(f"\nGoal: 2 times as fast as padded to the longest word; {'met' if last >= 2 else 'missed'}.\n")
    print(f"- padding in an epoch: {waste(batches):.2%}")
    augmented = Batches(
        words, charset, batch_size=32, config=config, frames_needed=get("ctc").frames_needed, strength=1.0
    )
    print(f"- padding in an augmented epoch: {waste(augmented):.2%}")
    print(
        "- resident memory after each of 5 short epochs, MB: "
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


def compare(masked, plain, batches, args, longest: int) -> list[tuple[str, list[float], list[float]]]:
    """The same words three ways, by turns -> (name, words/s, how many times as fast the first way was) of each."""
    # from one pool: a turn of a few batches should not pay for sorting the whole epoch
    chosen = np.linspace(0, POOL - 1, args.batches).astype(int)
    kept = [batches[i] for i in chosen]
    ready = [(np.where(images == PAD, 0, images), labels) for images, labels in kept]
    padded = to_longest(ready, longest)
    ways = {
        "htr: masks, fed by `Batches`": (masked, lambda: (batches[i] for i in chosen)),
        "stock layers, the same batches": (plain, lambda: ready),
        "stock layers, padded to the longest": (plain, lambda: padded),
    }
    for model, turn in ways.values():
        for images, labels in [*turn()][:3]:
            model.train_on_batch(images, labels)
    count = sum(len(labels) for _, labels in kept)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, (model, turn) in ways.items():
            begin = time.perf_counter()
            for images, labels in turn():
                model.train_on_batch(images, labels)
            speeds[name].append(count / (time.perf_counter() - begin))
    first = next(iter(speeds.values()))
    return [(name, found, [a / b for a, b in zip(first, found, strict=True)]) for name, found in speeds.items()]


def to_longest(batches, width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of like widths -> as many of the same words in random order, all of one width."""
    length = max(labels.shape[1] for _, labels in batches)
    images = np.concatenate([np.pad(x, ((0, 0), (0, 0), (0, width - x.shape[2]), (0, 0))) for x, _ in batches])
    labels = np.concatenate([np.pad(y, ((0, 0), (0, length - y.shape[1]))) for _, y in batches])
    order = np.random.default_rng(0).permutation(len(labels))
    return [(images[rows], labels[rows]) for rows in np.array_split(order, len(batches))]


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

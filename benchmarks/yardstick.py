"""`htr train` against a plain Keras CRNN: same words, same minutes, one after the other on the same machine.

    python benchmarks/yardstick.py --minutes 30 --out runs/yardstick

The plain one is what a Keras tutorial gives, made as fast as it goes: grey images scaled to 32 px, five convolutions,
two BiLSTM-256, batches of like widths padded to their longest word and not masked, `keras.losses.CTC`. It is augmented
by the same shear, scale, rotation, elastic warp and stroke width. Both choose their best epoch on the validation parts,
never on test. Ours names copiste twice, whose words are half as long as dhsd's and the harder ones, and augments
gently: thirty minutes are too short to learn its training words by heart.
Finished parts are kept in --out and not run again.
"""

import argparse
import io
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SETS = ("dhsd", "copiste")
SHOWN = ("dhsd", "copiste", "copiste")  # to ours; the plain one sees each once
OPS = ("shear", "stretch", "height", "rotate", "elastic", "stroke")
HEIGHT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, default=Path("runs/yardstick"))
    parser.add_argument("--preset", default="small")
    parser.add_argument("--objective", default="ctc")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    parser.add_argument("--part", choices=("htr", "plain", "table"), help="run one part alone; all three without")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part in (None, "htr") and not (args.out / "htr.json").exists():
        run_htr(args)
    if args.part in (None, "plain") and not (args.out / "plain.json").exists():
        run_plain(args)
    if args.part in (None, "table"):
        print(table(args))


def run_htr(args) -> None:
    """Through the commands that a user types; the run goes on where it stopped."""
    command = [sys.executable, "-m", "htr"]
    train, validation = (
        [str(args.data / s / f"{p}.parquet") for s in sets] for p, sets in (("train", SHOWN), ("validation", SETS))
    )
    run = args.out / "htr"
    resume = ["--resume"] if (run / "state.npz").exists() else []
    options = ["--preset", args.preset, "--objective", args.objective, "--minutes", str(args.minutes), "--skip-bad"]
    options += ["--augment", "0.6", "--out", str(run), *resume]
    subprocess.run([*command, "train", *train, "--validation", *validation, *options], check=True)
    import htr

    reader = htr.load(run)
    results = {}
    for name in SETS:
        words = load_rows(args.data / name / "test.parquet")
        results[name] = [word.text for word in reader.transcribe([row["image"] for row in words])]
    (args.out / "htr.json").write_text(json.dumps(results, ensure_ascii=False))


def load_rows(path: Path) -> list[dict]:
    import pyarrow.parquet as parquet

    return parquet.read_table(path).to_pylist()


def plain_image(data: bytes) -> np.ndarray:
    """bytes -> (32, width) uint8, ink bright; no cropping, no cleaning."""
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("L")
    return 255 - np.asarray(image.resize((max(8, round(image.width * HEIGHT / image.height)), HEIGHT)))


def plain_model(classes: int):
    """3.3 M parameters, five convolutions, two BiLSTM-256."""
    import keras
    from keras import layers

    images = keras.Input((HEIGHT, None, 1))
    x = images
    for filters, pool in ((32, (2, 2)), (64, (2, 2)), (96, None), (128, (2, 1)), (192, (2, 1))):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D(pool)(x) if pool else x  # before the norm, which then has a quarter to do
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape((-1, HEIGHT // 16 * 192))(x)
    for _ in range(2):
        x = layers.Bidirectional(layers.LSTM(256, return_sequences=True))(x)
        x = layers.Dropout(0.25)(x)
    return keras.Model(images, layers.Dense(classes)(x))


def run_plain(args) -> None:
    import keras

    from htr.augment import augment, generator
    from htr.charset import Charset

    rows = {p: [r for s in SETS for r in load_rows(args.data / s / f"{p}.parquet")] for p in ("train", "validation")}
    charset = Charset.from_texts(row["text"] for row in rows["train"])
    words = [(plain_image(row["image"]["bytes"]), charset.encode(row["text"])) for row in rows["train"]]
    keras.utils.set_random_seed(0)
    model = plain_model(charset.num_classes)
    print(f"plain CRNN: {model.count_params():,} parameters, {len(words)} words", flush=True)
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=2.0), loss=keras.losses.CTC(), jit_compile=False)
    rng, best, begin, epoch = np.random.default_rng(0), math.inf, time.monotonic(), 0
    while (time.monotonic() - begin) / 60 < args.minutes:
        batches, clock = bucketed(words, rng), time.monotonic()
        for chosen in batches:
            share = (time.monotonic() - begin) / 60 / args.minutes
            model.optimizer.learning_rate.assign(1e-3 * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, share)))))
            inks = [
                augment(words[i][0], generator(0, epoch, int(i)), ops=OPS, min_width=8 * len(words[i][1]))
                for i in chosen
            ]
            labels = [words[i][1] for i in chosen]
            model.train_on_batch(
                padded(inks), np.array([np.pad(ids, (0, max(map(len, labels)) - len(ids))) for ids in labels])
            )
            if share >= 1:
                break
        speed = len(words) / (time.monotonic() - clock)
        readings = read(model, charset, [row["image"]["bytes"] for row in rows["validation"]])
        error = errors(readings, rows["validation"])
        print(
            f"epoch {epoch}: validation CER {error:.4f}, {speed:.0f} words/s, {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        if error < best:
            best, weights = error, model.get_weights()
        epoch += 1
    model.set_weights(weights)
    results = {}
    for name in SETS:
        test = load_rows(args.data / name / "test.parquet")
        results[name] = read(model, charset, [row["image"]["bytes"] for row in test])
    (args.out / "plain.json").write_text(json.dumps(results, ensure_ascii=False))


def bucketed(words, rng) -> list[np.ndarray]:
    """All words in random batches of 32 of like widths, out of pools of 512."""
    order = rng.permutation(len(words))
    pools = [order[start : start + 512] for start in range(0, len(order), 512)]
    pools = [pool[np.argsort([words[i][0].shape[1] for i in pool])] for pool in pools]
    batches = [pool[start : start + 32] for pool in pools for start in range(0, len(pool), 32)]
    rng.shuffle(batches)
    return batches


def padded(inks) -> np.ndarray:
    images = np.zeros((len(inks), HEIGHT, max(ink.shape[1] for ink in inks), 1), np.float32)
    for row, ink in enumerate(inks):
        images[row, :, : ink.shape[1], 0] = ink / 255
    return images


def read(model, charset, images: list[bytes]) -> list[str]:
    """Each batch of like widths, padded and unmasked; greedy."""
    from htr.decoding import best_path

    inks = [plain_image(data) for data in images]
    order, texts = sorted(range(len(inks)), key=lambda i: inks[i].shape[1]), [""] * len(inks)
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        for i, logits in zip(chosen, model.predict_on_batch(padded([inks[i] for i in chosen])), strict=True):
            texts[i] = charset.decode([c for c in best_path(logits).ids if c > 1])
    return texts


def errors(readings: list[str], rows: list[dict]) -> float:
    import htr

    return htr.cer([row["text"] for row in rows], readings)


def table(args) -> str:
    """Markdown: corpus CER of both on the test parts, and the paired difference with its 95 % interval by writer."""
    from htr.metrics import edits, paired

    ours, plain = (json.loads((args.out / f"{name}.json").read_text()) for name in ("htr", "plain"))
    lines = [
        "| test part | words | writers | plain CRNN | htr | fewer errors | htr - plain, 95 % by writer |",
        "|" + " --- |" * 7,
    ]
    for name in SETS:
        rows = load_rows(args.data / name / "test.parquet")
        texts, writers = [row["text"] for row in rows], [row["writer"] for row in rows]
        a, b = ([edits(t, h) for t, h in zip(texts, texts_read[name], strict=True)] for texts_read in (ours, plain))
        lengths = [len(text) for text in texts]
        difference, low, high = paired(a, b, lengths, writers)
        ratio = 1 - sum(a) / sum(b)
        lines.append(
            f"| {name} | {len(rows)} | {len(set(writers))} | {sum(b) / sum(lengths):.2%} | {sum(a) / sum(lengths):.2%} "
            f"| {ratio:.0%} | {difference:+.2%} [{low:+.2%}, {high:+.2%}] |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Feeding: words/s until the words are there, and of the feeder alone, with and without cache and augmentation.

    python benchmarks/feeding.py

The words are strokes of ink 20 to 200 px wide. Beside words/s on the clock: processor time of this process for a word,
which other work on the machine changes little; that of processes that augment beside it is not in it.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from htr import cache
from htr.batches import Batches, Words, read_words
from htr.charset import Charset

HEIGHT, LETTERS = 32, "abcdefghijklmnopqrstuvwxyz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=20_000, help="that a rate is measured on")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        decoding(min(args.words, 2_000), Path(folder) / "decoding")
        rates(args.words, Path(folder))


def strokes(rng, width: int) -> np.ndarray:
    """An ink (HEIGHT, width) with a few slanted strokes."""
    ink = np.zeros((HEIGHT, width), np.uint8)
    rows = np.arange(HEIGHT)
    for left in rng.integers(0, width, max(1, width // 8)):
        ink[rows, (left + rows // 4) % width] = 255
    return ink


def write(file: Path, count: int, widths: tuple[int, int] = (20, 201)) -> None:
    rng = np.random.default_rng(0)
    few = [strokes(rng, int(width)) for width in rng.integers(*widths, 2_000)]
    cache.write(file, (few[i % len(few)] for i in range(count)))


def words_of(file: Path) -> Words:
    stored = cache._read(file, HEIGHT)
    rng = np.random.default_rng(1)
    texts = ["".join(LETTERS[i] for i in row) for row in rng.integers(0, len(LETTERS), (len(stored), 3))]
    return Words(stored.inks, texts, ["w"] * len(texts))


def epoch(words: Words, **options) -> tuple[float, float]:
    """Words/s and CPU us a word of an epoch behind a first one, in which the processes for augmentation start."""
    batches = Batches(words, Charset(LETTERS), batch_size=32, **options)
    try:
        for _ in range(2):
            begin, used = time.perf_counter(), time.process_time()
            for i in range(len(batches)):
                batches[i]
            seconds, used = time.perf_counter() - begin, time.process_time() - used
            batches.on_epoch_end()
    finally:
        batches.close()
    return len(words) / seconds, 1e6 * used / len(words)


def decoding(count: int, folder: Path) -> None:
    """How long it takes until the words are there."""
    import cv2
    from datasets import Dataset, Features, Image, Value

    rng = np.random.default_rng(2)
    few = [cv2.imencode(".png", 255 - strokes(rng, 3 * int(rng.integers(20, 200))))[1].tobytes() for _ in range(200)]
    rows = {"image": [{"bytes": few[i % 200], "path": None} for i in range(count)], "text": ["word"] * count}
    dataset = Dataset.from_dict(rows, features=Features({"image": Image(decode=False), "text": Value("string")}))
    kept = cache.Cache(folder)
    print(f"| until {count:,} words are there | words/s |\n| --- | --- |")
    for name, option in (("decoded", None), ("decoded into the cache", kept), ("found in the cache", kept)):
        begin = time.perf_counter()
        read_words(dataset, HEIGHT, cache=option)
        print(f"| {name} | {count / (time.perf_counter() - begin):,.0f} |")


def rates(count: int, folder: Path) -> None:
    """What the feeder alone delivers, from a cache file and from memory."""
    write(folder / "rated.inks", count)
    cached = words_of(folder / "rated.inks")
    kept = Words([ink.copy() for ink in cached.inks], cached.texts, cached.writers)
    print("\n| the feeder alone | from the cache | from memory | CPU us a word | goal | |\n|" + " --- |" * 6)
    for name, goal, options in (
        ("as they are", 20_000, {}),
        ("augmented beside it", 4_000, {"strength": 1.0, "process": True}),
        ("augmented in one process", None, {"strength": 1.0}),
    ):
        (speed, used), (other, _) = epoch(cached, **options), epoch(kept, **options)
        verdict = f"{goal:,} | {'met' if min(speed, other) >= goal else 'missed'}" if goal else "|"
        print(f"| {name} | {speed:,.0f} | {other:,.0f} | {used:,.1f} | {verdict} |")


if __name__ == "__main__":
    main()

"""Feeding: words/s with and without cache and augmentation, memory of a run over a large set, growth of the cost.

    python benchmarks/feeding.py --words 1000000

The large set is synthetic: strokes of ink 20 to 200 px wide, as a cache file of the given number of words. Memory is
RssAnon of the training process and of those that augment beside it; pages of the cache file are the kernel's and
can be dropped at any time.
"""

import argparse
import re
import subprocess
import sys
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
    parser.add_argument("--words", type=int, default=1_000_000, help="of the large set")
    parser.add_argument("--rated", type=int, default=20_000, help="words that a rate is measured on")
    parser.add_argument("--steps", type=int, default=30, help="training steps between two looks at the memory")
    parser.add_argument("--memory", metavar="FILE", help=argparse.SUPPRESS)  # the part in a process of its own
    args = parser.parse_args()
    if args.memory:
        return memory(args)
    with tempfile.TemporaryDirectory() as folder:
        decoding(min(args.rated, 2_000), Path(folder) / "decoding")
        rates(args.rated, Path(folder))
        growth(args.rated, Path(folder))
        file = Path(folder) / "large.inks"
        write(file, args.words)
        print(f"memory over {args.words:,} words, {file.stat().st_size / 1e6:,.0f} MB of cache, training with `tiny`")
        options = ["--words", str(args.words), "--steps", str(args.steps), "--memory", str(file)]
        subprocess.run([sys.executable, __file__, *options], check=True)


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


def epoch(words: Words, **options) -> float:
    """Seconds of an epoch behind a first one, in which the process for augmentation starts."""
    batches = Batches(words, Charset(LETTERS), batch_size=32, **options)
    try:
        for _ in range(2):
            begin = time.perf_counter()
            for i in range(len(batches)):
                batches[i]
            seconds = time.perf_counter() - begin
            batches.on_epoch_end()
    finally:
        batches.close()
    return seconds


def decoding(count: int, folder: Path) -> None:
    """How long it takes until the words are there."""
    import cv2
    from datasets import Dataset, Features, Image, Value

    rng = np.random.default_rng(2)
    few = [cv2.imencode(".png", 255 - strokes(rng, 3 * int(rng.integers(20, 200))))[1].tobytes() for _ in range(200)]
    rows = {"image": [{"bytes": few[i % 200], "path": None} for i in range(count)], "text": ["word"] * count}
    dataset = Dataset.from_dict(rows, features=Features({"image": Image(decode=False), "text": Value("string")}))
    kept = cache.Cache(folder)
    print(f"until {count:,} words are there, words/s")
    for name, option in (("decoded", None), ("decoded into the cache", kept), ("found in the cache", kept)):
        begin = time.perf_counter()
        read_words(dataset, HEIGHT, cache=option)
        print(f"  {name:30} {count / (time.perf_counter() - begin):9,.0f}")


def rates(count: int, folder: Path) -> None:
    """Words/s of the feeder alone, from a cache file and from memory."""
    write(folder / "rated.inks", count)
    cached = words_of(folder / "rated.inks")
    kept = Words([ink.copy() for ink in cached.inks], cached.texts, cached.writers)
    print("the feeder alone, words/s                from the cache   from memory")
    for name, options in (
        ("not augmented", {}),
        ("augmented beside it", {"strength": 1.0, "process": True}),
        ("augmented in one process", {"strength": 1.0}),
    ):
        speeds = [count / epoch(words, **options) for words in (cached, kept)]
        print(f"  {name:36} {speeds[0]:16,.0f} {speeds[1]:13,.0f}")


def growth(count: int, folder: Path) -> None:
    """Seconds of an augmented epoch against words and width: twice as much should cost twice as much, or less."""
    print("an augmented epoch, s                    words   width, px         s   us a word")
    for words, width in (*((count // n, 100) for n in (4, 2, 1)), *((count // 4, width) for width in (200, 400))):
        write(folder / "growth.inks", words, (width, width + 1))
        cache._mapped.cache_clear()
        seconds = epoch(words_of(folder / "growth.inks"), strength=1.0, process=True)
        print(f"  {words:43,} {width:11} {seconds:9.2f} {1e6 * seconds / words:11.1f}")


def anonymous(process: str | int = "self") -> float:
    """MB of memory that belong to the process alone and that no file backs."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) / 1e3


def memory(args) -> None:
    """A training run over the large set: steps, then the whole epoch's batches, and what is held meanwhile."""
    from htr import training
    from htr.config import TrainConfig, preset

    settings = TrainConfig(epochs=1)
    print(f"  {'Python, Keras, no words yet':40} {anonymous():9,.0f} MB")
    words = words_of(Path(args.memory))
    print(f"  {'with places and texts':40} {anonymous():9,.0f} MB")
    reader = training._reader(words, preset("tiny"), settings, None)
    batches = training._batches(words, reader, settings, 0, 1)
    learner = training._learner(reader, settings, 1)

    def show(what: str) -> None:
        beside = sum(anonymous(each._process.pid) for each in batches._feeder.processes)
        print(f"  {what:40} {anonymous():9,.0f} MB and {beside:,.0f} MB beside it", flush=True)

    try:
        for done in range(1, 4):
            learner.fit(batches, steps_per_epoch=args.steps, shuffle=False, verbose=0)
            show(f"after {done * args.steps} steps")
        batches.strength = 0.0  # the rest of the epoch without augmentation: it is as much memory, and quicker
        for part in range(4):
            for i in range(part * len(batches) // 4, (part + 1) * len(batches) // 4):
                batches[i]
            show(f"{(part + 1) * 25} % of an epoch fed")
    finally:
        batches.close()


if __name__ == "__main__":
    main()

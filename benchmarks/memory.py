"""Memory: what a training run over a large parquet file holds, from opening it to the end of an epoch.

    python benchmarks/memory.py --words 1000000

The file has that many rows, images of 500 different synthetic words over and over, each stored anew and unpacked. So
that nobody waits for a million images to be decoded, the cache of decoded words is filled from those 500; then all goes
the way of `htr train`. Told is RssAnon: pages of mapped files are the kernel's, which drops them where memory is short.
The top is looked for ten times a second.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HEIGHT, DIFFERENT, GROUP = 32, 500, 10_000
GOAL = 1500  # MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=60, help="training steps; the rest of the epoch is only fed")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # the part in a process of its own
    args = parser.parse_args()
    if args.run:
        return run(args)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "words.parquet"
        write(file, args.words)
        print(f"A parquet file of {args.words:,} words, {file.stat().st_size / 1e6:,.0f} MB:\n")
        command = [sys.executable, __file__, "--words", str(args.words), "--steps", str(args.steps), "--run", folder]
        # where datasets would keep an arrow copy of a large file
        subprocess.run(command, env=os.environ | {"HF_DATASETS_CACHE": folder, "HF_HOME": folder}, check=True)


def write(file: Path, count: int) -> None:
    from htr import synth

    few = list(synth.words(DIFFERENT, seed=0, strength=0))
    images = [{"bytes": word["image"], "path": None} for word in few]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(images, kind), "text": [word["text"] for word in few]})
    schema = table.schema.append(pa.field("writer", pa.string()))
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, count, GROUP):
            rows = range(start, min(count, start + GROUP))
            part = table.take([row % DIFFERENT for row in rows])
            writer.write_table(part.append_column("writer", pa.array([f"w{row // 100}" for row in rows])))


def anonymous(process: str | int = "self") -> float:
    """MB of memory that belong to the process alone and that no file backs."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) / 1e3


class Top(threading.Thread):
    """The most that this process has held."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0.0
        self.start()

    def run(self):
        while True:
            self.most = max(self.most, anonymous())
            time.sleep(0.1)


def filled(dataset, folder: Path):
    """A cache in which all rows are found: what decoding the different ones gives, over and over."""
    from htr import cache

    few = [cache.decoded(image, HEIGHT) for image in dataset[:DIFFERENT]["image"]]
    table = dataset.data.table
    name = f"{cache._origin(table, HEIGHT)}-{cache._key(table['image'], HEIGHT)}.inks"
    cache.write(folder / name, (few[i % len(few)] for i in range(len(dataset))))
    return cache.Cache(folder)


def run(args) -> None:
    from htr import samples, training
    from htr.batches import read_words
    from htr.config import TrainConfig, preset

    top = Top()

    def show(what: str, batches=None) -> None:
        beside = sum(anonymous(each._process.pid) for each in batches._feeder.processes) if batches else 0
        print(f"| {what} | {anonymous():,.0f} | {beside:,.0f} | {top.most:,.0f} |", flush=True)

    print("| | MB | MB of the processes that augment | MB at most so far |\n| --- | --- | --- | --- |")
    show("imports")
    dataset = samples.load(args.run / "words.parquet").dataset
    show("file opened")
    kept = filled(dataset, args.run)
    config, settings = preset("tiny"), TrainConfig(epochs=1)
    words = read_words(dataset, HEIGHT, fits=training._fits(config, settings), cache=kept)
    show(f"{len(words):,} words, {len(words.problems):,} refused")
    reader = training._reader(words, config, settings, None)
    batches = training._batches(words, reader, settings, 0, 1)
    learner = training._learner(reader, settings, 1)
    try:
        learner.fit(batches, steps_per_epoch=args.steps, shuffle=False, verbose=0)
        show(f"{args.steps} steps of training", batches)
        batches.strength = 0.0  # the rest of the epoch as it is: as much memory, and quicker
        for part in range(4):
            for i in range(part * len(batches) // 4, (part + 1) * len(batches) // 4):
                batches[i]
            show(f"{(part + 1) * 25} % of an epoch fed", batches)
    finally:
        batches.close()
    print(f"\nGoal: under {GOAL:,} MB; {'met' if top.most < GOAL else 'missed'}.", flush=True)


if __name__ == "__main__":
    main()

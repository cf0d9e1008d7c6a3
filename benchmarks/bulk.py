"""Bulk reading on Ray: words/s of 1 and 2 actors beside the plain engine on one core.

    python benchmarks/bulk.py --words 20000 --rounds 3

All read the same parquet file of real words, from disk to text. The plain engine is `Transcriber.stream` in a process
that is held to one core; actors have a core's worth of threads each. What Ray needs to start is told apart: of a long
run it is no part. The rounds take turns, medians are told. Beneath: what a billion words cost at the last way's speed.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

import htr
from htr import bulk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--block", type=int, default=1000)
    parser.add_argument("--checkpoint", default=None, help="default: the shipped reader")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        words = Path(place) / "words.parquet"
        write_words(args, words)
        ways = {"plain engine, one core": lambda out: plain(args, words)}
        for count in args.actors:
            ways[f"{count} actor{'s' * (count > 1)}"] = lambda out, count=count: on_ray(args, words, out, count)
        figures = {name: [] for name in ways}
        for round in range(args.rounds):
            for name, way in ways.items():
                figures[name].append(way(Path(place) / f"{name} {round}"))
    print(table(figures, args.actors[-1]))


def write_words(args, file: Path) -> None:
    """Real words of the test parts in one file, again and again until there are enough."""
    names = [args.data / name / "test.parquet" for name in ("dhsd", "copiste")]
    images = [cell for name in names for cell in parquet.read_table(name, columns=["image"])["image"].to_pylist()]
    images = [images[i % len(images)] for i in range(args.words)]
    parquet.write_table(pa.table({"image": images}), file, row_group_size=args.block)


def plain(args, words: Path) -> tuple[float, float]:
    """-> words/s in a process of its own on one core, and seconds to start."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(on_one_core, (args.checkpoint, words))


def on_one_core(checkpoint: str | None, words: Path) -> tuple[float, float]:
    """-> words/s, seconds until the reader is loaded; this process stays on one core from now on."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start = time.perf_counter()
    reader = htr.load(checkpoint)
    ready = time.perf_counter()
    images = (cell for batch in parquet.ParquetFile(words).iter_batches(256) for cell in batch["image"].to_pylist())
    count = sum(1 for _ in reader.stream(images))
    return count / (time.perf_counter() - ready), ready - start


def on_ray(args, words: Path, out: Path, actors: int) -> tuple[float, float]:
    """-> words/s from when each actor has had a block to the last block, and seconds until the first one."""
    times, done = [], []

    def progress(count: int, rows: int) -> None:
        times.append(time.perf_counter())
        done.append(count)

    bulk.read([str(words)], out=out, checkpoint=args.checkpoint, actors=actors, block=args.block, progress=progress)
    # actors that began together end together: from the first end on, 8 blocks of 2 would count as 7 in the time of 6
    return (done[-1] - done[actors]) / (times[-1] - times[actors]), times[1] - times[0]


def table(figures: dict[str, list], cores: int) -> str:
    base = statistics.median(speed for speed, _ in next(iter(figures.values())))
    lines = ["| way | words/s | times the plain engine | seconds to start |", "| --- | --- | --- | --- |"]
    for name, found in figures.items():
        speed, start = (statistics.median(each) for each in zip(*found, strict=True))
        lines.append(f"| {name} | {speed:,.0f} | {speed / base:.2f} | {start:.1f} |")
    each = speed / cores
    lines.append(
        f"\nA billion words at {each:,.0f} a second of each actor: {1e9 / each / 3600:,.0f} core hours, on 64 actors "
        f"{1e9 / each / 3600 / 64:,.1f} hours."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""From image files to text: the engines against Keras' own `predict` on a batch padded to its longest word.

    python benchmarks/reading.py --words 2000 --rounds 3

Every engine reads the same files of real words, from disk to text; the rounds take turns, medians are told. Texts are
compared with the keras engine's word by word, 8 bit by its error rate. A second table tells where the time goes.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

import htr
from htr.export import export
from htr.images import read_image, to_ink
from htr.padding import pad_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpoint", default=None, help="default: the shipped reader")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        files, texts = words(args, Path(place))
        readers = engines(args, Path(place))
        keras = readers["keras"]
        ways = {"predict, padded to the longest": lambda: plain(keras, files)}
        ways |= {name: lambda reader=reader: read(reader, files) for name, reader in readers.items()}
        seconds, found = {name: [] for name in ways}, {}
        for _ in range(args.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                found[name] = way()
                seconds[name].append(time.perf_counter() - start)
        steps = profile(readers, files)
    print(table(files, texts, seconds, found), "", steps, sep="\n")


def words(args, place: Path) -> tuple[list[str], list[str]]:
    """Real words as files on disk, half of each test part, and their texts."""
    files, texts = [], []
    for name in ("dhsd", "copiste"):
        rows = parquet.read_table(args.data / name / "test.parquet").to_pylist()
        for row in (rows * 2)[: args.words // 2]:
            files.append(str(place / f"{len(files)}{Path(row['image']['path'] or 'word.webp').suffix}"))
            Path(files[-1]).write_bytes(row["image"]["bytes"])
            texts.append(row["text"])
    return files, texts


def engines(args, place: Path) -> dict:
    """The reader on each engine, and quantised with words of the train parts, from a copy of its folder."""
    folders = place / "float", place / "int8"
    calibration = parquet.read_table(args.data / "copiste" / "train.parquet", columns=["image"])["image"].to_pylist()
    for folder, images in zip(folders, (None, calibration), strict=True):
        htr.load(args.checkpoint, engine="keras").save(folder)
        export(folder, "onnx", calibration=images)
    readers = {name: htr.load(folders[0], engine=name) for name in ("keras", "onnx", "openvino", "openvino-bf16")}
    return readers | {"onnx, 8 bit": htr.load(folders[1], engine="onnx")}


def read(reader, files: list[str]) -> list[str]:
    return [word.text for word in reader.transcribe(files)]


def plain(reader, files: list[str]) -> list[str]:
    """What a Keras user would write: all words in one array, `predict` in batches of 64, greedy decoding."""
    inks = [to_ink(file, reader.config.height).pixels for file in files]
    logits = reader.model.predict(pad_images(inks), batch_size=64, verbose=0)
    frames = [reader.config.frames(ink.shape[1]) for ink in inks]
    valid = [np.asarray(rows[:count]) for rows, count in zip(logits, frames, strict=True)]
    return [reader.charset.decode(reading.ids) for reading in reader.objective.decode(valid)]


def profile(readers: dict, files: list[str]) -> str:
    """Where the time of a word goes: milliseconds of the processor, each step alone."""

    def cost(step, items) -> float:
        start = time.process_time()
        results[:] = step(items)
        return 1e3 * (time.process_time() - start) / len(files)

    results: list = []
    lines = [
        "| engine | file to pixels | pixels to ink | network | ink to text, in all |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, reader in readers.items():
        pixels = cost(lambda paths: [read_image(path) for path in paths], files)
        ink = cost(lambda paths, height=reader.config.height: [to_ink(path, height) for path in paths], files) - pixels
        inks = list(results)
        network = cost(reader.logits, inks)
        everything = cost(reader.transcribe, inks)
        lines.append(f"| {name} | {pixels:.2f} | {ink:.2f} | {network:.2f} | {everything:.2f} |")
    return "\n".join(lines + ["", "Milliseconds of the processor a word, each step by itself."])


def table(files, texts, seconds, found) -> str:
    slow = statistics.median(seconds["predict, padded to the longest"])
    lines = ["| way | words/s | times predict | texts unlike keras | CER |", "| --- | --- | --- | --- | --- |"]
    for name, times in seconds.items():
        other = sum(a != b for a, b in zip(found[name], found["keras"], strict=True))
        middle = statistics.median(times)
        error = htr.cer(texts, found[name])
        lines.append(f"| {name} | {len(files) / middle:,.0f} | {slow / middle:.1f} | {other} | {error:.2%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

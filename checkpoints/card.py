"""The model card of the shipped reader: card.md with the figures of a run in the place of its capital words."""

import csv
import os
from pathlib import Path

from pyarrow.parquet import read_metadata

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "checkpoints" / "card.md"
DATA = Path(os.environ.get("HTR_DATA", "../shared/data"))


def card(reader, figures: dict, args, lines: list[Path]) -> str:
    """figures: test part -> what the shipped and the float32 reader make of it. lines: the files of cut words."""
    rows = "\n".join(
        f"| {name} | {r['words']:,} | {r['writers']} | {rate(r)} | {r['wer']:.2%} | {r['word_accuracy']:.2%} "
        f"| {full['cer']:.2%} |"
        for name, (r, full) in figures.items()
    )
    minutes, left_out = unseen()
    return (
        CARD.read_text(encoding="utf-8")
        .replace("ROWS", rows)
        .replace("UNSEEN", left_out)
        .replace("MINUTES", minutes)
        .replace("BLOCKWORDS", f"{args.capitals:,}")
        .replace("PENBLOCKS", f"{args.blocks:,}")
        .replace("DOUBTFUL", f"{args.doubtful:.1%}")
        .replace("CAPITALS", block_capitals(reader))
        .replace("PARAMETERS", f"{reader.model.count_params():,}")
        .replace("AVERAGE", mean(reader))
        .replace("HOURS", f"{reader.training['hours']:.1f}")
        .replace("COMMIT", reader.training["commit"][:12])
        .replace("COMMAND", reader.training["command"])
        .replace("CHARACTERS", str(len(reader.charset.characters)))
        .replace("SYNTHETIC", f"{args.synthetic:,}")
        .replace("LINES", f"{sum(read_metadata(path).num_rows for path in lines):,}")
        .replace("PENS", "pen strokes and the fonts of `make fonts`" if args.fonts else "pen strokes alone, no fonts")
    )


def mean(reader) -> str:
    """What the weights are made of, where that is not one run alone."""
    shares = reader.training.get("average", {"older": 0})
    if not shares["older"]:
        return ""
    return (
        f"The weights are {shares['newer']:.0%} of that stage and {shares['older']:.0%} of the reader it went "
        "on from: of six such means the one that reads the validation parts best."
    )


def block_capitals(reader) -> str:
    """What the writer of block capitals in copiste test does to its CER."""
    import htr as package
    from htr import samples

    dataset = samples.load(str(DATA / "copiste" / "test.parquet")).dataset
    readings = [word.text for word in reader.transcribe(list(dataset["image"]))]
    rows = list(zip(dataset["text"], readings, [writer.endswith("0210") for writer in dataset["writer"]], strict=True))
    groups = [[row[:2] for row in rows if row[2] == block] for block in (True, False)]
    if not all(groups):
        return ""
    block, others = (package.cer(*zip(*group, strict=True)) for group in groups)
    return (
        f"In copiste test one writer (0210) writes block capitals: {block:.2%} for that hand, {others:.2%} without it."
    )


def unseen() -> tuple[str, str]:
    """From docs/ablation.csv: the minutes of its runs, and as a table what they make of sets left out of training."""
    with (ROOT / "docs" / "ablation.csv").open(newline="", encoding="utf-8") as file:
        runs = {row["variant"]: row for row in csv.DictReader(file)}
    left_out = [
        ("without dhsd", "copiste and synthetic words", "dhsd"),
        ("without copiste", "dhsd and synthetic words", "copiste"),
        ("synthetic only", "synthetic words alone", "dhsd"),
        ("synthetic only", "synthetic words alone", "copiste"),
    ]
    lines = [
        f"| {data} | {name} test | "
        + rate({key: float(runs[run][f"{name}_{key}"]) for key in ("cer", "cer_low", "cer_high")})
        + " |"
        for run, data, name in left_out
        if run in runs
    ]
    return next(iter(runs.values()))["minutes"], "\n".join(lines)


def rate(report: dict) -> str:
    return f"{report['cer']:.2%} [{report['cer_low']:.2%}, {report['cer_high']:.2%}]"

"""Which network reads best for its work: variants of the preset `small` after equal minutes, beside their Mflop a word.

    python benchmarks/networks.py --minutes 8           # those that have no row yet
    python benchmarks/networks.py --only small,narrow

All learn from the train parts of dhsd and copiste, the harder one twice an epoch, with the same seed; the epoch is
chosen on the validation parts. A finished run is a row of docs/networks.csv and is never run again; docs/networks.md is
written from the rows. The presets are chosen by the validation column, not by the test parts.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from compared import SETS, measured, read_rows, table, unfinished, write_rows

import htr
from htr.config import ModelConfig, preset

ROOT = Path(__file__).resolve().parent.parent
ROWS, PAGE = ROOT / "docs" / "networks.csv", ROOT / "docs" / "networks.md"
WIDTH = 150  # px at a height of 40: the mean word of both sets
SMALL = preset("small")
VARIANTS = {
    "small": SMALL,
    "tiny": preset("tiny"),
    "large": ModelConfig(
        height=48,
        blocks=((32, 2, 2, 1), (64, 2, 2, 2), (128, 1, 1, 2), (192, 2, 1, 2)),
        columns=256,
        recurrent=(256, 256),
    ),
    "height 40": replace(SMALL, height=40),
    "narrow": replace(SMALL, blocks=((16, 2, 2, 1), (32, 2, 2, 1), (64, 1, 1, 2), (96, 2, 1, 1))),
    "one BiLSTM": replace(SMALL, recurrent=(224,)),
    "deep": replace(SMALL, blocks=((24, 2, 2, 1), (48, 2, 2, 2), (96, 1, 1, 3), (128, 2, 1, 2))),
    "wide BiLSTMs": replace(SMALL, recurrent=(224, 224)),
    "three BiLSTMs": replace(SMALL, recurrent=(128, 128, 128)),
    "shallow": replace(SMALL, blocks=((24, 2, 2, 1), (48, 2, 2, 1), (96, 1, 1, 1), (128, 2, 1, 1))),
    "height 24": replace(SMALL, height=24),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", help="variants, with commas between them (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    parser.add_argument("--page", action="store_true", help="write the page from the rows there are, train nothing")
    parser.add_argument("--train", help=argparse.SUPPRESS)  # one variant, in a process of its own
    args = parser.parse_args()
    if args.train:
        return train(args.train, args)
    rows = read_rows(ROWS)
    done = {row["network"] for row in rows}
    for name in () if args.page else args.only.split(",") if args.only else VARIANTS:
        if name not in done:
            options = ["--minutes", args.minutes, "--out", args.out, "--data", args.data]
            subprocess.run([sys.executable, __file__, "--train", name, *map(str, options)], check=True)
            row = measured(folder(name, args), folder("small", args), args.minutes, args.data)
            rows.append({"network": name, "Mflop a word": round(2e-6 * products(VARIANTS[name]))} | row)
            write_rows(ROWS, rows)
            PAGE.write_text(page(rows), encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")


def folder(name: str, args) -> Path:
    return args.out / name.replace(" ", "-")


def train(name: str, args) -> None:
    from htr import samples
    from htr.progress import Progress

    sets = {"train": (*SETS, "copiste"), "validation": SETS}
    parts = (
        samples.load_all([args.data / each / f"{part}.parquet" for each in names]).dataset
        for part, names in sets.items()
    )
    # copiste twice and gentle augmentation leave CTC's plateau soonest (docs/log.md)
    out, settings = folder(name, args), htr.TrainConfig(minutes=args.minutes, augment=0.6)
    resume = (out / "state.npz").exists()
    options = {"model": VARIANTS[name], "training": settings, "skip_bad": True, "resume": resume}
    htr.train(*parts, out=out, callbacks=[Progress(settings)], **options)


def products(config: ModelConfig, classes: int = 120) -> int:
    """Multiplications for a word of WIDTH px at a height of 40; norms and activations are left out."""
    height, width, channels, count = config.height, WIDTH * config.height // 40, 1, 0
    for filters, stride_height, stride_width, convolutions in config.blocks:
        height, width = -(-height // stride_height), -(-width // stride_width)
        count += 9 * height * width * filters * (channels + filters * (convolutions - 1))
        channels = filters
    count += width * height * channels * config.columns
    features = config.columns
    for units in config.recurrent:
        count += width * 2 * 4 * units * (features + units)
        features = 2 * units
    return count + width * features * classes


TEACHES = """\
## What it teaches

Validation CER after equal minutes, and the words that were shown in them (the machine did other work meanwhile, more
of it beside the later rows: compare the words too).

VALIDATION

In so few minutes CTC's plateau decides: whatever makes a step dearer, or a network deeper, leaves it later. One broad
BiLSTM leaves it before two, and two before three. Two convolutions fewer (shallow) gain a little, for three quarters
of the work; 24 px of height cost seven points. Nothing dearer than `small` earned its price; the best of these, 40 px
of height, is the preset `base` now, in the place of `large`. `small` stays as it is, the network of the 30-minute run
in README and of the shipped reader: what it does in longer runs is known (docs/log.md), what one BiLSTM or fewer
convolutions do is not.
"""


def page(rows: list[dict]) -> str:
    lines = [
        "# Networks compared",
        "",
        "Variants of the preset `small` from nothing, the same minutes each, on the train parts of dhsd and, twice an",
        f"epoch, copiste; Mflop of a word {WIDTH} px wide; greedy decoding; 95 % intervals by writer in brackets. The",
        "rows, which stand in `docs/networks.csv` with the validation CER, are made on one core each by",
        "`ONEDNN_DEFAULT_FPMATH_MODE=BF16 taskset -c 1 python benchmarks/networks.py`.",
        "",
    ]
    for name in SETS:
        lines += [f"## {name} test", "", *table(rows, name, keys=("network", "Mflop a word"), base="small"), ""]
    best = sorted(rows, key=lambda row: float(row["validation_cer"]))
    found = ["| network | Mflop a word | words shown | validation CER |", "| --- | --- | --- | --- |"]
    for row in best:
        shown = f"{60 * float(row['minutes']) * float(row['words_per_second']):,.0f}"
        found.append(f"| {row['network']} | {row['Mflop a word']} | {shown} | {float(row['validation_cer']):.2%} |")
    teaches = TEACHES.replace("VALIDATION", "\n".join(found))
    return "\n".join([*lines, teaches, *unfinished(VARIANTS, rows, "network")])


if __name__ == "__main__":
    main()

"""What each part of the recipe is worth, and what a reader makes of a set that it never saw: equal minutes for all.

    python benchmarks/ablation.py                       # those that have no row yet
    python benchmarks/ablation.py --only full,synthetic-only

Every reader starts from nothing. Each part is off alone, each set is left out alone; the epoch is chosen on the
validation parts of the sets that are learned from, and for synthetic words alone on a tenth of these. A finished run is
a row of docs/ablation.csv and is never run again; docs/ablation.md is written from the rows.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from compared import SETS, measured, read_rows, table, train, unfinished, write_rows

ROOT = Path(__file__).resolve().parent.parent
ROWS, PAGE = ROOT / "docs" / "ablation.csv", ROOT / "docs" / "ablation.md"
SYNTHETIC = "synthetic"
VARIANTS = {  # name -> what is learned from, and options
    "full": ((*SETS, SYNTHETIC), ()),
    "without synthesis": (SETS, ()),
    "without augmentation": ((*SETS, SYNTHETIC), ("--augment", 0)),
    "without averaged weights": ((*SETS, SYNTHETIC), ("--ema", 0)),
    "without dhsd": (("copiste", SYNTHETIC), ()),
    "without copiste": (("dhsd", SYNTHETIC), ()),
    "synthetic only": ((SYNTHETIC,), ()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=13)
    parser.add_argument("--words", type=int, default=20_000, help="synthetic words")
    parser.add_argument("--fonts", default="fonts", help="folder of `make fonts`; pen strokes alone where it is absent")
    parser.add_argument("--only", help="variants, with commas between them (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    parser.add_argument("--page", action="store_true", help="write the page from the rows there are, train nothing")
    args = parser.parse_args()
    rows = read_rows(ROWS)
    done = {row["variant"] for row in rows}
    for name in () if args.page else args.only.split(",") if args.only else VARIANTS:
        if name not in done:
            rows.append({"variant": name} | trained(name, args))
            write_rows(ROWS, rows)
            PAGE.write_text(page(rows), encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")


def trained(name: str, args) -> dict:
    """A variant -> its row."""
    sources, options = VARIANTS[name]
    options = ("--augment", 0.6, *options)
    real = [args.data / source for source in sources if source != SYNTHETIC]
    data = [folder / "train.parquet" for folder in real]
    data += [rendered(args)] if SYNTHETIC in sources else []
    options += ("--validation", *(folder / "validation.parquet" for folder in real)) if real else ()
    run = args.out / name.replace(" ", "-")
    train(run, data, *options, minutes=args.minutes)
    return measured(run, args.out / "full", args.minutes, args.data)


def rendered(args) -> Path:
    file, unfinished = args.out / "synthetic.parquet", args.out / "unfinished.parquet"
    if not file.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        fonts = ["--fonts", args.fonts] if Path(args.fonts).is_dir() else []
        command = ["synth", unfinished, "--words", args.words, "--seed", 3, *fonts]
        subprocess.run([sys.executable, "-m", "htr", *map(str, command)], check=True)
        unfinished.rename(file)
    return file


def page(rows: list[dict]) -> str:
    lines = [
        "# What each part is worth",
        "",
        "The network `small` from nothing, the same minutes each, on the train parts of dhsd and copiste and on",
        "synthetic words; greedy decoding; 95 % intervals by writer in brackets. The rows, which stand in",
        "`docs/ablation.csv`, are made on one core each by",
        "`ONEDNN_DEFAULT_FPMATH_MODE=BF16 taskset -c 1 python benchmarks/ablation.py`.",
        "The shipped reader was trained many times as long: compare rows with each other.",
        "",
    ]
    for name in SETS:
        lines += [f"## {name} test", "", *table(rows, name, keys=("variant",), base="full"), ""]
    return "\n".join([*lines, *unfinished(VARIANTS, rows, "variant")])


if __name__ == "__main__":
    main()

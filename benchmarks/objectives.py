"""Every objective trained with the same network, start, seed, data order and minutes, measured on both test parts.

    python benchmarks/objectives.py                               # those that have no row yet, seed 0
    python benchmarks/objectives.py --only ctc,focal-ctc --seeds 1,2

All start from one reader trained with plain CTC on synthetic words alone; copiste, the harder set, is shown twice an
epoch. A finished run is a row of docs/objectives.csv and is never run again; docs/objectives.md is written from the
rows. The epoch of each reader is chosen on the validation parts; nothing is chosen on test.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from compared import SETS, measured, read_rows, table, train, unfinished, write_rows

ROOT = Path(__file__).resolve().parent.parent
ROWS, PAGE = ROOT / "docs" / "objectives.csv", ROOT / "docs" / "objectives.md"

TEACHES = """## What it teaches

As of 2026-11-30: no variant beats plain CTC beyond doubt, so the recipe of the shipped reader keeps plain CTC. Label
smoothing is ahead or level with every seed on both sets, by 0.08 to 0.31 points on dhsd and by 0 to 0.44 on copiste,
at no cost in speed; one of these six differences is beyond chance. A convolutional head beside it (shortcut) and the
focal loss are ahead with one seed and behind with another on copiste. Label priors harm, on both sets beyond chance,
in a training as short as this. Cross-entropy against alignments (alignment-crossentropy) is 0.5 points behind on dhsd,
beyond chance, although its row and the next one were made on a day when this machine was nearly twice as fast, and saw
more words; beside CTC (alignment-ctc) it gains nothing either. Spelling without alignments (crossentropy), which has
to learn anew what its frames mean, is not done in these minutes: half of the characters are wrong. Two views
(consistency) reach the same error rate with two thirds of the words a second, and the most honest confidences; focal
and entropy-regularised CTC make confidences less honest on dhsd. All began with a reader that plain CTC had trained,
and so were spared the first minutes in which objectives differ most. Seeds 1 and 2 were run on that faster day too, so
compare within a seed.
"""


def main() -> None:
    from htr.options import OBJECTIVES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--only", help="objectives, with commas between them (default: all)")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    parser.add_argument("--page", action="store_true", help="write the page from the rows there are, train nothing")
    args = parser.parse_args()
    rows = read_rows(ROWS)
    done = {(row["objective"], int(row["seed"])) for row in rows}
    sets = {"train": (*SETS, "copiste"), "validation": SETS}
    parts = {part: [args.data / name / f"{part}.parquet" for name in names] for part, names in sets.items()}
    for seed in map(int, args.seeds.split(",")):
        for objective in () if args.page else args.only.split(",") if args.only else OBJECTIVES:
            if (objective, seed) in done:
                continue
            run = args.out / f"{objective}-{seed}"
            options = ["--validation", *parts["validation"], "--preset", args.preset, "--objective", objective]
            options += ["--init", start(args), "--augment", 0.6, "--seed", seed]
            train(run, parts["train"], *options, minutes=args.minutes)
            row = measured(run, args.out / f"ctc-{seed}", args.minutes, args.data)
            # read again: another core may have finished one meanwhile
            rows = [*read_rows(ROWS), {"objective": objective, "seed": seed, "preset": args.preset} | row]
            write_rows(ROWS, rows)
            PAGE.write_text(page(rows, OBJECTIVES), encoding="utf-8")
    PAGE.write_text(page(read_rows(ROWS), OBJECTIVES), encoding="utf-8")


def start(args) -> Path:
    """The reader that all begin with, made once: as many minutes of plain CTC on synthetic words."""
    run, words = args.out / "start", args.out / "synthetic.parquet"
    if not (run / "curve.png").exists():  # drawn at the end
        fonts = ["--fonts", "fonts"] if Path("fonts").is_dir() else []
        if not words.exists():
            args.out.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "htr", "synth", str(words), "--words", "30000", *fonts]
            subprocess.run(command, check=True)
        train(run, [words], "--preset", args.preset, "--augment", 0.6, minutes=args.minutes)
    return run


def page(rows: list[dict], objectives) -> str:
    lines = [
        "# Objectives compared",
        "",
        "Same network (`tiny`, which gets furthest in few minutes), same start (as many minutes of plain CTC on 30,000",
        "synthetic words, no real one), same data (train parts of dhsd and, twice an",
        "epoch, copiste), order and minutes; epoch chosen on the validation parts; greedy decoding; 95 % intervals by",
        "writer in brackets; calibration error of confidences after the temperature fitted on validation. The rows,",
        "which stand in `docs/objectives.csv`, are made on one core each by",
        "`ONEDNN_DEFAULT_FPMATH_MODE=BF16 taskset -c 1 python benchmarks/objectives.py`.",
        "",
    ]
    for name in SETS:
        lines += [f"## {name} test", "", *table(rows, name, keys=("objective", "seed"), base="CTC"), ""]
    return "\n".join([*lines, TEACHES, *unfinished(objectives, rows, "objective")])


if __name__ == "__main__":
    main()

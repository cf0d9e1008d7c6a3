"""Every objective trained with the same network, seed, data order and minutes, and measured on both test parts.

    python benchmarks/objectives.py --minutes 12                  # those that have no row yet, seed 0
    python benchmarks/objectives.py --only ctc,focal-ctc --seeds 1,2

A finished run is a row of docs/objectives.csv and is never run again; docs/objectives.md is written from the rows. The
epoch of each reader is chosen on the validation parts; nothing is chosen on test.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS, PAGE = ROOT / "docs" / "objectives.csv", ROOT / "docs" / "objectives.md"
SETS = ("dhsd", "copiste")
MEASURES = ("cer", "cer_low", "cer_high", "wer", "wer_low", "wer_high", "calibration", "minus_ctc", "low", "high")
COLUMNS = ("objective", "seed", "minutes", "preset", "words_per_second", "validation_cer") + tuple(
    f"{name}_{measure}" for name in SETS for measure in MEASURES
)


def main() -> None:
    from htr.options import OBJECTIVES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--only", help="objectives, with commas between them (default: all)")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    parser.add_argument("--page", action="store_true", help="write the page from the rows there are, train nothing")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else OBJECTIVES
    rows = read_rows()
    done = {(row["objective"], int(row["seed"])) for row in rows}
    for seed in map(int, args.seeds.split(",")):
        for objective in () if args.page else wanted:
            if (objective, seed) not in done:
                rows.append(measured(objective, seed, args))
                write_rows(rows)
    PAGE.write_text(page(rows, OBJECTIVES), encoding="utf-8")


def read_rows() -> list[dict]:
    if not ROWS.exists():
        return []
    with ROWS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(rows: list[dict]) -> None:
    with ROWS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def measured(objective: str, seed: int, args) -> dict:
    """Train, read both test parts, compare with plain CTC of the same seed where it has been read."""
    run = args.out / f"{objective}-{seed}"
    train(objective, seed, run, args)
    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    words = json.loads((run / "config.json").read_text(encoding="utf-8"))["training"]["words"]
    speed = words * len(history[:-1]) / max(sum(float(row["epoch_seconds"]) for row in history[:-1]), 1e-9)
    best = min(float(row["cer"]) for row in history)
    row = {"objective": objective, "seed": seed, "minutes": f"{args.minutes:g}", "preset": args.preset}
    row |= {"words_per_second": round(speed), "validation_cer": round(best, 5)}
    for name in SETS:
        figures = read(name, run, args.out / f"ctc-{seed}", args.data)
        row |= {f"{name}_{key}": value if value == "" else round(value, 5) for key, value in figures.items()}
    return row


def train(objective: str, seed: int, run: Path, args) -> None:
    parts = {p: [str(args.data / s / f"{p}.parquet") for s in SETS] for p in ("train", "validation")}
    command = [sys.executable, "-m", "htr", "train", *parts["train"], "--validation", *parts["validation"]]
    command += ["--out", str(run), "--preset", args.preset, "--objective", objective, "--seed", str(seed)]
    command += ["--minutes", str(args.minutes), "--skip-bad", *(["--resume"] if (run / "state.npz").exists() else [])]
    subprocess.run(command, check=True)


def read(name: str, run: Path, plain: Path, data: Path) -> dict:
    """One test part -> its measures; the edits of every word stay in the run's folder."""
    import htr
    from htr import samples
    from htr.calibration import calibration_error
    from htr.metrics import edits, paired

    dataset = samples.load(str(data / name / "test.parquet")).dataset
    reader = htr.load(run)
    report = htr.evaluate(reader, dataset)
    words = reader.transcribe(list(dataset["image"]))
    texts = dataset["text"][:]
    wrong = [edits(text, word.text) for text, word in zip(texts, words, strict=True)]
    (run / f"{name}_edits.json").write_text(json.dumps(wrong))
    figures = {}
    for rate in ("cer", "wer"):
        low, high = report.intervals[rate]
        figures |= {rate: getattr(report, rate), f"{rate}_low": low, f"{rate}_high": high}
    figures["calibration"] = calibration_error([word.confidence for word in words], [edit == 0 for edit in wrong])
    other = plain / f"{name}_edits.json"
    comparison = ("", "", "")
    if other.exists() and plain != run:
        comparison = paired(wrong, json.loads(other.read_text()), [len(text) for text in texts], dataset["writer"][:])
    return figures | dict(zip(("minus_ctc", "low", "high"), comparison, strict=True))


def page(rows: list[dict], objectives) -> str:
    lines = [
        "# Objectives compared",
        "",
        "Same network (`small`), data (train parts of dhsd and copiste), order and minutes; epoch chosen on the",
        "validation parts; greedy decoding; 95 % intervals by writer in brackets; calibration error of confidences",
        "after the temperature fitted on validation. `python benchmarks/objectives.py` makes the rows, which stand in",
        "`docs/objectives.csv`.",
        "",
    ]
    for name in SETS:
        lines += [
            f"## {name} test",
            "",
            "| objective | seed | minutes | CER | WER | minus CTC, paired | calibration | words/s |",
        ]
        lines.append("|" + " --- |" * 8)
        lines += [line(row, name) for row in sorted(rows, key=lambda row: float(row[f"{name}_cer"]))]
        lines.append("")
    missing = [objective for objective in objectives if objective not in {row["objective"] for row in rows}]
    if missing:
        lines += [f"No finished run yet: {', '.join(missing)}.", ""]
    return "\n".join(lines)


def line(row: dict, name: str) -> str:
    def share(key: str) -> str:
        return f"{100 * float(row[f'{name}_{key}']):.2f}"

    difference = "" if row[f"{name}_minus_ctc"] == "" else f"{share('minus_ctc')} [{share('low')}, {share('high')}]"
    rates = [f"{share(key)} % [{share(f'{key}_low')}, {share(f'{key}_high')}]" for key in ("cer", "wer")]
    cells = [row["objective"], row["seed"], row["minutes"], *rates, difference, f"{share('calibration')} %"]
    return "| " + " | ".join(map(str, [*cells, row["words_per_second"]])) + " |"


if __name__ == "__main__":
    main()

"""What objectives.py, ablation.py and networks.py share: finished runs as rows of a CSV, measured on both test parts.

Rows of one table are made alike: `taskset -c 0` in front of the command gives a run one core and leaves the others to
another. ONEDNN_DEFAULT_FPMATH_MODE=BF16 trains faster where the processor knows bfloat16.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

SETS = ("dhsd", "copiste")


def read_rows(file: Path) -> list[dict]:
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def write_rows(file: Path, rows: list[dict]) -> None:
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def train(run: Path, data: list, *options, minutes: float) -> None:
    """A training run; one that was stopped goes on."""
    words = [*data, "--out", run, "--minutes", minutes, "--skip-bad", *options]
    words += ["--resume"] if (run / "state.npz").exists() else []
    subprocess.run([sys.executable, "-m", "htr", "train", *map(str, words)], check=True)


def measured(run: Path, base: Path, minutes: float, data: Path) -> dict:
    """A finished run -> its row: speed, validation, and both test parts beside the run that it is compared with."""
    from htr.engines import cores

    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    words = json.loads((run / "config.json").read_text(encoding="utf-8"))["training"]["words"]
    speed = words * len(history[:-1]) / max(sum(float(row["epoch_seconds"]) for row in history[:-1]), 1e-9)
    row = {"minutes": f"{minutes:g}", "cores": cores(), "words": words, "words_per_second": round(speed)}
    row["validation_cer"] = round(min(float(row["cer"]) for row in history), 5)
    for name in SETS:
        figures = _read(name, run, base, data)
        row |= {f"{name}_{key}": value if value == "" else round(value, 5) for key, value in figures.items()}
    return row


def _read(name: str, run: Path, base: Path, data: Path) -> dict:
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
    other = base / f"{name}_edits.json"
    comparison = ("", "", "")
    if other.exists() and base != run:
        comparison = paired(wrong, json.loads(other.read_text()), [len(text) for text in texts], dataset["writer"][:])
    return figures | dict(zip(("difference", "low", "high"), comparison, strict=True))


def table(rows: list[dict], name: str, *, keys: tuple[str, ...], base: str) -> list[str]:
    """The lines of a Markdown table of one test part, the best row first."""
    titles = [
        *keys,
        "minutes",
        "cores",
        "words",
        "CER",
        "WER",
        f"CER minus {base}, paired",
        "calibration error",
        "words/s",
    ]
    head = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    return head + [_line(row, name, keys) for row in sorted(rows, key=lambda row: float(row[f"{name}_cer"]))]


def unfinished(names, rows: list[dict], key: str) -> list[str]:
    """The last lines of a page: what has no row yet, if anything."""
    missing = [name for name in names if name not in {row[key] for row in rows}]
    return [f"No finished run yet: {', '.join(missing)}.", ""] if missing else []


def _line(row: dict, name: str, keys: tuple[str, ...]) -> str:
    def share(key: str) -> str:
        return f"{100 * float(row[f'{name}_{key}']):.2f}"

    difference = "" if row[f"{name}_difference"] == "" else f"{share('difference')} [{share('low')}, {share('high')}]"
    rates = [f"{share(key)} % [{share(f'{key}_low')}, {share(f'{key}_high')}]" for key in ("cer", "wer")]
    cells = [
        *(row[key] for key in keys),
        row["minutes"],
        row["cores"],
        f"{int(row['words']):,}",
        *rates,
        difference,
        f"{share('calibration')} %",
    ]
    return "| " + " | ".join(map(str, [*cells, row["words_per_second"]])) + " |"

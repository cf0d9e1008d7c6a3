"""`make checkpoint`: from raw inputs to checkpoints/latin, stage by stage; stop at any moment and call again.

    python checkpoints/recipe.py --fonts fonts                             # from nothing
    python checkpoints/recipe.py --fonts fonts --init checkpoints/latin    # go on with the reader that ships

1. render synthetic words, in pen strokes and in the fonts of `make fonts`; 2. train on the real words of dhsd and
copiste, unless there is a reader to go on with; 3. cut the whole lines of copiste into words with that reader; 4. go on
with all of these, dhsd twice, and the synthetic ones, which bring the whole alphabet and other hands; 5. write the folder
that ships, as float16 and as ONNX; 6. measure it on the test parts. Epochs are chosen on the validation parts. Inputs lie
under HTR_DATA.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SETS = ("dhsd", "copiste")
ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "checkpoints" / "card.md"
DATA = Path(os.environ.get("HTR_DATA", "../shared/data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/latin"), help="folder of the stages")
    parser.add_argument("--ship", type=Path, default=ROOT / "checkpoints" / "latin", help="folder that ships")
    parser.add_argument("--synthetic", type=int, default=60_000, help="synthetic words")
    parser.add_argument("--seed", type=int, default=7, help="of the synthetic words; other ones for every continuation")
    parser.add_argument("--real-minutes", type=float, default=30)
    parser.add_argument("--mixed-minutes", type=float, default=60)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--objective", default="ctc")
    parser.add_argument("--init", type=Path, help="a reader to go on with, in the place of stage 2")
    parser.add_argument("--fonts", help="folder of handwriting fonts (`make fonts`); pen strokes alone without")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    synthetic = render(args)
    dhsd, copiste = (DATA / name / "train.parquet" for name in SETS)
    objective = ["--objective", args.objective]
    if not args.init:
        first = ["--preset", args.preset, "--augment", 0.6, *objective]
        stage(args.out / "real", [dhsd, copiste, copiste], args.real_minutes, *first)
    start = args.init or args.out / "real"
    gently = ["--init", start, "--learning-rate", 0.0015, "--augment", 0.7]
    words = [dhsd, dhsd, copiste, cut(args, start), synthetic]
    stage(args.out / "mixed", words, args.mixed_minutes, *gently, *objective)
    ship(args)


def render(args) -> Path:
    words, unfinished = args.out / "synthetic.parquet", args.out / "unfinished.parquet"
    if not words.exists():
        fonts = ["--fonts", args.fonts] if args.fonts else []
        htr("synth", unfinished, "--words", args.synthetic, "--seed", args.seed, *fonts)
        unfinished.rename(words)
    return words


def cut(args, reader: Path) -> Path:
    """The lines of copiste as words: `htr align` gives its file the name when it is whole."""
    words = args.out / "lines.parquet"
    if not words.exists():
        htr("align", DATA / "copiste_lines" / "train.parquet", "--out", words, "--checkpoint", reader)
    return words


def htr(*words) -> None:
    subprocess.run([sys.executable, "-m", "htr", *map(str, words)], check=True)


def stage(run: Path, data: list[Path], minutes: float, *options) -> None:
    """Train until the minutes are used up; a finished stage is left alone, a broken one goes on."""
    state = ["--resume"] if (run / "state.npz").exists() else []
    validation = [DATA / name / "validation.parquet" for name in SETS]
    htr("train", *data, "--validation", *validation, "--out", run, "--minutes", minutes, "--skip-bad", *options, *state)


def ship(args) -> None:
    import htr as package

    reader = package.load(args.out / "mixed")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    command = f"python checkpoints/recipe.py --synthetic {args.synthetic} --preset {args.preset}"
    command += f" --real-minutes {args.real_minutes:g} --mixed-minutes {args.mixed_minutes:g}"
    command += f" --objective {args.objective}" + (f" --fonts {args.fonts}" if args.fonts else "")
    hours = (args.real_minutes + args.mixed_minutes) / 60
    reader.training |= {"init": "real", "commit": commit, "command": command, "hours": hours, "machine": "2 CPU cores"}
    reader.training["data"] = [*(f"{name}/train.parquet" for name in SETS), "synthetic.parquet"] + [
        "synthetic-7.parquet",
        "synthetic-8.parquet",
    ]
    reader.save(args.ship, half=True)
    reports = {name: measure(args.ship, DATA / name / "test.parquet", args.out / f"{name}.json") for name in SETS}
    full = {
        name: measure(args.out / "mixed", DATA / name / "test.parquet", args.out / f"{name}32.json") for name in SETS
    }
    reader.save(args.ship, half=True, readme=card(reader, reports, full, args))


def measure(checkpoint: Path, data: Path, out: Path) -> dict:
    htr("evaluate", data, "--checkpoint", checkpoint, "--json", out)
    return json.loads(out.read_text(encoding="utf-8"))


def capitals(reader) -> str:
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


def rate(report: dict) -> str:
    return f"{report['cer']:.2%} [{report['cer_low']:.2%}, {report['cer_high']:.2%}]"


def card(reader, reports: dict, full: dict, args) -> str:
    rows = "\n".join(
        f"| {name} test | {r['words']:,} | {r['writers']} | {rate(r)} | {r['wer']:.2%} | {r['word_accuracy']:.2%} "
        f"| {full[name]['cer']:.2%} |"
        for name, r in reports.items()
    )
    return (
        CARD.read_text(encoding="utf-8")
        .replace("ROWS", rows)
        .replace("CAPITALS", capitals(reader))
        .replace("PARAMETERS", f"{reader.model.count_params():,}")
        .replace("HOURS", f"{reader.training['hours']:.1f}")
        .replace("COMMIT", reader.training["commit"][:12])
        .replace("COMMAND", reader.training["command"])
        .replace("CHARACTERS", str(len(reader.charset.characters)))
        .replace("SYNTHETIC", f"{args.synthetic:,}")
        .replace("PENS", "pen strokes and the fonts of `make fonts`" if args.fonts else "pen strokes alone, no fonts")
    )


if __name__ == "__main__":
    main()

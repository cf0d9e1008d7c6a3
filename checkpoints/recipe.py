"""`make checkpoint`: from raw inputs to checkpoints/latin, stage by stage; stop at any moment and call again.

    python checkpoints/recipe.py --fonts fonts                             # from nothing
    python checkpoints/recipe.py --fonts fonts --init checkpoints/latin    # go on with the reader that ships

1. render synthetic words, in pen strokes and in the fonts of `make fonts`; 2. train on the real words of dhsd and
copiste, unless there is a reader to go on with; 3. cut the whole lines of copiste into words with that reader; 4. go on
with all of these, dhsd twice, and the synthetic ones, which bring the whole alphabet and other hands; 5. write the
folder that ships, as float16 and as ONNX; 6. measure it on the test parts, and on words in fonts that were kept from
synthesis. Epochs are chosen on the validation parts. Inputs lie under HTR_DATA.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from pyarrow.parquet import read_metadata

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
    words = [dhsd, dhsd, copiste, *cut(args, start), synthetic]
    stage(args.out / "mixed", words, args.mixed_minutes, *gently, *objective)
    ship(args)


def render(args) -> Path:
    words, unfinished = args.out / "synthetic.parquet", args.out / "unfinished.parquet"
    if not words.exists():
        fonts = ["--fonts", args.fonts] if args.fonts else []
        htr("synth", unfinished, "--words", args.synthetic, "--seed", args.seed, *fonts)
        unfinished.rename(words)
    return words


def cut(args, reader: Path) -> list[Path]:
    """The lines of copiste as a file of words, where the reader finds any."""
    words = args.out / "lines.parquet"
    if not words.exists():  # `htr align` gives its file the name when it is whole
        htr("align", DATA / "copiste_lines" / "train.parquet", "--out", words, "--checkpoint", reader)
    return [words] if read_metadata(words).num_rows else []


def htr(*words) -> None:
    subprocess.run([sys.executable, "-m", "htr", *map(str, words)], check=True)


def stage(run: Path, data: list[Path], minutes: float, *options) -> None:
    """Train until the minutes are used up; a finished stage is left alone, a broken one goes on."""
    state = ["--resume"] if (run / "state.npz").exists() else []
    validation = [DATA / name / "validation.parquet" for name in SETS]
    htr("train", *data, "--validation", *validation, "--out", run, "--minutes", minutes, "--skip-bad", *options, *state)


def ship(args) -> None:
    import htr as package
    from htr.export import export

    reader = package.load(args.out / "mixed")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    minutes = args.mixed_minutes + (0 if args.init else args.real_minutes)
    before = package.load(args.init).training.get("hours", 0) if args.init else 0
    inputs = (*(f"{name}/train.parquet" for name in (*SETS, "copiste_lines")), "synthetic.parquet")
    reader.training |= {"init": str(args.init or "real"), "commit": commit, "command": command(args)}
    reader.training |= {"hours": round(before + minutes / 60, 2), "machine": "2 CPU cores", "data": list(inputs)}
    reader.save(args.ship, half=True)
    export(args.ship, "onnx")
    tests = {f"{name} test": DATA / name / "test.parquet" for name in SETS} | strangers(args)
    figures = {}
    for name, data in tests.items():
        figures[name] = [
            measure(folder, data, args.out / f"{name.split()[0]}-{folder.name}.json")
            for folder in (args.ship, args.out / "mixed")
        ]
    (args.ship / "README.md").write_text(card(reader, figures, args), encoding="utf-8")


def command(args) -> str:
    words = ["python checkpoints/recipe.py", f"--synthetic {args.synthetic} --seed {args.seed} --preset {args.preset}"]
    words += [f"--init {args.init}"] if args.init else [f"--real-minutes {args.real_minutes:g}"]
    words += [f"--mixed-minutes {args.mixed_minutes:g} --objective {args.objective}"]
    return " ".join([*words, *([f"--fonts {args.fonts}"] if args.fonts else [])])


def strangers(args) -> dict[str, Path]:
    """Words in fonts that no reader was trained on, where there are any."""
    from htr.synth import outline_fonts, write_parquet

    folder = ROOT / "fonts_held_out"
    if not folder.is_dir():
        return {}
    words = args.out / "strangers.parquet"
    if not words.exists():
        write_parquet(words, 1200, seed=1_000_003, fonts=outline_fonts(folder), languages=["en"])
    return {"10 unseen fonts": words}


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


def card(reader, figures: dict, args) -> str:
    rows = "\n".join(
        f"| {name} | {r['words']:,} | {r['writers']} | {rate(r)} | {r['wer']:.2%} | {r['word_accuracy']:.2%} "
        f"| {full['cer']:.2%} |"
        for name, (r, full) in figures.items()
    )
    lines = cut(args, args.out / "mixed")
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
        .replace("LINES", f"{sum(read_metadata(path).num_rows for path in lines):,}")
        .replace("PENS", "pen strokes and the fonts of `make fonts`" if args.fonts else "pen strokes alone, no fonts")
    )


if __name__ == "__main__":
    main()

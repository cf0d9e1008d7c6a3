"""`make checkpoint`: from raw inputs to checkpoints/latin, stage by stage; stop at any moment and call again.

    python checkpoints/recipe.py --fonts fonts                             # from nothing
    python checkpoints/recipe.py --fonts fonts --init checkpoints/latin    # go on with the reader that ships

1. render synthetic words, in pen strokes and in the fonts of `make fonts`; 2. train on the real words of dhsd and
copiste, unless there is a reader to go on with; 3. cut the whole lines of copiste into words with that reader; 4. set
words in block capitals from capitals that it finds in all these (checkpoints/capitals.py), and write more in pens and
fonts: both have the texts of the labels, so that nothing but shapes tells the case of a word that real hands write a
hundred times in small letters; leave out the real words whose labels it doubts most; 5. go on with the rest, dhsd
twice, and the synthetic ones, which bring the whole alphabet and other hands; 6. average the weights with those of the
reader it went on from (checkpoints/average.py); 7. write the folder that ships, as float16 and ONNX; 8. measure it on
the test parts, and on words in fonts that were kept from synthesis. Epochs, and the share in the average, are chosen on
the validation parts. Inputs lie under HTR_DATA.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from card import card
from pyarrow.parquet import read_metadata, read_table

SETS = ("dhsd", "copiste")
SMALL_LABELS = {"copiste-0102"}  # writes capitals nearly throughout, and is labelled in small letters
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("HTR_DATA", "../shared/data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/latin"), help="folder of the stages")
    parser.add_argument("--ship", type=Path, default=ROOT / "checkpoints" / "latin", help="folder that ships")
    parser.add_argument("--synthetic", type=int, default=60_000, help="synthetic words")
    parser.add_argument("--seed", type=int, default=7, help="of the synthetic words; other ones for every continuation")
    parser.add_argument("--real-minutes", type=float, default=30)
    parser.add_argument("--mixed-minutes", type=float, default=60)
    parser.add_argument("--learning-rate", type=float, default=0.0015, help="of the last stage")
    parser.add_argument("--augment", type=float, default=0.7, help="of the last stage, 0 to 1")
    parser.add_argument("--capitals", type=int, default=9000, help="words set in capitals cut out of real words")
    parser.add_argument("--blocks", type=int, default=12_000, help="synthetic words of hands that write capitals alone")
    parser.add_argument("--doubtful", type=float, default=0.025, help="share of each set's labels that is left out")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--objective", default="ctc")
    parser.add_argument("--init", type=Path, help="a reader to go on with, in the place of stage 2")
    parser.add_argument("--fonts", help="folder of handwriting fonts (`make fonts`); pen strokes alone without")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    commit(args)
    synthetic = render(args)
    dhsd, copiste = (DATA / name / "train.parquet" for name in SETS)
    objective = ["--objective", args.objective]
    if not args.init:
        first = ["--preset", args.preset, "--augment", 0.6, *objective]
        stage(args.out / "real", [dhsd, copiste, copiste], args.real_minutes, *first)
    start = args.init or args.out / "real"
    lines = cut(args, start)
    real = [dhsd, copiste, *lines]
    texts = labels(args, real)
    blocks = [*capitals(args, start, real, texts), render(args, "blocks", texts)]
    words = [dhsd, *real, *blocks, synthetic]
    gently = ["--init", start, "--learning-rate", args.learning_rate, "--augment", args.augment]
    stage(
        args.out / "mixed", words, args.mixed_minutes, *gently, *objective, "--corrections", doubts(args, start, real)
    )
    ship(args)


def commit(args) -> str:
    """The commit that this run began with: what it is called when it ends says nothing of its code."""
    file = args.out / "commit.txt"
    if not file.exists():
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        file.write_text(done.stdout.strip(), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def labels(args, real: list[Path]) -> Path:
    """The labels of all real words, one a line, as often as they occur."""
    file = args.out / "labels.txt"
    texts = [text.strip() for path in real for text in read_table(path, columns=["text"])["text"].to_pylist()]
    file.write_text("".join(f"{text}\n" for text in texts if text), encoding="utf-8")
    return file


def render(args, name: str = "synthetic", texts: Path | None = None) -> Path:
    """Synthetic words; "blocks" are those of hands that write nothing but capitals, the texts of the real words."""
    words, unfinished = args.out / f"{name}.parquet", args.out / "unfinished.parquet"
    if not words.exists():
        if name == "blocks":
            options = ["--words", args.blocks, "--seed", args.seed + 500, "--capitals", 1, "--lexicon", texts]
        else:
            options = ["--words", args.synthetic, "--seed", args.seed]
        options += ["--fonts", args.fonts] if args.fonts else []
        htr("synth", unfinished, *options)
        unfinished.rename(words)
    return words


def cut(args, reader: Path) -> list[Path]:
    """The lines of copiste as a file of words, where the reader finds any."""
    words = args.out / "lines.parquet"
    if not words.exists():  # `htr align` gives its file the name when it is whole
        htr("align", DATA / "copiste_lines" / "train.parquet", "--out", words, "--checkpoint", reader)
    return [words] if read_metadata(words).num_rows else []


def capitals(args, reader: Path, data: list[Path], texts: Path) -> list[Path]:
    """Words in block capitals as a file, where the reader finds letters to set them from."""
    words, unfinished = args.out / "capitals.parquet", args.out / "unfinished.parquet"
    if not words.exists():
        options = ["--checkpoint", reader, "--words", args.capitals, "--lexicon", texts]
        python(ROOT / "checkpoints" / "capitals.py", unfinished, *data, *options)
        unfinished.rename(words)
    return [words] if read_metadata(words).num_rows else []


def doubts(args, reader: Path, real: list[Path]) -> Path:
    """A file of corrections that leaves out the labels which the reader doubts most, and those of the wrong case."""
    from dataclasses import replace

    import htr as package
    from htr import audit, corrections, samples

    file = args.out / "doubts.csv"
    if not file.exists():
        drops = []
        for path in real:
            dataset = samples.load(path).dataset
            doubtful = corrections.propose(dataset, audit.audit(package.load(reader), dataset))
            doubtful = doubtful[: round(args.doubtful * len(dataset))]
            drops += [replace(each, action=corrections.DROP, new="") for each in doubtful]
            drops += wrong_case(dataset, {each.hash for each in doubtful})
        corrections.write(drops, args.out / "unfinished.csv")
        (args.out / "unfinished.csv").rename(file)
    return file


def wrong_case(dataset, known: set[str]) -> list:
    """The rows of hands whose capitals are labelled as small letters, but for those known already."""
    from htr.corrections import DROP, Correction, image_hash, stored

    dropped = []
    for row in stored(dataset):
        name = image_hash(row["image"]) if row["writer"] in SMALL_LABELS else ""
        if name and name not in known:
            dropped.append(
                Correction(row["text"], "", DROP, name, reason="capitals that are labelled as small letters")
            )
    return dropped


def htr(*words) -> None:
    python("-m", "htr", *words)


def python(*words) -> None:
    subprocess.run([sys.executable, *map(str, words)], check=True)


def stage(run: Path, data: list[Path], minutes: float, *options) -> None:
    """Train until the minutes are used up; a finished stage is left alone, a broken one goes on."""
    state = ["--resume"] if (run / "state.npz").exists() else []
    validation = [DATA / name / "validation.parquet" for name in SETS]
    htr("train", *data, "--validation", *validation, "--out", run, "--minutes", minutes, "--skip-bad", *options, *state)


def ship(args) -> None:
    import htr as package
    from htr.engines import cores
    from htr.export import export

    full = averaged(args) if args.init else args.out / "mixed"
    reader = package.load(full)
    minutes = args.mixed_minutes + (0 if args.init else args.real_minutes)
    before = package.load(args.init).training.get("hours", 0) if args.init else 0
    inputs = (*(f"{name}/train.parquet" for name in (*SETS, "copiste_lines")), "synthetic.parquet")
    reader.training |= {"init": str(args.init or "real"), "commit": commit(args), "command": command(args)}
    reader.training |= {
        "hours": round(before + minutes / 60, 2),
        "machine": f"{cores()} CPU cores",
        "data": list(inputs),
    }
    reader.save(args.ship, half=True)
    export(args.ship, "onnx")
    tests = {f"{name} test": DATA / name / "test.parquet" for name in SETS} | strangers(args)
    figures = {}
    for name, data in tests.items():
        figures[name] = [
            measure(folder, data, args.out / f"{name.split()[0]}-{folder.name}.json") for folder in (args.ship, full)
        ]
    (args.ship / "README.md").write_text(card(reader, figures, args, cut(args, full)), encoding="utf-8")


def averaged(args) -> Path:
    """The reader that ships where there was one to go on with: that mean of the two that reads validation best."""
    folder = args.out / "averaged"
    if not (folder / "config.json").exists():
        validation = [DATA / name / "validation.parquet" for name in SETS]
        python(ROOT / "checkpoints" / "average.py", args.init, args.out / "mixed", folder, *validation)
    return folder


def command(args) -> str:
    precision = os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE")
    words = [f"ONEDNN_DEFAULT_FPMATH_MODE={precision}"] if precision else []
    words += ["python checkpoints/recipe.py", f"--synthetic {args.synthetic} --seed {args.seed} --preset {args.preset}"]
    words += [f"--init {args.init}"] if args.init else [f"--real-minutes {args.real_minutes:g}"]
    words += [f"--mixed-minutes {args.mixed_minutes:g} --learning-rate {args.learning_rate:g}"]
    words += [f"--augment {args.augment:g} --capitals {args.capitals} --blocks {args.blocks}"]
    words += [f"--doubtful {args.doubtful} --objective {args.objective}"]
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


if __name__ == "__main__":
    main()

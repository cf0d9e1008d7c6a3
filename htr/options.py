"""Floor 0: the commands' names, flags and help. Nothing is imported but argparse: `htr --help` answers at once."""

import argparse

from htr import __version__
from htr.listing import FORMATS

_DATA = (
    "parquet or arrow file, imagefolder, CSV/TSV/JSONL, folder of PAGE/ALTO, iam:DIR[:split], "
    "hf://owner/name[/config][:split]"
)
_CHECKPOINT = "folder of a reader (default: the shipped one)"

OBJECTIVES = (  # of htr.objectives, whose import would import Keras
    "ctc", "shortcut-ctc", "focal-ctc", "entropy-ctc", "smooth-ctc", "consistency-ctc", "prior-ctc", "alignment-ctc",
    "alignment-crossentropy", "crossentropy",
)  # fmt: skip
ENGINES = ("keras", "onnx", "openvino", "openvino-bf16")  # of htr.engines, whose import would import numpy


def _columns(value: str) -> dict[str, str]:
    """image=scan,text=label -> {"image": "scan", "text": "label"}"""
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(ours in ("image", "text", "writer", "mask") and theirs for ours, _, theirs in pairs):
        raise argparse.ArgumentTypeError(f"{value!r} is not like image=scan,text=label,writer=hand,mask=ink")
    return {ours: theirs for ours, _, theirs in pairs}


def _numbers(value: str) -> dict[str, float]:
    """gamma=2,alpha=0.5 -> {"gamma": 2.0, "alpha": 0.5}"""
    try:
        return {name: float(number) for name, _, number in (part.partition("=") for part in value.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not like gamma=2,alpha=0.5") from None


def _positive(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number above 0")
    return int(value)


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"{value!r} is not a port from 0 to 65535")
    return int(value)


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 0 to 1")
    return share


def _languages(value: str) -> list[str]:
    return value.split(",")


def parser() -> argparse.ArgumentParser:
    """The parser of every command; its result says `command` and the command's flags."""
    top = argparse.ArgumentParser(prog="htr", description="Reads handwritten words: train, evaluate, transcribe.")
    top.add_argument("--version", action="version", version=f"htr {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, add_flags, summary in (
        ("check", _check_flags, "read every row of data sets and name those that cannot be used"),
        ("synth", _synth_flags, "render handwritten words from pen strokes"),
        ("train", _train_flags, "train a reader"),
        ("evaluate", _evaluate_flags, "measure a reader's error rates, with intervals"),
        ("transcribe", _transcribe_flags, "read images of words"),
        ("lm", _lm_flags, "make a character language model from a list of words"),
        ("align", _align_flags, "cut whole lines with texts into words to train on"),
        ("export", _export_flags, "write a reader for ONNX Runtime, OpenVINO or LiteRT"),
        ("push", _push_flags, "put a reader on the hub"),
        ("demo", _demo_flags, "serve a page to draw and drop words on"),
    ):
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        command.set_defaults(columns=None)
        add_flags(command)
        command.add_argument("--quiet", action="store_true", help="results and errors alone: no bars, no notes")
    return top


def _data_flags(command) -> None:
    command.add_argument("data", nargs="+", metavar="DATA", help=_DATA)
    command.add_argument(
        "--columns", type=_columns, metavar="OURS=THEIRS,...", help="image=scan,text=label,writer=hand"
    )


def _check_flags(command) -> None:
    _data_flags(command)
    command.add_argument("--alphabet", metavar="FILE|CHECKPOINT", help="characters that may occur")
    command.add_argument("--checkpoint", metavar="DIR", help="look for wrong labels with this reader")
    command.add_argument(
        "--folds",
        type=_positive,
        metavar="K",
        help="look for wrong labels with K readers, none trained on what it judges",
    )
    command.add_argument(
        "--minutes", type=float, default=10, metavar="M", help="of training each of them (default: 10)"
    )
    command.add_argument("--out", default="audit", metavar="FOLDER", help="for labels.html and corrections.csv")


def _synth_flags(command) -> None:
    add = command.add_argument
    add("out", metavar="OUT.parquet")
    add("--words", type=_positive, required=True, metavar="N")
    add("--fonts", metavar="DIR", help="write in the .ttf, .otf and .woff fonts of this folder too")
    add("--lexicon", metavar="FILE", help="write these words, one a line (default: words by frequency)")
    add("--languages", type=_languages, default=["en", "fr", "de"], metavar="en,fr,de")
    add(
        "--held-out",
        metavar="DATA",
        help="write in the pen fonts kept from training, and only words that are not in DATA",
    )
    add("--strength", type=_share, default=1.0, metavar="X", help="0: neat hands, plain paper; 1: any (default)")
    add("--capitals", type=_share, metavar="X", help="share of writers in block capitals (default: 0.12)")
    add("--seed", type=int, default=0, metavar="S")


def _train_flags(command) -> None:
    _data_flags(command)
    add = command.add_argument
    add("--validation", nargs="+", metavar="DATA", help="default: a tenth of DATA, other writers where they are known")
    add("--out", required=True, metavar="RUN", help="folder of the run; the best reader so far is always in it")
    add("--preset", choices=("tiny", "small", "base"), default="small", help="size of the network (default: small)")
    add("--objective", choices=OBJECTIVES, default="ctc", help="what is learned (default: ctc)")
    add("--objective-options", type=_numbers, default={}, metavar="NAME=X,...", help="its hyper-parameters: gamma=2")
    add("--epochs", type=_positive, metavar="N")
    add("--minutes", type=float, metavar="M", help="end after M minutes of training, resumed parts together")
    add("--batch-size", type=_positive, metavar="N")
    add("--learning-rate", type=float, metavar="X", help="highest of the run (default: 0.002)")
    add("--init", metavar="CHECKPOINT", help="start from this reader: its network, and its classes where they match")
    add("--resume", action="store_true", help="go on with the run in --out as if it had never stopped")
    add("--augment", type=_share, metavar="X", help="strength of the augmentation, 0 to 1 (default: 1)")
    add("--ema", type=_share, metavar="X", help="momentum of the averaged weights, which are kept (default: 0.998)")
    add("--seed", type=int, default=0, metavar="S")
    add("--mixed-precision", action="store_true", help="compute in bfloat16")
    add("--devices", type=_positive, default=1, metavar="N", help="share every batch among N devices (default: 1)")
    add("--cache", metavar="DIR|off", help="where decoded words are kept (default: $HTR_CACHE, else ~/.cache/htr)")
    add("--corrections", metavar="FILE", help="of htr check: labels to correct, rows to drop")
    add("--tensorboard", action="store_true", help="write RUN/tensorboard: rates, and sample words with their readings")
    add(
        "--skip-bad",
        action="store_true",
        help="leave out rows that cannot be learned and list them in RUN/problems.csv",
    )


def _language_flags(command) -> None:
    add = command.add_argument
    add("--lexicon", metavar="FILE", help="prefer these words, one a line; others stay possible")
    add("--lm", metavar="FILE.arpa", help="prefer what is likely in this character language model (htr lm)")
    add("--lm-weight", type=float, default=0.5, metavar="W", help="of the language against the image (default: 0.5)")
    add("--lm-bonus", type=float, default=1.0, metavar="B", help="for each character, against short texts (default: 1)")


def _lm_flags(command) -> None:
    command.add_argument("text", metavar="TEXT", help="one word or phrase a line, perhaps with a tab and its count")
    command.add_argument("--order", type=_positive, default=5, metavar="N", help="characters in a row, 2 to 7")
    command.add_argument("--out", required=True, metavar="FILE.arpa")


def _evaluate_flags(command) -> None:
    _data_flags(command)
    _language_flags(command)
    command.add_argument("--tune", action="store_true", help="choose weight and bonus on DATA; then use them elsewhere")
    _reader_flags(command)
    command.add_argument("--batch-size", type=_positive, default=64, metavar="N")
    command.add_argument("--json", metavar="FILE", help="write the figures there too")
    command.add_argument("--report", metavar="FILE.html", help="write a page to look at: figures, curves, worst words")
    command.add_argument("--corrections", metavar="FILE", help="of htr check: labels to correct, rows to drop")
    command.add_argument("--compare", metavar="CHECKPOINT", help="another reader, beside this one on that page")


def _align_flags(command) -> None:
    _data_flags(command)
    command.add_argument("--out", required=True, metavar="WORDS.parquet")
    command.add_argument("--rejected", metavar="FILE.csv", help="what was left out and why (default: beside --out)")
    _reader_flags(command)
    command.add_argument("--min-confidence", type=_share, metavar="P", help="0 to 1: below it a word is left out")


def _transcribe_flags(command) -> None:
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="image, folder, pattern, or - for a list on standard input"
    )
    _reader_flags(command, (*ENGINES, "ray"))
    command.add_argument("--actors", type=_positive, metavar="N", help="of the engine ray: processes that read")
    command.add_argument("--columns", type=_columns, metavar="image=NAME", help="of the engine ray: for parquet files")
    command.add_argument("--format", choices=FORMATS, help="default: text; parquet with the engine ray")
    command.add_argument("--top", type=_positive, metavar="N", help="tell the N likeliest texts of each word (jsonl)")
    _language_flags(command)
    command.add_argument("--out", metavar="FILE", help="default: standard output; a folder with the engine ray")
    command.add_argument("--batch-size", type=_positive, default=64, metavar="N")


def _reader_flags(command, engines=ENGINES) -> None:
    command.add_argument("--checkpoint", metavar="DIR", help=_CHECKPOINT)
    command.add_argument("--engine", choices=engines, help="default: onnx where it is installed and exported")


def _export_flags(command) -> None:
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a reader, or hf://owner/name")
    command.add_argument("--format", choices=("onnx", "openvino", "litert"), default="onnx")
    command.add_argument("--out", metavar="PATH", help="default for onnx: model.onnx in the folder, for the engines")
    command.add_argument("--int8", metavar="DATA", help="compute in 8 bit, with ranges taken from these words")


def _push_flags(command) -> None:
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a reader")
    command.add_argument("name", metavar="OWNER/NAME", help="where htr.load('hf://OWNER/NAME') will find it")


def _demo_flags(command) -> None:
    _reader_flags(command)
    command.add_argument(
        "--port", type=_port, default=7860, metavar="N", help="default: 7860; 0 takes any that is free"
    )
    command.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0 lets others in (default: 127.0.0.1)"
    )

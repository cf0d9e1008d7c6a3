"""Floor 8: the commands. Heavy imports happen inside each command, so that `htr --help` answers at once."""

import contextlib
import functools
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

import htr
from htr import listing, options

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_SHOWN = 20  # problems named on the terminal; problems.csv and `htr check` have them all


def main(argv: list[str] | None = None) -> int:
    """Run one command -> exit code: 0, 1 (some inputs failed), 2 (usage), 130 (interrupted)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be valid text
    args = options.parser().parse_args(argv)
    try:
        return COMMANDS[args.command](args)
    except BrokenPipeError:  # the reader of our output has seen enough; nothing may be flushed into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except KeyboardInterrupt:
        return _complain("stopped by the keyboard.", INTERRUPTED)
    except (ValueError, OSError) as error:
        return _complain(_sentence(error), FAILED)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return str(error)


def _complain(sentence: str, code: int = FAILED) -> int:
    print(f"htr: {sentence}", file=sys.stderr)
    return code


def _check(args) -> int:
    _import_keras()
    from tqdm import tqdm

    from htr import samples

    splits = {source: samples.load(source, columns=args.columns) for source in args.data}
    progress = functools.partial(tqdm, unit=" rows", disable=None, leave=False)
    found = samples.check(splits, progress=progress, **_limits(args.alphabet))
    for problem in found.problems:
        print(problem)
    print(found)
    return FAILED if found.problems else OK


def _limits(alphabet: str | None) -> dict:
    """A file of characters or a checkpoint -> what `samples.check` holds rows against; by default what train would."""
    charset, config, objective = None, htr.preset("small"), htr.objectives.get("ctc")
    if alphabet and Path(alphabet).is_dir():
        reader = htr.load(alphabet)
        charset, config, objective = reader.charset, reader.config, reader.objective
    elif alphabet:
        charset = htr.Charset.from_texts(_lines(alphabet))

    def fits(text: str, width: int) -> str | None:
        return config.misfit(text, objective.frames_needed([ord(c) for c in text]), width)

    return {"charset": charset, "height": config.height, "fits": fits}


def _synth(args) -> int:
    from htr import synth

    if not args.out.endswith(".parquet"):
        raise ValueError(f"{args.out} is no .parquet file; htr synth writes one, for example words.parquet.")
    lexicon = _lines(args.lexicon) if args.lexicon else None
    fonts = {name: font for name, font in synth.stroke_fonts().items() if _held_out(name) == bool(args.held_out)}
    if args.fonts:
        fonts |= synth.outline_fonts(args.fonts)
    if args.held_out:
        lexicon = _unseen(lexicon, args)
    synth.write_parquet(
        args.out,
        args.words,
        seed=args.seed,
        fonts=fonts,
        lexicon=lexicon,
        languages=args.languages,
        strength=args.strength,
    )
    print(f"{args.out}: {args.words:,} words")
    return OK


def _held_out(font: str) -> bool:
    from htr.synth import HELD_OUT_STROKE_FONTS

    return font in HELD_OUT_STROKE_FONTS


def _unseen(lexicon: list[str] | None, args) -> list[str]:
    """The words of the lexicon (or of the languages) that are no text of --held-out DATA, whatever their case."""
    from htr import vocabulary

    seen = {text.lower() for text in _load([args.held_out], args)[0]["text"]}
    words = lexicon or [word for language in args.languages for word in vocabulary.ranked(language)[0]]
    return [word for word in words if word.lower() not in seen]


def _lines(file: str) -> list[str]:
    return [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]


def _train(args) -> int:
    if args.epochs is None and args.minutes is None:
        return _complain(
            "a run needs an end: give --epochs N, --minutes M, or both (the first that is reached).", USAGE
        )
    from htr import samples

    dataset, problems = _load(args.data, args, skip=args.skip_bad)
    if args.validation:
        validation, others = _load(args.validation, args, skip=args.skip_bad)
        problems += others
    else:
        dataset, validation, how = samples.split(dataset, seed=args.seed)
        print(how)
    _import_keras()
    if args.init:
        print(_changes(args.init, dataset["text"]))
    reader = _fit(dataset, validation, problems, args)
    print(f"{args.out}: validation CER {100 * reader.training['validation_cer']:.2f} % on {len(validation):,} words")
    return OK


def _fit(dataset, validation, problems, args):
    from htr.progress import Progress

    names = (
        "objective",
        "objective_options",
        "epochs",
        "minutes",
        "batch_size",
        "learning_rate",
        "augment",
        "seed",
        "mixed_precision",
    )
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    training = htr.TrainConfig(**given)
    return htr.train(
        dataset,
        validation,
        out=args.out,
        model=htr.preset(args.preset),
        training=training,
        init=args.init,
        resume=args.resume,
        skip_bad=args.skip_bad,
        data=args.data,
        problems=problems,
        callbacks=[Progress(training)],
    )


def _changes(checkpoint: str, texts: list[str]) -> str:
    """What becomes of the classes of a checkpoint that is trained on with these texts."""
    from htr.checkpoint import read_config

    old, new = read_config(checkpoint)["alphabet"], htr.Charset.from_texts(texts).characters
    added, gone = ("".join(c for c in these if c not in those) for these, those in ((new, old), (old, new)))
    kept = len(new) - len(added)
    return f"{checkpoint}: {kept} characters kept, {len(added)} new ({added}), {len(gone)} gone ({gone})"


def _evaluate(args) -> int:
    dataset, _ = _load(args.data, args)
    _import_keras()
    reader = htr.load(args.checkpoint)
    report = htr.evaluate(
        reader,
        dataset,
        train_texts=_train_texts(reader),
        batch_size=args.batch_size,
        data=" ".join(args.data),
    )
    print(report)
    if args.json:
        Path(args.json).write_text(json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return OK


def _load(sources: list[str], args, *, skip: bool = False):
    """DATA -> (dataset, problems); names the rows that cannot be used, and stops there unless they may be skipped."""
    from htr import samples

    dataset, problems = samples.load_all(sources, columns=args.columns)
    for problem in problems[:_SHOWN]:
        print(problem, file=sys.stderr)
    if problems and not skip:
        more = f", {len(problems) - _SHOWN} of them not shown" if len(problems) > _SHOWN else ""
        hint = "; repair them or leave them out with --skip-bad." if hasattr(args, "skip_bad") else "; repair them."
        raise ValueError(f"{len(problems)} of {len(problems) + len(dataset)} rows cannot be used{more}{hint}")
    return dataset, problems


def _train_texts(reader) -> list[str] | None:
    """The texts that a checkpoint was trained on, where it names its data and the data is still there."""
    from htr import samples

    try:
        return samples.load_all(reader.training["data"]).dataset["text"]
    except (KeyError, ValueError, OSError):
        return None


def _transcribe(args) -> int:
    if args.format == "parquet" and not args.out:
        return _complain("--format parquet writes no text; add --out FILE.parquet.", USAGE)
    _import_keras()
    from tqdm import tqdm

    reader = htr.load(args.checkpoint)
    paths, images = itertools.tee(listing.expand(args.paths, stdin=sys.stdin))
    failed = 0
    with _sink(args) as sink:
        outcomes = reader.stream(images, batch_size=args.batch_size)
        progress = tqdm(outcomes, unit=" words", disable=None if args.out else True)
        for path, outcome in zip(paths, progress, strict=True):
            if isinstance(outcome, Exception):
                failed += 1
                _complain(str(outcome))
            sink.write(listing.record(path, outcome))
    return FAILED if failed else OK


@contextlib.contextmanager
def _sink(args):
    """Where transcribe's rows go: standard output or --out; what was read is kept when the command is stopped."""
    with contextlib.ExitStack() as stack:
        if not args.out:
            yield listing.Lines(sys.stdout, args.format)
        elif args.format == "parquet":
            yield stack.enter_context(contextlib.closing(listing.Table(args.out)))
        else:
            file = open(args.out, "w", encoding="utf-8", errors="backslashreplace", newline="")
            yield listing.Lines(stack.enter_context(file), args.format)


def _import_keras() -> None:
    """Import Keras while its backend's start-up chatter goes to a file: TensorFlow ignores its own log level there."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            import keras  # noqa: F401
        finally:
            os.dup2(saved, 2)
            os.close(saved)


COMMANDS = {"check": _check, "synth": _synth, "train": _train, "evaluate": _evaluate, "transcribe": _transcribe}

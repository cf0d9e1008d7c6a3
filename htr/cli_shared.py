"""Floor 7: what the commands share: exit codes, complaints, loading data, the start of Keras."""

import importlib
import os
import sys
import tempfile
from pathlib import Path

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_SHOWN = 20  # problems named on the terminal; problems.csv and `htr check` have them all


def sentence(error: Exception) -> str:
    """An error as the user reads it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return str(error)


def complain(sentence: str, code: int = FAILED) -> int:
    """Say what is wrong on standard error -> the exit code."""
    print(f"htr: {sentence}", file=sys.stderr)
    return code


def lines(file: str) -> list[str]:
    """The lines of a text file that hold anything."""
    return [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]


def load(sources: list[str], args, *, skip: bool = False):
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


def with_language(reader, args):
    """The reader, reading with --lexicon, --lm and --top where they are given."""
    from htr.search import Search, language

    if not (args.lexicon or args.lm or getattr(args, "top", None)):
        return reader
    words = lines(args.lexicon) if args.lexicon else None
    automaton, left_out = language(reader.charset, lexicon=words, arpa=args.lm)
    if left_out:
        shown = ", ".join(left_out[:3])
        complain(f"{len(left_out):,} words of {args.lexicon} hold characters the reader does not know: {shown} ...")
    return reader.use(Search(automaton, args.lm_weight, args.lm_bonus, top=getattr(args, "top", None) or 1))


def quietly(action):
    """The result of action(), while start-up chatter goes to a file: TensorFlow ignores its own log level there."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            return action()
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def import_keras() -> None:
    """Import Keras without its backend's chatter."""
    quietly(lambda: importlib.import_module("keras"))


def reader(args):
    """The reader of --checkpoint on --engine, with --lexicon, --lm and --top where the command has them."""
    import htr

    found = quietly(lambda: htr.load(args.checkpoint, engine=getattr(args, "engine", None)))
    return with_language(found, args) if hasattr(args, "lexicon") else found

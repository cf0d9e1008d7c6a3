"""Floor 8: the commands that read images: transcribe, align."""

import contextlib
import itertools
import os
import sys

from htr import listing
from htr.cli_shared import FAILED, OK, USAGE, complain, load
from htr.cli_shared import reader as load_reader


def transcribe(args) -> int:
    """`htr transcribe` -> exit code."""
    if args.engine == "ray":
        return _in_bulk(args)
    if args.actors or args.columns:
        flag = "--actors" if args.actors else "--columns"
        return complain(f"{flag} belongs to bulk reading; add --engine ray, or leave it out.", USAGE)
    args.format = args.format or "text"
    if args.format == "parquet" and not args.out:
        return complain("--format parquet writes no text; add --out FILE.parquet.", USAGE)
    from tqdm import tqdm

    reader = load_reader(args)
    paths, images = itertools.tee(listing.expand(args.paths, stdin=sys.stdin))
    failed = 0
    with _sink(args) as sink:
        outcomes = reader.stream(images, batch_size=args.batch_size)
        progress = tqdm(outcomes, unit=" words", disable=None if args.out else True)
        for path, outcome in zip(paths, progress, strict=True):
            if isinstance(outcome, Exception):
                failed += 1
                complain(str(outcome))
            sink.write(listing.record(path, outcome))
    return FAILED if failed else OK


@contextlib.contextmanager
def _hushed():
    """Standard error for what is ours, while Ray's own processes write theirs into nothing."""
    with os.fdopen(os.dup(2), "w") as terminal, open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield terminal
        finally:
            os.dup2(terminal.fileno(), 2)


def _in_bulk(args) -> int:
    """`htr transcribe --engine ray` -> exit code."""
    if not args.out:
        return complain("--engine ray writes a folder of parquet files; name it with --out FOLDER.", USAGE)
    if args.format not in (None, "parquet"):
        return complain(f"--engine ray writes parquet, no {args.format}; leave --format out.", USAGE)
    if args.lexicon or args.lm or args.top:
        return complain("--engine ray reads without --lexicon, --lm and --top; take another engine for them.", USAGE)
    if set(args.columns or ()) - {"image"}:
        return complain("--engine ray reads no column but the image; write --columns image=NAME.", USAGE)
    from tqdm import tqdm

    from htr import bulk

    with _hushed() as terminal, tqdm(unit=" words", disable=None, file=terminal) as bar:

        def progress(done: int, rows: int) -> None:
            if bar.total is None:  # what an earlier run has read says nothing about the speed of this one
                bar.reset(rows)
                bar.initial = bar.n = done
            bar.update(done - bar.n)

        counts = bulk.read(
            args.paths,
            out=args.out,
            checkpoint=args.checkpoint,
            actors=args.actors,
            batch_size=args.batch_size,
            column=(args.columns or {}).get("image", "image"),
            stdin=sys.stdin,
            progress=progress,
        )
    kept = f", {counts.kept:,} of them by an earlier run" if counts.kept else ""
    print(f"{args.out}: {counts.rows:,} rows read{kept}, {counts.failed:,} with an error")
    return FAILED if counts.failed else OK


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


def align(args) -> int:
    """`htr align` -> exit code."""
    if not args.out.endswith(".parquet"):
        return complain(f"{args.out} is no .parquet file; htr align writes one, for example words.parquet.", USAGE)
    dataset, problems = load(args.data, args, skip=True)
    from tqdm import tqdm

    from htr import align as lines
    from htr.rows import Samples

    rejected = args.rejected or args.out.removesuffix(".parquet") + "_left_out.csv"
    threshold = lines.THRESHOLD if args.min_confidence is None else args.min_confidence
    counts = lines.align(
        Samples(dataset, problems),
        load_reader(args),
        out=args.out,
        rejected=rejected,
        threshold=threshold,
        progress=lambda rows: tqdm(rows, unit=" lines", disable=None, leave=False),
    )
    print(f"{args.out}: {counts.written:,} of {counts.words:,} words from {counts.lines:,} lines")
    for kind, number in counts.left_out.most_common():
        print(f"{rejected}: {number:,} words left out, {kind}")
    return FAILED if problems else OK

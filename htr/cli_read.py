"""Floor 8: the commands that read images: transcribe, align."""

import contextlib
import itertools
import sys

from htr import listing
from htr.cli_shared import FAILED, OK, USAGE, complain, load
from htr.cli_shared import reader as load_reader


def transcribe(args) -> int:
    """`htr transcribe` -> exit code."""
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

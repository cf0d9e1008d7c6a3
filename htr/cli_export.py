"""Floor 8: the commands that give a checkpoint away: export, push."""

from pathlib import Path

from htr.cli_shared import OK, load, quietly


def export(args) -> int:
    """`htr export` -> exit code."""
    from htr import export as files

    images = None
    if args.int8:
        dataset, _ = load([args.int8], args)
        images = dataset["image"]
    written = quietly(lambda: files.export(args.checkpoint, args.format, args.out, calibration=images))
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return OK


def push(args) -> int:
    """`htr push` -> exit code."""
    from htr import checkpoint

    charset, _, settings = checkpoint.load(args.checkpoint)
    checkpoint.load_weights(args.checkpoint, charset)  # nothing damaged leaves the house
    address = checkpoint.to_hub(Path(args.checkpoint), args.name)
    print(f"{address}: {len(charset.characters)} characters, objective {settings['objective']}")
    return OK

"""Floor 8: the commands that give a checkpoint away: export, push."""

from htr.cli_shared import OK, load, quietly


def export(args) -> int:
    """`htr export` -> exit code."""
    from htr import checkpoint
    from htr import export as files

    if args.out is None and args.checkpoint.startswith("hf://"):
        raise ValueError(f"{args.checkpoint} lies on the hub; give --out, a file for the graph on this machine.")
    folder, images = checkpoint.find(args.checkpoint), None
    if args.int8:
        dataset, _ = load([args.int8], args)
        images = dataset["image"]
    written = quietly(lambda: files.export(folder, args.format, args.out, calibration=images))
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return OK


def push(args) -> int:
    """`htr push` -> exit code."""
    from htr import checkpoint

    folder = checkpoint.find(args.checkpoint)
    charset, _, settings = checkpoint.load(folder)
    checkpoint.load_weights(folder, charset)  # nothing damaged leaves the house
    address = checkpoint.to_hub(folder, args.name)
    print(f"{address}: {len(charset.characters)} characters, objective {settings['objective']}")
    return OK

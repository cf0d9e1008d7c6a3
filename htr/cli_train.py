"""Floor 8: the commands train and evaluate."""

import json
from dataclasses import replace
from pathlib import Path

import htr
from htr.cli_shared import OK, USAGE, complain, import_keras, load, sentence
from htr.cli_shared import reader as load_reader
from htr.metrics import paired


def train(args) -> int:
    """`htr train` -> exit code."""
    if args.epochs is None and args.minutes is None:
        return complain("a run needs an end: give --epochs N, --minutes M, or both (the first that is reached).", USAGE)
    from htr import samples

    dataset, problems = load(args.data, args, skip=args.skip_bad)
    if args.validation:
        validation, others = load(args.validation, args, skip=args.skip_bad)
        problems += others
    else:
        dataset, validation, how = samples.split(dataset, seed=args.seed)
        _note(how, args)
    if args.corrections:
        dataset, validation = _corrected([dataset, validation], args)
    import_keras()
    if args.init:
        _note(_changes(args.init, dataset["text"]), args)
    try:
        reader = _fit(dataset, validation, problems, args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped("stopped by the keyboard", Path(args.out))) from None
    except OSError as error:
        told, out = sentence(error), Path(args.out)
        return complain(_stopped(told.removesuffix("."), out) if (out / "state.npz").exists() else told)
    print(f"{args.out}: validation CER {100 * reader.training['validation_cer']:.2f} % on {len(validation):,} words")
    return OK


def _note(line: str, args) -> None:
    if not args.quiet:
        print(line, flush=True)


def _stopped(how: str, run: Path) -> str:
    """How a run was stopped, what it leaves behind, and how to go on with it."""
    if not (run / "state.npz").exists():
        return f"{how} before the first epoch was over; {run} holds nothing to go on from."
    import numpy as np

    with np.load(run / "state.npz") as file:
        epoch = json.loads(str(file["state"]))["epoch"]
    return (
        f"{how}; {run} holds the best reader so far and the state after epoch {epoch}: "
        "go on with the same command and --resume."
    )


def _fit(dataset, validation, problems, args):
    from htr import cache, devices
    from htr.board import Board
    from htr.progress import Progress

    said, folder = set(), cache.folder(args.cache)

    def say(line: str) -> None:
        if line not in said:  # training and validation words may be in one file
            _note(line, args)
        said.add(line)

    names = (
        "objective",
        "objective_options",
        "epochs",
        "minutes",
        "batch_size",
        "learning_rate",
        "augment",
        "ema",
        "seed",
        "mixed_precision",
    )
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    training = htr.TrainConfig(**given)
    devices.join()
    shown = devices.leads()  # one of several hosts speaks for all
    progress = Progress(training)
    callbacks = [progress] if shown and not args.quiet else []
    callbacks += [Board(Path(args.out) / "tensorboard")] if shown and args.tensorboard else []
    try:
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
            callbacks=callbacks,
            cache=cache.Cache(folder, say) if folder else None,
            devices=args.devices,
        )
    finally:
        progress.close()


def _corrected(datasets: list, args) -> list:
    """The datasets with --corrections; says what was done, and which rows are in none of them."""
    from htr import corrections

    lines = corrections.read(args.corrections)
    done = [corrections.apply(dataset, lines) for dataset in datasets]
    counts = [[applied.corrected, applied.dropped, applied.kept, applied.done] for _, applied in done]
    unknown = [line for line in lines if all(line in applied.unknown for _, applied in done)]
    corrected, dropped, kept, already = map(sum, zip(*counts, strict=True))
    _note(f"{args.corrections}: {corrections.Applied(corrected, dropped, kept, already, unknown)}", args)
    return [dataset for dataset, _ in done]


def _changes(checkpoint: str, texts: list[str]) -> str:
    """What becomes of the classes of a checkpoint that is trained on with these texts."""
    from htr.checkpoint import find, read_config

    old, new = read_config(find(checkpoint))["alphabet"], htr.Charset.from_texts(texts).characters
    added, gone = ("".join(c for c in these if c not in those) for these, those in ((new, old), (old, new)))
    kept = len(new) - len(added)
    return f"{checkpoint}: {kept} characters kept, {len(added)} new ({added}), {len(gone)} gone ({gone})"


def evaluate(args) -> int:
    """`htr evaluate` -> exit code."""
    dataset, _ = load(args.data, args)
    if args.corrections:
        (dataset,) = _corrected([dataset], args)
    reader = load_reader(args)
    if args.tune:
        _tune(reader, dataset)
    report = htr.evaluate(
        reader,
        dataset,
        train_texts=_train_texts(reader),
        batch_size=args.batch_size,
        data=" ".join(args.data),
    )
    print(report)
    if args.report or args.compare:
        _write_report(reader, dataset, report, args)
    if args.json:
        Path(args.json).write_text(json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return OK


def _tune(reader, dataset) -> None:
    """Give the reader's search the weight and bonus that read this data best."""
    from htr.beam import tune

    if not reader.search or not reader.search.automaton:
        raise ValueError("There is nothing to tune; give --lm FILE.arpa, --lexicon FILE or both.")
    logits = reader.logits(list(dataset["image"]))
    best = tune(logits, dataset["text"], reader.charset, reader.search.automaton)
    reader.use(replace(reader.search, weight=best.weight, bonus=best.bonus))
    print(f"--lm-weight {best.weight} --lm-bonus {best.bonus}: chosen on this data, so its own figure flatters")


def _write_report(reader, dataset, report, args) -> None:
    """The page, and on the terminal the paired difference from the reader it is compared with."""
    from htr import report as page

    other = None
    if args.compare:
        other = htr.evaluate(htr.load(args.compare), dataset, batch_size=args.batch_size, data=" ".join(args.data))
        low, high = other.intervals["cer"]
        print(f"{args.compare}: CER {other.cer:.2%} [{low:.2%}, {high:.2%}]")
        ours, theirs = report.rows, other.rows
        by, low, high = paired(ours.edits, theirs.edits, ours.lengths, ours.groups)
        real = "a difference beyond chance" if low > 0 or high < 0 else "no difference beyond chance"
        bounds = f"[{low:+.2%}, {high:+.2%}], paired by {report.interval_by}"
        print(f"{reader.name} minus {args.compare}: {by:+.2%} {bounds}: {real}")
    if args.report:
        fitted = reader.temperature if reader.temperature != 1 else None
        page.write(args.report, reader, dataset, report, other=other, temperature=fitted, batch_size=args.batch_size)
        print(f"{args.report}: open it in a browser, no network is needed")


def _train_texts(reader) -> list[str] | None:
    """The texts that a checkpoint was trained on, where it names its data and the data is still on this machine."""
    from htr import samples

    sources = reader.training.get("data")
    if not sources or "hf://" in str(sources):
        return None  # a stranger's checkpoint must not decide what this machine fetches
    try:
        return samples.load_all(sources).dataset["text"]
    except (KeyError, ValueError, OSError):
        return None

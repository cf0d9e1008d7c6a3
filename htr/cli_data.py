"""Floor 8: the commands that look at data or make it: check, synth, lm."""

import functools
from pathlib import Path

import htr
from htr.cli_shared import FAILED, OK, import_keras, lines, load


def check(args) -> int:
    """`htr check` -> exit code."""
    from tqdm import tqdm

    from htr import samples

    splits = {source: samples.load(source, columns=args.columns) for source in args.data}
    import_keras()
    progress = functools.partial(tqdm, unit=" rows", disable=None, leave=False)
    found = samples.check(splits, progress=progress, **_limits(args.alphabet))
    for problem in found.problems:
        print(problem)
    print(found)
    if args.checkpoint or args.folds:
        _audit(args, progress)
    return FAILED if found.problems else OK


def _audit(args, progress) -> None:
    """Labels that a reader doubts: a page to look through, and corrections.csv to decide in."""
    from htr import audit, audit_page, corrections, samples

    dataset = samples.load_all(args.data, columns=args.columns).dataset
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if args.folds:
        settings = htr.TrainConfig(minutes=args.minutes)
        # the checkpoint's network, but not its weights: it may have learned from these very labels
        model = htr.load(args.checkpoint).config if args.checkpoint else None
        make_reader = audit.trainer(out / "folds", settings=settings, model=model)
        found = audit.cross_fit(dataset, args.folds, make_reader=make_reader, progress=progress)
    else:
        found = audit.audit(htr.load(args.checkpoint), dataset, progress=progress)
    (out / "labels.html").write_text(audit_page.page(dataset, found), encoding="utf-8")
    corrections.write(corrections.propose(dataset, found), out / "corrections.csv")
    print(
        f"{out / 'labels.html'}: the most doubtful labels; {out / 'corrections.csv'}: decide there, then --corrections"
    )


def _limits(alphabet: str | None) -> dict:
    """A file of characters or a checkpoint -> what `samples.check` holds rows against; by default what train would."""
    charset, config, objective = None, htr.preset("small"), htr.objectives.get("ctc")
    if alphabet and (alphabet.startswith("hf://") or Path(alphabet).is_dir()):
        reader = htr.load(alphabet)
        charset, config, objective = reader.charset, reader.config, reader.objective
    elif alphabet:
        charset = htr.Charset.from_texts(lines(alphabet))

    def fits(text: str, width: int) -> str | None:
        return config.misfit(text, objective.frames_needed([ord(c) for c in text]), width)

    return {"charset": charset, "height": config.height, "fits": fits}


def synth(args) -> int:
    """`htr synth` -> exit code."""
    from htr import synth

    if not args.out.endswith(".parquet"):
        raise ValueError(f"{args.out} is no .parquet file; htr synth writes one, for example words.parquet.")
    lexicon = lines(args.lexicon) if args.lexicon else None
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
        capitals=synth.BLOCK if args.capitals is None else args.capitals,
    )
    print(f"{args.out}: {args.words:,} words")
    return OK


def _held_out(font: str) -> bool:
    from htr.synth import HELD_OUT_STROKE_FONTS

    return font in HELD_OUT_STROKE_FONTS


def _unseen(lexicon: list[str] | None, args) -> list[str]:
    """The words of the lexicon (or of the languages) that are no text of --held-out DATA, whatever their case."""
    from htr import vocabulary

    seen = {text.lower() for text in load([args.held_out], args)[0]["text"]}
    words = lexicon or [word for language in args.languages for word in vocabulary.ranked(language)[0]]
    return [word for word in words if word.lower() not in seen]


def lm(args) -> int:
    """`htr lm` -> exit code."""
    from htr.language import train_ngram, write_arpa

    rows = [line.partition("\t") for line in lines(args.text)]
    try:
        counts = [float(count) if count else 1.0 for _, _, count in rows]
    except ValueError as error:
        raise ValueError(f"{args.text} has a count that is no number ({error}); write word, tab, count.") from None
    model = train_ngram([text for text, _, _ in rows], args.order, counts=counts)
    write_arpa(model, args.out)
    print(f"{args.out}: {len(rows):,} texts, {sum(map(len, model.keys)):,} n-grams up to order {args.order}")
    return OK

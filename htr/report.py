"""Floor 7: a Report as one HTML page that opens anywhere: no script, no font and no picture from outside.

The figures are the Report's own. The words are read once more, for the pictures and for the temperature.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from htr import report_sections as sections
from htr.charset import normalize
from htr.evaluation import Report
from htr.report_confidence import confidence
from htr.report_parts import count, escape, percent
from htr.report_sections import Page

if TYPE_CHECKING:
    from datasets import Dataset

    from htr.transcriber import Transcriber

WINDOW = 1024  # images held at once
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser holds the page to it
SECTIONS = {
    "Writers": sections.writers,
    "Length": sections.lengths,
    "Characters": sections.characters,
    "Confusions": sections.confusions,
    "Confidence": confidence,
    "Comparison": sections.comparison,
    "Worst words": sections.worst,
}


def write(path, reader: "Transcriber", dataset: "Dataset", report: Report, **options) -> None:
    """The page of `build`, which names the options, as a file in UTF-8."""
    page = build(reader, dataset, report, **options)
    # a lone surrogate in a label has no bytes in UTF-8
    Path(path).write_bytes(page.encode("utf-8", errors="xmlcharrefreplace"))


def build(
    reader: "Transcriber",
    dataset: "Dataset",
    report: Report,
    *,
    other: Report | None = None,
    temperature: float | None = None,
    batch_size: int = 64,
) -> str:
    """A reader, the dataset it was evaluated on and the Report of that -> a self-contained page of HTML.

    other: the Report of a second reader on the same rows, for a paired test and the words on which the two differ.
    temperature: one fitted on other words (`calibration.fit_temperature`); without it each half of the writers gets
    the one fitted on the other half, so that no word is measured at a temperature that has seen it.
    Holds the logits of all words. Raises ValueError where a Report does not belong to the dataset or the temperature is
    not above 0, ImageError for an image that cannot be read.
    """
    dataset = _undecoded(dataset)
    _same_rows(report, [normalize(text) for text in dataset["text"]], "the dataset")
    if other is not None:
        _same_rows(other, report.rows.references, "the report it is compared with")
    page = Page(reader, dataset, report, other, _logits(reader, dataset, batch_size), temperature)
    bodies = [(name, name.lower().replace(" ", "-"), section(page)) for name, section in SECTIONS.items()]
    bodies = [(name, anchor, body) for name, anchor, body in bodies if body]
    links = "".join(f'<a href="#{anchor}">{name}</a>' for name, anchor, _ in bodies)
    main = "".join(f'<section id="{anchor}"><h2>{name}</h2>{body}</section>' for name, anchor, body in bodies)
    title = " on ".join(escape(name) for name in (report.checkpoint, report.data) if name)
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Reading report: {title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><link rel="icon" href="data:,">'
        f"<style>{style}</style></head><body><header><h1>Reading report</h1>{_head(report)}<nav>{links}</nav></header>"
        f"<main>{main}</main></body></html>\n"
    )


def _undecoded(dataset: "Dataset") -> "Dataset":
    """The dataset with its images as they lie on disk, as evaluation read them."""
    from datasets import Image

    stored = dataset.features["image"]
    return dataset.cast_column("image", Image(decode=False)) if isinstance(stored, Image) and stored.decode else dataset


def _same_rows(report: Report, references: Sequence[str], what: str) -> None:
    ours = report.rows.references
    if len(ours) != len(references):
        raise ValueError(
            f"The report of {report.checkpoint} has {len(ours)} rows and {what} {len(references)}: "
            "give those of one evaluation."
        )
    for row, (text, theirs) in enumerate(zip(ours, references, strict=True)):
        if text != theirs:
            raise ValueError(
                f"Row {row} is {text!r} in the report of {report.checkpoint} and {theirs!r} in {what}: "
                "give those of one evaluation."
            )


def _logits(reader: "Transcriber", dataset: "Dataset", batch_size: int) -> list[np.ndarray]:
    """logits (frames, classes) of every row; of the images only a window is held at a time."""
    images = (row["image"] for row in dataset.select_columns("image"))
    logits: list[np.ndarray] = []
    while window := list(itertools.islice(images, WINDOW)):
        logits += reader.logits(window, batch_size)
    return logits


def _head(report: Report) -> str:
    """The three rates with their intervals, and what they were measured on."""
    cards = ""
    for name, label in (("cer", "Character error rate"), ("wer", "Word error rate"), ("word_accuracy", "Words right")):
        low, high = report.intervals[name]
        cards += (
            f'<div class="card"><h2>{label}</h2><p class="big" id="{name}">{percent(getattr(report, name))}</p>'
            f'<p class="quiet">{percent(low)} to {percent(high)}</p></div>'
        )
    writers = "writers unknown" if report.writers is None else count(report.writers, "writer")
    facts = {
        "Reader": report.checkpoint,
        "Data": report.data,
        "Size": f"{count(report.words, 'word')}, {writers}, {count(report.characters, 'character')}",
        "Intervals": f"95 %, by {report.interval_by}",
        "CER without case and punctuation": None if report.plain_cer is None else percent(report.plain_cer),
        "CER of texts not seen in training": None if report.unseen_cer is None else percent(report.unseen_cer),
        "Texts not seen in training": None if report.unseen_words is None else count(report.unseen_words, "word"),
        "With characters outside the alphabet": count(report.outside_alphabet, "word"),
        "Too long for the image": count(report.too_long, "word"),
        "Speed": f"{report.words_per_second:,.0f} words/s",
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(fact)}</dd></div>" for name, fact in facts.items() if fact)
    why = ""
    if report.interval_by == "word":
        why = '<p class="note">Fewer than 2 writers are known: for other writers these intervals are too narrow.</p>'
    text = f"<details><summary>As text</summary><pre>{escape(report)}</pre></details>"
    return f'<div class="cards">{cards}</div><dl>{rows}</dl>{why}{text}'

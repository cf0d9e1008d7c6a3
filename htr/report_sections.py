"""Floor 6: the sections of a report's page, each a function of what the page is made of to HTML."""

import functools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from htr import metrics, plotting
from htr import report_parts as parts
from htr.evaluation import Report, Rows
from htr.images import read_image, to_ink
from htr.report_parts import count, escape, percent

if TYPE_CHECKING:
    from datasets import Dataset

    from htr.transcriber import Transcriber

WORST = 50  # words shown with their pictures
LISTED = 30  # rows of a table: writers, characters, confusions
DIFFERING = 50  # words shown on which two readers differ
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 40)  # characters: the last of each class


@dataclass(frozen=True)
class Page:
    """What the sections are made of. logits: (frames, classes) of every row; other: a second reader's Report."""

    reader: "Transcriber"
    dataset: "Dataset"
    report: Report
    other: Report | None
    logits: list[np.ndarray]
    temperature: float | None

    @property
    def rows(self) -> Rows:
        return self.report.rows

    @functools.cached_property
    def alignments(self) -> dict[int, list[tuple[str, str]]]:
        """The rows with errors -> their characters, written and read, side by side."""
        wrong = np.flatnonzero(self.rows.edits).tolist()
        return {row: parts.align(self.rows.references[row], self.rows.hypotheses[row]) for row in wrong}


def writers(page: Page) -> str:
    """CER of each writer, the worst first."""
    if page.rows.writers is None:
        return '<p class="note">The data names no writers.</p>'
    groups = defaultdict(list)
    for row, writer in enumerate(page.rows.writers):
        groups["unknown" if writer is None else f"{writer}"].append(row)
    ordered = sorted(groups.items(), key=lambda group: -_rate(page.rows, group[1]))
    shown = [(f"<bdi>{escape(writer)}</bdi>", rows) for writer, rows in ordered[:LISTED]]
    more = f'<p class="note">The worst {LISTED} of {len(ordered)} writers.</p>' if len(ordered) > LISTED else ""
    return _rates("Writer", page.rows, shown, grouped=False) + more


def lengths(page: Page) -> str:
    """CER by the number of characters of the reference."""
    places = np.searchsorted(LENGTHS, page.rows.lengths)
    groups = []
    for place in np.unique(places).tolist():
        low = LENGTHS[place - 1] + 1 if place else 0
        high = LENGTHS[place] if place < len(LENGTHS) else None
        label = f"{low} or more" if high is None else f"{low}" if low == high else f"{low} to {high}"
        groups.append((label, np.flatnonzero(places == place).tolist()))
    return _rates("Characters", page.rows, groups, grouped=True)


def _rate(rows: Rows, chosen: Sequence[int]) -> float:
    return float(rows.edits[chosen].sum() / max(rows.lengths[chosen].sum(), 1))


def _rates(what: str, rows: Rows, groups: Sequence[tuple[str, list[int]]], *, grouped: bool) -> str:
    """A bar, the CER and its interval for each group of rows; the interval is by writer where grouped and known."""
    by = rows.groups if grouped else None
    figures: list[tuple[str, float | None, tuple[float, float] | None, list[int]]] = []
    for label, chosen in groups:
        edits, characters = rows.edits[chosen], rows.lengths[chosen]
        if characters.sum():
            interval = metrics.interval(edits, characters, None if by is None else [by[row] for row in chosen])
            figures.append((label, _rate(rows, chosen), interval, chosen))
        else:  # empty references alone: what was read there are edits of nothing
            figures.append((label, None, None, chosen))
    top = max([rate for _, rate, _, _ in figures if rate is not None], default=0)
    top = max([top, *(min(interval[1], 1.5 * top) for _, _, interval, _ in figures if interval)])
    lines = [
        (
            label,
            "" if rate is None else parts.bar(rate, interval, top=top),
            "" if rate is None else percent(rate),
            f"{len(chosen):,}",
            f"{int(rows.edits[chosen].sum()):,}",
            "" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}",
        )
        for label, rate, interval, chosen in figures
    ]
    unit = "word" if by is None else "writer"
    note = f'<p class="note">The line across a bar is its 95 % interval, by {unit}.</p>'
    return parts.table([what, "", "#CER", "#Words", "#Edits", "95 %"], lines, classes="bars") + note


def characters(page: Page) -> str:
    """How often each character of the references was read as something else or not at all."""
    written: Counter = Counter()
    for row, reference in enumerate(page.rows.references):
        written.update(reference if row not in page.alignments else "")
    lost: Counter = Counter()
    for pairs in page.alignments.values():
        written.update(a for a, _ in pairs if a)
        lost.update(a for a, b in pairs if a and a != b)
    if not lost:
        return '<p class="note">Every character was read right.</p>'
    top = max(lost[c] / written[c] for c in lost)
    ordered = sorted(lost, key=lambda c: (-lost[c], c))
    lines = [
        (
            parts.letter(c),
            parts.bar(lost[c] / written[c], None, top=top),
            percent(lost[c] / written[c]),
            f"{lost[c]:,}",
            f"{written[c]:,}",
        )
        for c in ordered[:LISTED]
    ]
    head = ["Character", "", "#Missed", "#Times", "#Occurs"]
    shown = f"the {LISTED} missed most often" if len(ordered) > LISTED else "all that were missed"
    note = f"{len(written)} characters occur; {shown}, as another character or not at all."
    return parts.table(head, lines, classes="bars") + f'<p class="note">{note}</p>'


def confusions(page: Page) -> str:
    """Which character was read as which, most often first."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, pairs in page.alignments.items():
        for a, b in pairs:
            if a != b:
                found[a, b].append(row)
    if not found:
        return '<p class="note">Nothing was confused.</p>'
    kinds: Counter = Counter()
    for (a, b), rows in found.items():
        kinds["insertion" if not a else "deletion" if not b else "substitution"] += len(rows)
    lines = []
    for (a, b), rows in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))[:LISTED]:
        examples = [
            f"{_text(page.rows.references[row])} <small>as</small> {_text(page.rows.hypotheses[row])}"
            for row in list(dict.fromkeys(rows))[:2]
        ]
        lines.append((parts.letter(a), parts.letter(b), f"{len(rows):,}", " · ".join(examples)))
    names = ", ".join(count(kinds[name], name) for name in ("substitution", "deletion", "insertion"))
    most = f" The {LISTED} most frequent of {len(found)} kinds:" if len(found) > LISTED else ""
    intro = f"<p>{count(sum(kinds.values()), 'edit')}: {names}.{most}</p>"
    return intro + parts.table(["Written", "Read as", "#Times", "For example"], lines)


def _text(text: str) -> str:
    return f'<bdi class="text">{escape(text)}</bdi>' if text else '<span class="none">nothing</span>'


def comparison(page: Page) -> str:
    """The paired test of two readers, and the words on which they differ; empty without a second one."""
    if page.other is None:
        return ""
    ours, theirs = page.rows, page.other.rows
    difference, low, high = metrics.paired(ours.edits, theirs.edits, ours.lengths, ours.groups)
    verdict = (
        "this reader is better"
        if high < 0
        else "the other reader is better"
        if low > 0
        else "neither is shown to be better"
    )
    points = [f"{100 * value:+.2f}" for value in (difference, low, high)]
    a, b = ours.edits == 0, theirs.edits == 0
    counts = [("Both", a & b), ("This one alone", a & ~b), ("The other alone", ~a & b), ("Neither", ~a & ~b)]
    differing = [row for row in range(len(a)) if ours.hypotheses[row] != theirs.hypotheses[row]]
    differing.sort(key=lambda row: (-abs(int(ours.edits[row] - theirs.edits[row])), row))
    shown = [
        (
            _text(ours.references[row]),
            *(f"{_reading(side, row)} <small>{side.confidences[row]:.2f}</small>" for side in (ours, theirs)),
            _original(page, row, width=200, height=48),
            f"{row}",
        )
        for row in differing[:DIFFERING]
    ]
    more = f", {DIFFERING} of them shown" if len(differing) > DIFFERING else ""
    return (
        f"<p>This reader, {escape(page.report.checkpoint)}: CER {percent(page.report.cer)}. "
        f"The other, {escape(page.other.checkpoint)}: CER {percent(page.other.cer)}.</p>"
        f"<p>This one's minus the other's is <strong>{points[0]} points</strong>, 95 % interval by "
        f"{page.report.interval_by} {points[1]} to {points[2]} (paired bootstrap): {verdict}.</p>"
        + parts.table(["Read right by", "#Words"], [(name, f"{int(which.sum()):,}") for name, which in counts])
        + f"<h3>{count(len(differing), 'word')} read differently{more}</h3>"
        + parts.table(["Written", "This reader", "The other", "Image", "#Row"], shown, classes="words")
    )


def _reading(rows: Rows, row: int) -> str:
    return (
        parts.marked(parts.align(rows.references[row], rows.hypotheses[row]))[1] if rows.hypotheses[row] else _text("")
    )


def worst(page: Page) -> str:
    """The words with most edits: what was on paper, what the network saw, what it said of each frame."""
    rows = page.rows
    wrong = sorted(page.alignments, key=lambda row: (-rows.edits[row], -rows.confidences[row], row))
    if not wrong:
        return '<p class="note">Every word was read right.</p>'
    most = f"{min(WORST, len(wrong))} of {len(wrong):,}" if len(wrong) > WORST else f"All {len(wrong)}"
    columns = "frame of the ink above" if page.reader.objective.has_positions else "character, one after the other"
    note = (
        f"{most} words with errors; most edits first, among equals the surest. Beneath each image the ink that the "
        f"network saw, and what it took it for: a row is a character, a column a {columns}; the stronger the colour, "
        "the likelier."
    )
    return f'<p>{note}</p><div class="words">{"".join(_card(page, row) for row in wrong[:WORST])}</div>'


def _card(page: Page, row: int) -> str:
    rows = page.rows
    reference, hypothesis = parts.marked(page.alignments[row])
    writer = None if rows.writers is None else rows.writers[row]
    facts = [
        f"row {row}",
        *([f"writer <bdi>{escape(writer)}</bdi>"] if writer else []),
        count(int(rows.edits[row]), "edit"),
    ]
    return (
        f'<article id="row-{row}"><h3>{" · ".join(facts)}</h3>{_original(page, row, width=560, height=128)}'
        f"{_seen(page, row)}<dl><div><dt>written</dt><dd>{reference}</dd></div>"
        f"<div><dt>read</dt><dd>{hypothesis if rows.hypotheses[row] else _text('')}</dd></div>"
        f"<div><dt>confidence</dt><dd>{rows.confidences[row]:.2f}</dd></div></dl></article>"
    )


def _original(page: Page, row: int, *, width: int, height: int) -> str:
    image = read_image(page.dataset[row]["image"])
    return parts.picture(image, name=f"row {row} as it was given", width=width, height=height)


def _seen(page: Page, row: int) -> str:
    """The ink and, beneath it column by column, the distribution of each frame."""
    config, logits = page.reader.config, page.logits[row]
    if not len(logits):
        return '<p class="note">No ink was found in this image.</p>'
    ink = to_ink(page.dataset[row]["image"], config.height).pixels
    room = len(logits) * config.stride - ink.shape[1]  # the last frame may reach beyond the ink
    ink = np.pad(ink, ((0, 0), (0, max(room, 0))))
    classes = min(24, 5 + len(set(page.rows.hypotheses[row])))  # what was read, and a few that came close
    names, strip = parts.heat(logits, page.reader.charset.characters, rows=classes)
    short = {"": "<small>blank</small>", " ": "\u2423"}
    labels = "".join(f"<li>{short.get(name) or parts.letter(name)}</li>" for name in names)
    seen = parts.picture(plotting.word(ink), name="the ink", width=0, height=0, lossless=True)
    frames = parts.picture(strip, name="the likeliest characters of each frame", width=0, height=0, lossless=True)
    return (
        f'<div class="seen" style="--wide:{2 * ink.shape[1]}px;--rows:{len(names)}">{seen}'
        f'<ol aria-hidden="true">{labels}</ol>{frames}</div>'
    )

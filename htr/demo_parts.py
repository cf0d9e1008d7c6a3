"""Floor 8: the HTML of the page of `htr demo`: a word as it was read, a table of many, a refusal."""

import base64
from collections.abc import Sequence

import numpy as np
from PIL import Image

from htr import plotting
from htr import report_parts as parts
from htr.demo import Row, Seen, to_csv
from htr.ink import crop_box, to_strokes
from htr.report_parts import count, escape
from htr.transcriber import Transcription

SURE, DOUBTFUL = 0.9, 0.5  # confidences above which a character is called sure, and not even doubtful below
_SHOWN = 1600, 1200  # px that a picture is shrunk to before it is shown
_TALL = 9  # rem that a word's picture is tall at most


def welcome() -> str:
    """What stands in the place of a result before there is one."""
    return _box('<p class="note">Draw a word, give a picture of one, or click on a sample.</p>')


def refusal(sentence: str) -> str:
    """A sentence that says why there is no result."""
    return _box(f'<p class="refusal" role="alert">{escape(sentence)}</p>')


def result(seen: Seen) -> str:
    """Everything there is to know about a word."""
    name = f"{escape(seen.reader.name.rstrip('/').rsplit('/', 1)[-1])} on {escape(seen.reader.engine.name)}"
    if seen.ink.blank:
        note = f'<p class="note">No ink was found in this picture ({name}).</p>'
        return _box(f'<p class="read"><span class="none">nothing</span></p>{note}')
    head = f'<p class="read" data-text="{escape(seen.plain.text)}">{_text(seen.plain.text)}</p>'
    note = f'<p class="note">{_percent(seen.plain.confidence)} sure of the whole text · {name}</p>'
    sections = [("Where each character was read", _characters(seen)), ("What the network saw", _network(seen))]
    return _box(head + note + _lexicon(seen) + _sections([*sections, ("Likeliest readings", _alternatives(seen))]))


def table(rows: Sequence[Row]) -> str:
    """Rows of many words, with a link that saves them as CSV."""
    failed = sum(isinstance(row.outcome, str) for row in rows)
    data = base64.b64encode(to_csv(rows).encode("utf-8-sig")).decode()  # with the mark that spreadsheets look for
    link = f'<a class="save" download="words.csv" href="data:text/csv;charset=utf-8;base64,{data}">Download as CSV</a>'
    told = count(len(rows) - failed, "image") + " read" + (f", {failed} not" if failed else "")
    cells = [[_thumbnail(row), f"<bdi>{escape(row.name)}</bdi>", *_outcome(row)] for row in rows]
    body = parts.table(["Image", "Name", "Text", "#Confidence"], cells, classes="words")
    return _box(f'<p class="told">{told} · {link}</p>{body}')


def _box(inside: str) -> str:
    return f'<div class="htr">{inside}</div>'


def _sections(sections: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<section><h3>{title}</h3>{inside}</section>" for title, inside in sections)


def _text(text: str) -> str:
    return f'<bdi class="text">{escape(text)}</bdi>' if text else '<span class="none">nothing</span>'


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.0f} %" if confidence >= 0.005 else "less than 1 %"


def _lexicon(seen: Seen) -> str:
    """What the lexicon made of the text, nothing without one."""
    if seen.guided is None:
        return ""
    before, after = seen.plain.text, seen.guided.text
    if before == after:
        said = f"With your lexicon the same: {_text(after)}"
    else:
        said = f'With your lexicon <span class="guided">{parts.marked(parts.align(before, after))[1]}</span>'
    said += f", of which the network is {_percent(seen.guided.confidence)} sure."
    if seen.left_out:
        shown = ", ".join(map(escape, seen.left_out[:3])) + (" …" if len(seen.left_out) > 3 else "")
        said += f" The reader cannot write {count(len(seen.left_out), 'word')} of it: {shown}"
    return f'<p class="lexicon">{said}</p>'


def _characters(seen: Seen) -> str:
    """The picture around the ink, each character above the place where it was read."""
    placed = [(c, c.left, c.right) for c in seen.plain.characters if c.left is not None and c.right is not None]
    if not placed:
        return '<p class="note">This reader ties characters to no place, or read none.</p>'
    picture, zoom, left = _around(seen)
    marks = []
    for c, *sides in placed:
        start, stop = ((x * zoom - left) * 100 / picture.width for x in sides)
        kind = "sure" if c.confidence >= SURE else "doubtful" if c.confidence >= DOUBTFUL else "unsure"
        marks.append(
            f'<li class="{kind}" style="left:{start:.2f}%;width:{stop - start:.2f}%" title="{c.confidence:.3f}">'
            f"{_letter(c.character)}<small>{_sure(c.confidence)}</small></li>"
        )
    shown = parts.picture(picture, name="the word as it came", width=_SHOWN[0], height=_SHOWN[1])
    wide = f"--wide:{_TALL * picture.width / picture.height:.1f}rem;--least:{1.3 * len(marks):.1f}rem"
    return (
        f'<div class="scroll"><div class="placed" style="{wide}">{shown}<ol>{"".join(marks)}</ol></div></div>'
        '<p class="note">In percent, how sure the network is of each.</p>'
    )


def _sure(confidence: float) -> str:
    """In percent, of two digits: three have no room above an i. None is ever wholly sure, so nothing is lost."""
    return f"{min(99, 100 * confidence):.0f}"


def _letter(character: str) -> str:
    return "<b>\u2423</b>" if character == " " else f"<b>{escape(character)}</b>"


def _around(seen: Seen) -> tuple[Image.Image, float, int]:
    """The part of the source around the ink, px of it per source px, and where its left edge is in px of its own."""
    picture = seen.picture.copy()
    picture.thumbnail(_SHOWN)
    zoom = picture.width / seen.picture.width
    left, right = (x * zoom for x in (seen.ink.left, seen.ink.left + seen.ink.pixels.shape[1] * seen.ink.scale))
    tall = seen.ink.pixels.shape[0] * seen.ink.scale * zoom
    top, bottom = 0, picture.height
    if not picture.mode.startswith(("I", "F")) and bottom > 1.5 * tall:
        strokes = to_strokes(np.asarray(picture.convert("RGBA").convert("L")))  # for the rows to show, not to read
        _, top, _, bottom = (0, 0, 0, bottom) if strokes is None else crop_box(strokes)
    room = max(2, round(0.2 * tall))
    box = left - room, top - room, right + room, bottom + room
    box = max(0, round(box[0])), max(0, round(box[1])), min(picture.width, round(box[2])), min(picture.height, box[3])
    return picture.crop(box), zoom, box[0]


def _network(seen: Seen) -> str:
    """The ink and, beneath it column by column, the distribution of each frame."""
    ink, stride = seen.ink.pixels, seen.reader.config.stride
    ink = np.pad(ink, ((0, 0), (0, max(len(seen.logits) * stride - ink.shape[1], 0))))  # the last frame reaches beyond
    rows = min(24, 5 + len(set(seen.plain.text)))  # what was read, and a few that came close
    scaled = seen.logits / np.float32(seen.reader.temperature)
    names, strip = parts.heat(scaled, seen.reader.charset.characters, rows=rows)
    short = {"": "<small>blank</small>", " ": "\u2423"}
    labels = "".join(f"<li>{short.get(name) or parts.letter(name)}</li>" for name in names)
    shown = parts.picture(plotting.word(ink), name="the ink", width=0, height=0, lossless=True)
    frames = parts.picture(strip, name="the likeliest characters of each frame", width=0, height=0, lossless=True)
    return (
        f'<div class="seen" style="--wide:{3 * ink.shape[1]}px;--rows:{len(names)}">{shown}'
        f'<ol aria-hidden="true">{labels}</ol>{frames}</div>'
        f'<p class="note">{ink.shape[0]} px high, {count(len(seen.logits), "frame")} of {stride} px: the bluer, '
        "the likelier the character in that frame.</p>"
    )


def _alternatives(seen: Seen) -> str:
    if seen.beam is None:
        return '<p class="note">Other readings and a lexicon need a reader of the CTC family.</p>'
    lists = [("Without a lexicon", seen.beam)] + ([("With your lexicon", seen.guided)] if seen.guided else [])
    note = "In the order of the search; in percent, what the network alone thinks of each." if seen.guided else ""
    return (
        f'<div class="pair">{"".join(f"<div>{_beam(*each)}</div>" for each in lists)}</div><p class="note">{note}</p>'
    )


def _beam(title: str, found: Transcription) -> str:
    rows = [
        [_text(text), parts.bar(confidence, None, top=1.0), f"{100 * confidence:.1f} %"]
        for text, confidence in found.alternatives
    ]
    return parts.table([title, "", "#Network"], rows, classes="bars")


def _thumbnail(row: Row) -> str:
    return parts.picture(row.picture, name=row.name, width=480, height=96) if row.picture else ""


def _outcome(row: Row) -> tuple[str, str]:
    if isinstance(row.outcome, str):
        return f'<span class="refusal">{escape(row.outcome)}</span>', ""
    return _text(row.outcome.text), f"{row.outcome.confidence:.2f}"

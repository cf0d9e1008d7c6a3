"""Floor 1: a page of suspicious labels to look through: one HTML file with its images, no network and no scripts.

For a person who knows the writing: the word as it was scanned, the label that the data has, and what the reader reads.
Letters that differ are marked. What is to be done about a row goes into corrections.csv (`htr.corrections`).
"""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from htr.corrections import stored
from htr.images import ImageError, read_image

if TYPE_CHECKING:
    from datasets import Dataset

    from htr.audit import Suspicion

SIZE = 720, 144  # px that an image is shrunk to fit in: twice its place on the page, for fine screens

_NOTHING = '<span class="none">nothing</span>'
_STYLE = """
:root { color-scheme: light dark; --ink: #22262b; --soft: #626b75; --line: #dfe3e8; --card: #fff; --page: #f4f5f7;
  --mark: #ffe6a8; --note: #2f5d8a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #98a1ab; --line: #363c43; --card: #22262b;
  --page: #181b1f; --mark: #6b5215; --note: #8fbbe6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.25rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; font-weight: 600; }
header p { margin: 0 0 .5rem; max-width: 44rem; color: var(--soft); }
ol { list-style: none; margin: 1.5rem 0 0; padding: 0; display: grid; gap: .75rem; }
li { display: grid; grid-template-columns: minmax(0, 23rem) minmax(0, 1fr); gap: .5rem 1.5rem; align-items: center;
  padding: .9rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
img { display: block; max-width: 100%; max-height: 4.5rem; background: #fff; border-radius: .25rem; }
dl { margin: 0; display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); gap: .1rem .75rem; }
dt { color: var(--soft); }
dd { margin: 0; font-size: 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: var(--mark); color: inherit; border-radius: .15rem; padding: 0 .05rem; }
.note, .place { grid-column: 1 / -1; margin: 0; font-size: .9rem; overflow-wrap: anywhere; }
.note { color: var(--note); }
.place, .none { color: var(--soft); }
@media (max-width: 640px) { body { padding: 1rem .75rem; } li { grid-template-columns: minmax(0, 1fr); } }
"""

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{lead}
</header>
<ol>
{rows}
</ol>
</body>
</html>
"""


def page(dataset: "Dataset", suspicions: Sequence["Suspicion"], *, count: int = 200, title: str = "Labels") -> str:
    """A dataset and what `htr.audit.audit` found in it, worst first -> HTML of the first `count` rows with suspicion.

    Images are shrunk to SIZE, a page of 200 words has about 2 MB. Every text is escaped. ValueError for a count below 1
    or a dataset without images.
    """
    if count < 1:
        raise ValueError(f"count is {count}; give 1 or more rows to show.")
    dataset, suspect = stored(dataset), sum(_suspect(each) for each in suspicions)
    shown = [_row(dataset, each) for each in islice(filter(_suspect, suspicions), count)]
    lead = [
        f"{suspect:,} of {len(suspicions):,} labels are not what the reader reads; here are the {len(shown):,} most "
        "suspicious, the worst first. The reader errs as well: only the image can tell.",
        "Suspicion says how much surer the reader is of its own reading than of the label, and rises where few letters "
        "decide it. Differences are marked.",
    ]
    paragraphs = "\n".join(f"<p>{escape(text)}</p>" for text in lead)
    text = _FRAME.format(title=escape(title), style=_STYLE, lead=paragraphs, rows="\n".join(shown))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a path need not be valid text


def _suspect(each: "Suspicion") -> bool:
    return bool(each.score > 0 or each.reason)


def _row(dataset: "Dataset", each: "Suspicion") -> str:
    record = dataset[each.row]
    label, reading = _marked(each.text, each.reading)
    pairs = [("label", label), ("reading", reading)]
    if each.kind == "image":
        pairs = pairs[:1]
    elif each.proposal not in (each.text, each.reading):
        pairs.append(("proposal", escape(each.proposal)))
    terms = "".join(f"<dt>{name}</dt><dd>{text or _NOTHING}</dd>" for name, text in pairs)
    note = f'\n<p class="note">{escape(each.reason[:1].upper() + each.reason[1:])}</p>' if each.reason else ""
    place = f'<p class="place">{escape(" · ".join(_place(record, each)))}</p>'
    return f"<li>\n{_picture(record['image'])}\n<dl>{terms}</dl>{note}\n{place}\n</li>"


def _place(record: dict, each: "Suspicion") -> Iterable[str]:
    """Where the row is and how suspicious, for people."""
    yield f"row {record.get('row', each.row)}"
    for name in (record.get("source"), (record["image"] or {}).get("path")):
        if name:
            yield Path(name).name
    if record.get("writer"):
        yield f"writer {record['writer']}"
    if math.isfinite(each.score):
        yield f"suspicion {each.score:.1f}"
        yield f"confidence {100 * each.confidence:.0f} %"


def _marked(text: str, reading: str) -> tuple[str, str]:
    """Two texts -> both as HTML, with marks around what the other lacks."""
    sides: tuple[list[str], list[str]] = [], []
    for kind, a, b, c, d in SequenceMatcher(None, text, reading, autojunk=False).get_opcodes():
        for side, part in zip(sides, (text[a:b], reading[c:d]), strict=True):
            if part:
                side.append(escape(part) if kind == "equal" else f"<mark>{escape(part)}</mark>")
    return "".join(sides[0]), "".join(sides[1])


def _picture(image: dict | None) -> str:
    """{"bytes", "path"} -> <img> with the pixels inside, small."""
    try:
        picture = read_image(image)
    except ImageError:
        return '<span class="none">no picture</span>'
    if picture.mode.startswith(("I", "F")):  # deeper than a page can show
        values = np.maximum(np.asarray(picture).astype(np.float32), 0)
        picture = Image.fromarray((values * (255 / max(float(values.max()), 1e-9))).astype(np.uint8))
    colour = picture.convert("RGBA")  # transparent parts over white
    picture = Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")
    picture.thumbnail(SIZE)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="the word as scanned">'

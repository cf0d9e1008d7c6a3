"""Floor 1: pieces of an HTML page: escaped text, aligned characters, tables, bars, curves, pictures as data: URIs."""

import base64
import html
import io
import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from htr.charset import BLANK, END, normalize

CURVE_POINTS = 200  # more would not be seen at the width of a chart
# HTML has no way to hold control characters: their pictures stand for them
_CONTROLS = {i: 0x2400 + i for i in range(32) if chr(i) not in "\n\t"}
_WIDTH, _HEIGHT = 380, 280  # of a chart, in units that are px where there is room
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 42


def escape(text: object) -> str:
    """Anything -> text that may stand in HTML, in an attribute too.

    >>> escape('<&"')
    '&lt;&amp;&quot;'
    """
    return html.escape(str(text).translate(_CONTROLS))


def percent(rate: float) -> str:
    """A fraction as the Report prints it.

    >>> percent(0.0284)
    '2.84 %'
    """
    return f"{100 * rate:.2f} %"


def count(number: int, noun: str) -> str:
    """
    >>> count(1, "word"), count(1200, "word")
    ('1 word', '1,200 words')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def align(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Two texts -> [(character written, character read)], "" where one has none.

    An alignment of least edits (Levenshtein 1966): its differing pairs are as many as `metrics.edits` counts. Among
    equals a substitution goes before a deletion, and that before an insertion, seen from the end.

    >>> align("cart", "cat")
    [('c', 'c'), ('a', 'a'), ('r', ''), ('t', 't')]
    """
    a, b = normalize(reference), normalize(hypothesis)
    costs = [list(range(len(b) + 1))]
    for i, written in enumerate(a, 1):
        above, row = costs[-1], [i]
        for j, read in enumerate(b, 1):
            row.append(min(above[j - 1] + (written != read), above[j] + 1, row[-1] + 1))
        costs.append(row)
    i, j, pairs = len(a), len(b), []
    while i or j:
        here = costs[i][j]
        if i and j and here == costs[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((a[i], b[j]))
        elif i and here == costs[i - 1][j] + 1:
            i -= 1
            pairs.append((a[i], ""))
        else:
            j -= 1
            pairs.append(("", b[j]))
    return pairs[::-1]


def marked(pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Aligned pairs -> (reference, hypothesis) as HTML; what differs is marked, what one of them lacks is a gap.

    An accent that is a character of its own is marked with its letter, else it would lose it.
    """
    return _marked(pairs, 0), _marked(pairs, 1)


def _marked(pairs: Sequence[tuple[str, str]], side: int) -> str:
    letters: list[list] = []  # [text, differs], a letter with its accents each
    for pair in pairs:
        own, differs = pair[side], pair[0] != pair[1]
        base = next((letter for letter in reversed(letters) if letter[0]), None)
        if base and own and unicodedata.combining(own):
            base[:] = base[0] + own, base[1] or differs
        else:
            letters.append([own, differs])
    parts = []
    for (differs, gap), run in itertools.groupby(letters, key=lambda letter: (letter[1], not letter[0])):
        texts = [text for text, _ in run]
        shown = escape("".join(texts))
        parts.append('<mark class="gap"></mark>' * len(texts) if gap else f"<mark>{shown}</mark>" if differs else shown)
    return f'<bdi class="text">{"".join(parts)}</bdi>'


def letter(character: str) -> str:
    """One character as HTML that can be seen, its Unicode name as title; "" is nothing."""
    if not character:
        return '<span class="none">nothing</span>'
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    if character.isspace():
        return f'<span class="none" title="{name}">space</span>'
    shown = "\u25cc" + character if unicodedata.combining(character) else character
    return f'<bdi class="text" title="{name}">{escape(shown)}</bdi>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, classes: str = "") -> str:
    """Headings and rows of HTML cells -> a table in a box that scrolls by itself. Headings that begin with # are
    numbers: their column stands to the right."""
    numbers = [" class=n" if name.startswith("#") else "" for name in head]
    cells = "".join(
        f"<th scope=col{kind}>{name.removeprefix('#')}</th>" for kind, name in zip(numbers, head, strict=True)
    )
    lines = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(numbers, row, strict=True)) + "</tr>"
        for row in rows
    ]
    body = f"<thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table class="{classes}">{body}</table></div>'


def bar(rate: float, interval: tuple[float, float] | None, *, top: float) -> str:
    """A rate as an SVG bar, top its full width; interval is a line across its end."""
    scale = 100 / top if top > 0 else 0
    shape = f'<rect class="fill" y="1" width="{min(100, rate * scale):.1f}" height="8"/>'
    if interval:
        low, high = (min(100.0, bound * scale) for bound in interval)
        shape += f'<rect class="whisker" x="{low:.1f}" y="4.2" width="{max(high - low, 0.4):.1f}" height="1.6"/>'
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{shape}</svg>'


def chart(
    series: Sequence[tuple[str, Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    *,
    x: str,
    y: str,
    label: str,
    top: float = 1.0,
    diagonal: bool = False,
    dots: bool = False,
) -> str:
    """series of (name, xs in 0..1, ys in 0..top) -> an SVG of lines with its legend.

    x, y: what the axes say. label: what the picture shows, for those who cannot see it. diagonal: the line y = x.
    """
    top = _round_up(top)
    inner = [_grid(top), *_titles(x, y)]
    if diagonal:
        inner.append(f'<path class="diagonal" d="M{_place(0, 0, top)}L{_place(1, 1, top)}"/>')
    for number, (_, xs, ys) in enumerate(series):
        step = -(-len(xs) // CURVE_POINTS)
        chosen = [*range(0, len(xs) - 1, step), len(xs) - 1]
        points = [_place(xs[i], ys[i], top) for i in chosen]
        inner.append(f'<path class="line s{number}" d="M{"L".join(points)}"/>')
        for point in points if dots else ():
            across, down = point.split()
            inner.append(f'<circle class="dot s{number}" cx="{across}" cy="{down}" r="3.5"/>')
    keys = "".join(f'<li class="s{number}">{escape(name)}</li>' for number, (name, _, _) in enumerate(series))
    svg = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
    return f'<figure>{svg}{"".join(inner)}</svg><ul class="legend">{keys}</ul></figure>'


def _round_up(top: float) -> float:
    """The next number whose quarters are short in writing."""
    if not top > 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(top) + 1e-9)
    return next(step * unit for step in (1, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 4, 5, 6, 8, 10) if step * unit >= top - 1e-12)


def _place(x: float, y: float, top: float) -> str:
    across = _LEFT + min(max(x, 0), 1) * (_WIDTH - _LEFT - _RIGHT)
    down = _HEIGHT - _BOTTOM - min(max(y / top, 0), 1) * (_HEIGHT - _TOP - _BOTTOM)
    return f"{across:.1f} {down:.1f}"


def _grid(top: float) -> str:
    """Five lines each way with their values in percent."""
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        across, down = _place(share, share * top, top).split()
        parts.append(f'<path class="rule" d="M{across} {_TOP}V{_HEIGHT - _BOTTOM}M{_LEFT} {down}H{_WIDTH - _RIGHT}"/>')
        anchor = "end" if share == 1 else "middle"
        parts.append(
            f'<text x="{across}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="{anchor}">{100 * share:.0f} %</text>'
        )
        parts.append(
            f'<text x="{_LEFT - 6}" y="{float(down) + 4:.1f}" text-anchor="end">{100 * share * top:.3g} %</text>'
        )
    return "".join(parts)


def _titles(x: str, y: str) -> list[str]:
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    return [
        f'<text class="axis" x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>',
        f'<text class="axis" transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">{escape(y)}</text>',
    ]


def picture(image: Image.Image, *, name: str, width: int, height: int, lossless: bool = False) -> str:
    """A PIL image -> an <img> with its pixels inside, shrunk to fit width x height px; transparent parts on white."""
    if not lossless:
        if image.mode.startswith(("I", "F")):  # 16 bits and floats: JPEG has 8
            values = np.asarray(image, np.float64)
            image = Image.fromarray((255 * np.clip(values / max(values.max(), 1e-9), 0, 1)).astype(np.uint8))
        if image.mode != "L":
            colour = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")
        image = image.copy()
        image.thumbnail((width, height))
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True) if lossless else image.save(data, "JPEG", quality=85)
    kind, code = "png" if lossless else "jpeg", base64.b64encode(data.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{code}" {size}>'


def heat(logits: np.ndarray, characters: str, *, rows: int = 10) -> tuple[list[str], Image.Image]:
    """logits (frames, classes), the alphabet -> names of up to `rows` classes, and a picture of (their rows, frames).

    The classes that are likeliest anywhere, in the order in which they peak, the blank last. The picture is one colour,
    its opacity the square root of the probability, so that 4 % can be seen: it stands on light and on dark pages.
    """
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)  # (frames, classes)
    best = p.max(axis=0)
    best[[BLANK, END]] = 0
    chosen = [c for c in np.argsort(-best, kind="stable")[: rows - 1] if best[c] >= 0.01]
    chosen = sorted(chosen, key=lambda c: int(p[:, c].argmax())) + [BLANK]
    pixels = np.empty((len(chosen), len(p), 4), np.uint8)
    pixels[..., :3] = (43, 108, 176)
    pixels[..., 3] = np.rint(255 * np.sqrt(p[:, chosen].T))
    return ["" if c == BLANK else characters[c - END - 1] for c in chosen], Image.fromarray(pixels)

"""Floor 1: pen strokes of letters. Each glyph is a few polylines in units of the x-height (y down, baseline 0).

Hershey's fonts (PyPI Hershey-Fonts) hold ASCII only; letters with accents, ligatures and a few signs are composed here
from the base letter's strokes and strokes of our own, so that no glyph is ever a stand-in for another.
"""

import functools
import unicodedata
from dataclasses import dataclass, field

import numpy as np

from htr import letters

STEP = 0.15  # distance between neighbouring points, in x-heights

# Fonts of the package that look like a pen's work, with manner and weight: gothic, greek, music and maps are left out,
# and `cursive`, whose letters are those of `scripts`. Fonts of double strokes look printed: they come seldom.
HERSHEY = {
    "futural": ("print", 1.0),
    "futuram": ("print", 0.3),
    "rowmans": ("print", 1.0),
    "rowmand": ("print", 0.3),
    "timesr": ("print", 0.3),
    "timesi": ("print", 0.4),
    "scripts": ("script", 1.0),
    "scriptc": ("script", 0.6),
}

# Combining marks as strokes around (0, 0), the middle of the mark: x-heights, y down.
MARKS = {
    "\u0300": [[(-0.25, -0.14), (0.2, 0.12)]],
    "\u0301": [[(0.25, -0.16), (-0.2, 0.12)]],
    "\u0302": [[(-0.32, 0.14), (0.0, -0.16), (0.32, 0.14)]],
    "\u0303": [[(-0.36, 0.1), (-0.15, -0.1), (0.12, 0.08), (0.36, -0.12)]],
    "\u0308": [[(-0.24, -0.04), (-0.22, 0.04)], [(0.24, -0.04), (0.26, 0.04)]],
    "\u030a": [[(0.0, -0.2), (-0.17, -0.1), (-0.17, 0.08), (0.0, 0.17), (0.17, 0.08), (0.17, -0.1), (0.0, -0.2)]],
    "\u030c": [[(-0.3, -0.14), (0.0, 0.14), (0.3, -0.14)]],
    "\u0327": [[(0.02, -0.06), (-0.04, 0.12), (0.16, 0.2), (0.12, 0.42), (-0.14, 0.44)]],
}
BELOW = {"\u0327"}

# Signs that Hershey lacks, as strokes of our own (left bottom at 0, 0; y down).
SIGNS = {
    "ß": [
        [
            (0.05, 0.45),
            (0.1, -0.3),
            (0.1, -1.1),
            (0.35, -1.5),
            (0.68, -1.35),
            (0.7, -1.05),
            (0.38, -0.82),
            (0.75, -0.62),
            (0.86, -0.28),
            (0.68, -0.02),
            (0.36, -0.04),
        ]
    ],
    "«": [[(0.35, -0.85), (0.05, -0.5), (0.35, -0.15)], [(0.75, -0.85), (0.45, -0.5), (0.75, -0.15)]],
    "»": [[(0.05, -0.85), (0.35, -0.5), (0.05, -0.15)], [(0.45, -0.85), (0.75, -0.5), (0.45, -0.15)]],
    "€": [
        [(1.05, -1.25), (0.7, -1.45), (0.3, -1.1), (0.2, -0.7), (0.3, -0.25), (0.7, 0.02), (1.08, -0.18)],
        [(0.0, -0.88), (0.85, -0.9)],
        [(0.0, -0.58), (0.8, -0.6)],
    ],
    "°": [[(0.2, -1.5), (0.05, -1.4), (0.05, -1.2), (0.2, -1.1), (0.36, -1.2), (0.36, -1.4), (0.2, -1.5)]],
    "£": [
        [
            (0.95, -1.2),
            (0.7, -1.45),
            (0.4, -1.25),
            (0.42, -0.7),
            (0.3, -0.1),
            (0.1, 0.0),
            (0.4, -0.1),
            (0.7, 0.02),
            (1.0, -0.1),
        ],
        [(0.1, -0.7), (0.75, -0.72)],
    ],
    "§": [
        [(0.65, -1.35), (0.35, -1.5), (0.1, -1.25), (0.6, -0.85), (0.65, -0.6), (0.35, -0.5)],
        [(0.35, -1.02), (0.08, -0.85), (0.15, -0.6), (0.62, -0.25), (0.6, 0.05), (0.3, 0.15), (0.05, 0.0)],
    ],
    "_": [[(0.0, 0.14), (1.0, 0.14)]],
}


@dataclass(frozen=True)
class Glyph:
    """Strokes in x-heights, left edge at x = 0: points (n, 2), and the span of points of each stroke."""

    points: np.ndarray
    spans: tuple
    width: float
    entry: tuple  # (stroke, point) where a connecting stroke arrives
    exit: tuple | None  # (stroke, point) where one leaves; None where the pen is lifted

    @property
    def strokes(self):
        """The strokes as a list of points (n, 2)."""
        return [self.points[a:b] for a, b in self.spans]


@dataclass(frozen=True)
class StrokeFont:
    """A name, the manner (print or script), for each character the strokes of its forms, and how often writers have it.

    Letters that `lines` lacks are composed, where they can be, from those it has; glyphs are made when first written.
    """

    name: str
    manner: str
    lines: dict  # character -> forms, each a list of polylines in x-heights, y down, baseline 0
    weight: float = 1.0
    capitals: bool = True  # whether words of capitals are ever written so
    _glyphs: dict = field(default_factory=dict, repr=False, compare=False)

    def missing(self, text):
        """The characters of text, sorted, that this font cannot write."""
        return "".join(sorted({c for c in text if c != " " and not self._can(c)}))

    def glyphs(self, character):
        """character -> tuple of Glyphs, one for each form; KeyError where the font cannot write it."""
        if character not in self._glyphs:
            self._glyphs[character] = self._make(character)
        return self._glyphs[character]

    def draw(self, texts, rng, hand=None):
        """texts -> list of ink (height, width) uint8, 255 where all is covered, in the hand given or in a new one."""
        from htr import hand as hands

        return hands.write(self, texts, rng, hand or hands.new_hand(rng, self.manner))

    def _can(self, character):
        if character in self.lines or character in SIGNS:
            return True
        parts = LIGATURES.get(character) or ACCENTED.get(character, "")[:1]
        return bool(parts) and all(part in self.lines for part in parts)

    def _make(self, character):
        if character in self.lines:
            return tuple(make_glyph(form, capital=character.isupper()) for form in self.lines[character])
        if character in SIGNS:
            return (make_glyph(SIGNS[character]),)
        if character in LIGATURES:
            first, second = LIGATURES[character]
            return tuple(_ligature(a, b) for a in self.glyphs(first) for b in self.glyphs(second))
        base, mark = ACCENTED[character]
        return tuple(_accented(glyph, mark, base) for glyph in self.glyphs(base))


def resample(points, step=STEP):
    """Polyline (n, 2) -> points (m, 2) at equal distances along a smooth curve through it; corners stay."""
    points = np.asarray(points, np.float32)
    curve = _round_corners(points)
    length = np.hypot(*np.diff(curve, axis=0).T)
    along = np.concatenate([[0], np.cumsum(length)])
    count = max(2, round(float(along[-1]) / step) + 1)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, curve[:, 0]), np.interp(at, along, curve[:, 1])], 1).astype(np.float32)


def _round_corners(points, turns=6):
    """Catmull-Rom through the points; a turn of more than 75 degrees stays a corner (its tangents are dropped)."""
    if len(points) < 3:
        return points
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    norms = np.hypot(*before.T) * np.hypot(*after.T) + 1e-9
    tangent = (points[2:] - points[:-2]) / 2
    tangent[(before * after).sum(1) / norms < 0.26] = 0
    # A long straight run beside a short one would overshoot: no tangent longer than the shorter neighbour.
    limit = np.minimum(np.hypot(*before.T), np.hypot(*after.T)) / (np.hypot(*tangent.T) + 1e-9)
    tangent *= np.minimum(1, limit)[:, None]
    tangent = np.concatenate([[points[1] - points[0]], tangent, [points[-1] - points[-2]]])
    t = np.linspace(0, 1, turns, endpoint=False)[None, :, None]
    p, q, m, n = points[:-1, None], points[1:, None], tangent[:-1, None], tangent[1:, None]
    curve = (2 * t**3 - 3 * t**2 + 1) * p + (t**3 - 2 * t**2 + t) * m + (3 * t**2 - 2 * t**3) * q + (t**3 - t**2) * n
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def make_glyph(polylines, *, capital=False):
    """Polylines in x-heights (y down, baseline 0) -> Glyph with its left edge at 0 and its joins."""
    strokes = [resample(line) for line in polylines]
    left = min(s[:, 0].min() for s in strokes)
    strokes = [s - np.float32([left, 0]) for s in strokes]
    width = float(max(s[:, 0].max() for s in strokes))
    # Dots and accents float above the x-height: no pen arrives or leaves there.
    body = [i for i, s in enumerate(strokes) if s[:, 1].max() > -0.8 and len(s) > 4] or [0]
    ends = np.cumsum([len(s) for s in strokes]).tolist()
    spans = tuple(zip([0, *ends[:-1]], ends, strict=True))
    return Glyph(np.concatenate(strokes), spans, width, _entry(strokes, body, width), _exit(strokes, body, capital))


def _entry(strokes, body, width):
    first = strokes[body[0]]
    if first[0, 0] < 0.4 * width and first[0, 1] > -1.3:
        return body[0], 0
    cost, stroke, point = float("inf"), body[0], 0
    for i in body:  # the leftmost point at the height of small letters
        s = strokes[i]
        costs = np.where(s[:, 1] > -1.3, s[:, 0] + 0.1 * np.abs(s[:, 1] + 0.6), np.inf)
        j = int(costs.argmin())
        if costs[j] < cost:
            cost, stroke, point = costs[j], i, j
    return stroke, point


def _exit(strokes, body, capital):
    ends = [(i, j) for i in body for j in (0, len(strokes[i]) - 1)]
    place = max(ends, key=lambda k: strokes[k[0]][k[1], 0] - 0.6 * abs(strokes[k[0]][k[1], 1]))
    x, y = strokes[place[0]][place[1]]
    right = x > 0.6 * max(s[:, 0].max() for s in strokes) and x > 0.5 and abs(y) < 0.4
    return place if right or not capital else None  # joined from its bar or foot an F would be an E, an I an L


def _accented(base, mark, letter):
    """Base glyph of a letter and one combining mark -> Glyph."""
    strokes, below = base.strokes, mark in BELOW
    if letter in "ij" and not below:
        strokes = [s for s in strokes if s[:, 1].max() > -1.05]  # an i under an accent loses its dot
    top = min(s[:, 1].min() for s in strokes)
    high = [s for s in strokes if s[:, 1].min() <= top + 0.2]
    middle = float(np.mean([(s[:, 0].min() + s[:, 0].max()) / 2 for s in high]))
    at = np.float32((base.width / 2, 0.06) if below else (middle, top - 0.33))
    return make_glyph([*strokes, *[np.float32(line) + at for line in MARKS[mark]]], capital=letter.isupper())


def _ligature(first, second):
    """Two glyphs drawn into one another (oe, ae)."""
    shift = np.float32([first.width * 0.8, 0])
    return make_glyph([*first.strokes, *[s + shift for s in second.strokes]], capital=second.exit is None)


LIGATURES = {"œ": "oe", "æ": "ae", "Œ": "OE", "Æ": "AE"}

# Letters of Latin-1 and Latin Extended-A with one mark that MARKS can write: "é" -> "e" and the mark.
ACCENTED = {
    c: d
    for c in map(chr, range(0xC0, 0x180))
    if len(d := unicodedata.normalize("NFD", c)) == 2 and d[0].isascii() and d[1] in MARKS
}


@functools.cache
def hershey_fonts():
    """-> dict of name -> StrokeFont from the package Hershey-Fonts (public domain strokes)."""
    from HersheyFonts import HersheyFonts

    source, fonts = HersheyFonts(), {}
    for name, (manner, weight) in HERSHEY.items():
        source.load_default_font(name)
        fonts[name] = StrokeFont(name, manner, _read(source.all_glyphs), weight, manner == "print")
    return fonts


@functools.cache
def own_fonts():
    """-> dict of name -> StrokeFont of the letters in letters.py; what they lack is taken from Hershey's futural."""
    shared = {**letters.CAPITALS, **letters.FIGURES}
    sets = {
        "printed": [shared, letters.PRINTED],
        "joined": [shared, letters.JOINED],
        "mingled": [shared, letters.PRINTED, letters.JOINED],
        "hasty": [letters.HASTY, shared, letters.PRINTED],
    }
    rest = {c: g for c, g in hershey_fonts()["futural"].lines.items() if c.isascii() and not c.isalnum()}
    fonts = {}
    for name, tables in sets.items():
        forms = {}
        for table in [*tables, letters.RARE]:
            for character, text in table.items():
                forms[character] = forms.get(character, ()) + tuple(_parse(f) for f in text.split("|"))
        manner = "script" if name == "joined" else "print"
        fonts[name] = StrokeFont(name, manner, {**rest, **forms}, 5.0 if name == "hasty" else 2.5)
    return fonts


def _parse(form):
    """ "x,y x,y / ..." with y up and an x-height of 10 -> polylines in x-heights, y down."""
    lines = [[tuple(map(float, p.split(","))) for p in line.split()] for line in form.split(" / ")]
    return [np.float32(line) * np.float32([0.1, -0.1]) for line in lines]


def _read(table):
    """Hershey's glyph table -> character -> one form, scaled so that the x-height is 1 and the baseline 0."""
    heights = [min(y for s in table["x"].strokes for _, y in s), max(y for s in table["x"].strokes for _, y in s)]
    size = heights[1] - heights[0]
    glyphs = {}
    for character, glyph in table.items():
        lines = [(np.float32(list(s)) - np.float32([0, heights[1]])) / size for s in glyph.strokes if len(s) > 1]
        if lines and len(character) == 1 and " " < character < "\x7f":
            glyphs[character] = (lines,)
    return glyphs

"""Floor 1: a writer's hand. Lays glyphs of strokes in a row, bends and joins each on its own, draws them with a pen."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

SCALE = 4  # drawing is done at this many times the size, then averaged: strokes get fractional widths
HABITS = 97  # rows of a writer's table of letter shapes; a prime, so that letters rarely share one
HIGH, MET = -0.65, -0.45  # x-heights, y down: a letter that ends above HIGH leads into the next one at MET, not below


@dataclass(frozen=True)
class Hand:
    """One writer's way. Lengths in x-heights unless said; amounts are what the writer does on average."""

    x_height: float  # px
    slant: float  # x moved per unit of height
    aspect: float  # width of letters
    spacing: float  # gap between letters
    space: float  # gap between words
    joining: float  # probability that a letter is joined to the next
    smooth: int  # passes of the low-pass filter over the pen's way: round and hasty
    jitter: float  # spread of a letter's size, turn and place
    wobble: float  # spread of the bends inside a letter
    pen: float  # px
    pressure: float  # share by which the stroke's width goes up and down along the way
    contrast: float  # share by which downward strokes are wider
    drift: float  # rise of the baseline per length
    wave: float  # baseline going up and down
    ascender: float  # stretch of what is above the x-height
    descender: float
    capital: float  # size of capitals
    seed: int  # this writer's own letter shapes


def new_hand(rng, manner="print", *, strength=1.0):
    """rng -> a random Hand; a script manner joins most letters, a print manner few, strength scales the sloppiness."""
    u, n = rng.uniform, rng.normal
    script = manner == "script"
    half = rng.random() < 0.35
    joining = u(0.75, 1) if script else (u(0.3, 0.95) if half else u(0, 0.2) * (rng.random() < 0.5))
    sloppy = strength * rng.random() ** 1.2
    x_height = u(13, 22)
    slant = float(np.clip(n(0.08, 0.16 * strength + 0.02), -0.35, 0.6))
    return Hand(
        x_height=x_height,
        slant=slant,
        aspect=float(np.exp(n(-0.02, 0.18))),
        spacing=u(0.08, 0.42),
        space=u(0.5, 1.5),
        joining=float(joining),
        smooth=int(rng.integers(0, 3)) + int(3 * sloppy),
        jitter=0.015 + 0.06 * sloppy,
        wobble=0.02 + 0.07 * sloppy,
        pen=float(np.clip(x_height * np.exp(n(-2.15, 0.35)), 1.2, 4.5)),
        pressure=u(0, 0.3),
        contrast=u(0, 0.35) if rng.random() < 0.5 else 0.0,
        drift=n(0, 0.02),
        wave=abs(n(0, 0.04 * strength)),
        ascender=u(0.6, 1.2),
        descender=u(0.6, 1.25),
        capital=u(0.8, 1.15),
        seed=int(rng.integers(1 << 40)),
    )


def write(font, texts, rng, hand):
    """texts -> list of ink (height, width) uint8: 255 times the share of each pixel that the pen covered.

    The words of a writer are laid out in one go: the numpy calls of one word cost as much as those of twelve.
    """
    written = [text.replace(" ", "") for text in texts]
    glyphs = _choose(font, "".join(written), rng, hand)
    first = np.cumsum([0] + [len(w) for w in written])  # first letter of each word
    chains, word_of = _lay(glyphs, texts, first, rng, hand)
    points, ends = _place(chains, word_of, rng, hand)
    return _draw(points, ends, np.asarray(word_of), rng, hand)


def _choose(font, text, rng, hand):
    """Characters -> Glyphs. A writer keeps to one form of a letter, nearly always; the first forms are usual."""
    chances, glyphs = rng.random((2, len(text))).tolist(), []
    for character, changes, other in zip(text, *chances, strict=True):
        forms = font.glyphs(character)
        number = int(other * (1 << 30)) if changes > 0.88 else hand.seed // (ord(character) * 7 + 3)
        glyphs.append(forms[min(number % len(forms), number // 64 % len(forms))])
    return glyphs


@functools.lru_cache(256)
def _habits(seed):
    """seed -> a writer's lasting letter shapes: sizes and leans (HABITS, 6), waves (HABITS, 5) of a bend."""
    rng = np.random.default_rng(seed)
    sizes = rng.standard_normal((HABITS, 6), np.float32)
    waves = rng.standard_normal((HABITS, 5), np.float32)
    waves[:, :2] = waves[:, :2] * 1.1 + np.sign(waves[:, :2]) * 1.5
    waves[:, 4] *= 3
    return sizes, _unfolded(waves)


def _unfolded(waves):
    """Waves (n, 5) with the amount bounded, so that at the largest wobble no stroke folds over itself."""
    waves[:, 2:4] = np.clip(waves[:, 2:4], -1.6, 1.6)
    steep = np.abs(waves[:, :2]).max(1) * np.abs(waves[:, 2:4]).max(1)
    waves[:, 2:4] *= np.minimum(1, 4.5 / (steep + 1e-6))[:, None]
    return waves


def _bend(glyphs, text, rng, hand):
    """Glyphs -> (points (n, 2), letter of each point): each letter sized, turned and bent on its own."""
    p = np.concatenate([g.points for g in glyphs])
    owner = np.repeat(np.arange(len(glyphs)), [len(g.points) for g in glyphs])
    row = np.array([ord(c) % HABITS for c in text])
    sizes, waves = _habits(hand.seed)
    r = rng.standard_normal((len(glyphs), 11), np.float32)
    s = (0.9 * sizes[row] + r[:, :6]) * hand.jitter
    x, y = p[:, 0], p[:, 1]
    y = np.where(y < -1, -1 + (y + 1) * hand.ascender, np.where(y > 0, y * hand.descender, y))
    # One bend is the writer's own for this letter, one is of the moment: no two e's are the same.
    moment = r[:, 6:] * np.float32([1.2, 1.2, 0.6, 0.6, 3])
    for w in (waves[row], _unfolded(moment)):
        w = w[owner]
        wave = np.sin(w[:, 0] * x + w[:, 1] * y + w[:, 4]) * (1.3 * hand.wobble)
        x, y = x + w[:, 2] * wave, y + w[:, 3] * wave
    big = np.array([hand.capital if c.isupper() or c.isdigit() else 1.0 for c in text], np.float32)
    wide, high = (np.exp(1.5 * s[:, 0]) * big * hand.aspect)[owner], (np.exp(1.2 * s[:, 1]) * big)[owner]
    turn = s[owner, 2]
    x, y = x * wide, y * high + 0.9 * s[owner, 4]
    return np.stack([x - (turn + s[owner, 3]) * y, y + turn * x], 1).astype(np.float32), owner


def _lay(letters, texts, first, rng, hand):
    """Letters of all words -> the pen's ways, lists of pieces (n, 2), and the word of each."""
    text = "".join(texts).replace(" ", "")
    p, owner = _bend(letters, text, rng, hand)
    starts = np.cumsum([0] + [len(g.points) for g in letters])
    low, high = np.minimum.reduceat(p[:, 0], starts[:-1]), np.maximum.reduceat(p[:, 0], starts[:-1])
    gaps = np.maximum(0.04, hand.spacing + rng.normal(0, 0.03 + hand.jitter, len(letters)))
    blanks = np.array([b for t in texts for b in _blanks(t)], np.float32)
    gaps += blanks * hand.space * hand.aspect * (1 + 0.15 * rng.standard_normal(len(letters)))
    ends = np.cumsum(gaps + high - low)
    origin = np.repeat(np.concatenate([[0], ends])[first[:-1]], np.diff(first))
    p[:, 0] += (ends - high - origin)[owner]
    alpha = np.array([c.isalpha() for c in text])
    joined = (rng.random(len(letters)) < hand.joining) & alpha & np.roll(alpha, 1) & (blanks == 0)
    joined[first[:-1]] = False
    words = np.repeat(np.arange(len(texts)), np.diff(first)).tolist()
    return _chain(letters, p, starts.tolist(), joined.tolist(), words)


def _blanks(text):
    """How many spaces go before each letter that leaves ink."""
    counts, spaces = [], 0
    for character in text:
        if character == " ":
            spaces += 1
        else:
            counts.append(spaces)
            spaces = 0
    return counts


def _chain(letters, p, starts, joined, words):
    """Strings the strokes of joined letters together, with a connecting stroke in between; -> chains, word of each."""
    chains, word_of, last = [], [], None  # a chain is a list of pieces written without lifting the pen

    def begin(piece, word):
        chains.append([piece])
        word_of.append(word)
        return chains[-1]

    for glyph, start, join, word in zip(letters, starts, joined, words, strict=False):
        into, at = glyph.entry
        out = None
        for k, (a, b) in enumerate(glyph.spans):
            stroke, met = p[start + a : start + b], join and last and k == into
            if met and last[1][1] < HIGH:
                met = at == 0
                stroke = _from_above(stroke) if met else stroke
            curve = _curve(last[1], stroke[at]) if met else None
            if curve is None:
                chain = begin(stroke, word)
            else:
                chain = last[0] if last[2] else begin(last[1][None], word)
                chain += [curve, stroke] if at == 0 else [curve, stroke[at : at + 1]]
                if at:
                    chain = begin(stroke, word)
            if glyph.exit and k == glyph.exit[0]:
                # From a stroke's beginning the pen cannot go on: it is put down there again.
                out = (chain, stroke[-1 if glyph.exit[1] else 0], glyph.exit[1] > 0)
        last = out
    order = sorted(range(len(chains)), key=word_of.__getitem__)
    return [chains[i] for i in order], [word_of[i] for i in order]


def _from_above(stroke):
    """The stroke without a first way up from the baseline: led down to there, the arm of an r would make it an n."""
    up = int((np.diff(stroke[:, 1]) < 0).argmin())  # points until the pen goes down again
    met = int((stroke[: up + 1, 1] < MET).argmax())
    return stroke[met:] if len(stroke) > met + 3 else stroke


@functools.cache
def _bernstein(count):
    """-> weights (count, 4) of a cubic curve's four points, without its ends."""
    t = np.linspace(0, 1, count + 2, dtype=np.float32)[1:-1, None]
    return np.concatenate([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], 1)


def _curve(start, end):
    """A connecting stroke (n, 2) without its ends, or None where the way is too far for one."""
    (x, y), (u, v) = start.tolist(), end.tolist()
    dx, dy = u - x, v - y
    if dx < -0.35 or dx > 1.4 or abs(dy) > 1.7:
        return None
    reach = max(0.15, abs(dx)) * 0.55
    out, back = (0.1 if dy < -0.2 else 0.0), (-0.3 if dy < -0.3 else 0.0)
    four = np.array(((x, y), (x + reach, y + out), (u - reach * 0.7, v - back), (u, v)), np.float32)
    return _bernstein(max(2, int((abs(dx) + abs(dy)) / 0.12))) @ four


def _place(chains, word_of, rng, hand):
    """x-heights -> (points in pixels (n, 2), end of each chain): baseline, slant, a hasty pen's low-pass."""
    p = np.concatenate([piece for chain in chains for piece in chain])
    counts = [sum(map(len, chain)) for chain in chains]
    ends = np.cumsum(counts)
    fixed = np.concatenate([ends - counts, ends - 1])
    kept = p[fixed]
    for _ in range(hand.smooth):
        q = p.copy()
        q[1:-1] = 0.25 * (p[:-2] + p[2:]) + 0.5 * p[1:-1]
        q[fixed] = kept
        p = q
    x, y = p[:, 0], p[:, 1]
    r = rng.random((3, word_of[-1] + 1), np.float32)
    rise, rate, phase = np.repeat(r[:, word_of], counts, axis=1)
    y = y - (hand.drift + 0.05 * (rise - 0.5)) * x + hand.wave * np.sin(x * (0.2 + rate) + 6.3 * phase)
    return np.stack([x - hand.slant * y, y], 1) * np.float32(hand.x_height), ends


def _widths(p, rng, hand):
    """Points (n, 2) in pixels -> width of the n - 1 steps between them, in pixels of the large canvas, int32."""
    steps = np.diff(p, axis=0)
    i = np.arange(len(steps), dtype=np.float32)
    rate, phase, second = rng.random(3, np.float32)
    rate = 0.03 + 0.12 * rate
    swing = 0.6 * np.sin(i * rate + 6.3 * phase) + 0.4 * np.sin(i * (2.7 * rate) + 6.3 * second)
    wide = hand.pen * (1 + hand.pressure * swing)
    if hand.contrast:
        wide *= 1 + hand.contrast * steps[:, 1] / (np.abs(steps).sum(1) + 1e-6)
    return np.maximum(SCALE + 0.5, wide * SCALE).astype(np.int32)


def _draw(p, ends, word_of, rng, hand):
    """Ways in pixels -> list of ink (height, width) uint8; strokes are drawn in runs of equal width."""
    level = _widths(p, rng, hand)
    level[ends[:-1] - 1] = 0  # the pen is lifted
    last = np.flatnonzero(np.diff(word_of, append=word_of[-1] + 1))  # last chain of each word
    stops = ends[last].tolist()
    margins = (hand.pen + 1 + 4 * rng.random((len(stops), 2))).astype(np.float32)
    starts = [0, *stops[:-1]]
    low = np.minimum.reduceat(p, starts) - margins
    sizes = (np.ceil(np.maximum.reduceat(p, starts) - low + margins) + 1).astype(int).tolist()
    points = np.round((p - np.repeat(low, np.diff([0, *stops]), axis=0)) * (SCALE * 16)).astype(np.int32)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(level)) + 1, [len(level)]])
    inks = []
    for start, stop, (width, height) in zip(starts, stops, sizes, strict=True):
        mine = cuts[np.searchsorted(cuts, start) : np.searchsorted(cuts, stop - 1)].tolist()
        runs = {}
        for a, b in zip([start, *mine], [*mine, stop - 1], strict=True):
            if b > a and level[a]:
                runs.setdefault(int(level[a]), []).append(points[a : b + 1])
        canvas = np.zeros((height * SCALE, width * SCALE), np.uint8)
        for thickness, lines in runs.items():
            cv2.polylines(canvas, lines, False, 255, thickness, cv2.LINE_8, 4)
        inks.append(_shrink(canvas))
    return inks


def _shrink(canvas):
    """Averages SCALE x SCALE pixels. Twice by two: OpenCV has a fast way for that only."""
    for _ in range(2):
        canvas = cv2.resize(canvas, (canvas.shape[1] // 2, canvas.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return canvas

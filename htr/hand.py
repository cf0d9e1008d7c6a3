"""Floor 1: a writer's hand. Lays glyphs of strokes in a row, bends and joins each on its own, and draws them with a pen."""

from dataclasses import dataclass

import cv2
import numpy as np

SCALE = 2  # drawing is done at this many times the size, then averaged: strokes get fractional widths


@dataclass(frozen=True)
class Hand:
    """One writer's way. Lengths in x-heights unless said; all amounts are what the writer does on average."""

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
    seed: int  # which of a letter's forms this writer prefers


def new_hand(rng, manner="print"):
    """A random writer; a script manner joins most of its letters, a print manner few."""
    u, n = rng.uniform, rng.normal
    script = manner == "script"
    joining = u(0.75, 1) if script else (u(0.3, 0.95) if rng.random() < 0.35 else u(0, 0.2) * (rng.random() < 0.5))
    sloppy = rng.random() ** 1.5
    x_height = u(13, 22)
    return Hand(x_height=x_height, slant=float(np.clip(n(0.0 if script else 0.14, 0.17), -0.4, 0.65)), aspect=float(np.exp(n(0.0, 0.2))),
                spacing=float(np.clip(n(0.24, 0.13), 0.06, 0.8)), space=u(0.6, 1.7), joining=float(joining),
                smooth=int(rng.integers(0, 4)) + int(3 * sloppy), jitter=0.02 + 0.07 * sloppy, wobble=0.02 + 0.07 * sloppy,
                pen=float(np.clip(x_height * np.exp(n(-2.1, 0.35)), 1.1, 5.0)), pressure=u(0, 0.3), contrast=u(0, 0.3) if rng.random() < 0.6 else 0.0,
                drift=n(0, 0.025), wave=abs(n(0, 0.04)), ascender=u(0.65, 1.25), descender=u(0.6, 1.3), capital=u(0.85, 1.2),
                seed=int(rng.integers(1 << 30)))


def write(font, text, rng, hand):
    """text -> ink (height, width) float32 in 0..1: the share of each pixel that the pen covered."""
    glyphs = [_choose(font, c, rng, hand) for c in text]
    paths = _paths(glyphs, text, rng, hand)
    return _draw(paths, rng, hand)


def _choose(font, character, rng, hand):
    if character == " ":
        return None
    forms = font.glyphs[character]
    if len(forms) == 1:
        return forms[0]
    # A writer keeps to one form of a letter, nearly always.
    mine = (hand.seed >> (ord(character) % 13)) % len(forms)
    return forms[mine if rng.random() < 0.85 else int(rng.integers(len(forms)))]


def _paths(glyphs, text, rng, hand):
    """Glyphs -> the pen's ways [(points, 2)] in pixels, before they are moved onto a canvas."""
    letters = [(g, c) for g, c in zip(glyphs, text, strict=True) if g]
    bent = _bend(letters, rng, hand)
    gaps = np.maximum(0.03, hand.spacing + rng.normal(0, 0.05 + hand.jitter, len(text)))
    joined = rng.random(len(text)) < hand.joining
    paths, x, index, previous = [], 0.0, 0, None
    for i, glyph in enumerate(glyphs):
        if glyph is None:
            x, previous = x + hand.space * (1 + 0.2 * rng.normal()) * hand.aspect, None
            continue
        strokes, index = bent[index], index + 1
        low, high = min(s[:, 0].min() for s in strokes), max(s[:, 0].max() for s in strokes)
        for s in strokes:
            s[:, 0] += x - low
        chains = {}
        if previous is not None and joined[i] and text[i].isalpha() and text[i - 1].isalpha():
            chains = _join(paths, previous, glyph, strokes)
        previous = None
        for k, s in enumerate(strokes):
            at = chains.get(k)
            if at is None:
                at = len(paths)
                paths.append(s)
            if k == glyph.exit[0]:
                previous = (at, s[glyph.exit[1]], glyph.exit[1] > 0)
        x += high - low + gaps[i] * (0.6 if joined[i] else 1.0)
    return _place(paths, rng, hand)


def _bend(letters, rng, hand):
    """[(Glyph, character)] -> strokes of each, turned, scaled and bent on their own: two e's are never the same."""
    flat = [s for g, _ in letters for s in g.strokes]
    counts = [len(s) for s in flat]
    owner = np.repeat(np.arange(len(letters)), [sum(len(s) for s in g.strokes) for g, _ in letters])
    p = np.concatenate(flat)
    x, y = p[:, 0], p[:, 1]
    y = np.where(y < -1, -1 + (y + 1) * hand.ascender, np.where(y > 0, y * hand.descender, y))
    n, j = len(letters), hand.jitter
    r = rng.standard_normal((n, 6)).astype(np.float32)
    big = np.array([hand.capital if c.isupper() or c.isdigit() else 1.0 for _, c in letters], np.float32)
    sx, sy = np.exp(j * 1.6 * r[:, 0]) * big * hand.aspect, np.exp(j * 1.2 * r[:, 1]) * big
    turn, lean, up = j * r[:, 2], j * r[:, 3], j * 0.9 * r[:, 4]
    # Two slow waves a letter: wavelengths of half to two letters.
    w = rng.uniform(1.5, 5.0, (2, n, 2)).astype(np.float32) * np.sign(rng.standard_normal((2, n, 2)))
    phase = rng.uniform(0, 6.3, (2, n))
    amount = hand.wobble * 0.9 * rng.standard_normal((2, n, 2))
    dx, dy = 0.0, 0.0
    for k in range(2):
        s = np.sin(w[k, owner, 0] * x + w[k, owner, 1] * y + phase[k, owner])
        dx, dy = dx + amount[k, owner, 0] * s, dy + amount[k, owner, 1] * s
    x, y = (x + dx) * sx[owner], (y + dy) * sy[owner]
    x, y = x - (turn + lean)[owner] * y, y + turn[owner] * x + up[owner]
    parts = iter(np.split(np.stack([x, y], 1).astype(np.float32), np.cumsum(counts)[:-1]))
    return [[next(parts) for _ in g.strokes] for g, _ in letters]


def _join(paths, previous, glyph, strokes):
    """Draws the stroke that leads from the last letter to this one; returns {stroke: path} where it became one way."""
    at, start, is_end = previous
    stroke, point = glyph.entry
    end = strokes[stroke][point]
    dx, dy = end - start
    if dx < -0.3 or dx > 1.6 or abs(dy) > 1.7:
        return {}
    reach = max(0.15, abs(dx)) * 0.6
    t = np.linspace(0, 1, max(4, int((abs(dx) + abs(dy)) / 0.12)), dtype=np.float32)[1:-1, None]
    a, b = start + np.float32([reach, 0.12]), end - np.float32([reach * 0.6, -0.25 if dy < -0.3 else 0.0])
    curve = (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 * end
    whole = point == 0
    tail = np.concatenate([curve, strokes[stroke]]) if whole else np.concatenate([curve, end[None]])
    if is_end and paths[at][-1] is not None and np.array_equal(paths[at][-1], start):
        paths[at] = np.concatenate([paths[at], tail])
    else:
        paths.append(np.concatenate([start[None], tail]))
        at = len(paths) - 1
    return {stroke: at} if whole else {}


def _place(paths, rng, hand):
    """x-heights -> pixels: baseline, slant and the low-pass filter of a hasty pen."""
    counts = np.array([len(p) for p in paths])
    p = np.concatenate(paths).astype(np.float32)
    ends = np.cumsum(counts)
    fixed = np.zeros(len(p), bool)
    fixed[ends - 1] = fixed[ends - counts] = True
    for _ in range(hand.smooth):
        q = p.copy()
        q[1:-1] = 0.25 * p[:-2] + 0.5 * p[1:-1] + 0.25 * p[2:]
        q[fixed] = p[fixed]
        p = q
    x, y = p[:, 0], p[:, 1]
    y = y + hand.drift * x + hand.wave * np.sin(x * rng.uniform(0.2, 0.9) + rng.uniform(0, 6.3))
    p = np.stack([x - hand.slant * y, y], 1) * hand.x_height
    return np.split(p, ends[:-1])


def _draw(paths, rng, hand):
    """Ways in pixels -> ink (height, width) float32. The width follows pressure and direction, in runs of equal width."""
    margin = hand.pen + 2 + rng.integers(0, 5)
    low = np.min([p.min(0) for p in paths], 0) - margin
    high = np.max([p.max(0) for p in paths], 0) + margin
    width, height = np.ceil(high - low).astype(int) + 1
    canvas = np.zeros((int(height) * SCALE, int(width) * SCALE), np.uint8)
    rate, phase, phase2 = rng.uniform(0.02, 0.12), rng.uniform(0, 6.3), rng.uniform(0, 6.3)
    runs = {}
    done = 0
    for path in paths:
        keep = path[::2] if len(path) > 6 else path
        keep = np.concatenate([keep, path[-1:]])
        steps = np.diff(keep, axis=0)
        i = np.arange(done, done + len(steps))
        done += 2 * len(steps)
        down = steps[:, 1] / (np.abs(steps).sum(1) + 1e-6)
        swing = np.sin(i * rate + phase) * 0.6 + np.sin(i * rate * 2.7 + phase2) * 0.4
        wide = hand.pen * (1 + hand.pressure * swing) * (1 + hand.contrast * down)
        level = np.maximum(2, np.round(wide * SCALE)).astype(int)
        points = np.round((keep - low) * (SCALE * 16)).astype(np.int32)
        cuts = np.flatnonzero(np.diff(level)) + 1
        for a, b in zip([0, *cuts], [*cuts, len(level)], strict=True):
            runs.setdefault(int(level[a]), []).append(points[a:b + 1])
    for level, lines in runs.items():
        cv2.polylines(canvas, lines, False, 255, level, cv2.LINE_AA, 4)
    ink = cv2.resize(canvas, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    return ink.astype(np.float32) / 255

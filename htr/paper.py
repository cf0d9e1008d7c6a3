"""Floor 1: pens, papers, scans. Puts ink on paper and takes the picture of it, as uint8 (height, width, 3) and bytes.

Everything is a function of the random generator; the ink mask follows every geometric step.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

# Pens: blue, green, red of the ink; how much of the paper it hides; grain of the stroke.
PENS = {"blue ballpoint": ((150, 60, 40), 0.85, 0.12), "black ballpoint": ((50, 45, 45), 0.85, 0.12),
        "blue gel": ((190, 80, 20), 0.95, 0.03), "black gel": ((25, 25, 25), 1.0, 0.02), "fountain": ((110, 40, 20), 0.85, 0.08),
        "light blue": ((230, 130, 30), 0.9, 0.05), "violet": ((200, 90, 100), 0.8, 0.1), "pencil": ((90, 90, 90), 0.6, 0.35),
        "red": ((45, 40, 205), 0.9, 0.08), "green": ((60, 130, 30), 0.9, 0.08), "brown ink": ((30, 55, 95), 0.8, 0.12),
        "pink": ((150, 60, 220), 0.85, 0.05)}
PEN_SHARES = (0.24, 0.2, 0.08, 0.13, 0.06, 0.05, 0.07, 0.09, 0.03, 0.02, 0.02, 0.01)
PAPERS = ((255, 255, 255), (250, 250, 250), (235, 240, 242), (215, 232, 240), (225, 225, 225), (190, 212, 226), (240, 236, 228))
PAPER_SHARES = (0.45, 0.2, 0.1, 0.08, 0.07, 0.04, 0.06)
RULES = ("none", "baseline", "dotted", "lines", "school", "squared")
RULE_SHARES = (0.46, 0.18, 0.1, 0.12, 0.06, 0.08)
RULE_COLOURS = ((200, 180, 120), (210, 160, 90), (150, 150, 150), (90, 90, 90), (40, 40, 40), (190, 130, 200), (160, 190, 160))


@dataclass(frozen=True)
class Desk:
    """What one writer writes with and on, and how it is scanned."""

    pen: str
    ink: tuple  # blue, green, red of 0..255
    cover: float  # share of the paper that the ink hides
    grain: float
    paper: tuple
    rule: str
    rule_colour: tuple
    rule_cover: float
    spacing: float  # px between rules
    cleaned: bool  # the scan's background was put to white
    photo: bool  # a photograph: shadow, perspective, blur
    grey: bool


def new_desk(rng):
    """rng -> a random Desk."""
    pen = list(PENS)[_choose(rng, PEN_SHARES)]
    ink, cover, grain = PENS[pen]
    ink = tuple(float(np.clip(c + d, 0, 235)) for c, d in zip(ink, rng.normal(0, 18, 3), strict=True))
    return Desk(
        pen=pen, ink=ink, cover=float(np.clip(cover + rng.normal(0, 0.08), 0.4, 1)), grain=grain,
        paper=PAPERS[_choose(rng, PAPER_SHARES)], rule=RULES[_choose(rng, RULE_SHARES)],
        rule_colour=RULE_COLOURS[int(rng.integers(len(RULE_COLOURS)))], rule_cover=float(rng.uniform(0.3, 1)),
        spacing=float(rng.uniform(9, 40)), cleaned=bool(rng.random() < 0.4), photo=bool(rng.random() < 0.2),
        grey=bool(rng.random() < 0.15))


def _choose(rng, shares):
    return min(int(np.searchsorted(np.cumsum(shares), rng.random())), len(shares) - 1)


@functools.cache
def _noise():
    """A sheet of normal noise (512, 2048) that windows are cut from: drawing it anew for each word costs more."""
    return np.random.default_rng(0).standard_normal((512, 2048), np.float32)


def _window(rng, shape):
    sheet, (height, width) = _noise(), shape
    if height > sheet.shape[0] or width > sheet.shape[1]:
        return rng.standard_normal(shape, np.float32)
    y, x = int(rng.integers(sheet.shape[0] - height + 1)), int(rng.integers(sheet.shape[1] - width + 1))
    return sheet[y:y + height, x:x + width]


def photograph(ink, mask, rng, *, desk, neighbour=None, strength=1.0):
    """ink (h, w) float32 0..1, mask (h, w) bool -> (image uint8 (h', w', 3) or (h', w'), mask (h', w') bool).

    neighbour: ink of another word (any size) whose strokes reach into the picture's edge or shine through the paper.
    strength scales the probability of everything that is neither pen nor paper.
    """
    ink, mask = _margins(ink, mask, rng)
    cover, rules = _cover(ink, rng, desk), _rules(mask, rng, desk)
    light = _light(ink.shape, rng, desk, strength)
    if neighbour is not None:
        cover, light = _neighbours(cover, light, neighbour, rng, desk, strength)
    if rng.random() < 0.12 * strength:
        light = light * _stain(ink.shape, rng)
    if rng.random() < 0.1 * strength:
        rules = np.maximum(rules, _rests(ink.shape, rng))
    image = _mix(light, rules * (1 - cover), cover, desk)
    if desk.cleaned:
        top = float(rng.uniform(0.86, 0.97)) * min(desk.paper)
        image = image * (255 / top)
    return _scan(image, mask, rng, desk, strength)


def encode(image, rng):
    """uint8 image -> bytes of JPEG, of low quality now and then (a noisy PNG takes twenty times as long)."""
    quality = int(rng.integers(30, 75)) if rng.random() < 0.25 else 93
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _margins(ink, mask, rng):
    """Tight or wide paper around the word; never less than the ink."""
    top, bottom, left, right = (rng.random(4) ** 2 * (4, 4, 10, 10) if rng.random() < 0.7 else rng.random(4) * 24).astype(int).tolist()
    ink = cv2.copyMakeBorder(ink, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    return ink, cv2.copyMakeBorder(mask.astype(np.uint8), top, bottom, left, right, cv2.BORDER_CONSTANT, value=0) > 0


def _cover(ink, rng, desk):
    """ink -> share of the paper that it hides: dry grain, and slow changes of pressure."""
    cover = ink * desk.cover
    if desk.grain > 0.04:
        cover = cover * np.clip(1 + desk.grain * (_window(rng, ink.shape) - 0.3), 0.15, 1)
    if rng.random() < 0.3:
        slow = rng.uniform(0.65, 1, (1, 6)).astype(np.float32)
        cover = cover * cv2.resize(slow, (ink.shape[1], 1), interpolation=cv2.INTER_LINEAR)
    return cover


def _rules(mask, rng, desk):
    """-> share (h, w) float32 of the paper that printed rules hide."""
    rules = np.zeros(mask.shape, np.float32)
    if desk.rule == "none":
        return rules
    height, width = mask.shape
    rows = np.cumsum(mask.sum(1))
    base = int(np.searchsorted(rows, rows[-1] * 0.9)) + int(rng.integers(-2, 6))  # people write on the rule, or above it
    tilt = float(rng.normal(0, 0.008))
    step = max(height, 40) if desk.rule in ("baseline", "dotted") else desk.spacing * (1.6 if desk.rule == "lines" else 1)
    thick = int(desk.rule_cover * 10) % 2 + 1
    where = [base + k * step for k in range(-8, 9) if -2 <= base + k * step <= height + 2]
    for y in where[:1] if desk.rule in ("baseline", "dotted") else where:
        ends = np.round(np.array([[0, y - tilt * width / 2], [width, y + tilt * width / 2]]) * 16).astype(int).tolist()
        cv2.line(rules, ends[0], ends[1], 1.0, thick, cv2.LINE_AA, 4)
    if desk.rule == "dotted":
        period = int(rng.integers(3, 7))
        rules *= (np.arange(width) % period < (period + 1) // 2).astype(np.float32)
    if desk.rule in ("squared", "school"):
        for x in np.arange(rng.uniform(0, desk.spacing), width, desk.spacing * (4 if desk.rule == "school" else 1)):
            cv2.line(rules, (int(x), 0), (int(x - tilt * height), height), 0.8, 1, cv2.LINE_8)
    return rules * desk.rule_cover


def _light(shape, rng, desk, strength):
    """-> (h, w) float32 around 1: grain of the paper, and the shadow of a photograph."""
    light = 1 + (0.004 + 0.02 * rng.random() ** 2) * _window(rng, shape)
    if rng.random() < (0.8 if desk.photo else 0.08) * strength:
        grid = rng.uniform(0.6 if rng.random() < 0.25 else 0.82, 1, (2, 3)).astype(np.float32)
        light = light * cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return light


def _neighbours(cover, light, other, rng, desk, strength):
    """Another word's strokes at the upper or lower edge, or mirrored and faint from the sheet's other side."""
    height, width = cover.shape
    if rng.random() < 0.14 * strength:
        piece = cv2.resize(other, (width, height))
        reach = int(rng.integers(2, max(3, height // 7)))
        strip = np.zeros_like(cover)
        if rng.random() < 0.5:
            strip[:reach] = piece[height - reach - 3:height - 3]
        else:
            strip[height - reach:] = piece[3:3 + reach]
        cover = np.maximum(cover, strip * desk.cover)
    if rng.random() < 0.06 * strength:
        back = cv2.GaussianBlur(cv2.resize(other[:, ::-1], (width, height)), (0, 0), 1.2)
        light = light * (1 - float(rng.uniform(0.05, 0.22)) * back)
    return cover, light


def _stain(shape, rng):
    """-> (h, w) float32 of at most 1: a smudge, or a ring."""
    stain = np.zeros(shape, np.float32)
    centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
    axes = (int(rng.integers(6, 50)), int(rng.integers(4, 30)))
    cv2.ellipse(stain, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1 if rng.random() < 0.6 else 3)
    return 1 - float(rng.uniform(0.04, 0.2)) * cv2.blur(stain, (5, 5))


def _rests(shape, rng):
    """-> (h, w) float32: specks, and rests of rules and frames at the picture's edges."""
    rests, (height, width) = np.zeros(shape, np.float32), shape
    for _ in range(int(rng.integers(1, 4))):
        x, y = int(rng.integers(width)), int(rng.choice([0, 1, height - 2, height - 1]))
        if rng.random() < 0.4:
            cv2.line(rests, (x, y), (x + int(rng.integers(5, 60)), y), 0.9, 1)
        elif rng.random() < 0.3:
            edge = int(rng.choice([0, width - 1]))
            cv2.line(rests, (edge, 0), (edge, int(rng.integers(height // 3, height))), 0.8, 1)
        else:
            cv2.circle(rests, (x, int(rng.choice([1, height - 3]))), 1, 0.8, -1)
    return rests


def _mix(light, rules, cover, desk):
    """Shares of rule and ink -> (h, w, 3) float32 of 0..255, blue green red."""
    bare = 1 - rules - cover
    return cv2.merge([light * (bare * p + rules * r + cover * i)
                      for p, r, i in zip(desk.paper, desk.rule_colour, desk.ink, strict=True)])


def _scan(image, mask, rng, desk, strength):
    """float image, mask -> uint8 image, mask: perspective, blur, coarse pixels, contrast, noise."""
    height, width = mask.shape
    if rng.random() < (0.6 if desk.photo else 0.06) * strength:
        image, mask = _tilt(image, mask, rng)
    if rng.random() < (0.5 if desk.photo else 0.25) * strength:
        sigma = float(rng.uniform(0.4, 1.1))
        image = cv2.GaussianBlur(image, (3, 3) if sigma < 0.7 else (5, 5), sigma)
    elif rng.random() < 0.08 * strength:
        share = float(rng.uniform(0.5, 0.8))
        small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25 * strength:
        image = image * float(rng.uniform(0.75, 1.0)) + float(rng.uniform(0, 35))
    if desk.photo:
        image = image + (_window(rng, image.shape[:2]) * float(rng.uniform(0.5, 5)))[..., None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    if desk.grey:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return (255 - image if rng.random() < 0.01 * strength else image), mask


def _tilt(image, mask, rng):
    """A camera that does not look straight down: corners move by up to 6 % of the height."""
    height, width = mask.shape
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + rng.uniform(-0.06, 0.06, (4, 2)).astype(np.float32) * height
    moved -= moved.min(0)
    size = tuple(int(v) for v in np.ceil(moved.max(0)))
    view = cv2.getPerspectiveTransform(corners, moved)
    image = cv2.warpPerspective(image, view, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shares = cv2.warpPerspective(mask.astype(np.float32), view, size, flags=cv2.INTER_LINEAR)
    return image, shares > 0.4

"""Floor 1: pens, papers, scans. Puts ink on paper and takes the picture of it, as uint8 (height, width, 3) and bytes.

Everything is a function of the random generator; the ink mask follows every geometric step.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

# Pens: blue, green, red of the ink; how much of the paper it hides; grain of the stroke.
PENS = {
    "blue ballpoint": ((150, 60, 40), 0.85, 0.12),
    "black ballpoint": ((50, 45, 45), 0.85, 0.12),
    "blue gel": ((190, 80, 20), 0.95, 0.03),
    "black gel": ((25, 25, 25), 1.0, 0.02),
    "fountain": ((110, 40, 20), 0.85, 0.08),
    "light blue": ((230, 130, 30), 0.9, 0.05),
    "violet": ((200, 90, 100), 0.8, 0.1),
    "pencil": ((90, 90, 90), 0.6, 0.35),
    "red": ((45, 40, 205), 0.9, 0.08),
    "green": ((60, 130, 30), 0.9, 0.08),
    "brown ink": ((30, 55, 95), 0.8, 0.12),
    "pink": ((150, 60, 220), 0.85, 0.05),
}
PEN_SHARES = (0.24, 0.2, 0.08, 0.13, 0.06, 0.05, 0.07, 0.09, 0.03, 0.02, 0.02, 0.01)
PAPERS = (
    (255, 255, 255), (250, 250, 250), (235, 240, 242), (215, 232, 240), (225, 225, 225), (190, 212, 226),
    (240, 236, 228),
)  # fmt: skip
PAPER_SHARES = (0.45, 0.2, 0.1, 0.08, 0.07, 0.04, 0.06)
RULES = ("none", "baseline", "dotted", "lines", "school", "squared")
RULE_SHARES = (0.46, 0.18, 0.1, 0.12, 0.06, 0.08)
RULE_COLOURS = (
    (200, 180, 120),
    (210, 160, 90),
    (150, 150, 150),
    (90, 90, 90),
    (40, 40, 40),
    (190, 130, 200),
    (160, 190, 160),
)


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
    rule = RULES[_choose(rng, RULE_SHARES)]
    ink = tuple(float(np.clip(c + d, 0, 235)) for c, d in zip(ink, rng.normal(0, 18, 3), strict=True))
    cover = float(np.clip(cover + rng.normal(0, 0.08), 0.4, 1))
    paper = PAPERS[_choose(rng, PAPER_SHARES)]
    rule_colour = RULE_COLOURS[int(rng.integers(len(RULE_COLOURS)))]
    rule_cover = float(rng.uniform(0.3, 1))
    if rule in ("squared", "school", "lines"):  # printed grids are paler than a single rule, and than what is written
        stroke, printed = cover * _darkness(ink, paper), rule_cover * _darkness(rule_colour, paper)
        rule_cover *= 0.5 * min(1.0, stroke / max(printed, 1.0))
    return Desk(
        pen=pen,
        ink=ink,
        cover=cover,
        grain=grain,
        paper=paper,
        rule=rule,
        rule_colour=rule_colour,
        rule_cover=rule_cover,
        spacing=float(rng.uniform(12, 40)),
        cleaned=bool(rng.random() < 0.4),
        photo=bool(rng.random() < 0.2),
        grey=bool(rng.random() < 0.15),
    )


def _darkness(colour, paper):
    """How much darker than the paper a colour is, in grey levels."""
    return float(np.dot((0.114, 0.587, 0.299), np.subtract(paper, colour)))


def _choose(rng, shares):
    return min(int(np.searchsorted(np.cumsum(shares), rng.random())), len(shares) - 1)


@functools.lru_cache(256)
def _sheet(spread):
    """A sheet (256, 1024) uint8 of 255 less a grain, that windows are cut from: faster than new noise."""
    noise = np.random.default_rng(0).standard_normal((256, 1024), np.float32)
    return np.clip(255 * (1 - spread * (noise + 0.5)), 20, 255).astype(np.uint8)


def _grain(spread, rng, shape):
    """-> (h, w) uint8, 255 less a grain of the spread given (a share)."""
    sheet, (height, width) = _sheet(spread), shape
    if height > sheet.shape[0] or width > sheet.shape[1]:
        sheet = np.tile(sheet, (height // 256 + 2, width // 1024 + 2))
    y, x = int(rng.integers(sheet.shape[0] - height + 1)), int(rng.integers(sheet.shape[1] - width + 1))
    return np.ascontiguousarray(sheet[y : y + height, x : x + width])


def photograph(ink, rng, *, desk, neighbour=None, strength=1.0):
    """ink (h, w) uint8 -> (image uint8 (h', w', 3) or (h', w'), ink as it lies in it (h', w')).

    neighbour: ink of another word (any size) whose strokes reach into the picture's edge or shine through the paper.
    strength scales the probability of everything that is neither pen nor paper. All sums are of uint8, in OpenCV: numpy
    and floats would take three times as long.
    """
    ink = _margins(ink, rng)
    cover = _cover(ink, rng, desk)
    rules = _rules(ink, rng, desk)
    if rng.random() < 0.1 * strength:
        rules = _rests(rules if rules is not None else np.zeros_like(ink), rng)
    if neighbour is not None and rng.random() < 0.14 * strength:
        cover = _intruders(cover, neighbour, rng, desk)
    image = _mix(cover, rules, desk)
    light = _light(ink.shape, neighbour, rng, desk, strength)
    if light is not None:
        image = cv2.multiply(image, cv2.merge([light] * 3), scale=1 / 255)
    return _scan(image, ink, rng, desk, strength)


def encode(image, rng):
    """uint8 image -> bytes of JPEG, of low quality now and then (a noisy PNG takes twenty times as long)."""
    quality = int(rng.integers(30, 75)) if rng.random() < 0.25 else 93
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _margins(ink, rng):
    """Tight or wide paper around the word; never less than the ink."""
    room = rng.random(4) * 24 if rng.random() < 0.3 else rng.random(4) ** 2 * (4, 4, 10, 10)
    top, bottom, left, right = room.astype(int).tolist()
    return cv2.copyMakeBorder(ink, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)


def _cover(ink, rng, desk):
    """ink -> 255 times the share of the paper that it hides: dry grain, and slow changes of pressure."""
    if desk.grain > 0.04:
        cover = cv2.multiply(ink, _grain(round(desk.grain, 2), rng, ink.shape), scale=desk.cover / 255)
    else:
        cover = cv2.convertScaleAbs(ink, alpha=desk.cover)
    if rng.random() < 0.3:
        slow = cv2.resize(rng.integers(165, 256, (1, 6)).astype(np.uint8), ink.shape[::-1])
        cover = cv2.multiply(cover, slow, scale=1 / 255)
    return cover


def _rules(ink, rng, desk):
    """-> 255 times the share of the paper (h, w) that printed rules hide, or None on plain paper."""
    if desk.rule == "none":
        return None
    height, width = ink.shape
    rows = np.cumsum(ink.sum(1, dtype=np.int64))
    base = int(np.searchsorted(rows, rows[-1] * 0.9)) + int(rng.integers(-2, 6))  # on the rule, or above
    rules, tilt, shade = np.zeros_like(ink), float(rng.normal(0, 0.008)), int(255 * desk.rule_cover)
    single = desk.rule in ("baseline", "dotted")
    step = desk.spacing * (1.6 if desk.rule == "lines" else 1)
    for y in [base] if single else np.arange(base % step - step, height + step, step).tolist():
        ends = [(0, round(16 * (y - tilt * width / 2))), (16 * width, round(16 * (y + tilt * width / 2)))]
        cv2.line(rules, *ends, shade, int(desk.rule_cover * 10) % 2 + 1, cv2.LINE_AA, 4)
    if desk.rule == "dotted":
        period = int(rng.integers(3, 7))
        rules[:, np.arange(width) % period >= (period + 1) // 2] = 0
    if desk.rule in ("squared", "school"):
        gap = desk.spacing * (4 if desk.rule == "school" else 1)
        for x in np.arange(rng.uniform(0, desk.spacing), width, gap).tolist():
            cv2.line(rules, (int(x), 0), (int(x - tilt * height), height), shade, 1, cv2.LINE_8)
    return rules


def _light(shape, neighbour, rng, desk, strength):
    """-> light on the paper (h, w) uint8, 255 all of it: grain, shadow, stain, the sheet's other side; or None."""
    light = _grain(round(0.004 + 0.03 * rng.random() ** 2, 3), rng, shape) if rng.random() < 0.6 else None
    if rng.random() < (0.8 if desk.photo else 0.08) * strength:
        dark = 150 if rng.random() < 0.25 else 205
        light = _times(light, cv2.resize(rng.integers(dark, 256, (2, 3)).astype(np.uint8), shape[::-1]))
    if rng.random() < 0.12 * strength:
        light = _times(light, _stain(shape, rng))
    if neighbour is not None and rng.random() < 0.06 * strength:
        back = cv2.GaussianBlur(cv2.resize(neighbour[:, ::-1], shape[::-1]), (5, 5), 1.2)
        light = _times(light, 255 - cv2.convertScaleAbs(back, alpha=float(rng.uniform(0.05, 0.22))))
    return light


def _times(light, other):
    return other if light is None else cv2.multiply(light, other, scale=1 / 255)


def _intruders(cover, other, rng, desk):
    """Adds another word's strokes at the upper or lower edge."""
    height, width = cover.shape
    piece = cv2.convertScaleAbs(cv2.resize(other, (width, height)), alpha=desk.cover)
    reach = int(rng.integers(2, max(3, height // 7)))
    cover = cover.copy()
    if rng.random() < 0.5:
        cover[:reach] = np.maximum(cover[:reach], piece[height - reach - 3 : height - 3])
    else:
        cover[height - reach :] = np.maximum(cover[height - reach :], piece[3 : 3 + reach])
    return cover


def _stain(shape, rng):
    """-> light (h, w) uint8 under a smudge or a ring."""
    stain = np.full(shape, 255, np.uint8)
    centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
    axes = (int(rng.integers(6, 50)), int(rng.integers(4, 30)))
    cv2.ellipse(
        stain,
        centre,
        axes,
        float(rng.uniform(0, 180)),
        0,
        360,
        int(rng.integers(205, 246)),
        -1 if rng.random() < 0.6 else 3,
    )
    return cv2.blur(stain, (5, 5))


def _rests(rules, rng):
    """Adds specks, and rests of rules and frames at the picture's edges."""
    height, width = rules.shape
    for _ in range(int(rng.integers(1, 4))):
        x, y = int(rng.integers(width)), int(rng.choice([0, 1, height - 2, height - 1]))
        if rng.random() < 0.4:
            cv2.line(rules, (x, y), (x + int(rng.integers(5, 60)), y), 230, 1)
        elif rng.random() < 0.3:
            edge = int(rng.choice([0, width - 1]))
            cv2.line(rules, (edge, 0), (edge, int(rng.integers(height // 3, height))), 200, 1)
        else:
            cv2.circle(rules, (x, int(rng.choice([1, height - 3]))), 1, 200, -1)
    return rules


@functools.lru_cache(1024)
def _tables(paper, ink):
    """-> LUT (1, 256, 3): from cover to colour."""
    share = np.arange(256, dtype=np.float32)[None, :, None] / 255
    return np.rint(np.float32(paper) * (1 - share) + np.float32(ink) * share).astype(np.uint8)


def _mix(cover, rules, desk):
    """cover and rules (h, w) uint8 -> (h, w, 3) uint8, blue green red; ink lies over rules."""
    paper, ink = desk.paper, desk.ink
    if desk.cleaned:  # the scan's levels were pulled until the paper was white
        gain = 262 / min(paper)
        paper, ink = (255, 255, 255), tuple(min(255.0, c * gain) for c in ink)
    image = cv2.LUT(cv2.merge([cover] * 3), _tables(paper, ink))
    if rules is not None:
        # The darker of the two wins, as where ink crosses a printed line.
        image = cv2.min(image, cv2.LUT(cv2.merge([rules] * 3), _tables(paper, desk.rule_colour)))
    return image


def _scan(image, ink, rng, desk, strength):
    """image, ink -> the same after perspective, blur, coarse pixels, contrast, noise."""
    if rng.random() < (0.6 if desk.photo else 0.06) * strength:
        image, ink = _tilt(image, ink, rng)
    if rng.random() < (0.5 if desk.photo else 0.25) * strength:
        image = cv2.GaussianBlur(image, (3, 3), float(rng.uniform(0.4, 1.1)))
    elif rng.random() < 0.08 * strength:
        share = float(rng.uniform(0.5, 0.8))
        small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, ink.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25 * strength:
        image = cv2.convertScaleAbs(image, alpha=float(rng.uniform(0.75, 1.0)), beta=float(rng.uniform(0, 35)))
    if desk.grey:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return (255 - image if rng.random() < 0.01 * strength else image), ink


def _tilt(image, ink, rng):
    """A camera that does not look straight down: corners move by up to 6 % of the height."""
    height, width = ink.shape
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + rng.uniform(-0.06, 0.06, (4, 2)).astype(np.float32) * height
    moved -= moved.min(0)
    size = tuple(int(v) for v in np.ceil(moved.max(0)))
    view = cv2.getPerspectiveTransform(corners, moved)
    image = cv2.warpPerspective(image, view, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return image, cv2.warpPerspective(ink, view, size, flags=cv2.INTER_LINEAR)

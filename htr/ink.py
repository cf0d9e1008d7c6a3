"""Floor 0: luminance -> ink, and the box of the writing in it. Arrays only: who reads files is images.py.

Ink is uint8 here, 255 at strokes and 0 on paper: tables of 256 entries do most of the work.
"""

import functools

import cv2
import numpy as np

_UNIT = 200  # grey level of paper after the division by its light: paper brighter than estimated still fits below 256
_LEAST_CONTRAST = 0.05 * _UNIT  # strokes that take less of the paper's light than this are paper
_GRAINY = 9  # levels of noise above which paper is smoothed first: dithered or dimly lit
_MARGIN = 1.0  # stroke widths of paper kept around the ink
_LEAST_HEIGHT = 10.0  # stroke widths: a lone hyphen is not blown up to a word's height
_LEVELS = np.arange(256)

Box = tuple[int, int, int, int]  # left, top, right, bottom in px; right and bottom are the first ones outside
Boxes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def to_strokes(light: np.ndarray) -> np.ndarray | None:
    """luminance (h, w) uint8 or float32 in 0..255 -> ink (h, w) uint8, paper's noise 0; None where there is no ink.

    Uneven paper is divided out, polarity found, the contrast set so that faint pencil and marker both land near 255.
    """
    step = max(1, min(light.shape) // 24)
    size = (max(1, light.shape[1] // step), max(1, light.shape[0] // step))
    light = light.astype(np.float32)
    small = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    if _light_on_dark(small):
        light, small = 255 - light, 255 - small
    paper = cv2.resize(_background(small), light.shape[::-1], interpolation=cv2.INTER_LINEAR)
    levels = cv2.divide(light, paper, scale=_UNIT, dtype=cv2.CV_8U)
    counts = _histogram(levels)
    below = np.cumsum(counts)
    if _noise(below)[1] > _GRAINY:
        levels = cv2.GaussianBlur(levels, (3, 3), 0)
        counts = _histogram(levels)
        below = np.cumsum(counts)
    curve = _curve(counts, below)
    return None if curve is None else cv2.LUT(levels, curve)


def _light_on_dark(small: np.ndarray) -> bool:
    """Strokes are the thin minority: the light is skewed towards them, and the border is mostly paper."""
    return _darkness_of_ink(small) < -0.3  # a mere slope of light scores near 0, words of two collections above 1


def _darkness_of_ink(small: np.ndarray) -> float:
    side = max(3, min(small.shape) | 1)  # shadows are wider than this
    local = (small - cv2.blur(small, (side, side))).ravel()
    squares = local * local
    skew = float(squares @ local) / local.size / (float(squares.sum() / local.size) ** 1.5 + 1e-3)
    edge = np.sort(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]))[small.shape[0] + small.shape[1]]
    mean, spread = cv2.meanStdDev(small)
    return float(edge - mean[0, 0]) / (float(spread[0, 0]) + 1e-3) - skew


def _background(small: np.ndarray) -> np.ndarray:
    """small light -> the paper's light: a closing wider than any stroke, of what a plane of light and shade leaves."""
    side = max(3, (min(small.shape) // 2) | 1)
    kernel = np.ones((side, side), np.uint8)
    paper = cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel)
    sums = np.add.reduce(paper, axis=1), np.add.reduce(paper, axis=0)  # mean() takes longer
    slope = _slope(sums[0] / paper.shape[1])[:, None] + _slope(sums[1] / paper.shape[0])
    if slope.any():  # a closing alone lifts the dark end of a slope
        paper = cv2.morphologyEx(small - slope, cv2.MORPH_CLOSE, kernel) + slope
    return np.maximum(cv2.blur(paper, (5, 5)), 1)  # no wider: a closing keeps the edges of shadows where they are


def _slope(means: np.ndarray) -> np.ndarray:
    """means (n,) -> the line through its two halves, 0 in the middle; zeros where it rises by less than 4 levels."""
    half = len(means) // 2
    rise = 2 * float(np.add.reduce(means[-half:]) / half - np.add.reduce(means[:half]) / half) if half else 0.0
    if abs(rise) < 4:
        return np.zeros(len(means), np.float32)
    return np.linspace(-rise / 2, rise / 2, len(means), dtype=np.float32)


def _histogram(image: np.ndarray) -> np.ndarray:
    return cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()


def _noise(below: np.ndarray) -> tuple[int, int]:
    """Running sum of a histogram -> paper's level and its spread, on the bright side of the median, where no ink is."""
    paper, bright = below.searchsorted([0.5 * below[-1], 0.84 * below[-1]])
    return int(paper), max(int(bright - paper), 1)


def _curve(counts: np.ndarray, below: np.ndarray) -> np.ndarray | None:
    """Histogram of grey levels and its running sum -> table of ink per level, or None for paper without ink."""
    paper, noise = _noise(below)
    least = max(_LEAST_CONTRAST, 6 * noise)
    inked = below[_ink_level(counts, below, paper - least)]
    stroke = below.searchsorted(0.25 * inked)
    # the darker half of mere noise is some 1.2 times its spread below the paper; squares and shadows pass for noise
    if inked == 0 or paper - stroke < max(_LEAST_CONTRAST, 3 * min(noise, _GRAINY)):
        return None
    floor = paper - min(3 * noise, 0.3 * (paper - stroke))
    return np.clip(np.rint((floor - _LEVELS) * (255 / (floor - stroke))), 0, 255).astype(np.uint8)


def _ink_level(counts: np.ndarray, below: np.ndarray, lightest: float) -> int:
    """The level that parts ink from paper; a black rule or speck on a word in faint pencil is not all of the ink."""
    level = _otsu(counts, below)
    rest = counts.copy()
    rest[: level + 1] = 0
    fainter = _otsu(rest, np.cumsum(rest))
    mostly = below[level] < 0.2 * (below[fainter] - below[level])
    return fainter if mostly and fainter < lightest else level


def _otsu(counts: np.ndarray, below: np.ndarray) -> int:
    """Histogram and its running sum -> the level that ends the dark part (Otsu 1979)."""
    moment = np.cumsum(counts * _LEVELS)
    split = below * moment[-1] - moment * below[-1]
    return int(np.argmax(split * split / np.maximum(below * (below[-1] - below), 1)))


def strengthen(ink: np.ndarray) -> np.ndarray:
    """Thin strokes pale when an image shrinks: scale ink (h, w) uint8 so that strokes are near 255 again."""
    counts = _histogram(ink)
    counts[:64] = 0
    if counts.sum() < 4:
        return ink
    below = np.cumsum(counts)
    return cv2.LUT(ink, _stronger(max(int(below.searchsorted(0.75 * below[-1])), 80)))


@functools.cache
def _stronger(stroke: int) -> np.ndarray:
    """-> table of ink per ink, in which strokes of that level are full."""
    return np.minimum(np.rint(_LEVELS * (255 / stroke)), 255).astype(np.uint8)


def crop_box(ink: np.ndarray) -> Box:
    """ink (h, w) -> left, top, right, bottom of the crop; top and bottom may lie outside of the image."""
    height, width = ink.shape
    mask = cv2.threshold(ink, 90, 1, cv2.THRESH_BINARY)[1]
    left, top, right, bottom = _ink_box(mask, _stroke_width(mask))
    stroke = _stroke_width(mask[top:bottom, left:right])  # without the rules
    margin = max(1, round(_MARGIN * stroke))
    left, right = max(0, left - margin), min(width, right + margin)
    top, bottom = top - margin, bottom + margin
    missing = round(_LEAST_HEIGHT * stroke) - (bottom - top)
    if missing > 0:
        top -= missing // 2
        bottom = top + round(_LEAST_HEIGHT * stroke)
        if bottom - top <= height:  # a comma stays low and an apostrophe high where the image has the rows
            top = min(max(top, 0), height - (bottom - top))
            bottom = top + round(_LEAST_HEIGHT * stroke)
    return left, top, right, bottom


def _stroke_width(mask: np.ndarray) -> float:
    """Area by half the perimeter; the perimeter is pi / 4 of the steps between ink and paper along rows and columns."""
    steps = cv2.countNonZero(mask[:, 1:] ^ mask[:, :-1]) + cv2.countNonZero(mask[1:] ^ mask[:-1])
    steps += sum(int(np.count_nonzero(edge)) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return max(1.0, 2 * cv2.countNonZero(mask) / (np.pi / 4 * max(steps, 1)))


def _ink_box(mask: np.ndarray, stroke: float) -> Box:
    """mask (h, w) -> left, top, right, bottom of the writing; specks and rests of rules do not count."""
    labels = cv2.CV_16U if mask.size < 2**18 else cv2.CV_32S  # the short ones take half the time
    x, y, w, h, area = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=labels)[2][1:].T
    boxes = x, y, x + w, y + h
    flat = (w >= 8 * stroke) & (area <= 1.6 * stroke * w) & (h <= np.maximum(2.5 * stroke, 0.08 * w))
    upright = (h >= 8 * stroke) & (area <= 1.6 * stroke * h) & (w <= np.maximum(2.5 * stroke, 0.08 * h))
    rule = flat | upright
    core = (area >= 5 * stroke**2) & ~rule
    if not core.any():
        core = area == area.max()
    if rule.any():
        thin, rule = rule, _rules(boxes, flat, upright, _union(boxes, core), mask.shape, stroke) & ~core
        core |= thin & ~rule
    left, top, right, bottom = _union(boxes, core)
    tall = bottom - top
    across = np.maximum(np.maximum(left - boxes[2], x - right), 0)
    above, below = np.maximum(top - boxes[3], 0), np.maximum(y - bottom, 0)
    mark = area >= 0.4 * stroke**2  # a dot, an accent, a comma; anything less is kept only where it is close
    reach = np.where((area >= 1.5 * stroke**2) & (tall < 14 * stroke), 12, 8) * stroke  # accents fly high over an a
    over = mark & (across <= 4 * stroke) & (above <= np.maximum(0.5 * tall, reach))
    beside = (across <= np.where(mark, tall, 0.2 * tall)) & (above <= 0.2 * tall)
    low = below <= np.where(mark, max(0.3 * tall, 2.5 * stroke), 0.2 * tall)
    return _union(boxes, core | ((over | beside) & low & ~rule))


def _rules(
    boxes: Boxes, flat: np.ndarray, upright: np.ndarray, core: Box, shape: tuple[int, ...], stroke: float
) -> np.ndarray:
    """Which thin straight components are rests of printed rules: cut off by the image's edge and apart from the core.

    A hyphen at the edge lies amid the letters' height, a 1 is close to the next letter, an accent touches the top only.
    """
    (x, y, right, bottom), (height, width) = boxes, shape
    edge = max(2, round(0.03 * height))
    sides = (x < edge) | (right > width - edge)
    ends = (y < edge) | (bottom > height - edge)
    margin = 0.1 * (core[3] - core[1])
    amid = ((y + bottom) / 2 > core[1] + margin) & ((y + bottom) / 2 < core[3] - margin)
    long = right - x >= 20 * stroke
    gap = np.maximum(core[0] - right, x - core[2])
    across = flat & ((long & (sides | ends)) | (~amid & (sides | (bottom > height - edge))))
    return across | (upright & sides & (gap > 0.6 * (core[3] - core[1])))


def _union(boxes: Boxes, chosen: np.ndarray) -> Box:
    left, top, right, bottom = boxes
    return int(left[chosen].min()), int(top[chosen].min()), int(right[chosen].max()), int(bottom[chosen].max())


def window(ink: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """The crop with paper where it reaches above or below the image."""
    height = ink.shape[0]
    crop = ink[max(top, 0) : min(bottom, height), left:right]
    above, below = max(-top, 0), max(bottom - height, 0)
    return cv2.copyMakeBorder(crop, above, below, 0, 0, cv2.BORDER_CONSTANT, value=0)

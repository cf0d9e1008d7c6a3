"""Augmentation, floor 1: ink -> ink that still reads the same. Pure functions of the pixels and a random generator.

All geometric ops are collected in one `Warp` and sampled by a single `cv2.remap`; its canvas grows with the word, and where
the height would not do, the word is squeezed, never clipped. The other ops work on uint8 pixels in place of floats, for speed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

INK = 32  # grey values from here on count as ink when the canvas is fitted to the word
CELL = 6  # px between the points where the map is computed; in between it is interpolated
_KERNELS = [
    cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)),
    np.ones((2, 2), np.uint8),
    np.ones((1, 3), np.uint8),
    np.ones((3, 1), np.uint8),
]


@dataclass
class Warp:
    """The geometry of one word, collected op by op. Lengths in px; `matrix` takes source (x, y) to the canvas.

    A canvas point p shows the source point u + d(u) with u = matrix^-1 (p - origin), and d a sum of plane waves.
    """

    height: int
    width: int
    matrix: np.ndarray = field(default_factory=lambda: np.eye(2))
    waves: list = field(default_factory=list)  # (frequency x, frequency y, phase, displacement x, displacement y)
    shift: float = 0.0
    left: float = 0.0
    right: float = 0.0

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """points (n, 2) -> d (n, 2)"""
        waves = np.asarray(self.waves, np.float32).reshape(-1, 5)
        return np.sin(points @ waves[:, :2].T + waves[:, 2]) @ waves[:, 3:]

    def fit(self, outline: np.ndarray, min_width: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Outline (n, 2) of the ink -> matrix, origin and width of a canvas that holds all of it."""
        points = outline
        if self.waves:
            for _ in range(2):  # solves u + d(u) = outline by fixed point: d is a contraction
                points = outline - self.displacement(points)
        points = points @ self.matrix.T
        (low_x, low_y), (high_x, high_y) = points.min(0), points.max(0)
        squeeze = min(1.0, (self.height - 2.0) / (high_y - low_y + 2.0))
        scale = np.array([math.sqrt(squeeze), squeeze])
        top = min(max(outline[:, 1].min() - 1 + self.shift, 0.0), self.height - (high_y - low_y + 2.0) * squeeze)
        left = max(outline[:, 0].min(), 0) + self.left + 2
        right = max(self.width - 1 - outline[:, 0].max(), 0) + self.right + 2
        inside = (high_x - low_x) * scale[0]
        width = max(math.ceil(inside + left + right), min_width, 1)
        left += (width - inside - left - right) / 2
        return self.matrix * scale[:, None], np.array([left - low_x * scale[0], top + 1 - low_y * squeeze]), width

    def maps(self, outline: np.ndarray, min_width: int = 1) -> np.ndarray:
        """Outline (n, 2) of the ink -> source coordinates (height, width, 2) float32 for every canvas pixel."""
        matrix, origin, width = self.fit(outline, min_width)
        rows, columns = self.height // CELL + 3, width // CELL + 3
        grid = np.empty((rows, columns, 2), np.float32)
        # cv2.resize takes coarse cell i to fine pixels around (i + 0.5) CELL - 0.5; one cell more on each side stays uncut
        grid[..., 0] = (np.arange(columns) - 0.5) * CELL - 0.5 - origin[0]
        grid[..., 1] = ((np.arange(rows) - 0.5) * CELL - 0.5 - origin[1])[:, None]
        points = grid.reshape(-1, 2) @ np.linalg.inv(matrix).T.astype(np.float32)
        if self.waves:
            points = points + self.displacement(points)
        fine = cv2.resize(points.reshape(grid.shape), (columns * CELL, rows * CELL), interpolation=cv2.INTER_LINEAR)
        return fine[CELL : CELL + self.height, CELL : CELL + width]


def outline(pixels: np.ndarray) -> np.ndarray:
    """Ink uint8 (height, width) -> points (n, 2) float32: top and bottom of the ink every 4 columns; all corners if blank."""
    height, width = pixels.shape
    _, ink = cv2.threshold(pixels, INK - 1, 255, cv2.THRESH_BINARY)
    count = max(1, width // 4)
    ink = cv2.transpose(cv2.resize(ink, (count, height), interpolation=cv2.INTER_AREA)) > 0
    filled = np.flatnonzero(ink.any(1))
    if not len(filled):
        return np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float32)
    ink = ink[filled]
    x = (filled + 0.5) * (width / count) - 0.5
    top, bottom = ink.argmax(1), height - 1 - ink[:, ::-1].argmax(1)
    return np.stack([np.concatenate([x, x]), np.concatenate([top, bottom])], 1).astype(np.float32)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


# Geometry: each adds its part to the warp.


def _shear(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.matrix = np.array([[1, _between(rng, -0.5, 0.5) * strength], [0, 1]]) @ warp.matrix


def _rotate(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    # a long word may rise by a quarter of the height at most, or squeezing would crush it
    limit = min(math.radians(3.0) * strength, 0.25 * warp.height / warp.width)
    angle = _between(rng, -limit, limit)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    warp.matrix = turn @ warp.matrix


def _stretch(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.matrix = np.diag([math.exp(_between(rng, -0.29, 0.26) * min(strength, 2.0)), 1]) @ warp.matrix


def _height(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.matrix = np.diag([1, math.exp(_between(rng, -0.35, 0.1) * min(strength, 1.5))]) @ warp.matrix


def _shift(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.shift += _between(rng, -0.25, 0.35) * warp.height * strength


def _pad(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.left += rng.random() ** 3 * 0.4 * warp.height * strength
    warp.right += rng.random() ** 3 * 0.4 * warp.height * strength


def _elastic(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    steepest = min(0.11 * strength, 0.16)  # five waves together stay under 1: the map never folds
    for _ in range(5):
        length = _between(rng, 0.7, 2.0) * warp.height
        along, across = rng.random(2) * 2 * math.pi
        size = steepest * length / (2 * math.pi) * rng.random()
        number = 2 * math.pi / length
        warp.waves.append((number * math.cos(along), number * math.sin(along), 2 * math.pi * rng.random(),
                           size * math.cos(across), size * math.sin(across)))  # fmt: skip


def _baseline(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    length = max(_between(rng, 0.6, 2.5) * warp.width, 2.0 * warp.height)
    size = min(0.07 * strength, 0.14) * warp.height * rng.random()
    warp.waves.append((2 * math.pi / length, 0.0, 2 * math.pi * rng.random(), 0.0, size))


# Looks: uint8 (height, width) -> the same shape.


def _stroke(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Thinner or thicker by a fraction of a pixel; never so thin or thick that mass falls under 0.55 or rises over 1.9."""
    kernel = _KERNELS[rng.integers(len(_KERNELS))]
    amount = min(_between(rng, -1.0, 1.0) * strength, 1.0)
    other = cv2.dilate(pixels, kernel) if amount > 0 else cv2.erode(pixels, kernel)
    before, after = float(pixels.sum()), float(other.sum())
    limit = (0.9 if amount > 0 else 0.45) * before / max(abs(after - before), 1.0)
    amount = min(abs(amount), limit, 1.0)
    return cv2.addWeighted(pixels, 1 - amount, other, amount, 0)


def _fade(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Pen pressure that comes and goes along the word, down to 0.4 of the ink."""
    count = 2 + int(pixels.shape[1] / pixels.shape[0] * 1.5)
    depth = min(0.6 * strength, 0.7) * rng.random()
    field_ = ((1 - depth * rng.random((2, count))) * 255).astype(np.uint8)
    field_ = cv2.resize(field_, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(pixels, field_, scale=1 / 255)


def _contrast(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gain 0.5..1 and gamma 0.6..1.6, in one table."""
    gain = 1 - min(0.5 * strength, 0.65) * rng.random() ** 2
    gamma = math.exp(_between(rng, -0.5, 0.5) * min(strength, 1.5))
    return cv2.LUT(pixels, (gain * 255 * (np.arange(256) / 255) ** gamma + 0.5).astype(np.uint8))


def _noise(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Grain of the paper: fine or coarse, up to 0.15 of full ink."""
    coarse = 1 + int(rng.random() < 0.5)
    height, width = -(-pixels.shape[0] // coarse), -(-pixels.shape[1] // coarse)
    grain = np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width)
    if coarse > 1:
        grain = cv2.resize(grain, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    size = min(0.15 * strength, 0.3) * rng.random()
    return cv2.addWeighted(pixels, 1.0, grain, 2 * size, -255 * size)


def _blur(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    sigma = _between(rng, 0.3, 0.3 + 0.7 * min(strength, 1.5)) * pixels.shape[0] / 48
    return cv2.GaussianBlur(pixels, (0, 0), sigma, sigmaY=sigma * _between(rng, 0.5, 1.0))


def _resample(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Down and up again, as a scan of low resolution: to 0.5 of the pixels a side at the least."""
    height, width = pixels.shape
    factor = 1 - min(0.5 * strength, 0.6) * rng.random()
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), (width, height))


def _rules(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """One to three ruled lines over the full width, solid or dotted, lighter than the ink as a rule."""
    height, width = pixels.shape
    layer = np.zeros_like(pixels)
    gap, start = _between(rng, 0.2, 0.8) * height, rng.random() * height
    tilt = _between(rng, -0.03, 0.03) * min(width, 4 * height)
    grey = int(255 * _between(rng, 0.15, 0.4 + 0.25 * min(strength, 1.5)))
    for number in range(rng.integers(1, 4)):
        y = start + number * gap
        ends = (-16, round(16 * y)), (16 * width, round(16 * (y + tilt)))  # cv2 counts in 1/16 px (shift=4)
        cv2.line(layer, *ends, grey, 1 + int(rng.random() < 0.25), cv2.LINE_AA, 4)
    if rng.random() < 0.3:
        period = int(rng.integers(3, 8))
        layer[:, np.arange(width) % period >= rng.integers(1, period)] = 0
    return cv2.max(pixels, layer)


def _strike(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A thin pen line through part of the word, as of a correction or a long t-bar."""
    height, width = pixels.shape
    begin = rng.random() * 0.6 * width
    end = begin + _between(rng, 0.2, 0.2 + 0.3 * strength) * width
    y = _between(rng, 0.25, 0.75) * height
    ends = (round(16 * begin), round(16 * y)), (round(16 * end), round(16 * (y + _between(rng, -0.1, 0.1) * height)))
    return cv2.max(pixels, cv2.line(np.zeros_like(pixels), *ends, int(_between(rng, 120, 220)), 1, cv2.LINE_AA, 4))


def _neighbours(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Tips of strokes from the lines above and below. The word lends its own letters, so the pen is the same."""
    height, width = pixels.shape
    out = pixels.copy()
    for _ in range(rng.integers(1, 4)):
        rows = max(1, int(_between(rng, 0.05, 0.1 + 0.08 * min(strength, 1.5)) * height))
        columns = min(width, int(_between(rng, 0.15, 0.9) * height))
        x, y = rng.integers(width - columns + 1), int(_between(rng, 0.2, 0.8) * (height - rows))
        piece = pixels[y : y + rows, x : x + columns][:, ::-1]
        x = rng.integers(width - columns + 1)
        place = (slice(0, rows) if rng.random() < 0.5 else slice(height - rows, height), slice(x, x + columns))
        out[place] = np.maximum(out[place], piece)
    return out


def _cutout(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """One to three narrow columns lose most of their ink, as by a fold or a skipping pen."""
    height, width = pixels.shape
    out = pixels.copy()
    for _ in range(rng.integers(1, 4)):
        wide = max(1, round(_between(rng, 0.02, 0.03 + 0.03 * min(strength, 1.5)) * height))
        x = rng.integers(max(1, width - wide))
        out[:, x : x + wide] = out[:, x : x + wide] * (0.7 * rng.random())
    return out


GEOMETRY: dict[str, tuple[float, Callable]] = {  # name -> (probability at strength 1, function)
    "stretch": (0.9, _stretch), "height": (0.7, _height), "shear": (0.8, _shear), "rotate": (0.7, _rotate),
    "elastic": (0.8, _elastic), "baseline": (0.5, _baseline), "shift": (0.7, _shift), "pad": (0.6, _pad),
}  # fmt: skip
LOOKS: dict[str, tuple[float, Callable]] = {
    "stroke": (0.6, _stroke), "fade": (0.3, _fade), "cutout": (0.15, _cutout), "neighbours": (0.15, _neighbours),
    "rules": (0.15, _rules), "strike": (0.02, _strike), "contrast": (0.5, _contrast), "blur": (0.2, _blur),
    "resample": (0.15, _resample), "noise": (0.2, _noise),
}  # fmt: skip


def augment(ink: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0, mask: np.ndarray | None = None,
            min_width: int = 1, ops: tuple[str, ...] | None = None):  # fmt: skip
    """Ink (height, width) -> ink (height, new width), same dtype; with a mask of the same shape -> (ink, mask).

    Ink is float32 in 0..1 (the result holds multiples of 1/255) or uint8 in 0..255; the mask any of bool, uint8, float32.
    `strength` 0 gives the input back, 1 is for training, 2 the most that still reads. `min_width` px keeps enough frames
    for the label. `ops` names what is applied, each for certain; without it all are, each with its own probability.
    """
    if ink.ndim != 2 or 0 in ink.shape:
        raise ValueError(f"An ink of shape {ink.shape} came, (height, width) with at least one pixel is needed.")
    if strength < 0:
        raise ValueError(f"Strength {strength} came, 0 (nothing) to 2 (the most that reads) is possible.")
    if strength == 0:
        return ink if mask is None else (ink, mask)
    pixels = _to_bytes(ink)
    marks = None if mask is None else _to_bytes(mask)
    chosen = [name for name, (p, _) in (GEOMETRY | LOOKS).items() if (name in ops if ops is not None else rng.random() < p * min(1.0, strength))]
    warp = Warp(*pixels.shape)
    for name in chosen:
        if name in GEOMETRY:
            GEOMETRY[name][1](warp, rng, strength)
    if any(name in GEOMETRY for name in chosen):
        maps = warp.maps(outline(pixels if marks is None else marks), min_width)
        pixels = cv2.remap(pixels, maps, None, cv2.INTER_LINEAR)
        marks = None if marks is None else cv2.remap(marks, maps, None, cv2.INTER_LINEAR)
    for name in chosen:
        if name in LOOKS:
            pixels = LOOKS[name][1](pixels, rng, strength)
    return _like(pixels, ink) if mask is None else (_like(pixels, ink), _like(marks, mask))


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    return np.rint(array.astype(np.float32) * 255).astype(np.uint8)


def _like(pixels: np.ndarray, example: np.ndarray) -> np.ndarray:
    if example.dtype == np.uint8:
        return pixels
    return pixels > 127 if example.dtype == bool else (pixels / np.float32(255)).astype(example.dtype)


OPS: dict[str, Callable] = {name: partial(augment, ops=(name,)) for name in GEOMETRY | LOOKS}


def generator(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on nothing but `seed` and up to three numbers `key`, such as epoch and row."""
    counter = [0, *key, *[0] * (3 - len(key))]  # the lowest word counts the draws: streams never meet
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def augment_seeded(ink: np.ndarray, seed: int, *, epoch: int, index: int, **options):
    """`augment` as a pure function of (seed, epoch, index): the same for any number of workers and after a resume."""
    return augment(ink, generator(seed, epoch, index), **options)

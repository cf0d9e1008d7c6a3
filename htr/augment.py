"""Augmentation, floor 1: ink -> ink that still reads the same. Pure functions of the pixels and a random generator.

All geometric ops are collected in one `Warp` and sampled by a single `cv2.remap`; its canvas grows with the word, and
where the height would not do, the word is squeezed, never clipped. The other ops work on uint8, for speed.
"""

import math
from collections.abc import Callable, Collection
from functools import partial

import cv2
import numpy as np

from htr.warp import Warp, outline

TURN = 2 * math.pi
MASKED = 95  # grey value of a resampled boolean mask above which it is set: thin strokes survive shrinking
FAINT = 100.0  # grey value of the ink under which no op makes it paler
_KERNELS = [
    cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)),
    np.ones((2, 2), np.uint8),
    np.ones((1, 3), np.uint8),
    np.ones((3, 1), np.uint8),
]


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


# Geometry: each sets its part of the warp.


def _zoom(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    factor = math.exp(-0.3 * strength * rng.random())
    warp.scale_x *= factor
    warp.scale_y *= factor


def _stretch(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.scale_x *= math.exp(_between(rng, -0.29, 0.26) * strength)


def _height(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.scale_y *= math.exp(_between(rng, -0.25, 0.1) * strength)


def _shear(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.shear = _between(rng, -0.5, 0.5) * strength


def _rotate(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    # a long word may rise by a quarter of the height at most, or squeezing would crush it
    limit = min(math.radians(3.0) * strength, 0.25 * warp.height / warp.width)
    warp.angle = _between(rng, -limit, limit)


def _shift(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.shift = _between(rng, -0.25, 0.35) * warp.height * strength


def _pad(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    warp.left = rng.random() ** 3 * 0.4 * warp.height * strength
    warp.right = rng.random() ** 3 * 0.4 * warp.height * strength


def _elastic(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    steepest = min(0.11 * strength, 0.16)  # five waves together stay under 1: the map never folds
    for draw in rng.random((5, 5)).tolist():
        length = (0.7 + 1.3 * draw[0]) * warp.height
        size = steepest * length / TURN * draw[1]
        along, phase, across = TURN * draw[2], TURN * draw[3], TURN * draw[4]
        number = TURN / length
        frequency = number * math.cos(along), number * math.sin(along)
        warp.waves.append((*frequency, phase, size * math.cos(across), size * math.sin(across)))


def _baseline(warp: Warp, rng: np.random.Generator, strength: float) -> None:
    length = max(_between(rng, 0.6, 2.5) * warp.width, 2.0 * warp.height)
    size = min(0.07 * strength, 0.14) * warp.height * rng.random()
    warp.waves.append((TURN / length, 0.0, TURN * rng.random(), 0.0, size))


# Looks: uint8 (height, width) -> the same shape.


def _level(pixels: np.ndarray) -> float:
    """Grey value of the ink: the mean over pixels, weighted by themselves, at least 1."""
    return max(cv2.norm(pixels) ** 2 / max(cv2.sumElems(pixels)[0], 1.0), 1.0)


def _stroke(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Thinner or thicker by a fraction of a pixel, within 0.55 to 1.9 times the mass: no gaps, no filled loops."""
    kernel = _KERNELS[rng.integers(len(_KERNELS))]
    amount = min(_between(rng, -1.0, 1.0) * strength, 1.0)
    other = cv2.dilate(pixels, kernel) if amount > 0 else cv2.erode(pixels, kernel)
    before, after = cv2.sumElems(pixels)[0], cv2.sumElems(other)[0]
    limit = (0.9 if amount > 0 else 0.45) * before / max(abs(after - before), 1.0)
    amount = min(abs(amount), limit, 1.0)
    return cv2.addWeighted(pixels, 1 - amount, other, amount, 0)


def _fade(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Pen pressure that comes and goes along the word, down to 0.4 of the ink; faint ink fades less."""
    count = 2 + int(pixels.shape[1] / pixels.shape[0] * 1.5)
    depth = min(0.6 * strength, 0.7, max(0.0, 1 - FAINT / _level(pixels))) * rng.random()
    field_: np.ndarray = ((1 - depth * rng.random((2, count))) * 255).astype(np.uint8)
    field_ = cv2.resize(field_, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(pixels, field_, scale=1 / 255)


def _contrast(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gain 0.4..1 and gamma 0.6..1.6 in one table; faint ink keeps its level."""
    gain = 1 - min(0.6 * strength, 0.7, max(0.0, 1 - FAINT / _level(pixels))) * rng.random()
    gamma = math.exp(_between(rng, -0.5, 0.5) * min(strength, 1.5))
    return cv2.LUT(pixels, (gain * 255 * (np.arange(256) / 255) ** gamma + 0.5).astype(np.uint8))


def _noise(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Grain of the paper: fine or coarse, up to 0.2 of the ink."""
    coarse = 1 + int(rng.random() < 0.5)
    height, width = -(-pixels.shape[0] // coarse), -(-pixels.shape[1] // coarse)
    grain: np.ndarray = np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width)
    if coarse > 1:
        grain = cv2.resize(grain, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    size = min(0.2 * strength, 0.3) * rng.random() * _level(pixels) / 255
    return cv2.addWeighted(pixels, 1.0, grain, 2 * size, -255 * size)


def _blur(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    sigma = _between(rng, 0.3, 0.3 + 0.6 * min(strength, 1.5)) * pixels.shape[0] / 48
    return cv2.GaussianBlur(pixels, (0, 0), sigma, sigmaY=sigma * _between(rng, 0.5, 1.0))


def _resample(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Down and up again, as a scan of low resolution: to 0.6 of the pixels a side at the least."""
    height, width = pixels.shape
    factor = 1 - min(0.4 * strength, 0.55) * rng.random()
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
    "zoom": (0.25, _zoom), "stretch": (0.9, _stretch), "height": (0.7, _height), "shear": (0.8, _shear),
    "rotate": (0.7, _rotate), "elastic": (0.8, _elastic), "baseline": (0.5, _baseline), "shift": (0.7, _shift),
    "pad": (0.6, _pad),
}  # fmt: skip
LOOKS: dict[str, tuple[float, Callable]] = {
    "stroke": (0.6, _stroke), "fade": (0.3, _fade), "cutout": (0.15, _cutout), "neighbours": (0.15, _neighbours),
    "rules": (0.15, _rules), "strike": (0.02, _strike), "contrast": (0.5, _contrast), "blur": (0.2, _blur),
    "resample": (0.15, _resample), "noise": (0.2, _noise),
}  # fmt: skip
_TABLE = [(name, p, op, name in GEOMETRY) for name, (p, op) in (GEOMETRY | LOOKS).items()]


def augment(ink: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0, mask: np.ndarray | None = None,
            min_width: int = 1, ops: Collection[str] | None = None):  # fmt: skip
    """Ink (height, width) -> ink (height, new width), same dtype; with a mask of the same shape -> (ink, mask).

    Ink is float32 in 0..1 (the result holds multiples of 1/255) or uint8 in 0..255; the mask is bool or scaled like
    either, and follows the geometry alone. `strength` 0 gives the input back, 1 is for training, 2 the most that reads.
    `min_width` px keeps enough frames for the label. `ops` names what is applied, each for certain; without it all are,
    each with its own probability. Raises ValueError for other shapes, strengths and names.
    """
    _check(ink, mask, strength, ops)
    if strength == 0:
        return ink if mask is None else (ink, mask)
    if ops is None:
        chance = min(1.0, strength)
        draws = rng.random(len(_TABLE)).tolist()
        chosen = [row for row, draw in zip(_TABLE, draws, strict=True) if draw < row[1] * chance]
    else:
        chosen = [row for row in _TABLE if row[0] in ops]
    layers = [_to_bytes(ink)] if mask is None else [_to_bytes(ink), _to_bytes(mask)]
    warp = Warp(*ink.shape)
    moved = [op(warp, rng, strength) for _, _, op, geometric in chosen if geometric]
    if moved or warp.width < min_width:
        layers = warp.sample(layers, outline(layers[-1]), min_width=min_width)  # a mask knows best where the ink is
    for _, _, op, geometric in chosen:
        if not geometric:
            layers[0] = op(layers[0], rng, strength)
    return _like(layers[0], ink) if mask is None else (_like(layers[0], ink), _like(layers[1], mask))


def augment_views(
    ink: np.ndarray, rng: np.random.Generator, *, views: int, strength: float = 1.0, min_width: int = 1
) -> list[np.ndarray]:
    """Ink (height, width) -> that many inks of one shape: `augment` in one geometry, the looks drawn anew for each."""

    def drawn(table) -> list[str]:
        return [name for name, (p, _) in table.items() if rng.random() < p * min(1.0, strength)]

    moved = augment(ink, rng, strength=strength, min_width=min_width, ops=drawn(GEOMETRY))
    return [augment(moved, rng, strength=strength, ops=drawn(LOOKS)) for _ in range(views)]


def _check(ink: np.ndarray, mask: np.ndarray | None, strength: float, ops: Collection[str] | None) -> None:
    if ink.ndim != 2 or 0 in ink.shape:
        raise ValueError(f"An ink of shape {ink.shape} came, (height, width) with at least one pixel is needed.")
    if mask is not None and mask.shape != ink.shape:
        raise ValueError(f"A mask of shape {mask.shape} came for an ink of shape {ink.shape}; they must be the same.")
    if not 0 <= strength <= 2:
        raise ValueError(f"Strength {strength} came, 0 (nothing) to 2 (the most that reads) is possible.")
    if ops is not None and (unknown := set(ops) - set(OPS)):
        raise ValueError(f"Unknown ops {sorted(unknown)} came, possible are {', '.join(OPS)}.")


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    return cv2.convertScaleAbs(array, alpha=255)  # rounds to nearest, so multiples of 1/255 stay what they are


def _like(pixels: np.ndarray, example: np.ndarray) -> np.ndarray:
    if example.dtype == np.uint8:
        return pixels
    return pixels > MASKED if example.dtype == bool else (pixels / np.float32(255)).astype(example.dtype)


OPS: dict[str, Callable] = {name: partial(augment, ops=(name,)) for name in GEOMETRY | LOOKS}


def generator(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on nothing but `seed` and up to three numbers `key`, such as epoch and row."""
    counter = [0, *key, *[0] * (3 - len(key))]  # the lowest word counts the draws: streams never meet
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def augment_seeded(ink: np.ndarray, seed: int, *, epoch: int, index: int, **options):
    """`augment` as a pure function of (seed, epoch, index): the same for any number of workers and after a resume."""
    return augment(ink, generator(seed, epoch, index), **options)

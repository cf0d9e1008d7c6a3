"""The geometry of one augmented word, floor 0: shear to elastic in one map, on a canvas that nothing leaves."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

INK = 32  # grey values from here on count as ink when the canvas is fitted to the word
CELL = 6  # px between the points where the map is computed; in between it is interpolated


@dataclass
class Warp:
    """Collected op by op, then turned into maps once. Lengths in px, the angle in radians, points as (2, n): x, then y.

    A canvas point p shows the source point u + d(u), with u = matrix^-1 (p - origin) and d a sum of plane waves.
    """

    height: int
    width: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    shear: float = 0.0
    angle: float = 0.0
    shift: float = 0.0
    left: float = 0.0
    right: float = 0.0
    waves: list = field(default_factory=list)  # (frequency x, frequency y, phase, displacement x, displacement y)

    def matrix(self) -> tuple[float, float, float, float]:
        """(a, b, c, d) of x' = a x + b y, y' = c x + d y: scale, shear, rotate; never under half the size."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x, y = max(self.scale_x, 0.5), max(self.scale_y, 0.5)
        return cos * x, (cos * self.shear - sin) * y, sin * x, (sin * self.shear + cos) * y

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """points (2, n) -> d (2, n)"""
        waves = np.array(self.waves, np.float32)
        return waves[:, 3:].T @ np.sin(waves[:, :2] @ points + waves[:, 2:3])

    def fit(self, outline: np.ndarray, *, min_width: int = 1) -> tuple[tuple[float, ...], tuple[float, float], int]:
        """Outline (2, n) of the ink -> matrix, origin and width of a canvas that holds all of it."""
        points = outline
        if self.waves:
            for _ in range(2):  # solves u + d(u) = outline by fixed point: d is a contraction
                points = outline - self.displacement(points)
        a, b, c, d = self.matrix()
        along, down = np.array([[a, b], [c, d]], np.float32) @ points
        low_x, high_x = float(along.min()) - 2, float(along.max()) + 2  # the outline knows x to 2 px
        low_y, high_y = float(down.min()) - 0.25, float(down.max()) + 0.25
        squeeze = min(1.0, (self.height - 0.5) / (high_y - low_y))
        narrow = math.sqrt(squeeze)  # a part of the squeeze goes sideways too: letters keep more of their shape
        lowest = self.height - 0.75 - (high_y - low_y) * squeeze
        top = min(max(float(outline[1].min()) + self.shift, -0.25), lowest)
        left = max(float(outline[0].min()) - 2, 0.0) * a * narrow + self.left
        right = max(self.width - 3 - float(outline[0].max()), 0.0) * a * narrow + self.right
        needed = (high_x - low_x) * narrow + left + right + 1
        width = max(math.ceil(needed), min_width)
        origin = left + (width - needed) / 2 - low_x * narrow, top - low_y * squeeze
        return (a * narrow, b * narrow, c * squeeze, d * squeeze), origin, width

    def maps(self, matrix: tuple[float, ...], origin: tuple[float, float], width: int) -> tuple[np.ndarray, np.ndarray]:
        """What `fit` gave -> source x and source y, each (height, width) float32, of every canvas pixel."""
        a, b, c, d = matrix
        rows, columns = self.height // CELL + 3, width // CELL + 3
        # cv2.resize centres coarse cell i on fine (i + 0.5) CELL - 0.5; the border, only repeated, is cut off below
        x: np.ndarray = np.arange(columns, dtype=np.float32) * CELL - (0.5 * CELL + 0.5 + origin[0])
        y: np.ndarray = np.arange(rows, dtype=np.float32)[:, None] * CELL - (0.5 * CELL + 0.5 + origin[1])
        area = a * d - b * c
        points = np.empty((2, rows, columns), np.float32)
        np.add(x * (d / area), y * (-b / area), out=points[0])
        np.add(x * (-c / area), y * (a / area), out=points[1])
        if self.waves:
            points += self.displacement(points.reshape(2, -1)).reshape(points.shape)
        x, y = (cv2.resize(part, (columns * CELL, rows * CELL), interpolation=cv2.INTER_LINEAR) for part in points)
        inside = slice(CELL, CELL + self.height), slice(CELL, CELL + width)
        return x[inside], y[inside]

    def sample(self, layers: list[np.ndarray], outline: np.ndarray, *, min_width: int = 1) -> list[np.ndarray]:
        """Layers (height, width) uint8 of one word and its ink's outline -> the same layers (height, new width)."""
        matrix, origin, width = self.fit(outline, min_width=min_width)
        maps = self.maps(matrix, origin, width)
        a, b, c, d = matrix
        scales = math.hypot(a, c), (a * d - b * c) / math.hypot(a, c)
        if min(scales) < 0.9:  # thin strokes would fall between the samples: smooth by what the scale loses
            sigmas = [0.5 * math.sqrt(max(scale**-2 - 1, 0.01)) for scale in scales]
            layers = [cv2.GaussianBlur(layer, (0, 0), sigmas[0], sigmaY=sigmas[1]) for layer in layers]
        return [cv2.remap(layer, *maps, cv2.INTER_LINEAR) for layer in layers]


def outline(pixels: np.ndarray) -> np.ndarray:
    """Ink uint8 (height, width) -> points (2, n) float32: top and bottom of every 4 columns' ink; corners if blank."""
    height, width = pixels.shape
    ink = np.zeros((height, -(-width // 4) * 4), bool)
    np.greater_equal(pixels, INK, out=ink[:, :width])
    ink = ink.view(np.uint32).T != 0  # four columns at once
    filled = ink.any(1).nonzero()[0]
    if not len(filled):
        return np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]], np.float32)
    ink = ink[filled]
    points = np.empty((2, 2, len(filled)), np.float32)
    points[0] = filled * 4 + 1.5
    points[1, 0] = ink.argmax(1)
    points[1, 1] = height - 1 - ink[:, ::-1].argmax(1)
    return points.reshape(2, -1)

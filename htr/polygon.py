"""Floor 1: the pixels inside of a polygon on a page, the page's own paper outside of it."""

import cv2
import numpy as np

from htr.images import ImageError

_FAR = 1 << 20  # px: points beyond are brought here, OpenCV counts in 32 bits


@np.errstate(over="ignore", invalid="ignore")  # `crop` refuses what is infinite
def scaled(polygons: list[np.ndarray], scale: np.ndarray) -> list[np.ndarray]:
    """polygons (points, 2) in another resolution, scale (2,) px of the page for one of theirs -> polygons in px.

    A point is a pixel's middle, which the other resolution has elsewhere.
    """
    return [(polygon + 0.5) * scale - 0.5 for polygon in polygons]


def crop(page: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    """page (h, w) or (h, w, 3), polygons (points, 2) x, y in px -> their common bounding box, paper outside of them.

    ImageError where there is no polygon, or nothing of it on the page.
    """
    left, top, right, bottom = _box(page, polygons)
    mask = np.ones((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    for polygon in polygons if mask.size else []:
        inside = np.zeros_like(mask)
        cv2.fillPoly(inside, [np.rint(np.clip(polygon - (left, top), -_FAR, _FAR)).astype(np.int32)], 1)
        mask &= inside
    if not mask.any():
        raise ImageError(f"the region's polygon lies outside of the page of {page.shape[1]}x{page.shape[0]} px.")
    window = page[top:bottom, left:right]
    if mask.all():
        return window
    reach = bottom - top
    around = page[max(top - reach, 0) : bottom + reach, max(left - reach, 0) : right + reach]
    around = around[:: max(1, len(around) // 64), :: max(1, around.shape[1] // 64)]
    inside = mask.astype(bool).reshape(mask.shape + (1,) * (page.ndim - 2))
    return np.where(inside, window, _paper(window, mask, around))


def work(page: np.ndarray, polygons: list[np.ndarray]) -> int:
    """What a crop costs, in px of a plain box: every point may be an edge that crosses all rows and is sorted in each.

    Measured of OpenCV's fillPoly: 1.6 ns for n (10 rows + n), against 50 ns for a px that is cut out, packed and read.
    """
    left, top, right, bottom = _box(page, polygons)
    rows = max(bottom - top, 0)
    return rows * max(right - left, 0) + sum(len(each) * (10 * rows + len(each)) for each in polygons) // 30


def _box(page: np.ndarray, polygons: list[np.ndarray]) -> tuple[int, int, int, int]:
    if not polygons or any(len(polygon) < 3 for polygon in polygons):
        raise ImageError("the region has no polygon of three points or more.")
    if not all(np.isfinite(polygon).all() for polygon in polygons):
        raise ImageError("the region's polygon has points without a place: write numbers of at most 15 digits.")
    low = np.max([polygon.min(0) for polygon in polygons], axis=0)
    high = np.min([polygon.max(0) for polygon in polygons], axis=0)
    left, top = np.clip(np.floor(low), 0, page.shape[1::-1]).astype(int)
    right, bottom = np.clip(np.ceil(high) + 1, 0, page.shape[1::-1]).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _paper(window: np.ndarray, mask: np.ndarray, around: np.ndarray) -> np.ndarray:
    """window (h, w[, 3]), mask (h, w) -> the paper's colour at every pixel, spread from the paper inside of the mask.

    One flat colour would leave an edge along the polygon where the light falls off.
    """
    stride = max(1, min(mask.shape) // 96)  # paper is smooth: every stride-th pixel tells enough
    mask = mask[::stride, ::stride]
    if not mask.any():
        return np.broadcast_to(np.median(around, axis=(0, 1)).astype(window.dtype), window.shape)
    colour = window[::stride, ::stride].reshape(*mask.shape, -1).astype(np.float32)
    middle = float(np.median(around.reshape(*around.shape[:2], -1).mean(2)))
    paper = _paper_mask(colour.mean(2), mask, middle, np.iinfo(window.dtype).max)[..., None]
    step = max(1, min(mask.shape) // 16)
    small = (max(1, mask.shape[1] // step), max(1, mask.shape[0] // step))
    weighted = cv2.resize(np.concatenate([colour * paper, paper], axis=2), small, interpolation=cv2.INTER_AREA)
    weighted = cv2.GaussianBlur(weighted, (0, 0), 3)
    overall = (colour * paper).sum((0, 1)) / paper.sum()
    spread = (weighted[..., :-1] + 1e-3 * overall) / (weighted[..., -1:] + 1e-3)
    spread = cv2.resize(np.rint(spread).astype(window.dtype), window.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return spread.reshape(window.shape)


def _paper_mask(grey: np.ndarray, mask: np.ndarray, middle: float, white: int) -> np.ndarray:
    """grey (h, w), mask (h, w) -> float32 (h, w), 1 where the region's paper is.

    What fills most of the surroundings, whose median is middle, is paper; in light writing on dark paper too.
    """
    inside, levels = mask > 0, (grey * (255 / white)).astype(np.uint8)
    bright = levels > cv2.threshold(levels[inside], 0, 255, cv2.THRESH_OTSU)[0]
    sides = [side & inside for side in (bright, ~bright) if (side & inside).any()]
    paper = min(sides, key=lambda side: abs(float(grey[side].mean()) - middle)).astype(np.float32)
    eroded = cv2.erode(paper, np.ones((3, 3), np.uint8))  # without the soft edges of strokes
    return eroded if eroded.any() else paper

"""Geometry: what a map shows is computed by hand, and no word leaves its canvas."""

import cv2
import numpy as np
import pytest

from htr.warp import CELL, Warp, outline


def word(seed: int = 0, height: int = 48, width: int = 160) -> np.ndarray:
    """Loops and bars that fill the height -> uint8 (height, width)."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width), np.uint8)
    for x in range(8, width - 8, 14):
        y = int(rng.integers(height // 3, 2 * height // 3))
        cv2.ellipse(pixels, (x, y), (5, height // 6), 0, 0, 300, 255, 2)
        cv2.line(pixels, (x + 4, int(rng.choice([0, y]))), (x + 5, int(rng.choice([y, height - 1]))), 255, 2)
    return pixels


def covered(warp: Warp, pixels: np.ndarray) -> float:
    """Share of the ink that is within a pixel of a sampled point."""
    map_x, map_y = warp.maps(*warp.fit(outline(pixels)))
    height, width = pixels.shape
    x, y = np.rint(map_x).astype(int), np.rint(map_y).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    hit = np.zeros_like(pixels)
    hit[y[inside], x[inside]] = 1
    return float(cv2.dilate(hit, np.ones((3, 3), np.uint8))[pixels > 127].mean())


def test_an_empty_warp_moves_nothing():
    pixels = word()
    (moved,) = Warp(*pixels.shape).sample([pixels], outline(pixels))
    ink = np.flatnonzero(moved.any(0))
    source = np.flatnonzero(pixels.any(0))
    same = moved[:, ink[0] : ink[-1] + 1].astype(int), pixels[:, source[0] : source[-1] + 1]
    assert abs(same[0].shape[1] - same[1].shape[1]) <= 1  # a fraction of a pixel sideways and no more
    assert abs(float(moved.sum()) / float(pixels.sum()) - 1) < 0.01


@pytest.mark.parametrize(("height", "width"), [(48, 160), (32, 7), (64, 300)])
def test_maps_equal_the_formula_at_every_pixel(height, width):
    warp = Warp(height, width, scale_x=0.9, scale_y=0.7, shear=0.3, angle=0.05)
    matrix, origin, columns = warp.fit(
        np.array([[0.0, width - 1, 0, width - 1], [0.0, 0, height - 1, height - 1]], np.float32)
    )
    map_x, map_y = warp.maps(matrix, origin, columns)
    y, x = np.mgrid[:height, :columns]
    expected = np.linalg.inv(np.reshape(matrix, (2, 2))) @ np.stack([(x - origin[0]).ravel(), (y - origin[1]).ravel()])
    np.testing.assert_allclose(np.stack([map_x.ravel(), map_y.ravel()]), expected, atol=2e-3)


def test_waves_displace_by_their_sine():
    warp = Warp(48, 160, waves=[(0.1, 0.0, 0.5, 2.0, 0.0), (0.0, 0.2, 0.0, 0.0, 1.0)])
    displacement = warp.displacement(np.array([[3.0], [4.0]], np.float32))
    np.testing.assert_allclose(displacement, [[2 * np.sin(0.8)], [np.sin(0.8)]], rtol=1e-5)


def test_interpolating_waves_between_cells_costs_a_tenth_of_a_pixel():
    warp = Warp(48, 160, waves=[(0.13, 0.13, 0.5, 1.0, 1.0)])  # 34 px long, the shortest that augmentation uses
    matrix, origin, width = warp.fit(outline(word()))
    y, x = np.mgrid[:48, :width]
    straight = np.stack([(x - origin[0]).ravel() / matrix[0], (y - origin[1]).ravel() / matrix[3]]).astype(np.float32)
    exact = straight + warp.displacement(straight)
    assert np.abs(np.stack([part.ravel() for part in warp.maps(matrix, origin, width)]) - exact).max() < 0.15
    assert CELL <= 8


def test_outline_holds_the_first_and_last_ink_of_every_four_columns():
    pixels = np.zeros((10, 9), np.uint8)
    pixels[2, 1] = pixels[7, 2] = pixels[5, 8] = 200
    np.testing.assert_array_equal(outline(pixels), [[1.5, 9.5, 1.5, 9.5], [2, 5, 7, 5]])


def test_outline_of_blank_paper_is_its_corners():
    np.testing.assert_array_equal(outline(np.zeros((3, 5), np.uint8)), [[0, 4, 0, 4], [0, 0, 2, 2]])


@pytest.mark.parametrize("seed", range(20))
def test_ink_stays_on_the_canvas_under_the_hardest_warp(seed):
    rng = np.random.default_rng(seed)
    pixels = word(seed, width=int(rng.integers(30, 400)))
    low, high = np.array([0.4, 0.4, -1, -0.1, -40]), np.array([1.7, 1.3, 1, 0.1, 40])
    scale_x, scale_y, shear, angle, shift = rng.uniform(low, high)
    waves = [(*rng.normal(0, 0.1, 2), rng.random(), *rng.uniform(-1.5, 1.5, 2)) for _ in range(4)]
    warp = Warp(*pixels.shape, scale_x, scale_y, shear, angle, shift, waves=waves)
    assert covered(warp, pixels) >= 0.98


def test_a_word_too_tall_for_the_canvas_is_squeezed():
    pixels = word()
    matrix, _, _ = Warp(48, 160, scale_y=1.5).fit(outline(pixels))
    assert matrix[3] == pytest.approx(1.5 * 47.5 / (1.5 * 47 + 0.5), abs=0.01)
    assert covered(Warp(48, 160, scale_y=1.5), pixels) == 1.0


def test_min_width_pads_both_sides():
    pixels = word(width=40)
    (moved,) = Warp(48, 40).sample([pixels], outline(pixels), min_width=100)
    ink = np.flatnonzero(moved.any(0))
    assert moved.shape == (48, 100)
    assert abs((100 - 1 - ink[-1]) - ink[0]) <= 12


def test_shrinking_keeps_the_mass_of_thin_strokes():
    pixels = np.zeros((48, 60), np.uint8)
    pixels[4:44, 10:50:8] = 255  # strokes one pixel wide
    (moved,) = Warp(48, 60, scale_x=0.5, scale_y=0.5).sample([pixels], outline(pixels))
    columns = moved.sum(0)
    assert moved.sum() * 4 / pixels.sum() == pytest.approx(1, abs=0.1)
    assert len(np.flatnonzero(columns > 0.5 * columns.max())) >= 5

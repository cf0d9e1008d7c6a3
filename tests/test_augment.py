"""Augmentation: the same word for the same key, every op legible, nothing clipped."""

import concurrent.futures

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htr.augment import GEOMETRY, LOOKS, OPS, augment, augment_seeded, generator

BLOBS = 6


def blobs(width: int = 120, height: int = 48) -> np.ndarray:
    """Four corners and two dots in the middle, far apart -> float32 (height, width): easy to count."""
    ink = np.zeros((height, width), np.float32)
    for y in (0, height - 4):
        for x in (0, width - 4):
            ink[y : y + 4, x : x + 4] = 1
    for x in (width // 3, 2 * width // 3):
        ink[height // 2 - 2 : height // 2 + 2, x : x + 4] = 1
    return ink


def count(ink: np.ndarray) -> int:
    return cv2.connectedComponents((ink > 0.1).astype(np.uint8), connectivity=8)[0] - 1


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_keeps_every_part_of_the_ink(name, strength):
    for seed in range(15):
        assert count(OPS[name](blobs(), generator(seed), strength=strength)) == BLOBS


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), width=st.integers(60, 400), strength=st.sampled_from([0.5, 1.0, 2.0]))
def test_all_geometry_together_keeps_every_part_of_the_ink(seed, width, strength):
    warped, mask = augment(
        blobs(width), generator(seed), strength=strength, mask=blobs(width) > 0.5, ops=tuple(GEOMETRY)
    )
    assert warped.shape[0] == 48
    assert count(warped) == BLOBS
    assert count(mask) == BLOBS


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 70),
    width=st.integers(1, 90),
    strength=st.floats(0, 2),
    full=st.booleans(),
)
def test_any_shape_gives_finite_ink_of_the_same_height(seed, height, width, strength, full):
    ink = (generator(seed).random((height, width)) > 0.5).astype(np.float32)
    ops = tuple(OPS) if full else None
    out, mask = augment(ink, generator(seed, 1), strength=strength, mask=ink, ops=ops)
    assert out.shape == mask.shape
    assert out.shape[0] == height
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("name", LOOKS)
def test_looks_change_pixels_but_keep_shape_and_ink(name):
    ink = blobs()
    outs = [OPS[name](ink, generator(seed)) for seed in range(15)]
    assert {out.shape for out in outs} == {ink.shape}
    assert min(out[ink > 0.5].mean() for out in outs) > 0.3
    assert any(not np.array_equal(out, ink) for out in outs)


def test_strength_zero_returns_the_same_bytes():
    ink = np.random.default_rng(0).random((48, 60)).astype(np.float32)  # not even multiples of 1/255
    out, mask = augment(ink, generator(1), strength=0, mask=ink > 0.5)
    assert out.tobytes() == ink.tobytes()
    np.testing.assert_array_equal(mask, ink > 0.5)


def test_input_is_left_alone():
    ink, mask = blobs(), blobs() > 0.5
    for seed in range(20):
        augment(ink, generator(seed), mask=mask, ops=tuple(OPS))
    np.testing.assert_array_equal(ink, blobs())
    np.testing.assert_array_equal(mask, blobs() > 0.5)


def test_result_holds_multiples_of_one_255th():
    out = augment(blobs(), generator(3), ops=tuple(OPS))
    np.testing.assert_array_equal(out, np.rint(out * 255).astype(np.uint8) / np.float32(255))


def test_uint8_ink_gives_the_same_picture_as_float():
    ink = blobs()
    wide = augment((ink * 255).astype(np.uint8), generator(4))
    assert wide.dtype == np.uint8
    np.testing.assert_array_equal(wide / np.float32(255), augment(ink, generator(4)))


def test_same_key_gives_the_same_word_in_any_order_and_thread():
    ink = blobs()
    keys = [(epoch, index) for epoch in range(3) for index in range(20)]
    forth = [augment_seeded(ink, 7, epoch=epoch, index=index) for epoch, index in keys]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        back = list(pool.map(lambda key: augment_seeded(ink, 7, epoch=key[0], index=key[1]), reversed(keys)))
    for one, other in zip(forth, reversed(back), strict=True):
        np.testing.assert_array_equal(one, other)


def test_seed_epoch_and_index_each_change_the_draws():
    draws = {generator(*key).random() for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]}
    assert len(draws) == 5


def test_mask_follows_the_geometry_and_ignores_rules():
    ink = blobs()
    for seed in range(10):
        out, mask = augment(ink, generator(seed), mask=ink > 0.5, ops=("shear", "rotate", "elastic", "rules"))
        plain = augment(ink, generator(seed), ops=("shear", "rotate", "elastic"))
        assert mask.dtype == bool
        assert (out >= plain - 1e-6).all()
        np.testing.assert_array_equal(mask, plain > 95.5 / 255)


def test_min_width_is_kept():
    ink = blobs(40)
    assert min(augment(ink, generator(seed), min_width=64).shape[1] for seed in range(30)) >= 64
    assert augment(ink, generator(0), min_width=64, ops=()).shape == (48, 64)


def test_blank_paper_stays_without_ink_under_geometry():
    assert augment(np.zeros((48, 30), np.float32), generator(0), ops=tuple(GEOMETRY)).max() == 0


def test_faint_ink_is_not_faded_further():
    ink = blobs() * np.float32(0.3)
    for name in ("fade", "contrast"):
        faintest = min(OPS[name](ink, generator(seed), strength=2)[ink > 0].mean() for seed in range(20))
        assert faintest > 0.1


def test_the_widest_ink_is_augmented_too():
    out = augment(blobs(4096, 64), generator(0), strength=2, ops=tuple(OPS))
    assert out.shape[0] == 64
    assert out.shape[1] > 2000


def test_epochs_differ():
    words = {augment_seeded(blobs(), 0, epoch=epoch, index=0).tobytes() for epoch in range(20)}
    assert len(words) == 20


@pytest.mark.parametrize(
    ("ink", "options", "match"),
    [
        (np.zeros((4, 5, 1), np.float32), {}, r"shape \(4, 5, 1\)"),
        (np.zeros((0, 5), np.float32), {}, "at least one pixel"),
        (blobs(), {"strength": -1}, "Strength -1"),
        (blobs(), {"strength": 3}, "Strength 3"),
        (blobs(), {"ops": ("shears",)}, "Unknown ops.*'shears'.*shear"),
        (blobs(), {"mask": np.zeros((2, 2), bool)}, r"mask of shape \(2, 2\)"),
    ],
)
def test_refusals_name_what_came(ink, options, match):
    with pytest.raises(ValueError, match=match):
        augment(ink, generator(0), **options)

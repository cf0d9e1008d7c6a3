"""Paper: the picture keeps the word, its mask follows, and every kind of desk occurs."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from htr import paper


@pytest.fixture
def word():
    """A bar and a dot, as ink (40, 120) uint8."""
    ink = np.zeros((40, 120), np.uint8)
    ink[18:22, 10:100] = 255
    ink[8:11, 60:63] = 255
    return ink


def desk(**changes):
    plain = dataclasses.replace(
        paper.new_desk(np.random.default_rng(0)),
        pen="black gel",
        ink=(20.0, 20.0, 20.0),
        cover=1.0,
        grain=0.0,
        paper=(255, 255, 255),
        rule="none",
        cleaned=False,
        photo=False,
        grey=False,
    )
    return dataclasses.replace(plain, **changes)


def test_the_picture_of_neat_ink_is_dark_where_the_ink_lies(word):
    image, ink = paper.photograph(word, np.random.default_rng(0), desk=desk(), strength=0.0)
    grey = image.mean(2)
    assert image.dtype == np.uint8 and image.shape[:2] == ink.shape
    assert grey[ink == 255].mean() < 120 < 200 < grey[ink == 0].mean()


def test_no_ink_is_lost_at_the_edges(word):
    for seed in range(60):
        image, ink = paper.photograph(word, np.random.default_rng(seed), desk=desk(photo=True), neighbour=word)
        assert (ink >= 64).sum() > 0.9 * (word >= 64).sum()
        assert image.shape[:2] == ink.shape


def test_only_the_word_itself_is_in_the_ink(word):
    """Rules, stains and a neighbour's strokes are in the picture; the ink that comes back does not know them."""
    for rule in paper.RULES:
        _, ink = paper.photograph(word, np.random.default_rng(3), desk=desk(rule=rule), neighbour=word, strength=0.0)
        assert (ink > 0).sum() == (word > 0).sum()


@pytest.mark.parametrize("rule", [rule for rule in paper.RULES if rule != "none"])
def test_rules_darken_the_paper(word, rule):
    ruled = desk(rule=rule, rule_cover=1.0, rule_colour=(40, 40, 40), spacing=12.0)
    shares = []
    for kind in (desk(), ruled):
        image, ink = paper.photograph(word, np.random.default_rng(1), desk=kind, strength=0.0)
        shares.append((image.mean(2)[ink == 0] < 150).mean())
    assert shares[0] == 0 < shares[1]


def test_a_pen_has_its_colour(word):
    red, ink = paper.photograph(word, np.random.default_rng(0), desk=desk(ink=(30.0, 30.0, 220.0)), strength=0.0)
    blue, green, last = red[ink == 255].mean(0)
    assert last > blue + 80 and last > green + 80


def test_a_grey_scan_has_one_channel(word):
    image, _ = paper.photograph(word, np.random.default_rng(0), desk=desk(grey=True))
    assert image.ndim == 2


def test_a_cleaned_scan_has_white_paper(word):
    cleaned = desk(paper=(190, 212, 226), cleaned=True)
    image, ink = paper.photograph(word, np.random.default_rng(6), desk=cleaned, strength=0.0)
    assert image[ink == 0].mean() > 240


def test_encoded_pictures_are_read_by_pillow(word):
    image, _ = paper.photograph(word, np.random.default_rng(0), desk=desk())
    read = np.asarray(Image.open(io.BytesIO(paper.encode(image, np.random.default_rng(1)))))[..., ::-1]
    assert read.shape == image.shape
    assert np.abs(read.astype(float) - image).mean() < 12


def test_every_pen_paper_and_rule_occurs_on_some_desk():
    desks = [paper.new_desk(np.random.default_rng(seed)) for seed in range(1500)]
    assert {d.pen for d in desks} == set(paper.PENS)
    assert {d.rule for d in desks} == set(paper.RULES)
    assert {d.paper for d in desks} == set(paper.PAPERS)
    assert {d.photo for d in desks} == {d.grey for d in desks} == {True, False}


def test_a_picture_wider_than_the_sheets_of_grain_is_made():
    image, _ = paper.photograph(np.full((300, 1500), 9, np.uint8), np.random.default_rng(0), desk=desk(grain=0.2))
    assert image.shape[0] >= 300 and image.shape[1] >= 1500

"""Pictures say what the numbers say."""

import numpy as np
import pytest

from htr import plotting
from htr.charset import Charset
from htr.transcriber import Character


def test_captions_know_accents_and_share_a_size():
    letters = {text: plotting._lettered(text) for text in ("e", "é", "ß", "?", "Ł", "Äg")}
    assert {ink.shape[0] for ink in letters.values()} == {16}
    assert not np.array_equal(letters["e"], letters["é"]) and not np.array_equal(letters["ß"], letters["?"])
    assert np.array_equal(letters["Ł"], letters["?"])  # a letter that the pen does not know


def test_a_long_caption_stays_in_its_place():
    page = np.asarray(plotting.sheet([np.zeros((8, 20), np.uint8)] * 2, ["m" * 60, ""], columns=2, cell=(100, 50)))
    assert (page[30:-1, 101:-1] == 255).all()


def test_a_sheet_wants_a_caption_for_each_ink():
    inks = [np.zeros((8, 20), np.uint8)] * 3
    assert plotting.sheet(inks, ["a", "b", "c"], columns=2, cell=(60, 50)).size == (120, 100)
    with pytest.raises(ValueError, match="2 captions came for 3 inks"):
        plotting.sheet(inks, ["a", "b"])


def test_a_strip_is_darkest_where_a_class_is_likeliest():
    logits = np.full((5, 4), -9.0)  # blank, end, a, b
    for frame, kind in enumerate((0, 2, 0, 0, 3)):
        logits[frame, kind] = 9
    page = np.asarray(plotting.strip(np.zeros((10, 50), np.float32), logits, Charset("ab"), zoom=2))
    rows = page[32::16][:3, 20:, 0].astype(int)  # the red of the rows blank, a, b
    darkest = [[bool(rows[row, frame * 20 + 8] < 60) for frame in range(5)] for row in range(3)]
    assert darkest == [
        [True, False, True, True, False],
        [False, True, False, False, False],
        [False, False, False, False, True],
    ]


def test_boxes_stand_where_characters_were_read():
    characters = [Character("a", 1.0, 10.0, 20.0), Character("b", 0.2, 20.0, 40.0), Character("c", 1.0, None, None)]
    page = np.asarray(plotting.places(np.zeros((10, 30), np.float32), characters, left=10, scale=1, zoom=2))
    assert page.shape == (38, 60, 3)
    assert tuple(page[10, 1]) == (0, 150, 40) and tuple(page[10, 21]) == (160, 30, 40)

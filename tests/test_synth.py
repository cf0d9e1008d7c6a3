"""Synthesis: what is drawn is what the label says, the mask is the ink, and the same seed gives the same bytes."""

import dataclasses
import io
import itertools
import time

import datasets
import numpy as np
import pytest
from PIL import Image, ImageFont

from htr import hand, synth
from htr.vocabulary import ALPHABET, LETTERS

FONTS = synth.stroke_fonts()
NEAT = hand.new_hand(np.random.default_rng(1), "print", strength=0.0)


def ink(text, font, seed=0):
    """The word in a hand that does not join, so that every stroke stays a thing of its own."""
    alone = dataclasses.replace(NEAT, joining=0.0, smooth=0)
    return synth.render(text, np.random.default_rng(seed), font=FONTS[font], hand=alone)


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_render_gives_ink_and_the_mask_of_it():
    pixels, mask = ink("word", "printed")
    assert pixels.dtype == np.float32 and mask.dtype == bool and pixels.shape == mask.shape
    assert pixels.min() == 0 and pixels.max() == 1
    assert np.array_equal(mask, pixels >= synth.INK / 255)
    assert 0.03 < mask.mean() < 0.5


@pytest.mark.parametrize("name", FONTS)
def test_every_character_of_the_alphabet_leaves_ink(name):
    assert FONTS[name].missing(ALPHABET) == ""
    for character in ALPHABET.replace(" ", ""):
        _, mask = ink(character, name)
        assert mask.sum() >= 4, character


@pytest.mark.parametrize("name", FONTS)
def test_a_letter_with_a_mark_is_not_the_plain_letter(name):
    font = FONTS[name]
    for marked, plain in zip("éèêëàâçîïôùûüÿäöÉÀÇÄÖÜ", "eeeeaaciiouuuyaoEACAOU", strict=True):
        for form, base in zip(font.glyphs(marked), font.glyphs(plain), strict=True):
            taller = np.ptp(form.points[:, 1]) > np.ptp(base.points[:, 1])
            assert taller or plain == "i", marked
    shapes = [np.concatenate([g.points for g in font.glyphs(c)]).tobytes() for c in LETTERS + "aceiouyACEIOUYsB"]
    assert len(set(shapes)) == len(shapes)


@pytest.mark.parametrize("name", FONTS)
def test_an_accent_is_drawn(name):
    plain, marked = (ink(text, name)[1] for text in "eé")
    assert marked.shape[0] > plain.shape[0]
    assert marked.sum() > plain.sum()


def test_more_letters_take_more_ink():
    sums = [ink("n" * count, "printed")[1].sum() for count in (1, 2, 4, 8)]
    assert all(b > 1.6 * a for a, b in itertools.pairwise(sums))


def test_a_space_leaves_a_gap():
    joint, apart = (ink(text, "printed")[1].any(0) for text in ("nn", "n n"))
    assert len(apart) > len(joint) + 0.3 * NEAT.x_height


def test_two_letters_of_one_word_are_never_the_same():
    careless = dataclasses.replace(NEAT, joining=0.0, jitter=0.05, wobble=0.05)
    shapes = {
        synth.render("e", np.random.default_rng(s), font=FONTS["printed"], hand=careless)[0].tobytes()
        for s in range(20)
    }
    assert len(shapes) == 20


def test_a_script_hand_joins_its_letters():
    parts = {}
    for joining in (0.0, 1.0):
        style = dataclasses.replace(NEAT, joining=joining)
        _, mask = synth.render("minimum", np.random.default_rng(3), font=FONTS["joined"], hand=style)
        empty = ~mask.any(0)
        inside = empty[np.flatnonzero(~empty)[0] : np.flatnonzero(~empty)[-1]]
        parts[joining] = inside.sum()
    assert parts[1.0] == 0 < parts[0.0]


@pytest.mark.parametrize("text", ["", "  "])
def test_render_refuses_a_text_without_ink(text):
    with pytest.raises(ValueError, match="The text is empty"):
        synth.render(text, np.random.default_rng(0), font=FONTS["printed"])


def test_render_refuses_what_the_font_lacks():
    with pytest.raises(ValueError, match="'жук' cannot be written in printed: it lacks 'жку'"):
        synth.render("жук", np.random.default_rng(0), font=FONTS["printed"])


def test_held_out_fonts_are_fonts_that_words_never_uses():
    assert set(synth.HELD_OUT_STROKE_FONTS) < set(FONTS)
    used = {sample["writer"].split("-")[0] for sample in synth.words(3600, seed=0)}
    assert used == set(FONTS) - set(synth.HELD_OUT_STROKE_FONTS)


def test_words_are_the_same_for_a_seed_and_others_for_another():
    first, again, other = (list(synth.words(30, seed=seed)) for seed in (4, 4, 5))
    assert first == again
    assert [s["text"] for s in first] != [s["text"] for s in other]
    assert list(synth.words(20, seed=4))[:12] == first[:12]


def test_words_give_images_masks_texts_and_writers():
    samples = list(synth.words(30, seed=1))
    assert len(samples) == 30
    for sample in samples:
        image, mask = picture(sample["image"]), picture(sample["mask"])
        assert image.shape[:2] == mask.shape
        assert set(np.unique(mask)) == {0, 255}
        assert sample["text"].strip() and set(sample["text"]) <= set(ALPHABET)
    assert len({sample["writer"] for sample in samples}) == 3


def test_the_mask_lies_on_the_ink_of_the_picture():
    """On plain paper the mask's pixels are the dark ones."""
    for sample in synth.words(24, seed=2, strength=0.0):
        grey = np.asarray(Image.open(io.BytesIO(sample["image"])).convert("L"), np.float32)
        mask = picture(sample["mask"]) > 127
        assert grey[mask].mean() < grey[~mask].mean() - 20


def test_a_lexicon_takes_the_place_of_the_vocabulary():
    texts = {sample["text"].lower() for sample in synth.words(60, seed=0, lexicon=["alpha", "beta"])}
    assert texts == {"alpha", "beta"}


def test_a_hand_of_block_capitals_has_its_label_in_capitals():
    samples = list(synth.words(2400, seed=0, lexicon=["grade", "berry"]))
    share = np.mean([sample["text"].isupper() for sample in samples])
    assert synth.BLOCK / 2 < share < 2 * synth.BLOCK
    mixed = [t for t in (s["text"] for s in samples) if not t.isupper() and not t.islower()]
    assert 0 < len(mixed) < 2 * synth.MIXED * len(samples)


def test_the_share_of_hands_that_write_capitals_alone_can_be_chosen():
    assert all(sample["text"] == "GRADE" for sample in synth.words(60, seed=0, lexicon=["grade"], capitals=1.0))
    assert not any(sample["text"].isupper() for sample in synth.words(600, seed=0, lexicon=["grade"], capitals=0.0))


def test_a_lexicon_that_no_font_can_write_is_refused():
    with pytest.raises(ValueError, match=r"None of 1,000 texts can be written in \w+"):
        list(synth.words(1, seed=0, lexicon=["жук"]))


def test_parquet_is_read_by_datasets(tmp_path):
    path = synth.write_parquet(tmp_path / "deep" / "words.parquet", 25, seed=3)
    table = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    expected = list(synth.words(25, seed=3))
    assert table["text"][:] == [sample["text"] for sample in expected]
    assert table["writer"][:] == [sample["writer"] for sample in expected]
    assert isinstance(table.features["image"], datasets.Image) and isinstance(table.features["mask"], datasets.Image)
    assert table[0]["mask"].size == table[0]["image"].size


def test_an_outline_font_writes_what_it_has_and_nothing_else(tmp_path):
    """Pillow's own font, embedded in the package, stands for a folder of fonts."""
    (tmp_path / "plain.ttf").write_bytes(ImageFont.load_default(20).font_bytes)
    font = synth.outline_fonts(tmp_path)["plain"]
    assert font.missing("Hello, eel!") == ""
    assert font.missing("éß") == "ßé", "this font draws a box for both"
    assert font.missing("漢a\U0010fffd") == "漢\U0010fffd"
    pixels, mask = synth.render("eel eel", np.random.default_rng(0), font=font)
    assert pixels.max() > 0.8 and mask.any()
    one, two = (synth.render("e", np.random.default_rng(seed), font=font)[0] for seed in (0, 1))
    assert one.shape != two.shape or not np.array_equal(one, two)
    samples = list(synth.words(24, seed=0, fonts={"plain": font}))
    assert {sample["writer"].split("-")[0] for sample in samples} == {"plain"}
    assert all(font.missing(sample["text"]) == "" for sample in samples)


def test_a_folder_without_fonts_and_a_broken_font_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.ttf, \.otf, \.woff file"):
        synth.outline_fonts(tmp_path)
    (tmp_path / "broken.woff").write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"broken\.woff cannot be opened as a font"):
        synth.outline_fonts(tmp_path)


def test_words_come_fast_enough():
    """A loose bound of processor time: about 1,300 a second were measured on a busy core."""
    list(synth.words(240, seed=0))
    start = time.process_time()
    list(synth.words(600, seed=1))
    assert 600 / (time.process_time() - start) > 150


def test_a_pen_is_lifted_after_capitals_that_a_joining_stroke_would_change():
    fonts = synth.stroke_fonts()
    for name in ("printed", "joined", "mingled", "hasty"):
        assert all(glyph.exit is None for letter in "FPTÎ" for glyph in fonts[name].glyphs(letter)[:1])
        assert all(glyph.exit for letter in "LZmé" for glyph in fonts[name].glyphs(letter)[:1])


def test_a_letter_that_ends_high_is_not_led_down_to_the_baseline():
    from htr.hand import _from_above

    upstroke = np.float32([[0.0, -0.2], [0.2, -0.4], [0.4, -0.7], [0.6, -1.0], [0.5, -0.5], [0.5, 0.0], [0.8, -0.1]])
    assert _from_above(upstroke)[0].tolist() == pytest.approx([0.4, -0.7])
    bowl = np.float32([[0.9, -0.9], [0.2, -0.5], [0.5, 0.0], [0.9, -0.9], [1.0, 0.0]])
    assert np.array_equal(_from_above(bowl), bowl)

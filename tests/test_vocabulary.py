"""Vocabulary: the mixture that the module claims, in the alphabet that it claims."""

import unicodedata
from collections import Counter

import numpy as np
import pytest

from htr import names
from htr.vocabulary import ALPHABET, KINDS, Vocabulary, ranked


@pytest.fixture(scope="module")
def texts():
    rng, source = np.random.default_rng(0), Vocabulary()
    return [source.text(rng) for _ in range(6000)]


def share(texts, condition):
    return sum(map(condition, texts)) / len(texts)


def test_the_shares_of_kinds_add_up_to_one():
    assert sum(KINDS.values()) == pytest.approx(1)


def test_texts_are_nfc_of_the_alphabet_and_leave_ink(texts):
    for text in texts:
        assert text == unicodedata.normalize("NFC", text) and text == text.strip() and text
        assert set(text) <= set(ALPHABET), text
        assert len(text) <= 60


def test_texts_mix_small_letters_capitals_figures_and_signs(texts):
    assert 0.4 < share(texts, str.islower) < 0.8
    assert 0.03 < share(texts, lambda t: t.isupper() and len(t) > 1) < 0.12
    assert 0.15 < share(texts, lambda t: t[0].isupper() and not t.isupper()) < 0.5
    assert 0.06 < share(texts, lambda t: any(c.isdigit() for c in t)) < 0.16
    assert 0.06 < share(texts, lambda t: " " in t) < 0.25
    assert 0.15 < share(texts, lambda t: not t.replace(" ", "").isalnum()) < 0.45
    assert share(texts, lambda t: "-" in t) > 0.03
    assert share(texts, lambda t: "straße" in t.lower()) > 0.01
    assert share(texts, lambda t: "€" in t or "$" in t or "£" in t) > 0.005


def test_the_whole_alphabet_occurs(texts):
    rng, source = np.random.default_rng(1), Vocabulary()
    seen = set().union(*texts, *(source.text(rng) for _ in range(20000)))
    assert set(ALPHABET) <= seen


def test_the_commonest_words_do_not_crowd_out_the_others(texts):
    (word, count), *_ = Counter(texts).most_common(1)
    assert count < 0.03 * len(texts), word
    assert len(set(texts)) > 0.6 * len(texts)


def test_frequent_words_come_before_rare_ones():
    words, bounds = ranked("en")
    assert words[0] == "the" and bounds[-1] == pytest.approx(1)
    assert np.all(np.diff(bounds, n=2) <= 1e-12)


def test_a_language_gives_its_own_words():
    rng = np.random.default_rng(0)
    german = " ".join(Vocabulary(["de"]).word(rng) for _ in range(2000))
    assert "ß" in german or "ü" in german
    assert "é" in " ".join(Vocabulary(["fr"]).word(rng) for _ in range(2000))
    assert set("éßü").isdisjoint("".join(Vocabulary(["en"]).word(rng) for _ in range(200)))


def test_the_same_generator_gives_the_same_texts():
    one, two = (Vocabulary() for _ in range(2))
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    assert [one.text(first) for _ in range(100)] == [two.text(second) for _ in range(100)]


def test_a_lexicon_is_normalised_and_drawn_from_alone():
    source, rng = Vocabulary(lexicon=["e\u0301te\u0301"]), np.random.default_rng(0)
    assert {source.text(rng) for _ in range(20)} == {"été"}


def test_unknown_languages_and_empty_lexicons_are_refused():
    with pytest.raises(ValueError, match=r"Languages \['xx'\] are not known: choose among en, fr, de"):
        Vocabulary(["en", "xx"])
    with pytest.raises(ValueError, match="The lexicon holds no word"):
        Vocabulary(lexicon=[])


def test_months_are_twelve_in_every_language():
    assert {len(months) for months in names.MONTHS.values()} == {12}

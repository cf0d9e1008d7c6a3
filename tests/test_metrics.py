import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htr import metrics

texts = st.text(alphabet="abé’ .", max_size=8)


def levenshtein(a, b):
    """The textbook table, to hold the fast one against."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row, above = [i], row
        for j, y in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@given(texts, texts)
def test_edits_are_the_textbook_distance(reference, hypothesis):
    assert metrics.edits(reference, hypothesis) == levenshtein(reference, hypothesis)


@pytest.mark.parametrize("length", [63, 64, 65, 129, 641, 700])
def test_edits_stay_right_where_the_machine_words_of_the_fast_algorithm_end(length):
    draw = random.Random(length)
    reference, hypothesis = ("".join(draw.choices("ab ", k=length)) for _ in range(2))
    assert metrics.edits(reference, hypothesis) == levenshtein(reference, hypothesis)


@given(texts, texts, texts)
def test_edits_are_a_metric(a, b, c):
    assert metrics.edits(a, b) == metrics.edits(b, a)
    assert (metrics.edits(a, b) == 0) == (a == b)
    assert metrics.edits(a, c) <= metrics.edits(a, b) + metrics.edits(b, c)


def test_cer_sums_before_it_divides():
    # 1 of 1 and 0 of 9 characters: the mean of the words' rates would be 0.5
    assert metrics.cer(["a", "bcdefghij"], ["x", "bcdefghij"]) == 0.1


def test_accents_typed_in_two_ways_are_one_letter():
    composed, decomposed = "été", unicodedata.normalize("NFD", "été")
    assert metrics.cer([composed], [decomposed]) == 0
    assert metrics.cer([decomposed], ["ete"]) == 2 / 3
    assert metrics.wer([decomposed], [composed]) == 0
    assert metrics.word_accuracy([decomposed], [composed]) == 1


def test_what_is_read_into_an_empty_reference_counts_as_insertions():
    assert metrics.cer(["", "abc"], ["xy", "abc"]) == 2 / 3
    assert metrics.wer(["", "a b c"], ["x y", "a b c"]) == 2 / 3


def test_case_and_punctuation_count_in_the_plain_rates():
    assert metrics.cer(["Le."], ["le"]) == 2 / 3


def test_two_texts_are_a_set_of_one():
    assert metrics.cer("abcd", "abed") == 0.25
    with pytest.raises(ValueError, match="two lists of the same length"):
        metrics.cer("abcd", ["abed"])


def test_wer_counts_words_between_white_space():
    assert metrics.wer(["the  old\thouse by"], ["the cold house"]) == 0.5
    assert metrics.word_edits("a b c", "b c a") == 2


def test_wer_tells_words_apart_that_hash_alike():
    # lists are compared by hash: as numbers -1 and -2 would be the same word
    assert metrics.wer(["-1"], ["-2"]) == 1


@pytest.mark.parametrize("rate", [metrics.cer, metrics.wer, metrics.word_accuracy])
def test_rates_refuse_an_empty_set_and_unpaired_texts(rate):
    with pytest.raises(ValueError, match="No references"):
        rate([], [])
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        rate(["a", "b"], ["a"])


@pytest.mark.parametrize("rate, unit", [(metrics.cer, "character"), (metrics.wer, "word")])
def test_rates_refuse_references_without_content(rate, unit):
    with pytest.raises(ValueError, match=f"no {unit}"):
        rate(["", ""], ["a", ""])


def test_plain_drops_case_and_punctuation_only():
    assert metrics.plain("«L’Été», 3+4 = 7 €!") == "lété 3+4 = 7 €"
    assert metrics.plain("...") == ""


def test_interval_agrees_with_drawing_one_by_one():
    edits, lengths = np.array([0, 1, 0, 4, 2, 0]), np.array([3, 4, 5, 6, 2, 9])
    writers = ["a", "a", "b", "c", "b", "d"]
    draw = random.Random(1)
    rows = {writer: [i for i, name in enumerate(writers) if name == writer] for writer in writers}
    rates = []
    for _ in range(4000):
        drawn = [i for writer in draw.choices(sorted(rows), k=len(rows)) for i in rows[writer]]
        rates.append(edits[drawn].sum() / lengths[drawn].sum())
    expected = np.percentile(rates, [2.5, 97.5])
    assert metrics.interval(edits, lengths, writers, samples=4000) == pytest.approx(expected, abs=0.03)


def test_interval_by_writer_is_wider_where_writers_differ():
    edits, writers = [0] * 50 + [1] * 50, [i // 10 for i in range(100)]
    by_word = metrics.interval(edits, [2] * 100)
    by_writer = metrics.interval(edits, [2] * 100, writers)
    assert by_writer[0] < by_word[0] < 0.25 < by_word[1] < by_writer[1]


def test_interval_repeats_with_its_seed_and_narrows_with_its_level():
    edits, lengths = [0, 1, 2, 0, 3], [4, 5, 6, 7, 8]
    assert metrics.interval(edits, lengths, seed=3) == metrics.interval(edits, lengths, seed=3)
    wide, narrow = metrics.interval(edits, lengths), metrics.interval(edits, lengths, level=0.5)
    assert wide[0] <= narrow[0] < narrow[1] <= wide[1]


def test_a_single_writer_does_not_make_an_interval_certain():
    low, high = metrics.interval([0, 1, 0, 1], [2, 2, 2, 2], ["w"] * 4)
    assert low < 0.25 < high


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.sampled_from("xyz")), min_size=1, max_size=12))
def test_interval_lies_within_the_rates_of_its_rows(rows):
    edits, lengths, writers = zip(*rows, strict=True)
    low, high = metrics.interval(edits, lengths, writers, samples=50)
    rates = [e / n for e, n in zip(edits, lengths, strict=True)]
    assert min(rates) - 1e-12 <= low <= high <= max(rates) + 1e-12


def test_interval_refuses_what_has_no_rate():
    with pytest.raises(ValueError, match="No rows"):
        metrics.interval([], [])
    with pytest.raises(ValueError, match="All lengths are 0"):
        metrics.interval([1], [0])
    with pytest.raises(ValueError, match="2, 1 rows"):
        metrics.interval([1, 2], [3])
    with pytest.raises(ValueError, match="1 groups came for 2 rows"):
        metrics.interval([1, 2], [3, 4], ["w"])
    with pytest.raises(ValueError, match=r"Level 95 .* 0\.95"):
        metrics.interval([1, 2], [3, 4], level=95)


def test_paired_sees_a_difference_that_single_intervals_hide():
    # writers differ far more than readers do; b has one edit more with every writer
    a = np.array([0, 10, 20, 30, 40, 50])
    lengths, writers = [100] * 6, list("uvwxyz")
    difference, low, high = metrics.paired(a, a + 1, lengths, writers)
    assert (difference, low, high) == pytest.approx((-0.01, -0.01, -0.01))
    assert metrics.interval(a, lengths, writers)[1] > metrics.interval(a + 1, lengths, writers)[0]


def test_paired_of_a_reader_with_itself_is_zero():
    assert metrics.paired([1, 2], [1, 2], [5, 5]) == (0, 0, 0)


def test_calibration_error_by_hand():
    # bin 0.2..0.4: mean 0.3, none right; bin 0.8..1: mean 0.9, half right: (2 * 0.3 + 2 * 0.4) / 4
    confidences, correct = [0.25, 0.35, 0.85, 0.95], [False, False, True, False]
    assert metrics.expected_calibration_error(confidences, correct, bins=5) == pytest.approx(0.35)
    assert metrics.expected_calibration_error([1.0, 0.0], [True, False]) == 0


def test_calibration_error_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        metrics.expected_calibration_error([1.5], [True])
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        metrics.expected_calibration_error([float("nan")], [True])
    with pytest.raises(ValueError, match="No rows"):
        metrics.expected_calibration_error([], [])
    with pytest.raises(ValueError, match="0 bins"):
        metrics.expected_calibration_error([0.5], [True], bins=0)

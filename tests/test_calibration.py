"""Logits whose honesty is known: the truth is drawn from them, frame by frame, so that P(right) is the confidence."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htr import metrics
from htr.calibration import (
    calibration_error,
    confidences_at,
    cross_temperatures,
    fit_temperature,
    rejection,
    reliability,
)
from htr.decoding import best_paths, spellings

CLASSES = 6


def honest(words: int, *, seed: int = 0) -> tuple[list[np.ndarray], list[list[int]]]:
    """Logits (frames, classes) of words, and reference ids drawn from them: what CTC at temperature 1 promises."""
    rng = np.random.default_rng(seed)
    batch, references = [], []
    for _ in range(words):
        logits = rng.normal(0, 1.5, (rng.integers(1, 6), CLASSES))
        logits[np.arange(len(logits)), rng.integers(0, CLASSES, len(logits))] += rng.uniform(2, 7)
        logits[:, 1] = -50  # END is no answer of CTC
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        path = [int(rng.choice(CLASSES, p=row)) for row in p]
        batch.append(logits)
        references.append([c for c, _ in itertools.groupby(path) if c != 0])
    return batch, references


@pytest.fixture(scope="module")
def words():
    return honest(3000)


def right(batch, references) -> list[bool]:
    return [reading.ids == ids for reading, ids in zip(best_paths(batch), references, strict=True)]


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_factor_that_made_the_logits_dishonest(words, factor):
    batch, references = words
    assert fit_temperature([factor * logits for logits in batch], references) == pytest.approx(factor, rel=0.08)


def test_reference_ids_and_bools_give_the_same_temperature(words):
    batch, references = words[0][:300], words[1][:300]
    assert fit_temperature(batch, references) == fit_temperature(batch, right(batch, references))


def test_temperature_mends_the_calibration_error_of_words_it_has_not_seen(words):
    batch, references = [3 * logits for logits in words[0]], words[1]
    correct = right(batch, references)
    before = calibration_error(confidences_at(1.0, batch), correct)
    temperatures = cross_temperatures(batch, correct)
    assert len(np.unique(temperatures)) == 2 and temperatures == pytest.approx(3, rel=0.1)
    after = [float(confidences_at(t, [logits])[0]) for t, logits in zip(temperatures, batch, strict=True)]
    assert before > 0.15 and calibration_error(after, correct) < 0.03


def test_temperature_changes_no_text_and_1_changes_nothing(words):
    batch = words[0][:100]
    plain, warm = best_paths(batch), best_paths([logits / 4 for logits in batch])
    assert [reading.ids for reading in plain] == [reading.ids for reading in warm]
    assert confidences_at(1.0, batch) == pytest.approx([reading.confidence for reading in plain])
    assert confidences_at(4.0, batch) == pytest.approx([reading.confidence for reading in warm])


def test_temperature_serves_spelled_words_too():
    rng = np.random.default_rng(1)
    batch, correct = [], []
    for _ in range(2000):
        logits = rng.normal(0, 1, (2, 4)) + np.array([[-60, -60, 2, 0], [-60, 3, 0, 0]])
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        path = [int(rng.choice(4, p=row)) for row in p]
        truth = path[: path.index(1)] if 1 in path else path
        batch.append(2 * logits)
        correct.append(spellings([logits])[0].ids == truth)
    assert fit_temperature(batch, correct, decode=spellings) == pytest.approx(2, rel=0.2)


def test_one_writer_is_never_on_both_sides_of_a_cross_fit(words):
    batch, references = words[0][:600], words[1][:600]
    groups = [f"w{i % 7}" for i in range(600)]
    temperatures = cross_temperatures(batch, references, groups)
    assert all(len({t for t, g in zip(temperatures, groups, strict=True) if g == name}) == 1 for name in set(groups))
    first = [i for i in range(600) if temperatures[i] != temperatures[0]]
    assert temperatures[0] == fit_temperature([batch[i] for i in first], [references[i] for i in first])


def test_what_no_temperature_explains_is_refused(words):
    batch = words[0][:4]
    with pytest.raises(ValueError, match="All 4 words were read right.*both kinds"):
        fit_temperature(batch, [True] * 4)
    with pytest.raises(ValueError, match="All 4 words were read wrong"):
        fit_temperature(batch, [[], [], [2] * 9, [3] * 9])
    with pytest.raises(ValueError, match="3 references came for the logits of 4 words"):
        fit_temperature(batch, [True] * 3)
    with pytest.raises(ValueError, match="No words"):
        fit_temperature([], [])
    with pytest.raises(ValueError, match="1 groups of words came, at least 2"):
        cross_temperatures(batch, [True, False, True, False], ["w"] * 4)
    with pytest.raises(ValueError, match="2 groups came for 4 words"):
        cross_temperatures(batch, [True, False, True, False], ["v", "w"])
    for temperature in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0"):
            confidences_at(temperature, batch)


def test_bins_hold_equally_many_words_the_least_sure_first():
    bins = reliability([0.99, 0.2, 0.97, 0.98, 0.96, 0.4], [True, False, True, False, True, True], bins=3)
    assert [b.words for b in bins] == [2, 2, 2]
    assert [b.confidence for b in bins] == pytest.approx([0.3, 0.965, 0.985])
    assert [b.accuracy for b in bins] == pytest.approx([0.5, 1, 0.5])
    assert [b.words for b in reliability([0.1, 0.2], [True, False], bins=10)] == [1, 1]


def test_calibration_error_by_hand():
    assert calibration_error([0.9] * 10, [True] * 9 + [False]) == pytest.approx(0)
    assert calibration_error([1.0, 1.0, 1.0, 1.0], [True, False, False, False], bins=2) == pytest.approx(0.75)
    # equal width would put these four into one bin, and call them honest
    sure, true = [0.91, 0.92, 0.98, 0.99], [True, True, True, False]
    assert calibration_error(sure, true, bins=2) == pytest.approx((2 * 0.085 + 2 * 0.485) / 4)
    assert metrics.expected_calibration_error(sure, true) < calibration_error(sure, true, bins=2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30), st.data())
def test_the_order_of_the_words_has_no_influence(rows, data):
    shuffled = data.draw(st.permutations(rows))
    (a, b), (c, d) = zip(*rows, strict=True), zip(*shuffled, strict=True)
    assert calibration_error(a, b) == pytest.approx(calibration_error(c, d))
    lengths = [1] * len(rows)
    assert rejection(a, b, lengths).cer == pytest.approx(rejection(c, d, lengths).cer)
    assert 0 <= calibration_error(a, b) <= 1


def test_rejection_by_hand():
    curve = rejection([0.9, 0.1, 0.5, 0.7], [0, 3, 1, 0], [4, 3, 3, 5])
    assert curve.kept.tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.cer == pytest.approx([0, 0, 1 / 12, 4 / 15])
    assert curve.area == pytest.approx((1 / 12 + 4 / 15) / 4)
    assert (curve.at(1.0), curve.at(0.5), curve.at(0)) == pytest.approx((4 / 15, 0, 0))
    assert curve.at(0.51) == pytest.approx(1 / 12)


def test_words_in_no_order_have_the_area_of_the_cer():
    curve = rejection([0.5] * 8, [1, 0, 0, 2, 0, 0, 0, 1], [5, 4, 3, 2, 6, 7, 8, 5])
    assert curve.area == pytest.approx(4 / 40) and curve.cer == pytest.approx([0.1] * 8)


def test_an_empty_reference_that_is_surest_has_no_rate_yet():
    assert rejection([1.0, 0.5], [0, 1], [0, 2]).cer == pytest.approx([0, 0.5])


def test_what_is_no_confidence_is_refused():
    with pytest.raises(ValueError, match="give probabilities, not logits"):
        calibration_error([1.2], [True])
    with pytest.raises(ValueError, match="0 bins"):
        reliability([0.2], [True], bins=0)
    with pytest.raises(ValueError, match="2, 1 words came"):
        calibration_error([0.2, 0.3], [True])
    with pytest.raises(ValueError, match="No words"):
        rejection([], [], [])
    with pytest.raises(ValueError, match="All lengths are 0"):
        rejection([0.5], [1], [0])
    with pytest.raises(ValueError, match="from 0 to 1"):
        rejection([0.5], [1], [1]).at(1.5)

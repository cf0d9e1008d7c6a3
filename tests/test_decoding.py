import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from htr.decoding import CHUNK, Reading, best_path, best_paths, spelling, spellings

A, B = 2, 3
small = st.integers(0, 5).flatmap(lambda frames: arrays(np.float64, (frames, 4), elements=st.floats(-6, 6)))


def peaks(*path, classes=4, height=5.0):
    """A path of class ids -> logits (frames, classes) that say so plainly."""
    return np.eye(classes, dtype=np.float32)[list(path)].reshape(len(path), classes) * height


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def collapse(path):
    return [c for c, _ in itertools.groupby(path) if c != 0]


def text_probability(logits, ids):
    """The sum over all paths, one by one."""
    p = softmax(logits)
    paths = itertools.product(range(logits.shape[1]), repeat=len(logits))
    return sum(np.prod([p[t, c] for t, c in enumerate(path)]) for path in paths if collapse(path) == list(ids))


PLAIN_PATHS = [
    ((0, A, A, 0, B, 0), [A, B]),
    ((A, B, A), [A, B, A]),
    ((A, 0, A, A), [A, A]),  # doubled: a blank in between
    ((A, A, A, A), [A]),  # one long letter
    ((0, 0, 0), []),
]


@pytest.mark.parametrize("path, ids", PLAIN_PATHS)
def test_best_path_merges_repeats_and_keeps_doubled_letters(path, ids):
    assert best_path(peaks(*path)).ids == ids


@settings(max_examples=60, deadline=None)
@given(small)
def test_best_path_is_the_likeliest_of_all_paths(logits):
    # END is no answer here, so paths run over the other three classes
    paths = itertools.product((0, A, B), repeat=len(logits))
    likeliest = max(paths, key=lambda path: sum(logits[t, c] for t, c in enumerate(path)))
    score = sum(logits[t, c] for t, c in enumerate(likeliest))
    found = [
        path
        for path in itertools.product((0, A, B), repeat=len(logits))
        if np.isclose(sum(logits[t, c] for t, c in enumerate(path)), score)
    ]
    assert best_path(logits).ids in [collapse(path) for path in found]


@settings(max_examples=60, deadline=None)
@given(small)
def test_confidence_of_a_word_is_the_sum_over_all_its_alignments(logits):
    reading = best_path(logits)
    assert reading.confidence == pytest.approx(text_probability(logits, reading.ids), abs=1e-9)


def test_confidence_of_a_character_is_the_best_of_its_frames():
    logits = np.log([[0.1, 0.1, 0.8], [0.3, 0.1, 0.6], [0.9, 0.05, 0.05], [0.2, 0.1, 0.7]])
    assert best_path(logits).confidences == pytest.approx([0.8, 0.7])


def test_a_faint_letter_that_was_skipped_lowers_the_confidence():
    reading = best_path(np.log([[0.01, 0.01, 0.98], [0.51, 0.01, 0.48]]))
    sure = best_path(np.log([[0.01, 0.01, 0.98], [0.97, 0.01, 0.02]]))
    assert reading.ids == sure.ids == [2]
    empty = best_path(np.log([[0.51, 0.01, 0.48]]))
    assert (empty.ids, empty.confidence) == ([], pytest.approx(0.51))


@given(small)
def test_spans_share_out_all_frames_in_order(logits):
    reading = best_path(logits)
    if reading.ids:
        lefts, rights = zip(*reading.spans, strict=True)
        assert (lefts[0], rights[-1]) == (0, len(logits))
        assert rights[:-1] == lefts[1:]
        assert all(left < right for left, right in reading.spans)
    else:
        assert reading.spans == []


def test_borders_lie_midway_between_peaks():
    assert best_path(peaks(0, A, 0, 0, B, B, 0)).spans == [(0, 3), (3, 7)]
    assert best_path(peaks(A, B)).spans == [(0, 1), (1, 2)]


def test_no_frames_read_as_no_text_for_certain():
    nothing = Reading(ids=[], confidences=[], spans=[], confidence=1.0)
    assert best_path(np.zeros((0, 4), np.float32)) == nothing
    assert spelling(np.zeros((0, 4), np.float32)) == nothing


@pytest.mark.parametrize("decode", [best_path, spelling])
@given(small)
def test_a_reading_has_no_blank_and_no_end_and_one_entry_a_character(decode, logits):
    reading = decode(logits)
    assert all(i >= 2 for i in reading.ids)
    assert len(reading.ids) == len(reading.confidences) == len(reading.spans)
    assert all(0 <= confidence <= 1 for confidence in [*reading.confidences, reading.confidence])


@pytest.mark.parametrize("one, many", [(best_path, best_paths), (spelling, spellings)])
def test_a_word_reads_the_same_alone_and_among_others(one, many):
    draw = np.random.default_rng(0)
    batch = [draw.normal(scale=4, size=(frames, 6)) for frames in draw.integers(0, 12, CHUNK + 40)]
    batch[0] = batch[0][:0]
    batch[5] = peaks(2, 2, classes=6).astype(float)
    batch[6] = peaks(2, 3, classes=6).astype(float)  # the same letter across the border of two words
    for alone, among in zip(map(one, batch), many(batch), strict=True):
        assert (alone.ids, alone.spans) == (among.ids, among.spans)
        assert among.confidences == pytest.approx(alone.confidences)
        assert among.confidence == pytest.approx(alone.confidence)


@pytest.mark.parametrize("decode", [best_paths, spellings])
def test_decoding_leaves_the_logits_alone(decode):
    logits = peaks(A, 0, 1, B)
    before = logits.copy()
    decode([logits])
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("decode", [best_path, spelling])
@given(small, st.floats(-50, 50))
def test_a_constant_on_all_logits_changes_no_confidence(decode, logits, constant):
    a, b = decode(logits), decode(softmax_log(logits + constant))
    if a.ids == b.ids:  # rounding may decide a tie otherwise
        assert a.confidence == pytest.approx(b.confidence, abs=1e-6)


def softmax_log(logits):
    return np.log(softmax(logits - logits.max(axis=1, keepdims=True, initial=-np.inf)) + 1e-300)


def test_spelling_reads_up_to_end():
    reading = spelling(peaks(B, A, A, 1, B, A))
    assert (reading.ids, reading.spans) == ([B, A, A], [None, None, None])
    p = np.exp(5) / (np.exp(5) + 3)
    assert reading.confidences == pytest.approx([p] * 3)
    assert reading.confidence == pytest.approx(p**4)  # END's share included, what follows left out


def test_spelling_without_end_reads_everything():
    reading = spelling(peaks(B, A))
    assert reading.ids == [B, A]
    assert reading.confidence == pytest.approx((np.exp(5) / (np.exp(5) + 3)) ** 2)


def test_spelling_that_ends_at_once_is_empty():
    reading = spelling(peaks(1, A))
    assert (reading.ids, reading.confidence) == ([], pytest.approx(np.exp(5) / (np.exp(5) + 3)))


def test_spelling_takes_the_next_best_class_for_a_blank():
    assert spelling(np.array([[9.0, 0, 0, 1], [0, 5, 0, 0]])).ids == [B]


def test_half_precision_logits_are_read_in_single_precision():
    assert best_path(peaks(A, 0, B).astype(np.float16)).ids == [A, B]
    assert best_path(np.eye(4, dtype=int)[[A, 0, B]]).ids == [A, B]


def test_impossible_classes_may_have_minus_infinity():
    with np.errstate(divide="ignore"):
        reading = best_path(np.log(np.eye(4)[[A, 0, A]]))
    assert (reading.ids, reading.confidence) == ([A, A], 1.0)


@pytest.mark.parametrize("decode", [best_path, spelling])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_logits_are_refused(decode, bad):
    logits = peaks(A, B)
    logits[1, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        decode(logits)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(frames, classes\)"):
        best_path(np.zeros(shape))
    with pytest.raises(ValueError, match="same number of classes"):
        best_paths([np.zeros((2, 4)), np.zeros((2, 5))])


def test_confidence_of_long_lines_underflows_to_zero_and_no_further():
    reading = best_path(np.zeros((900, 90), np.float32))
    assert (reading.ids, reading.confidence) == ([], 0.0)


def test_confidence_is_the_loss_that_training_minimises():
    import keras  # slow to import, and nothing else here needs it

    logits = np.random.default_rng(1).normal(scale=3, size=(9, 5)).astype(np.float32)
    reading = best_path(logits)
    loss = keras.ops.nn.ctc_loss(
        np.array([reading.ids], np.int32), logits[None], np.array([len(reading.ids)]), np.array([9]), mask_index=0
    )
    assert np.exp(-float(loss[0])) == pytest.approx(reading.confidence, rel=1e-4)

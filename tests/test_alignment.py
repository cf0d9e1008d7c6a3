"""Alignments against every path there is; the forward sum against the loss that training minimises."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from htr.alignment import Alignment, best_alignment, best_alignments, forward, forwards, word_gaps
from htr.decoding import CHUNK, best_paths

A, B = 2, 3
scores = st.floats(-6, 6) | st.sampled_from([0.0, 1.0])  # whole numbers, so that alignments tie
small = st.integers(0, 5).flatmap(lambda frames: arrays(np.float64, (frames, 4), elements=scores))
texts = st.lists(st.sampled_from([A, B]), max_size=3)


def peaks(*path, classes=4, height=5.0):
    """A path of class ids -> logits (frames, classes) that say so plainly."""
    return np.eye(classes, dtype=np.float32)[list(path)].reshape(len(path), classes) * height


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def paths_of(logits, ids):
    """Every path that spells ids -> its log-probability."""
    scores = log_softmax(logits)
    paths = itertools.product(range(logits.shape[1]), repeat=len(logits))
    spelled = [path for path in paths if [c for c, _ in itertools.groupby(path) if c != 0] == list(ids)]
    return {path: sum(scores[t, c] for t, c in enumerate(path)) for path in spelled}


def path_of(alignment, ids, frames):
    path = [0] * frames
    for (first, stop), character in zip(alignment.peaks, ids, strict=True):
        path[first:stop] = [character] * (stop - first)
    return tuple(path)


@settings(max_examples=300, deadline=None)
@given(small, texts)
def test_the_best_alignment_is_the_likeliest_of_all_paths(logits, ids):
    paths = paths_of(logits, ids)
    if not paths:
        with pytest.raises(ValueError, match="frames, the logits have"):
            best_alignment(logits, ids)
        return
    found = best_alignment(logits, ids)
    assert found.log_best == pytest.approx(max(paths.values()), abs=1e-9)
    assert paths[path_of(found, ids, len(logits))] == pytest.approx(found.log_best, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(small, texts)
def test_the_forward_sum_is_over_all_paths(logits, ids):
    paths = paths_of(logits, ids)
    expected = np.logaddexp.reduce(list(paths.values())) if paths else -np.inf
    assert forward(logits, ids) == pytest.approx(expected, abs=1e-9)
    if paths:
        assert best_alignment(logits, ids).log_text == forward(logits, ids)


@given(small, texts)
def test_spans_share_out_all_frames_around_their_peaks(logits, ids):
    if not ids or not paths_of(logits, ids):
        return
    found = best_alignment(logits, ids)
    lefts, rights = zip(*found.spans, strict=True)
    assert (lefts[0], rights[-1]) == (0, len(logits)) and rights[:-1] == lefts[1:]
    for (left, right), (first, stop) in zip(found.spans, found.peaks, strict=True):
        assert left <= first < stop <= right


def test_borders_lie_midway_between_peaks():
    found = best_alignment(peaks(0, A, 0, 0, B, B, 0), [A, B])
    assert found.peaks == [(1, 2), (4, 6)]
    assert found.spans == [(0, 3), (3, 7)]


def test_a_blank_parts_equal_letters():
    assert best_alignment(peaks(A, A, A, A), [A, A]).peaks in ([(0, 1), (2, 4)], [(0, 2), (3, 4)])
    assert best_alignment(peaks(A, A, 0, A), [A, A]).peaks == [(0, 2), (3, 4)]
    assert best_alignment(peaks(A, B, A), [A, B, A]).peaks == [(0, 1), (1, 2), (2, 3)]


def test_of_equal_alignments_it_is_always_the_same_one():
    logits = np.zeros((6, 4))
    first = best_alignment(logits, [A, B])
    assert first.log_best == pytest.approx(6 * np.log(1 / 4))
    assert [best_alignment(logits, [A, B]), *best_alignments([logits] * 3, [[A, B]] * 3)] == [first] * 4


def test_confidence_of_a_character_is_the_best_of_its_frames():
    logits = np.log([[0.1, 0.1, 0.8], [0.3, 0.1, 0.6], [0.9, 0.05, 0.05], [0.2, 0.1, 0.7]])
    assert best_alignment(logits, [A, A]).confidences == pytest.approx([0.8, 0.7])


def test_a_text_that_is_not_there_has_little_confidence():
    logits = peaks(A, 0, B)
    assert min(best_alignment(logits, [A, B]).confidences) > 0.95
    assert best_alignment(logits, [B, A]).confidences == pytest.approx([np.exp(0) / (np.exp(5) + 3)] * 2)


def test_the_empty_text_is_all_blanks():
    logits = np.log([[0.5, 0.1, 0.4], [0.3, 0.1, 0.6]])
    assert best_alignment(logits, []) == Alignment([], [], [], pytest.approx(np.log(0.15)), pytest.approx(np.log(0.15)))
    assert best_alignment(np.zeros((0, 4)), []) == Alignment([], [], [], 0.0, 0.0)
    assert forwards([], []).shape == (0,)


def test_a_text_that_cannot_fit_is_refused_and_has_probability_0():
    with pytest.raises(ValueError, match=r"ids \[2, 2\] need 3 frames, the logits have 2; give a wider image"):
        best_alignment(peaks(A, A), [A, A])
    with pytest.raises(ValueError, match=r"ids \[3\] need 1 frames, the logits have 0"):
        best_alignments([peaks(A), np.zeros((0, 4))], [[A], [B]])
    assert forwards([peaks(A, A), np.zeros((0, 4))], [[A, A], [B]]).tolist() == [-np.inf, -np.inf]


def test_what_a_reader_reads_aligns_where_it_was_read():
    draw = np.random.default_rng(0)
    batch = [draw.normal(scale=8, size=(frames, 6)) for frames in draw.integers(0, 20, CHUNK + 40)]
    readings = best_paths(batch)
    for reading, found in zip(readings, best_alignments(batch, [r.ids for r in readings]), strict=True):
        assert found.spans == reading.spans
        assert found.confidences == pytest.approx(reading.confidences)
        assert np.exp(found.log_text) == pytest.approx(reading.confidence)


def test_a_word_aligns_the_same_alone_and_among_others():
    draw = np.random.default_rng(1)
    batch = [draw.normal(size=(frames, 5)).astype(np.float32) for frames in draw.integers(9, 30, 40)]
    ids = [draw.integers(2, 5, length) for length in draw.integers(0, 6, 40)]
    among = best_alignments(batch, ids)
    assert among == [best_alignment(*pair) for pair in zip(batch, ids, strict=True)]
    assert forwards(batch, ids).tolist() == [alignment.log_text for alignment in among]
    assert forwards(np.stack([batch[0]] * 3), [ids[0]] * 3).tolist() == [among[0].log_text] * 3


def test_many_texts_on_one_image_are_told_apart():
    logits = peaks(A, 0, B)
    scores = forwards([logits] * 4, [[A, B], [A], [], [B, A]])
    assert scores.argmax() == 0
    assert np.exp(scores).sum() <= 1


def test_unlikely_texts_do_not_underflow():
    logits = peaks(*[0] * 900, height=40.0)
    scores = forwards([logits] * 3, [[A] * 30, [A] * 60, [B] * 60])
    assert scores[1] < scores[0] < -1000 and scores[1] == scores[2]
    found = best_alignment(logits, [A] * 60)
    assert found.log_best == pytest.approx(-60 * 40)
    assert found.log_best < found.log_text < -2000


def test_impossible_classes_may_have_minus_infinity():
    with np.errstate(divide="ignore"):
        logits = np.log(np.eye(4)[[A, 0, A]])
    assert best_alignment(logits, [A, A]) == Alignment([(0, 1), (2, 3)], [(0, 1), (1, 3)], [1.0, 1.0], 0.0, 0.0)
    assert best_alignment(logits, [A]).log_text == best_alignment(logits, [A]).log_best == -np.inf
    assert forward(logits, [B]) == -np.inf


def test_logits_are_left_alone():
    logits = peaks(A, 0, 1, B)
    before = logits.copy()
    best_alignments([logits], [[A, B]])
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_logits_are_refused(bad):
    logits = peaks(A, B)
    logits[1, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        forward(logits, [A])


@pytest.mark.parametrize("ids", [[0], [1, A], [4], [-1], [2.0]])
def test_ids_of_no_character_are_refused(ids):
    with pytest.raises(ValueError, match=r"outside 2\.\.3"):
        best_alignment(peaks(A, 0, B), ids)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(frames, classes\)"):
        forward(np.zeros(3), [A])
    with pytest.raises(ValueError, match="same number of classes"):
        forwards([np.zeros((2, 4)), np.zeros((2, 5))], [[A], [A]])
    with pytest.raises(ValueError, match="2 arrays of logits came with 1 texts"):
        forwards([np.zeros((2, 4))] * 2, [[A]])


def test_thousands_of_words_are_scored_in_a_second():
    draw = np.random.default_rng(2)
    batch = [draw.normal(size=(30, 120)).astype(np.float32) for _ in range(2000)]
    ids = [draw.integers(2, 120, 7) for _ in batch]
    start = time.perf_counter()
    forwards(batch, ids)
    assert time.perf_counter() - start < 4  # 0.3 s on an idle core


def test_the_forward_sum_is_the_loss_that_training_minimises():
    import keras  # slow to import, and nothing else here needs it

    logits = np.random.default_rng(1).normal(scale=3, size=(9, 5)).astype(np.float32)
    ids = np.array([[4, 2, 2, 3]], np.int32)
    loss = keras.ops.nn.ctc_loss(ids, logits[None], np.array([4]), np.array([9]), mask_index=0)
    assert forward(logits, ids[0]) == pytest.approx(-float(loss[0]), rel=1e-5)


def written(*spans, width=60, rule=False):
    """Ink (20, width) with letters' worth of ink in the columns of spans, perhaps on a printed rule."""
    pixels = np.zeros((20, width), np.float32)
    for left, right in spans:
        pixels[4:16, left:right] = 0.5
    pixels[17] = 1.0 if rule else 0.0
    return pixels


@pytest.mark.parametrize("rule", [False, True])
def test_the_gap_between_words_is_the_paper_between_their_peaks(rule):
    pixels = written((3, 12), (14, 20), (32, 40), (42, 55), rule=rule)
    first, gap, last = word_gaps(pixels, np.array([4, 36]), np.array([16, 52]))
    assert gap == (pytest.approx(20, abs=1), pytest.approx(32, abs=1))  # not the narrow ones inside of words
    assert first == (-np.inf, pytest.approx(3, abs=1)) and last == (pytest.approx(55, abs=1), np.inf)


def test_a_line_of_mostly_paper_has_gaps_too():
    gap = word_gaps(written((2, 8), (70, 78), width=80), np.array([4, 72]), np.array([8, 76]))[1]
    assert gap == (pytest.approx(8, abs=1), pytest.approx(70, abs=1))


def test_words_that_touch_part_where_least_ink_is():
    pixels = written((0, 60))
    pixels[:8, 29] = 0
    begin, end = word_gaps(pixels, np.array([4, 40]), np.array([20, 56]))[1]
    assert 28 <= begin <= 29 < end <= 31
    assert word_gaps(written((0, 60)), np.array([4, 40]), np.array([20, 56]))[1] == (20, 21)


def test_peaks_in_neighbouring_frames_part_near_their_border():
    ((_, left), (begin, end), (right, _)) = word_gaps(written((0, 60)), np.array([8, 24]), np.array([24, 64]))
    assert 22 <= begin < end <= 26
    assert (left, right) == (0, 60)


def test_what_stands_before_the_first_peak_stays_with_the_first_word():
    gaps = word_gaps(written((10, 20), (22, 40)), np.array([24]), np.array([36]))
    assert [gap for pair in gaps for gap in pair] == [
        -np.inf,
        pytest.approx(10, abs=1),
        pytest.approx(40, abs=1),
        np.inf,
    ]

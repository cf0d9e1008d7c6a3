import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from htr.beam import Automaton, decode, tune
from htr.charset import Charset
from htr.decoding import best_paths
from htr.language import lexicon_automaton, ngram_automaton, train_ngram
from tests.test_decoding import PLAIN_PATHS

A, B, C = 2, 3, 4
NEVER = -math.inf
EVERYTHING = {"beam": 400, "top": 400, "classes": 9, "least": 0.0}  # more prefixes than there are in the small cases
small = st.integers(0, 5).flatmap(lambda frames: arrays(np.float64, (frames, 4), elements=st.floats(-6, 6)))
wide = st.integers(0, 4).flatmap(lambda frames: arrays(np.float64, (frames, 5), elements=st.floats(-6, 6)))


def peaks(*path, classes=4, height=5.0):
    """A path of class ids -> logits (frames, classes) that say so plainly."""
    return np.eye(classes, dtype=np.float32)[list(path)].reshape(len(path), classes) * height


def text_probabilities(logits):
    """{ids: probability} of all texts: the sums over all paths, one by one."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    texts = {}
    for path in itertools.product([c for c in range(logits.shape[1]) if c != 1], repeat=len(logits)):
        text = tuple(c for c, _ in itertools.groupby(path) if c)
        texts[text] = texts.get(text, 0) + math.prod(p[t, c] for t, c in enumerate(path))
    return texts


def enumerated(logits, automaton=None, *, weight=0.5, bonus=0.0):
    """[(score, ctc, ids)] of all texts that the automaton accepts, best first."""
    found = []
    for text, probability in text_probabilities(logits).items():
        language = automaton.score(text) if automaton else 0.0
        if language > NEVER:
            ctc = math.log(probability)
            found.append((ctc + weight * language + bonus * len(text), ctc, list(text)))
    return sorted(found, reverse=True)


def automata(classes):
    """Random tables of four states, a third of the arcs missing, all texts with a chance to end."""

    def build(seed):
        rng = np.random.default_rng(seed)
        logp = -rng.exponential(2, (4, classes)).astype(np.float32)
        logp[rng.random((4, classes)) < 1 / 3] = NEVER
        logp[:, :2] = NEVER
        following = rng.integers(0, 4, (4, classes)).astype(np.int32)
        return Automaton(following, logp, -rng.exponential(2, 4).astype(np.float32), int(rng.integers(4)))

    return st.integers(0, 10_000).map(build)


def assert_same(hypotheses, expected):
    assert [h.score for h in hypotheses] == pytest.approx([score for score, _, _ in expected], abs=1e-9)
    scores = {tuple(h.ids): (h.score, h.ctc) for h in hypotheses}  # texts of one score may come in any order
    assert len(scores) == len(hypotheses)
    for score, ctc, ids in expected:
        assert scores[tuple(ids)] == pytest.approx((score, ctc), abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(small, st.floats(-2, 2))
def test_a_wide_beam_finds_all_texts_with_the_sums_over_all_their_paths(logits, bonus):
    assert_same(decode([logits], bonus=bonus, **EVERYTHING)[0], enumerated(logits, bonus=bonus))


@settings(max_examples=80, deadline=None)
@given(wide, automata(5), st.floats(0, 3), st.floats(-2, 2))
def test_a_wide_beam_over_an_automaton_finds_all_texts_that_it_accepts(logits, automaton, weight, bonus):
    found = decode([logits], automaton, weight=weight, bonus=bonus, **EVERYTHING)[0]
    assert_same(found, enumerated(logits, automaton, weight=weight, bonus=bonus) or [(NEVER, NEVER, [])])


@settings(max_examples=40, deadline=None)
@given(small)
def test_without_a_weight_an_automaton_only_forbids(logits):
    logp = np.array([[NEVER, NEVER, -7, NEVER]] * 2, np.float32)
    automaton = Automaton(np.ones((2, 4), np.int32), logp, np.array([NEVER, -3], np.float32))  # one A or more
    expected = [(ctc, ctc, ids) for _, ctc, ids in enumerated(logits, automaton)]
    assert_same(
        decode([logits], automaton, weight=0, **EVERYTHING)[0], sorted(expected, reverse=True) or [(NEVER, NEVER, [])]
    )


@settings(max_examples=40, deadline=None)
@given(small)
def test_the_network_s_part_is_the_confidence_of_the_other_decoder(logits):
    reading = best_paths([logits])[0]
    found = {tuple(h.ids): h.ctc for h in decode([logits], **EVERYTHING)[0]}
    assert math.exp(found[tuple(reading.ids)]) == pytest.approx(reading.confidence, rel=1e-6)


def test_a_narrow_beam_promises_no_more_than_the_sum_over_all_paths():
    rng = np.random.default_rng(0)
    for logits in rng.normal(scale=2, size=(30, 6, 5)):
        all_texts = text_probabilities(logits)
        for h in decode([logits], beam=4, top=4, classes=2)[0]:
            assert h.score == h.ctc <= math.log(all_texts[tuple(h.ids)]) + 1e-9


def test_probability_spread_over_alignments_beats_the_likeliest_path():
    p = np.array([[0.55, 1e-9, 0.45, 1e-9], [0.55, 1e-9, 0.45, 1e-9]])  # blank blank 0.30, but A in three ways 0.70
    assert best_paths([np.log(p)])[0].ids == []
    assert decode([np.log(p)])[0][0].ids == [A]


@pytest.mark.parametrize("path, ids", [*PLAIN_PATHS, ((), [])])
def test_plain_peaks_are_read_as_they_stand(path, ids):
    assert decode([peaks(*path, height=12)])[0][0].ids == ids


@pytest.mark.parametrize("beam", [1, 3, 16])
@pytest.mark.parametrize("automaton", [None, "ngram"])
def test_a_word_reads_the_same_alone_and_among_others_to_the_last_bit(beam, automaton):
    rng = np.random.default_rng(0)
    charset = Charset("abcdef")
    if automaton:
        automaton = ngram_automaton(train_ngram(["abc", "fed", "ace", "aa bb"], 3), charset)
    batch = [rng.normal(scale=3, size=(n, 8)).astype(np.float32) for n in rng.integers(0, 14, 300)]
    batch[3], batch[4] = np.zeros((9, 8), np.float32), np.round(batch[4])  # ties: any order, but always the same
    batch[5:25] = [np.round(rng.normal(size=(7, 8))).astype(np.float32) for _ in range(20)]
    batch[30:40] = [
        logits.astype(kind) for logits, kind in zip(batch[30:40], 5 * [np.float64, np.float16], strict=True)
    ]
    options = {"beam": beam, "top": 5, "weight": 0.7, "bonus": 0.4}
    among = decode(batch, automaton, **options)
    assert among == [decode([logits], automaton, **options)[0] for logits in batch]
    assert among[::-1] == decode(batch[::-1], automaton, **options)


@pytest.mark.parametrize("beam", [1, 2, 5, 70])
def test_the_best_come_first_and_each_text_once(beam):
    rng = np.random.default_rng(beam)
    for hypotheses in decode(list(rng.normal(scale=2, size=(40, 9, 6))), beam=beam, top=beam):
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True) and len(hypotheses) <= beam
        assert len({tuple(h.ids) for h in hypotheses}) == len(hypotheses)
        assert all(i >= 2 for h in hypotheses for i in h.ids)


def test_top_asks_for_that_many():
    logits = np.random.default_rng(1).normal(size=(6, 5))
    best = decode([logits], top=10)[0]
    assert len(best) == 10 and decode([logits], top=3)[0] == best[:3]


def test_a_wider_beam_finds_scores_that_are_no_worse():
    rng = np.random.default_rng(2)
    charset = Charset("abcd")
    automaton = ngram_automaton(train_ngram(["abcd", "dcba", "aabb"], 4), charset)
    batch = list(rng.normal(scale=1.5, size=(60, 10, 6)))
    means = [np.mean([h[0].score for h in decode(batch, automaton, beam=beam)]) for beam in (1, 4, 16, 64)]
    assert means == sorted(means)


def test_a_language_corrects_what_the_network_cannot_tell_apart():
    charset = Charset("abn")
    automaton = ngram_automaton(train_ngram(["banana", "ban", "nab"], 4), charset)
    a, b, n = 2, 3, 4
    logits = peaks(b, a, n, a, n, a, classes=5, height=9)
    logits[2] = [0, 0, 0, 6.1, 6.0]  # b or n
    assert charset.decode(decode([logits])[0][0].ids) == "babana"
    assert charset.decode(decode([logits], automaton)[0][0].ids) == "banana"


def test_a_closed_lexicon_lets_nothing_else_pass():
    charset = Charset("acdgot")
    automaton = lexicon_automaton(["cat", "dog", "toad"], charset, capital=None, upper=None)
    rng = np.random.default_rng(3)
    found = decode(list(rng.normal(scale=2, size=(50, 9, 8))), automaton, top=4)
    assert {charset.decode(h.ids) for word in found for h in word} == {"cat", "dog", "toad"}
    assert all(h.score == h.ctc for word in found for h in word)


def test_where_nothing_is_accepted_the_score_says_so():
    charset = Charset("ab")
    automaton = lexicon_automaton(["abab"], charset, capital=None, upper=None)
    for logits in (peaks(A, B), peaks(), peaks(A, 0, B)):  # too short for the one word that there is
        nothing = decode([logits], automaton)[0]
        assert [(h.ids, h.score) for h in nothing] == [([], NEVER)]
    with np.errstate(divide="ignore"):
        impossible = np.log(np.eye(4)[[B, B, B, B, B]])  # no prefix survives the first frame
    assert decode([impossible], automaton)[0][0].score == NEVER


def test_a_bonus_makes_texts_longer():
    batch = list(np.random.default_rng(4).normal(size=(40, 10, 5)))
    lengths = [sum(len(h[0].ids) for h in decode(batch, bonus=bonus)) for bonus in (-2, 0, 2)]
    assert lengths[0] < lengths[1] < lengths[2]


def test_rare_classes_are_left_out_as_asked():
    logits = np.log([[0.6, 0.0001, 0.25, 0.1, 0.0499]])
    texts = {
        (classes, least): [h.ids for h in decode([logits], top=9, classes=classes, least=least)[0]]
        for classes, least in ((9, 0.0), (1, 0.0), (9, 0.07))
    }
    assert texts == {(9, 0.0): [[], [A], [B], [C]], (1, 0.0): [[], [A]], (9, 0.07): [[], [A], [B]]}


def test_long_lines_do_not_underflow():
    rng = np.random.default_rng(5)
    best = decode([rng.normal(size=(1500, 30)).astype(np.float32)])[0][0]
    assert -1e5 < best.ctc < -1000 and len(best.ids) > 100
    path = np.tile([A, B, 0], 700)
    assert decode([peaks(*path, height=12)])[0][0].ids == [A, B] * 700


def test_impossible_classes_may_have_minus_infinity():
    with np.errstate(divide="ignore"):
        best = decode([np.log(np.eye(4)[[A, 0, A]])])[0]
    assert [(h.ids, h.score) for h in best] == [([A, A], 0.0)]


def test_decoding_leaves_the_logits_alone():
    logits = peaks(A, 0, 1, B)
    before = logits.copy()
    decode([logits])
    np.testing.assert_array_equal(logits, before)


def test_half_precision_and_whole_numbers_are_read_in_single_precision():
    assert decode([peaks(A, 0, B).astype(np.float16)])[0][0].ids == [A, B]
    assert decode([9 * np.eye(4, dtype=int)[[A, 0, B]]])[0][0].ids == [A, B]


def test_no_words_give_no_readings():
    assert decode([]) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_logits_are_refused(bad):
    logits = peaks(A, B)
    logits[1, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        decode([logits])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(frames, classes\)"):
        decode([np.zeros(shape)])
    with pytest.raises(ValueError, match="same number of classes"):
        decode([np.zeros((2, 4)), np.zeros((2, 5))])


def test_an_automaton_of_another_alphabet_is_refused():
    automaton = ngram_automaton(train_ngram(["ab"], 2), Charset("abc"))
    with pytest.raises(ValueError, match="the automaton has 5"):
        decode([peaks(A, B)], automaton)


@pytest.mark.parametrize("options", [{"beam": 0}, {"top": 0}, {"classes": 0}, {"weight": -0.1}, {"weight": math.nan}])
def test_beams_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="give 1, 1, 1, 0 or more"):
        decode([peaks(A, B)], **options)


def noisy(charset, words, seed):
    """Logits of words whose letters are hard to tell apart."""
    rng = np.random.default_rng(seed)
    batch = []
    for word in words:
        path = [c for i in charset.encode(word) for c in (int(i), 0)]
        logits = peaks(*path, classes=charset.num_classes, height=3)
        batch.append(logits + rng.normal(scale=1.2, size=logits.shape).astype(np.float32))
    return batch


def test_tuning_takes_the_grid_s_lowest_error_rate_and_the_smallest_of_equals():
    charset = Charset("abn")
    words = ["banana", "ban", "nab", "bananas"[:6]] * 5
    automaton = ngram_automaton(train_ngram(words, 4), charset)
    batch = noisy(charset, words, 0)
    tuned = tune(batch, words, charset, automaton, weights=(0.0, 0.5, 5.0), bonuses=(0.0, 1.0))
    assert len(tuned.tried) == 6 and tuned.cer == min(tuned.tried.values()) == tuned.tried[tuned.weight, tuned.bonus]
    assert tuned.cer < tuned.tried[0.0, 0.0]
    sure = tune([peaks(B, A, C, classes=5, height=20)], ["ban"], charset, automaton)
    assert (sure.weight, sure.bonus, sure.cer) == (0, 0, 0)


def test_tuning_needs_a_text_for_every_word():
    automaton = ngram_automaton(train_ngram(["ab"], 2), Charset("ab"))
    with pytest.raises(ValueError, match="1 references and 2 hypotheses"):
        tune([peaks(A), peaks(B)], ["a"], Charset("ab"), automaton)

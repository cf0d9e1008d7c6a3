"""Floor 1: logits -> the likeliest texts under a language automaton: CTC prefix beam search, many words at once.

All words and all their prefixes go frame by frame as arrays (words, beam); numpy alone. Automata come from
`htr.language`. Class 0 is the CTC blank and class 1 the end of a spelled word; neither is ever part of a text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from htr.charset import BLANK, END, Charset
from htr.metrics import cer

_CHUNK = 256  # words searched at once: enough to hide numpy's call costs; fewer for wide beams
_CELLS = 1 << 22  # prefixes of a chunk compared with each other at once
_NONE, _EMPTY, _ORPHAN = np.arange(3, dtype=np.uint64)  # codes of no prefix, the empty one, what is before these


@dataclass(frozen=True, slots=True, eq=False)
class Automaton:
    """Scores of texts as tables, one row a state: to read class c in state s scores logp[s, c] and leads to next[s, c].

    next: (states, classes) int32. logp: (states, classes) float32, natural, at most 0, -inf where c cannot follow, as
    blank and END never can. final: (states,) float32, the log-probability that a text ends here. start: a state.
    """

    next: np.ndarray
    logp: np.ndarray
    final: np.ndarray
    start: int = 0

    def score(self, ids: Iterable[int]) -> float:
        """ids of characters (length,) -> natural log-probability of this text and its end; -inf: not accepted."""
        state, total = self.start, 0.0
        for i in ids:
            state, total = self.next[state, i], total + float(self.logp[state, i])
        return total + float(self.final[state])


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One text that a word's logits may say. ids: classes from 2 on. ctc: log-probability of the text by the network
    alone, summed over its alignments. score: ctc + weight * log-probability by the automaton + bonus * length.
    """

    ids: list[int]
    score: float
    ctc: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` chose, the corpus CER with it, and the CER of each (weight, bonus) of the grid."""

    weight: float
    bonus: float
    cer: float
    tried: dict[tuple[float, float], float]


def decode(
    batch: Sequence[np.ndarray],
    automaton: Automaton | None = None,
    *,
    beam: int = 16,
    weight: float = 0.5,
    bonus: float = 0.0,
    top: int = 1,
    classes: int = 20,
    least: float = 1e-4,
) -> list[list[Hypothesis]]:
    """batch of logits (frames, classes), frames may differ -> for each word up to `top` Hypotheses, best first.

    Prefix beam search (Graves 2008, section 7.5.3; Hannun et al. 2014): prefixes that are equal are one, with the
    probabilities of all their alignments that end in a blank and in a character. `beam` prefixes a word survive each
    frame, by their score so far. A prefix grows only by the `classes` likeliest classes of a frame, and only by those
    with a probability of `least` or more; with beam, classes and least = 0 large and small enough the result is exact.
    A word's result does not depend on the other words of the batch. Where the automaton accepts nothing that is in the
    beam, the one hypothesis is the empty text with a score of -inf. Logits may be log-probabilities as well.
    Raises ValueError for other shapes, logits that are NaN or infinite, an automaton of another number of classes,
    beam, top or classes below 1, and a negative weight.
    """
    if min(beam, top, classes) < 1 or not weight >= 0:
        raise ValueError(f"Beam {beam}, top {top}, classes {classes}, weight {weight} came: give 1, 1, 1, 0 or more.")
    words = [np.asarray(logits) for logits in batch]
    form = automaton.next.shape[1:] if automaton else words[0].shape[1:] if words else ()
    for logits in words:
        if logits.ndim != 2 or logits.shape[1] < 2 or logits.shape[1:] != form:
            raise ValueError(
                f"Logits of shape {logits.shape} came: give (frames, classes) for each word, with the same number of "
                f"classes, 2 or more{f'; the automaton has {form[0]}' if automaton else ''}."
            )
    order = sorted(range(len(words)), key=lambda i: -len(words[i]))  # words that are over fall off the end
    chunk = int(np.clip(_CELLS // beam**2, 1, _CHUNK))
    results: list[list[Hypothesis]] = [[]] * len(words)
    for start in range(0, len(order), chunk):
        places = order[start : start + chunk]
        search = _Search(
            [words[i] for i in places], automaton, beam=beam, weight=weight, bonus=bonus, classes=classes, least=least
        )
        for place, found in zip(places, search.run(top), strict=True):
            results[place] = found
    return results


def tune(
    batch: Sequence[np.ndarray],
    texts: Sequence[str],
    charset: Charset,
    automaton: Automaton,
    *,
    beam: int = 16,
    weights: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    bonuses: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0),
) -> Tuning:
    """logits of validation words and their texts -> the weight and bonus of a grid with the lowest corpus CER.

    Among equals the smaller weight wins, then the smaller bonus. ValueError as in `decode` and `htr.metrics.cer`.
    """
    tried = {}
    for weight in weights:
        for bonus in bonuses:
            found = decode(batch, automaton, beam=beam, weight=weight, bonus=bonus)
            tried[weight, bonus] = cer(texts, [charset.decode(best.ids) for best, *_ in found])
    weight, bonus = min(tried, key=lambda pair: (tried[pair], pair[0], abs(pair[1])))
    return Tuning(weight, bonus, tried[weight, bonus], tried)


class _Search:
    """The beams of a chunk of words, longest first: arrays (words, beam) with a prefix in each place.

    Probabilities are shares of the word's likeliest prefix, whose own logarithm is `scale` (words,): none underflows.
    """

    def __init__(self, words, automaton: Automaton | None, *, beam, weight, bonus, classes, least):
        self.lengths = np.array([len(logits) for logits in words])
        frames = np.concatenate([np.arange(length) for length in self.lengths])
        self.p = _softmax(np.concatenate(words)[np.argsort(frames, kind="stable")])  # by frame, then by word
        self.rows, self.classes = _candidates(self.p, classes, least)
        self.gains = np.log(self.p[self.rows, self.classes]) + bonus
        self.automaton, self.weight, self.bonus = automaton, weight, bonus
        shape = len(words), beam
        self.code, self.origin = np.full(shape, _NONE), np.full(shape, _ORPHAN)  # of a prefix, of it without its end
        self.up = np.full(shape, -1)  # where in the beam the prefix without its last character is; -1: nowhere
        self.last, self.state = np.full(shape, BLANK), np.full(shape, automaton.start if automaton else 0)
        self.blank, self.other, self.prior = np.zeros((3, *shape))  # ending in blank, in a character; weighted language
        self.code[:, 0], self.blank[:, 0] = _EMPTY, 1
        self.scale = np.zeros(len(words))
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []  # of each frame: the place it came from, the class added

    def run(self, top: int) -> list[list[Hypothesis]]:
        """-> the best hypotheses of each word."""
        start = 0
        for frame in range(self.lengths[0]):
            n = int(np.searchsorted(-self.lengths, -frame))  # words with more frames than that
            self._step(self.p[start : start + n], start)
            start += n
        with np.errstate(divide="ignore"):
            ctc = np.log(self.blank + self.other) + self.scale[:, None]
        score = ctc + self.prior + (self._language(self.automaton.final[self.state]) if self.automaton else 0.0)
        best = np.argsort(-score, axis=1, kind="stable")[:, :top]
        score, ctc = (np.take_along_axis(values, best, axis=1).tolist() for values in (score, ctc))
        words = (zip(*word, strict=True) for word in zip(self._trace(best), score, ctc, strict=True))
        never = -np.inf, -np.inf
        return [[Hypothesis(*item) for item in word if item[1] > -np.inf] or [Hypothesis([], *never)] for word in words]

    def _step(self, p: np.ndarray, start: int) -> None:
        """p (n, classes): one frame of the words that are not over yet; start: the row of the first."""
        n, beam = len(p), self.code.shape[1]
        blank, other, last, up = self.blank[:n], self.other[:n], self.last[:n], self.up[:n]
        total = blank + other
        # What reaches a prefix from the one before its last character, if both are in the beam; a blank parts doubles.
        before = np.arange(n)[:, None] * beam + up  # flat indices here and below: twice as fast as pairs
        joins = np.where(last.take(before) == last, blank.take(before), total.take(before)) * (up >= 0)
        stays = total * p[:, :1], (other + joins) * np.take_along_axis(p, last, axis=1)
        with np.errstate(divide="ignore"):
            scores = [np.log(values) + self.prior[:n] for values in (stays[0] + stays[1], blank, total)]
        goal, home, added = self._survivors(*scores, start=start)
        came, grew = np.arange(n * beam).reshape(n, beam), np.zeros((n, beam), dtype=np.int64)
        came.put(goal, home)
        grew.put(goal, added)
        self.steps.append((came, grew))
        fresh = np.where(last.take(home) == added, blank.take(home), total.take(home)) * p[goal // beam, added]
        self.blank[:n], self.other[:n] = stays
        self._move(goal, home, added, fresh)
        peak = (self.blank[:n] + self.other[:n]).max(axis=1)
        peak[peak == 0] = 1  # no prefix is left: the automaton accepts nothing that the frames allow
        self.blank[:n] /= peak[:, None]
        self.other[:n] /= peak[:, None]
        self.scale[:n] += np.log(peak)

    def _survivors(self, stay, blank, total, *, start):
        """Scores (n, beam) of prefixes if they stay, of those that end in a blank, of all -> where prefixes of the new
        beams go and come from (flat indices) and the classes they grow by (BLANK: none), for words where any grows.
        """
        n, beam = stay.shape
        pairs = slice(*np.searchsorted(self.rows, [start, start + n]))
        words, classes = self.rows[pairs] - start, self.classes[pairs]
        last, up, floor = self.last[:n], self.up[:n], stay.min(axis=1)  # worse than all that stay: no place in the beam
        scores = np.where(last[words] == classes[:, None], blank[words], total[words]) + self.gains[pairs, None]
        entry = np.full((n, self.p.shape[1]), -1)
        entry[words, classes] = np.arange(len(words))
        word, place = np.nonzero(up >= 0)  # these are in the beam and got their share there
        pair = entry[word, last[word, place]]
        scores[pair[pair >= 0], up[word, place][pair >= 0]] = -np.inf
        pair, place = np.nonzero((scores >= floor[words][:, None]) & (scores > -np.inf))
        word, added, scores = words[pair], classes[pair], scores[pair, place]
        if self.automaton:
            scores += self._language(self.automaton.logp[self.state.take(word * beam + place), added])
            good = (scores >= floor[word]) & (scores > -np.inf)
            word, place, added, scores = word[good], place[good], added[good], scores[good]
        old, kept = np.nonzero((stay > -np.inf) & (np.bincount(word, minlength=n) > 0)[:, None])
        word, score = np.concatenate([old, word]), np.concatenate([stay[old, kept], scores])
        index = np.concatenate([kept, place + beam * added])
        word, rank, index = _best(word, score, index, beam=beam, bits=(beam * self.p.shape[1]).bit_length())
        return word * beam + rank, word * beam + index % beam, index // beam

    def _move(self, goal, home, added, fresh):
        """Fills beams anew from what they hold; fresh: probabilities of prefixes that have grown."""
        longer = added > 0
        fields = self.code, self.origin, self.last, self.state, self.prior, self.blank, self.other
        code, origin, last, state, prior, blank, other = values = [field.take(home) for field in fields]
        last[longer], blank[longer], other[longer] = added[longer], 0, fresh[longer]
        origin[longer] = code[longer]
        code[longer] = mix(code[longer], added[longer])
        prior[longer] += self.bonus
        if self.automaton:
            arcs = state[longer], added[longer]
            prior[longer] += self._language(self.automaton.logp[arcs])
            state[longer] = self.automaton.next[arcs]
        words = np.flatnonzero(np.bincount(goal // self.code.shape[1]))
        for field, value, empty in zip(fields, values, (_NONE, _ORPHAN, BLANK, 0, 0, 0, 0), strict=True):
            field[words] = empty
            field.put(goal, value)
        same = self.origin[words][:, :, None] == self.code[words][:, None, :]
        self.up[words] = np.where(same.any(axis=2), same.argmax(axis=2), -1)

    def _language(self, logp: np.ndarray) -> np.ndarray:
        return logp * np.float64(self.weight) if self.weight else np.where(logp == -np.inf, -np.inf, 0.0)

    def _trace(self, places: np.ndarray) -> list[list[list[int]]]:
        """places (words, top) in the last beams -> ids of each."""
        ids = np.zeros((len(self.steps), *places.shape), dtype=np.int64)
        homes = places + np.arange(len(places))[:, None] * self.code.shape[1]
        for frame, (came, grew) in reversed([*enumerate(self.steps)]):
            n = len(came)
            ids[frame, :n] = grew.take(homes[:n])
            homes[:n] = came.take(homes[:n])
        return [[[i for i in column if i] for column in word] for word in ids.transpose(1, 2, 0).tolist()]


def _best(word, score, index, *, beam, bits):
    """Candidates in any order -> word, rank and index of the `beam` best of each word; index: below 2 ** bits.

    One sort of integers that hold word, falling score and index from the highest bits down: equal scores get an order
    that no other word of the batch can change. The score loses its last bits, 1e-9 of it.
    """
    high = _CHUNK.bit_length() - 1
    raw = (-score).view(np.int64)
    rising = raw.view(np.uint64) ^ ((raw >> 63).view(np.uint64) | np.uint64(1 << 63))  # floats in order as integers
    key = word.astype(np.uint64) << (64 - high) | rising >> (bits + high) << bits | index.astype(np.uint64)
    key.sort()
    word = (key >> (64 - high)).astype(np.int64)
    rank = np.arange(len(word)) - np.searchsorted(word, word)
    kept = rank < beam
    return word[kept], rank[kept], (key[kept] & np.uint64((1 << bits) - 1)).astype(np.int64)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """logits (frames, classes) -> probabilities, float64 whatever came: a chunk may hold words of several types."""
    p = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf is told about below, in words
        p -= p.max(axis=1, keepdims=True, initial=-np.inf)
    np.exp(p, out=p)
    totals = p.sum(axis=1, keepdims=True)
    if not np.isfinite(totals).all():
        raise ValueError("The logits hold NaN or infinity: the network diverged or its weights are damaged.")
    return np.divide(p, totals, out=p)


def _candidates(p: np.ndarray, classes: int, least: float) -> tuple[np.ndarray, ...]:
    """p (frames, classes) -> rows and classes of the characters that a prefix may grow by, in order."""
    likely = (p >= least) & (p > 0)
    likely[:, [BLANK, END]] = False
    crowded = np.flatnonzero(likely.sum(axis=1) > classes)
    if len(crowded):
        rivals = np.where(likely[crowded], p[crowded], 0)
        likely[crowded] &= rivals >= np.partition(rivals, -classes, axis=1)[:, [-classes]]
    return np.nonzero(likely)


def mix(*parts: np.ndarray) -> np.ndarray:
    """Arrays of integers (n,) -> codes uint64 (n,): other parts, other codes, but for a chance of 2 ** -55 a pair."""
    code = np.zeros(1, dtype=np.uint64)
    for part in parts:
        code = (code ^ part.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> 32
    return code

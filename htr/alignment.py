"""Floor 1: a known text laid over the frames of its image, and the probability of that text, in numpy alone.

The alignments of a text of n characters go through the states blank, c1, blank, c2 ... blank: 2 n + 1 of them, one
a frame. An alignment stays, goes on by one, or leaps over the blank between two different characters (Graves et al.,
"Connectionist Temporal Classification", ICML 2006). Sums are of logarithms throughout: of two texts of which neither
is likely, one is still the likelier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from htr.charset import BLANK, END
from htr.decoding import CHUNK, checked

_NEVER = -1e30  # the log-weight of a path that is none; finite, as the difference of two infinities is NaN
_ZERO = -1e12  # the log of probability 0, for the same reason; a path through it is still a path
_PAPER = 0.3  # of a written column's ink: with less, a column belongs to a gap


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a text lies on its frames, one entry per character in `peaks`, `spans` and `confidences`.

    peaks: (first frame, last frame + 1) where the best alignment emits the character; blanks lie between.
    spans: the same, widened to a partition of the frames with borders midway between peaks, as those of a Reading.
    confidences: the highest softmax probability of the character among its peak's frames, 0..1.
    log_best: log-probability of the best alignment alone, log_text: of the text over all alignments; in nats, -inf
    where a class that the text needs has probability 0.
    """

    peaks: list[tuple[int, int]]
    spans: list[tuple[int, int]]
    confidences: list[float]
    log_best: float
    log_text: float


def best_alignment(logits: np.ndarray, ids: Sequence[int] | np.ndarray) -> Alignment:
    """logits (frames, classes), ids (length,) -> the likeliest Alignment of all that spell ids.

    Details as in `best_alignments`.

    >>> a, b, blank = [0, 0, 9, 0], [0, 0, 0, 9], [9, 0, 0, 0]
    >>> alignment = best_alignment(np.array([blank, a, a, blank, blank, b]), [2, 3])
    >>> alignment.peaks, alignment.spans
    ([(1, 3), (5, 6)], [(0, 4), (4, 6)])
    """
    return best_alignments([logits], [ids])[0]


def best_alignments(batch: Sequence[np.ndarray], ids: Sequence[Sequence[int] | np.ndarray]) -> list[Alignment]:
    """batch of (frames, classes), frames may differ, ids (length,) of each -> one Alignment each.

    The Viterbi search over the states of CTC. Logits may be log-probabilities: a softmax over all classes is taken
    here. Among equally likely alignments it is always the same one. An empty text has no peaks; its alignment is all
    blanks. Raises ValueError for a text that needs more frames than there are (one a character, and a blank between
    equal neighbours), for ids of no character, other shapes, and logits that are NaN or infinite.
    """
    return [result for chunk in _chunks(batch, ids) for result in _align(_fitting(chunk))]


def forward(logits: np.ndarray, ids: Sequence[int] | np.ndarray) -> float:
    """logits (frames, classes), ids (length,) -> log p(ids | logits) in nats. Details as in `forwards`.

    >>> round(float(np.exp(forward(np.log([[0.5, 0.1, 0.4], [0.3, 0.1, 0.6]]), [2]))), 9)
    0.66
    """
    return float(forwards([logits], [ids])[0])


def forwards(batch: Sequence[np.ndarray], ids: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """batch of (frames, classes), frames may differ, ids (length,) of each -> log-probabilities (words,) float64.

    The forward sum of CTC (section 4.1), in nats. A text that cannot fit its frames has probability 0: -inf. Many
    texts on one image: give the same array again, its softmax is taken once in 256 words.
    Raises ValueError as `best_alignments` does, but not for a text that cannot fit.
    """
    return np.concatenate([np.zeros(0), *(_sums(chunk) for chunk in _chunks(batch, ids))])


def word_gaps(pixels: np.ndarray, firsts: np.ndarray, lasts: np.ndarray) -> list[tuple[float, float]]:
    """ink pixels (height, width), words' first and last peaks in px (words,) -> (left, right) of the paper beside them.

    firsts: where the peak of each word's first character begins, lasts: where its last character's ends. Of the gaps,
    one more than words, the first has no left and the last no right end. Peaks are narrower than their letters, so a
    gap is looked for between two of them: the stretch of columns that has the most paper for its ink (the largest sum).
    """
    width = pixels.shape[1]
    ink = np.convolve(np.pad(pixels.mean(axis=0), 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    rules = np.percentile(ink, 5)  # printed rules go through gaps too
    inked = ink[ink > rules + 0.02]
    paper = rules + _PAPER * (np.median(inked) - rules if len(inked) else 0.0) - ink  # (width,) below 0 in writing
    written = np.flatnonzero(paper <= 0)
    gaps = [(-np.inf, float(min(firsts[0], written.min(initial=width))))]
    for last, first in zip(lasts[:-1].tolist(), firsts[1:].tolist(), strict=True):
        if first <= last:  # neighbouring frames: look at both sides of their border
            last, first = max(last - 2, 0), first + 2
        start = min(last, width - 1)
        left, right = _largest_sum(paper[start : max(first, start + 1)])
        gaps.append((float(start + left), float(start + right)))
    return [*gaps, (float(max(min(lasts[-1], width), written.max(initial=-1) + 1)), np.inf)]


def _largest_sum(values: np.ndarray) -> tuple[int, int]:
    """values (n,) -> begin and end of the stretch of largest sum; of the largest value where none is above 0."""
    sums = np.concatenate([[0], np.cumsum(values)])
    end = int(np.argmax(sums - np.minimum.accumulate(sums)))
    if end == 0:
        return int(np.argmax(values)), int(np.argmax(values)) + 1
    return int(np.argmin(sums[:end])), end


class _Chunk(NamedTuple):
    """Words, longest first, so that those that are over fall off the end; order says where each one came.

    scores: log-probabilities (all frames, classes) float64. offsets: each word's first row in it. lengths: frames.
    states: classes (words, states), blank behind the end. leap: whether a state may be reached over a blank.
    """

    scores: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    states: np.ndarray
    leap: np.ndarray
    counts: np.ndarray
    order: np.ndarray

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each frame's number of words that reach so far, and the scores (words, states) of their states there."""
        active = np.searchsorted(-self.lengths, -np.arange(self.lengths.max(initial=0)))
        for frame, n in enumerate(active.tolist()):
            yield n, self.scores[(self.offsets[:n] + frame)[:, None], self.states[:n]]

    def begin(self) -> np.ndarray:
        """Log-weights (words, states + 2) before the first frame: two columns in front spare the edge cases, and
        every path starts in the second of them."""
        weights = np.full((len(self.order), self.states.shape[1] + 2), _NEVER)
        weights[:, 1] = 0
        return weights


def _chunks(batch: Sequence[np.ndarray], ids: Sequence[Sequence[int] | np.ndarray]) -> Iterator[_Chunk]:
    if len(batch) != len(ids):
        raise ValueError(f"{len(batch)} arrays of logits came with {len(ids)} texts: give as many of each.")
    for start in range(0, len(batch), CHUNK):
        words = checked(batch[start : start + CHUNK])
        yield _chunk(words, [np.asarray(text) for text in ids[start : start + CHUNK]])


def _chunk(batch: list[np.ndarray], ids: list[np.ndarray]) -> _Chunk:
    tables = {id(logits): _log_softmax(logits) for logits in batch}
    starts = np.cumsum([0, *map(len, tables.values())])
    place = dict(zip(tables, starts.tolist(), strict=False))
    lengths, counts = np.array([len(logits) for logits in batch]), np.array([len(text) for text in ids])
    order = np.argsort(-lengths, kind="stable")
    states = np.full((len(ids), 2 * counts.max() + 1), BLANK)
    for row, word in enumerate(order.tolist()):
        states[row, 1 : 2 * counts[word] : 2] = _checked(ids[word], batch[word].shape[1])
    leap = states != BLANK
    leap[:, 2:] &= states[:, 2:] != states[:, :-2]  # between equal characters a blank must stand
    offsets = np.array([place[id(logits)] for logits in batch])
    scores = np.concatenate(list(tables.values()))
    return _Chunk(scores, offsets[order], lengths[order], states, leap, counts[order], order)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """logits (frames, classes) -> log-probabilities, float64; what is impossible has _ZERO."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():  # a NaN is every maximum's
        raise ValueError("The logits hold NaN or infinity: the network diverged or its weights are damaged.")
    logits -= top
    return np.maximum(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), _ZERO)


def _checked(ids: np.ndarray, classes: int) -> np.ndarray:
    if len(ids) and not (ids.ndim == 1 and ids.dtype.kind in "iu" and ids.min() > END and ids.max() < classes):
        raise ValueError(f"ids {ids.tolist()} hold one outside {END + 1}..{classes - 1}; align characters only.")
    return ids


def _fitting(chunk: _Chunk) -> _Chunk:
    """The chunk itself; ValueError names the first of its texts that cannot fit."""
    characters = chunk.states[:, 1::2]
    repeats = (characters[:, 1:] == characters[:, :-1]) & (characters[:, 1:] != BLANK)
    needed = chunk.counts + repeats.sum(axis=1)
    for row in np.argsort(chunk.order):
        if needed[row] > chunk.lengths[row]:
            raise ValueError(
                f"ids {characters[row, : chunk.counts[row]].tolist()} need {needed[row]} frames, the logits have "
                f"{chunk.lengths[row]}; give a wider image, or the text that is on it."
            )
    return chunk


def _ends(weights: np.ndarray, chunk: _Chunk) -> tuple[np.ndarray, np.ndarray]:
    """weights (words, states + 2) -> those of the last character and of the blank behind it, (words,) each."""
    rows, last = np.arange(len(weights)), 2 * chunk.counts + 1
    return weights[rows, last], weights[rows, last + 1]


def _infinite(sums: np.ndarray) -> np.ndarray:
    return np.where(sums < _ZERO / 2, -np.inf, sums)


def _sums(chunk: _Chunk) -> np.ndarray:
    """-> log-probabilities (words,), in the order in which the words came."""
    weights = chunk.begin()
    for n, scores in chunk.frames():
        now = weights[:n]
        stay, step, leap = now[:, 2:], now[:, 1:-1], np.where(chunk.leap[:n], now[:, :-2], _NEVER)
        top = np.maximum(np.maximum(stay, step), leap)
        now[:, 2:] = top + np.log(np.exp(stay - top) + np.exp(step - top) + np.exp(leap - top)) + scores
        now[:, 1] = _NEVER
    result = np.empty(len(weights))
    result[chunk.order] = _infinite(np.logaddexp(*_ends(weights, chunk)))
    return np.minimum(result, 0.0)  # rounding may lift a certain text above 1


def _align(chunk: _Chunk) -> list[Alignment]:
    """-> Alignments, in the order in which the words came."""
    weights, back = chunk.begin(), []
    for n, scores in chunk.frames():
        now = weights[:n]
        ways = np.stack([now[:, 2:], now[:, 1:-1], np.where(chunk.leap[:n], now[:, :-2], _NEVER)])
        back.append(ways.argmax(axis=0).astype(np.int8))  # how many states back
        now[:, 2:] = ways.max(axis=0) + scores
        now[:, 1] = _NEVER
    character, blank = _ends(weights, chunk)
    place = 2 * chunk.counts - np.where((blank >= character) | (chunk.counts == 0), 0, 1)
    paths = np.zeros((len(place), len(back)), np.int64)
    for frame in reversed(range(len(back))):
        n = len(back[frame])
        paths[:n, frame] = place[:n]
        place[:n] -= back[frame][np.arange(n), place[:n]]
    best, total = _infinite(np.maximum(character, blank)).tolist(), _sums(chunk).tolist()
    results = [_alignment(chunk, row, paths[row, : chunk.lengths[row]]) for row in range(len(place))]
    order: list[int] = np.argsort(chunk.order).tolist()
    return [Alignment(*results[row], best[row], total[word]) for word, row in enumerate(order)]


def _alignment(chunk: _Chunk, row: int, path: np.ndarray) -> tuple[list, list, list[float]]:
    """path (frames,) of states -> peaks, spans and confidences."""
    if not chunk.counts[row]:
        return [], [], []
    states = 2 * np.arange(chunk.counts[row]) + 1
    begins, ends = np.searchsorted(path, states, "left"), np.searchsorted(path, states, "right")
    emitted = chunk.scores[chunk.offsets[row] + np.arange(len(path)), chunk.states[row, path]]
    # every second stretch is a peak; what is appended lets the last one end at the last frame
    tops = np.maximum.reduceat(np.append(emitted, _NEVER), np.stack([begins, ends], axis=1).ravel())[::2]
    borders = ((ends[:-1] + begins[1:]) // 2).tolist()
    spans = list(zip([0, *borders], [*borders, len(path)], strict=True))
    return list(zip(begins.tolist(), ends.tolist(), strict=True)), spans, np.exp(tops).tolist()

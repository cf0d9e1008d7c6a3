"""Floor 1: logits -> class ids with confidences and spans, in numpy alone.

Class 0 is the CTC blank and class 1 the end of a spelled word; neither is ever part of a reading. Logits may be
log-probabilities as well: a softmax over all classes is taken here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from htr.charset import BLANK, END

CHUNK = 256  # words decoded at once: enough to hide numpy's call costs, few enough to stay in the cache


@dataclass(frozen=True, slots=True)
class Reading:
    """What a decoder read, one entry per character in `ids`, `confidences` and `spans`.

    ids: classes from 2 on. confidences: softmax probabilities in 0..1. spans: (first frame, last frame + 1), or None
    where the objective ties no character to a place. confidence: the network's probability of the whole text.
    """

    ids: list[int]
    confidences: list[float]
    spans: list[tuple[int, int]] | list[None]
    confidence: float


def frames_needed(ids) -> int:
    """The fewest frames that can spell ids: one each, and a blank between equal neighbours.

    >>> frames_needed([5, 5, 7])
    4
    """
    ids = np.asarray(ids)
    return int(len(ids) + (ids[1:] == ids[:-1]).sum())


def best_path(logits: np.ndarray) -> Reading:
    """logits (frames, classes) -> Reading: the likeliest class of each frame, repeats merged, blanks removed.

    Greedy CTC decoding (Graves et al. 2006, section 3.2). Doubled letters stay where a blank separates them. Details as
    in `best_paths`.

    >>> a, blank = [0, 0, 9], [9, 0, 0]
    >>> reading = best_path(np.array([a, a, blank, a]))
    >>> reading.ids, reading.spans
    ([2, 2], [(0, 2), (2, 4)])
    """
    return best_paths([logits])[0]


def best_paths(batch: Sequence[np.ndarray]) -> list[Reading]:
    """batch of (frames, classes), frames may differ -> one Reading each, decoded together on flat arrays.

    A character's confidence is the highest softmax probability among its frames. A word's confidence is the probability
    of its text summed over all alignments (the CTC forward sum): a product over characters would call a word whose
    faint letters were skipped certain. No frames read as no text, with confidence 1. The spans of a word are a
    partition of its frames: CTC fires on narrow peaks, and each border lies midway between two.
    Raises ValueError for another shape than (frames, classes), fewer than 2 classes, or logits that are NaN or
    infinite.
    """
    return [reading for chunk in _chunks(batch) for reading in _best_paths(*chunk)]


def spelling(logits: np.ndarray) -> Reading:
    """logits (frames, classes) -> Reading: character i is the likeliest class of frame i, up to END.

    Details as in `spellings`.

    >>> a, b, end = [0, 0, 9, 0], [0, 0, 0, 9], [0, 9, 0, 0]
    >>> spelling(np.array([b, a, a, end, b])).ids
    [3, 2, 2]
    """
    return spellings([logits])[0]


def spellings(batch: Sequence[np.ndarray]) -> list[Reading]:
    """batch of (frames, classes), frames may differ -> one Reading each; spans are None.

    If END never comes, every frame is read. The blank is no answer here: where it is likeliest, the next class counts.
    A character's confidence is its softmax probability, a word's the product of its characters' and END's.
    Raises ValueError as `best_paths` does.
    """
    return [reading for chunk in _chunks(batch) for reading in _spellings(*chunk)]


def _chunks(batch: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields logits (total frames, classes) of up to CHUNK words, a copy of our own, and their lengths (words,)."""
    for start in range(0, len(batch), CHUNK):
        words = checked(batch[start : start + CHUNK])
        flat = np.concatenate(words)
        yield (
            flat if flat.dtype in (np.float32, np.float64) else flat.astype(np.float32),
            np.array([len(logits) for logits in words]),
        )


def checked(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The logits of each word as arrays; ValueError where one is not (frames, classes), as many classes in all."""
    words = [np.asarray(logits) for logits in batch]
    for logits in words:
        if logits.ndim != 2 or logits.shape[1] < 2 or logits.shape[1] != words[0].shape[1]:
            raise ValueError(
                f"Logits of shape {logits.shape} came: give (frames, classes) for each word, with the same number of "
                "classes, 2 or more."
            )
    return words


def _softmax(flat: np.ndarray) -> np.ndarray:
    """logits (frames, classes) -> probabilities, written in place."""
    with np.errstate(invalid="ignore"):  # inf - inf is told about below, in words
        flat -= flat.max(axis=1, keepdims=True)
    np.exp(flat, out=flat)
    totals = flat.sum(axis=1, keepdims=True)
    if not np.isfinite(totals).all():
        raise ValueError("The logits hold NaN or infinity: the network diverged or its weights are damaged.")
    flat /= totals
    return flat


def _best_paths(flat: np.ndarray, lengths: np.ndarray) -> list[Reading]:
    """flat (total frames, classes), lengths (words,) -> Readings."""
    end = flat[:, END].copy()
    flat[:, END] = -np.inf  # END is no answer of CTC, but its share still lowers the confidence
    path = flat.argmax(axis=1)
    flat[:, END] = end
    probabilities = _softmax(flat)
    if not len(path):
        return [Reading([], [], [], 1.0) for _ in lengths]
    offsets = np.cumsum(lengths) - lengths
    begins, ends = _runs(path, offsets[lengths > 0])
    confidences = np.maximum.reduceat(probabilities[np.arange(len(path)), path], begins)
    kept = path[begins] != BLANK
    begins, ends, confidences = begins[kept], ends[kept], confidences[kept]
    ids = path[begins]
    words = np.repeat(np.arange(len(lengths)), lengths)[begins]
    counts = np.bincount(words, minlength=len(lengths))
    spans = _partition(begins - offsets[words], ends - offsets[words], words, lengths)
    whole = _forward(probabilities, lengths, ids, counts)
    characters, sure = ids.tolist(), confidences.tolist()
    stops = np.cumsum(counts).tolist()
    return [
        Reading(characters[start:stop], sure[start:stop], spans[start:stop], confidence)
        for start, stop, confidence in zip([0, *stops], stops, whole.tolist(), strict=False)
    ]


def _runs(path: np.ndarray, firsts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """path (frames,) -> (begins, ends) of runs of one class, cut at the first frame of every word."""
    change = np.ones(len(path), dtype=bool)
    np.not_equal(path[1:], path[:-1], out=change[1:])
    change[firsts] = True  # equal letters of two neighbouring words are no run
    begins = np.flatnonzero(change)
    return begins, np.append(begins[1:], len(path))


def _partition(begins: np.ndarray, ends: np.ndarray, words: np.ndarray, lengths: np.ndarray) -> list[tuple[int, int]]:
    """Runs of characters, in frames of their word, -> spans that share out all frames of the word."""
    inside = words[1:] == words[:-1]
    borders = (ends[:-1] + begins[1:]) // 2
    left = np.zeros_like(begins)
    left[1:][inside] = borders[inside]
    right = lengths[words]
    right[:-1][inside] = borders[inside]
    return list(zip(left.tolist(), right.tolist(), strict=True))


def _forward(probabilities: np.ndarray, lengths: np.ndarray, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """probabilities (total frames, classes), ids (total characters,) -> probability of each text, float64 (words,).

    The forward sum of CTC (Graves et al. 2006, section 4.1) over the states blank, c1, blank, c2 ... blank.
    Probabilities, not logarithms: what underflows is a confidence of 0.
    """
    order = np.argsort(-lengths, kind="stable")  # longest first: words that are over fall off the end
    states = np.full((len(lengths), 2 * counts.max() + 1), BLANK)
    starts = np.cumsum(counts) - counts
    places = 2 * (np.arange(len(ids)) - np.repeat(starts, counts)) + 1
    states[np.repeat(np.arange(len(lengths)), counts), places] = ids
    skip = states != BLANK
    skip[:, 2:] &= states[:, 2:] != states[:, :-2]  # a blank may be skipped between two different letters
    states, skip = states[order], skip[order]
    offsets = (np.cumsum(lengths) - lengths)[order]
    # Two columns in front spare the edge cases; the second one is where every path starts, before the first frame.
    alpha = np.zeros((len(lengths), states.shape[1] + 2))
    alpha[:, 1] = 1
    active = np.searchsorted(-lengths[order], -np.arange(lengths.max()))  # words with more than t frames
    for frame, n in enumerate(active.tolist()):
        a = alpha[:n]
        reach = a[:, 2:] + a[:, 1:-1] + a[:, :-2] * skip[:n]
        a[:, 2:] = reach * probabilities[(offsets[:n] + frame)[:, None], states[:n]]
        a[:, 1] = 0
    last = 2 * counts[order]
    rows = np.arange(len(lengths))
    result = np.empty(len(lengths))
    result[order] = np.minimum(alpha[rows, last + 2] + alpha[rows, last + 1], 1.0)
    return result


def _spellings(flat: np.ndarray, lengths: np.ndarray) -> list[Reading]:
    """flat (total frames, classes), lengths (words,) -> Readings."""
    path = flat[:, BLANK + 1 :].argmax(axis=1) + BLANK + 1
    top = np.take_along_axis(_softmax(flat), path[:, None], axis=1)[:, 0].tolist()
    path, readings, start = path.tolist(), [], 0
    for length in lengths.tolist():
        stop = start + length
        over = path.index(END, start, stop) if END in path[start:stop] else stop
        whole = float(np.prod(top[start : over + 1 if over < stop else stop]))  # END's share too
        readings.append(Reading(path[start:over], top[start:over], [None] * (over - start), whole))
        start = stop
    return readings

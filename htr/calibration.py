"""Floor 1: whether word confidences mean what they say: calibration error, temperature, rejection; numpy alone.

A confidence is the probability of a word's whole text; among honest words of 0.8, four in five are right.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from htr.decoding import Reading, best_paths

Decoder = Callable[[Sequence[np.ndarray]], list[Reading]]

LOWEST, HIGHEST = 1 / 32, 32.0  # temperatures that are looked at
_TINY = 1e-12  # a word that is right at confidence 0, or wrong at 1, costs 28 nats and not infinity


@dataclass(frozen=True)
class Bin:
    """Words of like confidence: their mean confidence, the share of them read right, their number."""

    confidence: float
    accuracy: float
    words: int


@dataclass(frozen=True, eq=False)
class Rejection:
    """What is left when the least sure words are put aside. kept, cer: (words,) each; kept ends at 1, cer at the CER.

    area: the mean of cer over all shares kept, 0 at best; words in random order give about the CER.
    """

    kept: np.ndarray
    cer: np.ndarray
    area: float

    def at(self, share: float) -> float:
        """The CER of the surest words that make up this share of all words (at least one word)."""
        if not 0 <= share <= 1:
            raise ValueError(f"A share of {share} words came, one from 0 to 1 is possible, such as 0.9.")
        return float(self.cer[max(0, math.ceil(share * len(self.cer) - 1e-9) - 1)])


def reliability(confidences: Iterable[float], correct: Iterable[bool], *, bins: int = 10) -> list[Bin]:
    """confidences (words,) in 0..1, correct (words,) -> bins of equally many words, the least sure first.

    Equal mass (Nguyen and O'Connor 2015) rather than equal width: readers are sure of most words, and bins of equal
    width would hold nearly all of them in one. Words of equal confidence share their accuracy, so that their order has
    no influence. With fewer words than bins each word is a bin.
    Raises ValueError for an empty set, different counts, confidences outside 0..1 or no bins.
    """
    confidences, correct = _columns(confidences, correct)
    if bins < 1:
        raise ValueError(f"{bins} bins came, at least 1 is needed.")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("A confidence outside 0..1 came: give probabilities, not logits.")
    correct = _level(confidences, correct)
    parts = np.array_split(np.argsort(confidences, kind="stable"), min(bins, len(confidences)))
    return [Bin(float(confidences[part].mean()), float(correct[part].mean()), len(part)) for part in parts]


def calibration_error(confidences: Iterable[float], correct: Iterable[bool], *, bins: int = 10) -> float:
    """confidences (words,) in 0..1, correct (words,) -> expected calibration error, 0 (honest) to 1.

    The gap between mean confidence and accuracy, averaged over the bins of `reliability` (Guo et al., "On Calibration
    of Modern Neural Networks", ICML 2017; `metrics.expected_calibration_error` has bins of equal width).
    Raises ValueError as `reliability` does.

    >>> calibration_error([0.5, 0.5, 1.0, 1.0], [True, False, True, False], bins=2)
    0.25
    """
    found = reliability(confidences, correct, bins=bins)
    return sum(abs(b.confidence - b.accuracy) * b.words for b in found) / sum(b.words for b in found)


def confidences_at(temperature: float, batch: Sequence[np.ndarray], *, decode: Decoder = best_paths) -> np.ndarray:
    """batch of logits (frames, classes) -> confidences (words,) of their readings under softmax(logits / temperature).

    The texts do not depend on it. decode is the objective's; for CTC a confidence is the forward sum over alignments.
    Raises ValueError for a temperature that is not above 0, and as the decoder does.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"A temperature of {temperature} came, one above 0 is needed; 1 changes nothing.")
    # float64: in float32 the sum over alignments is off by 1e-6, and 1 - p of sure words would be rounding
    readings = decode([np.asarray(logits, np.float64) / temperature for logits in batch])
    return np.array([reading.confidence for reading in readings])


def fit_temperature(
    batch: Sequence[np.ndarray], correct: Sequence[bool | Sequence[int]] | np.ndarray, *, decode: Decoder = best_paths
) -> float:
    """batch of logits (frames, classes), correct or reference ids (words,) -> the temperature that makes them honest.

    It minimises the negative log-likelihood of "this word is right" (temperature scaling, Guo et al., ICML 2017, with
    the word in the place of the class): above 1 the reader was too sure. correct holds bools, or for each word the
    class ids of its reference. Fit it on words that are measured nowhere. Looks from 1/32 to 32, exact to 0.1 %.
    Raises ValueError for an empty set, different counts, and where all words are right or all are wrong.
    """
    right = _right(batch, correct, decode)
    if right.all() or not right.any():
        raise ValueError(
            f"All {len(right)} words were read {'right' if right.all() else 'wrong'}, which no temperature "
            "explains: give more words, of both kinds."
        )

    def loss(log_temperature: float) -> float:
        p = np.clip(confidences_at(math.exp(log_temperature), batch, decode=decode), _TINY, 1 - _TINY)
        return -float(np.where(right, np.log(p), np.log1p(-p)).mean())

    grid = np.linspace(math.log(LOWEST), math.log(HIGHEST), 11)  # factors of 2: the loss need not have one valley
    best = int(np.argmin([loss(point) for point in grid]))
    return math.exp(_golden(loss, grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]))


def cross_temperatures(
    batch: Sequence[np.ndarray],
    correct: Sequence[bool | Sequence[int]] | np.ndarray,
    groups: Sequence[Hashable] | None = None,
    *,
    decode: Decoder = best_paths,
) -> np.ndarray:
    """batch of logits, correct or ids (words,), groups (words,) -> temperatures (words,), each fitted on other words.

    The groups (writers; without groups the words) are dealt into two halves of about equally many words, and each half
    gets what fits the other: figures at these temperatures are those of words that the fit has not seen.
    Raises ValueError as `fit_temperature` does, also where that holds for one half, and for fewer than 2 groups.
    """
    right = _right(batch, correct, decode)
    halves = _halves(list(range(len(right))) if groups is None else list(groups))
    if len(halves) != len(right):
        raise ValueError(f"{len(halves)} groups came for {len(right)} words: give one for each.")
    temperatures = np.empty(len(right))
    for half in (0, 1):
        others = np.flatnonzero(halves != half).tolist()
        temperatures[halves == half] = fit_temperature([batch[i] for i in others], right[others], decode=decode)
    return temperatures


def rejection(confidences: Iterable[float], edits: Iterable[int], lengths: Iterable[int]) -> Rejection:
    """confidences, edits, lengths: (words,) each -> CER against the share of words kept, the surest first.

    The risk-coverage curve of El-Yaniv and Wiener (2010), its area as in Geifman et al. (2019), with corpus CER as the
    risk. Any score may stand for confidences; words of equal score share their edits and lengths.
    Raises ValueError for an empty set, different counts or references without a character.
    """
    confidences, edits, lengths = _columns(confidences, edits, lengths)
    if not lengths.sum() > 0:
        raise ValueError("All lengths are 0: an error rate needs at least one reference character.")
    order = np.argsort(-confidences, kind="stable")
    wrong, total = (np.cumsum(_level(confidences, column)[order]) for column in (edits, lengths))
    rates = np.divide(wrong, total, out=np.zeros_like(wrong), where=total > 0)
    kept = np.arange(1, len(order) + 1) / len(order)
    return Rejection(kept, rates, float(rates.mean()))


def _columns(*columns: Iterable[float]) -> list[np.ndarray]:
    """Columns of (words,) -> float64, checked to be equally long and not empty."""
    arrays = [np.asarray(list(column), dtype=np.float64) for column in columns]
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"Columns of {', '.join(str(len(array)) for array in arrays)} words came: give equally many.")
    if not len(arrays[0]):
        raise ValueError("No words came: at least one is needed.")
    return arrays


def _level(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """values (words,) -> their mean over the words of the same score."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.bincount(places, weights=values) / counts)[places]


def _right(batch: Sequence[np.ndarray], correct: Sequence | np.ndarray, decode: Decoder) -> np.ndarray:
    """Whether each word was read right, bool (words,), from bools or from reference ids."""
    if len(batch) != len(correct):
        raise ValueError(f"{len(correct)} references came for the logits of {len(batch)} words: give one for each.")
    if not len(batch):
        raise ValueError("No words came: a temperature needs some that are right and some that are wrong.")
    if all(np.ndim(entry) == 0 for entry in correct):
        return np.asarray(correct, dtype=bool)
    readings = decode(batch)
    return np.array([reading.ids == [int(i) for i in ids] for reading, ids in zip(readings, correct, strict=True)])


def _halves(groups: list[Hashable]) -> np.ndarray:
    """groups (words,) -> 0 or 1 (words,): the largest group first, each to the half that has fewer words."""
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} groups of words came, at least 2 are needed, one for each half.")
    words, half = [0, 0], {}
    for group in sorted(sizes, key=lambda group: -sizes[group]):
        half[group] = int(words[1] < words[0])
        words[half[group]] += sizes[group]
    return np.array([half[group] for group in groups])


def _golden(loss: Callable[[float], float], low: float, high: float, *, exact: float = 1e-3) -> float:
    """The place of the minimum between low and high, by golden-section search (Kiefer 1953)."""
    share = (math.sqrt(5) - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > exact:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = loss(right)
    return (low + high) / 2

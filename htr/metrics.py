"""Floor 0: figures for readings: error rates over a corpus, their intervals, calibration; no network.

Rates are fractions (0.031 is 3.1 %) and corpus-wide: edits summed over reference units summed, never a mean of rates
per word. Text is compared in NFC, so that "é" typed as one or as two characters is the same letter.
"""

import unicodedata
from collections.abc import Hashable, Iterable, Sequence

import editdistance
import numpy as np

from htr.charset import normalize

Texts = Sequence[str] | str


def edits(reference: str, hypothesis: str) -> int:
    """The least number of characters to insert, delete or substitute (Levenshtein 1966), after NFC.

    >>> edits("kitten", "sitting")
    3
    >>> edits("cafe\\u0301", "caf\\u00e9")
    0
    """
    return editdistance.eval(normalize(reference), normalize(hypothesis))


def word_edits(reference: str, hypothesis: str) -> int:
    """The least number of whitespace-separated words to insert, delete or substitute.

    >>> word_edits("the old  house", "the cold house")
    1
    """
    # editdistance compares elements by hash, and hash(-1) == hash(-2): small non-negative integers are their own hash
    numbers: dict[str, int] = {}
    coded = [
        [numbers.setdefault(word, len(numbers)) for word in normalize(text).split()] for text in (reference, hypothesis)
    ]
    return editdistance.eval(*coded)


def cer(references: Texts, hypotheses: Texts) -> float:
    """Corpus character error rate: edits summed / reference characters summed. It passes 1 where much is inserted.

    An empty reference adds no characters, but what was read in its place counts as insertions.
    Raises ValueError for different counts, an empty set, or references without a single character.

    >>> cer(["abcd", ""], ["abxd", "y"])
    0.5
    """
    pairs = _pairs(references, hypotheses)
    return _rate((edits(*pair) for pair in pairs), (len(normalize(reference)) for reference, _ in pairs), "character")


def wer(references: Texts, hypotheses: Texts) -> float:
    """Corpus word error rate over whitespace-separated words: word edits summed / reference words summed.

    Raises ValueError as `cer` does.

    >>> wer(["the old house", "door"], ["the cold house", "door"])
    0.25
    """
    pairs = _pairs(references, hypotheses)
    return _rate((word_edits(*pair) for pair in pairs), (len(reference.split()) for reference, _ in pairs), "word")


def word_accuracy(references: Texts, hypotheses: Texts) -> float:
    """The share of rows read without any error, case and punctuation counted; a line is right when all of it is.

    Raises ValueError for different counts or an empty set.

    >>> word_accuracy(["le", "la"], ["le", "La"])
    0.5
    """
    pairs = _pairs(references, hypotheses)
    return sum(normalize(reference) == normalize(hypothesis) for reference, hypothesis in pairs) / len(pairs)


def plain(text: str) -> str:
    """The text in lower case, without punctuation (Unicode categories P*), runs of white space as one space.

    >>> plain("L'Été, 1914 -  fin.")
    'lété 1914 fin'
    """
    kept = "".join(character for character in text.lower() if not unicodedata.category(character).startswith("P"))
    return normalize(" ".join(kept.split()))


def interval(
    edits: Iterable[int],
    lengths: Iterable[int],
    groups: Iterable[Hashable] | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """edits (rows,), lengths (rows,), groups (rows,) -> (low, high) of sum(edits) / sum(lengths).

    Percentile bootstrap (Efron 1979; for error rates Bisani and Ney 2004). Whole groups are drawn with replacement,
    because words of one writer fail together and words drawn alone would promise too much; without groups, or with a
    single one, rows are drawn. Raises ValueError for an empty set, different counts or no length at all.
    """
    draws = _resample(_columns(edits, lengths), groups, samples=samples, seed=seed)
    return _percentiles(draws[:, 0] / draws[:, 1], level)


def paired(
    edits_a: Iterable[int],
    edits_b: Iterable[int],
    lengths: Iterable[int],
    groups: Iterable[Hashable] | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """edits_a, edits_b, lengths, groups: (rows,) each -> (difference, low, high) of CER a minus CER b on the same rows.

    Paired bootstrap (Bisani and Ney 2004): each draw takes the same groups for both readers. The difference is real at
    this level where the interval leaves 0 out; below 0, a is the better reader. Raises ValueError as `interval` does.
    """
    values = _columns(edits_a, edits_b, lengths)
    draws = _resample(values, groups, samples=samples, seed=seed)
    difference = (values[:, 0].sum() - values[:, 1].sum()) / values[:, 2].sum()
    return (float(difference), *_percentiles((draws[:, 0] - draws[:, 1]) / draws[:, 2], level))


def expected_calibration_error(confidences: Iterable[float], correct: Iterable[bool], *, bins: int = 10) -> float:
    """confidences (rows,) in 0..1, correct (rows,) -> how far confidence and accuracy lie apart, 0 (honest) to 1.

    Rows fall into equally wide bins of confidence; the gap between a bin's mean confidence and its accuracy is weighted
    by the bin's rows (Naeini et al. 2015, Guo et al. 2017). Raises ValueError for an empty set, different counts,
    confidences outside 0..1 or no bins.

    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
    0.0
    """
    values = _columns(confidences, correct, total="confidences")
    if bins < 1:
        raise ValueError(f"{bins} bins came, at least 1 is needed.")
    if not ((values[:, 0] >= 0) & (values[:, 0] <= 1)).all():
        raise ValueError("A confidence outside 0..1 came: give probabilities, not logits.")
    places = np.minimum((values[:, 0] * bins).astype(int), bins - 1)  # 1.0 belongs to the last bin
    gaps = np.bincount(places, weights=values[:, 0] - values[:, 1], minlength=bins)
    return float(np.abs(gaps).sum() / len(values))


def _pairs(references: Texts, hypotheses: Texts) -> list[tuple[str, str]]:
    if isinstance(references, str) and isinstance(hypotheses, str):
        references, hypotheses = [references], [hypotheses]
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise ValueError("One text and a list of texts came: give two lists of the same length, or two texts.")
    references, hypotheses = list(references), list(hypotheses)
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses came: give one for each.")
    if not references:
        raise ValueError("No references came: an error rate needs at least one.")
    return list(zip(references, hypotheses, strict=True))


def _rate(edits: Iterable[int], lengths: Iterable[int], unit: str) -> float:
    total = sum(lengths)
    if not total:
        raise ValueError(f"The references hold no {unit}: an error rate needs at least one.")
    return sum(edits) / total


def _columns(*columns: Iterable[float], total: str = "lengths") -> np.ndarray:
    """Columns of (rows,) -> float64 (rows, columns); the last one must have a sum where it is a length."""
    arrays = [np.asarray(list(column), dtype=np.float64) for column in columns]
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"Columns of {', '.join(str(len(array)) for array in arrays)} rows came: give equally many.")
    if not len(arrays[0]):
        raise ValueError("No rows came: at least one is needed.")
    if total == "lengths" and not arrays[-1].sum() > 0:
        raise ValueError("All lengths are 0: an error rate needs at least one reference character.")
    return np.stack(arrays, axis=1)


def _resample(values: np.ndarray, groups: Iterable[Hashable] | None, *, samples: int, seed: int) -> np.ndarray:
    """values (rows, columns), groups (rows,) -> sums (draws, columns) of groups drawn with replacement."""
    units = values if groups is None else _sum_groups(values, list(groups))
    if len(units) == 1:  # one writer drawn again and again would claim certainty
        units = values
    # Units with equal sums are interchangeable: to draw how often each kind comes up is the same lottery, far cheaper.
    kinds, counts = np.unique(units, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(units), counts / len(units), size=samples)
    sums = drawn @ kinds
    return sums[sums[:, -1] > 0]  # a draw of empty references alone has no rate


def _sum_groups(values: np.ndarray, groups: list[Hashable]) -> np.ndarray:
    if len(groups) != len(values):
        raise ValueError(f"{len(groups)} groups came for {len(values)} rows: give one for each.")
    numbers: dict[Hashable, int] = {}
    places = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    return np.stack([np.bincount(places, weights=column) for column in values.T], axis=1)


def _percentiles(rates: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"Level {level} came, one between 0 and 1 is needed, such as 0.95.")
    if not len(rates):
        raise ValueError("No bootstrap samples came out: ask for at least 1, usually 1000.")
    low, high = np.percentile(rates, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)

"""Floor 5: a reader and a dataset -> a Report. Every row counts; nothing is dropped, shortened or forgiven.

The words go through the transcriber's own stream, so that the figures are those of a user's transcription.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from htr import metrics
from htr.charset import normalize

if TYPE_CHECKING:
    from datasets import Dataset

    from htr.transcriber import Transcriber, Transcription

WORST = 20  # rows listed in a report


@dataclass(frozen=True)
class Miss:
    """One word read wrongly. row counts from 0 in the dataset; writer is None where it is not known."""

    row: int
    writer: str | None
    reference: str
    hypothesis: str
    edits: int
    confidence: float


@dataclass(frozen=True, eq=False)
class Rows:
    """What came out row by row, (rows,) each: for `metrics.paired`, which compares two readers on the same rows."""

    references: list[str]
    hypotheses: list[str]
    confidences: list[float]
    edits: np.ndarray  # characters
    lengths: np.ndarray  # characters of the reference
    writers: list[str | None] | None  # None where the dataset names none

    @property
    def groups(self) -> list | None:
        """What a bootstrap draws: writers (a row without one alone), or None, rows, with fewer than 2 writers known."""
        if self.writers is None or len(set(self.writers) - {None}) < 2:
            return None
        return [row if writer is None else f"writer {writer}" for row, writer in enumerate(self.writers)]


@dataclass(frozen=True, eq=False)
class Report:
    """Figures of one reader on one dataset. Rates are fractions, corpus-wide; `str()` gives a table.

    intervals: 95 % bootstrap, {"cer" | "wer" | "word_accuracy": (low, high)}, by writer, or by word where fewer than 2
    writers are known. words: rows. writers: their number, None where the dataset names none.
    plain_cer: without case and punctuation, None where no reference has anything else. unseen_cer, unseen_words: over
    rows whose text is not among the training texts, None where these were not given (or, for the rate, no row is left).
    outside_alphabet: rows with characters that the reader has no class for; too_long: rows whose text needs more frames
    than their image gives. Both are in every figure. seconds: reading alone, with the network's first-call
    setup.
    """

    cer: float
    wer: float
    word_accuracy: float
    intervals: dict[str, tuple[float, float]]
    words: int
    writers: int | None
    characters: int
    plain_cer: float | None
    unseen_cer: float | None
    unseen_words: int | None
    outside_alphabet: int
    too_long: int
    worst: list[Miss]
    rows: Rows
    seconds: float
    checkpoint: str
    data: str | None

    @property
    def words_per_second(self) -> float:
        return self.words / self.seconds

    @property
    def interval_by(self) -> str:
        """What the intervals draw: "writer" or "word"."""
        return "word" if self.rows.groups is None else "writer"

    def to_json(self) -> dict:
        """All figures and the worst words as plain Python values, without the rows."""
        names = "words writers characters plain_cer unseen_cer unseen_words outside_alphabet too_long interval_by"
        names += " seconds words_per_second checkpoint data"
        rates: dict[str, float] = {}
        for name, (low, high) in self.intervals.items():
            rates |= {name: getattr(self, name), f"{name}_low": low, f"{name}_high": high}
        return {
            **rates,
            **{name: getattr(self, name) for name in names.split()},
            "worst": [vars(miss).copy() for miss in self.worst],
        }

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self._rates(), "", *self._notes(), *self._worst()])

    def _head(self) -> list[str]:
        names = [f"{key:10} {value}" for key, value in (("data", self.data), ("checkpoint", self.checkpoint)) if value]
        writers = "writers unknown" if self.writers is None else _count(self.writers, "writer")
        return [*names, f"{_count(self.words, 'word')}, {writers}, {_count(self.characters, 'character')}"]

    def _rates(self) -> list[str]:
        lines = [f"{'':36}{'rate':>9}   95 % interval by {self.interval_by}"]
        for label, name in (("CER", "cer"), ("WER", "wer"), ("word accuracy", "word_accuracy")):
            low, high = self.intervals[name]
            lines.append(f"{label:36}{_percent(getattr(self, name)):>9}   {_percent(low)} to {_percent(high)}")
        if self.plain_cer is not None:
            lines.append(f"{'CER without case and punctuation':36}{_percent(self.plain_cer):>9}")
        if self.unseen_cer is not None:
            lines.append(f"{'CER of texts not seen in training':36}{_percent(self.unseen_cer):>9}")
        return lines

    def _notes(self) -> list[str]:
        notes = []
        if self.interval_by == "word":
            why = "no writers are known" if self.writers is None else "only 1 writer is known"
            notes.append(f"Intervals are by word, as {why}: for other writers they are too narrow.")
        if self.unseen_words is not None:
            notes.append(f"{_count(self.unseen_words, 'word')} with a text not seen in training.")
        if self.outside_alphabet:
            what = "with characters outside the alphabet, counted as errors."
            notes.append(f"{_count(self.outside_alphabet, 'word')} {what}")
        if self.too_long:
            notes.append(f"{_count(self.too_long, 'word')} too long for the image, counted as errors.")
        return [*notes, f"Read in {self.seconds:.1f} s, {self.words_per_second:,.0f} words/s."]

    def _worst(self) -> list[str]:
        if not self.worst:
            return []
        title = f"{'row':>7}  {'writer':12} {'edits':>5}  {'confidence':>10}  text, then what was read"
        lines = ["", "Worst words", title]
        for miss in self.worst:
            start = f"{miss.row:7}  {miss.writer or '':12.12} {miss.edits:5}  {miss.confidence:10.2f}"
            lines.append(f"{start}  {miss.reference!r} {miss.hypothesis!r}")
        return lines


def evaluate(
    transcriber: "Transcriber",
    dataset: "Dataset",
    *,
    train_texts: Iterable[str] | None = None,
    batch_size: int = 64,
    samples: int = 1000,
    seed: int = 0,
    data: str | None = None,
) -> Report:
    """Reads every image of a dataset with columns image, text and, where known, writer -> Report.

    train_texts: what the reader was trained on, for the CER on unseen texts. samples, seed: of the bootstrap.
    checkpoint, data: names that the report carries along.
    Raises ValueError for a dataset that is empty or lacks a column, and at the first image that cannot be read.
    """
    columns = _columns(dataset)
    start = time.perf_counter()
    transcriptions = _read(transcriber, columns, batch_size=batch_size)
    seconds = time.perf_counter() - start
    rows = _rows(columns, transcriptions)
    seen = None if train_texts is None else {normalize(text) for text in train_texts}
    return Report(
        **_rates(rows, samples=samples, seed=seed),
        **_parts(rows, seen),
        **_impossible(transcriber, rows, transcriptions),
        words=len(rows.references),
        writers=None if rows.writers is None else len(set(rows.writers) - {None}),
        characters=int(rows.lengths.sum()),
        worst=_misses(rows)[:WORST],
        rows=rows,
        seconds=seconds,
        checkpoint=transcriber.name,
        data=data,
    )


def _columns(dataset: "Dataset") -> "Dataset":
    """The dataset with its images as they lie on disk: the transcriber decodes them, in one way for everything."""
    from datasets import Image

    missing = {"image", "text"} - set(dataset.column_names)
    if missing:
        raise ValueError(
            f"The dataset has the columns {', '.join(dataset.column_names)} and lacks {', '.join(sorted(missing))}: "
            "rename yours, or give --columns image=...,text=..."
        )
    if not len(dataset):
        raise ValueError("The dataset is empty: an error rate needs at least one word.")
    stored = dataset.features["image"]
    return dataset.cast_column("image", Image(decode=False)) if isinstance(stored, Image) and stored.decode else dataset


def _read(transcriber: "Transcriber", dataset: "Dataset", *, batch_size: int) -> list["Transcription"]:
    images = (row["image"] for row in dataset.select_columns("image"))
    transcriptions = []
    for row, result in enumerate(transcriber.stream(images, batch_size=batch_size)):
        if isinstance(result, Exception):
            raise ValueError(
                f"Row {row} ({_path(dataset[row]['image'])}) cannot be read: {result} "
                "Evaluation leaves no row out: repair or remove it; `htr check` lists all such rows."
            ) from result
        transcriptions.append(result)
    return transcriptions


def _path(image: object) -> str:
    path = image.get("path") if isinstance(image, dict) else image if isinstance(image, str) else None
    return path or "no path, the pixels lie in the table"


def _rows(dataset: "Dataset", transcriptions: list["Transcription"]) -> Rows:
    references = [normalize(text) for text in dataset["text"]]
    hypotheses = [normalize(transcription.text) for transcription in transcriptions]
    writers = None
    if "writer" in dataset.column_names:
        writers = [None if writer is None or writer == "" else str(writer) for writer in dataset["writer"]]
    return Rows(
        references=references,
        hypotheses=hypotheses,
        confidences=[transcription.confidence for transcription in transcriptions],
        edits=np.array([metrics.edits(*pair) for pair in zip(references, hypotheses, strict=True)]),
        lengths=np.array([len(reference) for reference in references]),
        writers=writers if writers and any(writer is not None for writer in writers) else None,
    )


def _rates(rows: Rows, *, samples: int, seed: int) -> dict:
    """The three rates with their intervals, each from the same draws of writers."""
    pairs = list(zip(rows.references, rows.hypotheses, strict=True))
    counts: dict[str, tuple[list | np.ndarray, list | np.ndarray]] = {
        "cer": (rows.edits, rows.lengths),
        "wer": ([metrics.word_edits(*pair) for pair in pairs], [len(reference.split()) for reference, _ in pairs]),
        "word_accuracy": ([reference == hypothesis for reference, hypothesis in pairs], np.ones(len(pairs))),
    }
    intervals = {
        name: metrics.interval(*columns, rows.groups, samples=samples, seed=seed) for name, columns in counts.items()
    }
    rates = {name: float(np.sum(parts) / np.sum(wholes)) for name, (parts, wholes) in counts.items()}
    return {**rates, "intervals": intervals}


def _parts(rows: Rows, seen: set[str] | None) -> dict:
    """The CER of plain text, and of the rows whose text was not seen in training."""
    plain = [[metrics.plain(text) for text in texts] for texts in (rows.references, rows.hypotheses)]
    unseen = np.array([seen is not None and reference not in seen for reference in rows.references])
    return {
        "plain_cer": metrics.cer(*plain) if any(plain[0]) else None,
        "unseen_cer": float(rows.edits[unseen].sum() / rows.lengths[unseen].sum())
        if rows.lengths[unseen].any()
        else None,
        "unseen_words": None if seen is None else int(unseen.sum()),
    }


def _impossible(transcriber: "Transcriber", rows: Rows, transcriptions: list["Transcription"]) -> dict:
    """How many rows the reader cannot get right, for either reason or both."""
    needed = [transcriber.frames_needed(reference) for reference in rows.references]
    return {
        "outside_alphabet": sum(bool(transcriber.charset.missing(reference)) for reference in rows.references),
        "too_long": sum(n > given.frames for n, given in zip(needed, transcriptions, strict=True)),
    }


def _misses(rows: Rows) -> list[Miss]:
    """Rows with errors, most edits first; among equals the surest first, for these tell most about the labels."""
    wrong = sorted(np.flatnonzero(rows.edits).tolist(), key=lambda row: (-rows.edits[row], -rows.confidences[row], row))
    return [
        Miss(
            row=row,
            writer=None if rows.writers is None else rows.writers[row],
            reference=rows.references[row],
            hypothesis=rows.hypotheses[row],
            edits=int(rows.edits[row]),
            confidence=rows.confidences[row],
        )
        for row in wrong
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"

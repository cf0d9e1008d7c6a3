"""Floor 5: images of whole lines and their texts -> the single words, cut out of the lines, as data to train on.

A reader that has learned some words lays a line's text over its frames; what it then says of each word decides which
are kept. Nothing vanishes: a line or word that is not written is listed with its reason.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from htr.alignment import Alignment, best_alignments, forwards, word_gaps
from htr.charset import normalize
from htr.images import ImageError, Ink, read_image, to_ink
from htr.rows import Samples

if TYPE_CHECKING:
    from datasets import Dataset

    from htr.transcriber import Transcriber

THRESHOLD = 0.2  # low: of 318 words of 40 French lines 266 pass, by eye 3 of them cut wrongly; hard hands pass too
MARGIN = 2  # px of ink: paper kept on either side of a word, where there is any
_WINDOW = 64  # lines that are read together
_ROWS = 1000  # words in a row group of the parquet file
_PNG = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")  # other modes become TIFF
_LISTED = ("row", "line", "index", "text", "confidence", "reason")
_COLUMNS = {"text": "string", "writer": "string", "confidence": "float32", "line": "string", "index": "int32"}


@dataclass(frozen=True)
class Word:
    """A word of a line, or with reason and no index a whole line that cannot be used.

    line: the path of the line's image, row: its row in the source, index: the word's place in the line, from 0.
    image: the columns left to right (px) of the upright line, at its full height. confidence: 0..1, see `align_lines`.
    reason: why the word is not used, empty where it is; kind: the same in a few words, to be counted.
    """

    line: str
    row: int
    text: str
    index: int | None = None
    writer: str | None = None
    image: Image.Image | None = None
    left: int | None = None
    right: int | None = None
    confidence: float | None = None
    kind: str = ""
    reason: str = ""

    def without(self, kind: str, reason: object) -> "Word":
        """The same, left out."""
        return replace(self, kind=kind, reason=str(reason).rstrip("."))


@dataclass
class Counts:
    """What became of the lines and words. words: of all texts. left_out: words by kind of reason, with those of lines
    that were left out whole; lines_left_out: these lines by kind of reason."""

    lines: int = 0
    words: int = 0
    written: int = 0
    left_out: Counter = field(default_factory=Counter)
    lines_left_out: Counter = field(default_factory=Counter)

    def add(self, word: Word) -> None:
        """Count a word, or a line that was left out."""
        number = len(word.text.split()) if word.index is None else 1
        self.words += number
        self.written += not word.reason
        if word.reason:
            self.left_out[word.kind] += number
            self.lines_left_out.update([word.kind] if word.index is None else [])


def align(
    samples: "Samples | Dataset",
    reader: "Transcriber",
    *,
    out: str | os.PathLike,
    rejected: str | os.PathLike,
    threshold: float = THRESHOLD,
    batch_size: int = 16,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Counts:
    """Lines -> a parquet file of words, out, and a CSV of all that is not in it, rejected; details in `align_lines`.

    out has the columns image (Image of datasets: PNG, or TIFF for what PNG cannot hold), text, writer, confidence, line
    and index, is written a row group at a time and gets its name when it is whole. rejected has row, line, index (empty
    for a whole line), text, confidence and reason: words below the threshold (0..1), lines that cannot be read or
    aligned, and the problems of samples. Raises ValueError as `align_lines` does, and for a threshold out of range.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is {threshold}; give a confidence from 0 to 1.")
    dataset, problems = samples if isinstance(samples, Samples) else (samples, [])
    lines = align_lines(reader, dataset, batch_size=batch_size, progress=progress)
    for path in (out, rejected):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    bad = ([Word(each.path, each.row, "").without("unusable row", each.reason)] for each in problems)
    counts = Counts()
    with open(rejected, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _LISTED, extrasaction="ignore")
        table.writeheader()
        _write(Path(out), _kept(chain(bad, lines), threshold, counts, table))
    return counts


def _kept(lines: Iterable[list[Word]], threshold: float, counts: Counts, table: csv.DictWriter) -> Iterator[Word]:
    """The words to write; the others go into the table on the way, and all into counts."""
    for line in lines:
        counts.lines += 1
        for word in line:
            if not word.reason and word.confidence is not None and word.confidence < threshold:
                word = word.without("below the threshold", f"its confidence is below {threshold}")
            counts.add(word)
            if word.reason:
                confidence = None if word.confidence is None else round(word.confidence, 4)
                table.writerow({**vars(word), "confidence": confidence})
            else:
                yield word


def _write(path: Path, words: Iterator[Word]) -> None:
    import datasets
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    columns = {name: datasets.Value(kind) for name, kind in _COLUMNS.items()}
    schema = datasets.Features({"image": datasets.Image(), **columns}).arrow_schema
    part = path.with_name(path.name + ".part")  # a run that is stopped leaves no half a file under the name
    try:
        with ParquetWriter(part, schema) as file:
            while rows := [_row(word) for word in islice(words, _ROWS)]:
                file.write_table(pa.Table.from_pylist(rows, schema=schema))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _row(word: Word) -> dict:
    image: Image.Image = word.image  # type: ignore[assignment]  # what _kept yields has one
    kind, data = "png" if image.mode in _PNG else "tiff", io.BytesIO()
    image.save(data, kind)
    cell = {"bytes": data.getvalue(), "path": f"{Path(word.line).stem}-{word.index:02}.{kind}"}
    return {"image": cell, **{name: getattr(word, name) for name in _COLUMNS}}


# --- from lines to words


def align_lines(
    reader: "Transcriber", dataset: "Dataset", *, batch_size: int = 16, progress: Callable[[Iterable], Iterable] = iter
) -> Iterator[list[Word]]:
    """dataset of lines (image, text, perhaps writer) -> for each line its words, or itself with the reason.

    Words are what spaces part. The text is laid over the line's frames (`alignment.best_alignments`), with its spaces
    or without them, whichever the reader finds likelier. The line is cut in the emptiest stretch of columns between the
    last character of a word and the first of the next; where they touch, at the column with the least ink.
    confidence, 0..1: the mean of two probabilities per character (geometric means over the word), that of its
    characters where they stand in the line, and that of its text on the crop read by itself, over all alignments. Both
    are low where the text or the cut is wrong; a hard hand often spares one of them. It is not calibrated.
    progress wraps the rows, as tqdm does.
    Raises ValueError for a reader whose objective ties no character to a place, and a dataset without image or text.
    """
    if not reader.objective.has_positions:
        raise ValueError(
            f"The reader was trained with {reader.objective.name!r}, which ties no character to a place: "
            "align with one that was trained with 'ctc'."
        )
    if missing := {"image", "text"} - set(dataset.column_names):
        raise ValueError(
            f"The dataset has the columns {', '.join(dataset.column_names)} and lacks {', '.join(sorted(missing))}: "
            "rename yours, or give --columns image=...,text=..."
        )
    return _stream(reader, dataset, batch_size, progress)


class _Line(NamedTuple):
    """A line that can be aligned: the line as a Word without index, its upright image and its ink."""

    line: Word
    image: Image.Image
    ink: Ink

    @property
    def words(self) -> list[str]:
        return self.line.text.split()


def _stream(reader: "Transcriber", dataset: "Dataset", batch_size: int, progress) -> Iterator[list[Word]]:
    import datasets

    if isinstance(dataset.features["image"], datasets.Image):
        dataset = dataset.cast_column("image", datasets.Image(decode=False))
    rows = enumerate(progress(dataset))
    while window := list(islice(rows, _WINDOW)):
        opened = [_open(reader, row.get("row", number), row) for number, row in window]
        words = _words(reader, [line for line in opened if isinstance(line, _Line)], batch_size)
        yield from ([line] if isinstance(line, Word) else next(words) for line in opened)


def _open(reader: "Transcriber", number: int, row: dict) -> _Line | Word:
    """A row of the dataset -> what can be aligned, or why it cannot."""
    image = row["image"]
    path = image.get("path") if isinstance(image, dict) else image
    name = path if path and isinstance(path, str) else f"row {number}"
    line = Word(name, number, normalize(row["text"] or ""), writer=row.get("writer"))
    joined = "".join(line.text.split())
    if not joined:
        return line.without("no text", "the text is empty")
    if missing := reader.charset.missing(joined):
        return line.without("outside the alphabet", f"the text holds {missing!r}, which the reader's alphabet lacks")
    try:
        ink = to_ink(image, reader.config.height)
        return _unfit(reader, line, joined, ink) or _Line(line, read_image(image), ink)
    except ImageError as error:
        return line.without("unreadable image", error)


def _unfit(reader: "Transcriber", word: Word, text: str, ink: Ink) -> Word | None:
    """The word or line with the reason why text cannot be on its ink, or None where it can."""
    if ink.blank:
        return word.without("no ink", "there is no ink in its place" if word.image else "the image has no ink")
    reason = reader.config.misfit(text, reader.frames_needed(text), ink.pixels.shape[1])
    return word.without("does not fit", reason) if reason else None


def _words(reader: "Transcriber", lines: list[_Line], batch_size: int) -> Iterator[list[Word]]:
    """Lines -> the words of each, cut out and read again by themselves."""
    laid = zip(lines, _lay(reader, lines, batch_size), strict=True)
    cuts = [_cut(line, alignment, space, reader.config.stride) for line, (alignment, space) in laid]
    words = iter(_read(reader, [cut for line in cuts for cut in line], batch_size))
    return (list(islice(words, len(line))) for line in cuts)


def _lay(reader: "Transcriber", lines: list[_Line], batch_size: int) -> list[tuple[Alignment, int]]:
    """-> each line's alignment, and how many characters stand between two words in it: 1 or, where likelier, 0."""
    logits = reader.logits([line.ink for line in lines], batch_size)
    joints = [""] if reader.charset.missing(" ") else [" ", ""]  # a reader of words may have seen few spaces
    texts = [[reader.charset.encode(joint.join(line.words)) for line in lines] for joint in joints]
    best = np.argmax([forwards(logits, ids) for ids in texts], axis=0).tolist()
    alignments = best_alignments(logits, [texts[joint][line] for line, joint in enumerate(best)])
    return list(zip(alignments, [len(joints[joint]) for joint in best], strict=True))


def _cut(line: _Line, alignment: Alignment, space: int, stride: int) -> list[Word]:
    """The words of a line whose alignment has `space` characters between them, as sure as the line is of them.

    A frame is `stride` px of ink wide.
    """
    lengths = [len(word) for word in line.words]
    stops = np.cumsum(lengths) + space * np.arange(len(lengths))
    peaks = stride * np.array(alignment.peaks)
    gaps = word_gaps(line.ink.pixels, peaks[stops - lengths, 0], peaks[stops - 1, 1])
    # a word ends and the next begins MARGIN inside the paper between them, or in the middle where there is less
    edges = np.array([(min((a + b) / 2, a + MARGIN), max((a + b) / 2, b - MARGIN)) for a, b in gaps])
    columns = np.rint(line.ink.left + line.ink.scale * edges.clip(0, line.ink.pixels.shape[1])).astype(int).tolist()
    cuts = []
    for index, (text, stop) in enumerate(zip(line.words, stops.tolist(), strict=True)):
        left = min(columns[index][1], line.image.width - 1)
        right = min(max(columns[index + 1][0], left + 1), line.image.width)
        crop = line.image.crop((left, 0, right, line.image.height))
        # without the file's EXIF data, which would turn the upright crop once more
        crop.info = {name: value for name, value in crop.info.items() if name == "transparency"}
        logs = np.log(np.maximum(alignment.confidences[stop - len(text) : stop], 1e-300))
        place = {"index": index, "image": crop, "left": left, "right": right}
        cuts.append(replace(line.line, text=text, confidence=float(np.exp(logs.mean())), **place))
    return cuts


def _read(reader: "Transcriber", words: list[Word], batch_size: int) -> list[Word]:
    """Words as sure as the line is of them -> as sure as line and crop are, or with the reason why they cannot be."""
    results, inks = [], {}
    for place, word in enumerate(words):
        try:
            ink = to_ink(word.image, reader.config.height)
            results.append(_unfit(reader, word, word.text, ink) or word)
        except ImageError as error:
            results.append(word.without("unreadable image", error))
        if not results[place].reason:
            inks[place] = ink
    ids = [reader.charset.encode(words[place].text) for place in inks]
    scores = forwards(reader.logits(list(inks.values()), 4 * batch_size), ids).tolist()
    alone = {place: np.exp(score / len(text)) for place, score, text in zip(inks, scores, ids, strict=True)}
    # _cut has filled in every confidence; a text that cannot be on its crop has probability 0 there
    means = [(word.confidence + float(alone.get(i, 0))) / 2 for i, word in enumerate(words)]  # type: ignore[operator]
    return [replace(word, confidence=mean) for word, mean in zip(results, means, strict=True)]

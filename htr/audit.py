"""Floor 7: which labels does a reader find improbable? Every row of a dataset in a list, the worst first.

A label is held against the reader's own reading of the same image. Labels that fit another image of the same writer
better, exchanged or slipped by some rows, are proposed to go there. A reader that was trained on a wrong label finds it
less wrong: `cross_fit` lets every row be judged by a reader of other writers (out of sample, as Northcutt et al.,
"Confident Learning", JAIR 2021, arXiv:1911.00068). Nothing is corrected here: see `htr.corrections`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from htr import training
from htr.alignment import forwards
from htr.charset import END, normalize
from htr.config import ModelConfig, TrainConfig
from htr.corrections import stored
from htr.images import ImageError, to_ink
from htr.metrics import edits
from htr.run import STATE
from htr.transcriber import Transcriber

if TYPE_CHECKING:
    from datasets import Dataset

# Of edits, the gap's divisor: 0 ranks long words whose ink is hard, 1 forgets that many errors are more than one. Of
# 0 to 1, and of powers of the length, 0.75 finds most of the errors planted in dhsd's and copiste's validation parts.
POWER = 0.75
OUTSIDE = 10.0  # nats that a character outside the alphabet costs: the reader can say nothing better of it
MARGIN = 3.0  # nats that a label must gain on another image, 20 to 1
NEIGHBOURS = 5  # rows to either side, in the writer's order, whose labels are tried; and as many that look alike
WINDOW = 1024  # rows whose logits are in memory at once; longer groups are cut into such

Progress = Callable[[Iterable], Iterable]
MakeReader = Callable[["Dataset", int], Transcriber]


@dataclass(frozen=True)
class Suspicion:
    """What a reader thinks of one row's label. row: place in the dataset, from 0.

    gap: nats, log p(reading) - log p(text), 0 where the text is at least as probable, inf where it is impossible.
    score: gap / edits between them ^ 0.75, what rows are ranked by. confidence: of the reading, 0..1. kind: "image" (it
    cannot be read), "text" (the label is empty), "length" (it cannot fit), "alphabet" (it has characters that the
    reader does not know), "exchange" (with the row partner both labels fit better), "moved" (partner's label fits
    better, and partner's own label does not), or "label" (improbable, or not even that). reason: a sentence, empty for
    "label". proposal: the text that would be better, the row's own where there is none.
    """

    row: int
    text: str
    reading: str
    score: float
    gap: float
    confidence: float
    kind: str = "label"
    reason: str = ""
    proposal: str = ""
    partner: int | None = None


def audit(reader: Transcriber, dataset, *, batch_size: int = 64, progress: Progress = iter) -> list[Suspicion]:
    """A reader, a dataset of image, text and perhaps writer -> one Suspicion a row, the most suspicious first.

    The reader should not have been trained on these rows, or find out with `cross_fit`. Rows of a writer are taken in
    their order; rows without a writer count as one writer's. progress wraps the rows, as tqdm does. ValueError for a
    dataset that is empty or lacks a column; what is wrong with a single row is said in its Suspicion.
    """
    if not len(dataset):
        raise ValueError("The dataset is empty; give at least one row to judge.")
    return sorted(
        _judge(reader, dataset, range(len(dataset)), batch_size, progress), key=lambda each: (-each.score, each.row)
    )


def cross_fit(
    dataset, folds: int, *, make_reader: MakeReader, seed: int = 0, batch_size: int = 64, progress: Progress = iter
) -> list[Suspicion]:
    """As `audit`, but each part of the dataset is judged by the reader that make_reader(all other parts, number) gives.

    `trainer` makes such a function, `parts` says what the parts are. ValueError as either raises it.
    """
    found = []
    for number, rows in enumerate(parts(dataset, folds, seed=seed)):
        others = sorted(set(range(len(dataset))).difference(rows))
        reader = make_reader(dataset.select(others), number)
        found += _judge(reader, dataset, rows, batch_size, progress)
    return sorted(found, key=lambda each: (-each.score, each.row))


def parts(dataset: "Dataset", folds: int, *, seed: int = 0) -> list[list[int]]:
    """A dataset -> its rows in `folds` parts of about the same size, by writer: no hand is in two of them.

    Rows without a writer, and all rows where there are fewer writers than folds, go in blocks of neighbours: what may
    have slipped stays together. The same rows and seed give the same parts. ValueError for fewer than 2 folds, or for
    fewer rows than folds.
    """
    if not 2 <= folds <= len(dataset):
        raise ValueError(f"{folds} folds came for {len(dataset)} rows; give 2 to {len(dataset)}.")
    groups = _groups(dataset, range(len(dataset)))
    loose, blocks = groups.pop("", []), list(groups.values())
    loose, blocks = (loose, blocks) if len(blocks) >= folds else (list(range(len(dataset))), [])
    blocks += [loose[len(loose) * i // folds : len(loose) * (i + 1) // folds] for i in range(folds)]
    order = np.random.default_rng(seed).permutation(len(blocks))
    result: list[list[int]] = [[] for _ in range(folds)]
    for block in sorted((blocks[i] for i in order), key=len, reverse=True):
        min(result, key=len).extend(block)
    return [sorted(rows) for rows in result]


def trainer(out, *, settings: TrainConfig, model: ModelConfig | None = None, init=None) -> MakeReader:
    """A folder and a training run's settings -> a make_reader for `cross_fit`: fold k trains in out/fold-k.

    A fold that was stopped goes on where it was. Rows that cannot be learned are left out, and listed in the fold's
    problems.csv. init: a checkpoint to start from; one that has seen the rows to be judged would spoil the judgement.
    """

    def make_reader(dataset: "Dataset", fold: int) -> Transcriber:
        folder = Path(out) / f"fold-{fold}"
        options = {"model": model, "init": init, "resume": (folder / STATE).exists(), "skip_bad": True}
        return training.train(dataset, out=folder, training=settings, **options)

    return make_reader


@dataclass(eq=False)
class _Seen:
    """A row as it was read. number: what a person calls it, its place in its source. logits: (frames, classes), None
    without an image. best, own: nats, log p of the reading and of the label. The others as in Suspicion."""

    row: int
    number: int
    text: str
    logits: np.ndarray | None = None
    reading: str = ""
    confidence: float = 0.0
    best: float = 0.0
    own: float = -np.inf
    kind: str = "label"
    reason: str = ""
    proposal: str = ""
    partner: int | None = None

    @property
    def gap(self) -> float:
        return max(self.best - self.own, 0.0)

    def gain(self, new: float) -> float | None:
        """Nats by which a label of log-probability new is better here, None where that is too little to tell."""
        own = max(self.own, self.best - 1e3)  # of one that cannot be the gain is large, and still a number
        return new - own if new - own >= MARGIN and self.best - new <= (self.best - own) / 2 else None

    def take(self, other: "_Seen", *, mutual: bool) -> None:
        """Propose the label of the other row."""
        behind = "and this label fits there: exchange them" if mutual else "and not there: labels may have slipped"
        reason = f"row {other.number} has the label {other.text!r}, which fits here, {behind}"
        self.reason = f"{self.reason}; {reason}" if self.reason else reason
        self.kind, self.proposal, self.partner = "exchange" if mutual else "moved", other.text, other.row

    def suspicion(self) -> Suspicion:
        proposal = self.proposal or self.reading if self.gap and self.logits is not None else self.text
        score = self.gap / max(edits(self.text, self.reading), 1) ** POWER
        about = self.kind, self.reason, proposal, self.partner
        return Suspicion(self.row, self.text, self.reading, score, self.gap, self.confidence, *about)


def _groups(dataset: "Dataset", rows: Iterable[int]) -> dict[str, list[int]]:
    """Writer -> rows in their order; "" for those without one."""
    writers = list(dataset["writer"]) if "writer" in dataset.column_names else [None] * len(dataset)
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault("" if writers[row] is None else str(writers[row]), []).append(row)
    return groups


def _windows(groups: Iterable[list[int]]) -> list[list[list[int]]]:
    """Groups of rows -> windows of whole groups, of about WINDOW rows each."""
    pieces = [group[start : start + WINDOW] for group in groups for start in range(0, len(group), WINDOW)]
    windows: dict[int, list[list[int]]] = {}
    for piece, before in zip(pieces, np.cumsum([0, *map(len, pieces)]).tolist(), strict=False):
        windows.setdefault(before // WINDOW, []).append(piece)
    return list(windows.values())


def _judge(reader: Transcriber, dataset: "Dataset", rows: Iterable[int], batch_size: int, progress: Progress):
    """Yields the Suspicions of these rows, writer by writer."""
    windows = _windows(_groups(dataset, rows).values())
    names = [name for name in ("image", "text", "row") if name in dataset.column_names]
    dataset = stored(dataset).select_columns(names)
    ordered = iter(progress([row for window in windows for group in window for row in group]))
    for window in windows:
        seen = _read(reader, dataset, islice(ordered, sum(map(len, window))), batch_size)
        for start, group in zip(np.cumsum([0, *map(len, window)]), window, strict=False):
            members = seen[start : start + len(group)]
            _move(reader, members)
            yield from (each.suspicion() for each in members)
    next(ordered, None)  # lets a progress bar come to its end


def _read(reader: Transcriber, dataset: "Dataset", rows: Iterable[int], batch_size: int) -> list[_Seen]:
    """The rows as the reader sees them, with what is wrong with them at first sight."""
    seen, readable, inks = [], [], []
    for row in rows:
        record = dataset[row]
        seen.append(each := _Seen(row, record.get("row", row), normalize(record["text"] or "")))
        try:
            ink = to_ink(record["image"], reader.config.height)
            each.reason = "the image holds no ink" if ink.blank else ""
        except ImageError as error:
            each.reason = str(error).rstrip(".")
        if each.reason:
            each.kind = "image"
        else:
            each.kind, each.reason = _fault(reader, each.text, ink.pixels.shape[1])
            readable.append(each)
            inks.append(ink)
    batch = reader.logits(inks, batch_size)
    for each, logits, reading in zip(readable, batch, reader.objective.decode(batch), strict=True):
        each.logits, each.reading, each.confidence = logits, reader.charset.decode(reading.ids), reading.confidence
    best = _log_probabilities(reader, batch, [each.reading for each in readable])
    own = _log_probabilities(reader, batch, [each.text for each in readable])
    for each, *sums in zip(readable, best.tolist(), own.tolist(), strict=True):
        each.best, each.own = (sums[0], -np.inf) if each.kind in ("text", "length") else sums
    return seen


def _fault(reader: Transcriber, text: str, width: int) -> tuple[str, str]:
    """The kind of a label before anything was read, and what is wrong with it."""
    if not text.strip():
        return "text", "the text is empty"
    if misfit := reader.config.misfit(text, reader.frames_needed(text), width):
        return "length", misfit
    if missing := reader.charset.missing(text):
        return "alphabet", f"{text!r} holds {missing!r}, which is outside of the reader's alphabet"
    return "label", ""


def _log_probabilities(reader: Transcriber, batch: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """batch of (frames, classes), a text each -> log p(text) (words,) in nats, -inf where it cannot be.

    Characters outside the alphabet are left out and cost OUTSIDE each.
    """
    known = ["".join(c for c in text if not reader.charset.missing(c)) for text in texts]
    ids = [reader.charset.encode(text) for text in known]
    sums = forwards(batch, ids) if reader.objective.has_positions else _spelled(batch, ids)
    return sums - OUTSIDE * np.array([len(a) - len(b) for a, b in zip(texts, known, strict=True)])


def _spelled(batch: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> np.ndarray:
    """As `forwards`, of a reader that tells character i at frame i and END after the last."""
    sums = []
    for logits, text in zip(batch, ids, strict=True):
        scores = logits - logits.max(axis=1, keepdims=True)
        scores = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        path = [*text, END][: len(logits)]
        sums.append(scores[np.arange(len(path)), path].sum() if len(text) <= len(logits) else -np.inf)
    return np.array(sums)


def _move(reader: Transcriber, members: list[_Seen]) -> None:
    """A writer's rows, in order: says of each where a better label stands. Only rows that are suspicious themselves
    give and take, as a word that a writer wrote twice is no exchange."""
    logits = {i: each.logits for i, each in enumerate(members) if each.logits is not None and each.gap >= MARGIN}
    bad = list(logits)
    both = {pair for i in bad for j in _tried(members, bad, i) for pair in ((i, j), (j, i))}
    pairs = sorted((i, j) for i, j in both if members[j].text.strip())
    sums = _log_probabilities(reader, [logits[i] for i, _ in pairs], [members[j].text for _, j in pairs])
    gains = {pair: gain for pair, new in zip(pairs, sums.tolist(), strict=True) if (gain := members[pair[0]].gain(new))}
    free, top = set(bad), {i: gain - 1e-6 for (i, _), gain in sorted(gains.items(), key=lambda each: each[1])}
    best = {(i, j) for (i, j), gain in gains.items() if gain > top[i]}  # as good as any, but for rounding
    for _, i, j in sorted((j - i, i, j) for i, j in best if i < j and (j, i) in best):  # equal words: the nearest
        if {i, j} <= free:
            free -= {i, j}
            members[i].take(members[j], mutual=True)
            members[j].take(members[i], mutual=True)
    for _, _, i, j in sorted((-gain, abs(i - j), i, j) for (i, j), gain in gains.items() if {i, j} <= free):
        here, there = members[i], members[j]
        if here.partner is None and _alike(there.text, here.reading) and not _alike(there.text, there.reading):
            here.take(there, mutual=False)


def _tried(members: list[_Seen], bad: list[int], i: int) -> list[int]:
    """The members whose labels are tried on image i: suspicious neighbours, and labels that look like its reading."""
    here = members[i]
    others = [j for j in bad if members[j].text != here.text]
    alike = sorted((edits(here.reading, members[j].text), abs(i - j), j) for j in others)[:NEIGHBOURS]
    far = edits(here.reading, here.text)
    return [j for j in others if abs(i - j) <= NEIGHBOURS] + [j for distance, _, j in alike if distance < far]


def _alike(a: str, b: str) -> bool:
    """Whether two texts may be one word: at most half of the longer one differs."""
    return 2 * edits(a, b) <= max(len(a), len(b))

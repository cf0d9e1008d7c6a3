"""Floor 3: words in memory, and a `keras.utils.PyDataset` that augments and pads them, like widths together."""

import os
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from htr.augment import generator
from htr.cache import Cache, Inks, decoded
from htr.charset import Charset, normalize
from htr.config import ModelConfig
from htr.devices import share
from htr.feeder import Feeder, Task, work
from htr.images import PAD
from htr.padding import pad_images, pad_labels
from htr.rows import Problem, problem

POOL = 128  # batches that are augmented together and then sorted by width
PROCESSES = min(4, os.cpu_count() or 1)  # that augment; an accelerator reads faster than one of them writes


@dataclass
class Words:
    """Words ready for the network: inks uint8 (height, width) with 255 for ink, texts, writers ('' where unknown)."""

    inks: Sequence[np.ndarray] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inks)


def read_words(
    dataset, height: int, *, fits: Callable[[str, int], str | None] | None = None, cache: Cache | None = None
) -> Words:
    """A dataset of image, text and perhaps writer -> Words; each row is in the words or among the problems.

    fits(text, width) gives a reason why a label is unusable at a width in px, or None. With a cache images are decoded
    once, all that the dataset was selected from; what is found there is what decoding would give.
    """
    words = Words()
    kept: list = []  # inks, or the places of those that are stored
    found = cache.stored(dataset, height) if cache else None
    stored, images = (found[0], found[1].tolist()) if found else (None, dataset["image"])
    writers = dataset["writer"][:] if "writer" in dataset.column_names else None
    for row, (image, text) in enumerate(zip(images, dataset["text"][:], strict=True)):
        text = normalize(text or "")
        ink = decoded(image, height) if stored is None else stored[image]
        reason = ink if isinstance(ink, str) else _reason(ink, text, fits)
        if reason:
            words.problems.append(problem(dataset, row, reason))
            continue
        kept.append(ink if stored is None else image)
        words.texts.append(text)
        words.writers.append(sys.intern(str(writers[row] or "")) if writers is not None else "")
    words.inks = kept if stored is None else stored.inks.take(kept)
    return words


def _reason(ink: np.ndarray, text: str, fits: Callable[[str, int], str | None] | None) -> str | None:
    if not text or not ink.size:
        return "the image holds no ink" if text else "the text is empty"
    return fits(text, ink.shape[1]) if fits else None


class Batches(keras.utils.PyDataset):
    """(images (batch, height, width, 1), labels (batch, length)) of all words once an epoch, shuffled by seed.

    What a batch holds depends on (seed, epoch, index) alone: not on workers, and not on where a run was resumed.
    views: rows for every word, next to each other, augmented in one geometry; the batch size counts rows.
    Images are padded with PAD, labels with 0; with masks, x is {"images", "masks"} and both are padded alike.
    With process=True processes of their own augment one pool of words ahead of the network; `close` ends them.
    devices: every batch gets empty rows up to a multiple of that many words, and weights (batch,) as a third array, 0
    for those rows and for the others such that the mean over all is that over the words. Of several hosts each gets
    the rows of its own devices.
    config is the network's; ValueError names the first label that cannot fit its image: such a word would be noise.
    """

    def __init__(
        self,
        words: Words,
        charset: Charset,
        *,
        batch_size: int = 32,
        config: ModelConfig | None = None,
        frames_needed: Callable[[np.ndarray], int] = len,
        strength: float = 0.0,
        masks: Sequence[np.ndarray] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        width_step: int = 1,
        views: int = 1,
        process: bool = False,
        devices: int = 1,
        **workers,
    ):
        super().__init__(**workers)
        if not len(words):
            raise ValueError("There are no words to make batches of; give at least one.")
        # one batch alone would have its shape taken for every epoch's: make two of it
        self.words, self.masks, self.views, self.devices = words, masks, views, devices
        self.batch_size = min(max(1, batch_size // views), -(-len(words) // 2))  # in words
        self.strength, self.shuffle, self.seed, self.width_step = strength, shuffle, seed, width_step
        # flat arrays: a million small ones would be most of what the process holds
        ids, ends, frames = array("i"), array("q", [0]), array("i")
        for ink, text in zip(words.inks, words.texts, strict=True):
            encoded = charset.encode(text)
            ids.frombytes(encoded.tobytes())
            ends.append(len(ids))
            frames.append(frames_needed(encoded))
            if config and (reason := config.misfit(text, frames[-1], ink.shape[1])):
                raise ValueError(f"{reason}; leave the word out.")
        self._ids, self._ends = np.array(ids, np.int32), np.array(ends)
        self.min_widths = np.array(frames) * (config.stride if config else 1)
        self._lock, self._feeder = threading.Lock(), Feeder(PROCESSES) if process else None
        self._ahead: dict = {}
        self.start_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.words) // self.batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch; `fit` goes from one to the next by itself."""
        with self._lock:
            self.epoch = epoch
            self._pools: dict[int, list] = {}
            self._members, self._turns = self._draw(epoch)
            self._ahead = {place: future for place, future in self._ahead.items() if place == (epoch, 0)}
            if not self._ahead:
                self._prepare(epoch, 0)

    def _draw(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The rows of each pool of an epoch, and in which order the batches of each are given out."""
        rng = generator(self.seed, epoch, 1 << 40)
        order = np.arange(len(self.words))
        if self.shuffle:
            rng.shuffle(order)
        size = POOL * self.batch_size
        members = [order[start : start + size] for start in range(0, len(order), size)]
        return members, [rng.permutation(-(-len(pool) // self.batch_size)) for pool in members]

    def on_epoch_end(self) -> None:
        self.start_epoch(self.epoch + 1)

    def close(self) -> None:
        """End the processes that augment; the batches can still be used, they are then made in this one."""
        if self._feeder:
            self._feeder.close()
        self._feeder, self._ahead = None, {}

    def __getitem__(self, index: int):
        """Batch number index: (images, labels), or ({"images", "masks"}, labels)."""
        if not 0 <= index < len(self):
            raise IndexError(f"There is no batch {index}; there are {len(self)}.")
        rows = self._rows(index)
        width, length = self._shape(rows)
        if index == 0 and len(self) > 1:
            # Keras takes for fixed what is equal in the first two batches: let nothing be equal by chance
            other = self._shape(self._rows(1))
            width, length = width + (width == other[0]) * self.width_step, length + (length == other[1])
        images = pad_images([floats(ink) for _, ink, _ in rows], width=width)
        labels, _ = pad_labels([self.ids(i) for i, _, _ in rows])
        labels = np.pad(labels, ((0, 0), (0, length - labels.shape[1])))
        x: np.ndarray | dict = images
        if self.masks is not None:
            masks = pad_images([floats(mask) for _, _, mask in rows], width=width, value=0.0)
            x = {"images": images, "masks": masks}
        return (x, labels) if self.devices == 1 else self._shared(x, labels)

    def _shared(self, x, labels: np.ndarray):
        """A batch -> the same with empty rows behind it, so that each device gets as many, and the rows' weights."""
        count = len(labels)
        empty = -count % (self.devices * self.views)

        def longer(values, value):
            return np.pad(values, [(0, empty)] + [(0, 0)] * (values.ndim - 1), constant_values=value)

        if isinstance(x, dict):
            x = {"images": longer(x["images"], PAD), "masks": longer(x["masks"], 0.0)}
        else:
            x = longer(x, PAD)
        weights = np.full(count, (count + empty) / count, np.float32)
        mine = share(count + empty)
        x = {name: values[mine] for name, values in x.items()} if isinstance(x, dict) else x[mine]
        return x, longer(labels, 0)[mine], longer(weights, 0.0)[mine]

    def ids(self, row: int) -> np.ndarray:
        """The label of a word."""
        return self._ids[self._ends[row] : self._ends[row + 1]]

    def _shape(self, rows) -> tuple[int, int]:
        widest = max(ink.shape[1] for _, ink, _ in rows)
        return -(-widest // self.width_step) * self.width_step, max(len(self.ids(i)) for i, _, _ in rows)

    def _rows(self, index: int) -> list:
        """The (row, ink, mask) of batch index, from its pool: augmented first, then sorted, so that widths fit."""
        number, place = divmod(index, POOL)
        with self._lock:
            if number not in self._pools:
                ahead = self._ahead.pop((self.epoch, number), None)
                if ahead:
                    results = [result for part in ahead for result in part.result()]
                else:
                    results = work(self._task(self.epoch, self._members[number]))
                rows = np.repeat(self._members[number], self.views).tolist()
                pool = [(i, *result) for i, result in zip(rows, results, strict=True)]
                pool.sort(key=lambda row: (row[1].shape[1], row[0]))
                self._pools = {n: p for n, p in self._pools.items() if n == number - 1} | {number: pool}
                last = number + 1 == len(self._members)
                self._prepare(self.epoch + last, 0 if last else number + 1)
            pool, turn = self._pools[number], self._turns[number][place] if self.shuffle else place
        size = self.batch_size * self.views
        return pool[turn * size : (turn + 1) * size]

    def _prepare(self, epoch: int, number: int) -> None:
        """Let the processes begin with a pool; behind the last comes the next epoch's first: no epoch waits for it."""
        if self._feeder:
            members = self._members if epoch == self.epoch else self._draw(epoch)[0]
            self._ahead = {(epoch, number): self._feeder.submit(self._task(epoch, members[number]))}

    def _task(self, epoch: int, members: np.ndarray) -> Task:
        rows = members.tolist()
        masks = None if self.masks is None else [self.masks[i] for i in rows]
        inks = self.words.inks
        # of inks in a file the processes get their places, and map the file themselves
        inks = inks.take(members) if isinstance(inks, Inks) else [inks[i] for i in rows]
        return Task(inks, masks, rows, self.min_widths[members].tolist(), self.seed, epoch, self.strength, self.views)


def floats(array: np.ndarray) -> np.ndarray:
    """uint8 with 255 for ink, or a mask of 0 and 1 -> float32 in 0..1"""
    return array.astype(np.float32) / np.float32(255 if array.dtype == np.uint8 else 1)

"""Floor 2: augmentation in processes of its own, one pool of words ahead of the network.

Beside the training loop in one process it would hold the interpreter's lock while the network waits for its next
batch. What comes back is a pure function of the task, so it does not matter where it was computed.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from htr.augment import augment, augment_views, generator
from htr.workers import Worker


class Task(NamedTuple):
    """Words to augment: inks uint8 (height, width), perhaps masks of the same shapes, and each word's row.

    inks: a list, or Inks in a file, of which only the places go through the pipe.
    views: how often each word is given back, one after the other, in one geometry (without masks).
    """

    inks: Sequence[np.ndarray]
    masks: list[np.ndarray] | None
    rows: list[int]
    min_widths: list[int]
    seed: int
    epoch: int
    strength: float
    views: int = 1

    def parts(self, count: int) -> list["Task"]:
        """The same work in count pieces at most, in its order."""
        size = -(-len(self.rows) // count)
        cuts = [slice(start, start + size) for start in range(0, len(self.rows), size)]
        lists = ("inks", "masks", "rows", "min_widths")
        return [self._replace(**{name: (had := getattr(self, name)) and had[cut] for name in lists}) for cut in cuts]


def work(task: Task) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """The (ink, mask) of each word, augmented by a generator that depends on seed, epoch and row alone."""
    results = []
    for i, row in enumerate(task.rows):
        ink, mask = task.inks[i], task.masks[i] if task.masks else None
        if not task.strength and task.views == 1:
            results.append((ink, mask))
            continue
        rng = generator(task.seed, task.epoch, row)
        if task.views > 1:
            views = augment_views(ink, rng, views=task.views, strength=task.strength, min_width=task.min_widths[i])
            results += [(view, None) for view in views]
            continue
        done = augment(ink, rng, strength=task.strength, mask=mask, min_width=task.min_widths[i])
        results.append(done if mask is not None else (done, None))
    return results


class Feeder:
    """Processes that share each task. `submit` returns at once; `close` ends them."""

    def __init__(self, processes: int):
        self.processes = [Worker(work) for _ in range(processes)]

    def submit(self, task: Task) -> list[Future]:
        """The future result of `work(task)`, in pieces."""
        parts = task.parts(len(self.processes))
        return [process.submit(part) for process, part in zip(self.processes, parts, strict=False)]

    def close(self) -> None:
        """End the processes; may be called twice."""
        for process in self.processes:
            process.close()

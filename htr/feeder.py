"""Floor 2: augmentation in a process of its own, one pool of words ahead of the network.

Beside the training loop in one process it would hold the interpreter's lock while the network waits for its next
batch. What comes back is a pure function of the task, so it does not matter where it was computed.
"""

import pickle
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from htr.augment import augment, augment_views, generator


class Task(NamedTuple):
    """Words to augment: inks uint8 (height, width), perhaps masks of the same shapes, and each word's row.

    views: how often each word is given back, one after the other, in one geometry (without masks).
    """

    inks: list[np.ndarray]
    masks: list[np.ndarray] | None
    rows: list[int]
    min_widths: list[int]
    seed: int
    epoch: int
    strength: float
    views: int = 1


def work(task: Task) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """The (ink, mask) of each word, augmented by a generator that depends on seed, epoch and row alone."""
    results = []
    for i, row in enumerate(task.rows):
        ink, mask, rng = task.inks[i], task.masks and task.masks[i], generator(task.seed, task.epoch, row)
        if task.views > 1:
            options = {"views": task.views, "strength": task.strength, "min_width": task.min_widths[i]}
            results += [(view, None) for view in augment_views(ink, rng, **options)]
            continue
        if task.strength:
            done = augment(ink, rng, strength=task.strength, mask=mask, min_width=task.min_widths[i])
            ink, mask = done if mask is not None else (done, None)
        results.append((ink, mask))
    return results


class Feeder:
    """A process that works on tasks in their order. `submit` returns at once; `close` ends the process."""

    def __init__(self):
        # not multiprocessing: that would import the user's script again, or fork a process full of threads
        code = f"import sys; sys.path[:] = {sys.path!r}; from htr.feeder import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feeder")

    def submit(self, task: Task) -> Future:
        """The future result of `work(task)`."""
        return self._thread.submit(self._ask, task)

    def _ask(self, task: Task):
        try:
            pickle.dump(task, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            return work(task)  # the process is gone (killed, no memory): nothing is lost but speed

    def close(self) -> None:
        """End the process; may be called twice."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:  # what was left in the buffer has no reader any more
                pass


def serve() -> None:
    """The loop of the process: a task in, its result out, until its standard input ends."""
    cv2.setNumThreads(1)
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(work(task), sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()

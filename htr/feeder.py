"""Floor 2: augmentation in processes of its own, one pool of words ahead of the network.

Beside the training loop in one process it would hold the interpreter's lock while the network waits for its next
batch. What comes back is a pure function of the task, so it does not matter where it was computed.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from htr.augment import augment, augment_views, generator


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
        self.processes = [_Process() for _ in range(processes)]

    def submit(self, task: Task) -> list[Future]:
        """The future result of `work(task)`, in pieces."""
        parts = task.parts(len(self.processes))
        return [process.submit(part) for process, part in zip(self.processes, parts, strict=False)]

    def close(self) -> None:
        """End the processes; may be called twice."""
        for process in self.processes:
            process.close()


class _Process:
    """A process that works on tasks in their order."""

    def __init__(self):
        # not multiprocessing: that would import the user's script again, or fork a process full of threads
        code = f"import sys; sys.path[:] = {sys.path!r}; from htr.feeder import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feeder")
        self._closed = False

    def submit(self, task: Task) -> Future:
        return self._thread.submit(self._ask, task)

    def _ask(self, task: Task):
        try:
            pickle.dump(task, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            # the process is gone (killed, no memory): nothing is lost but speed; behind close nobody wants it any more
            return [] if self._closed else work(task)

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:  # what was left in the buffer has no reader any more
                pass


def serve() -> None:
    """The loop of the process: a task in, its result out, until one of the pipes ends, perhaps within a task."""
    cv2.setNumThreads(1)
    try:
        while True:
            task = pickle.load(sys.stdin.buffer)
            pickle.dump(work(task), sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)
            sys.stdout.buffer.flush()
    except (OSError, EOFError, pickle.UnpicklingError):
        os._exit(0)  # whoever asked was killed, or does the work itself: nothing may be flushed or told

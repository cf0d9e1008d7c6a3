"""Floor 2: many images opened ahead of the network, in processes of their own once it is worth their start.

Half of the work is Python: two threads open words scarcely faster than one, and hold up those that run the network.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from htr.images import ImageError, Ink, NotYetError, to_ink
from htr.workers import Worker

MANY = 512  # images at once from which on processes open them: two start in the time in which one opens 200
_CHUNK = 32  # images that a process gets at a time
_PORTABLE = (str, os.PathLike, bytes, bytearray, dict)


class Opener:
    """Opens images ahead: `submit` returns at once, `close` ends it. In processes if the first window has MANY."""

    def __init__(self, height: int, count: int):
        """height: of the ink in px. count: how many threads or processes may open images; one opens in a thread."""
        self._height, self._count = height, count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="opener")
        self._workers: list[Worker] | None = None

    def submit(self, window: list) -> "Window":
        """Images as `htr.images.to_ink` takes them, or Ink -> what they will be, in their order."""
        if self._workers is None:
            many = len(window) >= MANY and self._count > 1 and all(isinstance(image, _PORTABLE) for image in window)
            self._workers = self._started() if many else []
        if not self._workers:
            return Window([self._pool.submit(_opened, image, self._height) for image in window], [])
        chunks = [Task(window[start : start + _CHUNK], self._height) for start in range(0, len(window), _CHUNK)]
        turns = range(len(chunks))
        return Window([self._workers[turn % len(self._workers)].submit(chunks[turn]) for turn in turns], chunks)

    def _started(self) -> list[Worker]:
        workers: list[Worker] = []
        with suppress(OSError):  # as many as the system gives
            while len(workers) < self._count:
                workers.append(Worker(open_task))
        return workers

    def close(self) -> None:
        """End the threads or processes; what was not opened yet never will be."""
        self._pool.shutdown(cancel_futures=True)
        for worker in self._workers or ():
            worker.close()


class Task(NamedTuple):
    """Images for a process, and the height in px of their ink."""

    images: list
    height: int

    def completed(self, inks: list) -> list[Ink | ImageError]:
        """What a process gave back, with those images opened that it left."""
        pairs = zip(self.images, inks, strict=True)
        return [_opened(image, self.height) if ink is None else ink for image, ink in pairs]


class Window(NamedTuple):
    """Images that are being opened."""

    futures: list[Future]
    tasks: list[Task]

    def result(self) -> list[Ink | ImageError]:
        """Waits for them: for each its Ink, or the reason why it has none."""
        results = [future.result() for future in self.futures]
        if not self.tasks:
            return results
        pairs = zip(self.tasks, results, strict=True)
        return [ink for task, inks in pairs for ink in task.completed(inks)]


def open_task(task: Task) -> list[Ink | ImageError | None]:
    """What a process does. None for an image that has to wait for its turn, which is not known here."""
    return [_unless_large(image, task.height) for image in task.images]


def _unless_large(image, height: int) -> Ink | ImageError | None:
    try:
        return _opened(image, height, patient=False)
    except NotYetError:
        return None


def _opened(image, height: int, patient: bool = True) -> Ink | ImageError:
    try:
        return image if isinstance(image, Ink) else to_ink(image, height, patient=patient)
    except ImageError as error:
        return error

"""Floor 0: a process that works on tasks in their order, for what Python's lock would keep from running beside us.

Not multiprocessing: that would import the user's script again, or fork a process full of threads.
"""

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Worker:
    """A process that calls one function of this package; `submit` returns at once, `close` ends the process."""

    def __init__(self, work: Callable):
        """work is a function of a module, of one task; tasks and results go through pipes."""
        name = work.__module__, work.__name__
        code = f"import sys; sys.path[:] = {sys.path!r}; from htr.workers import serve; serve(*{name!r})"
        self._work, self._closed = work, False
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")

    def submit(self, task) -> Future:
        """The future result of work(task), or what it raises; from this process where the other is gone."""
        return self._thread.submit(self._ask, task)

    def _ask(self, task):
        try:
            pickle.dump(task, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            # the process is gone (killed, no memory): nothing is lost but speed; behind close nobody wants it any more
            return [] if self._closed else self._work(task)

    def close(self) -> None:
        """End the process; may be called twice."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._process.wait()
        for stream in filter(None, (self._process.stdin, self._process.stdout)):
            with contextlib.suppress(OSError):  # what was left in the buffer has no reader any more
                stream.close()


def serve(module: str, name: str) -> None:
    """The loop of the process: a task in, its result out, until a pipe ends, perhaps within a task, or one fails."""
    import cv2

    cv2.setNumThreads(1)
    work = getattr(importlib.import_module(module), name)
    try:
        while True:
            task = pickle.load(sys.stdin.buffer)
            pickle.dump(work(task), sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)
            sys.stdout.buffer.flush()
    except Exception:
        os._exit(0)  # whoever asked was killed, or does the work itself and tells what is wrong: nothing is told here

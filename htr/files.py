"""Floor 0: a file that may be anything: its bytes, where it is a regular one and not too large, and its name; and a
folder that one process at a time may write."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def shown(name: object) -> str:
    """A file's name in a sentence: characters that would break a line or command a terminal are written out.

    >>> shown("a\\nb.png")
    'a\\\\nb.png'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def read(path: str | os.PathLike, most: int) -> bytes:
    """The bytes of a regular file. OSError, whose strerror is a sentence, for anything else and for more than `most`.

    A pipe or a device would be waited for, or read without end.
    """
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "a file name cannot hold the character NUL; give another one", os.fspath(path))
    # without O_NONBLOCK the mere opening of a pipe waits for its other end
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb", buffering=0) as file:
        about = os.fstat(handle)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, socket or device; give a regular file", os.fspath(path))
        data = file.read(most + 1) if about.st_size <= most else None
    if data is None or len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than the {most:,} bytes that are read; make it smaller", str(path))
    return data


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within, no other process that asks so writes the folder, which is made. ValueError where one does already.

    The system lets go of the lock when the process ends, however it ends.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"Another run writes {folder}; wait for its end, or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()

"""Floor 0: a file that may be anything: its bytes, where it is a regular one and not too large, and its name; a file
that is written whole or not at all; and a folder that one process at a time may write."""

import errno
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def shown(name: object) -> str:
    """A file's name in a sentence: characters that would break a line or command a terminal are written out.

    >>> shown("a\\nb.png")
    'a\\\\nb.png'
    """
    text = str(name)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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


def check_writable(folder: Path) -> None:
    """OSError, whose strerror is a sentence, where the folder cannot be written, or not be made."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, no folder; choose another folder", str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it cannot be written; permit it, or choose another folder", str(there))


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to fill, which is path when it is whole; until then it is hidden, and path names what it did before.

    OSError, whose strerror is a sentence, where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = f"it cannot be written ({error.strerror or error}), make room or permit it"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()  # there is still one where something failed


def _tidy(folder: Path) -> None:
    """Remove what processes that have died had half written."""
    for path in folder.glob(".*.partial*"):
        writer = re.search(r"\.(\d{1,9})\.partial", path.name)
        if writer and not _lives(int(writer[1])):
            with suppress(OSError):
                path.unlink()


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return False  # there a signal 0 would end it, and a file that is open cannot be removed
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within, no other process that asks so writes the folder, which is made. ValueError where one does already.

    The system lets go of the lock when the process ends, however it ends. What such a process had half written goes.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"Another run writes {folder}; wait for its end, or choose another folder.") from None
    try:
        _tidy(folder)
        yield
    finally:
        lock.release()


def animated_png_pixels(data: bytes) -> int:
    """An image file -> px of the largest animated PNG in it, itself or inside an icon; 0 for others.

    Pillow fills the background of such a picture in the moment it opens it, before anyone can ask for its size.
    """
    heads = re.findall(rb"IHDR(.{8})", data, re.DOTALL) if b"acTL" in data else []
    return max((width * height for width, height in (struct.unpack(">II", sides) for sides in heads)), default=0)

"""Floor 1: words decoded once: their inks in one file, which the kernel maps into memory and runs share.

A file holds the inks of all rows of a data set, also of those that a split leaves out; texts stay with the data. So
corrected labels and other splits find their inks there. Its name holds a hash of where the data came from and one of
what went in: the height, the code from file to ink, and every image (its bytes, or path, size and time of change).
"""

import hashlib
import inspect
import io
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import PIL

from htr import files, images, ink
from htr.images import ImageError, to_ink

OFF = "off"
_END = struct.Struct("<QQ8s")  # where the widths begin, where the reasons do, and the mark
_MARK = b"htrinks1"
_PIECE = 500  # rows of the data in memory at a time
_ABANDONED = 86_400  # s without a write: a part that its writer left behind


def decoded(image, height: int) -> np.ndarray | str:
    """An image as to_ink takes it -> uint8 (height, width) with 255 for ink, 0 wide where it is blank, or why not."""
    try:
        found = to_ink(image, height)
    except ImageError as error:
        return str(error)
    return np.round(found.pixels * 255).astype(np.uint8)[:, : 0 if found.blank else None]


class Inks(Sequence):
    """Inks in a file: a list of read-only uint8 arrays (height, width). Pickled it is a path and places, no pixels."""

    def __init__(self, path: str, height: int, starts: np.ndarray, widths: np.ndarray):
        self.path, self.height, self.starts, self.widths = path, height, starts, widths
        self._pixels = _mapped(path)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        start, width = int(self.starts[index]), int(self.widths[index])
        return self._pixels[start : start + self.height * width].reshape(self.height, width)

    @property
    def nbytes(self) -> int:
        """Bytes of pixels."""
        return int(self.widths.sum()) * self.height

    def take(self, rows: Sequence[int] | np.ndarray) -> "Inks":
        """The inks of these rows; nothing is read."""
        return Inks(self.path, self.height, self.starts[rows], self.widths[rows])

    def __reduce__(self):
        return Inks, (self.path, self.height, self.starts, self.widths)


@lru_cache(maxsize=4)
def _mapped(path: str) -> np.ndarray:
    # held open here: the process beside the training goes on though another run replaces the file
    return np.memmap(path, np.uint8, "r").view(np.ndarray)


class Stored:
    """What `decoded` gave for each row of a data set, out of a file."""

    def __init__(self, inks: Inks, reasons: dict[int, str]):
        self.inks, self.reasons = inks, reasons

    def __len__(self) -> int:
        return len(self.inks)

    def __getitem__(self, index: int) -> np.ndarray | str:
        return self.reasons.get(index) or self.inks[index]


@dataclass(frozen=True)
class Cache:
    """A folder of such files. `say` is told in one line which file is used and how large it is."""

    folder: Path
    say: Callable[[str], object] = lambda line: None

    def stored(self, dataset, height: int) -> tuple[Stored, np.ndarray] | None:
        """A dataset of encoded images -> what its whole table holds, and which row of it each of the dataset's rows is.

        None where the images are not encoded ones, or the folder cannot be written; `say` is then told why.
        """
        from datasets import Image

        if not isinstance(dataset.features["image"], Image):
            self.say("The images are no files and no bytes: they are decoded in memory, for this run alone.")
            return None
        table = dataset.data.table
        rows = np.arange(len(dataset)) if dataset._indices is None else dataset._indices.table.column(0).to_numpy()
        path = self.folder / f"{_origin(table, height)}-{_key(table['image'], height)}.inks"
        found = _read(path, height)
        if found is None:
            try:
                write(path, _decode(table["image"], height))
            except OSError as error:
                self.say(f"{path} cannot be written ({error.strerror or error}): the words stay in memory this time.")
                return None
            found = _read(path, height)
        if found is None or len(found) != len(table):
            self.say(f"{path} was taken away by another run: the words stay in memory this time.")
            return None
        size = (found.inks.nbytes + len(found) * 4) / 1e6
        self.say(f"Decoded words are kept in {path}: {len(found):,} rows, {size:,.1f} MB (--cache off: nowhere).")
        return found, rows


def folder(value: str | None = None) -> Path | None:
    """--cache, else HTR_CACHE, else the user's folder for caches; None for "off"."""
    value = value or os.environ.get("HTR_CACHE")
    if value == OFF:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(value).expanduser() if value else Path(home) / "htr"


# --- what a file is called


def _origin(table, height: int) -> str:
    """A name for where the rows came from: a file of the same origin and another key is a stale one."""
    if "source" not in table.column_names:
        return "dataset"
    sources = sorted(str(name) for name in table["source"].unique().to_pylist())
    sources = [os.path.abspath(name) if os.path.exists(name) else name for name in sources]
    return hashlib.sha256(json.dumps([sources, height]).encode()).hexdigest()[:16]


def _key(column, height: int) -> str:
    digest = hashlib.sha256(_code().encode())
    digest.update(struct.pack("<QQ", height, len(column)))
    for cell in _cells(column):
        data, path = (cell or {}).get("bytes"), (cell or {}).get("path")
        about = [path, None if data is None else len(data), *(_stat(path) if data is None and path else ())]
        digest.update(json.dumps(about).encode())
        digest.update(data or b"")
    return digest.hexdigest()[:32]


def _stat(path: str) -> tuple:
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return ()
    return os.path.abspath(path), about.st_size, about.st_mtime_ns


@lru_cache(maxsize=1)
def _code() -> str:
    """What decides how a file becomes ink: our code for it, and the libraries that decode and scale."""
    ours = [inspect.getsource(module) for module in (images, ink, files)]
    return json.dumps([*ours, inspect.getsource(decoded), PIL.__version__, cv2.__version__, _MARK.decode()])


def _cells(column) -> Iterator[dict | None]:
    for chunk in column.chunks:
        for start in range(0, len(chunk), _PIECE):
            yield from chunk.slice(start, _PIECE).to_pylist()


# --- what a file holds


def _decode(column, height: int) -> Iterator[np.ndarray | str]:
    """Every row decoded, in order, on all cores."""
    cells = _cells(column)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
        while piece := list(islice(cells, _PIECE)):
            yield from pool.map(lambda cell: decoded(cell, height), piece)


def write(path: Path, rows: Iterator[np.ndarray | str]) -> None:
    """What `decoded` gives for each row -> a file at path, there whole or not at all; stale ones of its origin go.

    Several processes may do so at once: each writes a part of its own, and the last one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    widths, reasons = [], {}
    handle, part = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".part", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            for row, found in enumerate(rows):
                if isinstance(found, str):
                    reasons[row] = found
                widths.append(0 if isinstance(found, str) else found.shape[1])
                file.write(b"" if isinstance(found, str) else found.tobytes())
            end = file.tell()
            np.save(file, np.array(widths, np.int32))
            behind = file.tell()
            file.write(json.dumps(reasons).encode())
            file.write(_END.pack(end, behind, _MARK))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
    _tidy(path)


def _tidy(path: Path) -> None:
    origin, _, _ = path.stem.rpartition("-")
    stale = [] if origin == "dataset" else [other for other in path.parent.glob(f"{origin}-*.inks") if other != path]
    for other in [*stale, *path.parent.glob(".*.part")]:
        try:
            if other in stale or time.time() - other.stat().st_mtime > _ABANDONED:
                other.unlink()
        except OSError:  # another run was faster
            continue


def _read(path: Path, height: int) -> Stored | None:
    """What a file holds; None where there is none, or one that is cut short."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END.size))
            end, behind, mark = _END.unpack(file.read())
            file.seek(end)
            widths = np.load(io.BytesIO(file.read(behind - end)))
            reasons = json.loads(file.read(size - _END.size - behind))
    except (OSError, ValueError, EOFError, struct.error):
        return None
    ends = np.cumsum(widths, dtype=np.int64) * height
    if mark != _MARK or end != (ends[-1] if len(ends) else 0):
        return None
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
    return Stored(Inks(str(path), height, starts, widths), {int(row): reason for row, reason in reasons.items()})

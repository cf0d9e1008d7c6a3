"""Floor 1: a bulk run as its folder keeps it: what is read, in which blocks, and which of them are done.

The rows of all inputs, one behind the other, are cut into blocks of one size. Block i becomes the file part-i.parquet,
which gets its name when it is whole. A block that is read again, because its actor died or the run was stopped, gives
the same file again: no row is lost and none is doubled.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from htr import listing

RUN = "_run"  # what begins with _ is no data to those who read the folder as one table
MANIFEST, INPUTS = f"{RUN}/manifest.json", f"{RUN}/inputs.parquet"
SCHEMA = pa.schema(
    {"path": pa.string(), "row": pa.int64(), "text": pa.string(), "confidence": pa.float32(), "error": pa.string()}
)
_MEANING = {
    "inputs": "other inputs (a list that differs, or a file that changed)",
    "rows": "another number of rows",
    "reader": "another reader",
    "engine": "another engine",
    "column": "another column of images",
    "block": "other blocks",
    "htr": "another version of htr",
}


class BulkError(ValueError):
    """A run that cannot begin, go on or end; one sentence."""


# what is read


def expand(paths: Iterable[str], stdin: Iterable[str], out: Path) -> Iterator[str]:
    """As listing.expand, but that a folder is its parquet files too; what lies in out is no input."""
    for path in paths:
        if path == "-":
            if hasattr(stdin, "reconfigure"):
                stdin.reconfigure(errors="surrogateescape")  # a file name need not be valid text
            yield from expand((line.rstrip("\r\n") for line in stdin if line.strip()), (), out)
            continue
        tables = []
        if os.path.isdir(path):  # metadata.parquet tells of images that lie beside it
            tables = [str(each) for each in sorted(Path(path).rglob("*.parquet")) if each.name != "metadata.parquet"]
        images = listing.expand([path])
        found = [*tables, *(each for each in images if not (tables and each == path))]
        yield from (file for each in found if out not in Path(file := os.path.abspath(each)).parents)


def table_of(files: Iterable[str], column: str) -> pa.Table:
    """Files -> a table of their paths as bytes (a name need not be text), rows, sizes and times of change."""
    paths, rows, sizes, times = [], [], [], []
    for file in files:
        try:
            status = os.stat(file)
        except (OSError, ValueError):
            status = None  # a row with its error, as every image that cannot be opened
        paths.append(os.fsencode(file))
        rows.append(_rows(file, column) if is_table(file) and status else 1)
        sizes.append(status.st_size if status else -1)
        times.append(status.st_mtime_ns if status else -1)
    if not sum(rows):
        raise ValueError("There is nothing to read; give parquet files with rows, images or folders of them.")
    return pa.table({"path": pa.array(paths, pa.large_binary()), "rows": rows, "size": sizes, "modified": times})


def is_table(file: str) -> bool:
    """Whether a file is read row by row."""
    return file.lower().endswith(".parquet")


def _rows(file: str, column: str) -> int:
    """How many rows a parquet file has. ValueError where it is damaged or has no images in the column."""
    try:
        with pq.ParquetFile(file) as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is not a readable parquet file: {reason(error)}.") from error
    if column not in schema.names:
        names = ", ".join(map(repr, schema.names)) or "none"
        raise ValueError(f"{file} has no column {column!r}, it has {names}; name one with --columns image=NAME.")
    kind = schema.field(column).type
    fields = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    plain = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
    if not fields & {"bytes", "path"} and not any(check(kind) for check in plain):
        raise ValueError(
            f"{file}: column {column!r} holds {kind}, no images; bytes, paths, or a struct of both are read."
        )
    return rows


def cells(path: str, rows: range, column: str) -> Iterator:
    """The cells of some rows of a parquet file, of which no more than a few are in memory."""
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            after = first + file.metadata.row_group(group).num_rows
            if first < rows.stop and rows.start < after:
                for batch in file.iter_batches(256, row_groups=[group], columns=[column]):
                    start, stop = max(rows.start - first, 0), min(rows.stop - first, len(batch))
                    if start < stop:
                        yield from batch.column(0).slice(start, stop - start).to_pylist()
                    first += len(batch)
                    if first >= rows.stop:
                        return
            first = after


def image(cell, path: str, row: int) -> dict:
    """A cell -> an image as to_ink takes it, with a name by which its error is found."""
    cell = cell if isinstance(cell, dict) else {"path" if isinstance(cell, str) else "bytes": cell}
    if cell.get("bytes") is None and cell.get("path"):
        return {"bytes": None, "path": os.path.join(os.path.dirname(path), cell["path"])}
    return {"bytes": cell.get("bytes") or b"", "path": f"{path} row {row}"}


# where it is kept


def begin(out: Path, inputs: pa.Table, settings: dict, name: str | None) -> None:
    """Write the plan of a new run, or see that the one in out is the same. BulkError where it is another."""
    if out.exists() and not out.is_dir():
        raise BulkError(f"{out} is a file; give a folder with --out, the results are parquet files in it.")
    manifest = out / MANIFEST
    if manifest.is_file():
        try:
            old = json.loads(manifest.read_text(encoding="utf-8"))
            differs = [said for key, said in _MEANING.items() if old.get(key) != settings[key]]
        except (ValueError, AttributeError):
            raise BulkError(f"{manifest} is damaged; give another folder with --out, or remove this one.") from None
        if differs:
            raise BulkError(
                f"{out} was begun with {', '.join(differs)}; run what it was begun with to go on, "
                "or give another folder with --out."
            )
        return
    if out.is_dir() and any(each.name != RUN for each in out.iterdir()):
        raise BulkError(f"{out} holds files and no {MANIFEST}; give an empty or a new folder with --out.")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    write(out / INPUTS, lambda file: pq.write_table(inputs, file))
    told = json.dumps(settings | {"checkpoint": name or "shipped"}, indent=2, ensure_ascii=False)
    write(manifest, lambda file: file.write(told.encode()))


def write(path: Path, fill: Callable) -> None:
    """The file is there as a whole or not at all, whoever else writes it and whenever the machine stops."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with open(temporary, "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name is on the disk too, not only what it names
    finally:
        os.close(folder)


class Blocks:
    """The blocks of a run, as its folder tells: which rows of which inputs each has, and whether it is done."""

    def __init__(self, out: Path):
        self.out = out
        self.settings = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        inputs = pq.read_table(out / INPUTS)
        self.paths, self.rows = inputs["path"], self.settings["rows"]
        self.starts = np.concatenate([[0], np.cumsum(inputs["rows"].to_numpy())])

    def __len__(self) -> int:
        return -(-self.rows // self.settings["block"])

    def numbers(self, number: int) -> range:
        """The rows of a block, counted over all inputs."""
        size = self.settings["block"]
        return range(number * size, min((number + 1) * size, self.rows))

    def pieces(self, number: int) -> Iterator[tuple[str, range]]:
        """A block -> files and which of their rows."""
        rows = self.numbers(number)
        first, index = rows.start, int(np.searchsorted(self.starts, rows.start, "right")) - 1
        while first < rows.stop:
            start, stop = int(self.starts[index]), min(int(self.starts[index + 1]), rows.stop)
            if first < stop:
                yield os.fsdecode(self.paths[index].as_py()), range(first - start, stop - start)
            first, index = max(first, stop), index + 1

    def part(self, number: int) -> Path:
        """Where a block's results are."""
        return self.out / f"part-{number:08}.parquet"

    def failed(self, number: int) -> int | None:
        """How many rows of a block have an error; None where it is not done, or its file is damaged."""
        try:
            footer = pq.read_metadata(self.part(number))
            groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
            nulls = sum(group.column(len(SCHEMA) - 1).statistics.null_count for group in groups)
        except (pa.ArrowException, OSError, AttributeError, IndexError):
            return None
        return footer.num_rows - nulls if footer.num_rows == len(self.numbers(number)) else None

    def attempt(self, number: int, most: int) -> None:
        """Note that a block is begun. BulkError where that was so too often: it kills the processes that read it."""
        with open(self._attempts(number), "ab") as file:
            file.write(b".")
            begun = file.tell()
        if begun > most:
            rows, (path, first) = self.numbers(number), next(self.pieces(number))
            raise BulkError(
                f"{most} processes in a row died over {len(rows)} rows from row {first.start} of {path} on; leave out "
                "what kills them, or give their nodes more memory."
            )

    def forget(self, number: int | None = None) -> None:
        """Forget the attempts at a block, or at all."""
        for file in [self._attempts(number)] if number is not None else self.out.glob(f"{RUN}/part-*.attempts"):
            file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what actors left that died while they wrote."""
        for file in self.out.glob(".part-*.partial"):
            file.unlink(missing_ok=True)
        self.forget()

    def _attempts(self, number: int) -> Path:
        return self.out / RUN / f"part-{number:08}.attempts"


def reason(error: BaseException, line: int = 0) -> str:
    """What an error says in one of its lines, without the full stop."""
    return (str(error).strip() or type(error).__name__).split("\n")[line].strip().rstrip(".")

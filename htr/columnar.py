"""Floor 1: parquet and arrow files: their columns as they are, and no more memory than the file is worth."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from htr.columns import mapping_of
from htr.files import shown

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_IN_MEMORY = 1 << 29  # bytes: a larger parquet file goes through the cache of datasets and is read from disk
_INFLATED = 50  # times that a parquet file may grow when it is read; images hardly do
_AT_ONCE = 1 << 22  # bytes, about, that go there together: Arrow holds a multiple of it, whole groups of rows otherwise
_PIECE = 1 << 27  # bytes, about, that are unpacked before they are counted


def read(path: Path, columns: dict[str, str]) -> "Dataset":
    """parquet or arrow file -> Dataset with its columns as they are, arrow files mapped into memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from pyarrow.dataset import ParquetFragmentScanOptions

    try:
        if path.suffix.lower() == ".arrow":
            try:
                return Dataset.from_file(str(path))
            except pa.ArrowInvalid:  # the file format of Arrow and not its stream, which datasets writes
                with pa.memory_map(str(path)) as file:
                    return Dataset(InMemoryTable(pa.ipc.open_file(file).read_all()))
        metadata = pq.read_metadata(path)
    except Exception as error:  # Arrow and datasets each raise their own kinds
        raise _unreadable(path, error) from error
    names = list(mapping_of(metadata.schema.to_arrow_schema().names, str(path), columns).values())
    _inflated(path, metadata)
    try:
        if path.stat().st_size > _IN_MEMORY:
            scan = ParquetFragmentScanOptions(pre_buffer=False)  # what it buffers it holds, in the end the whole file
            rows = max(1, _AT_ONCE * metadata.num_rows // max(1, sum(_sizes(metadata))))
            return Dataset.from_parquet(str(path), columns=names, fragment_scan_options=scan, batch_size=rows)
        if (table := _table(path, names)) is not None:
            return Dataset(InMemoryTable(table), fingerprint=os.urandom(8).hex())
    except Exception as error:
        raise _unreadable(path, error) from error
    raise ValueError(
        f"{path} grows to more than {_most(path):,} bytes as its rows point to the same images again and again: "
        "write it anew with an image for each row."
    )


def _table(path: Path, names: list[str]) -> "pa.Table | None":
    """The columns; None where they would fill the memory: a file counts an image once, however many rows have it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pieces, size = [], 0
    with pq.ParquetFile(path) as file:
        rows = max(64, _PIECE // max(1, *_sizes(file.metadata)))
        for piece in file.iter_batches(rows, columns=names):
            pieces.append(piece)
            size += piece.nbytes
            if size > _most(path):
                return None
        return pa.Table.from_batches(pieces) if pieces else file.read(columns=names)


def _sizes(metadata) -> Iterable[int]:
    return (metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


def _most(path: Path) -> int:
    """Bytes that the rows of a parquet file may need."""
    return max(_INFLATED * path.stat().st_size, _IN_MEMORY)


def _unreadable(path: Path, error: Exception) -> ValueError:
    import pyarrow as pa

    reason = "what it says of its columns is damaged"  # of that datasets' errors only name Python's types
    if isinstance(error, pa.ArrowException | OSError):
        reason = shown(str(error).split("\n")[0].rstrip("."))
    return ValueError(f"{path} is not a readable {path.suffix[1:]} file, it may be cut short: {reason}.")


def _inflated(path: Path, metadata) -> None:
    """ValueError where a small parquet file would fill the memory."""
    held, rows = path.stat().st_size, metadata.num_rows
    size = sum(_sizes(metadata))
    if rows > held or size > _most(path):
        raise ValueError(
            f"{path} says that its {held:,} bytes are {rows:,} rows of {size:,} bytes, more than images can be packed: "
            "write it anew with the images as PNG or JPEG."
        )

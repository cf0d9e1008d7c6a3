"""The ends of `htr transcribe`: which paths are meant, and how a reading is written down. Imports nothing heavy."""

import csv
import glob
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIXES = frozenset(".png .jpg .jpeg .webp .tif .tiff .bmp .gif .pbm .pgm .ppm .jp2".split())
FORMATS = ("text", "tsv", "jsonl", "parquet")
_ROWS = 1024  # rows of a parquet file held back before they are written


def expand(paths: Iterable[str], *, stdin: Iterable[str] = ()) -> Iterator[str]:
    """Files as they are, folders as their images (recursive, sorted), patterns as their matches, `-` as stdin's lines.

    What names nothing comes out unchanged: whoever reads it then says why it cannot.
    """
    for path in paths:
        if path == "-":
            if hasattr(stdin, "reconfigure"):
                stdin.reconfigure(errors="surrogateescape")  # a file name need not be valid text
            yield from expand(line.rstrip("\r\n") for line in stdin if line.strip())
        elif os.path.isdir(path):
            yield from _images(Path(path)) or [path]
        elif not os.path.exists(path) and glob.has_magic(path):
            yield from sorted(glob.glob(path, recursive=True)) or [path]
        else:
            yield path


def _images(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def record(path: str, outcome) -> dict:
    """A Transcription -> {path, text, confidence, characters}; an exception -> {path, error} and no text."""
    if isinstance(outcome, Exception):
        return {"path": path, "error": str(outcome)}
    characters = [
        {"character": c.character, "confidence": round(float(c.confidence), 4), "left": c.left, "right": c.right}
        for c in outcome.characters
    ]
    row = {
        "path": path,
        "text": outcome.text,
        "confidence": round(float(outcome.confidence), 4),
        "characters": characters,
    }
    if outcome.alternatives:
        row["alternatives"] = [{"text": text, "confidence": round(p, 4)} for text, p in outcome.alternatives]
    return row


class Lines:
    """Writes rows to an open text file, one line each, as they come."""

    def __init__(self, file, format: str):
        self.file = file
        self.format = format
        self.table = csv.writer(file, delimiter="\t", lineterminator="\n")
        if format == "tsv":
            self.table.writerow(["path", "text", "confidence"])

    def write(self, row: dict) -> None:
        if self.format == "jsonl":
            self.file.write(json.dumps(row, ensure_ascii=False) + "\n")
        elif self.format == "tsv":
            self.table.writerow([row["path"], row.get("text", ""), row.get("confidence", "")])
        else:  # a path that cannot be read leaves an empty line, so that line i stays path i
            self.file.write(row.get("text", "") + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.flush()


class Table:
    """Writes rows to a parquet file with columns path, text, confidence, characters, error."""

    def __init__(self, path: str):
        import pyarrow as pa
        import pyarrow.parquet

        character = pa.struct(
            {"character": pa.string(), "confidence": pa.float32(), "left": pa.float32(), "right": pa.float32()}
        )
        self.schema = pa.schema(
            {
                "path": pa.string(),
                "text": pa.string(),
                "confidence": pa.float32(),
                "characters": pa.list_(character),
                "error": pa.string(),
            }
        )
        self.rows: list[dict] = []
        self.file = pyarrow.parquet.ParquetWriter(path, self.schema)

    def write(self, row: dict) -> None:
        # a file name need not be valid text, a cell must
        self.rows.append({**row, "path": row["path"].encode("utf-8", "backslashreplace").decode()})
        if len(self.rows) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self.file.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows.clear()

    def close(self) -> None:
        self._flush()
        self.file.close()

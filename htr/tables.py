"""Floor 1: the records of CSV, TSV and JSONL files. A record is a dict, or a sentence where its line cannot be read."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from htr import files

MAX_BYTES = 256 << 20  # of a text table: four million rows of 60 characters
_DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def read_table(path: Path) -> tuple[list[str], list[dict | str]]:
    """.csv, .tsv or .jsonl file -> names of its columns, and one record a row: a dict, or the reason why there is none.

    Blank lines are no rows. ValueError names the line where the file is not UTF-8 (or UTF-16 with its mark).
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), start=1) if line.strip()]
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _json_records(lines)
    if not lines:
        return [], []
    split = _tab_fields(lines) if path.suffix.lower() == ".tsv" else _comma_fields(lines[0][1])
    names = split(lines[0][1])
    names = [names] if isinstance(names, str) else [name.strip() for name in names]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise ValueError(f"{path} names the column {', '.join(map(repr, twice))} twice; give each column its own name.")
    return names, [_record(names, split(line), number) for number, line in lines[1:]]


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file without their ends. Only \\n, \\r\\n and \\r end one: a text may hold U+2028.

    ValueError names the line where the file is not UTF-8 (or UTF-16 with its mark).
    """
    data = files.read(path, MAX_BYTES)
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} line {number} is not {encoding[:-4] if encoding.endswith('-sig') else encoding} text "
            f"(byte 0x{data[error.start]:02x}); save it as UTF-8."
        ) from error
    for line in io.StringIO(text, newline=None):
        yield line.rstrip("\n")


def _comma_fields(header: str):
    """How to split a line of a CSV file; the delimiter is the one that the header uses most.

    Every line is read alone: a quote that is not closed would otherwise swallow the good rows behind it.
    """
    bare = _QUOTED.sub("", header)
    delimiter = max(_DELIMITERS, key=bare.count)

    def split(line: str) -> list[str] | str:
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=True))
        except csv.Error as error:
            return "a quote is not closed" if "end of data" in str(error) else str(error)

    return split


def _tab_fields(lines: list[tuple[int, str]]):
    """How to split a line of a TSV file.

    Some writers quote fields that hold a quote, some write it as it is, and a handwritten word may be a lone quote:
    quotes are taken off only where every field of the file that holds one is properly quoted.
    """
    fields = (field for _, line in lines for field in line.split("\t") if '"' in field)
    if not all(_QUOTED.fullmatch(field) for field in fields):
        return lambda line: line.split("\t")
    return lambda line: [
        field[1:-1].replace('""', '"') if _QUOTED.fullmatch(field) else field for field in line.split("\t")
    ]


def _record(names: list[str], fields: list[str] | str, number: int) -> dict | str:
    if isinstance(fields, str):
        return f"line {number}: {fields}"
    if len(fields) != len(names):
        return f"line {number} has {len(fields)} fields, the header {len(names)}: quote fields that hold the delimiter"
    return dict(zip(names, fields, strict=True))


def _json_records(lines: list[tuple[int, str]]) -> tuple[list[str], list[dict | str]]:
    records = [_json_record(line, number) for number, line in lines]
    names = dict.fromkeys(name for record in records if isinstance(record, dict) for name in record)
    return list(names), records


def _json_record(line: str, number: int) -> dict | str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"line {number} is not JSON: {error}"
    return record if isinstance(record, dict) else f"line {number} is not a JSON object"

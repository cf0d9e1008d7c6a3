"""Floor 1: the one way from a source's columns to Samples: columns by name, every row judged, pixels left alone."""

import math
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from htr.charset import normalize
from htr.files import shown
from htr.rows import Problem, Row, Samples

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

# column -> the names it goes by where --columns says nothing; file_name is the imagefolder's
NAMES = {
    "image": ("image", "file_name", "image_file_name", "path", "file", "filename"),
    "text": ("text",),
    "writer": ("writer",),
    "mask": ("mask", "mask_file_name"),
    "segmentation": ("segmentation",),
}
_NEEDED = ("image", "text")
_TURNS = frozenset("LRE RLE LRO RLO PDF LRI RLI FSI PDI".split())  # characters that show others in another order
_MISNAMED = "its name is not valid Unicode: rename it"


def mapping_of(names: Sequence[str], source: str, columns: dict[str, str]) -> dict[str, str]:
    """Our column -> the source's. ValueError tells the columns that are there."""
    mapping = {}
    for column, usual in NAMES.items():
        wanted = (columns[column],) if column in columns else usual
        if found := [name for name in wanted if name in names]:
            mapping[column] = found[0]
        elif column in _NEEDED or column in columns:
            raise ValueError(
                f"{source} has no column {wanted[0]!r} for {column}, it has {', '.join(map(repr, names)) or 'none'}; "
                f"map one with --columns {column}=NAME."
            )
    return mapping


def from_rows(rows: Iterable[Row], source: str, folder: Path | None = None) -> Samples:
    """What a reader found, in order -> Samples. Paths of images are relative to folder."""
    import pyarrow as pa

    rows = list(map(_storable, rows))
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    # pieces of 500 rows: one Arrow array holds at most 2 GB
    pieces = [rows[start : start + 500] for start in range(0, len(rows), 500)]
    images = pa.chunked_array([pa.array([row.image for row in piece], image) for piece in pieces], image)
    masks = pa.chunked_array([pa.array([row.mask for row in piece], image) for piece in pieces], image)
    return _samples(rows, images, masks, source, folder)


def _storable(row: Row) -> Row:
    """The row, or in place of one whose paths Arrow cannot hold a problem."""
    paths = [row.path, *(each["path"] for each in (row.image, row.mask) if each)]
    if all(path is None or _plain(path) == path for path in paths):
        return row
    return row._replace(path=_plain(row.path), image=None, mask=None, reason=row.reason or _MISNAMED)


def _plain(text: str) -> str:
    """text with its lone surrogates written out: bytes of a file name that are no UTF-8, or halves of a character."""
    return text.encode("utf-8", "backslashreplace").decode()


def from_dataset(dataset: "Dataset", source: str, columns: dict[str, str], folder: Path | None) -> Samples:
    """A dataset with columns of its own -> Samples; pixels stay where they are, in memory or mapped from disk."""
    from datasets import ClassLabel

    mapping = mapping_of(dataset.column_names, source, columns)
    dataset = dataset.select_columns(list(dict.fromkeys(mapping.values())))
    _sound(dataset.data.table, source)
    if dataset._indices is not None:  # a selection: its table has other rows and another order
        dataset = dataset.flatten_indices()
    table, values = dataset.data.table, {}
    for column in ("text", "writer", "segmentation"):
        if column in mapping:
            feature, cells = dataset.features[mapping[column]], table[mapping[column]].to_pylist()
            if isinstance(feature, ClassLabel):
                cells = [feature.names[cell] if cell is not None and cell >= 0 else None for cell in cells]
            values[column] = cells
    images = _image_column(table, mapping["image"], source)
    masks = _image_column(table, mapping["mask"], source) if "mask" in mapping else None
    paths = [path or "" for path in _fields(images, "path")]
    empty = [None] * len(paths)
    cells = zip(paths, values["text"], values.get("writer", empty), values.get("segmentation", empty), strict=True)
    rows = [Row(path, None, text, writer, segmentation=mark) for path, text, writer, mark in cells]
    return _samples(rows, images, masks, source, folder)


def _sound(table: "pa.Table", source: str) -> None:
    """ValueError where rows would lie outside of the file: Arrow looks at no offset before it follows it."""
    import pyarrow as pa

    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        reason = shown(str(error).split("\n")[0].rstrip("."))
        raise ValueError(f"{source} is damaged, its columns hold what cannot be ({reason}): write it anew.") from error


def _image_column(table: "pa.Table", name: str, source: str) -> "pa.ChunkedArray":
    """A column of paths, bytes, arrays or structs of bytes and path -> chunks of such structs."""
    import pyarrow as pa
    from datasets import Image

    feature = Image(decode=False)
    try:
        return pa.chunked_array([feature.cast_storage(chunk) for chunk in table[name].chunks], feature.pa_type)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{source}: column {name!r} holds {table[name].type}, no images; bytes, paths, or a struct of both are."
        ) from error


def _fields(images: "pa.ChunkedArray", name: str) -> list:
    import pyarrow.compute as pc

    column = pc.struct_field(images, name)
    return (pc.binary_length(column) if name == "bytes" else column).to_pylist()


# --- what a row is worth


def _samples(
    rows: list[Row], images: "pa.ChunkedArray", masks: "pa.ChunkedArray | None", source: str, folder: Path | None
) -> Samples:
    """rows, images and masks of the same length and order -> the rows that can be used, and why the others cannot."""
    images, image_reasons = _locate(images, folder)
    reasons = [_reason(row, reason) for row, reason in zip(rows, image_reasons, strict=True)]
    if masks is not None and masks.null_count < len(masks):
        masks, mask_reasons = _locate(masks, folder)
        given = masks.is_valid().to_pylist()
        pairs = zip(reasons, mask_reasons, given, strict=True)
        reasons = [reason or (f"mask: {of_mask}" if has and of_mask else None) for reason, of_mask, has in pairs]
    else:
        masks = None
    paths = [row.path if row.image is None else None for row in rows]
    names = [name or path or "" for name, path in zip(_fields(images, "path"), paths, strict=True)]
    triples = enumerate(zip(names, reasons, strict=True))
    problems = [Problem(source, index, name, reason) for index, (name, reason) in triples if reason]
    dataset = _dataset(rows, images, masks, source)
    if problems:
        dataset = dataset.select([index for index, reason in enumerate(reasons) if not reason])
    return Samples(dataset, problems)


def _dataset(rows: list[Row], images: "pa.ChunkedArray", masks: "pa.ChunkedArray | None", source: str) -> "Dataset":
    import pyarrow as pa
    from datasets import Dataset, Features, Image, Value
    from datasets.table import InMemoryTable

    columns: dict[str, tuple] = {
        "image": (Image(decode=False), images),
        "text": (Value("string"), [_text(row.text)[0] for row in rows]),
        "writer": (Value("string"), [_writer(row.writer) for row in rows]),
        "mask": (Image(decode=False), masks),
        "segmentation": (Value("string"), [row.segmentation for row in rows]),
        "source": (Value("string"), [_plain(source)] * len(rows)),
        "row": (Value("int64"), list(range(len(rows)))),
    }
    for name in ("writer", "mask", "segmentation"):
        if columns[name][1] is None or not any(value is not None for value in columns[name][1]):
            del columns[name]
    schema = Features({name: feature for name, (feature, _) in columns.items()}).arrow_schema
    arrays = [
        values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values, schema.field(name).type)])
        for name, (_, values) in columns.items()
    ]
    # a fingerprint of our own: datasets would hash all pixels for one
    return Dataset(InMemoryTable(pa.Table.from_arrays(arrays, schema=schema)), fingerprint=os.urandom(8).hex())


def _reason(row: Row, image_reason: str | None) -> str | None:
    return row.reason or _text(row.text)[1] or image_reason


def _text(value: object) -> tuple[str | None, str | None]:
    """A cell -> text in NFC, or why it is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None, "no text"
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a column of years and house numbers
    if not isinstance(value, str):
        return None, f"the text is of type {type(value).__name__}, no string"
    if not value.strip():
        return None, "empty text"
    for c in value:
        if unicodedata.category(c) in ("Cc", "Cs") or unicodedata.bidirectional(c) in _TURNS:
            return None, f"the text holds the control character {ascii(c)}, which no one can write by hand"
    return normalize(value), None


def _writer(value: object) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    # pandas turns a column of whole numbers with a gap into floats
    return str(int(value)) if isinstance(value, float) and value.is_integer() else _plain(str(value))


def _locate(images: "pa.ChunkedArray", folder: Path | None) -> tuple["pa.ChunkedArray", list[str | None]]:
    """Images with paths that can be opened from here, and why one cannot be used (None where it can)."""
    import pyarrow as pa

    sizes, paths = _fields(images, "bytes"), _fields(images, "path")
    if None not in sizes:
        return images, [_size_reason(size) for size in sizes]
    for index, size in enumerate(sizes):
        if size is None and paths[index]:
            paths[index] = os.path.normpath(os.path.join(folder or "", paths[index]))
    pairs = zip(sizes, paths, strict=True)
    reasons = [_file_reason(path) if size is None else _size_reason(size) for size, path in pairs]
    paths = [path and _plain(path) for path in paths]
    chunks, start = [], 0
    for chunk in images.chunks:
        new = pa.array(paths[start : start + len(chunk)], pa.string())
        chunks.append(pa.StructArray.from_arrays([chunk.field("bytes"), new], ["bytes", "path"], mask=chunk.is_null()))
        start += len(chunk)
    return pa.chunked_array(chunks, images.type), reasons


def _file_reason(path: str | None) -> str | None:
    if not path:
        return "no image"
    if _plain(path) != path:
        return _MISNAMED
    try:
        return _size_reason(os.stat(path).st_size) if os.path.isfile(path) else "there is no such file"
    except (OSError, ValueError) as error:
        return f"the file cannot be opened: {error}"


def _size_reason(size: int) -> str | None:
    return None if size else "the image is empty (0 bytes)"

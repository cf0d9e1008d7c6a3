"""Floor 1: corrections.csv: labels to correct and rows to drop, written down apart from the data and laid over it.

The data stays as it is; `apply` gives another dataset. A row is known by the hash of its image's bytes, which is the
same after the rows were shuffled, split, moved to another folder or packed into parquet. In the file that is the column
`hash`; `image` (the path) and `row` (its number in its source, from 0) are there for people, and name the row where the
hash is left out. The label that stood there, `old`, must be the row's: a correction never lands on a label that was not
looked at.
"""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from htr.charset import normalize

if TYPE_CHECKING:
    from datasets import Dataset

    from htr.audit import Suspicion

CORRECT, DROP, KEEP = ACTIONS = ("correct", "drop", "keep")
COLUMNS = ("row", "image", "old", "new", "action", "reason", "hash")
_NEEDED = ("old", "new", "action")
_HASH = 16  # hexadecimal digits of SHA-256: two of a million images agree with a chance of 3 in 100 million
_NAMED = 5  # unknown rows that a report names


@dataclass(frozen=True)
class Correction:
    """One line of the file. action: `correct` (old becomes new), `drop` (the row goes) or `keep` (nothing happens).

    old, new: NFC. hash: of the image's bytes, see `image_hash`; path and row name the row where it is empty. line: in
    the file it was read from, 0 where it was not.
    """

    old: str
    new: str
    action: str
    hash: str = ""
    path: str = ""
    row: int | None = None
    reason: str = ""
    line: int = 0

    @property
    def name(self) -> str:
        """What a person calls the row: "row 12 (a.png)"."""
        number = "a row" if self.row is None else f"row {self.row}"
        return f"{number} ({self.path or self.hash})" if self.path or self.hash else number


@dataclass(frozen=True)
class Applied:
    """What `apply` did, in rows. kept: looked at and left alone. done: had their new text already. unknown: corrections
    whose row is not in the dataset."""

    corrected: int
    dropped: int
    kept: int
    done: int
    unknown: list[Correction]

    def __str__(self) -> str:
        counts = f"{self.corrected} labels corrected, {self.dropped} rows dropped, {self.kept} kept as they are"
        text = f"{counts}, {self.done} were correct already." if self.done else f"{counts}."
        if self.unknown:
            names = ", ".join(each.name for each in self.unknown[:_NAMED])
            more = " ..." if len(self.unknown) > _NAMED else ""
            text += f" {len(self.unknown)} corrections are for rows that are not in this data: {names}{more}"
        return text


def stored(dataset: "Dataset") -> "Dataset":
    """A dataset of image and text -> the same with its images as they are stored, bytes and path, never decoded.

    ValueError where a column is missing.
    """
    from datasets import Image

    if missing := {"image", "text"} - set(dataset.column_names):
        raise ValueError(
            f"The dataset has the columns {', '.join(dataset.column_names)} and lacks {', '.join(sorted(missing))}; "
            "rename yours, or map them with --columns image=...,text=..."
        )
    feature = dataset.features["image"]
    if isinstance(feature, Image) and feature.decode:
        return dataset.cast_column("image", Image(decode=False))
    return dataset


def image_hash(image: dict | None) -> str:
    """{"bytes", "path"} -> the first 16 hexadecimal digits of the SHA-256 of the bytes; "" where there are none."""
    image = image or {}
    data = image.get("bytes")
    try:
        data = Path(image["path"]).read_bytes() if data is None else data
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return hashlib.sha256(data).hexdigest()[:_HASH]


def propose(dataset: "Dataset", suspicions: Iterable["Suspicion"]) -> list[Correction]:
    """A dataset and what `htr.audit.audit` found in it -> one Correction each, to be looked through by a person.

    Only what two rows bear out, an exchange of their labels, is proposed as `correct`; an image that cannot be read as
    `drop`. All else is `keep` with the reading as its new text: who agrees with it writes `correct`.
    """
    dataset, result = stored(dataset), []
    actions = {"exchange": CORRECT, "image": DROP}
    for each in suspicions:
        row = dataset[each.row]
        path = (row["image"] or {}).get("path") or ""
        action, key = actions.get(each.kind, KEEP), image_hash(row["image"])
        number = row.get("row", each.row)
        result.append(Correction(each.text, each.proposal, action, key, path, number, each.reason))
    return result


def write(corrections: Iterable[Correction], path: str | os.PathLike) -> None:
    """corrections -> a UTF-8 CSV with the columns row, image, old, new, action, reason, hash; text in NFC."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for each in corrections:
            number = "" if each.row is None else each.row
            old, new = normalize(each.old), normalize(each.new)
            writer.writerow([number, each.path, old, new, each.action, each.reason, each.hash])


def read(path: str | os.PathLike) -> list[Correction]:
    """corrections.csv -> Corrections, text in NFC.

    Needed are the columns old, new, action and one of hash, image and row; a spreadsheet's semicolons or tabs will do.
    ValueError names the first line that says nothing that can be done, FileNotFoundError a file that is not there.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    header = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    names = table.fieldnames or []
    missing = [name for name in _NEEDED if name not in names]
    if missing or not {"hash", "image", "row"} & set(names):
        raise ValueError(
            f"{path} has the columns {', '.join(names) or 'none'}; old, new, action and one of hash, image, row are "
            "needed: keep the header that htr check writes."
        )
    try:
        return [_correction(record, f"{path} line {table.line_num}", table.line_num) for record in table]
    except csv.Error as error:
        raise ValueError(f"{path} line {table.line_num} is no CSV: {error}.") from error


def _correction(record: dict, where: str, line: int) -> Correction:
    if None in record or None in record.values():
        raise ValueError(f"{where} has another number of fields than the header; quote texts that hold the delimiter.")
    old, new = normalize(record["old"]), normalize(record["new"])
    action, number = record["action"].strip().lower(), record.get("row", "").strip()
    key, image = record.get("hash", "").strip().lower(), record.get("image", "")
    if action not in ACTIONS:
        raise ValueError(f"{where} has the action {record['action']!r}; write {', '.join(ACTIONS[:-1])} or {KEEP}.")
    if number and not number.isdecimal():
        raise ValueError(f"{where} has the row {number!r}; write its number, counted from 0, or nothing.")
    if not (key or image or number):
        raise ValueError(f"{where} names no row; give its hash, its image or its number.")
    if action == CORRECT and not new.strip():
        raise ValueError(f"{where} corrects {old!r} to an empty text; write the new text, or drop as the action.")
    return Correction(old, new, action, key, image, int(number) if number else None, record.get("reason", ""), line)


def apply(dataset: "Dataset", corrections: Sequence[Correction]) -> tuple["Dataset", Applied]:
    """A dataset of image and text, corrections -> the dataset with them, rows in their order, and what was done.

    Rows with the same image and the same old label are corrected together. ValueError, and nothing applied, where a
    row's text is neither the old nor the new one, where two corrections of one row contradict each other, and where a
    correction without hash names more than one row. A row that is not there is reported, not refused: corrections of a
    whole collection may be laid over a part of it.
    """
    dataset = stored(dataset)
    texts = [normalize(text or "") for text in dataset["text"]]
    index = _Index(dataset, corrections)
    decided: dict[int, Correction] = {}
    done, unknown = set(), []
    for each in corrections:
        rows = index.find(each)
        matching = [row for row in rows if texts[row] == each.old]
        if not rows:
            unknown.append(each)
        elif not matching:
            done.update(_done(each, rows, texts))
        elif len(matching) > 1 and not each.hash:
            raise ValueError(f"{_line(each)} is for {len(matching)} rows: {each.name} does not tell; give the hash.")
        for row in matching:
            before = decided.setdefault(row, each)
            if (before.action, before.new) != (each.action, each.new):
                both = f"{_line(before)} and {_line(each)}"
                raise ValueError(f"{both} are for the same row, {each.name}, and differ; leave one of them.")
    return _with(dataset, texts, decided), _report(decided, done, unknown)


def _done(correction: Correction, rows: list[int], texts: list[str]) -> list[int]:
    """The rows that have the new text already; ValueError where none has, for then the label is not the old one."""
    if correction.action == KEEP:
        return []  # what is not to be changed may have been changed by others
    if correction.action == CORRECT and (found := [row for row in rows if texts[row] == correction.new]):
        return found
    raise ValueError(
        f"The text of {correction.name} is {texts[rows[0]]!r}, {_line(correction)} was made for {correction.old!r}; "
        "look at the image again, and correct old and new or take the line out."
    )


def _line(correction: Correction) -> str:
    return f"line {correction.line}" if correction.line else f"the correction to {correction.new!r}"


def _report(decided: dict[int, Correction], done: set[int], unknown: list[Correction]) -> Applied:
    counts = {action: sum(each.action == action for each in decided.values()) for action in ACTIONS}
    return Applied(counts[CORRECT], counts[DROP], counts[KEEP], len(done - set(decided)), unknown)


class _Index:
    """Where the rows are that corrections name; what is not asked for is not looked up."""

    def __init__(self, dataset: "Dataset", corrections: Sequence[Correction]):
        self.hashes: dict[str, list[int]] = {}
        self.paths: dict[str, list[tuple]] = {}
        self.numbers: dict[int | None, list[int]] = {}
        hashed = any(each.hash for each in corrections)
        if hashed or any(each.path for each in corrections):
            for row, image in enumerate(dataset["image"]):
                if path := (image or {}).get("path"):
                    self.paths.setdefault(_parts(path)[-1], []).append((_parts(path), row))
                if hashed and (key := image_hash(image)):
                    self.hashes.setdefault(key, []).append(row)
        numbers = dataset["row"] if "row" in dataset.column_names else range(len(dataset))
        for row, number in enumerate(numbers):
            self.numbers.setdefault(number, []).append(row)

    def find(self, correction: Correction) -> list[int]:
        """The rows that it is for: by hash; without one by path or the end of one, and among those by number."""
        if correction.hash:
            return self.hashes.get(correction.hash, [])
        numbered = self.numbers.get(correction.row, [])
        if correction.path:
            wanted = _parts(correction.path)
            rows = [row for parts, row in self.paths.get(wanted[-1], []) if parts[-len(wanted) :] == wanted]
            return [row for row in rows if row in numbered] or rows
        return numbered


def _parts(path: str) -> list[str]:
    return path.replace("\\", "/").removeprefix("./").split("/")


def _with(dataset: "Dataset", texts: list[str], decided: dict[int, Correction]) -> "Dataset":
    """The dataset with new texts and without the dropped rows."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    new = [decided[row].new if row in decided and decided[row].action == CORRECT else t for row, t in enumerate(texts)]
    if dataset._indices is not None:  # a selection: its table has other rows and another order
        dataset = dataset.flatten_indices()
    schema = dataset.features.arrow_schema
    place = schema.get_field_index("text")
    table = dataset.data.table.set_column(place, schema.field(place), pa.array(new, schema.field(place).type))
    # a fingerprint of our own: datasets would hash all pixels for one
    changed = Dataset(InMemoryTable(table.cast(schema)), fingerprint=os.urandom(8).hex())
    gone = {row for row, each in decided.items() if each.action == DROP}
    return changed.select([row for row in range(len(changed)) if row not in gone]) if gone else changed

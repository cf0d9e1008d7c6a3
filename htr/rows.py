"""Floor 1: what a row of a source is, and what is said of one that cannot be used. Plain tuples, no reading here."""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from htr.files import shown

if TYPE_CHECKING:
    from datasets import Dataset


class Row(NamedTuple):
    """One row as a reader found it; samples judges it.

    image: {"bytes", "path"}, or None where there is none. reason: why the reader itself could not use the row.
    segmentation: IAM's mark, "ok" or "err".
    """

    path: str
    image: dict | None
    text: object
    writer: object = None
    mask: dict | None = None
    segmentation: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used. row counts the rows of source from 0, a table's header not among them."""

    source: str
    row: int
    path: str
    reason: str

    def __str__(self) -> str:
        return shown(f"{self.source} row {self.row}{f' ({self.path})' if self.path else ''}: {self.reason}")


class Samples(NamedTuple):
    """dataset: image {"bytes", "path"} (never decoded), text (NFC), source and row (where it came from), and where
    known writer, mask {"bytes", "path"} and segmentation. problems: every other row, so that none vanishes."""

    dataset: "Dataset"
    problems: list[Problem]


def problem(dataset: "Dataset", index: int, reason: str) -> Problem:
    """What is wrong with row `index` of a loaded dataset, named as its source names it."""
    row = dataset[index]
    path = (row["image"] or {}).get("path") or ""
    return Problem(row.get("source") or "", row.get("row", index), path, reason)


def write_problems(problems: Iterable[Problem], path: str | os.PathLike) -> None:
    """problems -> a UTF-8 CSV of source, row, path, reason."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "row", "path", "reason"])
        writer.writerows([each.source, each.row, each.path, each.reason] for each in problems)

"""Floor 1: read every row of every split once, and say which cannot be used and what the others are like."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from htr.charset import Charset
from htr.files import shown
from htr.images import ImageError, to_ink
from htr.rows import Problem, Samples

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass
class Counts:
    """What one split holds. rows: all of it, usable: without a problem. widths: ink px at the checked height, of every
    image that could be read. characters, writers and segmentation (IAM's marks): how often each occurs."""

    rows: int = 0
    usable: int = 0
    widths: list[int] = field(default_factory=list)
    characters: Counter = field(default_factory=Counter)
    writers: Counter = field(default_factory=Counter)
    segmentation: Counter = field(default_factory=Counter)

    def percentiles(self) -> dict[int, int]:
        """Percentile -> ink width in px; empty where no image could be read."""
        if not self.widths:
            return {}
        return {p: int(w) for p, w in zip(PERCENTILES, np.percentile(self.widths, PERCENTILES), strict=True)}


@dataclass(frozen=True)
class Check:
    """problems: one a row, in the order of the splits. splits: name -> Counts. shared: writers in more than one split,
    writer -> split -> rows."""

    problems: list[Problem]
    splits: dict[str, Counts]
    height: int
    shared: dict[str, dict[str, int]]

    def __str__(self) -> str:
        lines = [line for name, counts in self.splits.items() for line in _describe(name, counts, self.height)]
        for writer, rows in self.shared.items():
            lines.append(f"writer {writer} is in {', '.join(f'{name} ({count} rows)' for name, count in rows.items())}")
        return "\n".join([*map(shown, lines), f"{len(self.problems)} rows cannot be used"])  # writers may hold anything


def check(
    datasets: dict[str, Samples],
    *,
    charset: Charset | None = None,
    height: int = 40,
    fits: Callable[[str, int], str | None] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Check:
    """splits by name -> Check. Decodes every image, so it takes as long as one epoch of reading.

    charset: the alphabet that texts must keep to. fits(text, width) gives the reason why a label cannot be learned from
    an image of that width (ink px at `height`), or None. A row of a later split whose writer is in an earlier one is a
    problem, as it leaks the hand. progress wraps the rows of a split, as tqdm does.
    """
    result = Check([], {}, height, _shared(datasets))
    for name, samples in datasets.items():
        counts = result.splits[name] = Counts(rows=len(samples.dataset) + len(samples.problems))
        found = list(samples.problems)
        for index, row in enumerate(progress(samples.dataset)):
            reasons = [_count(row, counts, charset, height, fits), _leak(row, name, result.shared)]
            if reason := "; ".join(filter(None, reasons)):
                path = (row["image"] or {}).get("path") or ""
                found.append(Problem(row.get("source") or name, row.get("row", index), path, reason))
        counts.usable = counts.rows - len(found)
        order = {source: place for place, source in enumerate(dict.fromkeys(each.source for each in found))}
        result.problems.extend(sorted(found, key=lambda each: (order[each.source], each.row)))
    return result


def _count(row: dict, counts: Counts, charset: Charset | None, height: int, fits) -> str:
    """Adds a row to counts -> what is wrong with its image and text, empty where nothing is."""
    text, reasons = row["text"], []
    counts.characters.update(text)
    for column in ("writer", "segmentation"):
        if row.get(column) is not None:
            getattr(counts, "writers" if column == "writer" else column)[row[column]] += 1
    if charset is not None and (missing := charset.missing(text)):
        reasons.append(f"{text!r} holds {missing!r}, which is outside of the alphabet")
    try:
        ink = to_ink(row["image"], height)
    except ImageError as error:
        return "; ".join([*reasons, str(error).rstrip(".")])
    if ink.blank:
        return "; ".join([*reasons, f"the image is blank, its text is {text!r}"])
    width = ink.pixels.shape[1]
    counts.widths.append(width)
    if fits and (reason := fits(text, width)):
        reasons.append(reason.rstrip("."))
    return "; ".join(reasons)


def _shared(datasets: dict[str, Samples]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    for name, samples in datasets.items():
        if "writer" in samples.dataset.column_names:
            for writer, count in Counter(samples.dataset["writer"]).items():
                if writer is not None:
                    rows.setdefault(writer, {})[name] = count
    return {writer: splits for writer, splits in sorted(rows.items()) if len(splits) > 1}


def _leak(row: dict, name: str, shared: dict[str, dict[str, int]]) -> str:
    splits = shared[row["writer"]] if row.get("writer") in shared else {name: 0}
    first = next(iter(splits))
    return "" if first == name else f"writer {row['writer']} is in {first} too"


def _describe(name: str, counts: Counts, height: int) -> list[str]:
    lines = [f"{name}: {counts.rows} rows, {counts.usable} usable"]
    if widths := counts.percentiles():
        spread = ", ".join(f"{p} %: {width}" for p, width in widths.items())
        lines.append(f"  widths in px at {height} px height, percentiles: {spread}")
    lines.append(f"  {len(counts.characters)} characters: {''.join(sorted(counts.characters))}")
    lines.append(f"  {len(counts.writers)} writers" if counts.writers else "  no writer is known")
    if counts.segmentation:
        lines.append(f"  {counts.segmentation['err']} words whose segmentation is marked err")
    return lines

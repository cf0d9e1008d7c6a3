"""Floor 1: where words come from. Every source becomes a Dataset of image, text, writer and a list of problems."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from htr import columnar, hub, iam, page_xml
from htr.checking import Check, check
from htr.columns import NAMES, from_dataset, from_rows, mapping_of
from htr.files import shown
from htr.rows import Problem, Row, Samples, problem, write_problems
from htr.tables import read_table

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "Check", "Problem", "Samples", "check", "load", "load_all", "problem", "split", "to_parquet", "write_problems",
]  # fmt: skip

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_KINDS = (
    "a parquet or arrow file, a CSV/TSV/JSONL of path and text, a folder with metadata.csv/.jsonl/.parquet, "
    "a folder of PAGE or ALTO XML, iam:DIR[:split] or hf://owner/name[/config][:split]"
)


def load(source: str | os.PathLike, *, columns: dict[str, str] | None = None) -> Samples:
    """source -> Samples(dataset, problems): as many rows and problems together as the source has rows.

    source: a parquet or arrow file, an imagefolder, a CSV/TSV/JSONL, a folder of PAGE/ALTO XML, "iam:DIR[:split]" or
    "hf://owner/name[/config][:split]". columns: which column is image, text, writer or mask where it has another name,
    as in {"image": "scan"}; sources without columns do not look at it. Images are not decoded here, see check.
    FileNotFoundError or ValueError with one sentence for a source that cannot be read at all or has no rows.
    """
    source, columns = os.fspath(source), columns or {}
    if unknown := sorted(set(columns) - set(NAMES)):
        raise ValueError(f"There is no column {unknown[0]!r} to map; {', '.join(NAMES)} can be mapped.")
    samples = _load(source, columns)
    if not len(samples.dataset) and not samples.problems:
        raise ValueError(f"{source} has no rows; give data with at least one image and its text.")
    return samples


def load_all(sources: Iterable[str | os.PathLike], *, columns: dict[str, str] | None = None) -> Samples:
    """sources -> one Samples with all rows in order; a column that only some have is None elsewhere."""
    from datasets import concatenate_datasets

    loaded = [load(source, columns=columns) for source in sources]
    if not loaded:
        raise ValueError(f"No data was given; give {_KINDS}.")
    problems = [each for samples in loaded for each in samples.problems]
    return Samples(concatenate_datasets([samples.dataset for samples in loaded]), problems)


def _load(source: str, columns: dict[str, str]) -> Samples:
    if source.startswith("hf://"):
        return from_dataset(_hub(source), source, columns, None)
    if source.startswith("iam:"):
        return from_rows(iam.read_words(*iam.parse_source(source)), source)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {shown(source)}; give {_KINDS}.")
    if path.is_dir():
        return _from_folder(path, source, columns)
    if not path.is_file():
        raise ValueError(f"{source} is a pipe, socket or device; give a regular file.")
    if path.suffix.lower() in _TABLES:
        return _from_table(path, source, columns)
    if path.suffix.lower() in (".parquet", ".arrow"):
        return from_dataset(columnar.read(path, columns), source, columns, path.parent)
    raise ValueError(f"{source} is of no kind that is read; give {_KINDS}.")


# --- kinds of sources


def _from_folder(path: Path, source: str, columns: dict[str, str]) -> Samples:
    if found := [path / name for name in _METADATA if (path / name).is_file()]:
        return _from_imagefolder(found[0], source, columns)
    if (path / "state.json").is_file():
        return from_dataset(_saved(path), source, columns, path)
    if next(path.rglob("*.xml"), None):
        return from_rows(page_xml.read_pages(path), source)
    if below := sorted({each.parent.name for name in _METADATA for each in path.glob(f"*/{name}")}):
        raise ValueError(f"{source} has no metadata file, its folders {', '.join(below)} have: give {path / below[0]}.")
    raise ValueError(
        f"{source} has no {', '.join(_METADATA)} and no PAGE or ALTO XML; put a metadata.csv (file_name, text) there."
    )


def _from_imagefolder(metadata: Path, source: str, columns: dict[str, str]) -> Samples:
    """Images that the metadata does not list have no text: they are problems, rows behind the metadata's."""
    if metadata.suffix == ".parquet":
        samples = from_dataset(columnar.read(metadata, columns), source, columns, metadata.parent)
    else:
        samples = _from_table(metadata, source, columns)
    listed = {each.path for each in samples.problems}
    for name in {"image", "mask"} & set(samples.dataset.column_names):
        listed.update(each["path"] for each in samples.dataset[name] if each)
    images = sorted(path for path in metadata.parent.rglob("*") if path.suffix.lower() in _IMAGES)
    extra = [path for path in images if os.path.normpath(path) not in listed]
    first, reason = len(samples.dataset) + len(samples.problems), f"no text: {metadata.name} has no row for it"
    samples.problems.extend(Problem(source, row, str(path), reason) for row, path in enumerate(extra, start=first))
    return samples


def _from_table(path: Path, source: str, columns: dict[str, str]) -> Samples:
    names, records = read_table(path)
    if not records:
        raise ValueError(f"{source} has no rows; give a header and one line of path and text for each image.")
    mapping = mapping_of(names, source, columns) if any(isinstance(each, dict) for each in records) else {}
    return from_rows((_table_row(record, mapping) for record in records), source, path.parent)


def _table_row(record: dict | str, mapping: dict[str, str]) -> Row:
    if isinstance(record, str):
        return Row("", None, None, reason=record)
    values = {column: record.get(name) for column, name in mapping.items()}
    image, mask = _file(values.pop("image")), _file(values.pop("mask", None))
    return Row(image["path"] if image else "", image, values.pop("text"), mask=mask, **values)


def _file(value: object) -> dict | None:
    """A cell of a text table -> {"bytes", "path"}; None where it names no file."""
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        value = value["path"]
    return {"bytes": None, "path": value} if isinstance(value, str) and value.strip() else None


def _saved(path: Path) -> "Dataset":
    from datasets import Dataset, load_from_disk

    try:
        dataset = load_from_disk(str(path))
    except Exception as error:  # datasets raises many kinds
        reason = shown(str(error).split("\n")[0].rstrip("."))
        raise ValueError(f"{path} has a state.json and is no dataset that was saved whole: {reason}.") from error
    if not isinstance(dataset, Dataset):
        raise ValueError(f"{path} holds the splits {', '.join(dataset)}; give one of its folders.")
    return dataset


def _hub(source: str) -> "Dataset":
    hub.quiet()
    from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset

    path, _, split = source.removeprefix("hf://").partition(":")
    parts = path.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"{source} names no dataset; write hf://owner/name[/config][:split].")
    name, dataset, splits = "/".join(parts[:2]), None, [split]
    try:
        hub.find(name, "dataset")
        with hub.only():
            configs = parts[2:] or get_dataset_config_names(name)
            config = configs[0] if len(configs) == 1 else "default" if "default" in configs else None
            if config:
                splits = [split] if split else get_dataset_split_names(name, config)
                dataset = load_dataset(name, config, split=splits[0]) if len(splits) == 1 else None
    except Exception as error:  # network, hub and builder each raise their own kinds
        raise ValueError(f"{source} cannot be loaded from the hub: {hub.reason(error)}.") from error
    if not config:
        raise ValueError(f"{source} has the configs {', '.join(configs)}; name one, as in hf://{name}/{configs[0]}.")
    if dataset is None:
        raise ValueError(f"{source} has the splits {', '.join(splits)}; name one, as in {source}:{splits[0]}.")
    return dataset


# --- parts of a dataset


def split(dataset: "Dataset", *, fraction: float = 0.1, seed: int = 0) -> tuple["Dataset", "Dataset", str]:
    """dataset -> train, validation of about `fraction` of the rows, and a sentence that says how they were parted.

    By writer where writers are known, so that no hand is in both; a row without a writer goes alone. The same rows and
    seed give the same parts, rows keep their order. ValueError for fewer than two rows.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"The validation share is {fraction}; it is above 0 and below 1.")
    if len(dataset) < 2:
        raise ValueError(f"{len(dataset)} row cannot be split in two; give more rows, or validation data of its own.")
    writers = list(dataset["writer"]) if "writer" in dataset.column_names else [None] * len(dataset)
    known = {writer for writer in writers if writer is not None}
    if len(known) == 1 and None not in writers:
        writers = [None] * len(dataset)
    groups: dict[object, list[int]] = {}
    for index, writer in enumerate(writers):
        groups.setdefault(index if writer is None else writer, []).append(index)
    held = sorted(index for group in _held_out(groups, fraction * len(dataset), seed) for index in group)
    rest = sorted(set(range(len(dataset))).difference(held))
    train, validation = dataset.select(rest), dataset.select(held)
    return train, validation, _how(train, validation, writers, known, seed)


def _held_out(groups: dict[object, list[int]], wanted: float, seed: int) -> list[list[int]]:
    """Whole groups in the order of the seed, as many as stay within the wanted rows; the smallest where none does."""
    # names before numbers, each in order: the parts depend on the seed and not on the order of a dict
    names = sorted(groups, key=lambda name: (not isinstance(name, str), name))
    held, count = [], 0
    for index in np.random.default_rng(seed).permutation(len(names)):
        group = groups[names[index]]
        if count + len(group) <= wanted:
            held.append(group)
            count += len(group)
    return held or [min(groups.values(), key=len)]


def _how(train: "Dataset", validation: "Dataset", writers: list, known: set, seed: int) -> str:
    rows = f"{len(train)} rows to train and {len(validation)} to validate (seed {seed})"
    alone = sum(writer is None for writer in writers)
    if not alone:
        held = len(set(validation["writer"]))
        return f"Split by writer: {rows}, {len(known) - held} writers in one part and {held} others in the other."
    if alone < len(writers):
        return f"Split by writer, and by row for the {alone} rows without one: {rows}."
    why = f"all are by one writer, {known.pop()}" if known else "no writer is known, so one hand may be in both"
    return f"Split by row: {rows}; {why}."


def to_parquet(dataset: "Dataset", path: str | os.PathLike) -> None:
    """dataset -> a parquet file with the pixels inside, in the layout of Hugging Face's Image feature.

    Where the rows were loaded from (source, row) is left out. FileNotFoundError where an image has gone since.
    """
    import pyarrow.parquet as pq
    from datasets import Features, Image
    from datasets.table import embed_table_storage

    names = [name for name in dataset.column_names if name not in ("source", "row")]
    dataset = dataset.select_columns(names)
    features = Features(
        {name: Image() if isinstance(feature, Image) else feature for name, feature in dataset.features.items()}
    )
    path = Path(path)
    part = path.with_name(path.name + ".part")  # a run that is stopped leaves no half a file under the name
    try:
        with pq.ParquetWriter(part, features.arrow_schema) as writer:
            for batch in dataset.with_format("arrow").iter(batch_size=200):
                writer.write_table(embed_table_storage(batch.cast(features.arrow_schema)))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

"""Floor 1: the words of the IAM handwriting database as it is unpacked: words.txt, words/, xml/ and the split lists.

U.-V. Marti and H. Bunke, "The IAM-database: an English sentence database for offline handwriting recognition", 2002.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from htr.page_xml import root_attributes
from htr.rows import Row
from htr.tables import read_lines

# The lists of the "large writer independent text line recognition task", which come with the database
SPLITS = {
    "train": "trainset.txt",
    "validation": "validationset1.txt",
    "validation2": "validationset2.txt",
    "test": "testset.txt",
}
# id, segmentation, grey level, (components), x y w h, tag, text; the header names components, the rows lack them
_WORD = re.compile(r"(\S+) (ok|err?) -?\d+(?: -?\d+)?(?: -?\d+){4} (\S+) (.+)")


def parse_source(source: str) -> tuple[Path, str | None]:
    """ "iam:DIR[:split]" -> folder and split. FileNotFoundError, or ValueError for a split that does not exist."""
    rest = source.removeprefix("iam:")
    folder, _, split = rest.rpartition(":")
    if folder and split in SPLITS:
        rest = folder
    elif Path(rest).is_dir():
        split = ""
    elif folder and Path(folder).is_dir():
        raise ValueError(f"IAM has no split {split!r}; choose {', '.join(SPLITS)}, or leave it out for all words.")
    if not Path(rest).is_dir():
        raise FileNotFoundError(f"There is no folder {rest}; give iam:DIR or iam:DIR:split with the unpacked database.")
    return Path(rest), split or None


def read_words(folder: Path, split: str | None = None) -> Iterator[Row]:
    """folder -> the rows of words.txt, those of a split where one is given.

    Words whose segmentation is marked err are kept, with the mark. An entry of the split's list without any word comes
    as a row with its reason. FileNotFoundError names what the folder lacks.
    """
    table = _find(folder, "words.txt")
    if not (folder / "words").is_dir():
        raise FileNotFoundError(f"{folder} has no folder words/ with the images; unpack words.tgz there.")
    wanted = _split_ids(folder, split) if split else None
    return _rows(folder, table, wanted, _Writers(folder), split)


def _rows(folder: Path, table: Path, wanted: list[str] | None, writers: "_Writers", split: str | None) -> Iterator[Row]:
    unseen = dict.fromkeys(wanted or [])
    listed = frozenset(unseen)
    for number, line in enumerate(read_lines(table), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name = line.split(" ", 1)[0]
        ids = {"-".join(name.split("-")[:parts]) for parts in (2, 3)}  # the form a01-000u and its line a01-000u-00
        if wanted is not None and not ids & listed:
            continue
        for seen in ids:
            unseen.pop(seen, None)
        yield _row(folder, writers, name, line, number)
    if split:
        for name in unseen:
            yield Row(name, None, None, reason=f"{SPLITS[split]} lists {name}, words.txt has no word of it")


def _row(folder: Path, writers: "_Writers", name: str, line: str, number: int) -> Row:
    parts = name.split("-")
    path = folder / "words" / parts[0] / "-".join(parts[:2]) / f"{name}.png"
    match = _WORD.fullmatch(line.rstrip())
    if not match or not re.fullmatch(r"[\w-]{1,50}", name):
        return Row(name, None, None, reason=f"line {number} of words.txt is not 'id ok|err grey x y w h tag text'")
    text = match[4].replace("|", " ")  # IAM writes the space between two words as |
    segmentation = "ok" if match[2] == "ok" else "err"
    try:
        writer = writers.find("-".join(parts[:2]))
    except (OSError, ValueError) as error:
        return Row(name, None, None, reason=f"its writer is not known: {error}")
    return Row(str(path), {"bytes": None, "path": str(path)}, text, writer, segmentation=segmentation)


def _find(folder: Path, name: str) -> Path:
    """The file in folder or in one of its folders (archives unpack to ascii/, task/ ...)."""
    places = [folder / name, *sorted(folder.glob(f"*/{name}"))]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"{name} is missing in {folder} and in the folders right below it; it comes with IAM.")


def _split_ids(folder: Path, split: str) -> list[str]:
    """The ids of forms (a01-000u) or lines (a01-000u-00) that belong to a split."""
    try:
        path = _find(folder, SPLITS[split])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{SPLITS[split]} is missing in {folder}, it lists what belongs to IAM's {split} split: "
            "unpack largeWriterIndependentTextLineRecognitionTask.zip there, or leave the split out."
        ) from error
    return " ".join(read_lines(path)).split()


class _Writers:
    """Form id -> writer id, from xml/FORM.xml or else from forms.txt; each file is opened once. The OSError or
    ValueError of a damaged file comes again for every word of its form, unless forms.txt knows the writer."""

    def __init__(self, folder: Path):
        self._xml = folder / "xml"
        self._known: dict[str, str | None] = {}
        self._damaged: dict[str, OSError | ValueError] = {}
        self._forms: dict[str, str] = {}
        forms = [path for path in (folder / "forms.txt", *sorted(folder.glob("*/forms.txt"))) if path.is_file()]
        for line in read_lines(forms[0]) if forms else []:
            fields = line.split()
            if len(fields) > 1 and not line.startswith("#"):
                self._forms[fields[0]] = fields[1]

    def find(self, form: str) -> str | None:
        if form not in self._known:
            path = self._xml / f"{form}.xml"
            found = None
            try:
                found = root_attributes(path).get("writer-id") if path.is_file() else None
            except (OSError, ValueError) as error:
                self._damaged[form] = error
            self._known[form] = found or self._forms.get(form)
        if form in self._damaged and not self._known[form]:
            raise self._damaged[form]
        return self._known[form]

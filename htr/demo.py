"""Floor 8: what the page of `htr demo` asks for: a word read in every way there is, and many words at once.

Requests come from several threads. What one of them wants of a reader (a lexicon) goes into a copy of it that nobody
else sees; the network itself reads for one request after the other.
"""

import copy
import csv
import io
import threading
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from htr import engines, transcriber
from htr.images import ImageError, Ink, read_image, to_ink
from htr.listing import SUFFIXES
from htr.search import Search, language
from htr.transcriber import Transcriber, Transcription

TOP = 5  # texts told of the beam
MAX_BYTES = 32 << 20  # of one file: an upload, the body of a request, what an entry of a zip unpacks to
MAX_UNPACKED = 256 << 20  # bytes that all entries of an upload unpack to together
MAX_IMAGES = 500  # of an upload
MAX_LEXICON = 200_000  # characters
_BATCH = 16  # words between which another request may have its turn
_SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"
_RUNTIMES = {"keras": "keras", "onnx": "onnxruntime", "openvino": "openvino", "openvino-bf16": "openvino"}


@dataclass(frozen=True)
class Seen:
    """A word as it was read. logits: (frames, classes). guided: with the lexicon, None without one. beam and guided
    are None for a reader that cannot search; left_out are the lexicon's words that its alphabet cannot write."""

    reader: Transcriber
    picture: Image.Image
    ink: Ink
    logits: np.ndarray
    plain: Transcription
    beam: Transcription | None
    guided: Transcription | None
    left_out: list[str]


@dataclass(frozen=True)
class Row:
    """A line of the table of many words: a Transcription, or one sentence that says why there is none."""

    name: str
    outcome: Transcription | str
    picture: Image.Image | None = None


class Desk:
    """The readers that may be asked for, each loaded when it first is."""

    def __init__(self, checkpoint: str | None = None, engine: str | None = None):
        """checkpoint, engine: those of the command line; they are loaded now, so that an error comes at once."""
        self._turn, self._loading = threading.Lock(), threading.Lock()
        first = transcriber.load(checkpoint, engine=engine)
        self.checkpoints = _checkpoints(first.name)
        self.engines = [name for name in engines.ENGINES if find_spec(_RUNTIMES[name])]
        self.checkpoint, self.engine = next(iter(self.checkpoints)), first.engine.name
        self._readers = {(self.checkpoint, self.engine): first}

    def reader(self, checkpoint: str | None = None, engine: str | None = None) -> Transcriber:
        """The reader of a name in `checkpoints` on an engine of `engines`; ValueError where there is none."""
        key = checkpoint or self.checkpoint, engine or self.engine
        if key[0] not in self.checkpoints:
            raise ValueError(f"There is no reader {key[0]!r} here; choose one of {', '.join(self.checkpoints)}.")
        if key[1] not in self.engines:
            raise ValueError(f"There is no engine {key[1]!r} here; choose one of {', '.join(self.engines)}.")
        if key not in self._readers:  # asked first without the lock, which is held for seconds
            with self._loading:
                if key not in self._readers:
                    self._readers[key] = transcriber.load(self.checkpoints[key[0]], engine=key[1])
        return self._readers[key]

    def has(self, checkpoint: str | None = None, engine: str | None = None) -> bool:
        """Whether that reader is loaded; `reader` takes seconds otherwise."""
        return (checkpoint or self.checkpoint, engine or self.engine) in self._readers

    def see(self, source, reader: Transcriber, lexicon: str = "") -> Seen:
        """An image as `htr.images` takes it, a word list of one word a line -> Seen. ImageError, ValueError."""
        picture, ink = read_image(source), to_ink(source, reader.config.height)
        guide, left_out = guided(reader, lexicon, top=TOP)
        with self._turn:
            (logits,) = reader.logits([ink])
            plain = reader.transcribe(ink)
            beam = copy.copy(reader).use(Search(top=TOP)).transcribe(ink) if reader.objective.has_positions else None
            found = guide.transcribe(ink) if guide else None
        return Seen(reader, picture, ink, logits, plain, beam, found, left_out)

    def transcribe(self, source, reader: Transcriber, lexicon: str = "", top: int = 1) -> Transcription:
        """An image as `htr.images` takes it -> its Transcription, with a lexicon and `top` alternatives if need be."""
        ink = to_ink(source, reader.config.height)
        chosen = guided(reader, lexicon, top=top)[0] or (copy.copy(reader).use(Search(top=top)) if top > 1 else reader)
        with self._turn:
            return chosen.transcribe(ink)

    def read_all(self, files: Iterable[str], reader: Transcriber, lexicon: str = "") -> Iterator[Row]:
        """Names of image and zip files -> a Row for each image in them, and for each thing that is none."""
        chosen = guided(reader, lexicon)[0] or reader
        sources = unpack(files)
        while batch := list(islice(sources, _BATCH)):
            images = [source for source in batch if isinstance(source, dict)]
            with self._turn:
                outcomes = iter(list(chosen.stream(images, batch_size=_BATCH)))
            for source in batch:
                yield source if isinstance(source, Row) else _row(source, next(outcomes))


def guided(reader: Transcriber, lexicon: str, *, top: int = 1) -> tuple[Transcriber | None, list[str]]:
    """A reader and a word list -> a copy that reads with it, None for an empty one; and the words it cannot write."""
    if len(lexicon) > MAX_LEXICON:
        raise ValueError(f"The lexicon has {len(lexicon):,} characters, at most {MAX_LEXICON:,} are taken: shorten it.")
    words = list(dict.fromkeys(word.strip() for word in lexicon.splitlines() if word.strip()))
    if not words:
        return None, []
    automaton, left_out = language(reader.charset, lexicon=words)
    return copy.copy(reader).use(Search(automaton, top=top)), left_out


def unpack(files: Iterable[str]) -> Iterator[dict | Row]:
    """Names of files -> {"path", "bytes"} of each image, those in zips too, and a Row for what cannot be one.

    Nothing is written to disk: an entry's name is a name to show, wherever it may point. The bytes that come out of an
    entry are counted, whatever the zip says of them.
    """
    room, left = MAX_UNPACKED, MAX_IMAGES
    for name, size, read in _entries(files):
        if left == 0:
            yield Row(name, f"More than {MAX_IMAGES} images came; this one and those after it are left out.")
            return
        if isinstance(read, str):
            yield Row(name, read)
        elif size > MAX_BYTES:
            yield Row(name, f"It has {size / 2**20:.0f} MB, at most {MAX_BYTES >> 20} MB are taken: scale it down.")
        else:
            data = read()
            room -= len(data) if isinstance(data, bytes) else 0
            if isinstance(data, str):
                yield Row(name, data)
            elif room < 0:
                yield Row(name, f"The files unpack to more than {MAX_UNPACKED >> 20} MB; the rest of them is left out.")
                return
            else:
                yield {"path": name, "bytes": data}
        left -= 1


def _entries(files: Iterable[str]):
    """Yields (name, size in bytes, a function that reads them or says why not; or why there is nothing to read)."""
    for file in map(Path, files):
        with open(file, "rb") as start:
            zipped = start.read(2) == b"PK"
        if not zipped:
            yield file.name, file.stat().st_size, file.read_bytes
            continue
        try:
            with zipfile.ZipFile(file) as archive:
                entries = [entry for entry in archive.infolist() if _wanted(entry)]
                if not entries:
                    yield file.name, 0, "This zip holds no images: put PNG, JPEG, WebP or TIFF files into it."
                for entry in entries:
                    yield entry.filename, entry.file_size, lambda entry=entry: _entry(archive, entry)
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            yield file.name, 0, f"This zip cannot be opened ({str(error).rstrip('.')}); make it again."


def _wanted(entry: zipfile.ZipInfo) -> bool:
    """Neither a folder nor what computers put beside files: __MACOSX, .DS_Store."""
    parts = Path(entry.filename).parts
    return not entry.is_dir() and bool(parts) and parts[0] != "__MACOSX" and not parts[-1].startswith(".")


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | str:
    if entry.flag_bits & 1:
        return "It is locked with a password: make a zip without one."
    try:
        with archive.open(entry) as file:
            data = file.read(MAX_BYTES + 1)
    except Exception as error:  # each kind of compression has errors of its own
        return f"It cannot be unpacked ({str(error).rstrip('.') or type(error).__name__}); make the zip again."
    return data if len(data) <= MAX_BYTES else f"It unpacks to more than {MAX_BYTES >> 20} MB, which is too much."


def _row(source: dict, outcome: Transcription | ImageError) -> Row:
    if isinstance(outcome, ImageError):
        return Row(source["path"], str(outcome))
    picture = read_image(source)
    picture.thumbnail((480, 96))
    return Row(source["path"], outcome, picture)


def to_csv(rows: Iterable[Row]) -> str:
    """Rows -> CSV with the columns name, text, confidence, error."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["name", "text", "confidence", "error"])
    for row in rows:
        lines.writerow(
            [row.name, "", "", row.outcome]
            if isinstance(row.outcome, str)
            else [row.name, row.outcome.text, f"{row.outcome.confidence:.4f}", ""]
        )
    return text.getvalue()


def samples() -> list[tuple[str, str]]:
    """(file, text) of the words in docs/samples, none where the checkout is not at hand."""
    listed = _SAMPLES / "metadata.csv"
    if not listed.is_file():
        return []
    with open(listed, encoding="utf-8", newline="") as file:
        rows = [(str(_SAMPLES / row["file_name"]), row["text"]) for row in csv.DictReader(file)]
    return [row for row in rows if Path(row[0]).suffix in SUFFIXES and Path(row[0]).is_file()]


def _checkpoints(first: str) -> dict[str, str]:
    """What a reader is called on the page -> its folder: the one given, the shipped one, and those in runs/."""
    try:
        shipped = str(transcriber.shipped())
    except FileNotFoundError:
        shipped = ""
    runs = sorted(str(config.parent) for config in Path("runs").glob("*/config.json"))
    folders = dict.fromkeys([first, *([shipped] if shipped else []), *runs])
    return {f"{Path(name).name} (shipped)" if name == shipped else name: name for name in folders}

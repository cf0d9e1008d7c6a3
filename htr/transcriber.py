"""Floor 4: network, charset and settings kept together: images in, text out."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from htr import checkpoint, engines, hub, objectives
from htr.charset import Charset
from htr.config import ModelConfig
from htr.decoding import Reading
from htr.images import ImageError, Ink, to_ink
from htr.opening import Opener
from htr.padding import pad_images
from htr.search import Search

WINDOW = 16  # batches that are looked at together, to put words of like width into one


@dataclass(frozen=True)
class Character:
    """A character as read; left and right in pixels of the upright source image, None where there is no position."""

    character: str
    confidence: float
    left: float | None
    right: float | None


@dataclass(frozen=True)
class Transcription:
    """What a word reads as. confidence is the network's probability of the text; frames is how many it looked at."""

    text: str
    confidence: float
    characters: list[Character]
    alternatives: list[tuple[str, float]]
    frames: int


class Transcriber:
    """A reader: `htr.load()` gives one. engine is what its logits come from (`htr.engines`)."""

    def __init__(
        self,
        model,
        charset: Charset,
        config: ModelConfig,
        objective: str = "ctc",
        objective_options: dict | None = None,
        training: dict | None = None,
        temperature: float = 1.0,
        engine=None,
    ):
        """model is the Keras network; it may be None where there is another engine."""
        self._model, self.charset, self.config = model, charset, config
        self.engine = engine or engines.KerasEngine(model)
        self.objective = objectives.get(objective, **(objective_options or {}))
        self.training = training or {}
        self.temperature = temperature  # divides the logits before confidences are taken; texts do not depend on it
        self.name = "reader"
        self.search: Search | None = None

    @classmethod
    def load(cls, folder, *, engine: str | None = None) -> "Transcriber":
        """The reader stored in a folder. CheckpointError says in one sentence what is wrong with it.

        engine: keras, onnx or openvino; without one ONNX Runtime where it is installed and the folder has a model.onnx.
        """
        charset, config, settings = checkpoint.load(folder)
        chosen = engines.choose(folder, engine)
        model = None if chosen else checkpoint.load_model(folder, charset, config)
        options, training = settings.get("objective_options"), settings.get("training")
        temperature = settings.get("temperature", 1.0)
        reader = cls(model, charset, config, settings["objective"], options, training, temperature, chosen)
        reader.name = str(folder)
        return reader

    @property
    def model(self):
        """The Keras network (keras.Model), built when it is first asked for."""
        if self._model is None:
            self._model = checkpoint.load_model(self.name, self.charset, self.config)
        return self._model

    def save(self, folder, *, readme: str | None = None, half: bool = False) -> None:
        """Write the checkpoint folder: config.json, weights.npz (float16 with half) and README.md."""
        checkpoint.save(
            folder,
            model=self.model,
            charset=self.charset,
            config=self.config,
            objective=self.objective.name,
            objective_options=dataclasses.asdict(self.objective),
            training=self.training,
            temperature=self.temperature,
            readme=readme or f"{hub.PLAIN}\nLoad it with `htr.load({str(folder)!r})`.\n",
            half=half,
        )

    def use(self, search: Search | None) -> "Transcriber":
        """Read with a beam search from now on (a lexicon, a language model, alternatives), with None without; itself.

        ValueError for a reader whose objective ties no text to frames.
        """
        if search is not None and not self.objective.has_positions:
            raise ValueError(
                f"This reader was trained with the objective {self.objective.name}, which spells without alignments: "
                "a lexicon, a language model and alternatives need one of the CTC family."
            )
        self.search = search
        return self

    def frames_needed(self, text: str) -> int:
        """The fewest frames in which text can be read; characters outside the alphabet count as one each."""
        ids = [ord(c) for c in text] if self.charset.missing(text) else self.charset.encode(text)
        return self.objective.frames_needed(ids)

    def logits(self, images: Sequence, batch_size: int = 64, pad_to: int | None = None) -> list[np.ndarray]:
        """images -> logits (frames, classes) float32 each, valid frames only; no frames where there is no ink.

        images are paths, bytes, PIL images, arrays or Ink. pad_to is a width in pixels of the network's input height,
        at least the widest image's; neither it nor the batch has any influence on the result.
        """
        inks = [self._ink(image) for image in images]
        widest = max((ink.pixels.shape[1] for ink in inks), default=0)
        if pad_to is not None and pad_to < widest:
            raise ValueError(f"pad_to is {pad_to} px, the widest image has {widest} px; give {widest} or more.")
        results = [self._nothing] * len(inks)
        for rows, found in self._batches(inks, batch_size, pad_to):
            for i, logits in zip(rows, found, strict=True):
                results[i] = logits
        return results

    @property
    def _nothing(self) -> np.ndarray:
        """The logits of an image without ink."""
        return np.zeros((0, self.charset.num_classes), np.float32)

    def _batches(self, inks: list[Ink], batch_size: int, pad_to: int | None = None):
        """Yields indices of inks of about one width and the logits of each, as they come; not of those without ink."""
        order = sorted((i for i, ink in enumerate(inks) if not ink.blank), key=lambda i: inks[i].pixels.shape[1])
        chosen = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        step = self.engine.width_step
        batches = (pad_images([inks[i].pixels for i in rows], width=pad_to, multiple=step) for rows in chosen)
        for rows, logits in zip(chosen, self.engine.run(batches), strict=True):
            yield rows, [logits[k, : self.config.frames(inks[i].pixels.shape[1])] for k, i in enumerate(rows)]

    def transcribe(self, images, *, batch_size: int = 64):
        """An image -> Transcription; a list -> a list; a list of lists (the words of lines) -> a list of lists.

        ImageError names the first image that cannot be read; use `stream` to go on past such images.
        """
        if not isinstance(images, (list, tuple)):
            return self.transcribe([images])[0]
        if images and all(isinstance(line, (list, tuple)) for line in images):
            flat = iter(self.transcribe([word for line in images for word in line], batch_size=batch_size))
            return [list(islice(flat, len(line))) for line in images]
        results = list(self.stream(images, batch_size=batch_size))
        for result in results:
            if isinstance(result, ImageError):
                raise result
        return results

    def stream(self, images: Iterable, *, batch_size: int = 64) -> Iterator[Transcription | ImageError]:
        """Any number of images -> one result each, in their order; for an image that cannot be read its ImageError."""
        images = iter(images)
        opener = Opener(self.config.height, engines.cores())

        def opened():
            return opener.submit(list(islice(images, batch_size * WINDOW)))

        try:
            ahead = opened()
            while ahead.futures:
                # the images of the next window are opened while the network reads those of this one
                window, ahead = ahead, opened()
                yield from self._read(window.result(), batch_size)
        finally:
            opener.close()

    def _read(self, results: list, batch_size: int) -> list[Transcription | ImageError]:
        good = [i for i, ink in enumerate(results) if isinstance(ink, Ink)]
        inks = [results[i] for i in good]
        blank = [i for i, ink in enumerate(inks) if ink.blank]
        # a batch becomes text while the network reads the next ones
        for rows, logits in chain(self._batches(inks, batch_size), [(blank, [self._nothing] * len(blank))]):
            for i, (reading, alternatives) in zip(rows, self._decode(logits), strict=True):
                results[good[i]] = self._transcription(reading, alternatives, inks[i])
        return results

    def _decode(self, logits: list[np.ndarray]) -> list[tuple[Reading, list]]:
        if self.search:
            return self.search.read(logits, self.temperature)
        readings = self.objective.decode([frames / np.float32(self.temperature) for frames in logits])
        return [(reading, []) for reading in readings]

    def _ink(self, image) -> Ink:
        return image if isinstance(image, Ink) else to_ink(image, self.config.height)

    def _transcription(self, reading: Reading, alternatives: list, ink: Ink) -> Transcription:
        text, stride = self.charset.decode(reading.ids), self.config.stride
        characters = [
            Character(character, confidence, *_place(span, ink, stride))
            for character, confidence, span in zip(text, reading.confidences, reading.spans, strict=True)
        ]
        frames = 0 if ink.blank else self.config.frames(ink.pixels.shape[1])
        others = [(self.charset.decode(ids), confidence) for ids, confidence in alternatives]
        return Transcription(text, reading.confidence, characters, others, frames)


def _place(span: tuple[int, int] | None, ink: Ink, stride: int) -> tuple[float | None, float | None]:
    """Frames -> left and right in px of the upright source image."""
    if span is None:
        return None, None
    width = ink.pixels.shape[1]
    return ink.left + min(span[0] * stride, width) * ink.scale, ink.left + min(span[1] * stride, width) * ink.scale


def load(checkpoint_name=None, *, engine: str | None = None) -> Transcriber:
    """The shipped reader, or the one in a folder or under hf://owner/name; engine as in `Transcriber.load`."""
    name = str(shipped() if checkpoint_name is None else checkpoint_name)
    return Transcriber.load(checkpoint.find(name), engine=engine)


def shipped() -> Path:
    """The folder of the shipped checkpoint, in a checkout or in an installed wheel."""
    here = Path(__file__).resolve().parent
    for folder in (here / "checkpoints" / "latin", here.parent / "checkpoints" / "latin"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("No checkpoint is shipped with this htr; give the folder of one, such as runs/mine.")

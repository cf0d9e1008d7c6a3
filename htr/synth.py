"""Floor 1: text -> ink with its exact ink mask, and whole data sets of such words.

Pens' strokes (Hershey-Fonts, no download) are the default; `outline_fonts` adds a folder of handwriting fonts.
"""

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from htr import paper
from htr.hand import new_hand
from htr.strokes import hershey_fonts
from htr.vocabulary import LANGUAGES, Vocabulary

# Never used by `words` unless asked for: tests and demos read words in these hands as unseen.
HELD_OUT_STROKE_FONTS = ("rowmans", "timesi")
INK = 0.25  # a pixel is ink where the pen covered at least this share of it
WORDS_PER_WRITER = 12


def stroke_fonts():
    """-> dict of name -> StrokeFont; those in HELD_OUT_STROKE_FONTS too."""
    return dict(hershey_fonts())


def render(text, rng, *, font, hand=None):
    """text -> (ink (height, width) float32 0..1, mask (height, width) bool): what the pen covered, before any paper.

    Raises ValueError where the text is empty or the font lacks one of its characters.
    """
    if not text.strip():
        raise ValueError("The text is empty: give at least one character that leaves ink.")
    missing = font.missing(text)
    if missing:
        raise ValueError(f"{text!r} cannot be written in {font.name}: it lacks {missing!r}; choose another font.")
    ink = font.draw(text, rng, hand)
    return ink, ink >= INK


def words(n, *, seed, fonts=None, lexicon=None, languages=LANGUAGES):
    """Yields n dicts of image and mask (bytes of PNG or JPEG), text, writer. The same seed gives the same bytes.

    fonts: dict of name -> font (default: all stroke fonts but the held-out ones). A writer is a font and a hand, and
    writes WORDS_PER_WRITER words; `text` is what is written: a hand of block capitals has its label in capitals.
    """
    fonts = fonts or {k: f for k, f in stroke_fonts().items() if k not in HELD_OUT_STROKE_FONTS}
    vocabulary = Vocabulary(languages, lexicon=lexicon)
    for number in range(0, n, WORDS_PER_WRITER):
        rng = np.random.default_rng([seed, number])
        writer = _Writer(fonts, rng, f"{number // WORDS_PER_WRITER:06}")
        for _ in range(min(WORDS_PER_WRITER, n - number)):
            yield writer.sample(vocabulary, rng)


class _Writer:
    """A font, a hand, a desk (pen and paper), and a way with capitals."""

    def __init__(self, fonts, rng, name):
        self.fonts = fonts
        self.font = fonts[list(fonts)[int(rng.integers(len(fonts)))]]
        self.hand = new_hand(rng, self.font.manner)
        self.desk = paper.new_desk(rng)
        self.name = f"{self.font.name}-{name}"
        kind = rng.random()
        self.block = kind < 0.05
        self.mixed = "".join(c for c in "abdefghijlmnqrty" if rng.random() < 0.25) if 0.05 <= kind < 0.08 else ""

    def sample(self, vocabulary, rng):
        text = self._text(vocabulary, rng)
        hand = dataclasses.replace(self.hand, drift=self.hand.drift + rng.normal(0, 0.015))
        ink, mask = render(text, rng, font=self.font, hand=hand)
        image, mask = paper.photograph(ink, mask, rng, desk=self.desk)
        return {"image": image, "mask": cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes(), "text": text, "writer": self.name}

    def _text(self, vocabulary, rng):
        for _ in range(1000):
            text = vocabulary.text(rng)
            if self.block:
                text = text.upper()
            elif self.mixed:
                text = "".join(c.upper() if c in self.mixed else c for c in text)
            if text.strip() and not self.font.missing(text):
                return text
        raise ValueError(f"None of 1,000 texts can be written in {self.font.name}: give another font or lexicon.")


def write_parquet(path, n, *, seed=0, fonts=None, lexicon=None, languages=LANGUAGES):
    """Writes n words in Hugging Face layout: image, mask (features Image), text, writer. Returns the path."""
    import datasets
    from datasets.arrow_writer import ArrowWriter  # noqa: F401  (fails early where pyarrow is broken)

    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image(), "text": datasets.Value("string"),
                                  "writer": datasets.Value("string")})
    path = Path(path)
    return _write_table(path, n, features, words(n, seed=seed, fonts=fonts, lexicon=lexicon, languages=languages))


def _write_table(path, n, features, samples, rows=2000):
    import itertools

    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    schema = features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(samples, rows)):
            columns = {"text": [s["text"] for s in batch], "writer": [s["writer"] for s in batch]}
            columns |= {k: [{"bytes": s[k], "path": None} for s in batch] for k in ("image", "mask")}
            writer.write_table(pa.table(columns, schema=schema))
    return path

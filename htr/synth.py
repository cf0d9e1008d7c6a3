"""Floor 1: text -> ink with its exact ink mask, and whole data sets of such words.

Pens' strokes (Hershey-Fonts, no download) are the default; `outline_fonts` adds a folder of handwriting fonts.
"""

import itertools
from pathlib import Path

import cv2
import numpy as np

from htr import paper
from htr.hand import new_hand
from htr.outlines import outline_fonts
from htr.strokes import hershey_fonts, own_fonts
from htr.vocabulary import LANGUAGES, Vocabulary

__all__ = ["HELD_OUT_STROKE_FONTS", "outline_fonts", "render", "stroke_fonts", "words", "write_parquet"]

# Never used by `words` unless asked for: tests and demos read words in these hands as unseen.
HELD_OUT_STROKE_FONTS = ("rowmans", "timesi")
INK = 64  # of 255: a pixel is ink where the pen covered at least a quarter of it
WORDS_PER_WRITER = 12
BLOCK, MIXED = 0.12, 0.06  # shares of hands: all in capitals, some small letters written as capitals; neat: half
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV before 4.12 has no choice of filter
    FAST_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def stroke_fonts():
    """-> dict of name -> StrokeFont; those in HELD_OUT_STROKE_FONTS too."""
    return {**hershey_fonts(), **own_fonts()}


def render(text, rng, *, font, hand=None):
    """text -> (ink (height, width) float32 0..1, mask (height, width) bool): what the pen covered, before any paper.

    Raises ValueError where the text is empty or the font lacks one of its characters.
    """
    if not text.strip():
        raise ValueError("The text is empty: give at least one character that leaves ink.")
    missing = font.missing(text)
    if missing:
        raise ValueError(f"{text!r} cannot be written in {font.name}: it lacks {missing!r}; choose another font.")
    ink = font.draw([text], rng, hand)[0]
    return ink.astype(np.float32) / 255, ink >= INK


def words(n, *, seed, fonts=None, lexicon=None, languages=LANGUAGES, strength=1.0, capitals=BLOCK):
    """Yields n dicts of image (bytes of JPEG or PNG), mask (bytes of PNG), text, writer; the same seed, the same bytes.

    fonts: dict of name -> font (default: all stroke fonts but the held-out ones). A writer is a font and a hand, and
    writes WORDS_PER_WRITER words. `text` is what is written: a hand of block capitals has its label in capitals.
    strength: 0 (neat hands, plain paper) to 1 (hasty hands, any paper, photographs). capitals: share of the writers who
    write block capitals alone, half of it where the hands are neat.
    """
    fonts = fonts or {k: f for k, f in stroke_fonts().items() if k not in HELD_OUT_STROKE_FONTS}
    vocabulary = Vocabulary(languages, lexicon=lexicon)
    for number in range(0, n, WORDS_PER_WRITER):
        rng = np.random.default_rng([seed, number])
        writer = _Writer(fonts, rng, f"{seed}-{number // WORDS_PER_WRITER:06}", strength, capitals)
        yield from writer.samples(min(WORDS_PER_WRITER, n - number), vocabulary, rng)


class _Writer:
    """A font, a hand, a desk (pen and paper), and a way with capitals."""

    def __init__(self, fonts, rng, name, strength, capitals):
        chance = rng.random()
        block, mixed = (share * (1 + strength) / 2 for share in (capitals, MIXED))
        self.block, some = chance < block, block <= chance < block + mixed
        self.mixed = "".join(c for c in "abdefghijlmnqrty" if rng.random() < 0.25) if some else ""
        usable = [f for f in fonts.values() if f.capitals or not (self.block or self.mixed)] or list(fonts.values())
        weights = np.array([f.weight for f in usable])
        self.font = usable[int(rng.choice(len(usable), p=weights / weights.sum()))]
        self.hand = new_hand(rng, self.font.manner, strength=strength)
        self.desk, self.strength = paper.new_desk(rng), strength
        self.name = f"{self.font.name}-{name}"

    def samples(self, count, vocabulary, rng):
        """count, Vocabulary -> list of dicts as `words` yields them."""
        texts = [self._text(vocabulary, rng) for _ in range(count)]
        inks = self.font.draw(texts, rng, self.hand)
        before = inks[-1:] + inks[:-1]
        return [self._sample(*three, rng) for three in zip(texts, inks, before, strict=True)]

    def _sample(self, text, ink, neighbour, rng):
        image, ink = paper.photograph(ink, rng, desk=self.desk, neighbour=neighbour, strength=self.strength)
        mask = cv2.imencode(".png", cv2.compare(ink, INK, cv2.CMP_GE), FAST_PNG)[1].tobytes()
        return {"image": paper.encode(image, rng), "mask": mask, "text": text, "writer": self.name}

    def _text(self, vocabulary, rng):
        for _ in range(1000):
            text = vocabulary.text(rng)
            if self.block:
                text = text.upper()
            elif self.mixed:
                text = "".join(c.upper() if c in self.mixed else c for c in text)
            fits = self.font.capitals or sum(c.isupper() for c in text) <= text.count(" ") + text.count("-") + 1
            if fits and text.strip() and not self.font.missing(text):
                return text
        raise ValueError(f"None of 1,000 texts can be written in {self.font.name}: give another font or lexicon.")


def write_parquet(path, n, *, seed=0, **options):
    """Writes n words in Hugging Face layout: image, mask (features Image), text, writer. Returns the path.

    options: as those of `words`.
    """
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "mask": datasets.Image(),
            "text": datasets.Value("string"),
            "writer": datasets.Value("string"),
        }
    )
    path = Path(path)
    return _write_table(path, features, words(n, seed=seed, **options))


def _write_table(path, features, samples, *, rows=2000):
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

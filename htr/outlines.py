"""Floor 1: handwriting from outline fonts (.ttf, .otf, .woff): joins kept, and yet no two e's alike.

A word is set in one piece, so that kerning and joins are the font's own; then a smooth random field moves the paper
under it, about one swing a letter, and the strokes are made thicker or thinner.
"""

import functools
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FINE = 2  # the word is set at this many times the size
SUFFIXES = (".ttf", ".otf", ".woff")
ABSENT = "\U0010fffd"  # a code point that no font has: draws the sign for a missing glyph


@dataclass(frozen=True)
class OutlineFont:
    """A font file; the same duties as strokes.StrokeFont."""

    name: str
    path: str
    manner: str = "print"
    weight: float = 1.0
    capitals: bool = True
    _known: dict = field(default_factory=dict, repr=False, compare=False)

    def missing(self, text):
        """The characters of text, sorted, that this font cannot write."""
        return "".join(sorted({c for c in text if c != " " and not self._can(c)}))

    def draw(self, texts, rng, hand=None):
        """texts -> list of ink (height, width) uint8, 255 where all is covered, in the hand given or in a new one."""
        from htr.hand import new_hand

        hand = hand or new_hand(rng, self.manner)
        return [self._write(text, rng, hand) for text in texts]

    def _can(self, character):
        if character not in self._known:
            self._known[character] = _has(self.path, character)
        return self._known[character]

    def _write(self, text, rng, hand):
        size = int(round(FINE * hand.x_height * 1.1 / _x_height(self.path)))
        # The spaces of many fonts are too narrow to part words.
        text = text.replace(" ", "  ") if rng.random() < 0.6 else text
        word = _bend(_paint(_open(self.path, size), text, max(4, size // 3)), rng, hand, len(text))
        return _thicken(word, rng)


def outline_fonts(folder):
    """folder -> dict of name -> OutlineFont for each .ttf, .otf and .woff in it and below.

    Raises FileNotFoundError where the folder holds none, ValueError where a file cannot be opened.
    """
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        kinds = ", ".join(SUFFIXES)
        raise FileNotFoundError(f"{folder} holds no {kinds} file: run `python -m htr.fonts {folder}` first.")
    names = [re.sub("-latin(-ext)?-[0-9]00-normal$", "", path.stem) for path in paths]
    return {n: OutlineFont(n, str(p), capitals=_plain_capitals(p)) for n, p in zip(names, paths, strict=True)}


@functools.lru_cache(512)
def _open(path, size):
    try:
        return ImageFont.truetype(path, size)
    except OSError as error:
        raise ValueError(f"{path} cannot be opened as a font ({error}): remove it from the folder.") from error


def _shape(path, text, size=48):
    """text -> coverage (height, width) uint8, cropped to its ink; None where there is none."""
    array = _paint(_open(path, size), text, size // 2)
    rows, columns = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
    return array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else None


def _paint(font, text, margin):
    """text -> coverage (height, width) uint8 with a margin (px) around the box that the font claims."""
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin))
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=255, font=font)
    return np.asarray(image)


@functools.lru_cache(512)
def _x_height(path):
    """Height of an x, as a share of the font's size."""
    shape = _shape(path, "x", 96)
    return (0.45 * 96 if shape is None else shape.shape[0]) / 96


def _same(a, b):
    return a is not None and b is not None and a.shape == b.shape and np.array_equal(a, b)


def _has(path, character):
    """Whether the font draws this character and not a stand-in for it: a box, the plain letter, the capital."""
    shape = _shape(path, character)
    if shape is None or _same(shape, _shape(path, ABSENT)):
        return False
    base = unicodedata.normalize("NFD", character)[0]
    if base != character and _same(shape, _shape(path, base)):
        return False
    return not (character.islower() and len(character.upper()) == 1 and _capitals_only(path))


@functools.lru_cache(512)
def _capitals_only(path):
    """Whether the small letters are capitals over again, of any size: they cannot carry a label in small letters."""
    alike = 0
    for letter in "aegrbdhq":
        pair = [_shape(path, letter), _shape(path, letter.upper())]
        if all(p is not None for p in pair):
            small, large = (cv2.resize(p, (24, 24), interpolation=cv2.INTER_AREA).ravel() / 255 for p in pair)
            alike += float(np.corrcoef(small, large)[0, 1]) > 0.8
    return alike >= 5


def _plain_capitals(path):
    """Whether words of capitals can be read: where capitals have swashes, set side by side they overlap."""
    shapes = [_shape(str(path), letter) for letter in "HAMBURGDES"]
    word = _shape(str(path), "HAMBURGDES")
    if word is None or any(shape is None for shape in shapes):
        return False
    return sum(shape.shape[1] for shape in shapes) < 1.12 * word.shape[1]


def _bend(word, rng, hand, letters):
    """Coverage at FINE times the size -> at the size wanted, every letter moved, leaned and stretched a little."""
    height, width = word.shape
    out_w, out_h = max(2, round(width * hand.aspect / FINE)), max(2, height // FINE)
    lean = hand.slant * 0.7
    reach = int(abs(lean) * out_h) + 1
    rows, columns = 3, max(2, round(letters * 1.2))
    swing = FINE * hand.x_height * (hand.jitter * 1.1 + hand.wobble * 0.6)
    field = rng.standard_normal((2, rows, columns), np.float32) * swing
    field = [np.clip(f, -2.2 * swing, 2.2 * swing) for f in field]
    size = (out_w + 2 * reach, out_h)
    dx, dy = (cv2.resize(f, size, interpolation=cv2.INTER_CUBIC) for f in field)
    x, y = np.arange(size[0], dtype=np.float32)[None], np.arange(size[1], dtype=np.float32)[:, None]
    rise = (hand.drift + rng.normal(0, 0.015)) * (x - out_w / 2)
    from_x = (x - reach + lean * (y - out_h / 2)) * np.float32(width / out_w) + dx
    from_y = (y + rise.astype(np.float32)) * FINE + dy
    return cv2.remap(word, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def _thicken(word, rng):
    """Blurs and cuts off higher or lower: thinner or thicker strokes; crops to the ink with a few px of margin."""
    word = cv2.GaussianBlur(word, (3, 3), float(rng.uniform(0.5, 0.9)))
    at = float(rng.uniform(60, 150))
    # Hairlines that would vanish are kept: the cut never lies above half of what the word's strokes reach.
    at = min(at, 0.5 * float(np.percentile(word[word > 40], 60)) if (word > 40).any() else 40)
    table = np.clip((np.arange(256) - at * 0.45) * (255 / max(40.0, at * 1.1)), 0, 255).astype(np.uint8)
    word = cv2.LUT(word, table)
    rows, columns = np.flatnonzero(word.any(1)), np.flatnonzero(word.any(0))
    margin = int(rng.integers(2, 6))
    word = word[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cv2.copyMakeBorder(word, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)

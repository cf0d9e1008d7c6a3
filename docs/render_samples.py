"""Renders the images of docs/samples, one word or phrase each, with their texts in metadata.csv.

    make fonts && .venv/bin/python docs/render_samples.py fonts

Half of them are written with pen strokes, half with the fonts of the folder; the same call gives the same pictures.
"""

import csv
import re
import sys
import unicodedata
from pathlib import Path

from htr import synth

TEXTS = (
    *("lantern", "marigold", "Saturday", "pebble", "orchard", "Quebec", "thimble", "walnut", "river-side", "harvest"),
    *("École", "forêt", "château", "déjà", "Straße", "schön", "Mädchen", "1,250", "12.05.1987", "good morning"),
)
OUT = Path(__file__).parent / "samples"


def main(fonts: str) -> None:
    strokes = {k: f for k, f in synth.stroke_fonts().items() if k not in synth.HELD_OUT_STROKE_FONTS}
    outlines = synth.outline_fonts(fonts)
    rows = []
    for number, text in enumerate(TEXTS):
        able = {k: f for k, f in (outlines if number % 2 else strokes).items() if not f.missing(text)}
        word = next(synth.words(1, seed=300 + number, fonts=able, lexicon=[text], strength=0.4))
        plain = unicodedata.normalize("NFD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
        suffix = "png" if word["image"].startswith(b"\x89PNG") else "jpg"
        name = f"{re.sub('[^a-z0-9]+', '-', plain.lower())}.{suffix}"
        (OUT / name).write_bytes(word["image"])
        rows.append((name, word["text"]))
    with (OUT / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])


if __name__ == "__main__":
    main(*sys.argv[1:])

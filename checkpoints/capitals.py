"""Words in block capitals, set from capitals that real hands wrote: the sets hold hardly any such words themselves.

    python checkpoints/capitals.py capitals.parquet $HTR_DATA/dhsd/train.parquet $HTR_DATA/copiste/train.parquet

A reader lays each label over its image; a capital, figure or sign that touches no neighbour is cut out. Words are
then set letter by letter, from one hand as far as it goes and from hands with as broad a pen otherwise.
"""

import argparse
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

import htr
from htr.alignment import best_alignments, forwards
from htr.images import ImageError, to_ink
from htr.vocabulary import Vocabulary

SIGNS = ".,:;-'()!?"
SURE = 0.8  # of a letter where it stands: less is another letter, or one that was laid in a wrong place
ALONE = 0.01  # the same of the letter that was cut out, read by itself: a stroke of it is none
CAP = 32  # px, of a capital as it is set
OWN = 0.85  # of an ink's height: a capital in the word that it is cut from
WORDS_PER_HAND = 12
ACCENTS = "\u0301\u0300\u0302\u0308"  # acute, grave, circumflex, diaeresis


class Letter(NamedTuple):
    """A character cut out: ink (height, width) uint8, the rows of the word it stood in, its top there, and the breadth
    of its strokes in px."""

    ink: np.ndarray
    rows: int
    top: int
    breadth: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("data", nargs="+", type=Path, help="parquet files of real words")
    parser.add_argument("--checkpoint", help="reader (default: the one that ships)")
    parser.add_argument("--words", type=int, default=6000)
    parser.add_argument("--lexicon", type=Path, help="texts to set, one a line (default: words by frequency)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hands = letters(htr.load(args.checkpoint), args.data)
    count = sum(len(found) for hand in hands.values() for found in hand.values())
    print(f"{count:,} letters of {len(hands)} hands")
    lexicon = args.lexicon.read_text(encoding="utf-8").splitlines() if args.lexicon else None
    vocabulary = Vocabulary(("fr", "fr", "en", "de"), lexicon=lexicon)
    write(args.out, hands, args.words, vocabulary, np.random.default_rng(args.seed))


def letters(reader, files: list[Path]) -> dict[str, dict[str, list[Letter]]]:
    """-> writer -> character -> what was cut out of that writer's words."""
    hands: dict = defaultdict(lambda: defaultdict(list))
    for file in files:
        for batch in parquet.ParquetFile(file).iter_batches(500, columns=["image", "text", "writer"]):
            words = [word for row in batch.to_pylist() if (word := usable(reader, row))]
            logits = reader.logits([ink for _, _, ink in words])
            alignments = best_alignments(logits, [reader.charset.encode(text) for text, _, _ in words])
            found = [
                (writer, *letter)
                for (text, writer, ink), alignment in zip(words, alignments, strict=True)
                for letter in cut(text, ink.pixels, alignment, reader.config.stride)
            ]
            for (writer, character, letter), chance in zip(found, read_alone(reader, found), strict=True):
                if chance > ALONE or character in SIGNS:
                    hands[writer][character].append(letter)
    return hands


def read_alone(reader, found: list[tuple]) -> np.ndarray:
    """(writer, character, Letter) of each -> how probable the character is on the letter's own image, in 0..1."""
    inks = [to_ink(255 - np.pad(letter.ink, 6), reader.config.height) for *_, letter in found]
    ids = [reader.charset.encode(character) for _, character, _ in found]
    return np.exp(forwards(reader.logits(inks), ids))


def usable(reader, row: dict):
    """A row of the file -> (text, writer, ink), or None where there is nothing to cut."""
    text = unicodedata.normalize("NFC", row["text"])
    if not any(wanted(c) for c in text) or reader.charset.missing(text):
        return None
    try:
        ink = to_ink(row["image"]["bytes"], reader.config.height)
    except ImageError:
        return None
    if ink.blank or reader.config.misfit(text, reader.frames_needed(text), ink.pixels.shape[1]):
        return None
    return text, row["writer"], ink


def wanted(character: str) -> bool:
    return character.isupper() or character.isdigit() or character in SIGNS


def cut(text: str, pixels: np.ndarray, alignment, stride: int):
    """Yields (character, Letter) where the ink is the character's own: whole blobs between both neighbours."""
    ink = np.rint(pixels * 255).astype(np.uint8)
    _, blobs, stats, centres = cv2.connectedComponentsWithStats(cv2.compare(ink, 64, cv2.CMP_GE), connectivity=8)
    lefts, areas = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_AREA]
    rights = lefts + stats[:, cv2.CC_STAT_WIDTH]
    rules = stats[:, cv2.CC_STAT_HEIGHT] <= 3
    capitals = sum(c.isupper() for c in text)
    marked = {i + step for i, c in enumerate(text) if c in "'\N{RIGHT SINGLE QUOTATION MARK}" for step in (-1, 1)}
    places = zip(text, alignment.spans, alignment.confidences, strict=True)
    for place, (character, (start, stop), sure) in enumerate(places):
        left, right = start * stride, stop * stride
        own = [b for b in range(1, len(stats)) if left <= centres[b][0] < right and areas[b] > 3]
        main = max(own, key=lambda b: areas[b], default=None)
        # a speck beside the letter, or what is left of a rule below it, is not the letter's
        own = [b for b in own if areas[b] > 0.15 * areas[main] or lefts[main] <= centres[b][0] < rights[main]]
        own = [b for b in own if b == main or not rules[b]]
        whole = own and min(lefts[own]) > left - 8 and max(rights[own]) < right + 8
        if not (wanted(character) and sure > SURE and whole) or place in marked:
            continue
        mask = np.isin(blobs, own)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        letter = np.where(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0, ink, 0)[box]
        tall = len(rows) > 0.5 * pixels.shape[0] or capitals == len(text)
        if character in SIGNS or (tall and len(columns) < 1.6 * len(rows)):
            edge = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
            yield character, Letter(letter, len(pixels), int(rows[0]), float(np.percentile(edge[mask], 90)))


def write(path: Path, hands: dict, count: int, vocabulary: Vocabulary, rng: np.random.Generator) -> None:
    import datasets

    columns = {"image": datasets.Image(), "text": datasets.Value("string"), "writer": datasets.Value("string")}
    rows, names = [], [name for name, hand in hands.items() if sum(c.isalpha() for c in hand) >= 4]
    for _ in range(count if names else 0):
        name = names[int(rng.integers(len(names)))]
        case = complete(hands, name, rng)
        rows += [row for _ in range(WORDS_PER_HAND) if (row := setting(case, vocabulary, rng, f"capitals-{name}"))]
        if len(rows) >= count:
            break
    schema = datasets.Features(columns).arrow_schema
    parquet.write_table(pa.Table.from_pylist(rows[:count], schema=schema), path, row_group_size=1000)


def complete(hands: dict, name: str, rng: np.random.Generator) -> dict[str, list[Letter]]:
    """All characters that can be had: the hand's own, and from hands with as broad a pen what it lacks."""
    breadth = np.median([letter.breadth for found in hands[name].values() for letter in found])
    case = {character: list(found) for character, found in hands[name].items()}
    others = list(hands)
    rng.shuffle(others)
    for other in others:
        for character, found in hands[other].items():
            close = [letter for letter in found if abs(letter.breadth - breadth) < 0.35]
            if close and character not in case:
                case[character] = close
    return case


def setting(case: dict, vocabulary: Vocabulary, rng: np.random.Generator, writer: str) -> dict | None:
    """One word set in capitals as a row of the file, or None where no text was found that can be."""
    for _ in range(40):
        text = unicodedata.normalize("NFC", vocabulary.text(rng).upper())
        bare = [unicodedata.normalize("NFD", c) for c in text]
        if " " not in text and all(c[0] in case and (len(c) == 1 or (len(c) == 2 and c[1] in ACCENTS)) for c in bare):
            page = compose([(case[c[0]], c) for c in bare], rng)
            image = {"bytes": cv2.imencode(".png", 255 - page)[1].tobytes(), "path": None}
            return {"image": image, "text": text, "writer": writer}
    return None


def compose(parts: list, rng: np.random.Generator) -> np.ndarray:
    """(letters to choose from, character and its accent) of each place -> ink (height, width) uint8"""
    page, x = np.zeros((72, 64 * len(parts) + 80), np.uint8), 20
    gap, lift, size = rng.uniform(0.5, 5), rng.uniform(0, 1.5), rng.uniform(0.75, 1.1)
    narrow = rng.uniform(0.75, 1.15)
    for found, (character, *accent) in parts:
        letter = found[int(rng.integers(len(found)))]
        sign = character in SIGNS
        scale = size * (CAP / (OWN * letter.rows) if sign else CAP / letter.ink.shape[0] * rng.uniform(0.92, 1.08))
        wide = max(2, round(letter.ink.shape[1] * scale * narrow))
        high = max(2, round(letter.ink.shape[0] * scale))
        ink = cv2.resize(letter.ink, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        foot = 50 + rng.normal(0, lift)
        top = round(50 - CAP * size + letter.top * scale if sign else foot - high)
        top = int(np.clip(top, 14, 71 - high))
        place = page[top : top + high, x : x + wide]
        np.maximum(place, ink, out=place)
        if accent:
            draw_accent(page, accent[0], x + wide // 2, top - 2, letter.breadth * scale, int(ink.max()), rng)
        x += max(2, wide + round(rng.normal(gap, 1)))
    rows, columns = np.flatnonzero(page.max(1) > 40), np.flatnonzero(page.max(0) > 40)
    return np.pad(page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 6)


def draw_accent(page, accent: str, x: int, foot: int, breadth: float, dark: int, rng: np.random.Generator) -> None:
    """The capitals of the sets that bear an accent are too few to be cut: a pen's stroke over the letter."""
    pen = max(1, round(1.6 * breadth))
    high, half = rng.integers(4, 8), rng.integers(3, 6)
    if accent == "\u0308":
        dots = [[(x - half, foot - 3)] * 2, [(x + half, foot - 3)] * 2]
    elif accent == "\u0302":
        dots = [[(x - half, foot), (x, foot - high)], [(x, foot - high), (x + half, foot)]]
    else:
        lean = half if accent == "\u0301" else -half
        dots = [[(x - lean // 2, foot), (x + lean, foot - high)]]
    for start, stop in dots:
        cv2.line(page, tuple(map(int, start)), tuple(map(int, stop)), dark, pen, cv2.LINE_AA)


if __name__ == "__main__":
    main()

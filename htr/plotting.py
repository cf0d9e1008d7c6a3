"""Floor 1: pictures for notebooks and reports, as PIL images; nothing here is needed for reading."""

import numpy as np
from PIL import Image, ImageDraw

PAPER, GRAPHITE, RULE = (255, 255, 255), (90, 90, 90), (225, 225, 225)


def sheet(
    inks, captions=None, *, columns: int = 6, cell: tuple[int, int] = (200, 72), zoom: float = 1.5
) -> Image.Image:
    """Inks (height, width), uint8 or floats in 0..1 -> one picture of them in rows, each with its caption beneath.

    cell is (width, height) px of a place; an ink is shown zoom times as large, smaller where it would not fit.
    """
    inks = [np.asarray(ink) for ink in inks]
    captions = list(captions) if captions is not None else [""] * len(inks)
    if len(captions) != len(inks):
        raise ValueError(f"{len(captions)} captions came for {len(inks)} inks: give one each, or none.")
    rows = -(-len(inks) // columns)
    page = Image.new("RGB", (columns * cell[0], max(1, rows) * cell[1]), PAPER)
    pen = ImageDraw.Draw(page)
    for number, (ink, caption) in enumerate(zip(inks, captions, strict=True)):
        left, top = number % columns * cell[0], number // columns * cell[1]
        room = cell[0] - 12, cell[1] - (24 if caption else 8)
        factor = min(zoom, room[0] / ink.shape[1], room[1] / ink.shape[0])
        size = max(1, round(ink.shape[1] * factor)), max(1, round(ink.shape[0] * factor))
        page.paste(word(ink).resize(size, Image.Resampling.BICUBIC), (left + 6, top + 4))
        pen.text((left + 6, top + cell[1] - 17), caption, fill=GRAPHITE)
        pen.rectangle((left, top, left + cell[0] - 1, top + cell[1] - 1), outline=RULE)
    return page


def word(ink) -> Image.Image:
    """Ink (height, width), uint8 or floats in 0..1, padding below 0 as paper -> dark on white, as it was written."""
    ink = np.asarray(ink)
    ink = ink if ink.dtype == np.uint8 else np.rint(255 * np.clip(ink.astype(np.float32), 0, 1)).astype(np.uint8)
    return Image.fromarray(255 - ink)

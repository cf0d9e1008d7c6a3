"""Floor 1: pictures for notebooks and reports, as PIL images; nothing here is needed for reading."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from htr.hand import new_hand
from htr.strokes import hershey_fonts

PAPER, GRAPHITE, RULE, MARK = (255, 255, 255), (90, 90, 90), (225, 225, 225), (30, 130, 60)


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
        write(page, (left + 6, top + cell[1] - 18), caption)
        pen.rectangle((left, top, left + cell[0] - 1, top + cell[1] - 1), outline=RULE)
    return page


def write(page: Image.Image, place: tuple[int, int], text: str, colour: tuple[int, int, int] = GRAPHITE) -> None:
    """Letter text on the page, 16 px high, its upper left corner at place; in pen strokes, which know every accent."""
    if text.strip():
        ink = Image.fromarray(_lettered(text))
        page.paste(Image.new("RGB", ink.size, colour), place, ink)


@lru_cache(maxsize=512)
def _lettered(text: str) -> np.ndarray:
    """text -> ink (16, width) uint8."""
    font = hershey_fonts()["futural"]
    text = "".join("?" if font.missing(c) else c for c in text)
    hand = new_hand(np.random.default_rng(3), font.manner, strength=0)
    # an upright first, from the highest to the lowest any letter reaches: all texts get one size and one baseline
    ink = font.draw([f"| {text}"], np.random.default_rng(0), hand)[0]
    inked = np.flatnonzero(ink.max(axis=0) > 0)
    ink = ink[:, inked[np.flatnonzero(np.diff(inked) > 3)[0] + 1] :]
    size = max(1, round(ink.shape[1] * 16 / ink.shape[0])), 16
    return np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.LANCZOS))


def word(ink) -> Image.Image:
    """Ink (height, width), uint8 or floats in 0..1, padding below 0 as paper -> dark on white, as it was written."""
    ink = np.asarray(ink)
    ink = ink if ink.dtype == np.uint8 else np.rint(255 * np.clip(ink.astype(np.float32), 0, 1)).astype(np.uint8)
    return Image.fromarray(255 - ink)


def strip(ink, logits, charset, *, zoom: float = 4, rows: int = 10, temperature: float = 1.0) -> Image.Image:
    """ink (height, width), its logits (frames, classes) -> the word, and below what every frame says of each class.

    A row for the blank (-), the end (|) and the characters that are ever likeliest or nearly so, at most rows of them;
    the darker, the likelier. Frames stand under the columns they cover.
    """
    logits = np.asarray(logits, np.float64) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    top = shares.max(axis=0)
    shown = np.sort(np.argsort(-top)[:rows][np.sort(top)[::-1][:rows] > 0.05])
    picture, height, margin = word(ink), 16, 20
    width = round(picture.width * zoom)
    picture = picture.resize((width, round(picture.height * zoom)), Image.Resampling.BICUBIC)
    page = Image.new("RGB", (width + margin, picture.height + height * len(shown) + 4), PAPER)
    page.paste(picture, (margin, 0))
    pen = ImageDraw.Draw(page)
    edges = margin + np.linspace(0, width, len(shares) + 1)
    for row, kind in enumerate(shown):
        top = picture.height + 4 + row * height
        write(page, (4, top), "-" if kind == 0 else "|" if kind == 1 else charset.decode([int(kind)]))
        for frame, share in enumerate(shares[:, kind]):
            shade = round(245 - 215 * share)
            pen.rectangle((edges[frame], top, edges[frame + 1] - 1, top + height - 2), fill=(shade, shade, 245))
    return page


def places(ink, characters, *, left: float = 0.0, scale: float = 1.0, zoom: float = 4) -> Image.Image:
    """ink (height, width) and its Characters -> the word, a box for each character where it was read, green if sure.

    left and scale are those of the Ink: characters stand in pixels of the image it came from.
    """
    picture = word(ink).convert("RGB")
    picture = picture.resize((round(picture.width * zoom), round(picture.height * zoom)), Image.Resampling.BICUBIC)
    page = Image.new("RGB", (picture.width, picture.height + 18), PAPER)
    page.paste(picture, (0, 0))
    pen = ImageDraw.Draw(page)
    for each in characters:
        if each.left is None:
            continue
        x0, x1 = ((side - left) / scale * zoom for side in (each.left, each.right))
        colour = (round(200 * (1 - each.confidence)), round(150 * each.confidence), 40)
        pen.rectangle((x0 + 1, 0, x1 - 2, picture.height - 1), outline=colour, width=2)
        write(page, (round((x0 + x1) / 2) - 3, picture.height + 1), each.character, colour)
    return page


def curve(rates, *, title: str, size: tuple[int, int] = (640, 320)) -> Image.Image:
    """Error rates (epochs,) in 0..1 -> their line over the epochs, the scale logarithmic, the best one marked."""
    rates = np.maximum(np.asarray(rates, np.float64), 1e-4)
    page = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(page)
    left, top, right, bottom = 56, 36, size[0] - 16, size[1] - 32
    ticks = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    low = max([tick for tick in ticks[:-1] if tick <= rates.min()], default=ticks[0])
    high = min([tick for tick in ticks if tick >= min(rates.max(), 1) and tick > low], default=1.0)

    def place(epoch: int, rate: float) -> tuple[float, float]:
        across = (epoch - 1) / max(len(rates) - 1, 1)
        down = np.log(high / rate) / np.log(high / low)
        return left + across * (right - left), float(np.clip(top + down * (bottom - top), top, bottom))

    write(page, (left, 8), title)
    for tick in (tick for tick in ticks if low <= tick <= high):
        height = place(1, tick)[1]
        pen.line((left, height, right, height), fill=RULE)
        write(page, (6, round(height) - 8), f"{100 * tick:g}")
    for epoch in np.unique(np.linspace(1, len(rates), min(len(rates), 8)).round().astype(int)).tolist():
        write(page, (round(place(epoch, high)[0]) - 4, bottom + 8), str(epoch))
    points = [place(epoch, rate) for epoch, rate in enumerate(rates, start=1)]
    pen.line(points, fill=GRAPHITE, width=2)
    x, y = points[int(rates.argmin())]
    pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=MARK)
    return page

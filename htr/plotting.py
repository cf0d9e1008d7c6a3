"""Floor 1: pictures for notebooks and reports, as PIL images; nothing here is needed for reading."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from htr.strokes import hershey_fonts

PAPER, GRAPHITE, RULE, MARK = (255, 255, 255), (90, 90, 90), (225, 225, 225), (30, 130, 60)
_FINE = 4  # letters are drawn at this many times their size


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
        write(page, (left + 6, top + cell[1] - 18), caption, room=room[0])
        pen.rectangle((left, top, left + cell[0] - 1, top + cell[1] - 1), outline=RULE)
    return page


def write(
    page: Image.Image,
    place: tuple[int, int],
    text: str,
    colour: tuple[int, int, int] = GRAPHITE,
    *,
    room: int | None = None,
) -> None:
    """Letter text on the page, 16 px high, its upper left corner at place; in pen strokes, which know every accent.

    room: px that it may be wide; letters of a longer text are set narrower.
    """
    if text.strip():
        ink = Image.fromarray(_lettered(text))
        if room and ink.width > room:
            ink = ink.resize((room, ink.height), Image.Resampling.LANCZOS)
        page.paste(Image.new("RGB", ink.size, colour), place, ink)


@lru_cache(maxsize=512)
def _lettered(text: str) -> np.ndarray:
    """text -> ink (16, width) uint8: upright letters on one line, each apart from the next."""
    font = hershey_fonts()["futural"]
    unit, top = _FINE * 16 / 3, 2.1  # px of an x-height, and x-heights from the upper edge to the line
    lines, x = [], 0.2
    for letter in text:
        if letter != " ":
            glyph = font.glyphs("?" if font.missing(letter) else letter)[0]
            lines += [(stroke + (x, top)) * unit for stroke in glyph.strokes]
        x += 0.9 if letter == " " else glyph.width + 0.5
    page = Image.new("L", (round(x * unit), _FINE * 16))
    pen, half = ImageDraw.Draw(page), 1.4 * _FINE / 2
    for line in lines:
        pen.line(line.ravel().tolist(), fill=255, width=round(2 * half), joint="curve")
        for end in (line[0], line[-1]):
            pen.ellipse((*(end - half), *(end + half)), fill=255)
    return np.asarray(page.reduce(_FINE))


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
    names = {0: "-", 1: "|"}
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
        write(page, (4, top), names.get(int(kind)) or _seen(charset.decode([int(kind)])))
        for frame, share in enumerate(shares[:, kind]):
            shade = round(245 - 215 * share)
            pen.rectangle((edges[frame], top, edges[frame + 1] - 1, top + height - 2), fill=(shade, shade, 245))
    return page


def _seen(character: str) -> str:
    return "sp" if character == " " else character


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
        write(page, (round((x0 + x1) / 2) - 3, picture.height + 1), _seen(each.character), colour)
    return page


def curve(rates, *, title: str, size: tuple[int, int] = (640, 320)) -> Image.Image:
    """Error rates (epochs,) in 0..1 -> their line over the epochs, the scale logarithmic, the best one marked."""
    best, rates = min(rates), np.maximum(np.asarray(rates, np.float64), 1e-4)
    large = Image.new("RGB", (_FINE * size[0], _FINE * size[1]), PAPER)
    pen = ImageDraw.Draw(large)
    left, top, right, bottom = 56, 48, size[0] - 24, size[1] - 32
    ticks = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    low = max([tick for tick in ticks[:-1] if tick <= rates.min()], default=ticks[0])
    high = min([tick for tick in ticks if tick >= min(rates.max(), 1) and tick > low], default=1.0)

    def place(epoch: int, rate: float) -> tuple[float, float]:
        across = (epoch - 1) / max(len(rates) - 1, 1)
        down = np.log(high / rate) / np.log(high / low)
        return left + across * (right - left), float(np.clip(top + down * (bottom - top), top, bottom))

    shown = [tick for tick in ticks if low <= tick <= high]
    for tick in shown:
        height = _FINE * place(1, tick)[1]
        pen.line((_FINE * left, height, _FINE * right, height), fill=RULE, width=_FINE)
    points = [place(epoch, rate) for epoch, rate in enumerate(rates, start=1)]
    pen.line([_FINE * side for point in points for side in point], fill=GRAPHITE, width=2 * _FINE, joint="curve")
    x, y = points[int(rates.argmin())]
    pen.ellipse([_FINE * side for side in (x - 4, y - 4, x + 4, y + 4)], fill=MARK)
    page = large.reduce(_FINE)
    write(page, (left, 8), title)
    for tick in shown:
        write(page, (6, round(place(1, tick)[1]) - 8), f"{100 * tick:g}")
    for epoch in np.unique(np.linspace(1, len(rates), min(len(rates), 8)).round().astype(int)).tolist():
        write(page, (round(place(epoch, high)[0]) - 4, bottom + 8), str(epoch))
    write(
        page, (round(min(x, size[0] - 52)) - 8, round(y) + (6 if y + 24 < bottom else -24)), f"{100 * best:.2f}", MARK
    )
    return page

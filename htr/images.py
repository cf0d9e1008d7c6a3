"""Floor 1: the one way from a path, bytes, PIL image or array to ink, in training, evaluation, transcription, export.

Ink is a float32 array (height, width) in 0..1, ink 1 and paper 0, cropped to the writing, the aspect kept. Whatever the
file's mode, rotation, polarity or paper, the same word gives the same ink.
"""

import contextlib
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from htr import files, libtiff
from htr.ink import crop_box, strengthen, to_strokes, window

PAD = -1.0  # padding to the right of ink; no ink pixel can have this value
MAX_WIDTH = 4096  # px of ink: a longer line costs memory in every layer, and is no line of handwriting
MAX_PIXELS = 64_000_000  # px of the file, checked before its pixels are decoded
MAX_BYTES = 256 << 20  # of the file; 64 million px of 4 bytes, not compressed
MAX_SCANS = 100  # times that a JPEG goes over the picture; cameras' progressive files have about 10
WORK_PIXELS = 2_000_000  # px: larger photos are shrunk first, so that the work per image is bounded
LARGE = 16_000_000  # px or bytes: of such images one at a time is decoded, whatever the number of threads
_MOST = {"AVIF": 16_000_000, "JPEG2000": 16_000_000, "WEBP": 32_000_000}  # px: they need 12 to 20 bytes for one
_MARKS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_SCAN = re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e][\1-\4]")
_TRANSPOSE = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_large = threading.RLock()
_quiet = threading.Lock()  # warnings' filters belong to the process: one thread at a time may change them


class ImageError(ValueError):
    """An image that cannot be read or is beyond a limit; one sentence that names the file."""


class NotYetError(Exception):
    """An image beyond LARGE has to wait for its turn, and the caller of `to_ink` will not wait."""


class _Turn(contextlib.ExitStack):
    """Of images beyond LARGE one at a time is decoded: from `take` on no other thread does."""

    patient: bool

    def take(self) -> None:
        if not self.patient:
            raise NotYetError
        self.enter_context(_one_large)


@dataclass(frozen=True)
class Ink:
    """A word as the network sees it, and where it came from.

    pixels: float32 (height, width) in 0..1, multiples of 1/255, so that round(255 * pixels) as uint8 loses nothing.
    left: x of the left edge of pixels in the upright source, in source px. scale: source px per ink px.
    """

    pixels: np.ndarray
    left: float
    scale: float

    @property
    def blank(self) -> bool:
        """True where there is no ink at all: such a word reads as the empty text."""
        return not self.pixels.any()


def read_image(source) -> Image.Image:
    """path, bytes, PIL image, array or {"bytes", "path"} -> PIL image, upright by its EXIF orientation, fully decoded.

    Arrays are (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of bool, uint8, uint16 or floats in 0..1. Of an animation it is
    the first frame. Raises ImageError.
    """
    return _read(source, _name(source), None, True)[0]


def to_ink(source, height: int, *, patient: bool = True) -> Ink:
    """An image as read_image takes it -> Ink of `height` px; raises ImageError, not patient also NotYetError."""
    name = _name(source)
    image, (full_width, _) = _read(source, name, height, patient)
    ink = to_strokes(_light(image, name))
    zoom = full_width / image.width
    if ink is None:
        return Ink(np.zeros((height, height), np.float32), 0.0, full_width / height)
    left, top, right, bottom = crop_box(ink)
    width = max(1, round((right - left) * height / (bottom - top)))
    if width > MAX_WIDTH:
        raise _too_wide(name, width, height)
    method = cv2.INTER_AREA if bottom - top > height else cv2.INTER_LINEAR
    crop = cv2.resize(window(ink, left, top, right, bottom), (width, height), interpolation=method)
    return Ink(strengthen(crop) / np.float32(255), left * zoom, (right - left) * zoom / width)


def _name(source) -> str:
    if isinstance(source, dict):
        name = source.get("path")
    elif isinstance(source, (str, os.PathLike)):
        name = source
    else:
        name = getattr(source, "filename", "")
    return files.shown(name or "the image")


def _read(source, name: str, height: int | None, patient: bool) -> tuple[Image.Image, tuple[int, int]]:
    """source -> upright image and the upright (width, height) of the original; shrunk early where height is given."""
    with _Turn() as turn:
        turn.patient = patient
        if isinstance(source, np.ndarray):
            image = _from_array(source, name)
        elif isinstance(source, Image.Image):
            image = source
        else:
            image = _open(_data(source, name, turn), name)
        size = image.size
        if size[0] * size[1] > LARGE:
            turn.take()
        orientation = _decode(image, name, height if image is not source else None)
        if orientation in (5, 6, 7, 8):
            size = size[::-1]
        if height and size[0] * height > MAX_WIDTH * size[1]:
            raise _too_wide(name, round(size[0] * height / size[1]), height)
        if height and (factor := _factor(image.size)) > 1:
            image = _shrunk(image, factor, name)
    return (image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image), size


def _decode(image: Image.Image, name: str, height: int | None) -> object:
    """Load the pixels, large JPEGs smaller where height is given -> the EXIF orientation."""
    width, tall = image.size
    if width * tall > (most := _most(image)):
        kind = "" if most == MAX_PIXELS else f" of this kind of {image.format}"
        raise ImageError(f"{name} has {width}x{tall} px, at most {most:,} px are read{kind}: scale it down.")
    try:
        if height and width * tall > WORK_PIXELS:
            factor = _factor(image.size)
            image.draft(None, (width // factor, tall // factor))  # JPEG decodes at 1/2, 1/4 or 1/8 for next to nothing
        if image.format != "TIFF":
            image.load()
        else:
            libtiff.silence()
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF data is no reason to speak
            image.load()  # a TIFF reads its tags again here
            return image.getexif().get(0x0112)
    except Exception as error:  # Pillow's decoders raise anything, from SyntaxError to struct.error
        raise ImageError(f"{name} cannot be decoded, it may be cut short or damaged: {_reason(error)}.") from error


def _most(image: Image.Image) -> int:
    """How many px are read of such a file: what Pillow decodes in Python takes a microsecond a px."""
    tile = getattr(image, "tile", None)
    decoder = tile[0][0] if tile else None
    return WORK_PIXELS if decoder in Image.DECODERS else _MOST.get(image.format or "", MAX_PIXELS)


def _data(source, name: str, turn: _Turn) -> bytes:
    if isinstance(source, dict):
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        try:
            if "\0" not in str(source) and os.path.getsize(source) > LARGE:
                turn.take()
            data = files.read(source, MAX_BYTES)
        except OSError as error:
            raise ImageError(f"{name} cannot be opened: {error.strerror or error}.") from error
    else:
        raise ImageError(
            f"{type(source).__name__} is no image: a path, bytes, a PIL image, an array or a dict of bytes and path is."
        )
    if not data:
        raise ImageError(f"{name} is empty (0 bytes): give a whole image file.")
    return data


def _open(data: bytes, name: str) -> Image.Image:
    if (pixels := files.animated_png_pixels(data)) > MAX_PIXELS:
        raise ImageError(f"{name} has {pixels:,} px, at most {MAX_PIXELS:,} px are read: scale it down.")
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked against MAX_PIXELS, one refusal is enough
            image = _identified(data)
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name} is no image that Pillow can read: give a PNG, JPEG, WebP or TIFF.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many px, at most {MAX_PIXELS:,} px are read: scale it down.") from error
    except Exception as error:
        raise ImageError(f"{name} cannot be opened as an image: {_reason(error)}.") from error
    if [type(side) for side in image.size] != [int, int]:  # of IM, Pillow takes any numbers
        raise ImageError(f"{name} says that it is {'x'.join(map(str, image.size))} px, which no image can be.")
    if image.format == "EPS":  # Pillow would have Ghostscript run it
        raise ImageError(f"{name} is PostScript, a program and no picture: give a PNG, JPEG, WebP or TIFF.")
    if image.format == "JPEG2000" and len(data) > LARGE:  # half a microsecond a byte
        raise ImageError(f"{name} has {len(data):,} bytes, at most {LARGE:,} of a JPEG 2000 are read: save it as JPEG.")
    if image.format in ("JPEG", "MPO") and (scans := len(_SCAN.findall(data))) > MAX_SCANS:
        raise ImageError(f"{name} has {scans:,} scans, at most {MAX_SCANS} are read: save it anew as PNG or JPEG.")
    return _plain_webp(data, image) or image


def _plain_webp(data: bytes, image: Image.Image) -> Image.Image | None:
    """A small lossy WebP of a single frame, decoded beside other threads, which wait for Pillow's decoder of WebP.

    The same pixels; such a file has neither EXIF nor alpha. None for any other file, and for one that is damaged.
    """
    if image.format != "WEBP" or data[12:16] != b"VP8 " or image.width * image.height > WORK_PIXELS:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return None if pixels is None or pixels.shape[1::-1] != image.size else Image.fromarray(pixels)


def _identified(data: bytes) -> Image.Image:
    """Pillow asks seven kinds before WebP, which takes longer than to open it: begin with what the file says it is."""
    kinds = [kind for mark, kind in _MARKS.items() if data.startswith(mark)]
    with contextlib.suppress(Image.UnidentifiedImageError):
        return Image.open(io.BytesIO(data), formats=kinds)
    return Image.open(io.BytesIO(data))


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    """(h, w), (h, w, 1), (h, w, 3) or (h, w, 4) -> PIL image."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"An array of shape {array.shape} is no image: (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) is.")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ImageError(f"{name} holds floats from {array.min()} to {array.max()}: scale them to 0..1.")
        array = np.rint(array * 65535.0).astype(np.uint16)
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    if array.dtype == np.uint16 and array.ndim == 3:
        array = np.rint(array / 257.0).astype(np.uint8)
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"An array of {array.dtype} is no image: bool, uint8, uint16 or floats in 0..1 are.")
    return Image.fromarray(array)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("\n")[0].rstrip(".")


def _too_wide(name: str, width: int, height: int) -> ImageError:
    return ImageError(
        f"{name} is {width} px wide at {height} px height, MAX_WIDTH is {MAX_WIDTH} px: cut it into words or lines."
    )


def _factor(size: tuple[int, int]) -> int:
    return max(1, int(np.sqrt(size[0] * size[1] / WORK_PIXELS)))


def _shrunk(image: Image.Image, factor: int, name: str) -> Image.Image:
    """Luminance at 1/factor of the size, band by band: the whole is never held a second time."""

    def bands() -> Iterator[Image.Image]:
        rows = factor * max(1, WORK_PIXELS // (factor * image.width))
        for top in range(0, image.height, rows):
            yield image.crop((0, top, image.width, min(top + rows, image.height)))

    top = max(float(np.asarray(band).max()) for band in bands()) if image.mode.startswith(("I", "F")) else None
    parts = [np.asarray(Image.fromarray(_light(band, name, top)).reduce(factor)) for band in bands()]
    return Image.fromarray(np.concatenate(parts))


def _light(image: Image.Image, name: str, top: float | None = None) -> np.ndarray:
    """Any mode -> luminance (h, w) in 0..255, uint8 or float32 where the file holds more; transparent parts over white.

    Luminance and not the channel of most contrast: a grey copy of a coloured word must give the same ink.
    top: the largest value, where the image is part of another.
    """
    if image.mode.startswith(("I", "F")):
        values = np.maximum(np.asarray(image).astype(np.float32), 0)
        top = float(values.max()) if top is None else max(top, 0.0)
        if not np.isfinite(top):
            raise ImageError(f"{name} holds NaN or infinite pixels: give it numbers for them.")
        whole = 2.0 ** max(8, np.ceil(np.log2(top + 1))) - 1 if top > 1 else 1.0  # 255, 4095, 65535: the depth in use
        return values * np.float32(255 / whole)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        image = Image.alpha_composite(white, colour).convert("RGB")
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")  # CMYK and P straight to L would round differently
    return np.asarray(image.convert("L"))

"""Bad inputs by script: images, tables and XML that break readers, each with a name and what is expected of it.

`make_images` and `make_data` fill a folder; the same seed gives the same bytes. An expectation is

- "word": it reads as the good word does, - "read": it is read, whatever comes out,
- "refused": one sentence says why not, - "either": one of the two.
"""

import io
import json
import os
import random
import socket
import struct
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from tests.conftest import render_word

WORD = "noon"
MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV I I;16 I;16B F".split()
EXACT = "L LA P RGB RGBA I F".split()  # modes in which no pixel of a grey word changes
FORMATS = (
    "AVIF BLP BMP DDS DIB EPS GIF ICNS ICO IM JPEG JPEG2000 MPO MSP PALM PCX PDF PNG PPM QOI SGI SPIDER TGA TIFF WEBP "
    "XBM".split()
)
SAFE = "AVIF BMP GIF JPEG2000 PCX PNG PPM SGI TGA TIFF".split()  # lossless, whatever the mode, or nearly so


class Item(NamedTuple):
    """path: relative to the corpus' folder, or absolute. says: a pattern for the sentence of a refusal."""

    path: str
    expected: str
    says: str = ""


class Source(NamedTuple):
    """data: what `htr check` is given. usable: how many rows can be used, None where none is read. says: a pattern."""

    data: str
    usable: int | None
    says: str = ""


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


class Corpus:
    """Files that are written one after the other, with what is expected of them."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random, self.items = folder, random.Random(seed), []
        self.word = render_word(WORD)
        self.good = encode(self.word)

    def add(self, name: str, data: bytes, expected: str, says: str = "") -> None:
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.items.append(Item(name, expected, says))

    def link(self, name: str, target: str, expected: str = "refused", says: str = "") -> None:
        (self.folder / name).symlink_to(target)
        self.items.append(Item(name, expected, says))


def make_images(folder: Path, seed: int = 0) -> list[Item]:
    """Fill folder -> its items, a good word after every ninth."""
    corpus = Corpus(folder, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow writes some of these unwillingly
        for part in (modes, cuts, flips, sizes, bombs, metadata, animations, polyglots, specials, names):
            part(corpus)
    items = []
    for number, item in enumerate(corpus.items):
        items.append(item)
        if number % 9 == 8:
            good = Item(f"good_{number}.png", "word")
            (folder / good.path).write_bytes(corpus.good)
            items.append(good)
    return items


# --- images


def modes(corpus: Corpus) -> None:
    """Every mode in every format that takes it."""
    for mode in MODES:
        for kind in FORMATS:
            try:
                data = encode(as_mode(corpus.word, mode), kind, **({"quality": 95} if kind in ("JPEG", "MPO") else {}))
            except (OSError, ValueError, KeyError, struct.error):
                continue  # the format has no such mode
            expected = "either"
            if kind in ("EPS", "PALM", "PDF"):
                expected = "refused"
            elif mode in EXACT and kind in SAFE and not (mode == "F" and kind == "TIFF"):
                expected = "word"
            corpus.add(f"mode_{mode.replace(';', '_')}.{kind.lower()}", data, expected)


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode.startswith("I;16"):
        wide = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        return wide if mode == "I;16" else wide.convert(mode)
    if mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "PA":
        return image.convert("LA").convert("PA")
    if mode == "LAB":
        grey = image.convert("L")
        return Image.merge("LAB", [grey, Image.new("L", grey.size, 128), Image.new("L", grey.size, 128)])
    if mode in ("HSV", "YCbCr", "CMYK", "RGBX"):
        return image.convert("RGB").convert(mode)
    return image.convert(mode)


def originals(corpus: Corpus) -> dict[str, bytes]:
    grey, colour = corpus.word, corpus.word.convert("RGB")
    return {
        "png": encode(grey),
        "jpg": encode(colour, "JPEG", quality=95),
        "gif": encode(grey, "GIF"),
        "tif": encode(grey, "TIFF", compression="tiff_lzw"),
        "webp": encode(colour, "WEBP", lossless=True),
        "bmp": encode(colour, "BMP"),
    }


def cuts(corpus: Corpus) -> None:
    """Cut off at every 5 %."""
    for kind, data in originals(corpus).items():
        for percent in range(0, 100, 5):
            says = r"empty \(0 bytes\)" if percent == 0 else ""
            expected = "refused" if percent <= 50 else "either"  # behind the pixels may stand what no one misses
            corpus.add(f"cut_{percent:02}.{kind}", data[: len(data) * percent // 100], expected, says)


def flips(corpus: Corpus) -> None:
    """Bits turned over: one in the header, or a few anywhere."""
    more = {"jp2": encode(corpus.word, "JPEG2000"), "avif": encode(corpus.word.convert("RGB"), "AVIF")}
    more |= {"tga": encode(corpus.word, "TGA", compression="tga_rle"), "pcx": encode(corpus.word, "PCX")}
    for kind, data in {**originals(corpus), **more}.items():
        for number in range(8):
            changed, reach = bytearray(data), 64 if number % 2 else len(data)
            for _ in range(1 if number < 4 else 6):
                changed[corpus.random.randrange(min(reach, len(data)))] ^= 1 << corpus.random.randrange(8)
            corpus.add(f"flip_{number}.{kind}", bytes(changed), "either")


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, with chunks between header and pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def blank_rows(width: int, height: int, pixel: int) -> bytes:
    """Deflated rows of paper, without taking the memory for them."""
    squeeze, row = zlib.compressobj(9), b"\0" + b"\xff" * (width * pixel)
    return b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()


def sizes(corpus: Corpus) -> None:
    """Sides of 0, 1 and 65,500 px, in the file or only said to be."""
    for width, height, expected in [
        (1, 1, "read"), (2, 1, "read"), (1, 2, "read"), (1, 65_500, "read"), (3, 65_500, "read"),
        (65_500, 1, "refused"),
        (65_500, 40, "refused"), (40, 65_500, "read"), (900, 65_500, "read"),
    ]:  # fmt: skip
        for kind in ("png", "jpg", "tif"):
            # side by side, light and dark: something to find in the smallest, too
            image = Image.new("L", (width, height), 255)
            image.putpixel((width // 2, height // 2), 0)
            data = encode(image, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, "PNG"))
            corpus.add(f"size_{width}x{height}.{kind}", data, expected)
    for width, height in [(0, 0), (0, 9), (9, 0), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (65_500, 65_500), (1, 10**8)]:
        says = "" if 0 in (width, height) else "px"
        corpus.add(f"says_{width}x{height}.png", png(width, height, 8, 0, zlib.compress(b"")), "refused", says)
        header = f"P5 {width} {height} 255\n".encode()
        corpus.add(f"says_{width}x{height}.pgm", header + b"\0" * 99, "refused")
    bmp = bytearray(encode(corpus.word, "BMP"))
    for width, height in [(0, 0), (-1, 9), (9, -(2**31)), (65_500, 65_500)]:
        bmp[18:26] = struct.pack("<ii", width, height)
        corpus.add(f"says_{width}x{height}.bmp", bytes(bmp), "refused")
    gif = bytearray(encode(corpus.word, "GIF"))
    gif[6:10] = struct.pack("<HH", 65_500, 65_500)
    corpus.add("says_65500.gif", bytes(gif), "refused")


def bombs(corpus: Corpus) -> None:
    """Little files that want much memory or time."""
    many = "at most [0-9,]+ px"
    for side, colour, pixel, depth in [(7_900, 0, 1, 8), (7_900, 6, 4, 8), (7_900, 6, 8, 16), (7_900, 0, 2, 16)]:
        rows = blank_rows(side, side, pixel)
        corpus.add(f"bomb_{side}_{colour}_{depth}.png", png(side, side, depth, colour, rows), "read")
    corpus.add("bomb_40000.png", png(40_000, 40_000, 1, 0, zlib.compress(bytes(10**6))), "refused", many)
    inflated = zlib.compress(bytes(300 << 20), 9)
    word = png(64, 64, 8, 0, blank_rows(64, 64, 1), (b"iCCP", b"x\0\0" + inflated))
    corpus.add("bomb_icc.png", word, "either")
    corpus.add("bomb_text.png", png(64, 64, 8, 0, blank_rows(64, 64, 1), (b"zTXt", b"x\0\0" + inflated)), "either")
    texts = [(b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000)))] * 500
    corpus.add("bomb_texts.png", png(64, 64, 8, 0, blank_rows(64, 64, 1), *texts), "either")
    corpus.add("bomb_trailing_pixels.png", png(64, 64, 8, 0, inflated), "either")
    flat = Image.new("L", (8_000, 7_990), 255)
    for kind, options in {
        "TIFF": {"compression": "tiff_adobe_deflate"},
        "GIF": {},
        "JPEG": {"progressive": True},
    }.items():
        corpus.add(f"bomb.{kind.lower()}", encode(flat, kind, **options), "read")
    corpus.add("bomb.jp2", encode(flat.crop((0, 0, 5_000, 5_000)), "JPEG2000"), "refused", many)
    corpus.add("bomb.webp", encode(flat.convert("RGB").crop((0, 0, 7_000, 7_000)), "WEBP", method=0), "refused", many)
    run = b"qoif" + struct.pack(">IIBB", 8_000, 7_990, 3, 0) + b"\xfd" * (8_000 * 7_990 // 62 + 2)
    corpus.add("bomb.qoi", run, "refused", many)
    corpus.add("bomb_ascii.pgm", b"P2 4000 4000 255\n" + b"1 " * 16_000_000, "refused", many)
    corpus.add("bomb_odd_depth.pgm", b"P5 5000 5000 100\n" + bytes(25_000_000), "refused", many)
    corpus.add("bomb_scans.jpg", many_scans(7_900, 2_000), "refused", "scans")
    corpus.add("bomb_deep_bmp.bmp", encode(Image.new("L", (8_000, 7_990)), "BMP")[:9_000], "refused")
    wide = Image.new("L", (1_400, 1_400), 255)
    corpus.add("bomb_frames.gif", encode(wide, "GIF", save_all=True, append_images=[wide] * 3), "read")
    huge = corpus.folder / "bomb_sparse.png"
    with open(huge, "wb") as file:
        file.write(corpus.good)
        file.truncate(20 << 30)
    corpus.items.append(Item(huge.name, "refused", "larger than"))


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG in which every scan after the first says nothing, over all of the picture."""
    data = encode(Image.new("L", (side, side), 255), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    # a refinement scan of one coefficient, its end-of-band run as long as it goes, again and again
    tables = b"\xff\xc4" + struct.pack(">H", 20) + b"\x10" + bytes([1]) + bytes(15) + b"\xe0"
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 63, 0) + b"\0" * 16
    return data[:first] + tables + scan * scans + b"\xff\xd9"


def metadata(corpus: Corpus) -> None:
    """EXIF and colour profiles that say what cannot be."""
    for turn in (0, 1, 9, 65_535):
        exif = Image.Exif()
        exif[0x0112] = turn
        corpus.add(f"exif_{turn}.png", encode(corpus.word, exif=exif), "word")
    for name, kind, value in [
        ("text", 2, b"up\0\0"),
        ("float", 11, struct.pack("<f", float("nan"))),
        ("none", 4, b"\6" * 4),
    ]:
        tag = struct.pack("<HHI", 0x0112, kind, 1) + value
        tiff = b"II*\0" + struct.pack("<IH", 8, 1) + tag + b"\0" * 4
        corpus.add(f"exif_{name}.jpg", jpeg_with(corpus, b"\xff\xe1", b"Exif\0\0" + tiff), "read")
    loop = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    corpus.add("exif_loop.jpg", jpeg_with(corpus, b"\xff\xe1", b"Exif\0\0" + loop), "read")
    far = b"II*\0" + struct.pack("<IH", 8, 60_000) + struct.pack("<HHII", 0x0112, 3, 2**32 - 1, 2**32 - 1) * 9
    corpus.add("exif_far.jpg", jpeg_with(corpus, b"\xff\xe1", b"Exif\0\0" + far), "read")
    for number in range(4):
        noise = corpus.random.randbytes(60_000)
        corpus.add(f"exif_noise_{number}.jpg", jpeg_with(corpus, b"\xff\xe1", b"Exif\0\0" + noise), "either")
    for name, profile in {"noise": corpus.random.randbytes(5_000), "empty": b"", "zeros": bytes(60_000)}.items():
        corpus.add(f"icc_{name}.png", encode(corpus.word, icc_profile=profile), "word")
        corpus.add(f"icc_{name}.jpg", encode(corpus.word.convert("CMYK"), "JPEG", icc_profile=profile), "read")
    corpus.add("icc_not_deflated.png", png(64, 64, 8, 0, blank_rows(64, 64, 1), (b"iCCP", b"x\0\0abc")), "either")
    for name, chunk in {
        "transparency": (b"tRNS", b"\0"),
        "gamma": (b"gAMA", bytes(4)),
        "exif": (b"eXIf", b"MM"),
    }.items():
        corpus.add(f"chunk_{name}.png", png(64, 64, 8, 0, blank_rows(64, 64, 1), chunk), "either")
    corpus.add("no_palette.png", png(64, 64, 8, 3, blank_rows(64, 64, 1)), "either")
    for name, value in {"nan": np.nan, "inf": np.inf, "far": 3e38, "negative": -1e9}.items():
        pixels = np.asarray(corpus.word).astype(np.float32)
        pixels[3:9, 3:9] = value
        corpus.add(f"float_{name}.tif", encode(Image.fromarray(pixels), "TIFF"), "either")
    for tag, value in [
        (256, 2**31),
        (258, 65_535),
        (259, 9_999),
        (262, 77),
        (277, 65_000),
        (278, 0),
        (317, 9),
        (339, 99),
    ]:
        corpus.add(f"tiff_{tag}.tif", tiff_with(corpus.word, tag, value), "either")


def jpeg_with(corpus: Corpus, marker: bytes, data: bytes) -> bytes:
    plain = encode(corpus.word, "JPEG", quality=95)
    return plain[:2] + marker + struct.pack(">H", len(data) + 2) + data + plain[2:]


def tiff_with(image: Image.Image, tag: int, value: int) -> bytes:
    """A TIFF of a grey image, one of its tags changed where it stands, or else added."""
    data = bytearray(encode(image, "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == tag:
            data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, value)
            return bytes(data)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = value
    return encode(image, "TIFF", tiffinfo=tags)


def animations(corpus: Corpus) -> None:
    """More than one picture in a file: the first is read."""
    word, other = corpus.word, render_word("tall").resize(corpus.word.size)
    for kind in ("GIF", "PNG", "TIFF", "WEBP", "AVIF"):
        frames = {"save_all": True, "append_images": [other] * 5}
        lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
        corpus.add(f"animated.{kind.lower()}", encode(word.convert("RGB"), kind, **frames, **lossless), "word")
    corpus.add("pages_600.tif", encode(word, "TIFF", save_all=True, append_images=[other] * 599), "word")
    data = bytearray(encode(word, "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)  # the next page is this page
    corpus.add("pages_in_a_circle.tif", bytes(data), "word")
    corpus.add("icons.ico", encode(word.convert("RGBA"), "ICO", sizes=[(16, 16), (32, 32), (64, 64)]), "read")


def polyglots(corpus: Corpus) -> None:
    """Two kinds of file in one, and files under another's name."""
    page = b"<html><script>alert(1)</script></html>"
    archive = b"PK\x05\x06" + bytes(18)
    for kind, data in originals(corpus).items():
        corpus.add(f"zip_behind.{kind}", data + archive, "word")
        corpus.add(f"page_before.{kind}", page + data, "refused", "no image that Pillow can read")
    corpus.add("jpeg_with_php.jpg", jpeg_with(corpus, b"\xff\xfe", b"<?php system('id'); ?>" * 99), "read")
    for kind, data in originals(corpus).items():
        for other in ("png", "jpg", "txt"):
            if other != kind:
                corpus.add(f"really_{kind}.{other}", data, "word")
    others = {
        "text": b"Dear Sir, this is a letter.",
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "html": page,
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
        "elf": b"\x7fELF" + bytes(200),
        "zip": archive,
        "pickle": b"\x80\x04\x95\x1d\x00\x00\x00cposix\nsystem\n.",
        "zeros": bytes(5_000),
        "noise": corpus.random.randbytes(5_000),
        "signature": b"\x89PNG\r\n\x1a\n",
        "jpeg_signature": b"\xff\xd8\xff",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 30\n(%pipe%touch hacked) (w) file\nshowpage\n",
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "grib": b"GRIB" + bytes(3) + b"\1" + bytes(90),
        "wmf": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH", 0, 0, 99, 99, 72) + bytes(40),
        "mpeg": b"\0\0\1\xb3" + bytes(60),
    }
    for name, data in others.items():
        corpus.add(f"{name}_named.png", data, "refused")


def specials(corpus: Corpus) -> None:
    """What is no regular file, or is gone, or cannot be opened."""
    os.mkfifo(corpus.folder / "fifo.png")
    corpus.items.append(Item("fifo.png", "refused", "pipe, socket or device"))
    corpus.link("linked_fifo.png", "fifo.png", says="pipe, socket or device")
    here = os.getcwd()
    os.chdir(corpus.folder)  # the name of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket.png")
    os.chdir(here)
    corpus.items.append(Item("socket.png", "refused"))
    (corpus.folder / "folder.png").mkdir()
    corpus.items.append(Item("folder.png", "refused"))
    for device in ("zero", "null", "urandom", "full", "tty"):
        corpus.link(f"device_{device}.png", f"/dev/{device}")
    corpus.link("loop_a.png", "loop_b.png")
    corpus.link("loop_b.png", "loop_a.png")
    corpus.link("self.png", "self.png")
    corpus.link("dangling.png", "gone.png", says="No such file")
    (corpus.folder / "through_itself.png").symlink_to(".")  # a folder without end: no item, but in the way of a listing
    corpus.link("memory.png", "/proc/self/mem")
    corpus.link("kernel.png", "/proc/kmsg")
    corpus.link("core.png", "/proc/kcore")
    corpus.link("environment.png", "/proc/self/environ")
    corpus.add("unreadable.png", corpus.good, "either")  # root may read it all the same
    (corpus.folder / "unreadable.png").chmod(0)
    corpus.items += [Item("never_was.png", "refused", "No such file"), Item("never/was.png", "refused", "No such file")]
    corpus.items += [Item("x" * 300 + ".png", "refused"), Item("deep/" * 900 + "x.png", "refused")]
    corpus.items += [Item("with\0nul.png", "refused"), Item("good\0.png", "refused")]


def names(corpus: Corpus) -> None:
    """Good words under names that break lists, terminals and encodings."""
    odd = [
        "-rf.png",
        "[a-z].png",
        "*.png",
        "$(touch hacked).png",
        "`id`.png",
        "a\tb.png",
        "é.png",
        "e\u0301.png",
        "字.png",
    ]
    odd += [
        "\u202egnp.exe.png",
        "\x1b[31mred.png",
        "'\".png",
        " .png",
        "x.PNG",
        ".png",
        "no_suffix",
        "😀.png",
        "%s%n.png",
    ]
    odd += [
        os.fsdecode(b"latin_\xe9.png"),
        os.fsdecode(b"\xff\xfe.png"),
        "back\\slash.png",
        "nul.png",
        "a" * 240 + ".png",
    ]
    for name in odd:
        corpus.add(name, corpus.good, "word")
    for name in ("\x1b[31mred_bad.png", os.fsdecode(b"bad_\xe9.png"), "\u202ebad.png"):
        corpus.add(name, b"no image", "refused")
    corpus.add("deep/" * 40 + "x.png", corpus.good, "word")


# --- tables and pages


TEXTS = {  # text -> whether it can be learned
    "plain": ("noon", True),
    "accent apart": ("e\u0301te\u0301", True),
    "astral": ("\U0001d4d0\U0001f600", True),
    "private": ("\ue000", True),
    "joiner": ("a\u200db", True),
    "nul": ("a\0b", False),
    "escape": ("\x1b[31mred", False),
    "line": ("two\nlines", False),
    "tab": ("a\tb", False),
    "delete": ("a\x7f", False),
    "c1": ("a\x9bb", False),
    "override": ("\u202eabc", False),
    "isolate": ("\u2066abc\u2069", False),
    "half": ("a\ud800b", False),
    "long": ("a" * 10_000, False),
    "blank": (" \u00a0\u3000", False),
    "marks": ("a" + "\u0301" * 5_000, False),
}
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


def make_data(folder: Path, seed: int = 0) -> list[Source]:
    """Fill folder with tables, parquet files and pages -> what `htr check` is given, each with two good rows in it."""
    maker = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        render_word(WORD).save(folder / f"{name}.png")
    return [*tables(folder, maker), *parquets(folder / "parquet", maker), *pages(folder / "pages")]


def tables(folder: Path, maker: random.Random) -> list[Source]:
    found = []

    def add(name: str, data: bytes | str, usable: int | None, says: str = "") -> None:
        data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
        (folder / name).write_bytes(data)
        found.append(Source(name, usable, says))

    head, good = "path,text\n", "a.png,noon\nb.png,noon\n"
    add("empty.csv", "", None, "no rows")
    add("header.csv", head, None, "no rows")
    add("columns.csv", "x,y\n1,2\n", None, "no column 'image'")
    add("one_column.csv", "path\na.png\n", None, "no column 'text'")
    add("twice.csv", "path,text,text\na.png,x,y\n", None, "twice")
    add("short_row.csv", head + "a.png\n" + good, 2, "has 1 fields")
    add("long_row.csv", head + "a.png,b,c,d\n" + good, 2, "has 4 fields")
    add("open_quote.csv", head + 'a.png,"open\n' + good, 2, "quote is not closed")
    add("giant_field.csv", head + f"a.png,{'x' * 200_000}\n" + good, 2, "field larger|needs")
    add("latin1.csv", (head + good).encode() + "a.png,élan\n".encode("latin-1"), None, "line 4 is not utf-8 text")
    add("utf16.csv", (head + good).encode("utf-16"), 2)
    add("utf16_odd.csv", (head + good).encode("utf-16") + b"\0", None, "not utf-16 text")
    add("utf32.csv", (head + good).encode("utf-32"), None)
    add("mark.csv", b"\xef\xbb\xbf" + (head + good).encode(), 2)
    add("returns.csv", (head + good).replace("\n", "\r").encode(), 2)
    add("nul_bytes.csv", (head + good).encode() + b"a.png,\0\0\n", 2, "control")
    add("binary.csv", maker.randbytes(3_000), None)
    add("png.csv", (folder / "a.png").read_bytes(), None)
    add("wide.csv", ",".join(f"c{i}" for i in range(50_000)) + "\n", None)
    add("tabs.tsv", (head + good).replace(",", "\t"), 2)
    add("ragged.tsv", "path\ttext\na.png\tnoon\tx\n" + good.replace(",", "\t"), 2, "has 3 fields")
    paths = {
        "fifo": "fifo.png",
        "folder": ".",
        "device": "/dev/zero",
        "gone": "gone.png",
        "escape": "../../../etc/passwd",
    }
    paths |= {"loop": "loop.png", "blank": " ", "url": "http://localhost:9/a.png", "number": "7", "text": "latin1.csv"}
    os.mkfifo(folder / "fifo.png")
    (folder / "loop.png").symlink_to("loop.png")
    for name, path in paths.items():
        add(f"path_{name}.csv", head + f"{path},noon\n" + good, 2)
    lines = [{"path": f"{name}.png", "text": "noon"} for name in "ab"]

    def jsonl(name: str, extra: list, usable: int | None, says: str = "") -> None:
        text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in [lines[0], *extra, lines[1]])
        add(f"{name}.jsonl", text, usable, says)

    for name, (text, fine) in TEXTS.items():
        jsonl(f"text_{name.replace(' ', '_')}", [{"path": "a.png", "text": text}], 3 if fine else 2)
    for name, value in {
        "null": None, "list": ["a"], "dict": {"a": 1}, "float": 1.5, "nan": float("nan"), "inf": float("inf"),
        "true": True, "huge": 10**4000,
    }.items():  # fmt: skip
        jsonl(f"value_{name}", [{"path": "a.png", "text": value}], 2)
    jsonl("digits", ['{"path": "a.png", "text": ' + "9" * 5_000 + "}"], 2, "not JSON")
    jsonl("broken", ["{", "[]", "7", '"x"', "nul"], 2, "not (a )?JSON")
    jsonl("deep", ['{"path": "a.png", "text": ' + "[" * 100_000 + "]" * 100_000 + "}"], 2, "not JSON")
    for name, path in {"half": "\ud800.png", "nul": "a\0.png", "list": ["a.png"], "number": 7, "null": None}.items():
        jsonl(f"image_{name}", [{"path": path, "text": "noon"}], 2)
    for name, writer in {"half": "\ud800", "list": [1], "nan": float("nan"), "huge": 10**4000}.items():
        jsonl(f"writer_{name}", [{"path": "a.png", "text": "noon", "writer": writer}], 3)
    jsonl("repeated_key", ['{"path": "gone.png", "path": "a.png", "text": "noon"}'], 3)
    os.mkfifo(folder / "pipe.csv")
    os.mkfifo(folder / "pipe.parquet")
    (folder / "device.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "pipe.parquet", "device.csv"):
        found.append(Source(name, None, "regular file|larger"))
    found += [Source("gone.csv", None, "no file or folder"), Source("a.png", None, "of no kind that is read")]
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "nothing").mkdir()
    found += [Source("loop.csv", None), Source("nothing", None, "no metadata.csv"), Source("a\0b.csv", None)]
    odd = folder / os.fsdecode(b"latin_\xe9")
    odd.mkdir()
    (odd / "metadata.csv").write_text("file_name,text\na.png,noon\nb.png,noon\n")
    for name in ("a", "b"):
        (odd / f"{name}.png").write_bytes((folder / "a.png").read_bytes())
    found.append(Source(odd.name, 0, "rename"))
    mixed = folder / "mixed"
    mixed.mkdir()
    (mixed / "metadata.csv").write_text("file_name,text\na.png,noon\nb.png,noon\nfifo.png,noon\nfolder.png,noon\n")
    for name in ("a", "b"):
        (mixed / f"{name}.png").write_bytes((folder / "a.png").read_bytes())
    (mixed / os.fsdecode(b"unlisted_\xe9.png")).write_bytes(b"x")
    os.mkfifo(mixed / "fifo.png")
    (mixed / "folder.png").mkdir()
    found.append(Source("mixed", 2, "no text: metadata.csv has no row"))
    return found


def parquets(folder: Path, maker: random.Random) -> list[Source]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    found, good = [], (folder.parent / "a.png").read_bytes()

    def add(name: str, columns: dict | pa.Table, usable: int | None, says: str = "", **options) -> None:
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, folder / name, **options)
        found.append(Source(f"parquet/{name}", usable, says))

    def raw(name: str, data: bytes, usable: int | None = None, says: str = "") -> None:
        (folder / name).write_bytes(data)
        found.append(Source(f"parquet/{name}", usable, says))

    images = [{"bytes": good, "path": "a"}, {"bytes": good, "path": "b"}]
    add("good.parquet", {"image": images, "text": ["noon", "noon"]}, 2)
    add("bytes.parquet", {"image": [good, good], "text": ["noon", "noon"]}, 2)
    add("columns.parquet", {"x": [1], "y": [2]}, None, "no column 'image'")
    add("no_rows.parquet", {"image": pa.array([], pa.binary()), "text": pa.array([], pa.string())}, None, "no rows")
    add("bad_image.parquet", {"image": [good, b"no image", None, b"", good], "text": ["noon"] * 5}, 2)
    add("texts.parquet", {"image": [good] * 4, "text": ["noon", None, "", "noon"]}, 2)
    add("numbers.parquet", {"image": [1, 2], "text": ["noon", "noon"]}, None, "no images")
    add("no_text.parquet", {"image": [good, good], "text": [1.5, float("nan")]}, 0)
    add("binary_text.parquet", {"image": [good, good], "text": [b"\xff", b"noon"]}, 0, "no string")
    add("lists.parquet", {"image": [[1], [2]], "text": ["noon", "noon"]}, 0)
    add("struct.parquet", {"image": [{"x": 1}] * 2, "text": ["noon"] * 2}, 0)
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<iii", 0, 4, 6)), pa.py_buffer(b"noon\xff\xfe")]
    )
    add("bad_utf8.parquet", pa.table({"image": [good, good], "text": bad}), None)
    for name, notes in {
        "json": b"{",
        "types": b'{"info": {"features": {"image": {"_type": "Nothing"}}}}',
        "list": b"[]",
    }.items():
        table = pa.table({"image": [good, good], "text": ["noon", "noon"]}).replace_schema_metadata(
            {b"huggingface": notes}
        )
        add(f"notes_{name}.parquet", table, None)
    whole = (folder / "good.parquet").read_bytes()
    for percent in range(0, 100, 20):
        raw(f"cut_{percent}.parquet", whole[: len(whole) * percent // 100], None, "cut short")
    for number in range(12):
        changed = bytearray(whole)
        for _ in range(4):
            changed[maker.randrange(0 if number % 2 else len(whole) - 400, len(whole))] ^= 1 << maker.randrange(8)
        raw(f"flip_{number}.parquet", bytes(changed), -1)
    raw("text.parquet", b"path,text\n", None)
    raw("text.arrow", b"path,text\n", None)
    raw("noise.arrow", maker.randbytes(4_000), None)
    raw("magic.arrow", b"ARROW1\0\0" + bytes(100) + b"ARROW1", None)
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(30_000_000, np.int8)), pa.array([good]))
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(30_000_000, np.int8)), pa.array(["noon"]))
    large = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(30_000, np.int8)), pa.array([good + maker.randbytes(1 << 20)])
    )
    table = pa.table({"image": large, "text": ["noon"] * 30_000})
    options = {"dictionary_pagesize_limit": 1 << 24, "store_schema": False}
    add("bomb_dictionary.parquet", table, None, "again and again", **options)
    add("bomb_rows.parquet", pa.table({"image": same, "text": texts}), None, "rows")
    zeros = pa.table({"image": pa.array([bytes(80 << 20)], pa.large_binary()), "text": ["noon"]})
    with pq.ParquetWriter(folder / "bomb_bytes.parquet", zeros.schema, compression="zstd") as writer:
        for _ in range(15):
            writer.write_table(zeros)
    found.append(Source("parquet/bomb_bytes.parquet", None, "bytes"))
    saved = folder / "saved"
    saved.mkdir()
    (saved / "state.json").write_text('{"_data_files": [{"filename": "../../../etc/passwd"}]}')
    (saved / "dataset_info.json").write_text("{}")
    found.append(Source("parquet/saved", None))
    return found


def pages(folder: Path) -> list[Source]:
    """Folders of one XML file each, with an image of two words beside it."""
    folder.mkdir()
    sheet = Image.new("L", (300, 120), 255)
    sheet.paste(render_word(WORD), (10, 20))
    sheet.paste(render_word(WORD), (160, 20))
    image, (width, height), found = encode(sheet), sheet.size, []
    left, right = "10,20 140,20 140,90 10,90", "160,20 290,20 290,90 160,90"

    def add(name: str, xml: str | bytes, usable: int | None, says: str = "") -> None:
        place = folder / name
        place.mkdir()
        (place / "page.png").write_bytes(image)
        (place / "page.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        found.append(Source(f"pages/{name}", usable, says))

    def word(points: str, text: str = WORD) -> str:
        return f'<Word id="w"><Coords points="{points}"/><TextEquiv><Unicode>{text}</Unicode></TextEquiv></Word>'

    def page(words: str, name: str = "page.png", size: str = f'imageWidth="{width}" imageHeight="{height}"') -> str:
        return f'{XML}<PcGts><Page imageFilename="{name}" {size}><TextLine>{words}</TextLine></Page></PcGts>'

    good = word(left) + word(right)
    add("good", page(good), 2)
    add("utf16", page(good).replace("UTF-8", "UTF-16").encode("utf-16"), 2)
    add("latin", page(word(left, "été") + good).replace("UTF-8", "ISO-8859-1").encode("latin-1"), 3)
    add("wrong_encoding", page(word(left, "été") + good).encode("latin-1"), 0, "not well-formed")
    add("unknown_encoding", page(good).replace("UTF-8", "EBCDIC-9"), 0)
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10))
    for name, text in {
        "laughs": f"<!DOCTYPE PcGts [{laughs}]>",
        "external": '<!DOCTYPE PcGts [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        "remote": '<!DOCTYPE PcGts SYSTEM "http://localhost:9/x.dtd">',
        "parameter": '<!DOCTYPE PcGts [<!ENTITY % p SYSTEM "file:///dev/zero"> %p;]>',
        "quadratic": f'<!DOCTYPE PcGts [<!ENTITY q "{"q" * 50_000}">]>',
    }.items():
        entity = {"laughs": "&l9;", "quadratic": "&q;" * 5_000}.get(name, "&x;")
        xml = page(word(left, entity)).replace(XML, XML + text)
        add(f"entity_{name}", xml, 0, "DOCTYPE")
    for name, points in {
        "outside": "900,900 990,900 990,990",
        "negative": "-90,-90 -10,-90 -10,-10",
        "two_points": "1,1 9,9",
        "none": "",
        "odd": "1,2,3 4,5",
        "nan": "NaN,NaN 1,NaN NaN,9 nan,nan",
        "infinite": "inf,inf 9,inf inf,9",
        "digits": f"{'9' * 400},0 0,{'9' * 400} -{'9' * 400},5",
        "exponent": "1e308,1e308 0,1e308 1e308,0",
        "line": "5,5 5,5 5,5",
        "words": "a,b c,d e,f",
    }.items():
        add(f"polygon_{name}", page(word(points) + good), -1 if name in ("digits", "exponent") else 2)
    add("polygon_whole", page(word(f"-{'9' * 30},-9 {'9' * 30},-9 {'9' * 30},900 -9,900") + good), 3)
    zigzag = " ".join(f"{i % 300},{i % 2 * 120}" for i in range(200_000))
    add("polygon_zigzag", page(good + word(zigzag)), -1)
    add("polygons_many", page(good + word(f"0,0 {width},0 {width},{height} 0,{height}") * 30_000), -1)
    add("depth", page(good + "<a>" * 200_000 + "</a>" * 200_000), 2)
    add("elements", page(good + "<a/>" * 5_000_000), 0, "elements")
    add("attributes", page(good + "<a " + " ".join(f'b{i}=""' for i in range(300_000)) + "/>"), 2)
    for name, size in {
        "zero": 'imageWidth="0" imageHeight="0"',
        "negative": 'imageWidth="-300" imageHeight="120"',
        "nan": 'imageWidth="NaN" imageHeight="inf"',
        "digits": f'imageWidth="{"9" * 400}" imageHeight="{"9" * 400}"',
        "other": 'imageWidth="120" imageHeight="300"',
    }.items():
        add(f"size_{name}", page(good, size=size), 2 if name in ("zero", "nan") else 0)
    for name, other in {
        "gone": "gone.png", "above": "../../../etc/passwd", "absolute": "/etc/passwd", "device": "/dev/zero",
        "drive": "C:\\page.png", "url": "http://localhost:9/page.png", "folder": ".", "long": "x" * 5_000,
        "nul": "a&#1;b", "itself": "page.xml", "fifo": "fifo.png",
    }.items():  # fmt: skip
        add(f"image_{name}", page(good, name=other), 2 if name == "drive" else 0)
    os.mkfifo(folder / "image_fifo" / "fifo.png")
    for name, (text, fine) in TEXTS.items():
        escaped = "".join(f"&#{ord(c)};" for c in text)
        written = not (set(text) & {"\0", "\x1b", "\ud800"})  # XML has no such characters
        reads = name in ("c1", "delete")
        usable = (3 if fine else 2) if written else 0
        add(f"text_{name.replace(' ', '_')}", page(word(left, escaped) + good), -1 if reads else usable)
    alto = '<alto><Layout><Page WIDTH="300" HEIGHT="120"><TextLine>{}</TextLine></Page></Layout></alto>'
    box = '<String CONTENT="noon" HPOS="{}" VPOS="20" WIDTH="{}" HEIGHT="70"/>'
    fine = box.format(10, 130) + box.format(160, 130)
    add("alto", XML + alto.format(fine), 2)
    for name, (start, wide) in {
        "outside": ("900", "50"), "negative": ("-500", "100"), "nan": ("NaN", "nan"),
        "digits": ("9" * 400, "-" + "9" * 400),
        "empty": ("", ""), "backwards": ("140", "-100"), "thin": ("20", "0"),
    }.items():  # fmt: skip
        add(f"alto_{name}", XML + alto.format(box.format(start, wide) + fine), -1)
    add("alto_two_pages", XML + "<alto><Page/><Page/></alto>", 0, "describes 2 pages")
    add(
        "alto_points",
        XML + alto.format('<String CONTENT="x"><Shape><Polygon POINTS="1 2 3"/></Shape></String>' + fine),
        2,
    )
    for name, xml in {
        "empty": b"", "text": b"hello", "html": b"<html></html>", "cut": page(good).encode()[:150],
        "noise": bytes(range(256)),
        "namespace": b"<a:b/>", "control": b"<PcGts>\0</PcGts>", "no_page": b"<PcGts/>", "png": image,
    }.items():  # fmt: skip
        add(f"xml_{name}", xml, 0)
    special = folder / "special"
    special.mkdir()
    os.mkfifo(special / "fifo.xml")
    (special / "folder.xml").mkdir()
    (special / "zero.xml").symlink_to("/dev/zero")
    (special / "loop.xml").symlink_to("loop.xml")
    (special / "page.png").write_bytes(image)
    (special / os.fsdecode(b"page_\xe9.xml")).write_text(page(good))
    found.append(Source("pages/special", -1, "regular file|larger"))
    return found


# --- what a child process does: every source through `htr check`, each with what it took


def check_all(folder: Path, sources: list[Source], out) -> None:
    """A line of JSON for every source: exit code, what was said, seconds of the processor, kB of memory at most."""
    import contextlib
    import resource
    import traceback

    from htr.cli import main

    os.chdir(folder)
    for source in sources:
        said, begun, code = io.StringIO(), time.process_time(), None
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main(["check", source.data])
            except BaseException:
                said.write(traceback.format_exc())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        row = {"data": source.data, "code": code, "said": said.getvalue(), "kb": peak}
        out.write(json.dumps({**row, "seconds": time.process_time() - begun}) + "\n")
        out.flush()


def ink_all(folder: Path, items: list[Item], out) -> None:
    """A line of JSON for every image: seconds of the processor, kB of memory at most."""
    import resource
    import traceback

    from htr.images import ImageError, to_ink

    for item in items:
        begun, said = time.process_time(), ""
        try:
            to_ink(str(folder / item.path), 32)
        except ImageError as error:
            said = str(error)
        except BaseException:
            said = traceback.format_exc()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        row = {"path": item.path, "said": said, "kb": peak, "seconds": time.process_time() - begun}
        out.write(json.dumps(row) + "\n")
        out.flush()


if __name__ == "__main__":  # python -m tests.hostile images|data FOLDER: what each item gets, for eyes
    kind, place = sys.argv[1], Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    if kind == "images":
        ink_all(place, make_images(place), sys.stdout)
    else:
        check_all(place, make_data(place), sys.stdout)

"""Coverage-guided fuzzing of what reads files: `python -m tests.fuzzing images|tables|xml|config --seconds 600`.

libFuzzer (by atheris) changes files that are made here and keeps what reaches new lines of htr and of Pillow's Python.
An input passes when it gives a result, or sentences that htr means; it fails on any other exception or warning, more
than 5 s of the processor or 1 GB. OUT/corpus holds what was kept, OUT/found-* what failed, which ends the run with an
exit code above 0; `--input FILE` reads such a file again.
"""

import argparse
import io
import json
import linecache
import math
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS, MEMORY = 5, 1024  # of the processor; MB above the process without work
HANGS = 120  # s by the clock, in which an input must end that takes none of the processor
_FOREIGN = re.compile(  # what Python says, and no one else
    r"Traceback|NoneType|codec can't|object (is not|has no|of|does)|unhashable|not supported between|could not convert|"
    r"invalid literal|multiple values|positional|keyword argument|must be a mapping|too large to convert|"
    r"must be (str|a string|real)"
)
_QUOTED = re.compile(r" \(.*?\)")  # a reason that htr's sentence hands on


class Failure(Exception):
    """An input that is not dealt with as it should be."""


class Target(NamedTuple):
    """seeds: name -> bytes. read: (folder, bytes) -> the sentences that are said of them. words: for libFuzzer."""

    seeds: Callable[[], dict[str, bytes]]
    read: Callable[[Path, bytes], Iterable[str]]
    words: str
    largest: int  # bytes of an input
    own: bool = True  # whether every sentence is htr's own: Pillow's reasons are quoted as they come


# --- images


def _image_seeds() -> dict[str, bytes]:
    from PIL import Image

    from tests.hostile import as_mode, encode, jpeg_with, render_word

    word = render_word("no", size=12)
    made = {mode: encode(as_mode(word, mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}
    kinds = "BMP DDS DIB GIF ICNS ICO IM JPEG JPEG2000 MSP PCX PPM QOI SGI SPIDER TGA TIFF WEBP XBM AVIF BLP"
    for kind in kinds.split():
        mode = {"BLP": "P", "MSP": "1", "XBM": "1", "SPIDER": "F", "QOI": "RGB", "DDS": "RGBA"}.get(kind, "L")
        made[kind] = encode(as_mode(word, mode), kind)
    for packed in ("tiff_lzw", "packbits", "group4", "jpeg", "tiff_adobe_deflate"):
        made[packed] = encode(word.convert("1") if packed == "group4" else word, "TIFF", compression=packed)
    made["animated"] = encode(word, "GIF", save_all=True, append_images=[word.rotate(180)])
    made["apng"] = encode(word, "PNG", save_all=True, append_images=[word.rotate(180)])
    made["plain"] = b"P2 4 3 9\n" + b"0 9 " * 6
    made["rle"] = encode(word, "TGA", compression="tga_rle")
    exif = Image.Exif()
    exif[0x0112] = 6
    made["exif"] = encode(word, "JPEG", exif=exif, progressive=True)
    photoshop = b"Photoshop 3.0\0" + b"8BIM\x03\xed" + bytes(30)
    made["marker"] = jpeg_with(SimpleNamespace(word=word), b"\xff\xed", photoshop)
    return made


def _read_image(_: Path, data: bytes) -> list[str]:
    import numpy as np

    from htr import images

    ink = images.to_ink(data, 32).pixels
    if ink.dtype != np.float32 or ink.shape[0] != 32 or not 1 <= ink.shape[1] <= images.MAX_WIDTH:
        raise Failure(f"ink of {ink.dtype} {ink.shape}")
    if not (np.isfinite(ink).all() and 0 <= ink.min() and ink.max() <= 1):
        raise Failure(f"ink from {ink.min()} to {ink.max()}")
    images.read_image({"bytes": data, "path": "word"})
    return []


# --- tables


def _table_seeds() -> dict[str, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.hostile import encode, render_word

    good = encode(render_word("no", size=12))
    rows = 'path,text,writer\na.png,no,1\na.png,"n ""o""",2\na.png,é,\n'
    made = {"csv": rows.encode(), "semicolon": rows.replace(",", ";").encode(), "utf16": rows.encode("utf-16")}
    made["tsv"] = rows.replace(",", "\t").encode()
    made["mask"] = b"file_name,text,mask,segmentation\r\na.png,no,a.png,ok\r\n"
    made["bom"] = b"\xef\xbb\xbfimage|text\na.png|no\n\nb.png|no\n"
    line = {"path": "a.png", "text": "no", "writer": 1.0, "mask": {"path": "a.png"}}
    made["jsonl"] = (json.dumps(line) + '\n{"path": "a.png", "text": 1814, "x": [null, true]}\n[]\n').encode()
    made["iam"] = b"#--- words.txt\na-0-0-0 ok 154 408 768 27 51 AT no\na-0-0-1 err 154 1 -1 -1 -1 -1 AT n|o\n"
    table = pa.table({"image": [{"bytes": good, "path": "a"}, None], "text": ["no", None], "writer": [1, 2]})
    notes = {"info": {"features": {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}}}
    noted = table.drop_columns("writer").replace_schema_metadata({b"huggingface": json.dumps(notes).encode()})
    paths = pa.table({"file_name": ["a.png", "gone.png"], "text": pa.array(["no", "no"]).dictionary_encode()})
    for name, each in {"plain": table, "noted": noted, "paths": paths}.items():
        for packing in ("none", "snappy"):
            file = io.BytesIO()
            pq.write_table(each, file, compression=packing)
            made[f"{name}_{packing}"] = file.getvalue()
    file = io.BytesIO()
    with pa.ipc.new_stream(file, noted.schema) as writer:
        writer.write_table(noted)
    return made | {"arrow": file.getvalue()}


def _kind(data: bytes) -> str:
    """What a table is called: libFuzzer changes contents, the contents tell the name."""
    marks = {b"PAR1": "parquet", b"\xff\xff\xff\xff": "arrow", b"ARROW1": "arrow", b"{": "jsonl", b"[": "ndjson"}
    for mark, kind in marks.items():
        if data.startswith(mark):
            return f"table.{kind}"
    if data.startswith(b"#"):
        return "words.txt"
    return "table.tsv" if b"\t" in data.partition(b"\n")[0] else "table.csv"


def _read_table(folder: Path, data: bytes) -> list[str]:
    from htr import samples
    from tests.hostile import encode, render_word

    if not (folder / "words").is_dir():
        (folder / "words").mkdir()
        (folder / "a.png").write_bytes(encode(render_word("no", size=12)))
    path = folder / _kind(data)
    path.write_bytes(data)
    loaded = samples.load(f"iam:{folder}" if path.name == "words.txt" else str(path))
    found = samples.check({"train": loaded})
    if found.splits["train"].rows != len(loaded.dataset) + len(loaded.problems):
        raise Failure("rows are lost")
    return [*map(str, found.problems), *str(found).splitlines()]


# --- XML


def _xml_seeds() -> dict[str, bytes]:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    text = '<TextEquiv index="1"><Unicode>no</Unicode></TextEquiv>'
    word = f'<Word id="w"><Coords points="1,2 30,2 30,20 1,20"/>{text}</Word>'
    line = f'<TextLine id="l"><Coords><Point x="1" y="2"/><Point x="9" y="2"/><Point x="5" y="9"/></Coords>{text}'
    page = '<PcGts xmlns="http://schema.primaresearch.org/PAGE"><Page imageFilename="page.png" imageWidth="60" '
    page += f'imageHeight="40"><TextRegion><TextLine>{word}</TextLine>{line}</TextLine></TextRegion></Page></PcGts>'
    string = '<String ID="s" CONTENT="no" HPOS="1" VPOS="2.5" WIDTH="30" HEIGHT="20"/>'
    alto = "<alto><Description><MeasurementUnit>pixel</MeasurementUnit><sourceImageInformation><fileName>page.png"
    alto += '</fileName></sourceImageInformation></Description><Layout><Page WIDTH="60" HEIGHT="40"><TextLine '
    alto += f'HPOS="0" VPOS="0" WIDTH="60" HEIGHT="40"><Shape><Polygon POINTS="0,0 50,0 50,30"/></Shape>{string}'
    alto += "</TextLine></Page></Layout></alto>"
    form = '<form id="a-0" writer-id="000"><line text="no"/></form>'
    return {
        "page": (head + page).encode(),
        "latin": (head + page).replace("UTF-8", "ISO-8859-1").replace("no<", "é<").encode("latin-1"),
        "utf16": (head + page).replace("UTF-8", "UTF-16").encode("utf-16"),
        "alto": (head + alto).encode(),
        "boxes": (head + alto.replace("<Shape>", "<Other>").replace("</Shape>", "</Other>")).encode(),
        "form": (head + form).encode(),
        "mets": b'<mets:mets xmlns:mets="http://www.loc.gov/METS/"/>',
    }


def _read_xml(folder: Path, data: bytes) -> list[str]:
    from htr import iam, page_xml
    from htr.rows import Problem
    from tests.hostile import encode, render_word

    pages, base = folder / "pages", folder / "iam"
    if not pages.is_dir():
        for made in (pages, base / "words", base / "xml"):
            made.mkdir(parents=True)
        (pages / "page.png").write_bytes(encode(render_word("no", size=24).resize((60, 40))))
        (base / "words.txt").write_text("a-0-0-0 ok 154 408 768 27 51 AT no\n")
    (pages / "page.xml").write_bytes(data)
    (base / "xml" / "a-0.xml").write_bytes(data)
    rows = [*page_xml.read_pages(pages), *iam.read_words(base)]
    return [str(Problem("pages", number, row.path, row.reason)) for number, row in enumerate(rows) if row.reason]


# --- checkpoints


def _config_seeds() -> dict[str, bytes]:
    import numpy as np

    from htr.config import preset, to_json

    made = {}
    for name in ("ctc", "focal-ctc", "crossentropy"):
        options = {"gamma": 2.0} if name == "focal-ctc" else {}
        settings = {"format": 1, "alphabet": "eno", "objective": name, "objective_options": options}
        settings |= {"temperature": 1.5, "model": to_json(preset("tiny")), "training": {"words": 1}}
        made[name] = json.dumps(settings).encode()
    arrays = {"logits/bias": np.zeros(5, np.float32), "norm/variance": np.ones((2, 3), np.float16)}
    for name, array in {"one": arrays["logits/bias"], "two": arrays["norm/variance"], "text": np.array("no")}.items():
        file = io.BytesIO()
        np.save(file, array)
        made[f"{name}.npy"] = file.getvalue()
    file = io.BytesIO()
    np.savez(file, **arrays)
    return made | {"npz": file.getvalue()}


def _read_config(folder: Path, data: bytes) -> list[str]:
    """An array (one member of an archive), an archive of arrays, or the settings."""
    from htr import checkpoint, config_check
    from htr.charset import Charset

    if data.startswith((b"\x93", b"PK")):
        (folder / "weights.npz").write_bytes(data)
        if data.startswith(b"\x93"):  # zip counts its bytes and their CRC: no change would ever get past it
            with zipfile.ZipFile(folder / "weights.npz", "w") as archive:
                archive.writestr("logits/bias.npy", data)
        checkpoint.load_weights(folder, Charset("eno"))
        return []
    (folder / "config.json").write_bytes(data)
    charset, config, settings = checkpoint.load(folder)
    if config_check.least_weights(config, charset.num_classes) < 1:  # what is held against the weights that are there
        raise Failure("a network without weights")
    checkpoint.objectives.get(settings["objective"], **settings.get("objective_options", {})).frames_needed([2, 2])
    return []


TARGETS = {
    "images": Target(_image_seeds, _read_image, "IHDR IDAT tRNS eXIf iCCP acTL fcTL fdAT RIFF WEBP Exif JFIF", 8_192,
                     own=False),
    "tables": Target(_table_seeds, _read_table, "path image text writer mask segmentation PAR1 bytes ok err", 8_192),
    "xml": Target(_xml_seeds, _read_xml, "PcGts Page TextLine Word Coords Point points TextEquiv Unicode PlainText "
                  "index alto String Shape Polygon POINTS HPOS encoding utf-7 idna punycode <![CDATA[ <!DOCTYPE &#0; "
                  "imageFilename xmlns", 4_096),
    "config": Target(_config_seeds, _read_config, "format alphabet objective objective_options temperature model "
                     "training height blocks columns recurrent dropout learned_mask mask_channel name descr shape "
                     "fortran_order NUMPY batch_norm_momentum", 4_096),
}  # fmt: skip

# --- one input


def judge(target: Target, folder: Path, data: bytes) -> list[str]:
    """What is said of the input; Failure where it takes too long, or says what htr does not mean to say."""
    begun = time.process_time()
    try:
        said = list(target.read(folder, data))
    except (ValueError, OSError) as error:
        if not _meant(error):
            raise
        said = [f"{error.filename}: {error.strerror}." if isinstance(error, OSError) else str(error)]
    took = time.process_time() - begun
    for sentence in said:
        if (
            not sentence.isprintable()
            or not sentence.strip()
            or (target.own and _FOREIGN.search(_QUOTED.sub("", sentence)))
        ):
            raise Failure(f"is told {sentence[:500]!r}")
    if took > SECONDS:
        raise Failure(f"took {took:.1f} s of the processor")
    return said


def _meant(error: Exception) -> bool:
    """Whether a statement `raise` of htr's raised it: numpy and Python raise ValueError as well."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    inside = Path(last.filename).is_relative_to(ROOT / "htr")
    return inside and linecache.getline(last.filename, last.lineno or 0).strip().startswith("raise")


# --- changes that libFuzzer would not think of

_PIECE = re.compile(rb'"[^"\n]*"|-?\d[\d.]*|true|false|null|(?<=>)[^<]+')
_HOSTILE = [
    *(b'"" "\\ud800" "\\u0000" "\xff" null true [] {} [[]] [null] [1e400] -1 0 1e400 1e308 NaN -Infinity'.split()),
    *(b'"utf-7" "idna" "punycode" "shift_jis" "base64" "../x" "name" "1,2 3" &#x85; &#0; &x; "-0.0" 0.5'.split()),
    *(b"9" * digits for digits in (20, 308, 400, 5_000)), b'"' + b"9" * 308 + b'"', '"\u202e\u0663"'.encode(),
]  # fmt: skip


def change(data: bytes, most: int, seed: int, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """What libFuzzer makes of an input, or one with a value in it that is another; checksums of a PNG are put right."""
    choice, pieces = random.Random(seed), []
    if data[:1] in (b"{", b"[", b"<", b"p", b"\xef", b"#") and choice.random() < 0.5:
        pieces = list(_PIECE.finditer(data))
    if pieces:
        piece = choice.choice(pieces)
        data = data[: piece.start()] + choice.choice([*_HOSTILE, choice.choice(pieces)[0]]) + data[piece.end() :]
    else:
        data = mutate(data, most)
    return _mended(data)[:most] if data.startswith(b"\x89PNG") else data[:most]


def _mended(data: bytes) -> bytes:
    made, place = bytearray(data), 8
    while place + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, place)
        if (end := place + 8 + length) + 4 > len(made):
            break
        struct.pack_into(">I", made, end, zlib.crc32(made[place + 4 : end]))
        place = end + 4
    return bytes(made)


# --- the run


def fuzz(name: str, seconds: float, inputs: float, out: Path, seed: int) -> None:
    """Does not return: libFuzzer ends the process, with 0 where nothing was found."""
    import atheris

    target = TARGETS[name]
    with atheris.instrument_imports(include=["htr", "PIL"]):
        from PIL import Image

        Image.init()  # all of Pillow's kinds
        seeds = target.seeds()
        for part in ("seeds", "corpus", "work"):
            (out / part).mkdir(parents=True, exist_ok=True)
        for data in seeds.values():  # imports what is imported late
            judge(target, out / "work", data)
    for label, data in seeds.items():
        (out / "seeds" / label.replace(";", "_")).write_bytes(data)
    (out / "words").write_text("".join(f'"{word}"\n' for word in target.words.split()))
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    begun, runs, ending = time.process_time(), 0, 0

    def one(data: bytes) -> None:
        nonlocal runs, ending
        runs += 1
        judge(target, out / "work", data)
        if ending < runs and (time.process_time() - begun > seconds or runs >= inputs):
            ending = sys.maxsize
            print(f"{name}: {runs:,} inputs in {time.process_time() - begun:.0f} s of the processor", file=sys.stderr)
            os.kill(os.getpid(), signal.SIGUSR1)  # libFuzzer's sign to end in peace

    arguments = [f"-dict={out / 'words'}", f"-artifact_prefix={out}/found-", f"-max_len={target.largest}"]
    arguments += [f"-rss_limit_mb={idle + MEMORY}", f"-timeout={HANGS}", f"-seed={seed}", "-print_final_stats=1"]
    atheris.Setup(
        [sys.argv[0], str(out / "corpus"), str(out / "seeds"), *arguments],
        one,
        custom_mutator=lambda data, most, number: change(data, most, number, atheris.Mutate),
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=600, help="of the processor")
    parser.add_argument("--inputs", type=float, default=math.inf, help="to end after so many, if that is earlier")
    parser.add_argument("--out", type=Path, help="default: build/fuzz/TARGET")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, nargs="+", help="read these files, and change none")
    args = parser.parse_args()
    warnings.simplefilter("error")
    if not args.input:
        out = (args.out or ROOT / "build" / "fuzz" / args.target).absolute()
        fuzz(args.target, args.seconds, args.inputs, out, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        for path in args.input:
            print(path.name, judge(TARGETS[args.target], Path(folder), path.read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

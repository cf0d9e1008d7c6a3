"""The readers under a fuzzer for a few seconds each, and every input that it once found, as it is read now."""

import importlib.util
import json
import os
import platform
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from htr import checkpoint, iam, images, page_xml, samples
from tests import fuzzing

ROOT = Path(__file__).resolve().parent.parent
GOOD = '<?xml version="1.0" encoding="{}"?><form writer-id="7"/>'


if (sys.platform, platform.machine()) == ("linux", "x86_64"):  # where atheris has wheels

    @pytest.mark.parametrize("target", fuzzing.TARGETS)
    def test_the_first_inputs_find_nothing(target, tmp_path):
        if importlib.util.find_spec("atheris") is None:
            pytest.skip("atheris is not installed: pip install atheris")
        command = [
            sys.executable,
            "-m",
            "tests.fuzzing",
            target,
            "--seconds",
            "3",
            "--inputs",
            "200",
            "--out",
            str(tmp_path),
        ]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, timeout=600)
        said = done.stderr.decode("utf-8", "replace")
        assert done.returncode == 0, said[-3000:]
        assert "inputs in" in said and not list(tmp_path.glob("found-*"))
        assert list((tmp_path / "corpus").iterdir())  # what is instrumented tells which inputs are new


@pytest.mark.parametrize("target", fuzzing.TARGETS)
def test_what_fuzzing_starts_from_is_read(target, tmp_path):
    for name, data in fuzzing.TARGETS[target].seeds().items():
        said = fuzzing.judge(fuzzing.TARGETS[target], tmp_path, data)
        assert not said or not data.startswith(b'{"format'), (name, said)


def test_the_judge_tells_a_meant_refusal_from_a_slip(tmp_path):
    def slips(_, data):
        return [str(int(data))]

    target = fuzzing.Target(dict, slips, "", 9)
    with pytest.raises(ValueError, match="invalid literal"):
        fuzzing.judge(target, tmp_path, b"x")
    for sentence in ("a\x1bb", "'NoneType' object is not iterable", ""):
        with pytest.raises(fuzzing.Failure, match="is told"):
            fuzzing.judge(target._replace(read=lambda *_, said=sentence: [said]), tmp_path, b"")
    assert fuzzing.judge(target, tmp_path, b"7") == ["7"]


# --- images


@pytest.mark.parametrize("size", ["4*4*23", "4.5*4", "4", "4*4", "-4*4", "0*4", "1e400*4", "nan*4"])
def test_a_size_that_no_image_can_have_is_refused(size):
    head = f"Image type: Greyscale image\r\nImage size (x*y): {size}\r\nFile size (no of images): 1\r\n"
    data = head.encode().ljust(511, b"\0") + b"\x1a" + bytes(16)
    if size == "4*4":
        assert images.read_image(data).size == (4, 4)
        return
    with pytest.raises(images.ImageError, match=r"^the image (says that it is|cannot be|is no image|has)") as refused:
        images.to_ink(data, 32)
    assert "int" not in str(refused.value) and "unpack" not in str(refused.value)


def test_an_animated_png_larger_than_memory_is_refused_before_pillow_sees_it():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 0x64000017, 8, 0, 0, 0, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 30, 23, 0, 0, 1, 10, 1, 0))  # its background is filled
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"acTL", struct.pack(">II", 2, 0)) + frame + chunk(b"IDAT", b"")
    with pytest.raises(images.ImageError, match=r"^the image has 50,331,648,690 px, at most 64,000,000 px are read"):
        images.to_ink(data, 32)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(data), 22) + data
    with pytest.raises(images.ImageError, match=r"px, at most 64,000,000 px are read"):
        images.to_ink(icon, 32)


# --- checkpoints


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"blocks": None}}, r"its blocks is null, something like \[\[24, 2, 2, 1\], .* is needed"),
        ({"model": {"blocks": [1, 2]}}, r"its blocks is \[1, 2\], something like"),
        ({"model": {"recurrent": [1e400]}}, r"its recurrent is \[Infinity\], something like \[160, 160\] is needed"),
        ({"model": {"height": "40"}}, 'its height is "40", something like 40 is needed'),
        ({"model": {"dropout": None}}, "its dropout is null, something like 0.2 is needed"),
        ({"model": None}, "its model is null, an object is needed"),
        ({"objective": None}, "its objective is null, text is needed"),
        ({"temperature": None}, "its temperature is null, a number is needed"),
        ({"temperature": 10**400}, r"its temperature is 10{40,}\.\.\., a number is needed"),
        ({"objective_options": {"name": 1}}, "The objective ctc has no option name; it has none"),
    ],
)
def test_a_config_of_other_kinds_is_refused_without_a_word_of_pythons(tmp_path, changes, says):
    settings = {"format": 1, "alphabet": "ab", "objective": "ctc", "model": {}, **changes}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(checkpoint.CheckpointError, match=says):
        checkpoint.load(tmp_path)


# --- XML and IAM


@pytest.mark.parametrize("encoding", ["punycode", "idna", "undefined", "shift_jis", "utf-7", "base64", "EBCDIC-9"])
def test_xml_in_an_encoding_that_expat_cannot_read_is_named(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_text(GOOD.format(encoding))
    for read in (page_xml.parse_xml, page_xml.root_attributes):
        with pytest.raises(ValueError, match=rf"a\.xml is written in {encoding}, which expat cannot read: save it as"):
            read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-16", "utf-16le", "ISO-8859-1", "us-ascii", "cp1252", "koi8-r"])
def test_xml_in_an_encoding_of_one_byte_a_character_is_read(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_bytes(GOOD.format(encoding).encode(encoding))
    assert page_xml.root_attributes(path) == page_xml.parse_xml(path).attrib == {"writer-id": "7"}


@pytest.mark.parametrize(
    ("size", "far", "says"),
    [
        (("9" * 400, "9" * 400), "30", "page.png is 60x40, the XML says infxinf: the image is another one"),
        (("0." + "0" * 320 + "1",) * 2, "30", "page.png is 60x40, the XML says 9.98"),
        (("6", "4"), "9" * 308, "points without a place: write numbers of at most 15 digits"),
    ],
)
def test_numbers_of_a_page_beyond_all_measure_are_refused_without_a_warning(tmp_path, render, size, far, says):
    coords = f'<Coords points="1,2 {far},2 3,20"/><TextEquiv><Unicode>no</Unicode></TextEquiv>'
    page = f'<Page imageFilename="page.png" imageWidth="{size[0]}" imageHeight="{size[1]}">'
    (tmp_path / "page.xml").write_text(f"<PcGts>{page}<TextLine>{coords}</TextLine></Page></PcGts>")
    render("no").resize((60, 40)).save(tmp_path / "page.png")
    (row,) = page_xml.read_pages(tmp_path)
    assert row.image is None and says in row.reason


def test_an_id_of_iam_that_no_file_can_have_is_a_row_and_not_the_end(tmp_path):
    (tmp_path / "words").mkdir()
    row = "ok 154 408 768 27 51 AT no\n"
    (tmp_path / "words.txt").write_text(f"a-{'9' * 400}-0-0 {row}a-1-0-0 {row}")
    long, good = iam.read_words(tmp_path)
    assert long.reason == "line 1 of words.txt is not 'id ok|err grey x y w h tag text'" and good.reason is None


# --- tables


def arrow_file(path: Path, notes: bytes = b"{}") -> Path:
    """A stream as datasets writes it, with a row of one image and the text noon."""
    import pyarrow as pa

    table = pa.table({"image": [b"x"], "text": ["noon"]}).replace_schema_metadata({b"huggingface": notes})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    return path


def test_an_arrow_file_whose_rows_lie_outside_of_it_does_not_end_the_process(tmp_path):
    assert samples.load(arrow_file(tmp_path / "good.arrow")).dataset["text"][0] == "noon"
    path = tmp_path / "bad.arrow"
    data = (tmp_path / "good.arrow").read_bytes()
    at = data.rindex(struct.pack("<ii", 0, 4), 0, data.rindex(b"noon"))
    path.write_bytes(data[: at + 4] + struct.pack("<i", 1 << 30) + data[at + 8 :])
    with pytest.raises(ValueError, match=r"bad\.arrow is damaged, its columns hold what cannot be \(Column 1: "):
        samples.load(path)


@pytest.mark.parametrize("notes", [b'{"info": "x"}', b'{"info": {"features": "x"}}', b'{"info": {"features": [7]}}'])
def test_damaged_notes_of_datasets_are_refused_without_a_word_of_pythons(tmp_path, notes):
    with pytest.raises(ValueError, match="is not a readable arrow file, .*: what it says of its columns is damaged"):
        samples.load(arrow_file(tmp_path / "a.arrow", notes))


def test_what_arrow_says_of_a_file_cannot_command_a_terminal(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [b"x"], "text": ["noon"]}), path)
    whole = path.read_bytes()
    footer = len(whole) - 8 - struct.unpack("<I", whole[-8:-4])[0]
    path.write_bytes(whole[:footer] + b"\x0e" * (len(whole) - 8 - footer) + whole[-8:])  # no such type in Thrift
    with pytest.raises(ValueError, match=r"is not a readable parquet file, .*\\x0e") as refusal:
        samples.load(path)
    assert str(refusal.value).isprintable()


def test_check_writes_out_what_cannot_be_seen_among_the_characters(tmp_path, render):
    render("no").save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("path,text\na.png,n\u00a0o\u200d\ue000\n", encoding="utf-8")
    listed = str(samples.check({"train": samples.load(tmp_path / "a.csv")}))
    assert r"  5 characters: no\xa0\u200d\ue000" in listed.splitlines()

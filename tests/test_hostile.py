"""Hundreds of bad inputs: each is read rightly or refused in one sentence, and every good one beside it is read."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from htr.images import ImageError, to_ink
from tests import hostile
from tests.conftest import render_word

ROOT = Path(__file__).resolve().parent.parent
SECONDS, MEMORY = 5, 1 << 20  # of the processor for one input; kB above the process without work
CODE = "import sys, pickle; from pathlib import Path; from tests import hostile; "


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return folder, hostile.make_images(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, hostile.make_data(folder)


def run(home: Path, arguments: list[str], given: bytes = b"", **options):
    """A child process in a home of its own -> exit code, what it wrote, its peak of memory in kB."""
    home.mkdir()
    places = {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    # ru_maxrss of waited-for children is the largest of all: each run reports its own
    code = "import resource, sys; from htr.cli import main; code = main(sys.argv[1:]); sys.stdout.flush(); "
    code += "print(f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB', file=sys.stderr); sys.exit(code)"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, env=environment, cwd=home, timeout=600, **options)
    said = done.stderr.decode("utf-8", "surrogateescape")
    return done.returncode, said, int(re.search(r"(\d+) kB\s*$", said)[1])


def tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def one_sentence(text: str) -> bool:
    return text.isprintable() and text.endswith((".", ")")) and "Traceback" not in text


def test_there_are_three_hundred(images, data):
    assert len(images[1]) > 300 and len(data[1]) > 150
    assert len({item.path for item in images[1]}) == len(images[1])


def test_the_same_seed_makes_the_same_corpus(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        corpus = hostile.Corpus(tmp_path / name, seed=7)
        for part in (hostile.flips, hostile.metadata, hostile.polyglots):
            part(corpus)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_transcribe_reads_the_good_and_refuses_the_bad_by_name(images, tmp_path):
    folder, items = images
    before, out, idle = tree(folder), tmp_path / "out" / "words.jsonl", tmp_path / "out" / "idle.jsonl"
    out.parent.mkdir()
    good = next(item.path for item in items if item.path.startswith("good"))
    _, _, least = run(tmp_path / "idle", ["transcribe", str(folder / good), "--format", "jsonl", "--out", str(idle)])
    text = json.loads(idle.read_text())["text"]
    paths = b"\n".join(os.fsencode(str(folder / item.path)) for item in items)
    code, said, peak = run(tmp_path / "home", ["transcribe", "-", "--format", "jsonl", "--out", str(out)], paths)
    assert code == 1 and "Traceback" not in said and "Warning" not in said, said[-3000:]
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(items)
    wrong = [(item, row) for item, row in zip(items, rows, strict=True) if not as_expected(item, row, text)]
    assert wrong == []
    assert peak - least < MEMORY
    assert tree(folder) == before and {path.name for path in out.parent.iterdir()} == {out.name, idle.name}
    assert [name for name in tree(tmp_path / "home") if "hacked" in name or name.endswith((".png", ".jpg"))] == []


def as_expected(item: hostile.Item, row: dict, text: str) -> bool:
    if "error" in row:
        fine = item.expected in ("refused", "either") and "text" not in row and one_sentence(row["error"])
        return fine and re.search(item.says, row["error"]) is not None
    return item.expected in ("read", "either") or (item.expected == "word" and row["text"] == text)


def child(call: str, folder: Path, items: list) -> list[dict]:
    """tests.hostile.<call>(folder, items) in a process of its own -> its rows."""
    import pickle

    command = [
        sys.executable,
        "-c",
        f"{CODE}hostile.{call}(Path(sys.argv[1]), pickle.load(sys.stdin.buffer), sys.stdout)",
    ]
    environment = {**os.environ, "HOME": str(folder.parent), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    given = {"input": pickle.dumps(items), "cwd": ROOT, "env": environment, "timeout": 900}
    done = subprocess.run([*command, str(folder)], capture_output=True, **given)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def test_no_image_takes_long_or_much_memory(images):
    folder, items = images
    rows = child("ink_all", folder, items)
    assert [row for row in rows if row["seconds"] > SECONDS] == []
    assert rows[-1]["kb"] - rows[0]["kb"] < MEMORY
    assert [row for row in rows if row["said"] and not one_sentence(row["said"])] == []


def test_check_names_every_bad_row_and_counts_the_good(data):
    folder, sources = data
    before = tree(folder)
    warm = next(source for source in sources if source.data == "parquet/good.parquet")
    rows = child("check_all", folder, [warm, *sources])
    wrong = []
    for source, row in zip([warm, *sources], rows, strict=True):
        usable = re.search(r"rows, (\d+) usable", row["said"])
        count = int(usable[1]) if usable else None
        fine = source.usable in (-1, count) and row["code"] in (0, 1) and "Traceback" not in row["said"]
        fine = (
            fine and re.search(source.says, row["said"]) and not re.search("[\\x00-\\x09\\x0b-\\x1f\\x7f]", row["said"])
        )
        fine = fine and "root:" not in row["said"]  # a line of the file that external entities ask for
        wrong += [] if fine else [(source, row["code"], row["said"][-1500:])]
    assert wrong == []
    assert [row for row in rows[1:] if row["seconds"] > SECONDS] == []
    assert rows[-1]["kb"] - rows[0]["kb"] < MEMORY
    assert tree(folder) == before


if os.geteuid() != 0:  # root may read any file

    def test_a_file_without_permission_is_refused(images):
        folder, _ = images
        (row,) = child("ink_all", folder, [hostile.Item("unreadable.png", "refused")])
        assert "Permission denied" in row["said"]


def test_libtiff_is_not_heard_of_a_damaged_file(capfd):
    packed = hostile.encode(render_word("noon"), "TIFF", compression="tiff_adobe_deflate")
    damaged = packed[:12] + bytes(each ^ 255 for each in packed[12:20]) + packed[20:]
    assert not to_ink(packed, 32).blank
    with pytest.raises(ImageError, match="cannot be decoded"):
        to_ink(damaged, 32)
    assert capfd.readouterr().err == ""


def test_files_that_vanish_between_listing_and_reading_are_named(tmp_path):
    from htr import listing
    from htr.images import ImageError, to_ink

    for name in ("a.png", "b.png"):
        hostile.render_word(hostile.WORD).save(tmp_path / name)
    first, second = listing.expand([str(tmp_path)])
    os.unlink(second)
    assert not to_ink(first, 32).blank
    with pytest.raises(ImageError, match=r"b\.png cannot be opened: No such file"):
        to_ink(second, 32)


def test_a_folder_lists_only_what_is_a_file_and_each_once(images):
    from htr import listing

    paths = list(listing.expand([str(images[0])]))
    found = {os.path.basename(path) for path in paths}
    assert len(paths) < len(images[1])
    assert not found & {"fifo.png", "socket.png", "folder.png", "loop_a.png", "dangling.png", "device_zero.png"}
    assert "good_8.png" in found and os.fsdecode(b"\xff\xfe.png") in found


def test_parquet_output_takes_names_that_are_no_text(images, tmp_path):
    import pyarrow.parquet as pq

    folder, out = images[0], tmp_path / "words.parquet"
    paths = [folder / os.fsdecode(b"\xff\xfe.png"), folder / os.fsdecode(b"bad_\xe9.png"), folder / "good_8.png"]
    code, said, _ = run(tmp_path / "home", ["transcribe", *map(str, paths), "--format", "parquet", "--out", str(out)])
    rows = pq.read_table(out).to_pylist()
    assert code == 1 and [bool(row["error"]) for row in rows] == [False, True, False], said
    assert rows[0]["path"].endswith("\\udcff\\udcfe.png") and rows[0]["text"] == rows[2]["text"]

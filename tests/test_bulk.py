"""Bulk reading on a real Ray of two nodes: every row once, whoever dies meanwhile. Ray runs in processes of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from htr import blocks, bulk, cli

psutil = pytest.importorskip("psutil", reason="psutil is not installed; it comes with the extra test")
pytestmark = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'htr-words[ray]'")

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"
SECONDS = 240  # a busy machine starts Ray slowly

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
DRIVER = """
import json, sys
from htr import bulk
counts = bulk.read(**json.loads(sys.argv[1]))
print("counts", counts.rows, counts.failed, counts.kept)
"""


@pytest.fixture(scope="module")
def cluster():
    """(address, process) of a Ray cluster of two nodes with a CPU each."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", CLUSTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        said = iter(process.stdout.readline, "")
        address = next((line.split()[1] for line in said if line.startswith("address")), None)
        try:
            assert address, "the cluster did not start"
            yield address, process
        finally:
            process.stdin.close()
            process.wait(SECONDS)


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """A folder of two parquet files and a folder of images, in all 46 rows, three of them bad."""
    folder = tmp_path_factory.mktemp("words")
    images = sorted(SAMPLES.glob("*.jpg"))
    structs = [{"bytes": image.read_bytes(), "path": image.name} for image in images]
    structs[3] = {"bytes": b"no image", "path": "broken.jpg"}
    structs[4] = {"bytes": None, "path": None}
    parquet.write_table(pa.table({"image": structs, "text": ["?"] * 20}), folder / "a.parquet", row_group_size=7)
    parquet.write_table(pa.table({"image": [image.read_bytes() for image in images]}), folder / "b.parquet")
    (folder / "images").mkdir()
    for image in images[:5]:
        (folder / "images" / image.name).write_bytes(image.read_bytes())
    (folder / "images" / "cut.jpg").write_bytes(images[0].read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def expected(words) -> list[tuple]:
    """(file, row, text) as the reader says without Ray; no text for a bad row."""
    import htr
    from htr.images import ImageError

    rows = [("a.parquet", i, image) for i, image in enumerate(parquet.read_table(words / "a.parquet")["image"])]
    rows += [("b.parquet", i, image) for i, image in enumerate(parquet.read_table(words / "b.parquet")["image"])]
    rows = [(file, row, image.as_py()) for file, row, image in rows]
    rows += [(f"images/{image.name}", 0, str(image)) for image in sorted((words / "images").iterdir())]
    reader, found = htr.load(), []
    for file, row, image in rows:
        try:
            found.append((file, row, reader.transcribe(image).text))
        except ImageError:
            found.append((file, row, None))
    return found


def begin(cluster, **arguments) -> subprocess.Popen:
    """Start a driver on the cluster; arguments are those of bulk.read."""
    environment = os.environ | {"RAY_ADDRESS": cluster[0]}
    command = [sys.executable, "-c", DRIVER, json.dumps(arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def end(driver: subprocess.Popen) -> list[int]:
    """Wait for a driver -> rows, failed, kept."""
    said, _ = driver.communicate(timeout=SECONDS)
    counts = [line.split()[1:] for line in said.splitlines() if line.startswith("counts")]
    assert driver.returncode == 0 and counts, said
    return [int(count) for count in counts[0]]


def parts(out: Path) -> dict[str, int]:
    """The finished parts and when each was written, in ns."""
    return {part.name: part.stat().st_mtime_ns for part in sorted(out.glob("part-*.parquet"))}


def rows_of(out: Path, folder: Path) -> list[tuple]:
    """(file, row, text) of all parts in order."""
    rows = parquet.read_table(out).to_pylist()
    for row in rows:
        assert (row["text"] is None) == (row["error"] is not None) == (row["confidence"] is None)
    return [(str(Path(row["path"]).relative_to(folder)), row["row"], row["text"]) for row in rows]


def actors(cluster) -> list:
    """The processes on the cluster that read."""
    found = []
    for process in psutil.Process(cluster[1].pid).children(recursive=True):
        try:
            if "MapBatches(Reader)" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def stopped_in_the_middle(cluster, out: Path, driver: subprocess.Popen) -> list:
    """Wait until a run has finished some blocks and hold its actors there -> their processes."""
    until = time.monotonic() + SECONDS
    while len(parts(out)) < 2:
        assert time.monotonic() < until and driver.poll() is None, driver.communicate()[0]
        time.sleep(0.002)
    processes = actors(cluster)
    for process in processes:
        process.suspend()
    assert processes and len(parts(out)) < WORK["blocks"]
    return processes


WORK = {"block": 2, "blocks": 23}


def test_every_row_comes_out_once_in_order_with_the_reader_s_text(cluster, words, expected, tmp_path):
    out = tmp_path / "out"
    assert end(begin(cluster, paths=[str(words)], out=str(out), block=7, actors=2)) == [46, 3, 0]
    assert rows_of(out, words) == expected
    assert [row for row, (*_, text) in enumerate(expected) if text is None] == [3, 4, 43]
    assert len(parts(out)) == 7 and {each.name for each in out.iterdir()} == {"_run", *parts(out)}


def test_an_actor_that_is_killed_loses_and_doubles_nothing(cluster, words, expected, tmp_path):
    out = tmp_path / "out"
    with begin(cluster, paths=[str(words)], out=str(out), block=WORK["block"], actors=2) as driver:
        first, *others = stopped_in_the_middle(cluster, out, driver)
        first.kill()
        for process in others:
            process.resume()
        assert end(driver) == [46, 3, 0]
    assert rows_of(out, words) == expected
    assert len(parts(out)) == WORK["blocks"] and {each.name for each in out.iterdir()} == {"_run", *parts(out)}


def test_an_interrupted_run_goes_on_where_it_stopped(cluster, words, expected, tmp_path):
    out = tmp_path / "out"
    work = {"paths": [str(words)], "out": str(out), "block": WORK["block"], "actors": 2}
    with begin(cluster, **work) as driver:
        held = stopped_in_the_middle(cluster, out, driver)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(SECONDS)
    psutil.wait_procs(held, SECONDS)
    assert not actors(cluster)
    before = parts(out)
    rows, failed, kept = end(begin(cluster, **work))
    assert (rows, failed, kept) == (46, 3, 2 * len(before))
    after = parts(out)
    assert {name: after[name] for name in before} == before and len(after) == WORK["blocks"]
    assert rows_of(out, words) == expected


def test_the_command_says_what_it_read_and_nothing_else(cluster, words, expected, tmp_path):
    command = [sys.executable, "-m", "htr", "transcribe", str(words), "--engine", "ray", "--out", "out"]
    first, second = (
        subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"RAY_ADDRESS": cluster[0]}, capture_output=True, text=True
        )
        for _ in range(2)
    )
    assert (first.returncode, first.stdout, first.stderr) == (1, "out: 46 rows read, 3 with an error\n", "")
    assert second.stdout == "out: 46 rows read, 46 of them by an earlier run, 3 with an error\n"
    assert rows_of(tmp_path / "out", words) == expected


def test_what_stops_the_actors_is_one_sentence(cluster, words, tmp_path):
    out = tmp_path / "out"
    (out / "_run").mkdir(parents=True)
    work = {"paths": [str(words / "b.parquet")], "out": str(out), "block": 10}
    with begin(cluster, **work, actors=1) as driver:
        until = time.monotonic() + SECONDS
        while not (out / blocks.MANIFEST).is_file() and time.monotonic() < until:
            time.sleep(0.01)
        (out / "part-00000001.parquet").mkdir()  # a name that no part can take
        said, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 1
    last = said.splitlines()[-1]
    assert last.startswith("htr.blocks.BulkError: The actors cannot go on: [Errno 21] Is a directory")
    assert last.endswith(f"What is done stays in {out}; repair this and run the same again.")
    assert "part-00000000.parquet" in parts(out)


def test_a_node_that_goes_takes_nothing_with_it(cluster, words, expected, tmp_path):
    out = tmp_path / "out"
    with begin(cluster, paths=[str(words)], out=str(out), block=WORK["block"], actors=2) as driver:
        held = stopped_in_the_middle(cluster, out, driver)
        nodes = [child for child in psutil.Process(cluster[1].pid).children() if child.name() == "raylet"]
        assert len(nodes) == 2
        nodes[-1].kill()
        for process in held:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        assert end(driver) == [46, 3, 0]
    assert rows_of(out, words) == expected


# without Ray


def plan(out: Path, files: dict[str, int], block: int) -> blocks.Blocks:
    """The blocks of a run over parquet files of so many rows."""
    names, rows = [name.encode() for name in files], list(files.values())
    table = pa.table({"path": pa.array(names, pa.large_binary()), "rows": rows})
    settings = dict.fromkeys(blocks._MEANING, "same") | {"rows": sum(rows), "block": block}
    blocks.begin(out, table, settings, None)
    return blocks.Blocks(out)


def test_blocks_hold_every_row_once_and_in_order(tmp_path):
    files = {"a": 0, "b": 3, "c": 0, "d": 9, "e": 1, "f": 0}
    rows = [(name, row) for name, count in files.items() for row in range(count)]
    for block in (1, 2, 5, 13, 20):
        run = plan(tmp_path / str(block), files, block)
        pieces = [list(run.pieces(number)) for number in range(len(run))]
        assert [(name, row) for each in pieces for name, piece in each for row in piece] == rows
        assert [sum(len(piece) for _, piece in each) for each in pieces[:-1]] == [block] * (len(run) - 1)


def test_cells_of_some_rows_are_those_rows(tmp_path):
    file = str(tmp_path / "a.parquet")
    parquet.write_table(pa.table({"image": [str(i) for i in range(1000)]}), file, row_group_size=300)
    for rows in (range(1), range(299, 302), range(250, 1000), range(600, 600), range(1000)):
        assert list(blocks.cells(file, rows, "image")) == [str(row) for row in rows]


def test_a_damaged_part_is_not_done(tmp_path):
    run = plan(tmp_path, {"a": 4}, 2)
    rows = {"path": ["a", "a"], "row": [0, 1], "text": ["x", None], "confidence": [0.5, None], "error": [None, "bad"]}
    assert run.failed(0) is None
    parquet.write_table(pa.table(rows, schema=blocks.SCHEMA), run.part(0))
    assert run.failed(0) == 1
    run.part(0).write_bytes(run.part(0).read_bytes()[:-9])
    assert run.failed(0) is None
    parquet.write_table(pa.table(rows, schema=blocks.SCHEMA).slice(1), run.part(0))
    assert run.failed(0) is None


def test_a_block_that_kills_its_readers_is_named(tmp_path):
    run = plan(tmp_path, {"a": 4, "b": 4}, 3)
    for _ in range(bulk.ATTEMPTS):
        run.attempt(1, bulk.ATTEMPTS)
    with pytest.raises(blocks.BulkError, match="8 processes in a row died over 3 rows from row 3 of a on"):
        run.attempt(1, bulk.ATTEMPTS)
    run.forget(1)
    run.attempt(1, bulk.ATTEMPTS)


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    plan(tmp_path / "out", {"a": 4}, 2)
    plan(tmp_path / "out", {"a": 4}, 2)
    with pytest.raises(blocks.BulkError, match="was begun with another number of rows, other blocks; run what"):
        plan(tmp_path / "out", {"a": 5}, 3)
    (tmp_path / "out" / blocks.MANIFEST).write_text("{")
    with pytest.raises(blocks.BulkError, match="is damaged"):
        plan(tmp_path / "out", {"a": 4}, 2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(blocks.BulkError, match="holds files and no"):
        plan(tmp_path / "full", {"a": 4}, 2)
    with pytest.raises(blocks.BulkError, match="is a file"):
        plan(tmp_path / "full" / "notes.txt", {"a": 4}, 2)


def test_inputs_that_cannot_be_counted_are_refused(tmp_path):
    good, empty, short = (str(tmp_path / f"{name}.parquet") for name in ("good", "empty", "short"))
    parquet.write_table(pa.table({"scan": [1, 2]}), good)
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), empty)
    Path(short).write_bytes(Path(good).read_bytes()[:50])
    for file, column, sentence in (
        (good, "image", "has no column 'image', it has 'scan'; name one with --columns image=NAME"),
        (good, "scan", "column 'scan' holds int64, no images"),
        (empty, "image", "There is nothing to read"),
        (short, "image", "is not a readable parquet file"),
    ):
        with pytest.raises(ValueError, match=sentence):
            bulk.read([file], out=tmp_path / "out", column=column)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_its_tables_and_images_but_not_its_results(tmp_path):
    for name in ("b.png", "a.parquet", "metadata.parquet", "out/part-0.parquet", "deep/c.jpg", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list(blocks.expand([str(tmp_path), "-", "gone.png"], [f"{tmp_path}/d.txt\n"], tmp_path / "out"))
    names = ["a.parquet", "b.png", "deep/c.jpg", "d.txt"]
    assert found == [*(str(tmp_path / name) for name in names), os.path.abspath("gone.png")]


def test_wrong_flags_are_usage(capsys):
    for flags, sentence in (
        (["--engine", "ray"], "name it with --out FOLDER"),
        (["--engine", "ray", "--out", "o", "--format", "tsv"], "writes parquet, no tsv"),
        (["--engine", "ray", "--out", "o", "--lm", "a.arpa"], "without --lexicon, --lm and --top"),
        (["--engine", "ray", "--out", "o", "--columns", "text=label"], "write --columns image=NAME"),
        (["--actors", "2"], "--actors belongs to bulk reading"),
        (["--columns", "image=scan"], "--columns belongs to bulk reading"),
    ):
        assert cli.main(["transcribe", "words.parquet", *flags]) == 2
        assert sentence in capsys.readouterr().err


def test_without_ray_the_sentence_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(bulk, "find_spec", lambda name: None)
    assert cli.main(["transcribe", "words.parquet", "--engine", "ray", "--out", "out"]) == 1
    assert "pip install 'htr-words[ray]'" in capsys.readouterr().err

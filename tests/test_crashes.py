"""A run that is killed, whenever and however, goes on as if it had not been; what stops it is said in one sentence.

The short form runs with the other tests; HTR_SOAK=1 (`make soak`) kills 30 times, and at every call of a save.
"""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import htr
from htr import batches, checkpoint, samples
from htr.charset import Charset
from htr.images import Ink
from htr.metrics import edits
from htr.model import build_model
from htr.transcriber import Transcriber
from tests.conftest import render_word
from tests.crashing import SAVED, Run, Server, gone
from tests.test_transcriber import CONFIG

SOAK = os.environ.get("HTR_SOAK") == "1"
KILLS = 30 if SOAK else 3
EPOCHS = 6
TIMES = {"epoch_seconds", "seconds"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """words/ and held/: printed words of four kinds in many sizes."""
    folder, sizes = tmp_path_factory.mktemp("data"), random.Random(0)
    for name, count in {"words": 160, "held": 24}.items():
        (folder / name).mkdir()
        with open(folder / name / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["file_name", "text", "writer"])
            for i in range(count):
                text = ("l", "ao", "nla", "tom")[i % 4]
                render_word(text, size=sizes.randrange(24, 40)).save(folder / name / f"{i}.png")
                rows.writerow([f"{i}.png", text, f"w{i % 4}"])
    return folder


@pytest.fixture(scope="module")
def command(data):
    """command(out, *more) -> the arguments of a training run that ends in the same bits every time."""

    def command(out: Path, *more: str) -> list[str]:
        flags = f"--preset tiny --epochs {EPOCHS} --batch-size 4 --learning-rate 0.01 --ema 0.5 --augment 0.5"
        sources = ["train", str(data / "words"), "--validation", str(data / "held"), "--out", str(out)]
        return [*sources, *flags.split(), *more]

    return command


@pytest.fixture(scope="module")
def held(data) -> batches.Words:
    """The validation words as a run sees them."""
    return batches.read_words(samples.load(str(data / "held")).dataset, 32)


class Whole(NamedTuple):
    """The run that nothing stopped. last: the number of calls before the last epoch that kept its reader."""

    out: Path
    trace: list[str]
    seconds: float
    last: int


@pytest.fixture(scope="module")
def whole(server, command, tmp_path_factory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "run"
    begin = time.monotonic()
    run = server.begin(*command(out))
    assert run.result() == 0, run.told
    saves = " ".join(run.trace).replace(SAVED, SAVED + "\n").splitlines()
    kept = max(number for number, save in enumerate(saves[:-1]) if "rename config.json" in save)
    last = sum(len(save.split()) // 2 for save in saves[:kept])
    return Whole(out, run.trace, time.monotonic() - begin, last)


@pytest.fixture(scope="module")
def begun(server, command, whole, tmp_path_factory) -> Path:
    """The folder of a run that was killed as it began the save of that last epoch."""
    out = tmp_path_factory.mktemp("begun") / "run"
    run = server.begin(*command(out), die_at=whole.last + 1)
    assert run.result() == -signal.SIGKILL, run.told
    assert htr.load(out).training["validation_cer"] >= htr.load(whole.out).training["validation_cer"]
    return out


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def history(folder: Path) -> list[dict]:
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def partials(folder: Path) -> list[Path]:
    return list(folder.glob(".*partial*"))


def assert_ends_as(whole: Whole, out: Path) -> None:
    """Weights, history but for its times, config with the validation CER, and the state: bit for bit."""
    assert (out / "weights.npz").read_bytes() == (whole.out / "weights.npz").read_bytes()
    assert (out / "config.json").read_bytes() == (whole.out / "config.json").read_bytes()
    assert history(out) == history(whole.out) and len(history(out)) == EPOCHS
    ours, theirs = arrays(out / "state.npz"), arrays(whole.out / "state.npz")
    assert set(ours) == set(theirs)
    for name in set(ours) - {"state"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (out / "curve.png").exists() and not partials(out)


def assert_intact(out: Path, held: batches.Words) -> None:
    """What a killed run leaves is a checkpoint from the first one on, whose figures are those of its weights, and no
    heap of half-written files."""
    if (out / "config.json").exists() or (out / "state.npz").exists():
        reader = htr.load(out)
        read = [word.text for word in reader.transcribe([Ink(batches.floats(ink), 0.0, 1.0) for ink in held.inks])]
        cer = sum(map(edits, held.texts, read)) / sum(map(len, held.texts))
        assert cer == reader.training["validation_cer"]
    assert len(partials(out)) <= 1 and len(list(out.glob("weights-*.npz"))) <= 1


def said(run: Run) -> str:
    """The complaint of a run that failed: one sentence in one line, and no traceback anywhere."""
    assert run.result() in (1, 130, -signal.SIGINT), run.told
    assert "Traceback" not in run.told and "Exception ignored" not in run.told, run.told
    (sentence,) = [line for line in run.told.splitlines() if line.startswith("htr: ")]
    assert sentence.endswith(".")
    return sentence


# --- killed


class Moment(NamedTuple):
    """When to kill: so many seconds after a process saved so many epochs."""

    epochs: int
    seconds: float


def moments(whole: Whole, draw: random.Random):
    """Moments over the whole life of a process, and within its epochs."""
    while True:
        for epochs in range(3):
            reach = 2 * float(_seconds(whole)) if epochs else 0.7 * whole.seconds
            yield Moment(epochs, draw.uniform(0, reach))


def _seconds(whole: Whole) -> float:
    """How long an epoch and its save take, the first aside, in which the network is compiled."""
    with open(whole.out / "history.csv", newline="", encoding="utf-8") as file:
        rows = [float(row["seconds"]) for row in csv.DictReader(file)]
    return (rows[-1] - rows[0]) / (EPOCHS - 1)


def killed_at(run: Run, moment: Moment, *, feeders: bool) -> list[int] | None:
    """Kill a run at a moment, its feeders with it or not -> what its feeders were, or None where it ended before."""
    if not run.until(lambda: run.epochs >= moment.epochs) or run.ended(moment.seconds):
        return None
    children = run.feeders()
    run.kill()
    for child in children if feeders else []:
        os.kill(child, signal.SIGKILL)
    return children if run.result() == -signal.SIGKILL else None


def test_killed_at_any_moment_a_run_ends_as_the_unbroken_one(server, command, whole, held, tmp_path):
    draw, places, ended, orphans = random.Random(7), [], 0, []
    when = moments(whole, draw)
    while len(places) < KILLS:
        out = tmp_path / str(ended)
        while True:
            run = server.begin(*command(out, "--resume"))
            children = killed_at(run, next(when), feeders=draw.random() < 0.5) if len(places) < KILLS else None
            if children is None:
                break
            places.append(_place(run, children))
            orphans += children
            assert_intact(out, held)
            assert "Traceback" not in run.told, run.told
        assert run.result() == 0, run.told
        assert_ends_as(whole, out)
        ended += 1
    assert gone(orphans)
    counts = {place: places.count(place) for place in sorted(set(places))}
    print(f"\n{len(places)} kills in {ended} runs: {counts}; {len(orphans)} feeders, none left")


def _place(run: Run, children: list[int]) -> str:
    if run.trace and run.trace[-1] != SAVED:
        return "in a save, or at the end"
    if run.epochs:
        return "within an epoch"
    return "before the first epoch's end" if children else "before the feeders"


def test_a_save_may_end_between_any_two_of_its_calls(server, command, whole, begun, held, tmp_path):
    again = [f"{call} history.csv" for call in ("write", "fsync", "rename")]  # a resumed run brings it up to date
    calls = again + whole.trace[whole.last :]
    points = ["rename config.json", "rename weights.npz", "write state.npz", SAVED]  # one run, killed four times
    numbers = [[len(again) + whole.trace[whole.last :].index(point) + 1 for point in points]]
    if SOAK:
        numbers = [[number] for number in range(1, len(calls) + 1)]
    for row in numbers:
        out = tmp_path / f"after{row[0]}"
        shutil.copytree(begun, out)
        _die_and_resume(server, command, out, row, calls, whole, held)
    first = whole.trace[: whole.trace.index(SAVED) + 1]
    for number in range(1, len(first) + 1) if SOAK else []:
        _die_and_resume(server, command, tmp_path / f"first{number}", [number], first, whole, held)
    print(f"\n{sum(map(len, numbers)) + (len(first) if SOAK else 0)} calls of saves")


def _die_and_resume(server, command, out: Path, numbers: list[int], calls: list[str], whole: Whole, held) -> None:
    for number in numbers:
        run = server.begin(*command(out, "--resume"), die_at=number)
        assert run.result() == -signal.SIGKILL, run.told
        assert run.trace == calls[:number]
        assert_intact(out, held)
    run = server.begin(*command(out, "--resume"))
    assert run.result() == 0, run.told
    assert_ends_as(whole, out)


def test_a_run_in_the_folder_of_another_reader_leaves_one_of_the_two(server, command, whole, held, tmp_path):
    charset = Charset("xyz")
    Transcriber(build_model(CONFIG, charset.num_classes), charset, CONFIG).save(tmp_path / "other")
    before = checkpoint.load_weights(tmp_path / "other", charset)
    calls = whole.trace[: whole.trace.index(SAVED) + 1]
    decides = calls.index("rename config.json") + 1
    for number in range(1, len(calls) + 1) if SOAK else (decides, decides + 1):
        out = tmp_path / f"after{number}"
        shutil.copytree(tmp_path / "other", out)
        run = server.begin(*command(out), die_at=number)
        assert run.result() == -signal.SIGKILL, run.told
        assert run.trace == calls[:number]
        if number > decides:
            assert htr.load(out).charset.characters == htr.load(whole.out).charset.characters
            assert_intact(out, held)
        else:
            assert htr.load(out).charset.characters == "xyz"
            after = checkpoint.load_weights(out, charset)
            assert all(np.array_equal(after[name], values) for name, values in before.items())
    run = server.begin(*command(out, "--resume"))
    assert run.result() == 0, run.told
    assert_ends_as(whole, out)


def test_a_dead_process_leaves_nothing_half_written_for_long(server, command, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    assert len(partials(begun)) == 1
    other = tmp_path / "run" / f".model.onnx.{os.getpid()}.partial"  # this process lives: it is busy with that file
    other.touch()
    run = server.begin(*command(tmp_path / "run", "--resume"), die_at=1)
    assert run.result() == -signal.SIGKILL
    assert len(partials(tmp_path / "run")) == 2 and other in partials(tmp_path / "run")


# --- stopped by the system


@pytest.fixture
def small_disk(tmp_path):
    """A folder that can be full: a disk of its own where one may be mounted, else files may only get so large."""

    class Disk:
        place = tmp_path / "disk"

        def __init__(self):
            self.place.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.place)]
            self.mounted = bool(shutil.which("mount")) and not subprocess.run(mount, capture_output=True).returncode

        def fill(self, left: int) -> dict:
            """Leave so many bytes -> options of `Server.begin`."""
            if not self.mounted:
                return {"largest": left}
            with open(self.place / "filler", "wb", buffering=0) as file:
                while (more := shutil.disk_usage(self.place).free - left) >= 4096:
                    file.write(b"0" * more)
            return {}

        def clear(self) -> None:
            (self.place / "filler").unlink(missing_ok=True)

    disk = Disk()
    yield disk
    if disk.mounted:
        subprocess.run(["umount", "-l", str(disk.place)], check=True)


def test_a_full_disk_is_said_and_what_was_saved_stays(server, command, whole, begun, small_disk):
    fresh, out = small_disk.place / "fresh", small_disk.place / "run"
    shutil.copytree(begun, out)
    for path in partials(out):
        path.unlink()
    before = {name: (out / name).read_bytes() for name in ("state.npz", "history.csv")}
    epoch = len(history(out))
    weights, state = ((whole.out / name).stat().st_size for name in ("weights.npz", "state.npz"))
    limit = small_disk.fill(weights + (state - weights) // 2)  # the reader fits, the state does not
    run = server.begin(*command(out, "--resume"), **limit)
    assert "state.npz" in (sentence := said(run)) and f"after epoch {epoch}: go on with" in sentence
    assert {name: (out / name).read_bytes() for name in before} == before
    htr.load(out)
    assert not partials(out)
    small_disk.clear()
    limit = small_disk.fill(16_384)
    assert re.search(r"weights-\w{16}\.npz: it cannot be written", said(server.begin(*command(fresh), **limit)))
    assert not partials(fresh)
    small_disk.clear()
    run = server.begin(*command(out, "--resume"))
    assert run.result() == 0, run.told
    assert_ends_as(whole, out)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_learned(server, command, begun, tmp_path):
    (tmp_path / "file").touch()
    sentence = said(server.begin(*command(tmp_path / "file" / "run")))
    assert str(tmp_path / "file") in sentence and "another folder" in sentence
    out = tmp_path / "run"
    shutil.copytree(begun, out)
    out.chmod(0o500)
    try:
        run = server.begin(*command(out, "--resume"), obedient=True)
        assert str(out) in (sentence := said(run)) and "another folder" in sentence
        assert not run.trace
        sentence = said(server.begin(*command(out / "new"), obedient=True))
        assert str(out) in sentence and "another folder" in sentence
    finally:
        out.chmod(0o700)
    htr.load(out)


def test_lost_data_is_named_and_the_run_goes_on_when_it_is_back(server, command, data, whole, begun, tmp_path):
    out, aside = tmp_path / "run", tmp_path / "aside"
    shutil.copytree(begun, out)
    for lost in (data / "words", data / "words" / "metadata.csv", data / "words" / "3.png"):
        shutil.move(lost, aside)
        try:
            run = server.begin(*command(out, "--resume"))
            assert str(data / "words") in (told := said(run)) or "3.png" in run.told, told
            run = server.begin(*command(out, "--resume", "--skip-bad"))
            assert str(data / "words") in (told := said(run)) or "other settings (words)" in told
        finally:
            shutil.move(aside, lost)
        htr.load(out)
    run = server.begin(*command(out, "--resume"))
    assert run.result() == 0, run.told
    assert_ends_as(whole, out)


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2, 0.5, 1.0, 2.0] if SOAK else [0.0, 0.3])
def test_ctrl_c_twice_is_one_sentence(server, command, whole, held, gap, tmp_path):
    out = tmp_path / "run"
    run = server.begin(*command(out))
    assert run.until(lambda: run.epochs >= 2), run.told
    children = run.feeders()
    run.kill(signal.SIGINT)
    if not run.ended(gap):
        run.kill(signal.SIGINT)
    sentence = said(run)
    assert run.code in (130, -signal.SIGINT) and "stopped by the keyboard" in sentence  # a shell calls both codes 130
    assert gone(children)
    assert_intact(out, held)
    run = server.begin(*command(out, "--resume"))
    assert run.result() == 0, run.told
    assert_ends_as(whole, out)


def test_what_a_run_is_called_and_holds_is_json(whole):
    settings = json.loads((whole.out / "config.json").read_text(encoding="utf-8"))
    assert 0 < settings["training"]["validation_cer"] < 1 and settings["training"]["epoch"] > 1

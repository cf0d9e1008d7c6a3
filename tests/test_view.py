"""What a person sees of a training run: lines, a curve, TensorBoard; and what Ctrl+C and a second run meet."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import htr
from htr import cli, samples
from htr.plotting import curve
from htr.progress import Progress, examples, side_by_side


def words(folder, *flags):
    return ["train", str(folder), "--out", str(folder.parent / "run"), "--preset", "tiny", "--augment", "0", *flags]


def test_an_epoch_is_a_line_and_three_words_with_their_readings(word_folder, tmp_path, capsys):
    assert cli.main(words(word_folder, "--epochs", "2", "--validation", str(word_folder), "--tensorboard")) == 0
    told = capsys.readouterr()
    lines = told.err.splitlines()
    epochs = [place for place, line in enumerate(lines) if line.startswith("epoch ")]
    assert len(epochs) == 2
    references = [
        [pair.partition(" -> ")[0].strip() for pair in lines[place + 1].split("   ") if pair.strip()]
        for place in epochs
    ]
    assert references[0] == references[1] and len(references[0]) == 3
    picture = np.asarray(Image.open(tmp_path / "run" / "curve.png").convert("L"))
    assert picture.shape == (320, 640) and (picture < 200).sum() > 200


def test_the_time_left_counts_the_parts_before(word_folder, tmp_path):
    dataset, model = samples.load(word_folder).dataset, htr.preset("tiny")
    settings = {"minutes": 60, "augment": 0, "workers": 0}
    htr.train(dataset, out=tmp_path / "run", model=model, training=htr.TrainConfig(epochs=1, **settings))
    both = htr.TrainConfig(epochs=2, **settings)
    progress = Progress(both)
    htr.train(dataset, out=tmp_path / "run", model=model, training=both, resume=True, callbacks=[progress])
    spent = time.monotonic() - progress.begin
    assert spent >= float((tmp_path / "run" / "history.csv").read_text().splitlines()[-1].rpartition(",")[2])


def test_tensorboard_finds_the_rates_and_the_readings(word_folder, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard")
    assert (
        cli.main(words(word_folder, "--epochs", "2", "--validation", str(word_folder), "--tensorboard", "--quiet")) == 0
    )
    found = loader.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    assert {"loss", "cer", "learning_rate"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Scalars("cer")] == [1, 2]
    text = found.Tensors("readings/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text.startswith("| reference | reading |") and text.count("\n") >= 3


def test_quiet_leaves_the_result_alone(word_folder, capsys):
    assert cli.main(words(word_folder, "--epochs", "1", "--quiet", "--cache", str(word_folder.parent / "inks"))) == 0
    told = capsys.readouterr()
    assert not told.err.strip() and len(told.out.splitlines()) == 1 and "validation CER" in told.out


def test_the_words_shown_stay_the_same_however_few_there_are():
    class Model:
        readings = [("a", "b"), ("c", "c")]

    assert examples(Model()) == [("a", "b"), ("c", "c")]
    Model.readings = [(str(n), "") for n in range(100)]
    assert [text for text, _ in examples(Model())] == ["17", "51", "85"]
    assert examples(object()) == []


def test_readings_stay_in_their_places_and_within_the_line():
    before = side_by_side([("lake", ""), ("lane", "l"), ("house", "hou")], 100)
    after = side_by_side([("lake", "lake"), ("lane", "lane"), ("house", "house")], 100)
    assert before == "lake -> (nothing)        lane -> l                house -> hou"
    assert [before.index(text) for text in ("lake", "lane", "house")] == [
        after.index(text) for text in ("lake", "lane", "house")
    ]
    assert side_by_side([("lake", "lake"), ("lane", "lane")], 30) == "lake -> lake"
    assert side_by_side([("a" * 50, "b")], 30) == f"{'a' * 50} -> b"
    assert side_by_side([], 30) == ""


@pytest.mark.parametrize("rates", [[0.5], [1.0, 0.0], [3.0, 0.4, 0.1], [0.2] * 40])
def test_a_curve_can_be_drawn_of_any_run(rates):
    assert curve(rates, title="CER").size == (640, 320)


def begin(command, tmp_path):
    # where the tests run in the background of a shell, Ctrl+C is ignored, and what they start would inherit that
    code = (
        "import signal, sys; signal.signal(2, signal.default_int_handler); from htr.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_ctrl_c_keeps_what_was_learned_and_a_second_run_is_refused(word_folder, tmp_path, capsys):
    command = words(word_folder, "--epochs", "100000")
    process, state = begin(command, tmp_path), tmp_path / "run" / "state.npz"
    deadline = time.monotonic() + 300
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert cli.main([*command, "--resume"]) == 1
    assert "Another run writes" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    assert "--resume" in told.splitlines()[-1] and "Traceback" not in told
    epochs = len((tmp_path / "run" / "history.csv").read_text(encoding="utf-8").splitlines())
    assert cli.main(words(word_folder, "--epochs", str(epochs), "--resume")) == 0


def test_a_shell_gets_completions():
    pytest.importorskip("argcomplete", reason="argcomplete is not installed: pip install 'htr-words[completion]'")
    answer = subprocess.run(
        [sys.executable, "-c", "from htr.cli import main; main()"],
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "COMP_LINE": "htr tr",
            "COMP_POINT": "6",
            "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
        },
        capture_output=True,
        text=True,
    )
    assert {word.strip() for word in answer.stdout.replace("\x0b", "\n").splitlines()} >= {"train", "transcribe"}

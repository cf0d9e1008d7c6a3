"""The commands as a user meets them: output, files, exit codes."""

import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

import htr
from htr import cli, listing


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The folder of a reader that learned nothing: what it writes is arbitrary, but always the same."""
    from htr.model import build_model

    charset = htr.Charset("abcdeiklmnoprstw ")
    folder = tmp_path_factory.mktemp("reader")
    config = htr.preset("tiny")
    htr.Transcriber(build_model(config, charset.num_classes), charset, config).save(folder)
    return str(folder)


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"htr {htr.__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["read"],
        ["transcribe"],
        ["train", "words.csv"],
        ["synth", "a.parquet", "--words", "0"],
        ["check", "a.csv", "--columns", "picture=scan"],
        ["check", "a.csv", "--columns", "image"],
    ],
)
def test_wrong_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("usage: htr")


def test_a_run_without_an_end_is_wrong_usage(capsys):
    assert cli.main(["train", "words.csv", "--out", "run"]) == 2
    assert "give --epochs N, --minutes M" in capsys.readouterr().err


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "htr", "check", "nowhere.csv"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("htr: There is no file or folder nowhere.csv")
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("error, code", [(KeyboardInterrupt(), 130), (ValueError("a word"), 1), (OSError("a disk"), 1)])
def test_errors_are_one_sentence_on_stderr(error, code, capsys, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr(cli, "command", lambda name: fail)
    assert cli.main(["check", "a.csv"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("htr: ") and err.count("\n") == 1


def test_a_missing_file_is_named(tmp_path, capsys):
    missing = tmp_path / "none.txt"
    assert cli.main(["synth", str(tmp_path / "a.parquet"), "--words", "3", "--lexicon", str(missing)]) == 1
    assert capsys.readouterr().err == f"htr: {missing}: No such file or directory.\n"


def test_a_closed_pipe_is_quiet(word_folder, reader):
    command = f"{sys.executable} -m htr transcribe {word_folder} --checkpoint {reader} | head -n 1 >/dev/null"
    # jax, which other tests import, asks TensorFlow to chatter by a variable that children inherit
    shell = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=shell)
    assert (done.returncode, done.stderr) == (0, "")


# paths


def test_paths_are_files_folders_patterns_and_a_list(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "a.JPG", "deep/c.tif", "notes.txt"):
        (tmp_path / name).touch()
    folder = str(tmp_path)
    stdin = io.StringIO(f"{folder}/b.png\n\n{folder}/deep\n")
    assert list(listing.expand([folder])) == [f"{folder}/a.JPG", f"{folder}/b.png", f"{folder}/deep/c.tif"]
    assert list(listing.expand([f"{folder}/*.txt"])) == [f"{folder}/notes.txt"]
    assert list(listing.expand([f"{folder}/**/*.tif"])) == [f"{folder}/deep/c.tif"]
    assert list(listing.expand(["-", "x.png"], stdin=stdin)) == [f"{folder}/b.png", f"{folder}/deep/c.tif", "x.png"]


def test_a_file_with_a_pattern_in_its_name_is_a_file(tmp_path):
    (tmp_path / "a[1].png").touch()
    assert list(listing.expand([f"{tmp_path}/a[1].png"])) == [f"{tmp_path}/a[1].png"]


def test_a_pattern_and_a_folder_without_images_are_not_lost(tmp_path):
    assert list(listing.expand([f"{tmp_path}/*.png", str(tmp_path)])) == [f"{tmp_path}/*.png", str(tmp_path)]


# transcribe


def test_transcribe_gives_a_line_an_image_in_order(word_folder, reader, capsys):
    assert cli.main(["transcribe", str(word_folder), "--checkpoint", reader, "--format", "jsonl"]) == 0
    rows = lines(capsys)
    assert [row["path"] for row in rows] == [str(word_folder / f"{i}.png") for i in range(8)]
    for row in rows:
        assert 0 <= row["confidence"] <= 1
        assert "".join(c["character"] for c in row["characters"]) == row["text"]
        with Image.open(row["path"]) as image:
            width = image.width
        assert all(0 <= c["left"] < c["right"] <= width for c in row["characters"])


def test_transcribe_goes_on_after_a_bad_file(word_folder, reader, capsys):
    (word_folder / "3.png").write_bytes((word_folder / "3.png").read_bytes()[:60])
    (word_folder / "4.png").write_text("no image")
    (word_folder / "5.png").write_bytes(b"")
    paths = [str(word_folder), str(word_folder / "gone.png")]
    assert cli.main(["transcribe", *paths, "--checkpoint", reader, "--format", "jsonl"]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [i for i, row in enumerate(rows) if "error" in row] == [3, 4, 5, 8]
    assert all("text" not in row for row in rows if "error" in row)
    assert len(err.splitlines()) == 4 and "Traceback" not in err


def test_blank_paper_reads_as_empty_text(tmp_path, reader, capsys):
    Image.new("L", (200, 60), 255).save(tmp_path / "white.png")
    assert cli.main(["transcribe", str(tmp_path / "white.png"), "--checkpoint", reader, "--format", "jsonl"]) == 0
    (row,) = lines(capsys)
    assert (row["text"], row["characters"]) == ("", [])


def test_formats_hold_the_same_readings(word_folder, reader, tmp_path, capsys):
    import pyarrow.parquet

    found = {}
    for format in listing.FORMATS:
        out = tmp_path / f"out.{format}"
        argv = ["transcribe", str(word_folder), "--checkpoint", reader, "--format", format, "--out", str(out)]
        assert cli.main(argv) == 0
        found[format] = out
    assert capsys.readouterr().out == ""
    texts = found["text"].read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in found["jsonl"].read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == texts
    table = [line.split("\t") for line in found["tsv"].read_text(encoding="utf-8").splitlines()]
    assert table[0] == ["path", "text", "confidence"] and [row[1] for row in table[1:]] == texts
    columns = pyarrow.parquet.read_table(found["parquet"]).to_pydict()
    assert columns["text"] == texts and columns["error"] == [None] * 8
    assert [[c["character"] for c in row] for row in columns["characters"]] == [list(text) for text in texts]


def test_text_keeps_an_empty_line_for_a_bad_file():
    file = io.StringIO()
    sink = listing.Lines(file, "text")
    for row in ({"path": "a", "text": "one"}, {"path": "b", "error": "bad"}, {"path": "c", "text": "two"}):
        sink.write(row)
    assert file.getvalue() == "one\n\ntwo\n"


def test_parquet_needs_a_file(word_folder, reader, capsys):
    assert cli.main(["transcribe", str(word_folder), "--checkpoint", reader, "--format", "parquet"]) == 2
    assert "--out" in capsys.readouterr().err


def test_paths_come_from_standard_input(word_folder, reader, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{word_folder}/7.png\n{word_folder}/1.png\n"))
    assert cli.main(["transcribe", "-", "--checkpoint", reader, "--format", "jsonl"]) == 0
    assert [row["path"] for row in lines(capsys)] == [f"{word_folder}/7.png", f"{word_folder}/1.png"]


def test_no_such_reader_is_one_sentence(word_folder, tmp_path, capsys):
    assert cli.main(["transcribe", str(word_folder), "--checkpoint", str(tmp_path / "none")]) == 1
    assert "is no folder" in capsys.readouterr().err


# check, synth, evaluate, train


def test_check_names_bad_rows_and_counts_the_rest(word_folder, tmp_path, capsys):
    assert cli.main(["check", str(word_folder)]) == 0
    good = capsys.readouterr().out
    (word_folder / "2.png").write_text("no image")
    alphabet = tmp_path / "alphabet.txt"
    alphabet.write_text("abdeiklmnoprstw\n", encoding="utf-8")
    (tmp_path / "lone.csv").write_text(f"image,text\n{word_folder / '0.png'},tallx\n", encoding="utf-8")
    assert cli.main(["check", str(word_folder), str(tmp_path / "lone.csv"), "--alphabet", str(alphabet)]) == 1
    bad = capsys.readouterr().out
    assert "8" in good and "2.png" in bad and "'x'" in bad


def test_check_names_writers_that_two_splits_share(word_folder, capsys):
    import shutil

    copy = shutil.copytree(word_folder, word_folder.parent / "copy")
    assert cli.main(["check", str(word_folder), str(copy)]) == 1
    assert "writer w0" in capsys.readouterr().out


def test_synth_writes_words_that_the_rest_reads(tmp_path, capsys):
    out = tmp_path / "words.parquet"
    assert cli.main(["synth", str(out), "--words", "20", "--seed", "5", "--languages", "en"]) == 0
    assert "20 words" in capsys.readouterr().out
    assert cli.main(["check", str(out)]) == 0


def test_held_out_words_are_other_words_in_other_fonts(tmp_path, capsys):
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("ink\npaper\npen\nword\n", encoding="utf-8")
    train, test = str(tmp_path / "train.parquet"), str(tmp_path / "test.parquet")
    (tmp_path / "known.txt").write_text("Ink\npen\n", encoding="utf-8")
    assert cli.main(["synth", train, "--words", "12", "--lexicon", str(tmp_path / "known.txt")]) == 0
    assert cli.main(["synth", test, "--words", "24", "--lexicon", str(lexicon), "--held-out", train]) == 0

    from htr import samples, synth

    known, others = samples.load(train).dataset, samples.load(test).dataset
    assert {text.lower() for text in others["text"]} == {"paper", "word"}
    fonts = [{writer.split("-")[0] for writer in data["writer"]} for data in (known, others)]
    assert fonts[1] <= set(synth.HELD_OUT_STROKE_FONTS) and not fonts[0] & fonts[1]


def test_evaluate_prints_a_report_and_writes_json(word_folder, reader, tmp_path, capsys):
    out = tmp_path / "report.json"
    assert cli.main(["evaluate", str(word_folder), "--checkpoint", reader, "--json", str(out)]) == 0
    assert "CER" in capsys.readouterr().out
    record = json.loads(out.read_text(encoding="utf-8"))
    names = "cer cer_low cer_high wer word_accuracy words writers characters seconds checkpoint data"
    assert set(names.split()) <= set(record)
    assert (record["words"], record["writers"], record["checkpoint"]) == (8, 4, reader)
    assert record["data"] == str(word_folder)


def test_evaluate_stops_at_a_row_that_cannot_be_used(word_folder, reader, capsys):
    (word_folder / "2.png").write_text("no image")
    assert cli.main(["evaluate", str(word_folder), "--checkpoint", reader]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "2.png" in err


def test_train_writes_a_reader_that_transcribe_takes(word_folder, tmp_path, capsys):
    run = str(tmp_path / "run")
    argv = ["train", str(word_folder), "--out", run, "--preset", "tiny", "--batch-size", "4"]
    assert cli.main([*argv, "--epochs", "1"]) == 0
    out, err = capsys.readouterr()
    assert "writer" in out  # how it split
    assert "epoch   1" in err and "words/s" in err
    assert cli.main([*argv, "--epochs", "2", "--resume"]) == 0
    assert "epoch   2" in capsys.readouterr().err
    assert cli.main(["transcribe", str(word_folder / "0.png"), "--checkpoint", run]) == 0


def test_train_stops_at_bad_rows_or_lists_them(word_folder, tmp_path, capsys):
    (word_folder / "2.png").write_text("no image")
    with open(word_folder / "metadata.csv", "a", encoding="utf-8") as file:
        file.write("1.png,,w1\n")
    run = tmp_path / "run"
    argv = ["train", str(word_folder), "--out", str(run), "--preset", "tiny", "--epochs", "1"]
    assert cli.main(argv) == 1
    assert "--skip-bad" in capsys.readouterr().err
    assert cli.main([*argv, "--skip-bad"]) == 0
    listed = (run / "problems.csv").read_text(encoding="utf-8")
    assert "2.png" in listed and "empty" in listed

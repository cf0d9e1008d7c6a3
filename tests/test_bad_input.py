"""What is not a word gets one clear sentence, and every good word beside it is read."""

import io
import json
import re

import keras
import pytest
from PIL import Image

import htr
from htr.charset import Charset
from htr.cli import main
from htr.model import build_model
from htr.transcriber import Transcriber
from tests.conftest import render_word
from tests.test_transcriber import CONFIG
from tests.toy import toy_dataset


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    keras.utils.set_random_seed(0)
    charset = Charset("abelnot")
    reader = Transcriber(build_model(CONFIG, charset.num_classes), charset, CONFIG)
    reader.save(tmp_path_factory.mktemp("reader"))
    return reader


@pytest.fixture
def folder(tmp_path):
    """Good words around bad files -> the folder."""
    whole = io.BytesIO()
    render_word("noon").save(whole, "PNG")
    files = {
        "a_good.png": whole.getvalue(),
        "b_empty.png": b"",
        "c_cut.png": whole.getvalue()[: len(whole.getvalue()) // 2],
        "d_text.png": b"Dear Sir, this is a letter.",
        "z_good.png": whole.getvalue(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    Image.new("L", (1, 1), 0).save(tmp_path / "e_dot.png")
    Image.new("L", (90, 40), 255).save(tmp_path / "f_white.png")
    Image.new("L", (20_000, 40), 255).save(tmp_path / "g_strip.png")
    return tmp_path


def test_transcribe_reads_the_good_and_names_the_bad(folder, reader, tmp_path_factory, capsys):
    checkpoint = tmp_path_factory.mktemp("saved")
    reader.save(checkpoint)
    code = main(["transcribe", str(folder), "--checkpoint", str(checkpoint), "--format", "jsonl"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_name = {line["path"].rsplit("/", 1)[-1]: line for line in lines}
    assert code == 1 and list(by_name) == sorted(by_name) and len(lines) == 8
    assert by_name["a_good.png"]["text"] == by_name["z_good.png"]["text"] == reader.transcribe(render_word("noon")).text
    assert by_name["f_white.png"]["text"] == by_name["e_dot.png"]["text"] == ""
    for name, sentence in {
        "b_empty": "empty",
        "c_cut": "trunc|cut|damaged|decoded",
        "d_text": "image",
        "g_strip": "4,?096",
    }.items():
        error = by_name[f"{name}.png"]["error"]
        assert "text" not in by_name[f"{name}.png"] and f"{name}.png" in error and "\n" not in error
        assert re.search(sentence, error), error


def test_foreign_characters_and_long_labels_count_as_errors(reader):
    rows = toy_dataset(6).to_list()
    rows[0]["text"], rows[1]["text"] = "Öl", "a" * 300
    report = htr.evaluate(reader, type(toy_dataset(1)).from_list(rows, features=toy_dataset(1).features))
    assert (report.words, report.outside_alphabet, report.too_long) == (6, 1, 1)
    assert report.characters == sum(len(row["text"]) for row in rows)


def test_an_empty_dataset_is_an_error(reader):
    with pytest.raises(ValueError, match="empty|no rows|no words"):
        htr.evaluate(reader, toy_dataset(3).select([]))

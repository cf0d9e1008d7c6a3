"""Words cut out of lines: each crop holds its word and not its neighbours'; what is left out is listed."""

import csv
import io

import numpy as np
import pyarrow.parquet as parquet
import pytest
from datasets import Dataset, Features, Value
from datasets import Image as Feature
from PIL import Image

import htr
from htr import samples
from htr.align import align, align_lines
from htr.charset import Charset
from htr.config import ModelConfig
from htr.hand import new_hand
from htr.model import build_model
from htr.rows import Problem, Samples
from htr.synth import render, stroke_fonts
from htr.transcriber import Transcriber

TEXTS = ("over the garden wall", "nine lanterns were lit", "a letter from home")
TINY = ModelConfig(height=24, blocks=((6, 2, 2, 1), (8, 2, 2, 1)), columns=12, recurrent=(8,))


@pytest.fixture(scope="module")
def reader():
    return htr.load()


def rendered_line(text, *, font="rowmans", gap=28, rule=False):
    """text -> (line (height, width) uint8, the columns of each word's ink as (left, right))."""
    rng, places, font = np.random.default_rng(7), [], stroke_fonts()[font]
    hand = new_hand(rng, font.manner, strength=0)  # one pen for the whole line
    inks = [render(word, rng, font=font, hand=hand)[0] for word in text.split()]
    height = max(ink.shape[0] for ink in inks) + 8
    paper = np.zeros((height, 24))
    for ink in inks:
        columns = np.flatnonzero(ink.max(axis=0) > 0.25) + paper.shape[1]
        places.append((int(columns[0]), int(columns[-1]) + 1))
        paper = np.hstack([paper, np.pad(ink, ((height - 4 - len(ink), 4), (0, 0))), np.zeros((height, gap))])
    if rule:
        paper[-6] = np.maximum(paper[-6], 0.6)
    return np.rint(255 * (1 - paper)).astype(np.uint8), places


def encoded(array, **options):
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG", **options)
    return data.getvalue()


def dataset_of(*rows):
    """(bytes, text) each -> a dataset of lines as parquet files give them."""
    features = Features({"image": Feature(decode=False), "text": Value("string"), "writer": Value("string")})
    images = [{"bytes": data, "path": f"page-{i}.png"} for i, (data, _) in enumerate(rows)]
    columns = {"image": images, "text": [text for _, text in rows], "writer": [f"w{i}" for i in range(len(rows))]}
    return Dataset.from_dict(columns, features=features)


def lines_of(*texts, **options):
    return dataset_of(*((encoded(rendered_line(text, **options)[0]), text) for text in texts))


@pytest.mark.parametrize("rule", [False, True])
def test_a_crop_holds_its_word_and_not_its_neighbours(reader, rule):
    found = list(align_lines(reader, lines_of(*TEXTS, rule=rule)))
    for text, words in zip(TEXTS, found, strict=True):
        places = rendered_line(text)[1]
        assert [word.text for word in words] == text.split()
        assert [word.index for word in words] == list(range(len(words)))
        for word, (left, right) in zip(words, places, strict=True):
            assert left - 12 <= word.left <= left + 2 and right - 2 <= word.right <= right + 12, (text, word.text)
            assert word.image.width == word.right - word.left


def test_a_reader_without_a_space_cuts_at_the_same_places(reader):
    # the same network, its class for the space renamed: the first class of the alphabet stays the first
    spaceless = Transcriber(reader.model, Charset("\x01" + reader.charset.characters[1:]), reader.config)
    (expected,) = align_lines(reader, lines_of(TEXTS[1]))
    (words,) = align_lines(spaceless, lines_of(TEXTS[1]))
    assert [(word.text, word.left, word.right) for word in words] == [(w.text, w.left, w.right) for w in expected]


def test_words_are_surer_of_their_own_text_than_of_another(reader):
    image = encoded(rendered_line(TEXTS[1])[0])
    right, wrong = align_lines(reader, dataset_of((image, TEXTS[1]), (image, "nine galoshes were lit")))
    assert min(word.confidence for word in right) > 0.6
    assert wrong[1].confidence < 0.1
    assert min(wrong[0].confidence, wrong[3].confidence) > 0.6


def test_an_image_that_is_turned_by_its_exif_data_gives_upright_words(reader):
    image, _ = rendered_line(TEXTS[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    turned = encoded(np.rot90(image).copy(), exif=exif.tobytes())
    upright, words = align_lines(reader, dataset_of((encoded(image), TEXTS[0]), (turned, TEXTS[0])))
    for word, same in zip(words, upright, strict=True):
        np.testing.assert_array_equal(np.asarray(word.image), np.asarray(same.image))
        assert word.image.getexif().get(0x0112) is None
        assert word.confidence == pytest.approx(same.confidence, abs=1e-4)


def test_what_is_written_loads_as_words_to_train_on(reader, tmp_path, monkeypatch):
    monkeypatch.setattr("htr.align._ROWS", 5)
    out = tmp_path / "new" / "words.parquet"
    counts = align(lines_of(*TEXTS), reader, out=out, rejected=tmp_path / "rejected.csv", progress=list)
    dataset, problems = samples.load(out)
    assert (counts.lines, counts.words, counts.written, len(dataset), problems) == (3, 12, 12, 12, [])
    assert " ".join(dataset["text"]) == " ".join(TEXTS)
    assert dataset["writer"][3:5] == ["w0", "w1"]
    assert reader.transcribe(dataset[5]["image"]).text == "lanterns"
    stored = parquet.ParquetFile(out)
    assert stored.num_row_groups == 3
    table = stored.read()
    assert table.column_names == ["image", "text", "writer", "confidence", "line", "index"]
    assert Features.from_arrow_schema(table.schema)["image"] == Feature()
    last = table.to_pylist()[-1]
    assert (last["line"], last["index"], last["image"]["path"]) == ("page-2.png", 3, "page-2-03.png")
    assert 0.6 < last["confidence"] <= 1
    assert not list(out.parent.glob("*.part"))


def rejected_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_line_that_cannot_be_used_is_listed_with_its_reason(reader, tmp_path):
    line, _ = rendered_line("lit lit")
    dataset = dataset_of(
        (b"no image", "cut short"),
        (encoded(line), "lit lit"),
        (encoded(np.full((40, 200), 255, np.uint8)), "nothing here"),
        (encoded(line), " "),
        (encoded(line), "lit \u4e00"),
        (encoded(line), "m" * 80),
    )
    problems = [Problem("lines.csv", 9, "gone.png", "there is no such file")]
    out, rejected = tmp_path / "words.parquet", tmp_path / "rejected.csv"
    counts = align(Samples(dataset, problems), reader, out=out, rejected=rejected)
    rows = rejected_rows(rejected)
    assert [row["line"] for row in rows] == ["gone.png", *(f"page-{i}.png" for i in (0, 2, 3, 4, 5))]
    assert all(row["index"] == row["confidence"] == "" for row in rows)
    reasons = [
        "no such file",
        "no image that Pillow can read",
        "no ink",
        "text is empty",
        "holds '\u4e00'",
        "needs 159",
    ]
    for row, reason in zip(rows, reasons, strict=True):
        assert reason in row["reason"]
    assert (rows[0]["row"], rows[1]["row"], rows[1]["text"]) == ("9", "0", "cut short")
    assert (counts.lines, counts.words, counts.written) == (7, 9, 2)
    assert sum(counts.left_out.values()) == 7 and sum(counts.lines_left_out.values()) == 6
    assert counts.left_out["unreadable image"] == 2 and counts.lines_left_out["no text"] == 1


def test_words_below_the_threshold_are_listed_and_not_written(reader, tmp_path):
    out, rejected = tmp_path / "words.parquet", tmp_path / "rejected.csv"
    image = encoded(rendered_line(TEXTS[1])[0])
    options = {"out": out, "rejected": rejected}
    counts = align(dataset_of((image, "nine galoshes were lit")), reader, **options, threshold=0.5)
    (row,) = rejected_rows(rejected)
    assert (row["text"], row["index"], row["line"]) == ("galoshes", "1", "page-0.png")
    assert 0 <= float(row["confidence"]) < 0.5 and "below 0.5" in row["reason"]
    assert counts.left_out == {"below the threshold": 1} and not counts.lines_left_out
    assert samples.load(out).dataset["text"][:] == ["nine", "were", "lit"]
    assert align(dataset_of((image, "nine galoshes were lit")), reader, **options, threshold=0).written == 4


def test_a_word_that_is_not_on_the_line_is_left_out_and_its_neighbours_are_whole(reader):
    nothing, letter = (encoded(rendered_line(text, gap=60)[0]) for text in ("a home", "a i home"))
    long = "lanternslan"
    both = dataset_of((nothing, "a home"), (nothing, "a lanterns home"), (letter, f"a {long} home"))
    (a, home), empty, narrow = align_lines(reader, both)
    assert [words[1].kind for words in (empty, narrow)] == ["no ink", "does not fit"]
    assert narrow[1].reason.startswith(f"{long!r} needs 11 frames, the image gives")
    assert home.left - 2 <= empty[2].left <= home.left + 12
    for words in (empty, narrow):
        assert abs(words[0].left - a.left) <= 2 and abs(words[0].right - a.right) <= 2
        assert not words[0].reason and not words[2].reason
        assert words[1].confidence < 0.01


def test_a_line_in_colours_that_png_lacks_keeps_them(reader, tmp_path):
    data = io.BytesIO()
    Image.fromarray(rendered_line("lit lit")[0]).convert("CMYK").save(data, "TIFF")
    align(dataset_of((data.getvalue(), "lit lit")), reader, out=tmp_path / "w.parquet", rejected=tmp_path / "r.csv")
    word = samples.load(tmp_path / "w.parquet").dataset[0]["image"]
    assert Image.open(io.BytesIO(word["bytes"])).mode == "CMYK" and word["path"].endswith(".tiff")


def test_a_run_that_is_stopped_leaves_no_file_under_the_name(reader, tmp_path):
    def stop(rows):
        yield next(iter(rows))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(lines_of(*TEXTS), reader, out=tmp_path / "w.parquet", rejected=tmp_path / "r.csv", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


def test_what_cannot_align_is_refused(reader, tmp_path):
    files = {"out": tmp_path / "w.parquet", "rejected": tmp_path / "r.csv"}
    charset = Charset("aehlmnorst")
    speller = Transcriber(build_model(TINY, charset.num_classes), charset, TINY, "crossentropy")
    with pytest.raises(ValueError, match="'crossentropy', which ties no character to a place"):
        align(lines_of(TEXTS[0]), speller, **files)
    with pytest.raises(ValueError, match="lacks text: rename"):
        align(lines_of(TEXTS[0]).remove_columns("text"), reader, **files)
    with pytest.raises(ValueError, match="threshold is 1.5; give a confidence from 0 to 1"):
        align(lines_of(TEXTS[0]), reader, **files, threshold=1.5)
    assert not list(tmp_path.iterdir())

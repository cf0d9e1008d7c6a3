"""What check says of rows that load could not judge: pixels, alphabets, widths and hands."""

import csv
import io

import pytest
from PIL import Image

from htr.charset import Charset
from htr.images import to_ink
from htr.samples import check, load


def save(folder, rows, render):
    """rows of (file name, image or bytes, text, writer) -> an imagefolder."""
    folder.mkdir()
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "writer"])
        for name, image, text, writer in rows:
            image = render(text) if image is None else image
            if isinstance(image, bytes):
                (folder / name).write_bytes(image)
            else:
                image.save(folder / name)
            table.writerow([name, text, writer])
    return folder


def reasons(found) -> dict[int, str]:
    return {each.row: each.reason for each in found.problems}


def test_every_bad_row_is_named_with_its_reason_and_no_good_one(tmp_path, render):
    file = io.BytesIO()
    render("word").save(file, "PNG")
    rows = [
        ("good.png", None, "good", "a"),
        ("text.png", b"this is a letter, no picture", "word", "a"),
        ("cut.png", file.getvalue()[:150], "word", "a"),
        ("empty.png", b"", "word", "a"),
        ("dot.png", Image.new("L", (1, 1), 255), "word", "a"),
        ("white.png", Image.new("L", (90, 40), 255), "word", "a"),
        ("strip.png", Image.new("L", (20_000, 40), 255), "word", "a"),
        ("silent.png", render("word"), "", "a"),
        ("odd.png", None, "word€", "a"),
        ("last.png", None, "last", "b"),
    ]
    folder = save(tmp_path / "words", rows, render)
    found = check({"all": load(folder)}, charset=Charset("abcdefghijklmnopqrstuvwxyz"), height=32)
    said = reasons(found)
    assert sorted(said) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "no image that Pillow can read" in said[1]
    assert "cannot be decoded" in said[2]
    assert said[3] == "the image is empty (0 bytes)"
    assert said[4] == said[5] == "the image is blank, its text is 'word'"
    assert "MAX_WIDTH" in said[6]
    assert said[7] == "empty text"
    assert said[8] == "'word€' holds '€', which is outside of the alphabet"
    assert all(each.source == str(folder) and "\n" not in str(each) for each in found.problems)
    assert found.problems[0].path == str(folder / "text.png")
    assert (found.splits["all"].rows, found.splits["all"].usable) == (10, 2)


def test_a_label_that_cannot_fit_its_width_is_named(tmp_path, render):
    folder = save(tmp_path / "words", [("a.png", render("i"), "illiterate", ""), ("b.png", None, "fits", "")], render)
    width = to_ink(folder / "a.png", 32).pixels.shape[1]

    def fits(text: str, width: int) -> str | None:
        return f"{text!r} needs {len(text)} frames, the image gives {width // 8}." if width // 8 < len(text) else None

    found = check({"all": load(folder)}, height=32, fits=fits)
    assert reasons(found) == {0: f"'illiterate' needs 10 frames, the image gives {width // 8}"}


def test_a_writer_in_two_splits_makes_the_later_rows_problems(tmp_path, render):
    train = save(tmp_path / "train", [("0.png", None, "one", "a"), ("1.png", None, "two", "b")], render)
    test = save(tmp_path / "test", [("0.png", None, "three", "c"), ("1.png", None, "four", "b")], render)
    found = check({"train": load(train), "test": load(test)})
    assert [(each.source, each.row, each.reason) for each in found.problems] == [
        (str(test), 1, "writer b is in train too")
    ]
    assert found.shared == {"b": {"train": 1, "test": 1}}
    assert "writer b is in train (1 rows), test (1 rows)" in str(found)


def test_widths_characters_writers_and_marks_are_counted(word_folder):
    counts = check({"all": load(word_folder)}, height=32).splits["all"]
    assert (counts.rows, counts.usable) == (8, 8)
    assert counts.writers == {"w0": 2, "w1": 2, "w2": 2, "w3": 2}
    assert counts.characters["l"] == 4  # tall, eel, line
    widths = sorted(to_ink(path, 32).pixels.shape[1] for path in word_folder.glob("*.png"))
    assert (counts.percentiles()[0], counts.percentiles()[100]) == (widths[0], widths[-1])
    assert sorted(counts.widths) == widths


def test_rows_keep_the_number_of_their_source(tmp_path, render):
    rows = [("0.png", None, "", ""), ("1.png", None, "b", ""), ("2.png", b"no image", "c", ""), ("3.png", None, "", "")]
    rows = [(name, render("word") if image is None else image, text, "") for name, image, text, _ in rows]
    found = check({"all": load(save(tmp_path / "w", rows, render))})
    assert [each.row for each in found.problems] == [0, 2, 3]


def test_progress_sees_every_row(word_folder):
    seen = []
    check({"all": load(word_folder)}, progress=lambda rows: (seen.append(row["text"]) or row for row in rows))
    assert len(seen) == 8


def test_the_summary_is_for_reading(word_folder):
    text = str(check({"all": load(word_folder)}, height=32))
    assert "all: 8 rows, 8 usable" in text
    assert "4 writers" in text
    assert text.endswith("0 rows cannot be used")


@pytest.mark.parametrize("part", ["dhsd/validation", "copiste/validation"])
def test_real_handwriting_is_usable(shared_data, part):
    found = check({part: load(shared_data / f"{part}.parquet")}, height=40)
    assert found.problems == []
    assert len(found.splits[part].widths) == found.splits[part].rows

"""Corrections reach the rows that they were made for and no others, and say so where they cannot."""

import csv
import unicodedata

import pytest
from datasets import Dataset, Features, Image, Value

from htr.audit import Suspicion
from htr.corrections import Correction, apply, image_hash, propose, read, write
from htr.samples import load, split, to_parquet

TEXTS = ["tall", "word", "ink", "eel", "noon", "pad", "mask", "line"]  # of the fixture word_folder, in order
FEATURES = Features({"image": Image(decode=False), "text": Value("string"), "extra": Value("int64")})


def rows(*texts, images=None):
    """A dataset of words with other bytes each, unless given."""
    images = images or [f"image {row}".encode() for row in range(len(texts))]
    cells = [
        {"image": {"bytes": data, "path": None}, "text": text, "extra": row}
        for row, (data, text) in enumerate(zip(images, texts, strict=True))
    ]
    return Dataset.from_list(cells, features=FEATURES)


def key(data, row):
    return image_hash(data[row]["image"])


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_corrections_survive_the_file_letter_by_letter(tmp_path):
    path = tmp_path / "corrections.csv"
    made = [
        Correction('a "b", c', "é;\tß", "correct", "0123456789abcdef", "words/1.png", 1, "row 2 has the label 'x'"),
        Correction(" two\nlines ", "", "drop", "", "", 7),
        Correction("=1+1", "-1", "keep", "fedcba9876543210", "ü.png"),
    ]
    write(made, path)
    again = read(path)
    assert [vars(each) | {"line": 0} for each in again] == [vars(each) for each in made]
    assert [each.line for each in again] == [2, 4, 5]


def test_text_is_nfc_in_the_file_and_out_of_it(tmp_path):
    path, decomposed = tmp_path / "corrections.csv", unicodedata.normalize("NFD", "né")
    write([Correction(decomposed, decomposed, "correct", "00")], path)
    assert "né" in path.read_text(encoding="utf-8")
    table(path, f"hash,old,new,action\n00,{decomposed},{decomposed},correct\n")
    assert (read(path)[0].old, read(path)[0].new) == ("né", "né")
    data = rows(decomposed)
    changed, done = apply(data, [Correction("né", "nés", "correct", key(data, 0))])
    assert changed["text"][:] == ["nés"] and done.corrected == 1


def test_a_spreadsheet_may_have_saved_it(tmp_path):
    path = tmp_path / "corrections.csv"
    path.write_bytes("\ufeffrow;old;new;action\r\n3;Straße;Strasse; Correct \r\n".encode())
    assert read(path) == [Correction("Straße", "Strasse", "correct", row=3, line=2)]


def test_labels_are_corrected_rows_dropped_and_the_rest_left_alone():
    data = rows("a", "b", "c", "d")
    made = [
        Correction("b", "B", "correct", key(data, 1)),
        Correction("c", "", "drop", key(data, 2)),
        Correction("d", "x", "keep", key(data, 3)),
    ]
    changed, done = apply(data, made)
    assert changed["text"][:] == ["a", "B", "d"] and changed["extra"][:] == [0, 1, 3]
    assert changed.column_names == data.column_names and changed.features == data.features
    assert data["text"][:] == ["a", "b", "c", "d"]
    assert (done.corrected, done.dropped, done.kept, done.done, done.unknown) == (1, 1, 1, 0, [])
    assert str(done) == "1 labels corrected, 1 rows dropped, 1 kept as they are."


def test_exchanged_labels_go_both_ways_and_a_second_time_changes_nothing():
    data = rows("a", "b", "c")
    made = [Correction("a", "b", "correct", key(data, 0)), Correction("b", "a", "correct", key(data, 1))]
    changed, _ = apply(data, made)
    assert changed["text"][:] == ["b", "a", "c"]
    again, done = apply(changed, made)
    assert again["text"][:] == ["b", "a", "c"] and (done.corrected, done.done) == (0, 2)
    assert str(done).endswith("2 were correct already.")


def test_a_row_is_found_after_shuffling_splitting_and_packing(tmp_path, word_folder):
    data = load(word_folder).dataset
    made = propose(data, [Suspicion(3, "eel", "eels", 9.0, 9.0, 0.9, proposal="eels")])
    assert (made[0].action, made[0].row, made[0].path) == ("keep", 3, str(word_folder / "3.png"))
    made = [Correction("eel", "eels", "correct", made[0].hash)]
    to_parquet(data, tmp_path / "words.parquet")
    packed = load(tmp_path / "words.parquet").dataset
    for way in (data.shuffle(seed=1), packed, packed.select([6, 3]), packed.cast_column("image", Image())):
        changed, done = apply(way, made)
        assert done.corrected == 1 and "eels" in changed["text"] and "eel" not in changed["text"]
        assert [image_hash(each) for each in changed["image"]] == [
            image_hash(each) for each in way.cast_column("image", Image(decode=False))["image"]
        ]
    parted = [apply(part, made)[1] for part in split(packed, fraction=0.5)[:2]]
    assert sorted((each.corrected, len(each.unknown)) for each in parted) == [(0, 1), (1, 0)]


def test_without_a_hash_the_path_or_the_number_names_the_row(tmp_path, word_folder):
    data = load(word_folder).dataset
    path = table(tmp_path / "c.csv", "image,row,old,new,action\n3.png,,eel,eels,correct\n,4,noon,moon,correct\n")
    changed, done = apply(data, read(path))
    assert changed["text"][:] == [*TEXTS[:3], "eels", "moon", *TEXTS[5:]] and done.corrected == 2
    number = [Correction("noon", "moon", "correct", row=4)]
    later = data.select(range(3, 8))  # numbers count in the source
    assert apply(later, number)[0]["text"][1] == "moon"
    twice = load(word_folder).dataset.add_column("again", list(range(8)))
    from datasets import concatenate_datasets

    with pytest.raises(ValueError, match=r"line 3 is for 2 rows: row 4 does not tell; give the hash\."):
        apply(concatenate_datasets([twice, twice]), read(path)[1:])


def test_the_same_image_twice_is_corrected_where_the_label_is_the_old_one():
    data = rows("a", "b", "a", images=[b"same", b"same", b"same"])
    changed, done = apply(data, [Correction("a", "c", "correct", key(data, 0))])
    assert changed["text"][:] == ["c", "b", "c"] and done.corrected == 2


def test_a_label_that_was_not_looked_at_is_refused_with_both_texts():
    data = rows("a", "b")
    for action, new in (("correct", "y"), ("drop", "")):
        made = [Correction("b", "B", "correct", key(data, 1)), Correction("x", new, action, key(data, 0), "0.png", 0)]
        with pytest.raises(
            ValueError, match=r"^The text of row 0 \(0\.png\) is 'a', .* was made for 'x'; look"
        ) as caught:
            apply(data, made)
        assert "\n" not in str(caught.value)
    assert data["text"][:] == ["a", "b"]
    assert apply(data, [Correction("x", "y", "keep", key(data, 0))])[1].kept == 0


def test_two_minds_about_one_row_are_refused():
    data = rows("a", "b")
    made = [Correction("a", new, "correct", key(data, 0), line=line) for new, line in (("x", 2), ("y", 5))]
    with pytest.raises(ValueError, match="line 2 and line 5 are for the same row, .*, and differ; leave one"):
        apply(data, made)
    assert apply(data, [made[0], made[0]])[1].corrected == 1


def test_unknown_rows_are_named_and_the_others_corrected():
    data = rows("a", "b")
    made = [
        Correction("a", "A", "correct", key(data, 0)),
        Correction("q", "Q", "correct", "0" * 16, "q.png", 12),
        Correction("r", "", "drop", row=99),
    ]
    changed, done = apply(data, made)
    assert changed["text"][:] == ["A", "b"] and done.unknown == made[1:]
    assert "2 corrections are for rows that are not in this data: row 12 (q.png), row 99" in str(done)


def test_proposals_change_nothing_but_what_two_rows_bear_out(tmp_path):
    data = rows("b", "a", "tipo", "d", "e")
    found = [
        Suspicion(4, "e", "", float("inf"), float("inf"), 0.0, "image", "cannot be read", "e"),
        Suspicion(0, "b", "a", 9.0, 9.0, 0.9, "exchange", "exchange them", "a", 1),
        Suspicion(1, "a", "b", 8.0, 8.0, 0.9, "exchange", "exchange them", "b", 0),
        Suspicion(2, "tipo", "typo", 5.0, 5.0, 0.9, proposal="typo"),
        Suspicion(3, "d", "o", 4.0, 4.0, 0.9, "moved", "may have slipped", "o", 2),
    ]
    write(propose(data, found), tmp_path / "corrections.csv")
    with open(tmp_path / "corrections.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["action"] for line in lines] == ["drop", "correct", "correct", "keep", "keep"]
    assert (lines[3]["row"], lines[3]["old"], lines[3]["new"]) == ("2", "tipo", "typo")
    changed, done = apply(data, read(tmp_path / "corrections.csv"))
    assert changed["text"][:] == ["a", "b", "tipo", "d"]
    assert (done.corrected, done.dropped, done.kept) == (2, 1, 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has the columns none; old, new, action and one of hash, image, row are needed"),
        ("old,new,action\na,b,drop\n", "has the columns old, new, action; old, new, action and one of"),
        ("row,old,new,action\n1,a,b,fix\n", "line 2 has the action 'fix'; write correct, drop or keep"),
        ("row,old,new,action\n1,a,b,keep\n1,a, ,correct\n", "line 3 corrects 'a' to an empty text"),
        ("row,old,new,action\none,a,b,drop\n", "line 2 has the row 'one'; write its number"),
        ("row,hash,old,new,action\n,,a,b,drop\n", "line 2 names no row; give its hash"),
        ("row,old,new,action\n1,a,b\n", "line 2 has another number of fields than the header"),
        ("row,old,new,action\n1,a,b,c,drop\n", "line 2 has another number of fields than the header"),
    ],
)
def test_files_that_say_nothing_clear_are_refused_with_their_line(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read(table(tmp_path / "corrections.csv", text))
    assert "corrections.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_file_or_no_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "gone.csv")
    (tmp_path / "latin1.csv").write_bytes("row,old,new,action\n1,é,e,correct\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is not UTF-8 text \(byte 21\); save it as UTF-8"):
        read(tmp_path / "latin1.csv")
    with pytest.raises(ValueError, match="lacks image"):
        apply(Dataset.from_dict({"text": ["a"]}), [])


def test_an_image_without_bytes_has_no_hash(tmp_path):
    assert image_hash(None) == image_hash({"bytes": None, "path": str(tmp_path / "gone.png")}) == ""
    (tmp_path / "a.png").write_bytes(b"abc")
    assert image_hash({"bytes": None, "path": str(tmp_path / "a.png")}) == image_hash({"bytes": b"abc", "path": None})

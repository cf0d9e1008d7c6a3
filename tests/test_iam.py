"""A small database in IAM's own layout, rendered here."""

import numpy as np
import pytest

from htr.images import read_image
from htr.samples import load, load_all

WORDS = """#--- words.txt ---------------------------------------------------------------#
# format: a01-000u-00-00 ok 154 1 408 768 27 51 AT A
a01-000u-00-00 ok 154 408 768 27 51 AT A
a01-000u-00-01 err 154 507 766 213 48 NN MOVE
a01-000u-01-00 ok 156 395 932 441 100 CD 3|000
a01-000x-00-00 ok 156 901 -1 147 79 # #
b02-045-00-00 ok 156 1112 958 42 42 NP Cafe\u0301
b02-045-00-01 er 156 1 2 3 4 NN x y
"""
FORMS = "# forms.txt\na01-000u 000 2 prt 7 5 52 36\nb02-045 200 2 prt 7 5 52 36\n"


@pytest.fixture
def iam(tmp_path, render):
    folder = tmp_path / "iam"
    (folder / "ascii").mkdir(parents=True)
    (folder / "xml").mkdir()
    (folder / "ascii" / "words.txt").write_text(WORDS, encoding="utf-8")
    for index, line in enumerate(WORDS.splitlines()[2:]):
        name = line.split()[0]
        place = folder / "words" / name.split("-")[0] / "-".join(name.split("-")[:2])
        place.mkdir(parents=True, exist_ok=True)
        image = render("word")
        image.putpixel((0, 0), index)  # whose picture it is
        image.save(place / f"{name}.png")
    xml = '<?xml version="1.0" encoding="iso-8859-1"?>\n<form id="a01-000u" writer-id="{}"><line text="&amp;"/></form>'
    (folder / "xml" / "a01-000u.xml").write_text(xml.format("000"))
    (folder / "xml" / "a01-000x.xml").write_text(xml.format("007"))
    return folder


def lists(folder):
    task = folder / "task"
    task.mkdir()
    (task / "trainset.txt").write_text("a01-000u-00\na01-000u-01\n")
    (task / "validationset1.txt").write_text("a01-000x\n")
    (task / "testset.txt").write_text("b02-045-00\nb02-045-01\n")


def test_words_come_with_text_writer_mark_and_their_own_image(iam):
    found = load(f"iam:{iam}").dataset
    assert found["text"][:] == ["A", "MOVE", "3 000", "#", "Café", "x y"]
    assert found["writer"][:] == ["000", "000", "000", "007", None, None]
    assert found["segmentation"][:] == ["ok", "err", "ok", "ok", "ok", "err"]
    assert [np.asarray(read_image(image))[0, 0] for image in found["image"]] == [0, 1, 2, 3, 4, 5]


def test_forms_txt_names_writers_where_no_xml_does(iam):
    (iam / "ascii" / "forms.txt").write_text(FORMS)
    assert load(f"iam:{iam}").dataset["writer"][:] == ["000", "000", "000", "007", "200", "200"]


def test_splits_follow_the_official_lists_of_lines_or_forms(iam):
    lists(iam)
    parts = {split: load(f"iam:{iam}:{split}") for split in ("train", "validation", "test")}
    assert {name: part.dataset["text"][:] for name, part in parts.items()} == {
        "train": ["A", "MOVE", "3 000"],
        "validation": ["#"],
        "test": ["Café", "x y"],
    }
    assert parts["train"].problems == []
    assert [str(each) for each in parts["test"].problems] == [
        f"iam:{iam}:test row 2 (b02-045-01): testset.txt lists b02-045-01, words.txt has no word of it"
    ]


def test_the_list_that_is_missing_is_named_and_none_is_invented(iam):
    with pytest.raises(FileNotFoundError, match=r"trainset\.txt is missing in .*IAM's train split"):
        load(f"iam:{iam}:train")
    lists(iam)
    with pytest.raises(FileNotFoundError, match=r"validationset2\.txt is missing"):
        load(f"iam:{iam}:validation2")


def test_rows_that_cannot_be_used_are_counted(iam):
    (iam / "words/a01/a01-000u/a01-000u-00-01.png").write_bytes(b"")  # IAM as it is published holds such files
    (iam / "words/a01/a01-000u/a01-000u-01-00.png").unlink()
    with open(iam / "ascii" / "words.txt", "a", encoding="utf-8") as file:
        file.write("b02-045-01-00 ok 156 1 2\nb02-045/../../x-00 ok 156 1 2 3 4 NN x\n")
    found = load(f"iam:{iam}")
    assert len(found.dataset) + len(found.problems) == 8
    assert [(each.row, each.reason) for each in found.problems] == [
        (1, "the image is empty (0 bytes)"),
        (2, "there is no such file"),
        (6, "line 9 of words.txt is not 'id ok|err grey x y w h tag text'"),
        (7, "line 10 of words.txt is not 'id ok|err grey x y w h tag text'"),
    ]


def test_what_is_not_there_gets_one_sentence(iam, tmp_path):
    with pytest.raises(ValueError, match="no split 'dev'; choose train, validation, validation2, test"):
        load(f"iam:{iam}:dev")
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        load(f"iam:{tmp_path}/nowhere:train")
    with pytest.raises(FileNotFoundError, match=r"words\.txt is missing"):
        load(f"iam:{iam / 'words'}")
    (iam / "words").rename(iam / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no folder words/"):
        load(f"iam:{iam}")


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ('<!DOCTYPE form [<!ENTITY e "x">]><form writer-id="&e;"/>', "holds a DOCTYPE"),
        ('<form writer-id="000"<', "is not well-formed XML"),
    ],
)
def test_the_words_of_a_damaged_form_are_named_and_the_others_read(iam, xml, says):
    (iam / "xml" / "a01-000u.xml").write_text(xml)
    found = load(f"iam:{iam}")
    assert found.dataset["text"][:] == ["#", "Café", "x y"]
    assert [problem.row for problem in found.problems] == [0, 1, 2]
    assert all("writer is not known" in p.reason and says in p.reason for p in found.problems)
    (iam / "ascii" / "forms.txt").write_text(FORMS)  # knows the writer without it
    assert load(f"iam:{iam}").dataset["writer"][:] == ["000", "000", "000", "007", "200", "200"]


def test_iam_joins_other_data(iam, word_folder):
    found = load_all([f"iam:{iam}", word_folder])
    assert len(found.dataset) == 14
    assert found.dataset["segmentation"][6:] == [None] * 8

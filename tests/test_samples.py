"""Every kind of source, as real files: nothing vanishes, nothing is swapped, every refusal is one sentence."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value, load_dataset
from PIL import Image as Pillow

from htr import columnar, samples
from htr.images import read_image
from htr.samples import Problem, load, load_all, split, to_parquet, write_problems

DECOMPOSED = "e\u0301te\u0301"  # été as some keyboards write it
TEXTS = ["noon", "été", "a b", '"']


def png(shade: int) -> bytes:
    """A picture that is all one shade: whose it is can be read off any pixel."""
    file = io.BytesIO()
    Pillow.new("L", (6, 4), shade).save(file, "PNG")
    return file.getvalue()


def shades(dataset) -> list[int]:
    return [int(np.asarray(read_image(image))[0, 0]) for image in dataset["image"]]


def pictures(folder, count: int = 4, first: int = 10) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"{index}.png").write_bytes(png(first + index))
    return [f"{index}.png" for index in range(count)]


def parquet(path, images, texts, **others):
    table = {"image": pa.array(images), "text": texts, **others}
    pq.write_table(pa.table(table), path)
    return path


def structs(count: int = 4) -> list[dict]:
    return [{"bytes": png(10 + index), "path": f"{index}.png"} for index in range(count)]


def accounted(found, rows: int) -> bool:
    """Every row of the source is in the dataset or among the problems, once."""
    numbers = [*found.dataset["row"], *(each.row for each in found.problems)]
    return sorted(numbers) == list(range(rows))


# --- parquet and arrow


def test_parquet_keeps_images_with_their_texts(tmp_path):
    path = parquet(tmp_path / "a.parquet", structs(), TEXTS, writer=["w1", "w1", "w2", None], other=[1, 2, 3, 4])
    found = load(path)
    assert found.dataset.column_names == ["image", "text", "writer", "source", "row"]
    assert found.dataset["text"][:] == TEXTS
    assert found.dataset["writer"][:] == ["w1", "w1", "w2", None]
    assert shades(found.dataset) == [10, 11, 12, 13]
    assert found.dataset[1]["image"] == structs()[1]
    assert found.problems == []
    assert found.dataset.features["image"] == Image(decode=False)


def test_bad_rows_of_parquet_are_named_and_the_others_stay_in_place(tmp_path):
    images = [*structs(), None, {"bytes": b"", "path": "5.png"}, {"bytes": None, "path": "gone.png"}]
    texts = ["a", "", None, "d", "e", "f", "g"]
    path = parquet(tmp_path / "a.parquet", images, texts)
    found = load(path)
    assert accounted(found, 7)
    assert shades(found.dataset) == [10, 13]
    assert found.dataset["text"][:] == ["a", "d"]
    assert [(each.row, each.reason) for each in found.problems] == [
        (1, "empty text"),
        (2, "no text"),
        (4, "no image"),
        (5, "the image is empty (0 bytes)"),
        (6, "there is no such file"),
    ]
    assert str(found.problems[0]) == f"{path} row 1 (1.png): empty text"
    assert found.problems[4].path == str(tmp_path / "gone.png")


def test_text_is_nfc(tmp_path):
    found = load(parquet(tmp_path / "a.parquet", structs(1), [DECOMPOSED]))
    assert found.dataset["text"][0] == "été"


def test_numbers_are_text_and_other_types_are_problems(tmp_path):
    whole = load(parquet(tmp_path / "a.parquet", structs(1), [1871], writer=pa.array([7.0])))
    assert (whole.dataset["text"][0], whole.dataset["writer"][0]) == ("1871", "7")
    half = load(parquet(tmp_path / "b.parquet", structs(2), [0.5, float("nan")]))
    assert [each.reason for each in half.problems] == ["the text is of type float, no string", "no text"]


def test_paths_and_plain_bytes_in_parquet_are_images_too(tmp_path):
    names = pictures(tmp_path / "pages")
    as_paths = load(parquet(tmp_path / "a.parquet", [f"pages/{name}" for name in names], TEXTS))
    as_bytes = load(parquet(tmp_path / "b.parquet", [png(40 + i) for i in range(4)], TEXTS))
    assert shades(as_paths.dataset) == [10, 11, 12, 13]
    assert shades(as_bytes.dataset) == [40, 41, 42, 43]


def test_large_strings_many_row_groups_and_masks_load(tmp_path):
    table = pa.table(
        {
            "image": structs(),
            "text": pa.array(TEXTS, pa.large_string()),
            "mask": [None, structs()[0], None, structs()[3]],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    found = load(tmp_path / "a.parquet").dataset
    assert shades(found) == [10, 11, 12, 13]
    assert [mask and mask["path"] for mask in found["mask"]] == [None, "0.png", None, "3.png"]


def test_a_missing_mask_is_a_problem_of_its_row(tmp_path):
    masks = [{"bytes": None, "path": "gone.png"}, structs()[0]]
    found = load(parquet(tmp_path / "a.parquet", structs(2), ["a", "b"], mask=masks))
    assert [(each.row, each.reason) for each in found.problems] == [(0, "mask: there is no such file")]


def test_other_column_names_are_mapped(tmp_path):
    pq.write_table(pa.table({"scan": structs(), "label": TEXTS, "text": ["no"] * 4}), tmp_path / "a.parquet")
    found = load(tmp_path / "a.parquet", columns={"image": "scan", "text": "label"})
    assert found.dataset["text"][:] == TEXTS


def test_class_labels_read_as_their_names(tmp_path):
    features = Features({"image": Image(), "text": ClassLabel(names=["le", "de"])})
    data = Dataset.from_dict({"image": structs(2), "text": [1, 0]}, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").dataset["text"][:] == ["de", "le"]


def test_arrow_files_of_both_formats_load(tmp_path):
    table = pa.table({"image": structs(), "text": TEXTS})
    with pa.ipc.new_file(tmp_path / "file.arrow", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    for name in ("file.arrow", "stream.arrow"):
        found = load(tmp_path / name).dataset
        assert (shades(found), found["text"][:]) == ([10, 11, 12, 13], TEXTS)


def test_a_saved_dataset_folder_loads(tmp_path):
    data = Dataset.from_dict(
        {"image": structs(), "text": TEXTS}, features=Features(image=Image(), text=Value("string"))
    )
    data.select([2, 0]).save_to_disk(tmp_path / "saved")
    found = load(tmp_path / "saved").dataset
    assert (shades(found), found["text"][:]) == ([12, 10], ["a b", "noon"])


def test_a_parquet_file_beyond_memory_goes_through_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "_IN_MEMORY", 10)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = load(parquet(tmp_path / "a.parquet", structs(), TEXTS)).dataset
    assert (shades(found), found["text"][:]) == ([10, 11, 12, 13], TEXTS)


# --- CSV, TSV, JSONL


def table(path, text: str, encoding: str = "utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_csv_takes_any_usual_delimiter(tmp_path, delimiter):
    pictures(tmp_path / "img")
    rows = [["path", "text", "writer"], *[[f"img/{i}.png", text, f"w{i}"] for i, text in enumerate(TEXTS)]]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows(rows)
    found = load(table(tmp_path / "words.csv", file.getvalue()))
    assert found.dataset["text"][:] == TEXTS
    assert found.dataset["writer"][:] == ["w0", "w1", "w2", "w3"]
    assert shades(found.dataset) == [10, 11, 12, 13]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, encoding):
    pictures(tmp_path)
    found = load(table(tmp_path / "words.csv", f"path,text\r\n0.png,{DECOMPOSED}\r\n", encoding))
    assert found.dataset["text"][:] == ["été"]


def test_an_encoding_error_names_file_and_line(tmp_path):
    path = table(tmp_path / "words.csv", "path,text\na.png,noon\nb.png,été\n", "latin-1")
    with pytest.raises(ValueError, match=r"words\.csv line 3 is not utf-8 text \(byte 0xe9\); save it as UTF-8\."):
        load(path)


def test_bad_lines_of_a_csv_swallow_no_good_ones(tmp_path):
    pictures(tmp_path)
    lines = ["path,text", "0.png,a", '1.png,"open', "", "2.png,b,c", "3.png,d", ",e", "gone.png,f", "0.png,  ", "1.png"]
    found = load(table(tmp_path / "words.csv", "\n".join(lines)))
    assert accounted(found, 8)
    assert (found.dataset["text"][:], shades(found.dataset)) == (["a", "d"], [10, 13])
    assert [(each.row, each.reason.split(":")[-1].strip()) for each in found.problems] == [
        (1, "a quote is not closed"),
        (2, "quote fields that hold the delimiter"),
        (4, "no image"),
        (5, "there is no such file"),
        (6, "empty text"),
        (7, "quote fields that hold the delimiter"),
    ]
    assert "line 5 has 3 fields, the header 2" in found.problems[1].reason


def test_a_tsv_may_hold_quotes_as_they_are_or_quoted(tmp_path):
    pictures(tmp_path)
    plain = load(table(tmp_path / "plain.tsv", 'path\ttext\n0.png\t"\n1.png\t"so"\n2.png\t5" wide\n'))
    quoted = load(table(tmp_path / "quoted.tsv", 'path\ttext\n0.png\t""""\n1.png\t"""so"""\n2.png\t"5"" wide"\n'))
    assert plain.dataset["text"][:] == quoted.dataset["text"][:] == ['"', '"so"', '5" wide']


def test_jsonl_rows_are_named_by_place(tmp_path):
    pictures(tmp_path)
    rows = [
        {"path": "1.png", "text": "a\u2028b"},
        {"path": "0.png"},
        {"path": "0.png", "text": ["x"]},
        {"path": "0.png", "text": 12, "writer": 7},
        {"text": "no path"},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    found = load(table(tmp_path / "words.jsonl", "\n".join([*lines, "{cut", "[1]"])))
    assert accounted(found, 7)
    assert (found.dataset["text"][:], shades(found.dataset)) == (["a\u2028b", "12"], [11, 10])
    assert found.dataset["writer"][:] == [None, "7"]
    reasons = {each.row: each.reason for each in found.problems}
    assert (reasons[1], reasons[2], reasons[4]) == ("no text", "the text is of type list, no string", "no image")
    assert reasons[5].startswith("line 6 is not JSON")
    assert reasons[6] == "line 7 is not a JSON object"


def test_paths_are_relative_to_the_table_and_may_be_absolute(tmp_path, monkeypatch):
    pictures(tmp_path / "data" / "img")
    path = table(tmp_path / "data" / "words.csv", f"path,text\nimg/0.png,a\n{tmp_path / 'data/img/1.png'},b\n")
    monkeypatch.chdir(tmp_path)
    assert shades(load(path).dataset) == [10, 11]
    assert shades(load("data/words.csv").dataset) == [10, 11]


# --- folders


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_imagefolder_makes_a_parquet_with_the_pixels_inside(tmp_path, kind):
    names = pictures(tmp_path / "folder")
    rows = {"file_name": names[::-1], "text": TEXTS, "writer": ["a", "a", "b", "b"]}
    path = tmp_path / "folder" / f"metadata.{kind}"
    data = Dataset.from_dict(rows)
    if kind == "parquet":
        data.to_parquet(path)
    else:
        (data.to_csv(path, index=False) if kind == "csv" else data.to_json(path))
    folder = load(tmp_path / "folder")
    assert (folder.problems, folder.dataset["text"][:], shades(folder.dataset)) == ([], TEXTS, [13, 12, 11, 10])

    to_parquet(folder.dataset, tmp_path / "words.parquet")
    for name in names:
        (tmp_path / "folder" / name).unlink()
    again = load(tmp_path / "words.parquet")
    assert (again.problems, again.dataset["text"][:], shades(again.dataset)) == ([], TEXTS, [13, 12, 11, 10])
    assert again.dataset["writer"][:] == ["a", "a", "b", "b"]
    assert again.dataset["image"][0]["path"] == "3.png"
    assert [path.name for path in tmp_path.glob("words*")] == ["words.parquet"]


def test_a_parquet_that_is_written_opens_in_datasets_with_decoded_images(tmp_path, word_folder):
    to_parquet(load(word_folder).dataset, tmp_path / "words.parquet")
    data = load_dataset("parquet", data_files=str(tmp_path / "words.parquet"), cache_dir=tmp_path / "c", split="train")
    assert data.column_names == ["image", "text", "writer"]
    assert data[0]["image"].size == read_image(word_folder / "0.png").size


def test_an_image_that_has_gone_leaves_no_half_a_parquet(tmp_path, word_folder):
    data = load(word_folder).dataset
    (word_folder / "5.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"5\.png"):
        to_parquet(data, tmp_path / "words.parquet")
    assert list(tmp_path.glob("words.parquet*")) == []


def test_images_without_a_row_are_problems_behind_the_rows(tmp_path):
    pictures(tmp_path / "f")
    table(tmp_path / "f" / "metadata.csv", "file_name,text\n0.png,a\n./1.png,b\ngone.png,c\n2.png,\n")
    found = load(tmp_path / "f")
    assert accounted(found, 5)
    assert [(each.row, each.reason) for each in found.problems][-1] == (4, "no text: metadata.csv has no row for it")
    assert found.problems[-1].path == str(tmp_path / "f" / "3.png")


def test_a_folder_of_splits_asks_for_one(tmp_path):
    pictures(tmp_path / "f" / "train")
    table(tmp_path / "f" / "train" / "metadata.csv", "file_name,text\n0.png,a\n")
    with pytest.raises(ValueError, match=r"its folders train have: give .*train"):
        load(tmp_path / "f")


# --- the hub, through the real datasets.load_dataset on a folder of the same name


@pytest.fixture
def hub(tmp_path, monkeypatch):
    (tmp_path / "owner" / "words" / "data").mkdir(parents=True)
    parquet(tmp_path / "owner/words/data/train-0.parquet", structs(), TEXTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "owner" / "words" / "data"


def test_a_hub_dataset_loads_with_one_split_or_the_named_one(hub):
    found = load("hf://owner/words").dataset
    assert (shades(found), found["text"][:]) == ([10, 11, 12, 13], TEXTS)
    assert shades(load("hf://owner/words:train[1:3]").dataset) == [11, 12]


def test_a_hub_dataset_of_two_splits_asks_for_one(hub):
    parquet(hub / "test-0.parquet", structs(1), ["x"])
    with pytest.raises(ValueError, match=r"has the splits train, test; name one, as in hf://owner/words:train"):
        load("hf://owner/words")
    assert load("hf://owner/words:test").dataset["text"][:] == ["x"]


def test_a_hub_dataset_of_two_configs_asks_for_one(hub):
    for name in ("lines", "words"):
        (hub.parent / name).mkdir()
        parquet(hub.parent / name / "train.parquet", structs(1), [name])
    configs = [{"config_name": name, "data_files": f"{name}/*.parquet"} for name in ("lines", "words")]
    (hub.parent / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    with pytest.raises(ValueError, match=r"has the configs lines, words; name one, as in hf://owner/words/lines\.$"):
        load("hf://owner/words")
    assert load("hf://owner/words/words").dataset["text"][:] == ["words"]
    assert load("hf://owner/words/lines:train").dataset["text"][:] == ["lines"]


@pytest.mark.parametrize("source", ["hf://owner", "hf://a/b/c/d", "hf:///b", "hf://a/b/"])
def test_a_hub_name_has_an_owner(source):
    with pytest.raises(ValueError, match="write hf://owner/name"):
        load(source)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"hf://nobody/nothing:train cannot be loaded from the hub: .*\.$") as caught:
        load("hf://nobody/nothing:train")
    assert "\n" not in str(caught.value)


# --- refusals


def test_wrong_sources_get_one_sentence(tmp_path):
    pictures(tmp_path / "plain")
    cases = {
        str(tmp_path / "gone.parquet"): "There is no file or folder",
        str(table(tmp_path / "a.docx", "x")): "is of no kind that is read; give a parquet",
        str(tmp_path / "plain"): "has no metadata.csv",
        str(table(tmp_path / "a.csv", "scan,label\n0.png,a\n")): "no column 'image' for image, it has 'scan', 'label'",
        str(table(tmp_path / "b.csv", "path,path,text\n0.png,a,b\n")): "names the column 'path' twice",
        str(table(tmp_path / "c.csv", "path,text\n")): "has no rows",
        str(table(tmp_path / "d.csv", "")): "has no rows",
        str(table(tmp_path / "e.jsonl", "")): "has no rows",
        str(table(tmp_path / "cut.parquet", "PAR1 and no more")): "is not a readable parquet file",
        str(table(tmp_path / "cut.arrow", "no arrow at all")): "is not a readable arrow file",
        str(parquet(tmp_path / "f.parquet", [1, 2], ["a", "b"])): "column 'image' holds int64, no images",
        str(parquet(tmp_path / "g.parquet", pa.array([], pa.binary()), pa.array([], pa.string()))): "has no rows",
    }
    for source, sentence in cases.items():
        with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
            load(source)
        assert "\n" not in str(caught.value)
        assert source in str(caught.value)


def test_a_mapping_to_what_is_not_there_tells_what_is(tmp_path):
    path = parquet(tmp_path / "a.parquet", structs(), TEXTS)
    with pytest.raises(ValueError, match=r"no column 'label' for text, it has 'image', 'text'; .*--columns text=NAME"):
        load(path, columns={"text": "label"})
    with pytest.raises(ValueError, match="no column 'label' to map; image, text"):
        load(path, columns={"label": "text"})


# --- several sources, parts, problems


def test_sources_join_in_order_with_none_for_what_one_lacks(tmp_path):
    one = parquet(tmp_path / "a.parquet", structs(2), ["a", ""], writer=["w", "w"])
    names = pictures(tmp_path / "img", first=50)
    two = table(tmp_path / "b.csv", "path,text\n" + "".join(f"img/{name},{i}\n" for i, name in enumerate(names)))
    found = load_all([one, two])
    assert shades(found.dataset) == [10, 50, 51, 52, 53]
    assert found.dataset["writer"][:] == ["w", None, None, None, None]
    assert found.dataset["source"][:] == [str(one)] + [str(two)] * 4
    assert found.problems == [Problem(str(one), 1, "1.png", "empty text")]
    assert samples.problem(found.dataset, 2, "odd") == Problem(str(two), 1, str(tmp_path / "img/1.png"), "odd")


def test_problems_are_written_as_csv(tmp_path):
    write_problems([Problem("a.csv", 3, "é.png", 'no "text", none')], tmp_path / "problems.csv")
    with open(tmp_path / "problems.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"source": "a.csv", "row": "3", "path": "é.png", "reason": 'no "text", none'}
        ]


def by_writers(writers: list):
    rows = len(writers)
    return Dataset.from_dict({"text": [str(i) for i in range(rows)], "writer": writers})


def test_a_split_shares_no_writer_and_loses_no_row():
    data = by_writers([f"w{i % 13}" for i in range(200)])
    train, validation, how = split(data, fraction=0.2)
    assert set(train["writer"]) & set(validation["writer"]) == set()
    assert sorted([*train["text"], *validation["text"]], key=int) == data["text"][:]
    assert 20 <= len(validation) <= 40
    assert how.startswith(f"Split by writer: {len(train)} rows to train and {len(validation)} to validate (seed 0)")


def test_a_split_follows_its_seed_alone():
    data = by_writers([f"w{i % 13}" for i in range(200)])
    parts = {seed: split(data, seed=seed)[1]["text"][:] for seed in range(5)}
    assert parts == {seed: split(data, seed=seed)[1]["text"][:] for seed in range(5)}
    assert len({tuple(part) for part in parts.values()}) > 1


def test_rows_without_a_writer_are_split_by_row_and_it_says_so():
    _, validation, how = split(by_writers([None] * 50).remove_columns("writer"))
    assert len(validation) == 5
    assert how.startswith("Split by row") and "no writer is known" in how
    _, validation, how = split(by_writers(["w"] * 50))
    assert len(validation) == 5 and "all are by one writer, w" in how
    train, validation, how = split(by_writers(["v"] * 30 + ["w"] * 5 + [None] * 15))
    assert set(train["writer"]) & set(validation["writer"]) <= {None}
    assert "15 rows without one" in how


def test_even_two_hands_of_many_words_are_parted():
    train, validation, _ = split(by_writers(["a"] * 60 + ["b"] * 40))
    assert (set(train["writer"]), set(validation["writer"])) == ({"a"}, {"b"})


def test_too_little_cannot_be_split():
    with pytest.raises(ValueError, match="1 row cannot be split"):
        split(by_writers(["a"]))
    with pytest.raises(ValueError, match="above 0 and below 1"):
        split(by_writers(["a", "b"]), fraction=1)


def test_real_handwriting_loads_whole(shared_data):
    found = load_all([shared_data / "dhsd/test.parquet", shared_data / "copiste/test.parquet"])
    assert (len(found.dataset), found.problems) == (776 + 1210, [])
    table = pq.read_table(shared_data / "copiste/test.parquet")
    assert found.dataset[776 + 1000]["image"] == table["image"][1000].as_py()
    assert found.dataset[776 + 1000]["text"] == table["text"][1000].as_py()

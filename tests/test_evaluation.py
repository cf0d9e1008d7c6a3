"""The reader here is the real one, untrained: what it reads is nonsense, but always the same nonsense.

References are made from its own readings by a known number of edits, so that every figure can be computed by hand.
"""

import io
import json

import keras
import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture

import htr
from htr import metrics
from htr.charset import Charset
from htr.config import preset
from htr.evaluation import WORST, Report, evaluate
from htr.model import build_model
from htr.transcriber import Transcriber

WORDS = ["mask", "noon", "line", "tall", "eel", "padding"]


@pytest.fixture(scope="module")
def reader():
    keras.utils.set_random_seed(0)
    charset = Charset.from_texts(WORDS)
    model = build_model(preset("tiny"), charset.num_classes)
    head = model.layers[-1]
    head.set_weights([30 * weights for weights in head.get_weights()])  # else it reads the same class everywhere
    return Transcriber(model, charset, preset("tiny"))


@pytest.fixture(scope="module")
def images(render):
    return [png(render(word)) for word in WORDS]


@pytest.fixture(scope="module")
def read(reader, images):
    """What the reader reads in each image: non-empty, without spaces."""
    texts = [transcription.text for transcription in reader.transcribe(images)]
    assert all(texts) and len(set(texts)) > 1
    return texts


def png(picture) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def table(images, texts, writers=None, paths=None, decode=False) -> Dataset:
    features = {"image": Image(decode=decode), "text": Value("string")}
    paths = paths or [None] * len(images)
    columns = {"image": [{"bytes": b, "path": p} for b, p in zip(images, paths, strict=True)], "text": texts}
    if writers is not None:
        features["writer"], columns["writer"] = Value("string"), writers
    return Dataset.from_dict(columns, features=Features(features))


def test_figures_agree_with_those_by_hand(reader, images, read):
    # q is in no reading: appending n of them makes exactly n edits
    references = [read[0], read[1] + "q", read[2] + "qq q", *read[3:]]
    report = evaluate(reader, table(images, references))
    characters = sum(map(len, references))
    assert (report.words, report.characters) == (6, characters)
    assert report.cer == pytest.approx(5 / characters)
    assert report.wer == pytest.approx(3 / 7)  # one reference has two words, and both are missed
    assert report.word_accuracy == pytest.approx(4 / 6)
    assert report.rows.edits.tolist() == [0, 1, 4, 0, 0, 0]
    assert report.cer == htr.cer(references, report.rows.hypotheses)


def test_evaluation_reads_what_a_user_reads(reader, images, read):
    report = evaluate(reader, table(images, WORDS), batch_size=2)
    assert report.rows.hypotheses == read
    assert report.rows.confidences == pytest.approx([t.confidence for t in reader.transcribe(images)], rel=1e-3)


def test_a_dataset_that_would_decode_its_images_gives_the_same(reader, images, read):
    report = evaluate(reader, table(images, WORDS, decode=True))
    assert report.rows.hypotheses == read


def test_intervals_are_by_writer_and_say_of_how_many(reader, images, read):
    references = [read[0] + "q", read[1] + "q", *read[2:]]
    report = evaluate(reader, table(images, references, writers=["u", "u", "v", "v", "w", "w"]))
    assert (report.writers, report.interval_by) == (3, "writer")
    for name, (low, high) in report.intervals.items():
        assert 0 <= low <= getattr(report, name) <= high <= 1
    assert report.intervals["word_accuracy"][0] == 0  # all three draws may be u
    expected = metrics.interval(report.rows.edits, report.rows.lengths, list("uuvvww"))
    assert report.intervals["cer"] == expected
    assert "6 words, 3 writers" in str(report) and "interval by writer" in str(report)


@pytest.mark.parametrize(
    "writers, number, why",
    [
        (None, None, "no writers are known"),
        ([None] * 6, None, "no writers are known"),
        (["w"] * 6, 1, "only 1 writer is known"),
    ],
)
def test_without_two_writers_intervals_are_by_word_and_say_so(reader, images, writers, number, why):
    report = evaluate(reader, table(images, WORDS, writers))
    assert (report.writers, report.interval_by) == (number, "word")
    assert f"Intervals are by word, as {why}" in str(report)


def test_rows_without_a_writer_stand_for_themselves(reader, images):
    report = evaluate(reader, table(images, WORDS, ["u", "u", "v", None, None, ""]))
    assert report.writers == 2
    assert report.rows.groups == ["writer u", "writer u", "writer v", 3, 4, 5]


def test_what_cannot_be_read_right_counts_as_wrong_with_its_number(reader, images, read):
    references = [read[0] + "€", "a" * 200, *read[2:]]
    report = evaluate(reader, table(images, references))
    assert (report.words, report.outside_alphabet, report.too_long) == (6, 1, 1)
    assert report.characters == sum(map(len, references))
    assert report.rows.edits[0] == 1
    assert report.rows.edits[1] >= 200 - len(read[1])
    assert "1 word with characters outside the alphabet, counted as errors" in str(report)
    assert "1 word too long for the image, counted as errors" in str(report)


def test_a_word_without_ink_counts_with_its_whole_text(reader, images, read):
    blank = png(Picture.new("L", (60, 40), 255))
    report = evaluate(reader, table([blank, images[1]], ["abc", read[1]]))
    assert (report.rows.hypotheses[0], report.rows.edits[0], report.too_long) == ("", 3, 1)


def test_plain_cer_forgives_case_and_punctuation_alone(reader, images, read):
    references = [read[0].upper() + "!", "q" + read[1], *read[2:]]
    report = evaluate(reader, table(images, references))
    assert report.cer > report.plain_cer
    assert report.plain_cer == pytest.approx(1 / (sum(map(len, references)) - 1))
    assert evaluate(reader, table(images[:1], ["?!"])).plain_cer is None


def test_unseen_texts_are_reported_apart(reader, images, read):
    references = [read[0] + "q", *(text + "é" for text in read[1:3]), *read[3:]]
    seen = [text for text in references if text != references[1]]
    decomposed = [text.replace("é", "e\u0301") for text in seen]
    report = evaluate(reader, table(images, references), train_texts=decomposed)
    rows = [text == references[1] for text in references]
    assert report.unseen_words == sum(rows)
    assert report.unseen_cer == pytest.approx(1 / len(references[1]))
    assert "with a text not seen in training" in str(report)
    all_seen = evaluate(reader, table(images, references), train_texts=references)
    assert (all_seen.unseen_words, all_seen.unseen_cer) == (0, None)
    unknown = evaluate(reader, table(images, references))
    assert (unknown.unseen_words, unknown.unseen_cer) == (None, None)


def test_worst_words_come_with_row_and_writer(reader, images, read):
    references = [read[0], read[1] + "q", read[2] + "qqq", *read[3:]]
    worst = evaluate(reader, table(images, references, list("uvwuvw"))).worst
    assert [(miss.row, miss.writer, miss.edits) for miss in worst] == [(2, "w", 3), (1, "v", 1)]
    assert (worst[0].reference, worst[0].hypothesis) == (references[2], read[2])


def test_the_list_of_worst_words_is_short(reader, images):
    report = evaluate(reader, table(images[:1] * (WORST + 5), ["q" * 9] * (WORST + 5)))
    assert len(report.worst) == WORST < report.words
    assert sum("'qqqqqqqqq'" in line for line in str(report).splitlines()) == WORST


def test_a_report_survives_json(reader, images):
    report = evaluate(reader, table(images, WORDS, list("uvwuvw")), train_texts=["mask"], data="toy")
    record = json.loads(json.dumps(report.to_json()))
    needed = "cer cer_low cer_high wer word_accuracy words writers characters seconds checkpoint data worst"
    assert set(needed.split()) <= set(record)
    assert record["cer_low"] <= record["cer"] <= record["cer_high"]
    assert (record["words"], record["writers"], record["data"]) == (6, 3, "toy")
    assert record["checkpoint"] == reader.name
    assert record["worst"][0]["reference"] == report.worst[0].reference
    assert report.seconds > 0 and report.words_per_second == pytest.approx(6 / report.seconds)


def test_two_reports_can_be_compared_row_by_row(reader, images, read):
    data = [read[0] + "q", *read[1:]]
    a, b = (evaluate(reader, table(images, texts, list("uvwuvw"))) for texts in (data, data))
    assert isinstance(a, Report)
    assert metrics.paired(a.rows.edits, b.rows.edits, a.rows.lengths, a.rows.groups) == (0, 0, 0)


def test_an_unreadable_row_stops_it_by_row_and_path(reader, images):
    data = table([images[0], images[1][:60], images[2]], WORDS[:3], paths=["a.png", "cut.png", "c.png"])
    with pytest.raises(ValueError, match=r"Row 1 \(cut\.png\) cannot be read: .*`htr check`"):
        evaluate(reader, data)
    with pytest.raises(ValueError, match="Row 0 .*no path"):
        evaluate(reader, table([b"not an image"], ["a"]))


def test_a_dataset_without_rows_or_columns_is_refused(reader, images):
    with pytest.raises(ValueError, match="empty"):
        evaluate(reader, table([], []))
    with pytest.raises(ValueError, match=r"columns image, label and lacks text.*--columns"):
        evaluate(reader, table(images, WORDS).rename_column("text", "label"))


def test_an_image_may_be_a_path(reader, images, read, tmp_path):
    for index, image in enumerate(images):
        (tmp_path / f"{index}.png").write_bytes(image)
    paths = [str(tmp_path / f"{index}.png") for index in range(len(images))]
    report = evaluate(reader, table([None] * len(images), read, paths=paths))
    assert (report.cer, report.word_accuracy, report.worst) == (0, 1, [])
    assert np.all(report.rows.edits == 0)

"""Wrong labels come first, exchanged ones find their image, no row is lost; and the page that shows them."""

import io
import re

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture

import htr
from htr import audit_page
from htr.audit import audit, cross_fit, parts, trainer
from htr.charset import BLANK, Charset
from htr.config import ModelConfig, TrainConfig
from htr.ctc import ctc_loss
from htr.images import to_ink
from htr.samples import load
from htr.synth import words
from htr.transcriber import Transcriber
from tests.toy import toy_dataset

WORDS = """
tall word ink noon pad mask line bird stone river cloud amber maple winter silver garden window orange travel market
""".split()
FEATURES = Features({"image": Image(decode=False), "text": Value("string"), "writer": Value("string")})


class Crafted(Transcriber):
    """A reader whose logits are made by hand: it sees in an image what is written there, in `sure` logits a frame."""

    def __init__(self, dataset, written, *, objective="ctc", sure=6.0, alphabet=""):
        charset = Charset.from_texts([*written, alphabet])
        super().__init__(None, charset, ModelConfig(height=32), objective)
        self.written, self.sure, self.seen = {}, sure, []
        for image, text in zip(dataset["image"], written, strict=True):
            try:
                self.written[to_ink(image, 32).pixels.tobytes()] = text
            except ValueError:
                continue

    def logits(self, images, batch_size=64, pad_to=None):
        return [self._peaks(ink) for ink in images]

    def _peaks(self, ink):
        ids = self.charset.encode(self.written[ink.pixels.tobytes()]).tolist()
        self.seen.append(self.charset.decode(ids))
        path = [*ids, 1] if self.objective.name == "crossentropy" else [c for each in ids for c in (each, BLANK)]
        frames = self.config.frames(ink.pixels.shape[1])
        logits = np.random.default_rng(len(ids)).normal(0, 0.3, (frames, self.charset.num_classes))
        logits[np.arange(frames), (path + [BLANK] * frames)[:frames]] += self.sure
        return logits.astype(np.float32)


@pytest.fixture(scope="module")
def pages(render):
    """pages(words) -> the encoded images of printed words, each wide enough for any reading of it."""

    def encode(text):
        file = io.BytesIO()
        render(text, size=40).save(file, "PNG")
        return file.getvalue()

    return lambda texts: [{"bytes": encode(text), "path": f"{text}.png"} for text in texts]


def dataset(images, labels, writers=None):
    writers = writers or ["w"] * len(labels)
    rows = zip(images, labels, writers, strict=True)
    return Dataset.from_list([dict(zip(FEATURES, row, strict=True)) for row in rows], features=FEATURES)


def judged(pages, written, labels, writers=None, **options):
    """row -> Suspicion of crafted readings, and the rows in their rank."""
    data = dataset(pages(written), labels, writers)
    found = audit(Crafted(data, written, **options), data)
    return {each.row: each for each in found}, [each.row for each in found]


def swapped(texts, *pairs):
    texts = list(texts)
    for i, j in pairs:
        texts[i], texts[j] = texts[j], texts[i]
    return texts


def test_every_row_has_a_place_and_wrong_labels_come_first(pages):
    labels = list(WORDS)
    labels[4], labels[12] = "pat", "mople"
    found, order = judged(pages, WORDS, labels, alphabet="ps")
    assert sorted(order) == list(range(20)) and set(order[:2]) == {4, 12}
    assert (found[12].text, found[12].reading, found[12].proposal) == ("mople", "maple", "maple")
    assert found[0].score == found[0].gap == 0 and found[0].proposal == "tall" and not found[0].reason


def test_the_gap_is_that_of_two_losses(pages):
    data = dataset(pages(["maple"]), ["maples"])
    reader = Crafted(data, ["maple"], alphabet="s")
    [each] = audit(reader, data)
    logits = reader.logits([to_ink(data[0]["image"], 32)])[0]
    labels = np.zeros((2, 6), np.int32)
    labels[0], labels[1, :5] = reader.charset.encode("maples"), reader.charset.encode("maple")
    losses = np.array(ctc_loss(labels, np.stack([logits] * 2), np.ones((2, len(logits)), bool)))
    assert each.gap == pytest.approx(float(losses[0] - losses[1]), rel=1e-4)
    assert each.score == pytest.approx(each.gap)  # one edit


def test_one_sure_letter_weighs_more_than_many_unsure_ones(pages):
    data = dataset(pages(["garden", "window"]), ["gorden", "wxxxow"])
    reader = Crafted(data, ["garden", "window"], alphabet="ox")
    peaks = reader._peaks
    reader._peaks = lambda ink: peaks(ink) / (3 if reader.written[ink.pixels.tobytes()] == "window" else 1)
    found = {each.text: each for each in audit(reader, data)}
    assert found["gorden"].score > found["wxxxow"].score


@pytest.mark.parametrize("pair", [(2, 3), (2, 18)])  # neighbours, and far beyond the neighbours that are tried
def test_exchanged_labels_are_proposed_to_each_other(pages, pair):
    found, order = judged(pages, WORDS, swapped(WORDS, pair))
    assert set(order[:2]) == set(pair)
    for here, there in (pair, pair[::-1]):
        assert (found[here].kind, found[here].partner, found[here].proposal) == ("exchange", there, WORDS[here])
        assert f"row {there} has the label {WORDS[here]!r}" in found[here].reason
    assert {each.kind for each in found.values() if each.row not in pair} == {"label"}


def test_labels_are_exchanged_within_a_writer_alone(pages):
    writers = ["a" if row < 10 else "b" for row in range(20)]
    found, order = judged(pages, WORDS, swapped(WORDS, (2, 3), (5, 15)), writers)
    assert [found[row].kind for row in (2, 3, 5, 15)] == ["exchange", "exchange", "label", "label"]
    assert set(order[:4]) == {2, 3, 5, 15}


def test_an_exchange_with_a_label_too_long_for_its_image_is_seen(pages):
    written = [*WORDS[:5], "i", "cloud" * 4]
    found, order = judged(pages, written, swapped(written, (5, 6)), sure=12.0)
    assert order[0] == 5 and found[5].score == np.inf
    assert found[5].kind == found[6].kind == "exchange"
    assert re.search(r"needs 20 frames, .*; row 6 has the label 'i'", found[5].reason)


def test_labels_slipped_by_one_are_proposed_from_row_to_row(pages):
    labels = [*WORDS[:4], *WORDS[5:12], "last", *WORDS[12:]]
    found, _ = judged(pages, WORDS, labels, alphabet="last")
    slipped = [row for row in range(20) if found[row].kind == "moved"]
    assert slipped == list(range(5, 12))
    assert all(found[row].partner == row - 1 and found[row].proposal == WORDS[row] for row in slipped)
    assert "labels may have slipped" in found[6].reason


def test_a_word_written_twice_is_no_exchange(pages):
    written = [*WORDS[:6], "river", *WORDS[7:]]
    labels = [*written[:6], "cloud", *written[7:]]
    found, order = judged(pages, written, labels)
    assert order[0] == 6 and (found[6].kind, found[6].proposal, found[6].partner) == ("label", "river", None)


def test_rows_that_cannot_be_judged_are_named_and_never_dropped(pages):
    images = pages(WORDS[:7])
    white = io.BytesIO()
    Picture.new("L", (90, 40), 255).save(white, "PNG")
    images[0] = {"bytes": b"no image at all", "path": "a.png"}
    images[1] = {"bytes": white.getvalue(), "path": None}
    labels = [*WORDS[:2], None, "ink" * 40, "pad€", *WORDS[5:7]]
    data = dataset(images, labels)
    found = audit(Crafted(data, WORDS[:7]), data)
    assert [each.row for each in found[:4]] == [0, 1, 2, 3] and found[4].row == 4
    assert [each.kind for each in found[:5]] == ["image", "image", "text", "length", "alphabet"]
    assert "a.png is no image that Pillow can read" in found[0].reason
    assert [each.reason for each in found[1:3]] == ["the image holds no ink", "the text is empty"]
    assert re.match(r"'inkink.* needs 120 frames", found[3].reason)
    assert found[4].reason == "'pad€' holds '€', which is outside of the reader's alphabet"
    assert 10 <= found[4].score < np.inf and found[4].proposal == "pad"
    assert len(found) == 7 and [each.proposal for each in found[:3]] == ["tall", "word", "ink"]


def test_a_reader_that_spells_frame_by_frame_judges_too(pages):
    labels = swapped(WORDS, (2, 3))
    labels[9] = "rivet"
    found, order = judged(pages, WORDS, labels, objective="crossentropy")
    assert set(order[:3]) == {2, 3, 9} and found[2].partner == 3 and found[9].proposal == "river"
    assert found[9].gap == pytest.approx(6.0, abs=1.5)  # one letter of `sure` logits, give or take the noise


def test_rows_without_a_writer_have_neighbours_all_the_same(pages):
    data = dataset(pages(WORDS), swapped(WORDS, (7, 8))).remove_columns("writer")
    assert [each.partner for each in audit(Crafted(data, WORDS), data)[:2]] in ([7, 8], [8, 7])


def test_sentences_name_rows_as_their_source_does(pages):
    data = dataset(pages(WORDS), swapped(WORDS, (7, 8))).add_column("row", list(range(100, 120)))
    found = {each.row: each for each in audit(Crafted(data, WORDS), data)}
    assert found[7].partner == 8 and found[7].reason.startswith("row 108 has the label")


def test_progress_sees_every_row_and_comes_to_its_end(pages):
    seen = []

    def progress(rows):
        yield from (seen.append(row) or row for row in rows)
        seen.append("end")

    data = dataset(pages(WORDS), WORDS, ["a", "b"] * 10)
    audit(Crafted(data, WORDS), data, progress=progress)
    assert sorted(seen[:-1]) == list(range(20)) and seen[-1] == "end"


def test_what_cannot_be_judged_at_all_is_refused(pages):
    data = dataset(pages(WORDS[:2]), WORDS[:2])
    with pytest.raises(ValueError, match="has the columns image, writer and lacks text"):
        audit(Crafted(data, WORDS[:2]), data.remove_columns("text"))
    with pytest.raises(ValueError, match="The dataset is empty"):
        audit(Crafted(data, WORDS[:2]), data.select([]))


# --- cross-fitting


def test_each_row_is_judged_by_a_reader_that_did_not_see_its_writer(pages):
    writers = [f"w{row % 5}" for row in range(20)]
    data = dataset(pages(WORDS), swapped(WORDS, (3, 8)), writers)  # both by w3
    readers = []

    def make_reader(others, number):
        assert number == len(readers)
        readers.append((set(others["writer"]), Crafted(data, WORDS)))
        return readers[-1][1]

    found = cross_fit(data, 3, make_reader=make_reader)
    assert sorted(each.row for each in found) == list(range(20))
    assert {each.row: each.partner for each in found[:2]} == {3: 8, 8: 3}
    assert sorted(word for _, reader in readers for word in reader.seen) == sorted(WORDS)
    for known, reader in readers:
        assert not known & {writers[WORDS.index(word)] for word in reader.seen}


def test_parts_keep_writers_whole_and_blocks_of_rows_where_none_is_known():
    data = Dataset.from_dict({"text": ["x"] * 60, "writer": [f"w{row % 7}" for row in range(60)]})
    found = parts(data, 3)
    assert sorted(row for part in found for row in part) == list(range(60))
    held = [{row % 7 for row in part} for part in found]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert max(map(len, found)) <= 27
    assert found == parts(data, 3) != parts(data, 3, seed=1)
    for loose in (data.remove_columns("writer"), data.select(range(0, 42, 7))):
        assert all(part == list(range(part[0], part[-1] + 1)) for part in parts(loose, 2))
    with pytest.raises(ValueError, match="1 folds came for 60 rows; give 2 to 60"):
        parts(data, 1)


def test_the_trainer_makes_a_reader_a_fold_and_takes_up_what_is_done(tmp_path):
    data = toy_dataset(13)
    data = dataset(data["image"], [*data["text"][:12], "a" * 200], data["writer"])
    network = ModelConfig(height=32, blocks=((8, 2, 2, 1), (8, 2, 2, 1)), columns=16, recurrent=(16,))
    settings = TrainConfig(epochs=1, batch_size=8, augment=0, ema=0)
    make_reader = trainer(tmp_path, settings=settings, model=network)
    assert make_reader(data, 1).training["words"] == 12
    assert "needs 399 frames" in (tmp_path / "fold-1" / "problems.csv").read_text()
    state = (tmp_path / "fold-1" / "state.npz").read_bytes()
    assert len(audit(make_reader(data, 1), data)) == 13
    assert (tmp_path / "fold-1" / "state.npz").read_bytes() == state


# --- real readers and real words


@pytest.fixture(scope="module")
def shipped():
    return htr.load()


def found_errors(reader, data, *, exchanged, typed):
    """Plants errors in a dataset of rows -> the share of them in the first tenth, and what was found."""
    texts = swapped(data["text"], *exchanged)
    for row, text in typed.items():
        texts[row] = text
    planted = {row for pair in exchanged for row in pair} | set(typed)
    found = audit(reader, dataset(data["image"], texts, data["writer"]))
    return len(planted & {each.row for each in found[: round(0.1 * len(found))]}) / len(planted), found


def test_the_shipped_reader_finds_errors_in_words_of_pen_strokes(shipped):
    rows = [{**row, "image": {"bytes": row["image"], "path": None}} for row in words(96, seed=5, strength=0)]
    data = dataset(*([row[name] for row in rows] for name in ("image", "text", "writer")))
    typed = {row: data["text"][row][:2] + "q" + data["text"][row][2:] for row in (20, 50, 80)}
    recall, found = found_errors(shipped, data, exchanged=[(1, 7), (61, 64)], typed=typed)
    assert recall >= 6 / 7
    partners = {each.row: each.partner for each in found if each.kind == "exchange"}
    assert partners == {1: 7, 7: 1, 61: 64, 64: 61}


def test_the_shipped_reader_finds_errors_in_real_handwriting(shipped, shared_data):
    data = load(shared_data / "dhsd" / "validation.parquet").dataset.select(range(100))
    typed = {row: data["text"][row][:3] + "k" + data["text"][row][3:] for row in (12, 34, 56)}
    recall, found = found_errors(shipped, data, exchanged=[(20, 21), (5, 70)], typed=typed)
    assert recall >= 6 / 7
    partners = {each.row: each.partner for each in found if each.kind == "exchange"}
    assert partners == {20: 21, 21: 20, 5: 70, 70: 5}


# --- the page


def test_the_page_shows_the_worst_rows_escaped_and_needs_nothing_else(pages):
    images, labels = pages(WORDS), swapped(WORDS, (2, 3))
    labels[9], labels[10], labels[11] = '<b>&"rive', "cloudy", "mapl"
    images[5] = {"bytes": b"no image", "path": "<i>.png"}
    data = dataset(images, labels, ["<u>"] * 20).add_column("source", ["folder/words.parquet"] * 20)
    html = audit_page.page(data, audit(Crafted(data, WORDS), data), count=5, title="Words <1>")
    assert html.count("<li>") == html.count("</li>") == 5 and html.count("data:image/jpeg;base64,") == 4
    assert "6 of 20 labels" in html and "the 5 most suspicious" in html
    assert "<title>Words &lt;1&gt;</title>" in html and "no picture" in html and "&lt;i&gt;.png" in html
    assert "&lt;b&gt;&amp;&quot;" in html and "writer &lt;u&gt;" in html and "words.parquet" in html
    assert re.search("Row (2 has the label &#x27;noon|3 has the label &#x27;ink)&#x27;", html)
    assert not re.search(r"<script|<link|https?:|<[biu]>|src=\"(?!data:)", html)
    assert '<meta name="viewport"' in html
    assert "<mark>y</mark>" in audit_page._marked("cloudy", "cloud")[0]


def test_pictures_of_any_mode_are_shown_small(pages):
    deep = io.BytesIO()
    Picture.fromarray(np.linspace(0, 4095, 64 * 3000).reshape(64, 3000).astype(np.uint16)).save(deep, "PNG")
    clear = io.BytesIO()
    Picture.new("RGBA", (30, 20), (0, 0, 0, 0)).save(clear, "PNG")
    data = dataset([{"bytes": file.getvalue(), "path": None} for file in (deep, clear)], ["a", "b"])
    html = audit_page.page(data, audit(Crafted(data, ["ab", "ab"]), data))
    assert html.count("data:image/jpeg") == 2 and len(html) < 40_000


def test_a_page_of_no_rows_is_refused_and_one_without_suspicion_is_empty(pages):
    data = dataset(pages(WORDS), WORDS)
    found = audit(Crafted(data, WORDS), data)
    assert "<li>" not in audit_page.page(data, found)
    with pytest.raises(ValueError, match="count is 0; give 1 or more"):
        audit_page.page(data, found, count=0)

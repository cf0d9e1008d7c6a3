"""The reader is the shipped one; the words are rendered, and their labels changed by a known number of edits."""

import dataclasses
import importlib.util
import io
import re
import shutil
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

import htr
from htr import metrics, report, synth
from htr import report_parts as parts
from htr import report_sections as sections
from htr.evaluation import Report

COUNT = 12
WIDTHS = (1280, 390)  # px: a laptop and a telephone
NASTY = '<b onload="alert(1)">&amp;'
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """The elements of a page, its text by the id that it stands under, and whether every tag is closed in turn."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[tuple[str, str | None]] = []
        self.text: dict[str | None, str] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for name in {name for _, name in self.open} | {None}:
            self.text[name] = self.text.get(name, "") + data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def reader():
    return htr.load()


@pytest.fixture(scope="module")
def images():
    return [word["image"] for word in synth.words(COUNT, seed=5, strength=0)]


@pytest.fixture(scope="module")
def read(reader, images):
    texts = [transcription.text for transcription in reader.transcribe(images)]
    assert all(texts)
    return texts


def table(images, texts, writers=None, decode=False) -> Dataset:
    features = {"image": Image(decode=decode), "text": Value("string")}
    columns = {"image": [{"bytes": image, "path": None} for image in images], "text": texts}
    if writers is not None:
        features["writer"], columns["writer"] = Value("string"), writers
    return Dataset.from_dict(columns, features=Features(features))


@pytest.fixture(scope="module")
def dataset(images, read):
    """Rows 0, 1 and 2 are wrong by 1, 3 and many edits; the others are right."""
    labels = [read[0] + "q", "q" + read[1] + "qq", NASTY, *read[3:]]
    return table(images, labels, [f"w{i % 3}" for i in range(COUNT)])


@pytest.fixture(scope="module")
def figures(reader, dataset):
    return htr.evaluate(reader, dataset, data='toy "data" <1>', train_texts=dataset["text"][4:])


@pytest.fixture(scope="module")
def page(reader, dataset, figures):
    return report.build(reader, dataset, figures)


def test_figures_are_those_of_the_report(page, figures):
    seen = Reader(page)
    for name in ("cer", "wer", "word_accuracy"):
        assert seen.text[name] == f"{100 * getattr(figures, name):.2f} %"
        low, high = figures.intervals[name]
        assert f"{100 * low:.2f} % to {100 * high:.2f} %" in seen.text[None]
    assert str(figures) in seen.text[None]
    assert f"{COUNT} words, 3 writers, {figures.characters} characters" in seen.text[None]
    assert f"{100 * figures.unseen_cer:.2f} %" in seen.text[None]


def test_rates_by_writer_add_up_to_those_of_the_report(page, figures):
    rows = figures.rows
    text = Reader(page).text["writers"]
    for writer in ("w0", "w1", "w2"):
        chosen = [row for row in range(COUNT) if rows.writers[row] == writer]
        rate = rows.edits[chosen].sum() / rows.lengths[chosen].sum()
        assert re.search(rf"{writer}{re.escape(f'{100 * rate:.2f} %')}4{rows.edits[chosen].sum()}", text)


def test_the_page_is_whole_and_asks_for_nothing_outside(page):
    seen = Reader(page)
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page))
    sources = [value for _, names in seen.elements for key, value in names.items() if key in ("src", "srcset", "data")]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert all(names["href"][0] == "#" or names["href"] == "data:," for t in ("a", "link") for names in seen.all(t))
    assert not {"script", "iframe", "object", "embed", "form"} & {tag for tag, _ in seen.elements}
    (policy,) = [meta["content"] for meta in seen.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    targets = {names["href"][1:] for names in seen.all("a")}
    assert targets <= {names.get("id") for _, names in seen.elements}


def test_labels_cannot_become_markup(page, figures):
    seen = Reader(page)
    assert not seen.all("b") and not any("onload" in names for _, names in seen.elements)
    assert NASTY in seen.text["row-2"] and 'toy "data" <1>' in seen.text[None]
    assert "toy &quot;data&quot; &lt;1&gt;" in page


def test_every_wrong_word_is_there_with_its_pictures(page, figures):
    seen = Reader(page)
    shown = [int(names["id"].removeprefix("row-")) for names in seen.all("article")]
    assert shown == [miss.row for miss in figures.worst] and {0, 1, 2} <= set(shown)
    for miss in figures.worst:
        card = seen.text[f"row-{miss.row}"]
        assert miss.reference in card and miss.hypothesis in card and f"{miss.confidence:.2f}" in card
        part = page[page.index(f'id="row-{miss.row}"') :]
        assert part[: part.index("</article>")].count("<img") == 3


def test_only_the_worst_fifty_are_shown(reader, images):
    data = table(images[:1] * (sections.WORST + 5), ["qq"] * (sections.WORST + 5))
    seen = Reader(report.build(reader, data, htr.evaluate(reader, data)))
    assert len(seen.all("article")) == sections.WORST
    assert "50 of 55 words with errors" in seen.text["worst-words"]
    assert "names no writers" in seen.text["writers"] and "too narrow" in seen.text[None]


def test_confusions_add_up_to_the_edits(page, figures):
    text = Reader(page).text["confusions"]
    total, *kinds = [int(number) for number in re.findall(r"(\d+) (?:edit|substitution|deletion|insertion)", text)]
    assert total == sum(kinds) == figures.rows.edits.sum()
    assert "qnothing4" in text  # one in the first word, three in the second


def test_a_second_reader_is_compared_on_the_same_words(reader, dataset, figures, read):
    other = better(figures, row=1)
    seen = Reader(report.build(reader, dataset, figures, other=other)).text["comparison"]
    difference, low, high = metrics.paired(
        figures.rows.edits, other.rows.edits, figures.rows.lengths, figures.rows.groups
    )
    assert f"{100 * difference:+.2f} points" in seen and f"{100 * low:+.2f} to {100 * high:+.2f}" in seen
    assert "1 word read differently" in seen and dataset["text"][1] in seen and read[1] in seen
    assert "This one alone0" in seen and "The other alone1" in seen and "neither is shown to be better" in seen
    assert "comparison" not in Reader(report.build(reader, dataset, figures)).text


def better(figures: Report, row: int) -> Report:
    """The report of a reader that reads one row right."""
    rows, edits = figures.rows, figures.rows.edits.copy()
    edits[row] = 0
    hypotheses = [*rows.hypotheses[:row], rows.references[row], *rows.hypotheses[row + 1 :]]
    rows = dataclasses.replace(rows, hypotheses=hypotheses, edits=edits)
    return dataclasses.replace(figures, rows=rows, checkpoint="other", cer=float(edits.sum() / rows.lengths.sum()))


def test_the_temperature_is_fitted_on_other_words_or_given(reader, dataset, figures, page):
    assert re.search(r"Temperatures? [\d.]+.*each half of the writers", Reader(page).text["confidence"])
    given = Reader(report.build(reader, dataset, figures, temperature=2.0)).text["confidence"]
    assert "Temperature 2.00, fitted before on other words" in given and "with temperature" in given
    with pytest.raises(ValueError, match="temperature of 0 came"):
        report.build(reader, dataset, figures, temperature=0)


def test_no_temperature_is_made_up(reader, images, read, dataset, figures):
    right = table(images, read)
    text = Reader(report.build(reader, right, htr.evaluate(reader, right))).text
    assert "No temperature: All 6 words were read right" in text["confidence"]
    assert "Every word was read right" in text["worst-words"] and "Nothing was confused" in text["confusions"]
    mended = Reader(report.build(reader, dataset, better(figures, row=1))).text["confidence"]
    assert "not those of the network alone" in mended and "with temperature" not in mended


def test_a_report_of_other_rows_is_refused(reader, dataset, figures):
    with pytest.raises(ValueError, match="has 12 rows and the dataset 11"):
        report.build(reader, dataset.select(range(11)), figures)
    with pytest.raises(ValueError, match="Row 0 is .* in the report of .* and .* in the dataset"):
        report.build(reader, dataset.select(range(11, -1, -1)), figures)
    with pytest.raises(ValueError, match="12 rows and the report it is compared with 1"):
        one = dataset.select(range(1))
        report.build(reader, one, htr.evaluate(reader, one), other=figures)


def test_any_image_and_label_makes_a_page(reader, images, tmp_path):
    deep, clear, blank = (io.BytesIO() for _ in range(3))
    grey = np.asarray(Picture.open(io.BytesIO(images[0])).convert("L"))
    Picture.fromarray(grey.astype(np.uint16) * 257).save(deep, "PNG")
    Picture.merge("LA", [Picture.new("L", grey.shape[::-1]), Picture.fromarray(255 - grey)]).save(clear, "PNG")
    Picture.new("L", (60, 40), 255).save(blank, "PNG")
    texts = ["e\u0301te\u0301 \u05e9\u05dc\u05d5\u05dd", "x\u0304k\u0304", "", "\x01q"]
    data = table([deep.getvalue(), clear.getvalue(), blank.getvalue(), images[1]], texts, decode=True)
    report.write(tmp_path / "page.html", reader, data, htr.evaluate(reader, data))
    seen = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "\u00e9t\u00e9 \u05e9\u05dc\u05d5\u05dd" in seen.text["row-0"]  # NFC, and Hebrew in the order of speech
    assert "x\u0304k\u0304" in seen.text["row-1"]
    assert "\u2401q" in seen.text["row-3"]
    data = table([blank.getvalue()], ["abc"])
    empty = Reader(report.build(reader, data, htr.evaluate(reader, data)))
    assert "No ink was found" in empty.text["row-0"] and "nothing" in empty.text["row-0"]


def test_a_lone_surrogate_still_makes_a_file(reader, dataset, figures, tmp_path):
    report.write(tmp_path / "page.html", reader, dataset, dataclasses.replace(figures, checkpoint="\ud800"))
    assert "&#55296;" in (tmp_path / "page.html").read_text(encoding="utf-8")


words = st.text("abcé ", max_size=8)


@given(words, words)
def test_an_alignment_keeps_both_texts_and_has_the_least_edits(a, b):
    pairs = parts.align(a, b)
    assert ("".join(x for x, _ in pairs), "".join(y for _, y in pairs)) == (a, b)
    assert sum(x != y for x, y in pairs) == metrics.edits(a, b)


@given(st.text("ab<&\u0304\u0323", max_size=6), st.text("ab<&\u0304\u0323", max_size=6))
def test_marks_change_no_text_and_leave_accents_on_their_letters(a, b):
    pairs = parts.align(a, b)
    for side, text in enumerate(parts.marked(pairs)):
        plain = "".join(pair[side] for pair in pairs)
        assert Reader(text).text.get(None, "") == plain
        assert unicodedata.combining(plain[:1] or "a") or not re.search(">[\u0304\u0323]", text)
    assert parts.marked(parts.align("x\u0304", "x\u0323"))[0] == '<bdi class="text"><mark>x\u0304</mark></bdi>'


def test_marks_stand_where_two_texts_differ():
    assert parts.marked(parts.align("cart", "cats")) == (
        '<bdi class="text">ca<mark>rt</mark></bdi>',
        '<bdi class="text">ca<mark>ts</mark></bdi>',
    )
    assert parts.marked(parts.align("cart", "cat"))[1] == '<bdi class="text">ca<mark class="gap"></mark>t</bdi>'


def test_a_heat_strip_shows_classes_in_the_order_of_their_peaks():
    logits = np.log([[0.1, 0.001, 0.009, 0.8, 0.09], [0.9, 0.001, 0.009, 0.05, 0.04], [0.2, 0.001, 0.009, 0.03, 0.76]])
    names, strip = parts.heat(logits, "abc")
    assert names == ["b", "c", ""]  # a is below 1 % everywhere; the blank is last
    opacity = np.asarray(strip)[..., 3] / 255
    assert opacity**2 == pytest.approx(np.array([[0.8, 0.05, 0.03], [0.09, 0.04, 0.76], [0.1, 0.9, 0.2]]), abs=0.01)
    assert parts.heat(logits, "abc", rows=2)[0] == ["b", ""]


def browser() -> str:
    """The path of a Chromium that playwright can drive, or a skip that says how to get one."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright, and chromium (apt-get install chromium)")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        if Path(driver.chromium.executable_path).exists():
            return driver.chromium.executable_path
    pytest.skip("no chromium was found: apt-get install chromium, or playwright install chromium")


def test_a_browser_shows_it_without_complaint_request_or_overflow(reader, dataset, figures, tmp_path):
    path = browser()
    from playwright.sync_api import sync_playwright

    report.write(tmp_path / "page.html", reader, dataset, figures, other=better(figures, row=1))
    complaints, requests = [], []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for width in WIDTHS:
            view = chromium.new_page(viewport={"width": width, "height": 800})
            view.on("console", lambda message: complaints.append(message.text))
            view.on("pageerror", lambda error: complaints.append(str(error)))
            view.on("request", lambda request: requests.append(request.url))
            view.goto((tmp_path / "page.html").as_uri())
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert view.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            assert view.inner_text("#cer") == f"{100 * figures.cer:.2f} %"
        chromium.close()
    outside = {url for url in requests if not url.startswith("data:")}
    assert (complaints, outside) == ([], {(tmp_path / "page.html").as_uri()})

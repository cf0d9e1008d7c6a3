"""`htr demo` as a browser and as curl see it. The server is a process of its own that notes whom it asks for what."""

import base64
import contextlib
import csv
import io
import json
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from HersheyFonts import HersheyFonts
from PIL import Image

from htr import demo, demo_server, synth
from htr.cli import main
from tests.test_report import browser

ROOT = Path(__file__).resolve().parent.parent
WORD = "house"  # a word to draw
CAMERA = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"  # a picture of its own making
# runs htr with a note of every machine that is asked and every package that is imported
WATCHED = """
import sys
notes = open(sys.argv[1], "a", buffering=1)
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "import"):
        print(event, args[1] if event == "socket.connect" else args[0], file=notes)
sys.addaudithook(watch)
from htr.cli import main
sys.exit(main(sys.argv[2:]))
"""


@contextlib.contextmanager
def serving(folder: Path, *flags: str):
    """The address of a server, and the file of its notes."""
    notes = folder / "notes.txt"
    command = [sys.executable, "-c", WATCHED, str(notes), "demo", "--port", "0", *flags]
    with open(folder / "errors.txt", "w", encoding="utf-8") as errors:
        # where the tests run in the background of a shell, Ctrl+C is ignored, and what they start would inherit that
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        line = process.stdout.readline()
        assert line, (folder / "errors.txt").read_text(encoding="utf-8")
        yield line.split()[0], notes
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()
    assert process.returncode == 130
    assert "Traceback" not in (folder / "errors.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'htr-words[demo]'")
    with serving(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture(scope="module")
def url(server):
    return server[0]


@pytest.fixture(scope="module")
def desk():
    return demo.Desk()


@pytest.fixture(scope="module")
def chromium():
    path = browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=path, args=["--no-sandbox", *CAMERA])


@contextlib.contextmanager
def visit(chromium, url, *, width=1280, **context):
    """The page, with a check that it asked nobody else, complained of nothing and is no wider than the screen."""
    complaints, outside = [], []

    def heard(message):
        # of Gradio's own bar of progress, when an upload is over before the bar is there
        progress = "upload_progress" in message.location.get("url", "") or message.text == "Response"
        if message.type == "error" and not progress:
            complaints.append(message.text)

    with contextlib.closing(chromium.new_context(viewport={"width": width, "height": 900}, **context)) as visitor:
        page = visitor.new_page()
        page.set_default_timeout(120_000)  # ms: of use only where the machine is busy with something else
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((f"{url}/", "data:", "blob:")) or outside.append(request.url),
        )
        page.goto(f"{url}/")
        page.wait_for_selector("#sheet canvas[data-ready]")
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (complaints, outside) == ([], [])


def strokes(text: str, width: float, height: float) -> list[list[tuple[float, float]]]:
    """The pen's way through a word, in a box of width x height."""
    pen = HersheyFonts()
    pen.load_default_font("cursive")
    lines = [list(line) for line in pen.strokes_for_text(text)]
    xs, ys = ([point[axis] for line in lines for point in line] for axis in (0, 1))
    scale = min(width / (max(xs) - min(xs)), height / (max(ys) - min(ys)))
    return [[((x - min(xs)) * scale, (y - min(ys)) * scale) for x, y in line] for line in lines]


def written(page, text: str) -> list[list[tuple[float, float]]]:
    """The pen's way through a word in the middle of the sheet, in px of the screen."""
    box = page.locator("#sheet canvas").bounding_box()
    inside = strokes(text, 0.8 * box["width"], 0.6 * box["height"])
    return [[(box["x"] + 0.1 * box["width"] + x, box["y"] + 0.2 * box["height"] + y) for x, y in s] for s in inside]


def shows(page, text: str) -> None:
    """Wait until the page says that it read this text."""
    page.wait_for_function("text => document.querySelector('#result .read')?.dataset.text === text", arg=text)


def post(url: str, body: bytes, query: str = "") -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/read{query}", body, method="POST")) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_word_drawn_with_the_mouse_is_read(chromium, url, tmp_path):
    with visit(chromium, url) as page:
        hint = page.get_by_text("Write a word here")
        assert hint.is_visible()
        for stroke in written(page, WORD):
            page.mouse.move(*stroke[0])
            page.mouse.down()
            for point in stroke[1:]:
                page.mouse.move(*point)
            page.mouse.up()
        shows(page, WORD)
        page.screenshot(path=tmp_path / "drawn.png", full_page=True)
        assert page.locator("#result .placed li b").all_inner_texts() == list(WORD)
        assert not hint.is_visible()
        page.click("#sheet .clear")
        page.get_by_text("Draw a word, give a picture").wait_for()


def test_a_word_drawn_with_the_finger_is_read_and_the_page_stays_where_it_is(chromium, url, tmp_path):
    with visit(chromium, url, width=390, has_touch=True, is_mobile=True) as page:
        page.locator("#sheet canvas").scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        finger = page.context.new_cdp_session(page)
        for stroke in written(page, WORD):
            for kind, points in [
                ("touchStart", stroke[:1]),
                *(("touchMove", [p]) for p in stroke[1:]),
                ("touchEnd", []),
            ]:
                places = [{"x": x, "y": y} for x, y in points]
                finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
        shows(page, WORD)
        assert page.evaluate("scrollY") == before
        page.screenshot(path=tmp_path / "telephone.png", full_page=True)


def test_a_rendered_word_is_read_and_all_about_it_is_shown(chromium, url, desk, tmp_path):
    words = [dict(word) for word in synth.words(12, seed=5, strength=0)]
    chosen = next(w for w in words if desk.reader().transcribe(w["image"]).text == w["text"] and len(w["text"]) > 3)
    (tmp_path / "word.png").write_bytes(chosen["image"])
    seen = desk.see(chosen["image"], desk.reader())
    with visit(chromium, url) as page:
        page.get_by_role("tab", name="Picture").click()
        page.set_input_files("#picture input[type=file]", tmp_path / "word.png")
        shows(page, chosen["text"])
        assert page.locator("#result .placed li small").all_inner_texts() == [
            f"{min(99, 100 * c.confidence):.0f}" for c in seen.plain.characters
        ]
        assert [t.strip() for t in page.locator("#result .bars td:first-child").all_inner_texts()] == [
            text for text, _ in seen.beam.alternatives
        ]
        ink, strip = page.locator("#result .seen > img").all()
        assert ink.evaluate("i => i.naturalHeight") == seen.reader.config.height
        assert strip.evaluate("i => i.naturalWidth") == len(seen.logits)
        assert abs(ink.bounding_box()["width"] - strip.bounding_box()["width"]) < 1
        page.screenshot(path=tmp_path / "rendered.png", full_page=True)


def test_a_real_word_is_read(chromium, url, desk, shared_data, tmp_path):
    from datasets import Dataset
    from datasets import Image as Stored

    rows = Dataset.from_parquet(str(shared_data / "dhsd" / "test.parquet"), cache_dir=str(tmp_path / "cache"))
    rows = rows.select(range(32)).cast_column("image", Stored(decode=False))
    word = next(row for row in rows if desk.reader().transcribe(row["image"]).text == row["text"])
    (tmp_path / "word.png").write_bytes(word["image"]["bytes"])
    with visit(chromium, url) as page:
        page.get_by_role("tab", name="Picture").click()
        page.set_input_files("#picture input[type=file]", tmp_path / "word.png")
        shows(page, word["text"])
        page.screenshot(path=tmp_path / "real.png", full_page=True)


def cases(desk):
    """Yields (number of a sample, how it reads with a lexicon of one word, that word: its second likeliest text)."""
    for index, (file, _) in enumerate(demo.samples()):
        other = desk.see(file, desk.reader()).beam.alternatives[1][0]
        yield index, desk.see(file, desk.reader(), other), other


def test_a_sample_is_read_with_a_lexicon_and_on_another_engine(chromium, url, desk, tmp_path):
    index, seen, other = next(case for case in cases(desk) if case[1].guided.text == case[2] != case[1].plain.text)
    with visit(chromium, url) as page:
        page.get_by_role("tab", name="Samples").click()
        page.locator("#samples button.thumbnail-item").nth(index).click()
        shows(page, seen.plain.text)
        page.get_by_text("Reader, engine, lexicon").click()
        page.fill("#lexicon textarea", other)
        page.locator("#result .guided").wait_for()
        assert page.locator("#result .guided").inner_text() == other
        page.get_by_label("Engine").click()
        page.get_by_role("option", name="openvino", exact=True).click()
        page.get_by_text(" on openvino").wait_for()
        shows(page, seen.plain.text)
        page.screenshot(path=tmp_path / "lexicon.png", full_page=True)


def test_what_is_no_image_is_told_in_a_sentence_and_the_page_goes_on(chromium, url, tmp_path):
    (tmp_path / "song.png").write_bytes(b"la la la")
    (tmp_path / "large.png").write_bytes(bytes(demo.MAX_BYTES + 1))
    with visit(chromium, url) as page:
        page.get_by_role("tab", name="Picture").click()
        page.set_input_files("#picture input[type=file]", tmp_path / "song.png")
        page.get_by_text("song.png is no image that Pillow can read: give a PNG, JPEG, WebP or TIFF.").wait_for()
        page.locator("#picture img").wait_for(state="hidden")  # no torn page beside the sentence
        page.screenshot(path=tmp_path / "refused.png", full_page=True)
        page.set_input_files("#picture input[type=file]", tmp_path / "large.png")
        page.get_by_text("exceed the maximum allowed size of 32.0 Mb").wait_for()
        page.set_input_files("#picture input[type=file]", ROOT / "docs" / "samples" / "harvest.jpg")
        page.locator("#result .read").wait_for()
        page.locator("#picture img").wait_for()


def test_a_word_is_pasted(chromium, url, desk, tmp_path):
    image = Image.open(ROOT / "docs" / "samples" / "harvest.jpg")
    png = io.BytesIO()
    image.save(png, "PNG")
    with visit(chromium, url, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.evaluate(
            """async code => navigator.clipboard.write([new ClipboardItem({"image/png":
            (await fetch("data:image/png;base64," + code)).blob()})])""",
            base64.b64encode(png.getvalue()).decode(),
        )
        page.get_by_role("tab", name="Picture").click()
        page.get_by_label("Paste from clipboard").click()
        shows(page, desk.reader().transcribe(image).text)
        page.screenshot(path=tmp_path / "pasted.png", full_page=True)


@pytest.mark.parametrize("width", [1280, 390])
def test_several_files_give_a_table_to_download(chromium, url, desk, tmp_path, width):
    words = [word["image"] for word in synth.words(3, seed=3, strength=0)]
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("../../above.png", words[0])
        archive.writestr("__MACOSX/._above.png", b"of no interest")
        archive.writestr("notes.txt", b"no image")
        archive.writestr("folder/two.png", words[1])
    (tmp_path / "three.png").write_bytes(words[2])
    texts = [transcription.text for transcription in desk.reader().transcribe(words)]
    with visit(chromium, url, width=width) as page:
        page.get_by_role("tab", name="Several files").click()
        page.set_input_files("#files input[type=file]", [tmp_path / "words.zip", tmp_path / "three.png"])
        page.get_by_text("3 images read, 1 not").wait_for()
        assert page.locator("#table td img").count() == 3
        with page.expect_download() as download:
            page.get_by_text("Download as CSV").click()
        page.screenshot(path=tmp_path / "several.png", full_page=True)
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig"))))
    assert download.value.suggested_filename == "words.csv"
    assert [row["name"] for row in rows] == ["../../above.png", "notes.txt", "folder/two.png", "three.png"]
    assert [row["text"] for row in rows] == [texts[0], "", texts[1], texts[2]]
    assert rows[1]["error"].startswith("notes.txt is no image")
    assert [bool(row["confidence"]) for row in rows] == [True, False, True, True]


def test_the_server_asks_nobody_and_onnx_needs_no_tensorflow(server, desk):
    url, notes = server
    assert post(url, (ROOT / "docs" / "samples" / "harvest.jpg").read_bytes())[1]["engine"] == "onnx"
    lines = [line.split(" ", 1) for line in notes.read_text(encoding="utf-8").splitlines()]
    asked = {what for event, what in lines if event != "import"}
    assert {who for who in asked if "127.0.0.1" not in who and who not in ("localhost", "None")} == set()
    imported = {what.split(".")[0] for event, what in lines if event == "import"}
    assert "gradio" in imported
    assert imported & {"tensorflow", "keras"} == set()


def test_the_curl_line_of_the_docs_gives_what_the_reader_reads(url, desk):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed: apt-get install curl")
    (line,) = re.findall(r"^\$ (curl .*)", (ROOT / "docs" / "demo.md").read_text(encoding="utf-8"), re.MULTILINE)
    command = shlex.split(line.replace("http://127.0.0.1:7860", url))
    told = json.loads(subprocess.run([*command, "--silent"], cwd=ROOT, capture_output=True, check=True).stdout)
    reader = desk.reader()
    expected = reader.transcribe(ROOT / "docs" / "samples" / "harvest.jpg")
    assert told["text"] == expected.text
    assert told["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
    assert [(c["character"], c["left"], c["right"]) for c in told["characters"]] == [
        (c.character, c.left, c.right) for c in expected.characters
    ]
    assert [a["text"] for a in told["alternatives"]][0] == expected.text
    assert len(told["alternatives"]) == 3
    assert (told["checkpoint"], told["engine"]) == (desk.checkpoint, "onnx")


def test_the_api_refuses_with_a_sentence(url):
    image = (ROOT / "docs" / "samples" / "harvest.jpg").read_bytes()
    for body, query, status, said in (
        (b"la la la", "", 400, "the body is no image"),
        (b"", "", 400, "the body is empty"),
        (bytes(demo.MAX_BYTES + 1), "", 413, "At most 32 MB"),
        (image, "?engine=abacus", 400, "no engine 'abacus' here; choose one of keras"),
        (image, "?checkpoint=../../secret", 400, "choose one of latin"),
        (image, "?top=0", 400, "from 1 to 100"),
        (image, "?lexicon=%E6%BC%A2", 400, "No word of the lexicon"),
    ):
        code, told = post(url, body, query)
        assert (code, list(told)) == (status, ["error"])
        assert said in told["error"]


def test_no_request_sees_the_lexicon_of_another(url, desk):
    image = (ROOT / "docs" / "samples" / "saturday.jpg").read_bytes()
    queries = ["", "?lexicon=Satunday", "?lexicon=Saturday", "?top=4", "?lexicon=Samstag&top=2"]
    alone = {query: post(url, image, query) for query in queries}
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: (query, post(url, image, query)), queries * 8))
    assert all(alone[query] == answer for query, answer in together)


def test_an_upload_that_names_an_address_or_a_file_of_the_machine_is_not_fetched(url):
    with urllib.request.urlopen(f"{url}/config") as answer:
        config = json.load(answer)
    picture = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "picture")
    number = next(d["id"] for d in config["dependencies"] if [picture, "change"] in d["targets"])
    blanks = [None] * (len(config["dependencies"][number]["inputs"]) - 1)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(2)
        for path in (
            f"http://127.0.0.1:{trap.getsockname()[1]}/word.png",
            str(ROOT / "docs" / "samples" / "river-side.jpg"),
        ):
            data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, *blanks]
            body = json.dumps({"data": data, "fn_index": number, "session_hash": "abc"}).encode()
            request = urllib.request.Request(
                f"{url}/gradio_api/run/predict", body, {"Content-Type": "application/json"}, method="POST"
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            refused.value.close()
        with pytest.raises(TimeoutError):
            trap.accept()


def zipped(path: Path, entries: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return str(path)


def test_a_zip_is_read_within_limits(tmp_path):
    bomb = zipped(tmp_path / "bomb.zip", {"bomb.png": bytes(demo.MAX_BYTES + 1), "after.png": b"after"})
    assert [row if isinstance(row, dict) else row.outcome for row in demo.unpack([bomb])] == [
        "It has 32 MB, at most 32 MB are taken: scale it down.",
        {"path": "after.png", "bytes": b"after"},
    ]
    each = demo.MAX_BYTES - 1
    many = zipped(tmp_path / "many.zip", {f"{i}.png": bytes(each) for i in range(demo.MAX_UNPACKED // each + 3)})
    rows = list(demo.unpack([many]))
    assert len(rows) == demo.MAX_UNPACKED // each + 1
    assert rows[-1].outcome == "The files unpack to more than 256 MB; the rest of them is left out."
    rows = list(demo.unpack([zipped(tmp_path / "words.zip", {f"{i}": b"x" for i in range(demo.MAX_IMAGES + 9)})]))
    assert len(rows) == demo.MAX_IMAGES + 1
    assert rows[-1].outcome.startswith("More than 500 images came")


def test_a_zip_that_lies_is_locked_or_is_damaged_gives_a_sentence(tmp_path):
    small = zipped(tmp_path / "small.zip", {"word.png": b"x" * 5000})
    data = Path(small).read_bytes()
    central = data.index(b"PK\1\2")
    lying, locked = bytearray(data), bytearray(data)
    struct.pack_into("<I", lying, central + 24, 7)  # its size, they say
    locked[6] |= 1
    locked[central + 8] |= 1
    cases = {
        "lying": (lying, r"^It cannot be unpacked \(Bad CRC"),
        "locked": (locked, "^It is locked with a password"),
        "cut": (data[:60], r"^This zip cannot be opened \(File is not a zip file\)"),
        "empty": (Path(zipped(tmp_path / "none.zip", {})).read_bytes(), r"^This zip .* make it again|holds no images"),
    }
    for name, (content, said) in cases.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        (row,) = demo.unpack([str(tmp_path / f"{name}.zip")])
        assert re.search(said, row.outcome), (name, row.outcome)


def test_a_desk_reads_the_same_on_every_engine(desk):
    file = ROOT / "docs" / "samples" / "harvest.jpg"
    readings = {name: desk.see(file, desk.reader(engine=name)) for name in desk.engines}
    assert set(readings) >= {"keras", "onnx"}
    assert len({seen.plain.text for seen in readings.values()}) == 1
    assert [readings[name].reader.engine.name for name in readings] == list(readings)


def test_a_picture_without_ink_and_one_of_16_bits_are_shown(desk):
    from htr import demo_parts

    blank = Image.new("L", (90, 40), 255)
    assert "No ink was found" in demo_parts.result(desk.see(blank, desk.reader(), "word"))
    deep = Image.open(ROOT / "docs" / "samples" / "harvest.jpg").convert("I").point(lambda value: value * 257)
    deep = deep.convert("I;16")
    assert 'class="placed"' in demo_parts.result(desk.see(deep, desk.reader()))


def test_the_server_ends_without_a_word_of_complaint_while_a_page_is_open(chromium, tmp_path):
    page = chromium.new_page()
    with serving(tmp_path) as (url, _):
        page.goto(url)
        page.wait_for_selector("#sheet canvas[data-ready]")
    assert (tmp_path / "errors.txt").read_text(encoding="utf-8") == "htr: stopped by the keyboard.\n"
    page.close()


def test_a_port_that_is_taken_is_told_at_once(capsys):
    with demo_server.listen("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 1
    assert f"cannot be served at 127.0.0.1:{port}" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--port", "70000"])
    assert "'70000' is not a port" in capsys.readouterr().err


def test_a_lexicon_too_long_is_refused(desk):
    with pytest.raises(ValueError, match="at most 200,000 are taken"):
        demo.guided(desk.reader(), "a" * 200_001)

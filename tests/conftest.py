"""What every test may use: the shared handwriting where it is at hand, and small words rendered here."""

import csv
import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

os.environ.setdefault("HTR_CACHE", "off")  # a test leaves nothing in the folder of the user

NO_DATA = "shared data not found"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real handwriting, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("HTR_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_absolute():
        folder = ROOT / folder
    if not (folder / "dhsd" / "test.parquet").exists():
        pytest.skip(f"{NO_DATA} (set HTR_DATA to its folder)")
    return folder


def render_word(text: str, *, size: int = 32) -> Image.Image:
    """A printed word, dark on white, 8 px of paper around it; mode L."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 16, int(bottom - top) + 16), 255)
    ImageDraw.Draw(image).text((8 - left, 8 - top), text, fill=20, font=font)
    return image


@pytest.fixture(scope="session")
def render():
    """render(text, size=32) -> PIL image of mode L."""
    return render_word


WORDS = ["tall", "word", "ink", "eel", "noon", "pad", "mask", "line"]


@pytest.fixture
def word_folder(tmp_path: Path) -> Path:
    """A Hugging Face imagefolder of eight rendered words by four writers."""
    folder = tmp_path / "words"
    folder.mkdir()
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "text", "writer"])
        for index, word in enumerate(WORDS):
            render_word(word).save(folder / f"{index}.png")
            rows.writerow([f"{index}.png", word, f"w{index % 4}"])
    return folder


def pytest_terminal_summary(terminalreporter):
    """Under CI a skip is a failure unless it is for missing shared data."""
    if os.environ.get("CI") != "true":
        return
    others = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if NO_DATA not in (report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr))
    ]
    for report in others:
        terminalreporter.write_line(f"SKIPPED IN CI: {report.nodeid}", red=True)
    if others:
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED

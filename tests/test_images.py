"""Ink is the same whatever the file; the crop follows the writing; a bad image gets one sentence."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from htr.images import MAX_WIDTH, ImageError, read_image, to_ink

DIGITS = "The word Straße"


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def sideways(image: Image.Image) -> bytes:
    """Stored turned by 90 degrees, with the EXIF orientation that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def see_through(image: Image.Image) -> Image.Image:
    """Black ink, as much of it as the word is dark, over nothing."""
    cover = Image.fromarray(255 - np.asarray(image.convert("L")))
    clear = Image.new("RGBA", image.size, (0, 0, 0, 0))
    clear.putalpha(cover)
    return clear


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"))


VARIANTS = {
    "CMYK": lambda image: image.convert("RGB").convert("CMYK"),
    "CMYK JPEG": lambda image: encode(image.convert("RGB").convert("CMYK"), "JPEG", quality=95),
    "16 bit PNG": lambda image: encode(Image.fromarray(grey(image).astype(np.uint16) * 257)),
    "16 bit TIFF": lambda image: encode(Image.fromarray(grey(image).astype(np.uint16) * 257), "TIFF"),
    "12 bit in 16": lambda image: grey(image).astype(np.uint16) * 16,
    "32 bit": lambda image: image.convert("I"),
    "float": lambda image: grey(image) / 255.0,
    "F": lambda image: image.convert("F"),
    "LA": lambda image: encode(image.convert("LA")),
    "P": lambda image: encode(image.convert("L").convert("P")),
    "P of colours": lambda image: encode(image.convert("RGB").quantize(256)),
    "RGBA": lambda image: image.convert("RGBA"),
    "transparent": see_through,
    "EXIF": sideways,
    "inverted": lambda image: Image.fromarray(255 - np.asarray(image)),
    "inverted 16 bit": lambda image: (255 - grey(image)).astype(np.uint16) * 257,
    "array with a channel": lambda image: grey(image)[..., None],
    "WebP": lambda image: encode(image, "WEBP", lossless=True),
    "JPEG": lambda image: encode(image, "JPEG", quality=95),
    "dict": lambda image: {"bytes": encode(image), "path": "word.png"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_any_mode_gives_the_same_ink(render, name):
    image = render(DIGITS)
    ink, other = to_ink(image, 48), to_ink(VARIANTS[name](image), 48)
    assert abs(ink.pixels.shape[1] - other.pixels.shape[1]) <= 1
    width = min(ink.pixels.shape[1], other.pixels.shape[1])
    assert np.abs(ink.pixels[:, :width] - other.pixels[:, :width]).mean() < 0.02
    assert other.left == pytest.approx(ink.left, abs=1.1)


def test_real_words_give_the_same_ink_in_any_mode(shared_data):
    import pyarrow.parquet as parquet

    for name in ("dhsd", "copiste"):
        rows = parquet.read_table(shared_data / name / "validation.parquet", columns=["image"]).slice(0, 248)
        for row in rows.to_pylist()[::12]:
            image = read_image(row["image"])
            ink = to_ink(row["image"], 64).pixels
            for kind in ("CMYK", "16 bit PNG", "LA", "P", "EXIF", "inverted"):
                other = to_ink(VARIANTS[kind](image), 64).pixels
                assert other.shape == ink.shape, (row["image"]["path"], kind)
                assert np.abs(other - ink).mean() < 0.02, (row["image"]["path"], kind)


def test_no_real_word_is_blank_or_taken_for_light_on_dark(shared_data):
    import pyarrow.parquet as parquet

    for name in ("dhsd", "copiste"):
        rows = parquet.read_table(shared_data / name / "test.parquet", columns=["image"]).to_pylist()[::5]
        shares = [to_ink(row["image"], 64).pixels.mean() for row in rows]
        assert 0.02 < min(shares) and max(shares) < 0.5  # ink is the smaller part of a word


def test_faint_and_dim_and_shaded_words_have_full_strokes(render):
    word = grey(render(DIGITS)).astype(np.float32)
    across = np.linspace(1, 0.5, word.shape[1])
    for page in (200 + word * 0.2, 30 + word * 0.3, word * across):
        pixels = to_ink(page.astype(np.uint8), 48).pixels
        assert np.percentile(pixels[pixels > 0.5], 60) > 0.95
        assert np.median(pixels) == 0


def test_noise_of_paper_goes_to_zero(render):
    word = grey(render(DIGITS)).astype(np.float32)
    noisy = np.clip(word * 0.8 + np.random.default_rng(0).normal(0, 3, word.shape), 0, 255).astype(np.uint8)
    clean, other = to_ink(render(DIGITS), 48).pixels, to_ink(noisy, 48).pixels
    assert abs(clean.shape[1] - other.shape[1]) <= 12
    assert (other == 0).mean() > 0.9 * (clean == 0).mean()


def test_pixels_survive_a_uint8_cache_and_a_second_run(render):
    ink = to_ink(render(DIGITS), 40)
    assert ink.pixels.dtype == np.float32 and ink.pixels.shape[0] == 40
    assert ink.pixels.min() == 0 and ink.pixels.max() == 1
    stored = np.rint(ink.pixels * 255).astype(np.uint8)
    assert np.array_equal(stored / np.float32(255), ink.pixels)
    assert np.array_equal(to_ink(render(DIGITS), 40).pixels, ink.pixels)


def page_with_word(render, shape=(600, 900), at=(300, 200)) -> np.ndarray:
    page = np.full(shape, 255, np.uint8)
    word = grey(render("noon"))
    page[at[1] : at[1] + word.shape[0], at[0] : at[0] + word.shape[1]] = word
    return page


def dark_columns(pixels: np.ndarray) -> tuple[int, int]:
    columns = np.flatnonzero((pixels > 0.5).any(axis=0))
    return int(columns[0]), int(columns[-1])


@pytest.mark.parametrize("times", [1, 4])
def test_left_and_scale_lead_back_to_the_source(render, times):
    """Also for a page that is shrunk before its pixels are worked on."""
    page = np.kron(page_with_word(render), np.ones((times, times), np.uint8))
    first, last = dark_columns(1 - page / 255)
    ink = to_ink(page, 64)
    left, right = dark_columns(ink.pixels)
    assert ink.left + left * ink.scale == pytest.approx(first, abs=2 * times)
    assert ink.left + (right + 1) * ink.scale == pytest.approx(last + 1, abs=2 * times)


def test_a_big_jpeg_turned_by_exif_maps_back_too(render):
    page = Image.fromarray(np.kron(page_with_word(render), np.ones((4, 4), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encode(page.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
    first, _ = dark_columns(1 - np.asarray(page) / 255)
    ink = to_ink(photo, 64)
    assert ink.left + dark_columns(ink.pixels)[0] * ink.scale == pytest.approx(first, abs=8)


def test_paper_around_a_word_does_not_matter(render):
    alone, amid = to_ink(render("noon"), 64), to_ink(page_with_word(render), 64)
    assert amid.pixels.shape == alone.pixels.shape
    assert np.abs(amid.pixels - alone.pixels).mean() < 0.02
    assert amid.left == pytest.approx(alone.left + 300, abs=1)


def drawn(render, *shapes) -> tuple[Image.Image, Image.Image]:
    """A word on a wide sheet without and with lines or specks: (left, top, right, bottom) each."""
    sheet = Image.new("L", (400, 120), 255)
    sheet.paste(render("noon"), (140, 30))
    marked = sheet.copy()
    for shape in shapes:
        ImageDraw.Draw(marked).rectangle(shape, fill=30)
    return sheet, marked


REMAINS = {
    "speck above": (200, 2, 201, 3),
    "speck at the right": (390, 50, 391, 51),
    "rest of a rule at the lower left": (0, 110, 120, 111),
    "rule along the bottom": (0, 117, 399, 119),
    "rest of a rule at the upper right": (300, 0, 399, 1),
    "bar at the left edge": (0, 20, 2, 110),
}


@pytest.mark.parametrize("name", REMAINS)
def test_specks_and_rests_of_rules_do_not_lead_the_crop(render, name):
    sheet, marked = drawn(render, REMAINS[name])
    clean, ink = to_ink(sheet, 64), to_ink(marked, 64)
    assert ink.pixels.shape == clean.pixels.shape
    assert (ink.left, ink.scale) == (clean.left, clean.scale)


MARKS = {"accent": (200, 14, 206, 18), "period": (232, 58, 236, 62), "hyphen at the edge": (114, 50, 126, 53)}


@pytest.mark.parametrize("name", MARKS)
def test_marks_of_the_writing_stay_in_the_crop(render, name):
    sheet, marked = drawn(render, MARKS[name])
    clean, ink = to_ink(sheet, 64), to_ink(marked, 64)
    added = (255.0 - np.asarray(marked)).sum() - (255.0 - np.asarray(sheet)).sum()
    grown = ink.pixels.sum() * ink.scale**2 - clean.pixels.sum() * clean.scale**2
    assert grown == pytest.approx(added / 235, rel=0.5)


def test_a_lone_hyphen_stays_small():
    sheet = Image.new("L", (60, 40), 255)
    ImageDraw.Draw(sheet).rectangle((20, 18, 40, 21), fill=0)
    pixels = to_ink(sheet, 64).pixels
    rows = np.flatnonzero((pixels > 0.5).any(axis=1))
    assert len(rows) < 16
    assert 20 < rows.mean() < 44


def test_a_comma_stays_low_and_an_apostrophe_high():
    heights = []
    for top in (5, 50):
        sheet = Image.new("L", (30, 64), 255)
        ImageDraw.Draw(sheet).line((14, top + 8, 17, top), fill=0, width=4)
        rows = np.flatnonzero((to_ink(sheet, 64).pixels > 0.5).any(axis=1))
        heights.append(rows.mean())
    assert heights[0] < 26 and heights[1] > 38


BLANKS = {
    "white": np.full((40, 90), 255, np.uint8),
    "black": np.zeros((40, 90), np.uint8),
    "a pixel": np.full((1, 1), 7, np.uint8),
    "noise": np.random.default_rng(0).normal(230, 3, (60, 200)).astype(np.uint8),
    "a shade": np.tile(np.linspace(140, 250, 200).astype(np.uint8), (60, 1)),
}


@pytest.mark.parametrize("name", BLANKS)
def test_paper_without_ink_is_blank(name):
    ink = to_ink(BLANKS[name], 32)
    assert ink.blank
    assert ink.pixels.shape == (32, 32) and not ink.pixels.any()
    assert ink.left + 32 * ink.scale == BLANKS[name].shape[1]


def test_a_word_is_not_blank(render):
    assert not to_ink(render("noon"), 32).blank


def test_long_strips_are_refused_with_the_limit():
    strip = np.full((64, 20_000), 255, np.uint8)
    strip[20:40, ::9] = 0
    with pytest.raises(ImageError, match=rf"20000 px wide at 64 px height, MAX_WIDTH is {MAX_WIDTH}"):
        to_ink(strip, 64)


def test_a_thin_line_of_ink_that_grows_too_wide_is_refused():
    sheet = np.full((200, 6000), 255, np.uint8)
    sheet[100:103, 100:5900] = 0
    with pytest.raises(ImageError, match="MAX_WIDTH"):
        to_ink(sheet, 64)


BAD_FILES = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"This is no picture.", "is no image that Pillow can read"),
    "cut.png": (lambda data: data[: len(data) // 2], "cut short or damaged"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name_in_one_sentence(render, tmp_path, name):
    content, reason = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content(encode(render(DIGITS))) if callable(content) else content)
    for read in (read_image, lambda source: to_ink(source, 32)):
        with pytest.raises(ImageError, match=reason) as error:
            read(path)
        assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_no_half_of_a_cut_file_is_read(render, kind):
    data = encode(render(DIGITS), kind)
    with pytest.raises(ImageError):
        to_ink({"bytes": data[: int(len(data) * 0.6)], "path": "cut"}, 32)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(ImageError, match="nowhere.png cannot be opened"):
        to_ink(tmp_path / "nowhere.png", 32)
    with pytest.raises(ImageError, match="cannot be opened"):
        to_ink(str(tmp_path), 32)


def test_too_many_pixels_are_refused_before_decoding():
    """Without a warning of Pillow's: the header alone says 30,000 x 3,000 px and more."""
    for size in [(30_000, 3_000), (30_000, 12_000)]:
        data = bytearray(encode(Image.new("1", (8, 8))))
        data[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
        import zlib

        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
        with warnings.catch_warnings(), pytest.raises(ImageError, match="at most 64,000,000 px"):
            warnings.simplefilter("error")
            to_ink(bytes(data), 32)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (np.full((4, 4), 2.0), "scale them to 0..1"),
        (np.full((4, 4), np.nan), "scale them to 0..1"),
        (np.zeros((4, 4), np.int64), "int64 is no image"),
        (7, "int is no image"),
        ({"bytes": None, "path": None}, "NoneType is no image"),
    ],
)
def test_what_is_no_image_is_refused(array, reason):
    with pytest.raises(ImageError, match=reason):
        to_ink(array, 32)


def test_of_an_animation_the_first_frame_is_read(render):
    first, second = render("tall"), render("noon").resize(render("tall").size)
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert np.abs(to_ink(data, 32).pixels - to_ink(first, 32).pixels).mean() < 0.02


def test_read_image_turns_by_every_exif_orientation(render):
    image = render("tall")
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Pillow's number of the way there
    for orientation, method in back.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = encode(image.transpose(Image.Transpose(method)), exif=exif)
        assert np.array_equal(np.asarray(read_image(turned)), np.asarray(image)), orientation


def test_a_pil_image_of_the_caller_is_left_alone(render):
    image = render("tall")
    before = image.tobytes()
    to_ink(image, 32)
    assert image.tobytes() == before


def test_no_rendered_word_is_taken_for_blank_paper():
    # squares, shadows and tight crops pass for noise; the words among them are dark all the same
    from htr import synth

    texts = [row["text"] for row in synth.words(600, seed=21) if to_ink(row["image"], 32).blank]
    assert texts == []

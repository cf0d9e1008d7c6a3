"""PAGE and ALTO with page images made here: words cut out along polygons, and XML that must not be believed."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from htr.images import read_image, to_ink
from htr.page_xml import parse_xml
from htr.polygon import crop
from htr.samples import load

PAPER, INK, OTHER = (226, 214, 190), (40, 40, 90), (180, 20, 20)
# two parallelograms that lean to the right; their bounding boxes share x 80..140, and each holds the other's ink there
LEFT = [(10, 70), (70, 10), (130, 10), (70, 70)]
RIGHT = [(80, 70), (140, 10), (200, 10), (140, 70)]


def page_image(polygons_and_colours, *, paper=PAPER, size=(220, 90)) -> Image.Image:
    """A page with one slanted stroke in each polygon, along its sides."""
    image = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(image)
    for polygon, colour in polygons_and_colours:
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = polygon
        draw.line([((ax + dx) / 2 + 5, ay - 5), ((bx + cx) / 2 - 5, by + 5)], fill=colour, width=5)
        draw.line([(cx - 15, cy + 5), (dx - 5, dy - 5)], fill=colour, width=5)
    return image


def points(polygon) -> str:
    return " ".join(f"{x},{y}" for x, y in polygon)


def page_xml(lines: str, *, image="page.png", width=220, height=90) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">'
        f'<Page imageFilename="{image}" imageWidth="{width}" imageHeight="{height}"><TextRegion id="r">{lines}'
        "</TextRegion></Page></PcGts>"
    )


def word(name: str, polygon, text: str) -> str:
    unicode = f"<TextEquiv><Unicode>{text}</Unicode></TextEquiv>"
    return f'<Word id="{name}"><Coords points="{points(polygon)}"/>{unicode}</Word>'


def line(name: str, polygon, text: str, words: str = "") -> str:
    return (
        f'<TextLine id="{name}"><Coords points="{points(polygon)}"/>{words}'
        f"<TextEquiv><Unicode>{text}</Unicode></TextEquiv></TextLine>"
    )


BOX = [(5, 5), (210, 5), (210, 80), (5, 80)]
WORDS = line("l1", BOX, "left right", word("w1", LEFT, "left") + word("w2", RIGHT, "e\u0301"))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pages"
    place.mkdir()
    page_image([(LEFT, INK), (RIGHT, OTHER)]).save(place / "page.png")
    return place


def pixels(image) -> np.ndarray:
    return np.asarray(read_image(image)).astype(int)


def near(colours: np.ndarray, colour, within: int = 40) -> np.ndarray:
    return np.abs(colours - np.array(colour)).max(-1) <= within


# --- PAGE


def test_each_word_gets_its_own_ink_and_paper_where_its_neighbour_was(folder):
    (folder / "page.xml").write_text(page_xml(WORDS), encoding="utf-8")
    found = load(folder)
    assert (found.problems, found.dataset["text"][:]) == ([], ["left", "é"])
    for image, own, other in zip(found.dataset["image"], (INK, OTHER), (OTHER, INK), strict=True):
        cut = pixels(image)
        assert cut.shape == (61, 121, 3)
        assert near(cut, own).sum() > 300
        assert near(cut, other).sum() == 0
        assert near(cut[0, 0], PAPER, 3) and near(cut[-1, -1], PAPER, 3)
    source = pixels(folder / "page.png")[10:71, 10:131]
    assert near(source, OTHER).sum() > 50  # the neighbour's ink does reach into the box


def test_pixels_inside_of_the_polygon_are_untouched(folder):
    (folder / "page.xml").write_text(page_xml(WORDS), encoding="utf-8")
    cut, source = pixels(load(folder).dataset["image"][0]), pixels(folder / "page.png")[10:71, 10:131]
    mask = Image.new("1", (121, 61))
    ImageDraw.Draw(mask).polygon([(x - 10, y - 10) for x, y in LEFT], fill=1)
    inside = np.asarray(mask)
    assert (cut[inside] == source[inside]).all()


def test_a_neighbour_changes_nothing_of_the_ink(folder, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    page_image([(LEFT, INK)]).save(alone / "page.png")
    for place in (folder, alone):
        (place / "page.xml").write_text(page_xml(WORDS), encoding="utf-8")
    with_neighbour, without = (to_ink(load(place).dataset["image"][0], 32).pixels for place in (folder, alone))
    assert np.abs(with_neighbour - without).max() < 0.02


def test_paper_follows_the_light_of_the_page_and_dark_pages_stay_dark():
    light = np.linspace(120, 250, 220)[None, :].repeat(90, 0)
    image = np.asarray(page_image([(LEFT, INK), (RIGHT, INK)])).mean(2)
    page = np.where(image < 150, 20, light).astype(np.uint8)
    mask = Image.new("1", (121, 61))
    ImageDraw.Draw(mask).polygon([(x - 10, y - 10) for x, y in LEFT], fill=1)
    beside = (cv2.dilate(np.asarray(mask).astype(np.uint8), np.ones((7, 7))) > 0) & ~np.asarray(mask)
    expected = light[10:71, 10:131]
    for sign in (1, -1):  # dark on light, and light on dark
        cut = crop(page if sign > 0 else 255 - page, [np.array(LEFT, float)]).astype(float)
        off = np.abs(cut - (expected if sign > 0 else 255 - expected))
        assert off[beside].max() < 16  # no edge along the polygon
        assert off[~np.asarray(mask)].max() < 40


def test_sixteen_bit_pages_keep_their_depth():
    page = np.full((90, 220), 60_000, np.uint16)
    page[30:50, 60:80] = 9_000
    cut = crop(page, [np.array(LEFT, float)])
    assert cut.dtype == np.uint16 and cut[0, 0] == 60_000 and cut.min() == 9_000


def test_lines_come_where_words_have_no_text(folder):
    silent = line("l2", BOX, "whole line", word("w3", LEFT, "") + word("w4", RIGHT, ""))
    partly = line("l3", BOX, "x", word("w5", LEFT, "five") + word("w6", RIGHT, ""))
    (folder / "page.xml").write_text(page_xml(silent + partly + line("l4", BOX, "")), encoding="utf-8")
    found = load(folder)
    assert found.dataset["text"][:] == ["whole line", "five"]
    assert found.dataset[0]["image"]["path"].endswith("page.xml#l2")
    named = [(each.row, each.path.partition("#")[2], each.reason) for each in found.problems]
    assert named == [(2, "w6", "empty text"), (3, "l4", "empty text")]


def test_the_first_reading_is_the_text(folder):
    two = (
        f'<TextLine id="l"><Coords points="{points(BOX)}"/><TextEquiv index="1"><Unicode>second</Unicode></TextEquiv>'
        '<TextEquiv index="0"><Unicode>\n first\n </Unicode></TextEquiv></TextLine>'
    )
    (folder / "page.xml").write_text(page_xml(two))
    assert load(folder).dataset["text"][:] == ["first"]


def test_page_of_2010_and_folders_of_exports_are_read(folder):
    (folder / "page").mkdir()
    old = '<TextLine id="l"><Coords><Point x="5" y="5"/><Point x="60" y="5"/><Point x="60" y="70"/></Coords>'
    text = page_xml(old + "<TextEquiv><PlainText>old</PlainText></TextEquiv></TextLine>")
    (folder / "page" / "page.xml").write_text(text)
    (folder / "mets.xml").write_text('<mets xmlns="http://www.loc.gov/METS/"/>')
    found = load(folder)
    assert (found.dataset["text"][:], found.problems) == (["old"], [])


def test_coordinates_of_another_resolution_are_scaled(folder):
    page_image([(LEFT, INK), (RIGHT, OTHER)]).resize((440, 180), 0).save(folder / "page.png")
    (folder / "page.xml").write_text(page_xml(WORDS), encoding="utf-8")
    cut = pixels(load(folder).dataset["image"][0])
    assert abs(cut.shape[1] - 242) <= 2
    assert near(cut, INK).sum() > 1200 and near(cut, OTHER).sum() == 0


def test_regions_that_cannot_be_cut_are_named(folder):
    outside = [(500, 500), (600, 500), (600, 600)]
    lines = line("l1", BOX, "good") + line("l2", outside, "far") + line("l3", BOX[:2], "thin")
    lines += '<TextLine id="l4"><TextEquiv><Unicode>none</Unicode></TextEquiv></TextLine>'
    (folder / "page.xml").write_text(page_xml(lines + line("l5", [(9e99, 1), (1, 9e99), (-9e99, 3)], "huge")))
    found = load(folder)
    assert found.dataset["text"][:] == ["good"]
    assert [each.row for each in found.problems] == [1, 2, 3, 4]
    assert "lies outside of the page of 220x90 px" in found.problems[0].reason
    assert "no polygon of three points" in found.problems[1].reason
    assert "no polygon of three points" in found.problems[2].reason


# --- ALTO


def alto(lines: str, *, name="page.png", unit="pixel", page='WIDTH="220" HEIGHT="90"') -> str:
    return (
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>'
        f"<MeasurementUnit>{unit}</MeasurementUnit>"
        f"<sourceImageInformation><fileName>{name}</fileName></sourceImageInformation></Description>"
        f"<Layout><Page {page}><PrintSpace><TextBlock>{lines}</TextBlock></PrintSpace></Page></Layout></alto>"
    )


def string(name: str, text: str, box=(10, 10, 120, 60), polygon=None) -> str:
    shape = f'<Shape><Polygon POINTS="{polygon}"/></Shape>' if polygon else ""
    x, y, w, h = box
    return f'<String ID="{name}" HPOS="{x}" VPOS="{y}" WIDTH="{w}" HEIGHT="{h}" CONTENT="{text}">{shape}</String>'


@pytest.mark.parametrize("form", ["{},{} ", "{} {} ", "{},{},"])
def test_alto_strings_are_cut_along_their_polygons(folder, form):
    left, right = ("".join(form.format(*point) for point in polygon).rstrip(" ,") for polygon in (LEFT, RIGHT))
    words = string("s1", "left", polygon=left) + "<SP/>" + string("s2", "e\u0301", (80, 10, 120, 60), right)
    (folder / "page.xml").write_text(alto(f'<TextLine ID="l">{words}</TextLine>'), encoding="utf-8")
    found = load(folder)
    assert found.dataset["text"][:] == ["left", "é"]
    for image, own, other in zip(found.dataset["image"], (INK, OTHER), (OTHER, INK), strict=True):
        assert near(pixels(image), own).sum() > 300 and near(pixels(image), other).sum() == 0


def test_an_alto_string_without_a_shape_keeps_to_its_lines(folder):
    shape = f'<Shape><Polygon POINTS="{points(LEFT)}"/></Shape>'
    boxed = f'<TextLine ID="l">{shape}{string("s", "left")}</TextLine>'
    (folder / "page.xml").write_text(alto(boxed))
    cut = pixels(load(folder).dataset["image"][0])
    assert near(cut, INK).sum() > 300 and near(cut, OTHER).sum() == 0


def test_alto_boxes_and_lines_without_text(folder):
    lines = f"<TextLine ID='l1'>{string('s1', 'both')}</TextLine>"
    lines += '<TextLine ID="l2" HPOS="5" VPOS="5" WIDTH="100" HEIGHT="70"/>'
    (folder / "page.xml").write_text(alto(lines))
    found = load(folder)
    assert pixels(found.dataset["image"][0]).shape == (61, 121, 3)
    assert [(each.row, each.reason) for each in found.problems] == [(1, "empty text")]


def test_alto_in_tenths_of_millimetres_needs_the_pages_size(folder):
    lines = f"<TextLine>{string('s', 'both', (20, 20, 240, 120))}</TextLine>"
    (folder / "page.xml").write_text(alto(lines, unit="mm10", page='WIDTH="440" HEIGHT="180"'))
    assert abs(pixels(load(folder).dataset["image"][0]).shape[1] - 121) <= 2
    (folder / "page.xml").write_text(alto(lines, unit="mm10", page=""))
    assert "measures in mm10 and does not give the page's WIDTH" in load(folder).problems[0].reason


def test_alto_without_a_file_name_takes_the_image_beside_it(folder):
    (folder / "page.xml").write_text(alto(f"<TextLine>{string('s', 'x')}</TextLine>", name=""))
    assert len(load(folder).dataset) == 1
    (folder / "page.xml").rename(folder / "other.xml")
    assert "names no image" in load(folder).problems[0].reason


# --- what must not be believed


BOMB = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTER = '<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("doctype", [BOMB, OUTER, '<!DOCTYPE b SYSTEM "http://example.org/b.dtd">'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_doctype_is_refused_in_any_encoding(folder, doctype, encoding):
    (folder / "page.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<b/>'.encode(encoding))
    (folder / "good.xml").write_text(page_xml(WORDS), encoding="utf-8")
    found = load(folder)
    assert len(found.dataset) == 2
    assert [each.reason for each in found.problems] == [
        "holds a DOCTYPE, which may read other files: take the declaration out"
    ]


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "..\\secret.png", "link.png"])
def test_no_image_outside_of_the_folder_is_opened(folder, name):
    page_image([(LEFT, INK)]).save(folder.parent / "secret.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "page.xml").write_text(page_xml(WORDS, image=name), encoding="utf-8")
    found = load(folder)
    assert (len(found.dataset), len(found.problems)) == (0, 2)
    assert "lies outside of" in found.problems[0].reason


def test_an_absolute_path_means_the_file_of_that_name_inside(folder):
    page_image([]).save(folder.parent / "page.png")
    for name in (str(folder.parent / "page.png"), "C:\\scans\\page.png"):
        (folder / "page.xml").write_text(page_xml(WORDS, image=name), encoding="utf-8")
        assert near(pixels(load(folder).dataset["image"][0]), INK).sum() > 300


def test_every_row_of_a_page_without_its_image_is_a_problem(folder):
    (folder / "a.xml").write_text(page_xml(WORDS, image="gone.png"), encoding="utf-8")
    (folder / "b.xml").write_text(page_xml(WORDS, image="cut.png"), encoding="utf-8")
    (folder / "c.xml").write_text(page_xml(WORDS, width=90, height=220), encoding="utf-8")
    (folder / "d.xml").write_text("<PcGts><Page")
    (folder / "e.xml").write_text("<TEI/>")
    file = io.BytesIO()
    page_image([(LEFT, INK)]).save(file, "PNG")
    (folder / "cut.png").write_bytes(file.getvalue()[:200])
    found = load(folder)
    assert [each.row for each in found.problems] == list(range(8))
    reasons = [each.reason for each in found.problems]
    assert "names the image gone.png, which is not in" in reasons[0]
    assert "cut.png" in reasons[2]
    assert "page.png is 220x90, the XML says 90x220" in reasons[4]
    assert "not well-formed XML" in reasons[6]
    assert "is <TEI>, neither PAGE (PcGts) nor ALTO (alto)" in reasons[7]


def test_two_files_for_one_image_are_refused(folder):
    (folder / "page.xml").write_text(page_xml(WORDS), encoding="utf-8")
    (folder / "again.xml").write_text(alto(""))
    with pytest.raises(ValueError, match="describe the same image; keep one of them"):
        load(folder)


def test_xml_beyond_the_limit_is_refused(folder, monkeypatch):
    monkeypatch.setattr("htr.page_xml.MAX_XML_BYTES", 10)
    (folder / "page.xml").write_text(page_xml(WORDS), encoding="utf-8")
    with pytest.raises(OSError, match="larger than the 10 bytes that are read"):
        parse_xml(folder / "page.xml")


def test_a_sliver_of_a_large_region_still_gets_paper():
    page = np.full((600, 600), 230, np.uint8)
    cut = crop(page, [np.array([(10, 11), (590, 591), (590, 592)], float)])
    assert (cut == 230).all()

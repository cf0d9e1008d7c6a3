"""Floor 1: words and lines out of PAGE and ALTO XML with their page images.

PAGE: S. Pletschacher and A. Antonacopoulos, "The PAGE (Page Analysis and Ground-truth Elements) format framework",
2010.
ALTO: the Library of Congress' "Analyzed Layout and Text Object", versions 2 to 4.
"""

import io
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
from PIL import Image

from htr import files
from htr.images import ImageError, read_image
from htr.polygon import crop, scaled, work
from htr.rows import Row

MAX_XML_BYTES = 64 << 20  # a page of 10,000 words with glyphs takes about 20 MB
MAX_ELEMENTS = 1_000_000  # such a page has 400,000
MAX_WORK = 20_000_000  # px of all regions' boxes, many points counted in (`polygon.work`); or 4 times the page
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_NO_PAGES = ("mets", "TrpDocMetadata", "trpDocMetadata")  # files that stand beside pages in exports


class Region(NamedTuple):
    """A word or a line; its pixels are those inside of all polygons, each (points, 2) x, y in the XML's units."""

    name: str
    text: str
    polygons: list[np.ndarray]


class Page(NamedTuple):
    """image: the file that the XML names. size: width and height in the XML's units, None where it does not say."""

    image: str
    size: tuple[float, float] | None
    regions: list[Region]


# --- XML without its dangers


def parse_xml(path: Path) -> Element:
    """XML file -> its root; tags and attributes lose their namespace. OSError where it is too large, ValueError for
    what is not XML or has a DOCTYPE: entities can read other files and grow without end, and PAGE needs none."""
    builder, parser, count = TreeBuilder(), expat.ParserCreate(namespace_separator="}"), itertools.count(1)

    def start(tag: str, attributes: dict) -> None:
        if next(count) > MAX_ELEMENTS:
            raise ValueError(f"{path} has more than {MAX_ELEMENTS:,} elements: split it by page.")
        builder.start(_local(tag), _locals(attributes))

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: builder.end(_local(tag))
    parser.CharacterDataHandler = builder.data
    _feed(parser, files.read(path, MAX_XML_BYTES), path, whole=True)
    return builder.close()


def root_attributes(path: Path) -> dict[str, str]:
    """XML file -> the attributes of its root, without reading on."""
    found: list[dict] = []
    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = lambda tag, attributes: found.append(_locals(attributes)) if not found else None
    with open(path, "rb") as file:
        _feed(parser, file.read(1 << 16), path, whole=False)
    return found[0] if found else {}


def _feed(parser, data: bytes, path: Path, *, whole: bool) -> None:
    def refuse(*_):
        raise ValueError(f"{path} holds a DOCTYPE, which may read other files: take the declaration out.")

    def declared(_, name: str | None, __) -> None:
        with suppress(Exception):  # any codec of Python's can be named, and each raises its own kinds
            own = re.fullmatch("utf-(8|16([bl]e)?)|iso-8859-1|us-ascii", name or "utf-8", re.IGNORECASE)
            if own or len(bytes(range(256)).decode(name or "", "replace")) == 256:
                return
        raise ValueError(f"{path} is written in {name}, which expat cannot read: save it as UTF-8.")

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.XmlDeclHandler = declared
    try:
        parser.Parse(data, whole)
    except expat.ExpatError as error:
        raise ValueError(f"{path} is not well-formed XML: {error}.") from error


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _locals(attributes: dict) -> dict:
    return {_local(name): value for name, value in attributes.items()}


# --- PAGE


def _read_page(root: Element) -> Page:
    page = root.find("Page")
    if page is None:
        raise ValueError("has no Page element")
    size = (_number(page.get("imageWidth")), _number(page.get("imageHeight")))
    regions = []
    for line in page.iter("TextLine"):
        words = line.findall("Word")
        for element in words if any(map(_page_text, words)) else [line]:
            regions.append(Region(element.get("id", ""), _page_text(element), _page_polygons(element)))
    return Page(page.get("imageFilename", ""), size if all(size) else None, regions)


def _page_text(element: Element) -> str:
    """The text of the first reading: the lowest index where several are given."""
    reading = min(element.findall("TextEquiv"), key=lambda each: _number(each.get("index")), default=Element(""))
    text = reading.findtext("Unicode") or reading.findtext("PlainText") or ""
    return text.strip()  # white space at its ends is the XML's layout


def _page_polygons(element: Element) -> list[np.ndarray]:
    coords = element.find("Coords")
    if coords is None:
        return []
    points = coords.findall("Point")  # the form of 2010 and before
    text = " ".join(f"{point.get('x')},{point.get('y')}" for point in points) if points else coords.get("points", "")
    return [_points(text)]


# --- ALTO


def _read_alto(root: Element) -> Page:
    pages = root.findall(".//Page")
    if len(pages) != 1:
        raise ValueError(f"describes {len(pages)} pages: split it into one file a page")
    size = (_number(pages[0].get("WIDTH")), _number(pages[0].get("HEIGHT")))
    unit = root.findtext("Description/MeasurementUnit", "pixel").strip()
    if unit != "pixel" and not all(size):
        raise ValueError(f"measures in {unit} and does not give the page's WIDTH and HEIGHT: convert it to pixels")
    regions = []
    for line in pages[0].iter("TextLine"):
        words = line.findall("String")
        whole = _alto_polygons(line)
        if any(word.get("CONTENT") for word in words):
            # a word without its own shape lies inside of the line's; some programs write the line as one such String
            clips = whole if _shaped(line) else []
            regions += [_alto_word(word, clips) for word in words]
        else:
            regions.append(Region(line.get("ID", ""), "", whole))
    name = (root.findtext("Description/sourceImageInformation/fileName") or "").strip()
    return Page(name, size if all(size) else None, regions)


def _alto_word(word: Element, clips: list[np.ndarray]) -> Region:
    polygons = _alto_polygons(word) + ([] if _shaped(word) else clips)
    return Region(word.get("ID", ""), word.get("CONTENT", ""), polygons)


def _shaped(element: Element) -> bool:
    return element.find("Shape/Polygon") is not None


def _alto_polygons(element: Element) -> list[np.ndarray]:
    if (shape := element.find("Shape/Polygon")) is not None:
        return [_points(shape.get("POINTS", ""))]
    box = [element.get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")]
    if None in box:
        return []
    x, y, w, h = map(_number, box)
    return [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])]


def _points(text: str) -> np.ndarray:
    """ "x,y x,y" or "x y x y" -> (points, 2); none where the numbers do not pair."""
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]
    return np.array(numbers if len(numbers) % 2 == 0 else []).reshape(-1, 2)


def _number(text: str | None) -> float:
    return float(text) if text and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text) else 0.0


# --- rows


def read_pages(folder: Path) -> Iterator[Row]:
    """folder -> a row for every word, or line where words have no text, of its PAGE and ALTO files, folders below too.

    An image is a PNG of the region with paper outside of its polygon. Crops are kept in memory, 3 to 30 kB each.
    ValueError where two files describe one image: their rows would come twice.
    """
    pages: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*.xml")):
        try:
            page = _read(path)
        except (ValueError, OSError) as error:
            yield Row(str(path), None, None, reason=_reason(error, path))
            continue
        if page is None:
            continue
        try:
            image = _image_path(page.image, path, folder)
        except (ValueError, OSError, RuntimeError) as error:  # a name too long, links in a circle
            yield from _unusable(page, path, _reason(error, path))
            continue
        if image in pages:
            raise ValueError(f"{pages[image]} and {path} describe the same image; keep one of them in the folder.")
        pages[image] = path
        yield from _rows(page, path, image)


def _read(path: Path) -> Page | None:
    """XML file -> its page; None for the files that exports put beside pages. ValueError says what is wrong."""
    root = parse_xml(path)
    if root.tag in _NO_PAGES:
        return None
    readers = {"PcGts": _read_page, "alto": _read_alto}
    if root.tag not in readers:
        raise ValueError(f"is <{root.tag}>, neither PAGE (PcGts) nor ALTO (alto)")
    return readers[root.tag](root)


def _reason(error: Exception, path: Path) -> str:
    return str(getattr(error, "strerror", None) or error).removeprefix(f"{path} ").rstrip(".")


def _unusable(page: Page, path: Path, reason: str) -> Iterator[Row]:
    for region in page.regions:
        yield Row(f"{path}#{region.name}", None, region.text, reason=reason)


def _rows(page: Page, path: Path, image: Path) -> Iterator[Row]:
    try:
        pixels, scale = _open_page(image, page.size)
    except ImageError as error:
        yield from _unusable(page, path, _reason(error, path))
        return
    left = max(MAX_WORK, 4 * pixels.shape[0] * pixels.shape[1])
    for region in page.regions:
        name = f"{path}#{region.name}"
        try:
            polygons = scaled(region.polygons, scale) if left >= 0 else []
            if left < 0 or (left := left - work(pixels, polygons)) < 0:
                raise ImageError("the regions up to this one cover the page many times: split it, or simplify them.")
            data = _png(crop(pixels, polygons))
            yield Row(name, {"bytes": data, "path": name}, region.text)
        except ImageError as error:
            yield Row(name, None, region.text, reason=_reason(error, path))


def _image_path(name: str, path: Path, folder: Path) -> Path:
    """The image that an XML file names: beside it, one folder up, or at the top; never one outside of folder."""
    if not name:
        beside = [path.with_suffix(suffix) for suffix in _IMAGES if path.with_suffix(suffix).is_file()]
        if len(beside) != 1:
            raise ValueError("names no image, and there is not exactly one image of the same name beside it")
        name = beside[0].name
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        name = PureWindowsPath(name).name  # the path on the machine that wrote the XML: only its last part can be meant
    name = name.replace("\\", "/")
    top = folder.resolve()
    places = [(place / name).resolve() for place in (path.parent, path.parent.parent, folder)]
    for place in places:
        if place.is_relative_to(top) and place.is_file():
            return place
    if not places[0].is_relative_to(top):
        raise ValueError(f"names the image {name}, which lies outside of {folder}: images are read inside of it only")
    raise ValueError(f"names the image {name}, which is not in {folder}")


@np.errstate(all="ignore")  # sizes of 10^400 or 10^-320 px: what comes of them is no 1 either
def _open_page(path: Path, size: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """image file -> pixels (h, w) or (h, w, 3), and px per unit of the XML in x and y."""
    image = read_image(path)
    scale = np.array(image.size) / np.array(size if size else image.size)
    if size and not abs(scale[0] / scale[1] - 1) <= 0.01:
        of_image, of_xml = "x".join(map(str, image.size)), f"{size[0]:g}x{size[1]:g}"
        raise ImageError(f"{path.name} is {of_image}, the XML says {of_xml}: the image is another one or was cropped.")
    if image.mode in ("L", "RGB", "I;16"):
        return np.asarray(image), scale
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("L" if image.mode == "1" else "RGB")), scale


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()

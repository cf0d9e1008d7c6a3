"""Floor 1: fetches handwriting fonts with an open licence from npm (`@fontsource/...`) into a folder.

    python -m htr.fonts DIR [NAME ...]
    python -m htr.fonts DIR --held-out

Fonts are an input to synthesis, never part of the repository. DIR/fonts.csv records package, version, licence and
copyright of each, DIR/licences holds the texts. A name that is not there, or whose licence is not open, is listed in
DIR/skipped.csv.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

PRINTED = """
caveat caveat-brush kalam patrick-hand indie-flower shadows-into-light shadows-into-light-two architects-daughter
gloria-hallelujah coming-soon handlee neucha gochi-hand just-another-hand just-me-again-down-here
covered-by-your-grace crafty-girls schoolbell annie-use-your-telescope short-stack sue-ellen-francisco
swanky-and-moo-moo over-the-rainbow loved-by-the-king waiting-for-the-sunrise walter-turncoat the-girl-next-door
pangolin mali sriracha mansalva grape-nuts shantell-sans delicious-handrawn edu-sa-beginner edu-nsw-act-foundation
edu-vic-wa-nt-beginner edu-qld-beginner edu-tas-beginner nanum-pen-script gaegu hi-melody gamja-flower
""".split()
JOINED = """
homemade-apple la-belle-aurore dawning-of-a-new-day cedarville-cursive league-script nothing-you-could-do
reenie-beanie zeyada give-you-glory kristi rock-salt meddon mr-dafoe mr-de-haviland mrs-saint-delafield
herr-von-muellerhoff stalemate ruthie bilbo sacramento licorice square-peg allison ms-madi oooh-baby marck-script
bad-script calligraffitti vibur beth-ellen borel sedgwick-ave solitreo playwrite-us-trad playwrite-us-modern
playwrite-gb-s playwrite-fr-moderne playwrite-de-grund playwrite-it-moderna playwrite-es
""".split()
CAREFUL = """
aguafina-script alex-brush allura arizonia babylonica carattere clicker-script comforter cookie courgette damion
delius delius-swash-caps east-sea-dokdo edu-au-vic-wa-nt-hand edu-nsw-act-cursive edu-sa-hand edu-vic-wa-nt-hand
engagement explora felipa great-vibes grechen-fuemen hurricane island-moments italianno kaushan-script kolker-brush
liu-jian-mao-cao long-cang meow-script mr-bedfort my-soul nanum-brush-script parisienne passions-conflict
patrick-hand-sc permanent-marker pinyon-script playpen-sans playwrite-au-qld playwrite-cz playwrite-dk-loopet
playwrite-hr playwrite-no playwrite-pl playwrite-pt playwrite-ro poor-story puppies-play qwigley qwitcher-grypen
rancho redressed romanesco rouge-script ruge-boogie sassy-frass satisfy send-flowers single-day smooch sofia sunshiney
tangerine twinkle-star vujahday-script waterfall whisper yellowtail yesteryear zhi-mang-xing
""".split()
NAMES = (*PRINTED, *JOINED, *CAREFUL)
# kept from synthesis, to measure how hands are read that were never seen
HELD_OUT = (
    "birthstone caramel dancing-script dekko fuzzy-bubbles klee-one moon-dance mynerve playwrite-nl yomogi".split()
)
LICENCES = ("OFL-1.1", "Apache-2.0")


@dataclass(frozen=True)
class Font:
    """One font fetched: file in the folder, and what its package says of itself."""

    name: str
    file: str
    package: str
    version: str
    licence: str
    copyright: str


class FontError(ValueError):
    """A font that cannot be had; the message says why in one sentence."""


def fetch(folder, names=NAMES):
    """Fetches fonts that the folder lacks; returns (list of Font, dict of name -> reason for those skipped).

    Raises FileNotFoundError where npm is not installed.
    """
    if shutil.which("npm") is None:
        raise FileNotFoundError("npm was not found: install Node.js, or put .ttf, .otf or .woff files into the folder.")
    folder = Path(folder)
    (folder / "licences").mkdir(parents=True, exist_ok=True)
    have = {font.name: font for font in recorded(folder)}
    skipped = {}
    for name in names:
        if name in have and (folder / have[name].file).exists():
            continue
        try:
            have[name] = _fetch_one(folder, name)
        except FontError as error:
            skipped[name] = str(error)
        _record(folder, have.values(), skipped)
    return list(have.values()), skipped


def recorded(folder):
    """folder -> list of Font as DIR/fonts.csv has them; empty where there is none."""
    path = Path(folder) / "fonts.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Font(**row) for row in csv.DictReader(file)]


def _record(folder, fonts, skipped):
    with (folder / "fonts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Font.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(font) for font in fonts)
    with (folder / "skipped.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "reason"), *skipped.items()])


def _fetch_one(folder, name):
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise FontError(f"{name!r} is no font name: give small letters, digits and hyphens, as in zeyada.")
    package = f"@fontsource/{name}"
    with tempfile.TemporaryDirectory() as work:
        command = ["npm", "pack", package, "--silent"]
        run = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        archives = list(Path(work).glob("*.tgz"))
        if run.returncode or not archives:
            said = next((line for line in run.stderr.splitlines() if "code" in line), "npm found no such package")
            raise FontError(f"{package} cannot be fetched: {said.strip()}.")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        return _keep(Path(work) / "package", folder, name, package)


def _keep(unpacked, folder, name, package):
    """Copies the font and its licence out of the unpacked package."""
    about = json.loads((unpacked / "package.json").read_text(encoding="utf-8"))
    licence = about.get("license", "none named")
    if licence not in LICENCES:
        raise FontError(f"{package} has the licence {licence}: only {' and '.join(LICENCES)} are taken.")
    weights = unpacked.glob(f"files/{name}-latin-[0-9]00-normal.woff")
    files = sorted(weights, key=lambda p: abs(int(p.stem.split("-")[-2]) - 400))
    text = unpacked / "LICENSE"
    if not files or not text.exists():
        raise FontError(f"{package} holds no upright Latin .woff file with its licence: choose another font.")
    shutil.copy(files[0], folder / files[0].name)
    shutil.copy(text, folder / "licences" / f"{name}.txt")
    return Font(name, files[0].name, package, about["version"], licence, _copyright(unpacked))


def _copyright(unpacked):
    """The line that names the font's authors: from the package's metadata, or the first line of its licence."""
    metadata = unpacked / "metadata.json"
    if metadata.exists():
        named = json.loads(metadata.read_text(encoding="utf-8")).get("license", {})
        if isinstance(named, dict) and named.get("attribution"):
            return named["attribution"].strip()
    return (unpacked / "LICENSE").read_text(encoding="utf-8", errors="replace").strip().splitlines()[0].strip()


def main(arguments):
    """DIR [NAME ...] -> exit code: 0, 1 where a font was skipped, 2 for wrong usage."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m htr.fonts DIR [NAME ... | --held-out]\n")
        return 2
    names = HELD_OUT if arguments[1:] == ["--held-out"] else arguments[1:] or NAMES
    fonts, skipped = fetch(arguments[0], names)
    for font in fonts:
        sys.stdout.write(f"{font.file}: {font.package} {font.version}, {font.licence}\n")
    for name, reason in skipped.items():
        sys.stdout.write(f"{name} skipped: {reason}\n")
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

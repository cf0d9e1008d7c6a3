"""Growth: what an epoch of training costs against its words and against their width, as a table and a picture.

    python benchmarks/growth.py --picture docs/growth.png

Synthetic words, network `tiny`, augmented in the same process. The cost is processor time of all threads, so that other
work on the machine changes little. It grows linearly where the exponent beneath the table is 1 or less.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from feeding import words_of, write
from PIL import Image, ImageDraw

from htr import plotting, training
from htr.config import TrainConfig, preset

WIDTH, COUNT = 100, 256  # px and words, where the other one grows
WORDS, WIDTHS = (128, 256, 512, 1024), (50, 100, 200, 400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="epochs of each kind; the cheapest counts")
    parser.add_argument("--picture", type=Path, help="a PNG file to draw")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = [(count, cost(Path(folder), count, WIDTH, args.rounds)) for count in WORDS]
        widths = [(width, cost(Path(folder), COUNT, width, args.rounds)) for width in WIDTHS]
    print("| words | width, px | CPU s an epoch | ms a word |\n| --- | --- | --- | --- |")
    for count, width, seconds in [(n, WIDTH, s) for n, s in words] + [(COUNT, w, s) for w, s in widths]:
        print(f"| {count:,} | {width} | {seconds:.2f} | {1e3 * seconds / count:.2f} |")
    powers = [exponent(words), exponent(widths)]
    print(f"\nThe cost grows with words to the power of {powers[0]:.2f}, with width to the power of {powers[1]:.2f}.")
    if args.picture:
        draw(words, widths, powers).save(args.picture, optimize=True)
        print(f"\n![Cost of an epoch against words and width]({args.picture.name})")


def cost(folder: Path, count: int, width: int, rounds: int) -> float:
    """CPU seconds of an epoch over that many words of one width, behind one that compiles."""
    # a file of its own each time: mapped ones are kept open
    file = folder / f"{count} {width}.inks"
    write(file, count, (width, width + 1))
    words, settings = words_of(file), TrainConfig(epochs=1, workers=0)
    reader = training._reader(words, preset("tiny"), settings, None)
    batches = training._batches(words, reader, settings, 0, 1)
    learner = training._learner(reader, settings, 1)
    learner.fit(batches, steps_per_epoch=4, shuffle=False, verbose=0)
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        learner.fit(batches, shuffle=False, verbose=0)
        seconds.append(time.process_time() - begin)
    return min(seconds)


def exponent(points: list[tuple[int, float]]) -> float:
    sizes, seconds = np.log(points).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def draw(words, widths, powers) -> Image.Image:
    """Two panels: the points, and the line through the origin and the last one."""
    page = Image.new("RGB", (640, 260), plotting.PAPER)
    pen = ImageDraw.Draw(page)
    panels = ((words, f"{WIDTH} px wide", "words"), (widths, f"{COUNT} words", "px of width"))
    for number, (points, title, unit) in enumerate(panels):
        left, top, right, bottom = 320 * number + 40, 36, 320 * number + 300, 210
        (far, most) = points[-1]
        plotting.write(page, (left, 8), f"CPU s an epoch, {title}: power {powers[number]:.2f}", room=right - left)
        pen.line((left, top, left, bottom, right, bottom), plotting.GRAPHITE)
        pen.line((left, bottom, right, top), plotting.RULE, 2)
        for size, seconds in points:
            x, y = left + (right - left) * size / far, bottom - (bottom - top) * seconds / most
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), plotting.MARK)
        plotting.write(page, (left, bottom + 6), "0")
        plotting.write(page, (right - 60, bottom + 6), f"{far:,}")
        plotting.write(page, (left + 90, bottom + 26), unit)
        plotting.write(page, (left - 36, top), f"{most:.1f}")
    return page


if __name__ == "__main__":
    main()

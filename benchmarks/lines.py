"""Words that `htr align` cut out of copiste's lines against those that copiste holds cut already.

    htr align $HTR_DATA/copiste_lines/train.parquet --out runs/lines/words.parquet
    python benchmarks/lines.py runs/lines/words.parquet

Pairs are of one line, one place in it and one text. Both images are read; the one whose reading is closer to the text
was cut better. A reader that was trained on copiste's own cuts favours these.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as parquet

import htr
from htr.metrics import edits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", type=Path)
    parser.add_argument("--checkpoint", help="default: the shipped reader")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    args = parser.parse_args()
    ours = {}
    for row in parquet.read_table(args.words).to_pylist():
        ours[Path(row["line"]).stem, row["index"]] = row
    theirs = {}
    for row in parquet.read_table(args.data / "copiste" / "train.parquet").to_pylist():
        line, _, index = Path(row["image"]["path"]).stem.rpartition("_")
        theirs[line, int(index)] = row
    placed = sorted(set(ours) & set(theirs))
    pairs = [place for place in placed if ours[place]["text"] == theirs[place]["text"]]
    reader = htr.load(args.checkpoint)
    closer, total = Counter(), Counter()
    texts = [[side[place]["image"] for place in pairs] for side in (ours, theirs)]
    for place, a, b in zip(pairs, *map(reader.transcribe, texts), strict=True):
        wrong = [edits(ours[place]["text"], word.text) for word in (a, b)]
        closer[(wrong[0] > wrong[1]) - (wrong[0] < wrong[1])] += 1
        total.update({"ours": wrong[0], "theirs": wrong[1], "characters": len(ours[place]["text"])})
    print(f"{len(ours):,} words of ours, {len(theirs):,} of copiste's, {len(placed):,} places in both")
    print(f"{len(pairs):,} of them with the same text: ours read closer {closer[-1]:,}, alike {closer[0]:,}, ", end="")
    print(f"copiste's closer {closer[1]:,}")
    print(
        f"CER {total['ours'] / total['characters']:.2%} on ours, {total['theirs'] / total['characters']:.2%} on theirs"
    )


if __name__ == "__main__":
    main()

"""How many planted label errors does `htr.audit` find? Labels exchanged within a writer and labels with typing errors.

python benchmarks/audit.py ../shared/data/dhsd/validation.parquet --rows 300
python benchmarks/audit.py --synthetic 400

The words must not be among those that the checkpoint was trained on. Of the rows, 5 % get the label of another row of
their writer and 5 % one or two characters deleted, inserted or replaced. The words' own wrong labels count as false
alarms, so the figures are too low where the data is not clean.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import htr
from htr import audit, samples
from htr.synth import write_parquet

SHARE = 0.05  # of the rows, for each kind of error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="a parquet file, or anything else that htr train takes")
    parser.add_argument("--synthetic", type=int, metavar="N", help="N neat words from htr synth instead of data")
    parser.add_argument("--checkpoint", help="the reader; without it the shipped one")
    parser.add_argument("--rows", type=int, help="the first rows alone")
    parser.add_argument("--seeds", type=int, default=3, help="how often errors are planted anew")
    parser.add_argument("--out", type=Path, default=Path("runs/audit"))
    args = parser.parse_args()
    if not args.data and not args.synthetic:
        parser.error("give a parquet file or --synthetic N")
    source = args.data
    if args.synthetic:
        source = write_parquet(args.out / "synthetic.parquet", args.synthetic, seed=99, strength=0)
    dataset = samples.load(source).dataset
    dataset = dataset.select(range(min(args.rows or len(dataset), len(dataset))))
    reader, figures = htr.load(args.checkpoint), []
    for seed in range(args.seeds):
        texts, kinds, partners = plant(dataset["text"][:], dataset["writer"][:], np.random.default_rng(seed))
        start = time.perf_counter()
        found = audit.audit(reader, with_texts(dataset, texts))
        seconds = time.perf_counter() - start
        figures.append({**rates(found, kinds, partners), "seconds": seconds})
    words = f"{len(dataset)} words, {len(set(dataset['writer']))} writers"
    print(f"{source}: {words}, checkpoint {reader.name}, errors planted {args.seeds} times: mean (least to most)")
    for name in figures[0]:
        values = [each[name] for each in figures]
        print(f"  {name:44} {np.mean(values):7.3f} ({min(values):.3f} to {max(values):.3f})")


def plant(texts: list[str], writers: list, rng: np.random.Generator) -> tuple[list[str], np.ndarray, dict[int, int]]:
    """texts, writers (rows,) -> texts with errors, kinds ("", "exchange" or "typing"), and the rows that exchanged."""
    texts, kinds, partners = list(texts), np.full(len(texts), "", dtype=object), {}
    count, order = round(SHARE * len(texts)), rng.permutation(len(texts)).tolist()
    for i in order:
        others = [j for j in order if writers[j] == writers[i] and texts[j] != texts[i] and not kinds[j] and j != i]
        if len(partners) + 2 <= count and not kinds[i] and others:
            j = others[0]
            texts[i], texts[j] = texts[j], texts[i]
            kinds[i] = kinds[j] = "exchange"
            partners |= {i: j, j: i}
    alphabet = sorted(set("".join(texts)))
    for i in [i for i in order if not kinds[i]][:count]:
        texts[i], kinds[i] = typed(texts[i], alphabet, rng), "typing"
    return texts, kinds, partners


def typed(text: str, alphabet: list[str], rng: np.random.Generator) -> str:
    """The text with one or two characters deleted, inserted or replaced; never empty, never the same."""
    while True:
        wrong = text
        for _ in range(rng.integers(1, 3)):
            place, character = int(rng.integers(len(wrong) + 1)), str(rng.choice(alphabet))
            deleted, inserted = (int(n) for n in rng.permutation([(1, 0), (0, 1), (1, 1)])[0])
            wrong = wrong[:place] + character * inserted + wrong[place + deleted :]
        if wrong.strip() and wrong != text:
            return wrong


def with_texts(dataset, texts: list[str]):
    """The dataset with other labels."""
    order = dataset.column_names
    return dataset.remove_columns("text").add_column("text", texts).select_columns(order)


def rates(found: list[audit.Suspicion], kinds: np.ndarray, partners: dict[int, int]) -> dict[str, float]:
    """Recall and precision of the first tenth of the list, and of the exchanges that are proposed."""
    flagged = [each.row for each in found[: round(0.1 * len(found))]]
    hit, wrong = np.isin(np.arange(len(kinds)), flagged), kinds != ""
    proposed = [each for each in found if each.kind == "exchange"]
    right = [each for each in proposed if partners.get(each.row) == each.partner]
    return {
        "recall, first tenth of the list": hit[wrong].mean(),
        "  of exchanged labels": hit[kinds == "exchange"].mean(),
        "  of typing errors": hit[kinds == "typing"].mean(),
        "precision, first tenth of the list": wrong[flagged].mean(),
        "exchanges proposed to the right row": len(right) / len(partners),
        "  share of the exchanges proposed": len(right) / max(len(proposed), 1),
    }


if __name__ == "__main__":
    main()

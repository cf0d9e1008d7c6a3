"""CER on both test parts, greedy and with a language model or a lexicon beside the image.

    python benchmarks/language.py

The character 5-gram has seen the training labels of both sets and the 40,000 commonest French and German words
(wordfreq), the lexicon holds the same texts; neither has seen a test or validation label. Weight and bonus are tuned on
each set's validation part.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

import numpy as np

import htr
from htr import samples
from htr.beam import decode, tune
from htr.language import lexicon_automaton, ngram_automaton, train_ngram
from htr.metrics import edits, interval
from htr.search import ESCAPE

SETS = ("dhsd", "copiste")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="default: the shipped one")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HTR_DATA", "../shared/data")))
    args = parser.parse_args()
    reader = htr.load(args.checkpoint)
    ngram, words = languages(reader.charset, args.data)
    automata = {
        "5-gram": ngram,
        "lexicon": lexicon_automaton(words, reader.charset, escape=ESCAPE),
        "lexicon and 5-gram": lexicon_automaton(words, reader.charset, escape=ESCAPE, ngram=ngram),
    }
    print("| decoder | " + " | ".join(f"{name} test" for name in SETS) + " |\n| --- | --- | --- |")
    parts = {(name, part): read(reader, args.data / name / f"{part}.parquet") for name in SETS for part in PARTS}
    greedy = [[reading.ids for reading in reader.objective.decode(parts[name, "test"][0])] for name in SETS]
    print(row("greedy", reader, parts, greedy))
    for label, automaton in automata.items():
        found, chosen = [], []
        for name in SETS:
            logits, texts, _ = parts[name, "validation"]
            best = tune(logits, texts, reader.charset, automaton)
            hypotheses = decode(parts[name, "test"][0], automaton, weight=best.weight, bonus=best.bonus)
            found.append([first.ids for first, *_ in hypotheses])
            chosen.append(f"{best.weight:g}, {best.bonus:g}")
        print(row(f"{label} (weight, bonus: {'; '.join(chosen)})", reader, parts, found), flush=True)


PARTS = ("validation", "test")


def read(reader, path: Path):
    """-> logits, texts, writers of a part."""
    dataset = samples.load(str(path)).dataset
    return reader.logits(list(dataset["image"])), dataset["text"][:], dataset["writer"][:]


def languages(charset, data: Path):
    """-> the automaton of the 5-gram, and the words of the lexicon."""
    import wordfreq

    counts: Counter = Counter()
    for name in SETS:
        counts.update(samples.load(str(data / name / "train.parquet")).dataset["text"][:])
    for language in ("fr", "de"):
        for word in wordfreq.top_n_list(language, 40_000):
            counts[word] += 2e4 * wordfreq.word_frequency(word, language)
    texts = [text for text in counts if text and not charset.missing(text)]
    model = train_ngram(texts, 5, counts=[counts[text] for text in texts])
    return ngram_automaton(model, charset), texts


def row(label: str, reader, parts, found) -> str:
    cells = []
    for name, ids in zip(SETS, found, strict=True):
        _, texts, writers = parts[name, "test"]
        wrong = np.array([edits(text, reader.charset.decode(one)) for text, one in zip(texts, ids, strict=True)])
        lengths = np.array([len(text) for text in texts])
        low, high = interval(wrong, lengths, writers)
        cells.append(f"{wrong.sum() / lengths.sum():.2%} [{low:.2%}, {high:.2%}]")
    return f"| {label} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()

"""What a language costs: words/s on one core for greedy decoding, a beam, a 5-gram and a lexicon of 100,000 words.

python benchmarks/decoding.py               # --words 2000 --beam 16

The logits are made, not read: English words by frequency, 3 to 4 frames a letter, narrow peaks between blanks, rivals
beside every letter. Words/s are of CPU time, so other work on the machine hardly shows; the best of three rounds counts.
"""

import argparse
import string
import time

import numpy as np
import wordfreq

import htr
from htr.beam import Automaton, decode
from htr.decoding import best_paths
from htr.language import lexicon_automaton, ngram_automaton, train_ngram

ALPHABET = string.ascii_letters + string.digits + " !\"#%&'()*+,-./:;=?°§€£éèàçùâêîôûëïüöäßÉÈÀÇÂÊÎÔÜÖÄœ«"
LEXICON = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--beam", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    charset = htr.Charset(ALPHABET)
    words = [word for word in wordfreq.top_n_list("en", LEXICON * 2) if not charset.missing(word)][:LEXICON]
    shares = np.array([wordfreq.word_frequency(word, "en") for word in words])
    ngram, ngram_seconds = timed(lambda: five_gram(words, shares, charset))
    lexicon, lexicon_seconds = timed(
        lambda: lexicon_automaton(words, charset, logp=np.log(shares), escape=-6.0, ngram=ngram)
    )
    rng = np.random.default_rng(0)
    texts = [str(word) for word in rng.choice(words, args.words, p=shares**0.6 / (shares**0.6).sum())]
    batch = [made_logits(charset, text, rng) for text in texts]
    print(
        f"{args.words} words of {np.mean([len(logits) for logits in batch]):.0f} frames, {charset.num_classes} classes"
    )
    print(f"{len(words):,} words in the lexicon, beam {args.beam}\n")
    print(f"{'decoder':<22}{'words/s':>10}{'CER':>9}{'states':>10}{'MB':>7}{'built in s':>12}")
    ways = {
        "greedy": (None, 0.0),
        "beam, no language": (None, 0.0),
        "beam, 5-gram": (ngram, ngram_seconds),
        "beam, lexicon, 5-gram": (lexicon, lexicon_seconds),
    }
    for name, (automaton, built) in ways.items():
        if name == "greedy":
            read = lambda: [reading.ids for reading in best_paths(batch)]  # noqa: E731
        else:
            options = {"weight": 0.5, "bonus": 1.0} if automaton else {}
            read = lambda a=automaton, o=options: [found[0].ids for found in decode(batch, a, beam=args.beam, **o)]  # noqa: E731
        ids, seconds = min((timed(read) for _ in range(args.rounds)), key=lambda pair: pair[1])
        cer = htr.cer(texts, [charset.decode(word) for word in ids])
        size = f"{len(automaton.final):>10,}{megabytes(automaton):>7.0f}{built:>12.1f}" if automaton else ""
        print(f"{name:<22}{args.words / seconds:>10,.0f}{100 * cer:>7.2f} %{size}")


def five_gram(words: list[str], shares: np.ndarray, charset: htr.Charset) -> Automaton:
    """Words by frequency, lower case and capitalised."""
    forms = [*words, *(form for word in words if not charset.missing(form := word.capitalize()))]
    counts = [shares[i % len(words)] for i in range(len(forms))]
    return ngram_automaton(train_ngram(forms, 5, counts=np.array(counts) * 1e6), charset)


def made_logits(charset: htr.Charset, text: str, rng: np.random.Generator) -> np.ndarray:
    """text -> logits (frames, classes) float32, peaky as those of a trained reader, with a rival for every letter."""
    places = np.cumsum(rng.integers(3, 5, len(text)))
    logits = rng.normal(0, 1.5, (places[-1] + 3, charset.num_classes)).astype(np.float32)
    logits[:, 0] += 11
    for place, right in zip(places, charset.encode(text), strict=True):
        logits[place, [right, rng.integers(2, charset.num_classes)]] += 14, rng.normal(9, 3)
        logits[place + rng.choice([-1, 1]), right] += rng.normal(8, 3)  # what the peak shares with a neighbour
    return logits


def timed(work) -> tuple[object, float]:
    """-> what work returns and the seconds of CPU that it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def megabytes(automaton: Automaton) -> float:
    return (automaton.next.nbytes + automaton.logp.nbytes + automaton.final.nbytes) / 1e6


if __name__ == "__main__":
    main()

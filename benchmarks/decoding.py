"""What a language costs: words/s on one core for greedy decoding, a beam, a 5-gram and a lexicon of 100,000 words.

python benchmarks/decoding.py               # --words 2000 --beam 16

The logits are made, not read: English words by frequency, narrow peaks between blanks, a rival for every letter, so the
error rates compare decoders on these logits and say nothing of handwriting. Words/s are of CPU time, the best of three
rounds, so that other work on the machine hardly shows.
"""

import argparse
import string
import time
from collections.abc import Callable

import numpy as np
import wordfreq

import htr
from htr.beam import Automaton, decode
from htr.decoding import best_paths
from htr.language import lexicon_automaton, ngram_automaton, train_ngram

ALPHABET = string.ascii_letters + string.digits + " !\"#%&'()*+,-./:;=?°§€£éèàçùâêîôûëïüöäßÉÈÀÇÂÊÖÄ"
LEXICON = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--beam", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    charset = htr.Charset(ALPHABET)
    words = [word for word in wordfreq.top_n_list("en", 2 * LEXICON) if not charset.missing(word)][:LEXICON]
    shares = np.array([wordfreq.word_frequency(word, "en") for word in words])
    drawn = shares**0.6 / (shares**0.6).sum()  # in running text a few words would fill half of the rows
    rng = np.random.default_rng(0)
    texts = [str(word) for word in rng.choice(words, args.words, p=drawn)]
    batch = [made_logits(charset, text, rng) for text in texts]
    print(f"{len(batch):,} words of {np.mean([len(logits) for logits in batch]):.0f} frames", end=", ")
    print(f"{charset.num_classes} classes, {len(words):,} words in the lexicon, beam {args.beam}\n")
    print(f"{'decoder':<24}{'words/s':>8}{'CER':>10}{'states':>10}{'MB':>6}{'built in':>10}")

    def report(name: str, read: Callable[[], list], automaton: Automaton | None = None, built: float = 0.0) -> None:
        readings, seconds = min((timed(read) for _ in range(args.rounds)), key=lambda pair: pair[1])
        cer = htr.cer(texts, [charset.decode(reading.ids) for reading in readings])
        size = f"{len(automaton.final):>10,}{megabytes(automaton):>6.0f}{built:>8.1f} s" if automaton else ""
        print(f"{name:<24}{len(batch) / seconds:>8,.0f}{100 * cer:>8.2f} %{size}")

    def beam(automaton: Automaton | None = None, **options: float) -> list:
        return [best for best, *_ in decode(batch, automaton, beam=args.beam, **options)]

    report("greedy", lambda: best_paths(batch))
    report("beam without language", beam)
    ngram, built = timed(lambda: five_gram(words, shares, charset))
    report("beam, 5-gram", lambda: beam(ngram, weight=0.5, bonus=1.0), ngram, built)
    lexicon, built = timed(lambda: lexicon_automaton(words, charset, logp=np.log(shares)))
    report("beam, lexicon", lambda: beam(lexicon, weight=0.5, bonus=1.0), lexicon, built)
    lexicon, built = timed(lambda: lexicon_automaton(words, charset, logp=np.log(shares), escape=-3.0, ngram=ngram))
    report("beam, lexicon or 5-gram", lambda: beam(lexicon, weight=0.5, bonus=1.0), lexicon, built)


def five_gram(words: list[str], shares: np.ndarray, charset: htr.Charset) -> Automaton:
    """Words by frequency, in lower case and capitalised."""
    pairs = [(form, share) for word, share in zip(words, shares, strict=True) for form in (word, word.capitalize())]
    texts, counts = zip(*(pair for pair in pairs if not charset.missing(pair[0])), strict=True)
    return ngram_automaton(train_ngram(texts, 5, counts=1e6 * np.array(counts)), charset)


def made_logits(charset: htr.Charset, text: str, rng: np.random.Generator) -> np.ndarray:
    """text -> logits (frames, classes) float32, about five frames a letter, as peaky as a trained reader's."""
    places = np.cumsum(rng.integers(4, 7, len(text)))
    logits = rng.normal(0, 1.5, (places[-1] + 3, charset.num_classes)).astype(np.float32)
    logits[:, 0] += 11
    for place, right in zip(places, charset.encode(text), strict=True):
        logits[place, [right, rng.integers(2, charset.num_classes)]] += 14, rng.normal(9, 3)
        logits[place + rng.choice([-1, 1]), right] += rng.normal(8, 3)  # a peak is rarely one frame alone
    return logits


def timed(work: Callable) -> tuple:
    """-> what work returns and the seconds of CPU that it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def megabytes(automaton: Automaton) -> float:
    return (automaton.next.nbytes + automaton.logp.nbytes + automaton.final.nbytes) / 1e6


if __name__ == "__main__":
    main()

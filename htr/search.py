"""Floor 2: reading with a lexicon or a language model: beam search in the place of the objective's own decoder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from htr.alignment import best_alignments, forwards
from htr.beam import Automaton, decode
from htr.charset import Charset
from htr.decoding import Reading
from htr.language import lexicon_automaton, ngram_automaton, read_arpa

ESCAPE = -8.0  # nats that a word costs that is not in the lexicon: 1 in 3,000
Alternative = tuple[list[int], float]


@dataclass(frozen=True)
class Search:
    """How to look for texts: the automaton (None: any text), its weight, the bonus for each character, the beam.

    top: how many texts are told of each word, the one that is read among them. Tune weight and bonus on validation
    words (`htr.beam.tune`); a bonus makes up for what each further character costs in the automaton.
    """

    automaton: Automaton | None = None
    weight: float = 0.5
    bonus: float = 1.0
    beam: int = 16
    top: int = 1

    def read(self, batch: Sequence[np.ndarray], temperature: float = 1.0) -> list[tuple[Reading, list[Alternative]]]:
        """batch of CTC logits (frames, classes) -> for each word its Reading, and the top texts as (ids, confidence).

        Confidences are the network's own: the probability of a text summed over its alignments, at the temperature.
        """
        bonus = self.bonus if self.automaton else 0.0
        found = decode(
            batch, self.automaton, beam=max(self.beam, self.top), weight=self.weight, bonus=bonus, top=self.top
        )
        scaled = [np.asarray(logits) / np.float32(temperature) for logits in batch]
        texts = [[hypothesis.ids for hypothesis in hypotheses] for hypotheses in found]
        placed = best_alignments(scaled, [ids[0] for ids in texts])
        frames = [logits for logits, ids in zip(scaled, texts, strict=True) for _ in ids]
        scores = iter(forwards(frames, [ids for each in texts for ids in each]).tolist())
        results = []
        for each, alignment in zip(texts, placed, strict=True):
            alternatives = [(ids, math.exp(min(0.0, next(scores)))) for ids in each]
            reading = Reading(each[0], alignment.confidences, alignment.spans, alternatives[0][1])
            results.append((reading, alternatives))
        return results


def language(
    charset: Charset, *, lexicon: Sequence[str] | None = None, arpa: str | None = None
) -> tuple[Automaton | None, list[str]]:
    """A word list, the name of an ARPA file, both or neither -> the automaton, and the words that charset cannot write.

    With a word list other words stay possible, at a cost, spelled as the language model says where there is one.
    """
    ngram = ngram_automaton(read_arpa(arpa), charset) if arpa else None
    if lexicon is None:
        return ngram, []
    left_out = [word for word in lexicon if charset.missing(word)]
    words = [word for word in lexicon if not charset.missing(word)]
    if not words:
        raise ValueError("No word of the lexicon can be written in the reader's alphabet; give one of its language.")
    return lexicon_automaton(words, charset, escape=ESCAPE, ngram=ngram), left_out

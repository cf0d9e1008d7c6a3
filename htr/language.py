"""Floor 1: what texts look like: character n-grams and word lists, compiled to automata over a reader's classes.

An n-gram gives every text a probability, a lexicon knows words; both become tables of one kind, over which `htr.beam`
searches. Log-probabilities are natural ones everywhere but in ARPA files, which hold log10.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from htr.beam import Automaton, mix
from htr.charset import BLANK, END, Charset, normalize

MARKS = " ,.;:!?'\"()-/«»„“”‘’"  # what may stand before, between and behind the words of a lexicon
FLOOR = -16.0  # log-probability (1e-7) of an unknown character where an ARPA file has no <unk>
_SPECIAL = ("<s>", "</s>", "<unk>")  # the first symbols of a model; its characters follow
_BEGIN, _CLOSE, _UNKNOWN, _FIRST = range(4)
_LN10 = np.log(10)
_NEVER = -99 * _LN10  # how ARPA files say that nothing precedes the beginning


@dataclass(frozen=True, slots=True, eq=False)
class Ngram:
    """A character n-gram in backoff form (Katz 1987); entry n - 1 of each tuple is about n symbols in a row.

    keys: int64, sorted; digits of base 3 + characters are symbols (begin, end, unknown, characters in order). logp:
    float64, natural, of the last symbol after the others. backoff: float64, natural, the cost of forgetting the first.
    """

    characters: str
    keys: tuple[np.ndarray, ...]
    logp: tuple[np.ndarray, ...]
    backoff: tuple[np.ndarray, ...]


def train_ngram(texts: Iterable[str], order: int = 5, *, counts: Sequence[float] | None = None) -> Ngram:
    """texts, how often each occurs (default: once) -> Ngram, interpolated Witten-Bell smoothing (Witten and Bell 1991).

    order: 2 to 7 symbols seen at once, text begin and end included. After any context the probabilities of all
    characters, the end and one unknown character sum to 1; small counts, such as shares, mean strong smoothing.
    Raises ValueError for another order, no texts, counts that are not one a text or not positive, and more characters
    than keys of this order hold (508 at order 7).

    >>> charset = Charset("ab")
    >>> model = ngram_automaton(train_ngram(["aa", "ab"], 2), charset)
    >>> model.score(charset.encode("ab")) > model.score(charset.encode("ba"))
    True
    """
    texts = [normalize(text) for text in texts]
    weights = np.ones(len(texts)) if counts is None else np.asarray(counts, dtype=np.float64)
    if not 2 <= order <= 7:
        raise ValueError(f"Order {order} came, 2 to 7 are possible; 5 is usual.")
    if not texts or weights.shape != (len(texts),) or not (weights > 0).all():
        raise ValueError(f"{len(texts)} texts and {weights.size} counts came: give texts and positive counts of them.")
    characters = "".join(sorted(set("".join(texts))))
    base = len(characters) + _FIRST
    if base**order >= 2**63:
        raise ValueError(f"{len(characters)} different characters are too many for order {order}: choose a lower one.")
    stream, owner = _stream(texts, characters)
    seen = np.bincount(stream, weights[owner], minlength=base)
    seen[_BEGIN], kinds = 0, base - 2  # begin is never predicted, unknown never seen
    logp = np.log((seen + kinds / (base - 1)) / (seen.sum() + kinds))
    logp[_BEGIN] = _NEVER
    tables, keys = [[np.arange(base), logp, np.zeros(base)]], stream
    for length in range(2, order + 1):
        keys = keys[:-1] * base + stream[length - 1 :]
        inside = owner[length - 1 :] == owner[: 1 - length]
        tables.append(_witten_bell(keys[inside], weights[owner[: len(keys)][inside]], tables[-1], base, length))
    return Ngram(characters, *(tuple(column) for column in zip(*tables, strict=True)))


def _stream(texts: list[str], characters: str) -> tuple[np.ndarray, np.ndarray]:
    """texts -> symbols of all, each text between begin and end, and the number of the text that each belongs to."""
    lengths = np.array([len(text) for text in texts])
    owner = np.repeat(np.arange(len(texts)), lengths + 2)
    begins = np.cumsum(lengths + 2) - lengths - 2
    stream = np.full(len(owner), -1)
    stream[begins], stream[begins + lengths + 1] = _BEGIN, _CLOSE
    stream[stream < 0] = np.searchsorted(_codes(characters), _codes("".join(texts))) + _FIRST
    return stream, owner


def _witten_bell(keys: np.ndarray, weights: np.ndarray, shorter: list, base: int, length: int) -> list[np.ndarray]:
    """keys, one an occurrence -> their table; writes what it costs to back off into that of shorter keys."""
    keys, inverse = np.unique(keys, return_inverse=True)
    counts = np.bincount(inverse, weights)
    contexts, place = np.unique(keys // base, return_inverse=True)
    kinds, totals = np.bincount(place), np.bincount(place, counts)
    shorter[2][np.searchsorted(shorter[0], contexts)] = np.log(kinds / (totals + kinds))
    less = np.exp(shorter[1][np.searchsorted(shorter[0], keys % base ** (length - 1))])
    return [keys, np.log((counts + kinds[place] * less) / (totals + kinds)[place]), np.zeros(len(keys))]


def _find(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys, wanted ones (n,) -> which of these are there (n,) bool, and where (found,)."""
    return (found := np.isin(wanted, keys)), np.searchsorted(keys, wanted[found])


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def write_arpa(model: Ngram, path: str | os.PathLike) -> None:
    """Ngram -> ARPA file, the text format of SRILM and KenLM, a space as `<space>`; ValueError for tabs, line ends."""
    if unsafe := set(model.characters) & set("\0\t\n\r"):
        raise ValueError(f"The model knows {sorted(unsafe)}, which part fields in ARPA files: train without them.")
    tokens, order = np.array(_tokens(model.characters), dtype=object), len(model.keys)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("".join(["\n\\data\\\n", *(f"ngram {n + 1}={len(model.keys[n])}\n" for n in range(order))]))
        for n, (keys, logp, backoff) in enumerate(zip(model.keys, model.logp, model.backoff, strict=True), start=1):
            file.write(f"\n\\{n}-grams:\n")
            words = tokens[keys[:, None] // len(tokens) ** np.arange(n - 1, -1, -1) % len(tokens)]
            for p, word, cost in zip((logp / _LN10).tolist(), words, (backoff / _LN10).tolist(), strict=True):
                file.write(f"{p:.9f}\t{' '.join(word)}" + (f"\t{cost:.9f}\n" if n < order else "\n"))
        file.write("\n\\end\\\n")


def read_arpa(path: str | os.PathLike) -> Ngram:
    """An ARPA file of characters, order 1 to 7 -> Ngram. Without `<unk>`, an unknown character costs FLOOR.

    Raises ValueError where the file is cut off, is not of this form, or holds tokens of several characters.
    """
    with open(path, encoding="utf-8", newline="\n") as file:
        _, *parts = re.split(r"^\\(?:([1-7])-grams:|end\\)[ \t\r]*$", file.read(), flags=re.MULTILINE)
    if len(parts) < 4 or parts[::2] != [*map(str, range(1, len(parts) // 2)), None]:
        raise ValueError(f"{path} is no whole ARPA file of order 1 to 7: it lacks a section or its end; write it anew.")
    lines = (part.split("\n") for part in parts[1:-1:2])
    sections = [[fields for line in section if (fields := re.findall("[^ \t\r]+", line))] for section in lines]
    try:
        characters = "".join(sorted({fields[1].replace("<space>", " ") for fields in sections[0]} - set(_SPECIAL)))
        ids = {token: i for i, token in enumerate(_tokens(characters))}
        tables = [_table(section, n, ids) for n, section in enumerate(sections, start=1)]
    except (LookupError, ValueError) as error:
        raise ValueError(f"{path} is no ARPA file of single characters ({error}); write it with write_arpa.") from error
    whole = [np.arange(len(ids)), np.full(len(ids), _NEVER), np.zeros(len(ids))]
    whole[1][_UNKNOWN] = FLOOR
    for column, values in zip(whole[1:], tables[0][1:], strict=True):
        column[tables[0][0]] = values
    return Ngram(characters, *(tuple(column) for column in zip(whole, *tables[1:], strict=True)))


def _table(section: list[list[str]], n: int, ids: dict[str, int]) -> list[np.ndarray]:
    """Lines of n-grams, split -> sorted keys, natural logp and backoff."""
    keys = np.zeros(len(section), dtype=np.int64)
    for place in range(1, n + 1):
        keys = keys * len(ids) + np.array([ids[fields[place]] for fields in section], dtype=np.int64)
    costs = np.array([[float(cost) for cost in (fields[0], *fields[n + 1 :], "0")[:2]] for fields in section])
    order = np.argsort(keys)
    return [keys[order], *(costs.reshape(-1, 2)[order].T * _LN10)]


def _tokens(characters: str) -> list[str]:
    return [*_SPECIAL, *("<space>" if character == " " else character for character in characters)]


def ngram_automaton(model: Ngram, charset: Charset) -> Automaton:
    """Ngram -> Automaton over the classes of charset, one state a context; 8 bytes a state and class.

    Characters of charset that the model has not seen cost what its unknown character costs.
    """
    base = len(model.characters) + _FIRST
    known = {character: i for i, character in enumerate(model.characters, start=_FIRST)}
    symbols = np.array([_UNKNOWN, _CLOSE, *(known.get(c, _UNKNOWN) for c in charset.characters)])  # of each class
    contexts = _contexts(model, symbols, base)
    borders = np.cumsum([0, *map(len, contexts)])
    following, logp = (np.zeros((borders[-1], len(symbols)), dtype=dtype) for dtype in (np.int32, np.float32))
    rows, goals = np.zeros((1, base)), np.zeros((1, base), dtype=np.int32)
    for n, keys in enumerate(contexts):
        if n:  # where nothing is known of a context, it goes on as the one without its first symbol does
            suffix = np.searchsorted(contexts[n - 1], keys % base ** (n - 1))
            rows, goals = rows[suffix], goals[suffix]
            found, place = _find(model.keys[n - 1], keys)
            rows[found] += model.backoff[n - 1][place, None]
        found, place = _find(keys, model.keys[n] // base)
        rows[place, model.keys[n][found] % base] = model.logp[n][found]
        if n + 1 < len(contexts):
            place = np.searchsorted(keys, contexts[n + 1] // base)
            goals[place, contexts[n + 1] % base] = np.arange(borders[n + 1], borders[n + 2])
        here = slice(borders[n], borders[n + 1])
        logp[here], following[here] = rows[:, symbols], goals[:, symbols]
    np.minimum(logp, 0, out=logp)  # rounding in a file may have made a probability larger than 1
    final = logp[:, END].copy()
    logp[:, [BLANK, END]] = -np.inf
    return Automaton(
        following, logp, final, int(len(contexts) > 1 and _BEGIN in contexts[1])
    )  # it is the first of these


def _contexts(model: Ngram, symbols: np.ndarray, base: int) -> list[np.ndarray]:
    """-> sorted keys of the contexts of 0, 1 ... order - 1 symbols that can be read and of which something is known."""
    readable = np.isin(np.arange(base), [_BEGIN, *symbols[2:]])
    contexts: list[np.ndarray] = []
    for n in range(len(model.keys) - 1, 0, -1):
        keys = np.union1d(model.keys[n] // base, model.keys[n - 1][model.backoff[n - 1] != 0])
        if contexts:  # and those without their first or last symbol
            keys = np.union1d(keys, [contexts[0] % base**n, contexts[0] // base])
        digits = keys[:, None] // base ** np.arange(n) % base
        contexts.insert(0, keys[readable[digits].all(axis=1)])
    return [np.zeros(1, dtype=np.int64), *contexts]


def lexicon_automaton(
    words: Sequence[str],
    charset: Charset,
    *,
    logp: Sequence[float] | None = None,
    capital: float | None = -1.0,
    upper: float | None = -3.0,
    mark: float = -2.0,
    escape: float | None = None,
    ngram: Automaton | None = None,
) -> Automaton:
    """words -> Automaton of texts written with them: marks, word, marks, word ... marks, any number of MARKS in a row.

    A text scores logp of its words (default 0 each) and `mark` for each mark; listed words that hold marks count as
    their parts. `capital` and `upper` score a first letter or a whole word in capitals; None: only as listed. `escape`
    lets other words in: where a word leaves the lexicon it scores `escape` and from there on what `ngram` (of the same
    charset) says of each character after the word so far and of the end or mark behind it, without `ngram` nothing; up
    to there it scores as the best listed word that begins so. The tables are a minimal acyclic automaton (Revuz 1992),
    scores pushed to the front (Mohri 1997), of 8 bytes a state and class.
    Raises ValueError for no words, scores above 0 or not one a word, characters outside charset, ngram without escape.
    """
    if not all(score <= 0 for score in (capital or 0, upper or 0, mark, escape or 0)):
        raise ValueError(f"Scores {capital}, {upper}, {mark} and {escape} came: give 0 or less, as for a logarithm.")
    if ngram and (escape is None or ngram.next.shape[1] != charset.num_classes):
        raise ValueError("An ngram came without escape or of another charset: give both, over the same characters.")
    parent, label, final, levels = _trie(_forms(words, charset, logp, capital, upper), charset)
    free = np.where(np.arange(charset.num_classes) > END, np.float32(0), np.float32(-np.inf))[None]
    tail = ngram or Automaton(np.zeros(free.shape, dtype=np.int32), free, np.zeros(1, dtype=np.float32))
    best, history = final.copy(), np.full(len(parent), tail.start)
    for level in levels[::-1]:
        np.maximum.at(best, parent[level], best[level])
    for level in levels:
        history[level] = tail.next[history[parent[level]], label[level]]
    step, leave = np.where(parent > 0, best - best[parent], best), final - best
    code = mix(leave.view(np.uint32))  # of all that can follow: nodes with equal codes and histories are one state
    for level in levels[::-1]:
        np.add.at(code, parent[level], mix(label[level], code[level], step[level].view(np.uint32)))
    _, nodes, state = np.unique(mix(code, history), return_index=True, return_inverse=True)
    # States: nodes (the root also follows every mark), the start (like the root, but no text may end there), the tail.
    root, start = state[0], len(nodes)
    places, penalty = np.append(history[nodes], tail.start), np.float32(-np.inf if escape is None else escape)
    following = np.concatenate([tail.next[places], tail.next])
    following += np.int32(start + 1)
    scores = np.concatenate([tail.logp[places] + penalty, tail.logp])
    final = np.concatenate([tail.final[places] + penalty, tail.final])
    marks = charset.encode("".join(sorted(set(MARKS) & set(charset.characters))))
    following[:, marks] = root
    child = np.flatnonzero(np.isin(parent, nodes) & (label > 0))
    arcs = state[parent[child]], label[child]
    following[arcs], scores[arcs] = state[child], step[child]
    ends = np.flatnonzero(leave[nodes] > -np.inf)
    final[ends] = leave[nodes[ends]]
    scores[ends[:, None], marks] = final[ends, None] + np.float32(mark)
    scores[root, marks], final[root] = mark, 0
    following[start], scores[start] = following[root], scores[root]
    return Automaton(following, scores, final, start)


def _forms(words, charset, logp, capital, upper) -> dict[str, float]:
    """-> the words without marks, in every form that charset can write, with the best score of each."""
    scores = [0.0] * len(words) if logp is None else [float(score) for score in logp]
    if len(scores) != len(words) or not all(-np.inf < score <= 0 for score in scores):
        raise ValueError(f"{len(words)} words and {len(scores)} scores came: give a finite one of 0 or less for each.")
    if lacking := [word for word in words if charset.missing(word)]:
        raise ValueError(f"{len(lacking)} words, such as {lacking[0]!r}, do not fit the alphabet: leave them out.")
    forms: dict[str, float] = {}
    marks = re.compile(f"[{re.escape(MARKS)}]+")
    for word, score in zip(words, scores, strict=True):
        for part in filter(None, marks.split(normalize(word))):
            for form, extra in (part, 0.0), (part[0].upper() + part[1:], capital), (part.upper(), upper):
                if extra is not None and not charset.missing(form):
                    forms[form] = max(forms.get(form, -np.inf), score + extra)
    if forms:
        return forms
    raise ValueError(f"{len(words)} words came, none with a letter: give at least one.")


def _trie(forms: dict[str, float], charset: Charset):
    """-> parent, label, final (nodes,), the last -inf where no form ends, and slices of the nodes of depth 1, 2 ..."""
    texts = sorted(forms)
    rows = np.array(texts).view(np.uint32).reshape(len(texts), -1)  # code points, 0 behind the end
    lengths, first = (rows > 0).sum(axis=1), np.append(0, (rows[1:] != rows[:-1]).argmax(axis=1))  # first difference
    labels = charset.encode(charset.characters)[np.searchsorted(_codes(charset.characters), rows)]
    node = last = np.zeros(len(texts), dtype=np.int64)  # of each text: at this depth, at its end
    parent, label, levels, size = [node[:1]], [node[:1]], [], 1
    for depth in range(rows.shape[1]):
        new = (lengths > depth) & (first <= depth)
        parent.append(node[new])
        label.append(labels[new, depth])
        levels.append(slice(size, size + new.sum()))
        node, size = np.cumsum(new) + size - 1, size + new.sum()
        last = np.where(lengths == depth + 1, node, last)
    final = np.full(size, -np.inf, dtype=np.float32)
    final[last] = [forms[text] for text in texts]
    return np.concatenate(parent), np.concatenate(label), final, levels

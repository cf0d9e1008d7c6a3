"""Floor 1: what people write. Words by frequency, names, places, numbers, dates, amounts and short phrases."""

import functools
import string
import unicodedata

import numpy as np

from htr.names import BEFORE, ENDING, FAMILY, GIVEN, MONTHS, PLACE, RUE, TITLES, WAY

LANGUAGES = ("en", "fr", "de")
FOREIGN = "áíóúñ"  # in names that French and German texts hold
LETTERS = "àâæçéèêëîïôœùûüÿäößÀÂÆÇÉÈÊËÎÏÔŒÙÛÜŸÄÖ"

# The alphabet of a general Latin reader: printable ASCII, the letters of French, German and some names, a few signs.
ALPHABET = "".join(
    sorted(set(" " + string.digits + string.ascii_letters + string.punctuation + LETTERS + FOREIGN + "«»€£§°"))
)

PAIRS = ("()", '""', "''", "«»", "[]", "{}")
MARKS = ". . . , , , ; : ! ? ( ) ... - * _".split() + list(PAIRS) + ["()", '""', "/"]
SHORT = "don't it's I'm we'll can't they've geht's o'clock you're".split()


@functools.cache
def ranked(language, count=40000):
    """language -> (words, their probabilities), the most frequent first.

    Frequencies are flattened (power 0.6): in running text the ten commonest words would fill a quarter of the rows.
    """
    import wordfreq

    words = [unicodedata.normalize("NFC", w) for w in wordfreq.top_n_list(language, count)]
    words = [w for w in words if len(w) <= 20 and set(w) <= set(ALPHABET) and not w[0].isdigit()]
    share = np.array([wordfreq.word_frequency(w, language) for w in words]) ** 0.6
    return words, np.cumsum(share / share.sum())


class Vocabulary:
    """Draws texts. `lexicon` (a list of words) takes the place of the words by frequency."""

    def __init__(self, languages=LANGUAGES, *, lexicon=None):
        unknown = set(languages) - set(MONTHS)
        if unknown:
            known = ", ".join(LANGUAGES)
            raise ValueError(f"Languages {sorted(unknown)} are not known: choose among {known}, or give a lexicon.")
        if lexicon is not None and not lexicon:
            raise ValueError("The lexicon holds no word: give at least one.")
        self.languages = tuple(languages)
        self.lexicon = [unicodedata.normalize("NFC", w) for w in lexicon] if lexicon is not None else None

    def text(self, rng):
        """rng -> one text, of KINDS by their shares."""
        if self.lexicon is not None:
            return self.lexicon[int(rng.integers(len(self.lexicon)))]
        kind = _KINDS[int(np.searchsorted(_BOUNDS, rng.random(), side="right"))]
        return unicodedata.normalize("NFC", kind(self, rng))

    def word(self, rng, language=None):
        """rng -> a word as the language spells it in the middle of a sentence."""
        if self.lexicon is not None:
            return self.lexicon[int(rng.integers(len(self.lexicon)))]
        words, bounds = ranked(language or self.language(rng))
        return words[min(int(np.searchsorted(bounds, rng.random())), len(words) - 1)]

    def language(self, rng):
        """rng -> one of the languages."""
        return self.languages[int(rng.integers(len(self.languages)))]


def _pick(rng, items):
    return items[int(rng.integers(len(items)))]


def _capital(word):
    return word[:1].upper() + word[1:]


def _plain(v, rng):
    return v.word(rng)


def _capitalised(v, rng):
    return _capital(v.word(rng))


def _all_capitals(v, rng):
    return v.word(rng).upper()


def _punctuated(v, rng):
    word = v.word(rng) if rng.random() < 0.8 else _capital(v.word(rng))
    style = _pick(rng, MARKS)
    if style == "/":
        return f"{word}/{v.word(rng)}"
    if style in PAIRS:
        return style[0] + word + style[1]
    return "(" + word if style == "(" else word + style


def _apostrophe(v, rng):
    if rng.random() < 0.6:
        vowels = [w for w in (v.word(rng, "fr") for _ in range(6)) if w[0] in "aeiouéèêàâîôœh"]
        start = _pick(rng, "l d qu n s j c m t L D J C Qu N".split())
        return start + "'" + (_pick(rng, vowels) if vowels else "eau")
    return _pick(rng, SHORT) if rng.random() < 0.6 else v.word(rng, "en") + "'s"


def _hyphen(v, rng):
    parts = [v.word(rng) for _ in range(2 if rng.random() < 0.8 else 3)]
    return "-".join(map(_capital, parts) if rng.random() < 0.4 else parts)


def _name(v, rng):
    given, family = _pick(rng, GIVEN), _pick(rng, FAMILY)
    title = _pick(rng, TITLES[v.language(rng)].split())
    return _pick(
        rng,
        [
            given,
            family,
            family,
            f"{given} {family}",
            f"{given[0]}. {family}",
            f"{given}-{_pick(rng, GIVEN)}",
            f"{title} {family}",
            f"{given}-{family}",
            f"d'{given}",
            f"({family})",
        ],
    )


def _place(v, rng):
    town = _pick(rng, PLACE) + _pick(rng, ENDING)
    way, family = _pick(rng, WAY), _pick(rng, FAMILY)
    return _pick(
        rng,
        [
            town,
            town,
            town + way,
            f"{town}er {_capital(way)}",
            f"{_pick(rng, GIVEN)}-{family}-{_capital(way)}",
            f"{_pick(rng, BEFORE)} {town}",
            f"{_pick(rng, RUE)} {family}",
            f"{town}-{_pick(rng, PLACE)}{_pick(rng, ENDING)}",
            family + way,
            f"{family} Street",
            _pick(rng, PLACE) + way,
            f"{_capital(way)} am {town}",
        ],
    )


def _number(v, rng):
    n = int(10 ** rng.uniform(0, 5))
    year, tens = int(rng.integers(1800, 2030)), rng.integers(10, 99, 3).tolist()
    return _pick(
        rng,
        [
            f"{n}",
            f"{n}",
            f"{year}",
            f"{year}",
            f"{year}",
            f"{n}.",
            f"{n},",
            f"{n}%",
            f"{n} %",
            f"n° {n % 100}",
            f"#{n % 100}",
            f"{n / 10:.1f}",
            f"{n / 100:.2f}".replace(".", ","),
            f"({n})",
            f"({year})",
            f"{n % 12}:{n % 60:02}",
            f"{n % 24}h{n % 60:02}",
            f"+{n}",
            f"{n}/{n % 7 + 2}",
            f"{n % 100}-{n % 100 + 3}",
            f"{n % 30}e",
            f"{n % 30}th",
            f"§ {n % 100}",
            f"{rng.integers(0, 99999):05} {_capital(v.word(rng))}",
            "0{} {} {}".format(*tens),
            f"{n % 60}°",
            f"{n}km",
            f"{n % 90} kg",
            f"{n}={n}",
            f"A{n % 1000}",
            f"{_pick(rng, string.ascii_uppercase)}{n}",
        ],
    )


def _date(v, rng):
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1850, 2030))
    language = v.language(rng)
    name, dot = MONTHS[language][month - 1], "." if language == "de" else ""
    return _pick(
        rng,
        [
            f"{day}.{month}.{year}",
            f"{day:02}/{month:02}/{year}",
            f"{day}/{month}/{year % 100:02}",
            f"{year}-{month:02}-{day:02}",
            f"{day}{dot} {name} {year}",
            f"{name} {year}",
            f"{name}, {day}",
        ],
    )


def _amount(v, rng):
    n = 10 ** rng.uniform(0, 4)
    return _pick(
        rng,
        [
            f"{n:.2f} €",
            f"{n:.2f}€".replace(".", ","),
            f"${n:.2f}",
            f"£{n:,.2f}",
            f"{int(n)} €",
            f"${int(n)}",
            f"{int(n)},- €",
            f"{n:.2f} EUR",
        ],
    )


def _phrase(v, rng):
    language = v.language(rng)
    words = [v.word(rng, language) for _ in range(int(rng.integers(2, 5)))]
    if rng.random() < 0.4:
        words[0] = _capital(words[0])
    if language == "de":
        words = [_capital(w) if len(w) > 4 and rng.random() < 0.4 else w for w in words]
    return " ".join(words)[:32].strip() + _pick(rng, ["", "", "", ".", ",", "?", "!"])


def _initials(v, rng):
    return _pick(rng, ["", ".", "-"]).join(_pick(rng, string.ascii_uppercase) for _ in range(int(rng.integers(2, 6))))


def _noise(v, rng):
    """Any characters in any order: the rare ones are learnt, and a reader does not lean on spelling alone."""
    pool = _pick(rng, POOLS)
    return "".join(_pick(rng, pool) for _ in range(int(rng.integers(1, 8))))


POOLS = (
    string.ascii_lowercase,
    string.ascii_letters,
    ALPHABET.replace(" ", ""),
    string.punctuation,
    string.digits,
    LETTERS,
)

# kind -> share of all texts
KINDS = {
    _plain: 0.36,
    _capitalised: 0.12,
    _all_capitals: 0.04,
    _punctuated: 0.09,
    _apostrophe: 0.03,
    _hyphen: 0.03,
    _name: 0.07,
    _place: 0.08,
    _number: 0.05,
    _date: 0.02,
    _amount: 0.01,
    _phrase: 0.06,
    _initials: 0.01,
    _noise: 0.03,
}
_KINDS, _BOUNDS = list(KINDS), np.cumsum(list(KINDS.values()))

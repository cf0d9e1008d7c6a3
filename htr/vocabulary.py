"""Floor 1: what people write. Words by frequency, names, places, numbers, dates, amounts and short phrases."""

import functools
import string
import unicodedata

import numpy as np

LANGUAGES = ("en", "fr", "de")
LETTERS = "àâæçéèêëîïôœùûüÿäößÀÂÆÇÉÈÊËÎÏÔŒÙÛÜŸÄÖ"

# What the alphabet of a general Latin reader holds: printable ASCII, the letters of French and German, a few signs.
ALPHABET = "".join(sorted(set(" " + string.digits + string.ascii_letters + string.punctuation + LETTERS + "«»€£§°")))

GIVEN = """Anna Marie Jean Pierre Paul Louise Claire Jacques Hélène André François Zoé Chloé Émile Noël Théo Agnès Inès Benoît Jérôme
Karl Friedrich Johann Heinrich Käthe Jörg Jürgen Günther Björn Sören Ludwig Otto Emma Greta Wilhelm Robert Clara Rosa Ernst
John Mary William Elizabeth George Alice Henry Jane Thomas Margaret Oscar Victoria Hugh Kate Quentin Walter Xavier Yves Zach Fay
Giuseppe Nico Akira Yuki Omar Fatima Igor Olga Vaclav Ximena Diego Ana Sven Ingrid Ulf Lars Kofi Mei Ravi Priya""".split()
FAMILY = """Martin Bernard Dubois Lefèvre Moreau Fournier Girard Bonnet Gagnon Tremblay Côté Bouchard Pelletier Bélanger Lévesque
Müller Schmidt Schneider Fischer Weiß Schäfer Köhler König Krüger Böhm Groß Jäger Vogt Hübner Zöllner Kühn Pfeiffer Wagner Bach Goethe
Smith Jones Taylor Brown Wilson Walker Wright Hughes Edwards Green King Baker Hall Young Knight Fox Quinn Webb Vaughan Yates
Rossi García Novak Kowalski Nguyen Kim Tanaka Singh Haddad Okafor Jensen Eriksson Nagy Popescu Ivanov O'Brien McKay""".split()
PLACE = """Groß Klein Neu Alt Ober Unter Nieder Hohen Schön Wein Stein Wolfs Fürsten Königs Grün Birken Eichen Buchen Mühl Brück Kirch
Wald See Hirsch Röhr Löb Dör Küh Rös Zeh Weiß Roth Schwarz Lind Erl Fisch Hof Burg Markt Schloß Jäger""".split()
ENDING = """dorf hausen heim bach berg burg feld furt hain kirchen leben ow itz roda rode stadt stein thal wald walde weiler mühle tal
brück häuser städt grün münde""".split()
WAY = "straße straße straße straße weg gasse platz allee ring ufer steig damm graben hof park".split()
RUE = """rue de la|avenue du|place de l'|boulevard|rue des|chemin de|quai|impasse des|route de|rue du""".split("|")
MONTHS = {"en": "January February March April May June July August September October November December".split(),
          "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
          "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()}
TITLES = {"en": "Mr. Mrs. Dr. Ms. Prof. St.".split(), "fr": "M. Mme Mlle Dr Me St-".split(), "de": "Herr Frau Dr. Prof. St. Fam.".split()}


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
            raise ValueError(f"Languages {sorted(unknown)} are not known: choose among {', '.join(LANGUAGES)}, or give a lexicon.")
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
    style = _pick(rng, [".", ".", ".", ",", ",", ",", ";", ":", "!", "?", "(", ")", "()", '""', "''", "«»", "...", "[]", "-", "/", "*", "_", "{}"])
    if style == "/":
        return f"{word}/{v.word(rng)}"
    if style in ("()", '""', "''", "«»", "[]", "{}"):
        return style[0] + word + style[1]
    return "(" + word if style == "(" else word + style


def _apostrophe(v, rng):
    if rng.random() < 0.6:
        vowels = [w for w in (v.word(rng, "fr") for _ in range(6)) if w[0] in "aeiouéèêàâîôœh"]
        start = _pick(rng, "l d qu n s j c m t L D J C Qu N".split())
        return start + "'" + (_pick(rng, vowels) if vowels else "eau")
    return _pick(rng, ["don't", "it's", "I'm", "we'll", "can't", v.word(rng, "en") + "'s", "they've", "geht's", "o'clock", "you're"])


def _hyphen(v, rng):
    parts = [v.word(rng) for _ in range(2 if rng.random() < 0.8 else 3)]
    return "-".join(map(_capital, parts) if rng.random() < 0.4 else parts)


def _name(v, rng):
    given, family = _pick(rng, GIVEN), _pick(rng, FAMILY)
    return _pick(rng, [given, family, family, f"{given} {family}", f"{given[0]}. {family}", f"{given}-{_pick(rng, GIVEN)}",
                       f"{_pick(rng, TITLES[v.language(rng)])} {family}", f"{given}-{family}", f"d'{given}", f"({family})"])


def _place(v, rng):
    town = _pick(rng, PLACE) + _pick(rng, ENDING)
    if rng.random() < 0.5 and "ing" not in town:
        town = _pick(rng, [_capital(_pick(rng, [town, _pick(rng, FAMILY)])), town])
    way = _pick(rng, WAY)
    return _pick(rng, [town, town + way, f"{town}er {_capital(way)}", f"{_pick(rng, GIVEN)}-{_pick(rng, FAMILY)}-{_capital(way)}",
                       f"{_pick(rng, ['Am', 'An der', 'Alte', 'Neue', 'Große', 'Kleine', 'Äußere', 'Zum', 'Im'])} {town}",
                       f"{_pick(rng, RUE)} {_pick(rng, FAMILY)}", f"{town}-{_pick(rng, PLACE)}{_pick(rng, ENDING)}",
                       f"{_pick(rng, FAMILY)}{way}", f"{_pick(rng, FAMILY)} Street", f"{_pick(rng, PLACE)}{way}"])


def _number(v, rng):
    n = int(10 ** rng.uniform(0, 5))
    return _pick(rng, [str(n), str(n), str(int(rng.integers(1800, 2030))), str(int(rng.integers(1900, 2026))), f"{n}.", f"{n},", f"{n}%", f"{n} %",
                       f"n° {n % 100}", f"#{n % 100}", f"{n / 10:.1f}", f"{n / 100:.2f}".replace(".", ","), f"({n})", f"{n % 12}:{n % 60:02}",
                       f"{n % 24}h{n % 60:02}", f"+{n}", f"{n}/{n % 7 + 2}", f"{n % 100}-{n % 100 + 3}", f"{n % 30}e", f"{n % 30}th", f"§ {n % 100}",
                       f"{rng.integers(0, 99999):05} {_capital(v.word(rng))}", f"0{rng.integers(1, 9)} {rng.integers(10, 99)} {rng.integers(10, 99)}",
                       f"{n % 60}°", f"{n}km", f"{n % 90} kg", f"{n}={n}", f"A{n % 1000}", f"{_pick(rng, string.ascii_uppercase)}{n}"])


def _date(v, rng):
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1850, 2030))
    language = v.language(rng)
    name = MONTHS[language][month - 1]
    return _pick(rng, [f"{day}.{month}.{year}", f"{day:02}/{month:02}/{year}", f"{day}/{month}/{year % 100:02}", f"{year}-{month:02}-{day:02}",
                       f"{day}. {name} {year}" if language == "de" else f"{day} {name} {year}", f"{name} {year}", f"{name}, {day}"])


def _amount(v, rng):
    n = 10 ** rng.uniform(0, 4)
    return _pick(rng, [f"{n:.2f} €", f"{n:.2f}€".replace(".", ","), f"${n:.2f}", f"£{n:,.2f}", f"{int(n)} €", f"${int(n)}", f"{int(n)},- €", f"{n:.2f} EUR"])


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
    pool = _pick(rng, [string.ascii_lowercase, string.ascii_letters, ALPHABET.replace(" ", ""), string.punctuation, string.digits, LETTERS])
    return "".join(_pick(rng, pool) for _ in range(int(rng.integers(1, 8))))


# kind -> share of all texts
KINDS = {_plain: 0.36, _capitalised: 0.12, _all_capitals: 0.04, _punctuated: 0.09, _apostrophe: 0.03, _hyphen: 0.03, _name: 0.07, _place: 0.08,
         _number: 0.05, _date: 0.02, _amount: 0.01, _phrase: 0.06, _initials: 0.01, _noise: 0.03}
_KINDS, _BOUNDS = list(KINDS), np.cumsum(list(KINDS.values()))

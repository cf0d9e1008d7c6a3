import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htr.charset import BLANK, END, Charset
from htr.language import (
    FLOOR,
    MARKS,
    Automaton,
    lexicon_automaton,
    ngram_automaton,
    read_arpa,
    train_ngram,
    write_arpa,
)

TEXTS = ["the", "then", "hen", "he said", "a hen, then", "A", "the", "été"]
texts = st.lists(st.text("ab ", max_size=6), min_size=1, max_size=6)
NEVER = -math.inf


def arpa_scorer(path):
    """An ARPA file -> a function from text to its natural log-probability: the definition, by recursion."""
    tables, order = {}, 0
    for line in path.read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"\\(\d)-grams:", line):
            order = int(head[1])
        elif order and "\t" in line:
            p, words, *backoff = line.split("\t")
            tables[tuple(words.split(" "))] = float(p), float(backoff[0]) if backoff else 0.0

    def log10(words):
        if words in tables:
            return tables[words][0]
        return tables.get(words[:-1], (0, 0.0))[1] + log10(words[1:])

    def score(text):
        tokens = ["<space>" if c == " " else c for c in text]
        tokens = ["<s>", *(t if (t,) in tables else "<unk>" for t in tokens), "</s>"]
        return math.log(10) * sum(log10(tuple(tokens[max(0, i + 1 - order) : i + 1])) for i in range(1, len(tokens)))

    return score


def witten_bell(corpus, order):
    """corpus {text: count} -> a function from text to its probability: counts in dictionaries, one formula."""
    counts, followers = {}, {}
    for text, count in corpus.items():
        tokens = ["<s>", *text, "</s>"]
        for i in range(1, len(tokens)):
            for n in range(min(order, i + 1)):
                context = tuple(tokens[i - n : i])
                counts[context] = counts.get(context, 0) + count
                counts[context, tokens[i]] = counts.get((context, tokens[i]), 0) + count
                followers.setdefault(context, set()).add(tokens[i])
    size = len(followers[()]) + 1  # one unknown character

    def p(token, context):
        if context not in followers:
            return p(token, context[1:])
        kinds, shorter = len(followers[context]), p(token, context[1:]) if context else 1 / size
        return (counts.get((context, token), 0) + kinds * shorter) / (counts[context] + kinds)

    def probability(text):
        tokens = ["<s>", *text, "</s>"]
        return math.prod(p(tokens[i], tuple(tokens[max(0, i + 1 - order) : i])) for i in range(1, len(tokens)))

    return probability


def all_texts(characters, length):
    return ["".join(c) for n in range(length + 1) for c in itertools.product(characters, repeat=n)]


@pytest.mark.parametrize("order", range(2, 8))
def test_scores_equal_those_of_an_independent_arpa_scorer(tmp_path, order):
    charset = Charset("adehinstA ,éqz")  # q and z are in no text
    model = train_ngram(TEXTS, order)
    write_arpa(model, tmp_path / "m.arpa")
    reference, automaton = arpa_scorer(tmp_path / "m.arpa"), ngram_automaton(model, charset)
    rng = np.random.default_rng(order)
    drawn = ["".join(rng.choice(list(charset.characters), rng.integers(0, 9))) for _ in range(300)]
    for text in [*TEXTS, *drawn, "qqthen", "zq z"]:
        assert automaton.score(charset.encode(text)) == pytest.approx(reference(text), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(texts, st.integers(2, 7), st.data())
def test_probabilities_are_those_of_witten_bell(corpus, order, data):
    counts = data.draw(st.lists(st.floats(0.1, 50), min_size=len(corpus), max_size=len(corpus)))
    charset = Charset("ab ")
    automaton = ngram_automaton(train_ngram(corpus, order, counts=counts), charset)
    merged = {text: sum(c for t, c in zip(corpus, counts, strict=True) if t == text) for text in corpus}
    seen = set("".join(corpus))
    probability = witten_bell(merged, order)
    for text in [*all_texts("ab", 3), "a b a", "  b"]:
        if set(text) <= seen:
            score = automaton.score(charset.encode(text))
            assert score == pytest.approx(math.log(probability(text)), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(texts, st.integers(2, 5))
def test_in_every_state_the_characters_the_end_and_one_unknown_sum_to_1(corpus, order):
    known = "".join(sorted(set("".join(corpus)))) + "?"  # the last one stands for all that are unknown
    automaton = ngram_automaton(train_ngram(corpus, order), Charset(known))
    sums = np.exp(automaton.logp.astype(np.float64)).sum(axis=1) + np.exp(automaton.final.astype(np.float64))
    np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_a_count_is_worth_as_much_as_repeating_the_text():
    charset = Charset("abc")
    often = ngram_automaton(train_ngram(["ab", "ab", "ab", "c"], 3), charset)
    counted = ngram_automaton(train_ngram(["ab", "c"], 3, counts=[3, 1]), charset)
    np.testing.assert_array_equal(often.next, counted.next)
    np.testing.assert_allclose(often.logp, counted.logp, rtol=1e-6)


def test_a_longer_context_knows_what_a_shorter_one_cannot():
    charset = Charset("abxy")
    corpus = ["axb", "ayb", "bxa", "bya"]
    gap = {}
    for order in (2, 4):
        automaton = ngram_automaton(train_ngram(corpus, order), charset)
        gap[order] = automaton.score(charset.encode("axb")) - automaton.score(charset.encode("axa"))
    assert gap[4] > gap[2] + 0.5


def test_written_and_read_again_a_model_is_the_same(tmp_path):
    model = train_ngram([*TEXTS, "a\u00a0b", "<space>", "\\1-grams:"], 4)
    write_arpa(model, tmp_path / "m.arpa")
    again = read_arpa(tmp_path / "m.arpa")
    assert again.characters == model.characters
    for name in ("keys", "logp", "backoff"):
        for a, b in zip(getattr(model, name), getattr(again, name), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


ARPA = """
\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-0.5\t</s>
-99\t<s>\t-0.25
-0.4 a -0.125
-0.75\t<space>\t0

\\2-grams:
-0.1\t<s> a
-0.3\ta <space>
-0.2\t<space> </s>

\\end\\
"""


def test_a_file_of_other_hands_is_read_in_log10_with_backoff(tmp_path):
    (tmp_path / "m.arpa").write_text(ARPA)
    charset = Charset("a b")
    automaton = ngram_automaton(read_arpa(tmp_path / "m.arpa"), charset)

    def log10(text):
        return automaton.score(charset.encode(text)) / math.log(10)

    assert log10("a ") == pytest.approx(-0.1 - 0.3 - 0.2, abs=1e-6)
    assert log10("aa") == pytest.approx(-0.1 + (-0.125 - 0.4) + (-0.125 - 0.5), abs=1e-6)
    assert log10("") == pytest.approx(-0.25 - 0.5, abs=1e-6)
    assert log10("b") == pytest.approx(-0.25 + FLOOR / math.log(10) - 0.5, abs=1e-6)


@pytest.mark.parametrize(
    "old, new, match",
    [
        ("\\end\\", "", "no whole ARPA file"),
        ("\\2-grams:", "\\3-grams:", "no whole ARPA file"),
        ("-0.4 a", "-0.4 the", "single characters"),
        ("-0.3\ta", "-0.3\tz", "single characters"),
        ("-0.1\t<s> a", "much\t<s> a", "single characters"),
        ("-0.1\t<s> a", "-0.1", "single characters"),
    ],
)
def test_broken_files_are_refused(tmp_path, old, new, match):
    (tmp_path / "m.arpa").write_text(ARPA.replace(old, new))
    with pytest.raises(ValueError, match=match):
        read_arpa(tmp_path / "m.arpa")


def test_what_would_part_fields_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"\['\\t'\]"):
        write_arpa(train_ngram(["a\tb"], 2), tmp_path / "m.arpa")


@pytest.mark.parametrize("order, texts, counts", [(1, ["a"], None), (8, ["a"], None)])
def test_other_orders_are_refused(order, texts, counts):
    with pytest.raises(ValueError, match=f"Order {order} came, 2 to 7"):
        train_ngram(texts, order, counts=counts)


@pytest.mark.parametrize("texts, counts", [([], None), (["a"], [1, 2]), (["a"], [0]), (["a"], [math.nan])])
def test_texts_without_a_positive_count_each_are_refused(texts, counts):
    with pytest.raises(ValueError, match="positive count"):
        train_ngram(texts, 3, counts=counts)


def test_more_characters_than_a_key_holds_are_refused():
    many = ["".join(map(chr, range(0x4E00, 0x4E00 + 509)))]
    with pytest.raises(ValueError, match="509 different characters"):
        train_ngram(many, 7)
    assert len(train_ngram(many, 6).keys) == 6


def assert_tables_are_sound(automaton: Automaton, classes: int):
    states = len(automaton.final)
    assert automaton.next.shape == automaton.logp.shape == (states, classes)
    assert (automaton.next.dtype, automaton.logp.dtype, automaton.final.dtype) == (np.int32, np.float32, np.float32)
    assert ((automaton.next >= 0) & (automaton.next < states)).all() and 0 <= automaton.start < states
    assert (automaton.logp[:, [BLANK, END]] == NEVER).all()
    assert (automaton.logp <= 0).all() and (automaton.final <= 0).all()


LETTERS = Charset("abcABC'-. ")
WORDS, SCORES = ["ab", "abc", "ba", "b", "caab", "a-c", "aaab"], [-1.0, -3.0, -2.0, -2.5, -4.0, -5.0, -6.0]
NGRAM = ngram_automaton(train_ngram(["ab-c", "abc.", "Ba", "caa b"], 3), LETTERS)


def lexicon_scorer(scores, *, capital, upper, mark, escape, ngram):
    """The score of a text over WORDS, word by word, by the rules that the docstring states."""
    forms = {}
    for word, score in zip(WORDS, scores, strict=True):
        for part in re.split("[-']", word):
            for form, extra in ((part, 0), (part.capitalize(), capital), (part.upper(), upper)):
                if extra is not None:
                    forms[form] = max(forms.get(form, NEVER), score + extra)

    def unknown(word, behind):
        known = max(n for n in range(len(word) + 1) if any(form.startswith(word[:n]) for form in forms))
        total = escape + (max(s for form, s in forms.items() if form.startswith(word[:known])) if known else 0)
        if ngram is None:
            return total
        state = ngram.start
        for i, c in enumerate(LETTERS.encode(word)):
            total += ngram.logp[state, c] if i >= known else 0
            state = ngram.next[state, c]
        return total + (ngram.logp[state, LETTERS.encode(behind)[0]] if behind else ngram.final[state])

    def score(text):
        if not text:
            return NEVER if escape is None else unknown("", "")
        total = 0.0
        for word, behind in re.findall(r"([^-'. ]*)([-'. ]?)", text)[:-1]:
            if word in forms or not word:
                total += forms.get(word, 0) + (mark if behind else 0)
            else:
                total += NEVER if escape is None else unknown(word, behind)
        return total

    return score


@pytest.mark.parametrize("scores", [None, SCORES])
@pytest.mark.parametrize("capital, upper, mark", [(-1.0, -3.0, -2.0), (None, None, 0.0), (-0.5, None, -1.0)])
@pytest.mark.parametrize("escape, ngram", [(None, None), (-4.0, None), (-4.0, NGRAM), (0.0, NGRAM)])
def test_a_lexicon_scores_every_text_by_its_words(scores, capital, upper, mark, escape, ngram):
    options = {"capital": capital, "upper": upper, "mark": mark, "escape": escape, "ngram": ngram}
    automaton = lexicon_automaton(WORDS, LETTERS, logp=scores, **options)
    assert_tables_are_sound(automaton, LETTERS.num_classes)
    reference = lexicon_scorer(scores or [0.0] * len(WORDS), **options)
    rng = np.random.default_rng(0)
    drawn = ["".join(rng.choice(list("aabbc" + LETTERS.characters), rng.integers(0, 7))) for _ in range(400)]
    for text in [*WORDS, *all_texts("abA.", 3), *drawn, "ab-ba", "(Abc".replace("(", "'"), "caa", "caab.", "CAAB. ab"]:
        assert automaton.score(LETTERS.encode(text)) == pytest.approx(reference(text), abs=1e-4), text


def test_a_closed_lexicon_accepts_its_words_with_capitals_and_marks_and_nothing_else():
    charset = Charset("adehnstADEHNST,.()'-")
    automaton = lexicon_automaton(["hand", "the", "hand's"], charset)

    def score(text):
        return automaton.score(charset.encode(text))

    assert [score(text) for text in ("hand", "the")] == [0, 0]
    assert [score(text) for text in ("Hand", "HAND", "hand,", "(The)")] == [-1, -3, -2, -5]
    assert score("hand-the") == score("hand's") == -2
    assert [score(text) for text in ("", "han", "hands", "hAnd", "handthe")] == [NEVER] * 5


def test_an_escape_reads_a_name_that_no_list_holds_and_prefers_listed_words():
    charset = Charset("aehntx")
    automaton = lexicon_automaton(["than", "then"], charset, escape=-5.0)
    scores = {text: automaton.score(charset.encode(text)) for text in ("then", "the", "xaxe", "thenx")}
    assert scores == {"then": 0, "the": -5, "xaxe": -5, "thenx": -5}


def test_equal_endings_share_their_states():
    charset = Charset("abcdefgh")
    words = [a + "bcdefgh" for a in "abcdefgh"]
    automaton = lexicon_automaton(words, charset, capital=None, upper=None)
    assert len(automaton.final) == 11  # eight letters deep, the root, the start and what an escape would lead to
    weighted = lexicon_automaton(words, charset, logp=[-1.0 * i for i in range(8)], capital=None, upper=None)
    assert len(weighted.final) == 11  # a word's score is paid where it parts from the others, not at its end


def test_scores_are_paid_as_early_as_they_are_certain():
    charset = Charset("abc")
    automaton = lexicon_automaton(["aab", "aac"], charset, logp=[-3.0, -5.0])
    state, paid = automaton.start, []
    for i in charset.encode("aac"):
        paid.append(float(automaton.logp[state, i]))
        state = automaton.next[state, i]
    assert (paid, automaton.final[state]) == ([-3, 0, -2], 0)


def test_ten_thousand_words_take_a_fraction_of_their_trie():
    wordfreq = pytest.importorskip("wordfreq")
    words = [word for word in wordfreq.top_n_list("en", 10_000) if word.isascii() and word.isalpha()]
    charset = Charset.from_texts([*words, "".join(words[:2000]).upper()])
    automaton = lexicon_automaton(words, charset, logp=[math.log(wordfreq.word_frequency(w, "en")) for w in words])
    assert_tables_are_sound(automaton, charset.num_classes)
    nodes = len({word[:n] for word in words for n in range(1, len(word) + 1)})
    assert len(automaton.final) < 1.2 * nodes  # three forms of each word in hardly more states than one would take
    for word in words[::500]:
        assert automaton.score(charset.encode(word)) == pytest.approx(math.log(wordfreq.word_frequency(word, "en")))


@pytest.mark.parametrize(
    "words, options, match",
    [
        ([], {}, "none with a letter"),
        (["-", "..."], {}, "none with a letter"),
        (["ab", "ax"], {}, r"1 words, such as 'ax'"),
        (["ab"], {"logp": [-1.0, -2.0]}, "2 scores came"),
        (["ab"], {"logp": [0.5]}, "0 or less"),
        (["ab"], {"logp": [NEVER]}, "finite"),
        (["ab"], {"mark": 1.0}, "0 or less"),
        (["ab"], {"escape": math.nan}, "0 or less"),
        (["ab"], {"ngram": NGRAM}, "without escape"),
        (["ab"], {"ngram": ngram_automaton(train_ngram(["ab"], 2), Charset("ab")), "escape": -1.0}, "another charset"),
    ],
)
def test_lexicons_that_make_no_sense_are_refused(words, options, match):
    with pytest.raises(ValueError, match=match):
        lexicon_automaton(words, LETTERS, **options)


def test_marks_are_no_letters():
    assert not any(mark.isalnum() for mark in MARKS)

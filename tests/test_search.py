"""Reading with a lexicon or a language model: what is read, what is told beside it, and who refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

import htr
from htr import cli
from htr.decoding import best_paths
from htr.search import Search, language

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"
CHARSET = htr.Charset("acdehnort ")


def logits(text: str, doubt: str = "", peak: float = 4.0):
    """Frames (2 per character) that say text, with the characters of doubt nearly as likely in their places."""
    values = np.zeros((2 * len(text), CHARSET.num_classes), np.float32)
    values[1::2, 0] = peak
    values[2 * np.arange(len(text)), CHARSET.encode(text)] = peak
    if doubt:
        values[2 * np.arange(len(doubt)), CHARSET.encode(doubt)] += peak - 0.3 * (np.array(list(doubt)) != list(text))
    return values


def test_a_lexicon_decides_where_the_image_does_not():
    word = logits("cot", doubt="cat")
    assert CHARSET.decode(best_paths([word])[0].ids) == "cot"
    automaton, left_out = language(CHARSET, lexicon=["cat", "hand", "über"])
    assert left_out == ["über"]
    ((reading, alternatives),) = Search(automaton, top=3).read([word])
    assert CHARSET.decode(reading.ids) == "cat"
    assert [CHARSET.decode(ids) for ids, _ in alternatives][0] == "cat"
    texts = {CHARSET.decode(ids): confidence for ids, confidence in alternatives}
    assert texts["cot"] > texts["cat"]  # confidences are the network's own
    assert reading.confidence == texts["cat"]
    assert [span[0] for span in reading.spans] == sorted(span[0] for span in reading.spans)
    assert reading.spans[0][0] == 0 and reading.spans[-1][1] == len(word)


def test_words_outside_the_lexicon_can_still_be_read():
    automaton, _ = language(CHARSET, lexicon=["cat", "hand"])
    ((reading, _),) = Search(automaton).read([logits("oreade", peak=12.0)])
    assert CHARSET.decode(reading.ids) == "oreade"


def test_no_ink_reads_as_nothing_with_a_lexicon_too():
    automaton, _ = language(CHARSET, lexicon=["cat"])
    ((reading, _),) = Search(automaton).read([np.zeros((0, CHARSET.num_classes), np.float32)])
    assert reading.ids == []


def test_a_lexicon_of_another_script_is_refused():
    with pytest.raises(ValueError, match="No word of the lexicon can be written"):
        language(CHARSET, lexicon=["слово"])


def test_a_reader_that_spells_refuses_a_search():
    from htr.model import build_model

    config = htr.preset("tiny")
    reader = htr.Transcriber(build_model(config, CHARSET.num_classes), CHARSET, config, "crossentropy")
    with pytest.raises(ValueError, match="crossentropy, which spells without alignments"):
        reader.use(Search())


def test_commands_make_a_language_model_and_read_with_it(tmp_path, capsys):
    words, model = tmp_path / "words.txt", tmp_path / "words.arpa"
    texts = "château forêt École déjà Quebec lantern orchard pebble Straße schön Mädchen".split()
    words.write_text("\n".join(f"{text}\t{10 + i}" for i, text in enumerate(texts)), encoding="utf-8")
    assert cli.main(["lm", str(words), "--order", "3", "--out", str(model)]) == 0
    assert model.read_text(encoding="utf-8").lstrip().startswith("\\data\\")
    capsys.readouterr()
    assert cli.main(["evaluate", str(SAMPLES), "--lm", str(model), "--tune"]) == 0
    assert "--lm-weight" in capsys.readouterr().out
    words.write_text("\n".join(texts), encoding="utf-8")
    image = str(SAMPLES / "quebec.jpg")
    read = ["transcribe", image, "--lexicon", str(words), "--top", "3", "--format", "jsonl"]
    assert cli.main(read) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["text"] == row["alternatives"][0]["text"] == "Quebec"
    assert 1 < len(row["alternatives"]) <= 3


def test_tuning_without_a_language_says_so(capsys):
    assert cli.main(["evaluate", str(SAMPLES), "--tune"]) == 1
    assert "nothing to tune; give --lm FILE.arpa" in capsys.readouterr().err

"""A reader: the same text in any company, positions on the image that came in, nothing swapped, nothing lost."""

from pathlib import Path

import keras
import numpy as np
import pytest

import htr
from htr import transcriber
from htr.charset import Charset
from htr.config import ModelConfig
from htr.images import ImageError
from htr.model import build_model
from htr.transcriber import Transcriber
from tests.conftest import WORDS, render_word

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ModelConfig(height=24, blocks=((6, 2, 2, 1), (8, 2, 2, 1)), columns=12, recurrent=(8,))


@pytest.fixture(scope="module")
def reader():
    keras.utils.set_random_seed(3)
    charset = Charset("adeiklmnopstw")
    network = build_model(CONFIG, charset.num_classes)
    # an untrained network says one thing everywhere; louder weights make every word read differently
    for weight in network.get_layer("logits").trainable_variables:
        weight.assign(weight * 30)
    return Transcriber(network, charset, CONFIG)


@pytest.fixture(scope="module")
def images():
    return [render_word(word, size=20 + 3 * i) for i, word in enumerate(WORDS)]


def test_logits_are_those_of_the_word_alone(reader, images):
    alone = [reader.logits([image])[0] for image in images]
    for options in ({}, {"batch_size": 3}, {"pad_to": 333}):
        for one, other in zip(alone, reader.logits(images, **options), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_pad_to_below_the_widest_is_refused(reader, images):
    with pytest.raises(ValueError, match="pad_to is 5 px, the widest image has"):
        reader.logits(images, pad_to=5)


def test_results_come_in_the_order_of_the_images(reader, images):
    texts = [reader.transcribe(image).text for image in images]
    assert len(set(texts)) > 1
    assert [word.text for word in reader.transcribe(images)] == texts
    assert [word.text for word in reader.stream(iter(images[::-1]), batch_size=2)] == texts[::-1]


def test_words_blanks_and_bad_images_keep_their_places_over_batches_and_windows(monkeypatch):
    shipped = htr.load()
    samples = [str(path) for path in sorted((ROOT / "docs" / "samples").glob("*.jpg"))[:9]]
    blank, bad = np.full((30, 90), 255, np.uint8), b"no image"
    alone = {path: shipped.transcribe(path) for path in samples}
    given = [blank, *samples[:3], bad, samples[3], blank, bad, *samples[4:], blank, *samples[::-1]]
    monkeypatch.setattr(transcriber, "WINDOW", 2)
    for batch_size in (1, 3, 4, 64):
        found = list(shipped.stream(iter(given), batch_size=batch_size))
        assert len(found) == len(given)
        for image, word in zip(given, found, strict=True):
            if image is bad:
                assert isinstance(word, ImageError)
            else:
                one = alone[image] if isinstance(image, str) else None
                assert word.text == (one.text if one else "")
                places = [(c.character, c.left, c.right) for c in word.characters]
                assert places == ([(c.character, c.left, c.right) for c in one.characters] if one else [])


def test_lines_of_words_come_back_as_lines(reader, images):
    lines = reader.transcribe([images[:3], [], images[3:4]])
    assert [len(line) for line in lines] == [3, 0, 1]
    assert lines[2][0].text == reader.transcribe(images[3]).text


def test_no_ink_reads_as_no_text(reader):
    word = reader.transcribe(np.full((30, 90), 255, np.uint8))
    assert (word.text, word.characters, word.frames) == ("", [], 0)


def test_bad_image_is_named_and_the_others_are_read(reader, images, tmp_path):
    bad = tmp_path / "note.png"
    bad.write_text("not an image")
    results = list(reader.stream([images[0], bad, images[1]]))
    assert isinstance(results[1], ImageError) and "note.png" in str(results[1])
    assert [results[0].text, results[2].text] == [word.text for word in reader.transcribe(images[:2])]
    with pytest.raises(ImageError, match="note.png"):
        reader.transcribe([images[0], bad])


def test_characters_lie_on_the_image_from_left_to_right(reader, images):
    for image, word in zip(images, reader.transcribe(images), strict=True):
        assert "".join(c.character for c in word.characters) == word.text
        edges = [edge for c in word.characters for edge in (c.left, c.right)]
        assert edges == sorted(edges) and all(-0.5 <= edge <= image.width + 0.5 for edge in edges)


def test_frames_needed_counts_foreign_characters_too(reader):
    assert reader.frames_needed("noon") == 5 and reader.frames_needed("ßß") == 3

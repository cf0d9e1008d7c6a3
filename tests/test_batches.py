"""Batches: nothing lost, nothing twice, little padding, the same whatever the worker."""

import numpy as np
import pytest

from htr.batches import Batches, Words, read_words
from htr.charset import Charset
from htr.config import ModelConfig
from htr.images import PAD
from tests.toy import toy_dataset

CONFIG = ModelConfig(height=8, blocks=((4, 2, 2, 1), (4, 1, 2, 1)))


def words_of(widths, texts=None):
    rng = np.random.default_rng(0)
    inks = [rng.integers(1, 255, (8, width), dtype=np.uint8) for width in widths]
    for i, ink in enumerate(inks):
        ink[0, 0] = i % 255
    return Words(inks, texts or ["ab"] * len(widths), [""] * len(widths))


def batches(words, **options):
    return Batches(words, Charset("abc"), **{"batch_size": 4, "config": CONFIG, **options})


def seen(epoch):
    return sorted(
        int(round(float(image[0, 0, 0]) * 255))
        for images, _ in (epoch[i] for i in range(len(epoch)))
        for image in images
    )


def test_an_epoch_holds_every_word_once():
    epoch = batches(words_of(np.arange(10, 33)))
    assert seen(epoch) == list(range(23))
    epoch.on_epoch_end()
    assert seen(epoch) == list(range(23))


def test_label_stays_with_its_image():
    texts = ["a", "b", "c", "ab", "ba", "ca", "ac"]
    words, charset = words_of([40] * 7, texts), Charset("abc")
    for images, labels in (batches(words, strength=1.0, batch_size=2)[i] for i in range(4)):
        assert len(images) == len(labels)
    for images, labels in (batches(words, batch_size=2)[i] for i in range(4)):
        for image, ids in zip(images, labels, strict=True):
            assert charset.decode([i for i in ids if i]) == texts[round(float(image[0, 0, 0]) * 255)]


def test_padding_is_only_to_the_right_and_under_3_percent():
    widths = np.random.default_rng(0).integers(30, 400, 4000)
    epoch = batches(words_of(widths), batch_size=32)
    valid = total = 0
    for i in range(len(epoch)):
        images, _ = epoch[i]
        columns = (images != PAD).any(axis=(1, 3))
        assert (columns == np.arange(images.shape[2])[None].__lt__(columns.sum(1)[:, None])).all()
        valid, total = valid + columns.sum(), total + columns.size
    assert 1 - valid / total < 0.03


def test_batch_is_a_function_of_seed_epoch_and_index_alone():
    words = words_of(np.arange(20, 60))
    first = batches(words, strength=1.0, seed=3)
    first.on_epoch_end()
    resumed = batches(words, strength=1.0, seed=3, epoch=1)
    for i in reversed(range(len(first))):
        for a, b in zip(first[i], resumed[i], strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_workers_deliver_the_same_words():
    import keras

    class Collector(keras.Model):
        pass

    words = words_of(np.arange(20, 60))
    plain, threaded = batches(words), batches(words, workers=3)
    enqueuer = keras.src.trainers.data_adapters.py_dataset_adapter.OrderedEnqueuer(threaded, workers=3)
    enqueuer.start()
    stream = enqueuer.get()
    for i in range(len(plain)):
        np.testing.assert_array_equal(next(stream)[0], plain[i][0])
    enqueuer.stop()


def test_a_process_of_its_own_makes_the_same_batches():
    words = words_of(np.arange(20, 60))
    plain, beside = batches(words, strength=1.0), batches(words, strength=1.0, process=True)
    try:
        for _ in range(2):
            for i in range(len(plain)):
                np.testing.assert_array_equal(beside[i][0], plain[i][0])
            plain.on_epoch_end()
            beside.on_epoch_end()
        beside._feeder.processes[0]._process.kill()  # as the kernel does when memory runs out
        np.testing.assert_array_equal(beside[3][0], plain[3][0])
    finally:
        beside.close()


def test_mask_is_padded_and_warped_with_its_image():
    words = words_of([20, 26, 31, 22])
    masks = [(ink > 100) for ink in words.inks]
    x, _ = batches(words, masks=masks, batch_size=2)[0]
    assert x["images"].shape == x["masks"].shape
    assert set(np.unique(x["masks"])) <= {0.0, 1.0}
    inside = x["images"] != PAD
    assert not x["masks"][~inside].any()
    np.testing.assert_array_equal(x["masks"][inside] == 1, np.round(x["images"][inside] * 255) > 100)


def test_label_that_cannot_fit_is_refused_by_name():
    with pytest.raises(ValueError, match="'abca' needs 4 frames, the image gives 3: it is 9 px wide .* 16 or more"):
        batches(words_of([40, 9], ["a", "abca"]))


def test_no_words_are_refused():
    with pytest.raises(ValueError, match="no words"):
        batches(Words())


def test_every_row_is_a_word_or_a_problem():
    dataset = toy_dataset(6)
    rows = dataset.to_list()
    rows[1]["text"], rows[3]["image"]["bytes"] = "", b"not an image"
    words = read_words(type(dataset).from_list(rows, features=dataset.features), 32)
    assert len(words) == 4 and [problem.row for problem in words.problems] == [1, 3]
    assert words.texts == [rows[i]["text"] for i in (0, 2, 4, 5)]

"""Each variant of CTC against all of its paths written out, and against CTC itself where it is switched off."""

import itertools

import keras
import numpy as np
import pytest

from htr import ctc_variants as variants
from htr import objectives
from htr.batches import Batches, Words
from htr.charset import Charset
from htr.lattice import best_alignment, total
from tests.gradients import gradient
from tests.toy import toy_dataset

LABELS = [[2], [2, 3], [2, 2], [3, 2, 3], []]


def frames(seed=0, batch=1, count=4, classes=4):
    logits = np.random.default_rng(seed).normal(size=(batch, count, classes)).astype("float32") * 2
    return logits, np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))


def paths(label, count=4, classes=4):
    """All frame sequences that read as the label."""
    for path in itertools.product(range(classes), repeat=count):
        if [c for c, _ in itertools.groupby(path) if c] == label:
            yield path


def weights(label, logs):
    return {path: float(sum(logs[t, c] for t, c in enumerate(path))) for path in paths(label, len(logs))}


def padded(label):
    return np.array([[*label, *[0] * (3 - len(label))]])


@pytest.mark.parametrize("label", LABELS)
def test_sum_entropy_and_best_of_all_paths(label):
    logits, logs = frames()
    mask = np.ones((1, 4), bool)
    every = weights(label, logs[0])
    values = np.array(list(every.values()))
    shares = np.exp(values) / np.exp(values).sum()
    weight, entropy = (np.asarray(x)[0] for x in total(padded(label), logs, mask))
    assert weight == pytest.approx(np.log(np.exp(values).sum()), rel=1e-5)
    assert entropy == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-4, abs=1e-5)
    assert tuple(np.asarray(best_alignment(padded(label), logs, mask))[0]) == max(every, key=every.get)
    assert float(variants.alignment_entropy(padded(label), logits, mask)[0]) == pytest.approx(entropy, abs=1e-5)
    best = max(every.values())
    assert float(variants.alignment_loss(padded(label), logits, mask)[0]) == pytest.approx(-best, rel=1e-4)


@pytest.mark.parametrize("label", LABELS)
def test_prior_divides_every_frame_by_the_mean_distribution(label):
    logits, logs = frames(seed=1)
    scaled = logs[0] - 0.3 * np.log(np.exp(logs[0]).mean(0))
    expected = -np.log(np.exp(list(weights(label, scaled).values())).sum())
    loss = variants.prior_loss(padded(label), logits, np.ones((1, 4), bool), 0.3)
    assert float(loss[0]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_focal_weighs_by_the_probability_of_the_word():
    losses = keras.ops.convert_to_tensor(np.array([0.1, 2.0, 30.0, np.inf], "float32"))
    p = np.exp(-np.array([0.1, 2.0, 30.0]))
    got = np.asarray(variants.focal(losses, 2.0, 0.25))
    np.testing.assert_allclose(got[:3], 0.25 * (1 - p) ** 2 * [0.1, 2.0, 30.0], rtol=1e-5)
    assert np.isinf(got[3])


def test_smoothing_and_agreement_are_divergences_of_frames():
    logits, logs = frames(seed=2, batch=2)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    p = np.exp(logs)
    far = (p * (logs + np.log(4))).sum(-1) * mask
    np.testing.assert_allclose(np.asarray(variants.distance_to_uniform(logits, mask)), far.sum(1), rtol=1e-5)
    both = np.ones((2, 4), bool)
    from_other = (p[::-1] * (logs[::-1] - logs)).sum((1, 2))
    np.testing.assert_allclose(np.asarray(variants.disagreement(logits, both)), from_other, rtol=1e-5)

    def first(x):
        return keras.ops.sum(variants.disagreement(x, both))

    (slope,) = gradient(first, logits)
    # with the other view held fast, the gradient of KL(other || own) is own - other
    np.testing.assert_allclose(slope, p - p[::-1], atol=1e-5)


@pytest.mark.parametrize("label", [[2, 3], [2, 2]])
def test_gradient_of_the_entropy_is_that_of_finite_differences(label):
    logits, _ = frames(seed=3)
    mask = np.ones((1, 4), bool)

    def value(x):
        return keras.ops.sum(variants.alignment_entropy(padded(label), x, mask))

    (slope,) = gradient(value, logits)
    for place in ((0, 0, 0), (0, 1, 2), (0, 3, 3)):
        step = np.zeros_like(logits)
        step[place] = 1e-2
        difference = (float(value(logits + step)) - float(value(logits - step))) / 2e-2
        assert slope[place] == pytest.approx(difference, abs=2e-3)


OFF = {
    "focal-ctc": {"gamma": 0.0},
    "entropy-ctc": {"beta": 0.0},
    "smooth-ctc": {"smoothing": 0.0},
    "consistency-ctc": {"agreement": 0.0},
    "prior-ctc": {"strength": 0.0},
    "alignment-ctc": {"weight": 0.0},
    "shortcut-ctc": {"shortcut": 0.0},
}


@pytest.mark.parametrize("name", OFF)
def test_switched_off_it_is_ctc(name):
    logits, _ = frames(seed=4, batch=4, count=9, classes=6)
    labels = np.array([[2, 3, 3], [5, 0, 0], [4, 2, 4], [2, 2, 2]])
    mask = np.arange(9)[None] < np.array([[9], [6], [7], [9]])
    expected = np.asarray(objectives.get("ctc").loss(labels, logits, mask))
    got = np.asarray(objectives.get(name, **OFF[name]).loss(labels, logits, mask))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(OFF) - {"shortcut-ctc"}))
def test_switched_on_it_differs_on_words(name):
    """On words and a network that has begun to read them: what it gives for their own label is likely."""
    rng = np.random.default_rng(5)
    labels = rng.integers(2, 20, (8, 5))
    logits = rng.normal(size=(8, 12, 20)).astype("float32")
    for row, label in enumerate(labels):
        logits[row, 1:11:2, 0] -= 2
        logits[row, np.arange(1, 11, 2), label] += 5
        logits[row, ::2, 0] += 5
    mask = np.ones((8, 12), bool)
    plain = np.asarray(objectives.get("ctc").loss(labels, logits, mask)).mean()
    assert abs(np.asarray(objectives.get(name).loss(labels, logits, mask)).mean() - plain) > 1e-3


@pytest.mark.parametrize("name", [*OFF, "alignment-crossentropy"])
def test_label_that_cannot_fit_costs_inf_and_has_no_gradient(name):
    logits, _ = frames(seed=6, batch=2)
    labels, mask = np.array([[2, 2, 2], [3, 0, 0]]), np.ones((2, 4), bool)
    loss = objectives.get(name).loss
    losses = np.asarray(loss(labels, logits, mask))
    assert np.isinf(losses[0]) and np.isfinite(losses[1])
    (slope,) = gradient(lambda x: keras.ops.sum(loss(labels, x, mask)[:1]), logits)
    assert np.isfinite(slope).all()


def test_option_that_an_objective_lacks_is_named():
    with pytest.raises(ValueError, match="focal-ctc has no option beta; it has gamma, alpha"):
        objectives.get("focal-ctc", beta=1.0)


def test_views_of_a_word_stand_next_to_each_other_in_one_shape():
    dataset = toy_dataset(24)
    from htr.batches import read_words

    words: Words = read_words(dataset, 32)
    charset = Charset.from_texts(words.texts)
    batches = Batches(words, charset, batch_size=8, views=2, strength=1.0, seed=3)
    seen = []
    for index in range(len(batches)):
        images, labels = batches[index]
        assert images.shape[0] % 2 == 0
        np.testing.assert_array_equal(labels[::2], labels[1::2])
        for first, second in zip(images[::2], images[1::2], strict=True):
            np.testing.assert_array_equal(first == -1, second == -1)  # one geometry, one width
        seen += labels[::2].tolist()
    assert len(seen) == len(words)
    images, _ = batches[0]
    assert any(not np.array_equal(a, b) for a, b in zip(images[::2], images[1::2], strict=True))

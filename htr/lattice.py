"""Floor 1: sums over the alignments of a text, state by state, where CTC's own kernel cannot help.

The states of a text of n characters are blank, c1, blank, c2 ... blank: 2 n + 1 of them. An alignment goes through one
state a frame; it stays, goes on by one, or leaps over the blank between two different characters (Graves et al. 2006).
Scores may be any log-weights (batch, frames, classes), not only log-probabilities. Padding on the right is not seen.
"""

from typing import Any, NamedTuple

from keras import ops

from htr.charset import BLANK

NEVER = -1e30  # the log-weight of what cannot be: finite, so that no gradient is NaN


class Lattice(NamedTuple):
    """classes (batch, states), leap (batch, states): whether a state is reached over a blank; lengths (batch,)."""

    classes: Any
    leap: Any
    lengths: Any


def lattice(labels) -> Lattice:
    """labels (batch, length) padded with the blank -> their states; none is shorter than one blank."""
    labels = ops.cast(labels, "int32")
    if labels.shape[1] == 0:
        labels = ops.zeros((ops.shape(labels)[0], 1), "int32")
    labels = ops.concatenate([labels, ops.full_like(labels[:, :1], BLANK)], axis=1)  # at least one column
    pairs = ops.stack([ops.full_like(labels, BLANK), labels], axis=2)
    classes = ops.reshape(pairs, (ops.shape(labels)[0], -1))[:, :-1]
    before = ops.pad(classes[:, :-2], [(0, 0), (2, 0)], constant_values=BLANK)
    leap = ops.logical_and(ops.not_equal(classes, BLANK), ops.not_equal(classes, before))
    leap = ops.logical_and(leap, ops.arange(ops.shape(classes)[1])[None, :] >= 2)
    return Lattice(classes, leap, ops.sum(ops.cast(ops.not_equal(labels, BLANK), "int32"), axis=1))


def _sources(values, leap, instead: float):
    """values (batch, states) -> (3, batch, states): of the state itself, the one before, and the one leapt from."""
    before = ops.pad(values[:, :-1], [(0, 0), (1, 0)], constant_values=instead)
    over = ops.pad(values[:, :-2], [(0, 0), (2, 0)], constant_values=instead)
    return ops.stack([values, before, ops.where(leap, over, instead)])


def _emissions(scores, states: Lattice, mask):
    """-> scores of the states' classes and behind them the mask, (frames, batch, states + 1), float32.

    In one array: Keras' scan on TensorFlow takes a single one where the number of frames is not known beforehand.
    """
    scores = ops.where(ops.cast(mask, "bool")[..., None], ops.cast(scores, "float32"), 0.0)
    classes = ops.broadcast_to(states.classes[:, None, :], (*ops.shape(scores)[:2], ops.shape(states.classes)[1]))
    emitted = ops.take_along_axis(scores, classes, axis=2)
    return ops.transpose(ops.concatenate([emitted, ops.cast(mask, "float32")[..., None]], axis=2), (1, 0, 2))


def _begin(first):
    """Scores (batch, states) of the first frame -> those of the alignments that begin: in the first two states."""
    place = ops.arange(ops.shape(first)[1])[None, :]
    return ops.where(place < 2, first, NEVER)


def _last(values, lengths):
    """values (batch, states) -> (2, batch): of the last character, and of the blank behind it."""
    place = ops.arange(ops.shape(values)[1])[None, :]
    ends = [ops.equal(place, 2 * lengths[:, None] - 1), ops.equal(place, 2 * lengths[:, None])]
    return [ops.sum(ops.where(end, values, 0.0), axis=1) for end in ends]


def total(labels, scores, mask):
    """labels (batch, length), scores (batch, frames, classes), mask (batch, frames) -> (log-weight, entropy), (batch,).

    The log of the summed weight of all alignments, and the entropy in nats of which alignment it is. A text that cannot
    fit has a log-weight under -1e29; its entropy means nothing.
    """
    states = lattice(labels)
    emissions = _emissions(scores, states, mask)
    weights = _begin(emissions[0, :, :-1])
    # beside each state's weight, the mean log-weight of the alignments that lead there
    carry = weights, ops.where(weights > NEVER / 2, emissions[0, :, :-1], 0.0)

    def step(carry, now):
        weights, means = carry
        emitted, counts = now[:, :-1], now[:, -1:]
        ways = _sources(weights, states.leap, NEVER)
        summed = ops.logsumexp(ways, axis=0)
        shares = ops.exp(ways - summed[None])
        averaged = ops.sum(shares * _sources(means, states.leap, 0.0), axis=0)
        following = (
            ops.where(counts > 0, ops.maximum(summed + emitted, NEVER), weights),
            ops.where(counts > 0, averaged + ops.where(summed > NEVER / 2, emitted, 0.0), means),
        )
        return following, following

    (weights, means), _ = ops.scan(step, carry, emissions[1:])
    ends, paths = _last(weights, states.lengths), _last(means, states.lengths)
    some = states.lengths > 0
    ends[0] = ops.where(some, ends[0], NEVER)
    summed = ops.logaddexp(*ends)
    mean = sum(ops.exp(end - summed) * path for end, path in zip(ends, paths, strict=True))
    return summed, summed - mean


def best_alignment(labels, scores, mask):
    """labels (batch, length), scores (batch, frames, classes), mask (batch, frames) -> classes (batch, frames), int32

    The likeliest alignment (Viterbi), blanks included; a blank wherever the mask is False. No gradient goes through it.
    """
    states = lattice(labels)
    emissions = _emissions(ops.stop_gradient(scores), states, mask)
    weights = _begin(emissions[0, :, :-1])

    def step(carry, now):
        weights, _ = carry
        emitted, counts = now[:, :-1], now[:, -1:]
        ways = _sources(weights, states.leap, NEVER)
        back = ops.cast(ops.argmax(ways, axis=0), "float32")
        following = (
            ops.where(counts > 0, ops.maximum(ops.max(ways, axis=0) + emitted, NEVER), weights),
            ops.where(counts > 0, back, ops.zeros_like(back)),
        )
        return following, following

    (weights, _), (_, back) = ops.scan(step, (weights, ops.zeros_like(weights)), emissions[1:])
    ends = _last(weights, states.lengths)
    blank_last = ops.logical_or(ends[1] >= ends[0], ops.equal(states.lengths, 0))
    place = 2 * states.lengths - ops.where(blank_last, 0, 1)

    def trace(place, back):
        return (place - ops.cast(ops.take_along_axis(back, place[:, None], axis=1)[:, 0], "int32"),) * 2

    _, places = ops.scan(trace, place, back, reverse=True)
    places = ops.concatenate([places, place[None]], axis=0)
    aligned = ops.take_along_axis(states.classes, ops.transpose(places), axis=1)
    return ops.where(ops.cast(mask, "bool"), aligned, BLANK)

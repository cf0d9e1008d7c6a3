"""Floor 1: the character error rate as a Keras metric, for `compile(metrics=[...])` on any backend.

It reads words inside the compiled step, greedily and without text; `htr.metrics` and `htr evaluate` give the figures to
report. Both come to the same number for the same words.
"""

import keras
from keras import ops

from htr.charset import BLANK, END
from htr.masks import PACKAGE, carried_mask

READINGS = ("path", "spelling")


@keras.saving.register_keras_serializable(package=PACKAGE)
class CharacterErrorRate(keras.metrics.Metric):
    """labels (batch, length) padded with 0, logits (batch, frames, classes) -> edits / characters over all batches.

    reading: "path" merges repeats and drops blanks, as CTC does; "spelling" takes character i from frame i, up to END.
    Frames outside the mask that Keras carries with the logits are not read. NaN where there was no character yet.
    """

    def __init__(self, *, reading: str = "path", name: str = "cer", **kwargs):
        super().__init__(name=name, **kwargs)
        if reading not in READINGS:
            raise ValueError(f"reading is {reading!r}, it must be one of {', '.join(READINGS)}.")
        self.reading = reading
        self.edits = self.add_variable(shape=(), initializer="zeros", name="edits")
        self.characters = self.add_variable(shape=(), initializer="zeros", name="characters")

    def update_state(self, y_true, y_pred, sample_weight=None):
        mask = carried_mask(y_pred)
        labels = ops.cast(y_true, "int32")
        mask = ops.ones(ops.shape(y_pred)[:2], dtype="bool") if mask is None else ops.cast(mask, "bool")
        ids, kept = (_path if self.reading == "path" else _spelling)(ops.convert_to_tensor(y_pred), mask)
        weights = 1.0 if sample_weight is None else ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        lengths = ops.sum(ops.cast(ops.not_equal(labels, BLANK), "int32"), axis=1)
        self.edits.assign_add(ops.sum(ops.cast(edit_distances(ids, kept, labels, lengths), "float32") * weights))
        self.characters.assign_add(ops.sum(ops.cast(lengths, "float32") * weights))

    def result(self):
        return self.edits / self.characters

    def get_config(self):
        return {**super().get_config(), "reading": self.reading}


def _likeliest(logits, but: int):
    """logits (batch, frames, classes) -> the likeliest class of each frame that is not `but`, (batch, frames) int32."""
    allowed = ops.not_equal(ops.arange(logits.shape[-1]), but)
    return ops.cast(ops.argmax(ops.where(allowed, logits, -float("inf")), axis=-1), "int32")


def _path(logits, mask):
    ids = ops.where(mask, _likeliest(logits, END), BLANK)
    before = ops.pad(ids, [(0, 0), (1, 0)], constant_values=BLANK)[:, :-1]
    return ids, ops.logical_and(ops.not_equal(ids, BLANK), ops.not_equal(ids, before))


def _spelling(logits, mask):
    ids = _likeliest(logits, BLANK)
    ends = ops.logical_or(ops.equal(ids, END), ops.logical_not(mask))
    return ids, ops.equal(ops.cumsum(ops.cast(ends, "int32"), axis=1), 0)


def edit_distances(ids, kept, labels, lengths):
    """Levenshtein distance of the kept ids (batch, frames) from the first `lengths` labels (batch, length), (batch,).

    One row of the table a frame: insertions along the row, which depend on one another, are a minimum over all
    places to the left instead.
    """
    places = ops.arange(labels.shape[1] + 1) if labels.shape[1] else ops.arange(ops.shape(labels)[1] + 1)
    gaps = places[:, None] - places[None, :]
    gaps = ops.where(gaps < 0, 1 << 20, gaps)

    def read(row, frame):
        character, counts = frame
        swapped = row[:, :-1] + ops.cast(ops.not_equal(labels, character[:, None]), "int32")
        dropped = row + 1
        best = ops.concatenate([dropped[:, :1], ops.minimum(dropped[:, 1:], swapped)], axis=1)
        best = ops.min(best[:, None, :] + gaps, axis=2)
        return ops.where(counts[:, None], best, row), None

    first = ops.zeros_like(labels[:, :1]) + places[None, :]
    last, _ = ops.scan(read, first, (ops.transpose(ids), ops.transpose(kept)))
    return ops.take_along_axis(last, lengths[:, None], axis=1)[:, 0]

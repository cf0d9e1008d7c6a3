"""Floor 3: an objective as a Keras loss, and the network as it is trained, with what reading does without."""

import dataclasses

import keras
from keras import layers, ops

from htr.losses import per_replica
from htr.masks import carried_mask
from htr.objectives import Objective, get


@keras.saving.register_keras_serializable(package="htr")
class ObjectiveLoss(keras.losses.Loss):
    """An objective for `compile`: labels (batch, length), logits with their Keras mask -> the mean over the batch."""

    def __init__(self, objective: str, options: dict | None = None, name: str = "objective_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.objective = get(objective, **(options or {}))

    @classmethod
    def of(cls, objective: Objective) -> "ObjectiveLoss":
        """The loss of an objective that is at hand."""
        return cls(objective.name, dataclasses.asdict(objective))

    def __call__(self, y_true, y_pred, sample_weight=None):
        # the stock call would multiply the mask into a per-frame loss; here it gives the words' lengths
        mask = carried_mask(y_pred)
        if mask is None:
            mask = ops.ones(ops.shape(y_pred)[:2], dtype="bool")
        losses = self.objective.loss(y_true, y_pred, mask)
        return per_replica(
            ops.mean(losses if sample_weight is None else losses * ops.cast(sample_weight, losses.dtype))
        )

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def get_config(self):
        options = dataclasses.asdict(self.objective)
        return {**super().get_config(), "objective": self.objective.name, "options": options}


class Learner(keras.Model):
    """images -> logits, or [logits, the shortcut's logits]; its loss is the objective's, its weights the network's.

    Masks reach the loss with the outputs, as Keras carries them.
    """

    def __init__(self, network: keras.Model, objective: Objective):
        outputs = [network.output]
        if objective.shortcut:
            outputs.append(_shortcut(network))
        super().__init__(network.input, outputs, name="learner")
        self._weights_of_losses = (1.0, objective.shortcut)[: len(outputs)]
        self._objective_loss = ObjectiveLoss.of(objective)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """labels y (batch, length), y_pred as `call` gives it -> the mean loss of a word."""
        y_pred = y_pred if isinstance(y_pred, (list, tuple)) else [y_pred]  # Keras unpacks a list of one
        losses = [
            weight * self._objective_loss(y, logits, sample_weight)
            for weight, logits in zip(self._weights_of_losses, y_pred, strict=True)
        ]
        return sum([*losses[1:], *map(per_replica, self.losses)], losses[0])


def _shortcut(network: keras.Model):
    """network -> logits (batch, frames, classes) from its columns, one frame to each side seen."""
    convolution = layers.Conv1D(network.output.shape[-1], 3, padding="same", dtype="float32", name="shortcut")
    convolution.supports_masking = True  # frame by frame; the columns behind the image are 0 already
    return convolution(network.get_layer("project_norm").output)

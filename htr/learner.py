"""Floor 3: the network as it is trained: with what its objective adds to it, which reading does without."""

import keras
from keras import layers

from htr.losses import per_replica
from htr.objectives import Objective, ObjectiveLoss


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

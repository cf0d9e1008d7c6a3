"""Floor 1: a bidirectional LSTM that never reads padding, without asking at every step whether it does."""

import keras
from keras import ops

from htr.masks import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBidirectional(keras.layers.Bidirectional):
    """features (batch, frames, channels) -> (batch, frames, 2 * units), for an LSTM that returns sequences.

    The mask (batch, frames) is of words padded on the right. The forward LSTM meets padding last; the backward one is
    given each word turned round within its own length. So no step needs a mask: on valid frames the result is that of
    `keras.layers.Bidirectional` with the mask, outside it stand finite numbers. The weights are the stock layer's.
    Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        if not (isinstance(layer, keras.layers.LSTM) and layer.return_sequences and self.merge_mode == "concat"):
            raise ValueError("MaskedBidirectional takes an LSTM with return_sequences=True, merged by concat.")

    def call(self, sequences, initial_state=None, mask=None, training=None):
        frames = ops.shape(sequences)[1]
        lengths = None if mask is None else ops.sum(ops.cast(mask, "int32"), axis=1)
        if keras.backend.backend() == "tensorflow":
            return self._together(sequences, lengths)
        if mask is None:
            return super().call(sequences, training=training)
        # the backward layer starts at the right edge: put the words there, and what it says back to their frames
        shifted = _take(sequences, (ops.arange(frames)[None, :] + lengths[:, None]) % frames)
        forward, backward = self.forward_layer(sequences), self.backward_layer(shifted)
        turned = _take(backward, (lengths[:, None] - 1 - ops.arange(frames)[None, :]) % frames)
        return ops.concatenate([forward, turned], axis=-1)

    def _together(self, sequences, lengths):
        """Both directions in one loop, their inputs multiplied beforehand in one go: a fifth faster than Keras' two.

        On TensorFlow's CPU kernels; JAX and torch have fused ones behind Keras' layers.
        """
        import tensorflow as tf

        def turn(values):
            return tf.reverse(values, [1]) if lengths is None else tf.reverse_sequence(values, lengths, 1, 0)

        cells = self.forward_layer.cell, self.backward_layer.cell
        inputs = [
            tf.matmul(values, cell.kernel) + cell.bias
            for values, cell in zip((sequences, turn(sequences)), cells, strict=True)
        ]
        inputs = tf.transpose(tf.stack(inputs), (2, 0, 1, 3))  # (frames, direction, batch, 4 * units)
        kernels = tf.stack([tf.convert_to_tensor(cell.recurrent_kernel) for cell in cells])

        def step(state, now):
            hidden, memory = state
            enter, forget, candidate, leave = tf.split(now + tf.matmul(hidden, kernels), 4, axis=-1)
            memory = tf.sigmoid(forget) * memory + tf.sigmoid(enter) * tf.tanh(candidate)
            state = tf.sigmoid(leave) * tf.tanh(memory), memory
            return state, state

        zeros = tf.zeros((2, tf.shape(sequences)[0], cells[0].units), inputs.dtype)
        _, (hidden, _) = ops.scan(step, (zeros, zeros), inputs)
        forward, backward = tf.unstack(tf.transpose(hidden, (1, 2, 0, 3)))
        return tf.concat([forward, turn(backward)], axis=-1)


def _take(values, frames):
    """values (batch, frames, channels), frames (batch, frames) -> the values of those frames."""
    return ops.take_along_axis(values, frames[..., None], axis=1)

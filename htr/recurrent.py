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
            return self._side_by_side(sequences, lengths)
        if mask is None:
            return super().call(sequences, training=training)
        # the backward layer starts at the right edge: put the words there, and what it says back to their frames
        shifted = _take(sequences, (ops.arange(frames)[None, :] + lengths[:, None]) % frames)
        forward, backward = self.forward_layer(sequences), self.backward_layer(shifted)
        turned = _take(backward, (lengths[:, None] - 1 - ops.arange(frames)[None, :]) % frames)
        return ops.concatenate([forward, turned], axis=-1)

    def _side_by_side(self, sequences, lengths):
        """Two loops that need nothing of each other, one a core, their inputs multiplied beforehand in one go.

        On TensorFlow's CPU kernel; JAX and torch have fused ones behind Keras' layers.
        """
        import tensorflow as tf

        def turn(values):
            return tf.reverse(values, [1]) if lengths is None else tf.reverse_sequence(values, lengths, 1, 0)

        cells = self.forward_layer.cell, self.backward_layer.cell
        inputs = [
            tf.matmul(values, cell.kernel) + cell.bias
            for values, cell in zip((sequences, turn(sequences)), cells, strict=True)
        ]
        forward, backward = (
            tf.transpose(_loop(tf.transpose(x, (1, 0, 2)), tf.convert_to_tensor(cell.recurrent_kernel)), (1, 0, 2))
            for x, cell in zip(inputs, cells, strict=True)
        )
        return tf.concat([forward, turn(backward)], axis=-1)


def _loop(inputs, kernel):
    """inputs (frames, batch, 4 * units), recurrent kernel (units, 4 * units) -> hidden states (frames, batch, units)

    Its gradient is written out: the loop back then holds one product and no sums over frames, and the kernel's gradient
    is a single product behind it.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def loop(inputs, kernel):
        frames, units = tf.shape(inputs)[0], kernel.shape[0]
        zeros = tf.zeros((tf.shape(inputs)[1], units), inputs.dtype)

        def step(t, hidden, memory, *kept):
            sums = inputs[t] + tf.matmul(hidden, kernel)
            gates = tf.sigmoid(sums)  # of the candidate too, where it is not used: one pass is cheaper than three
            enter, forget, _, leave = tf.split(gates, 4, axis=-1)
            candidate = tf.tanh(sums[..., 2 * units : 3 * units])
            memory = forget * memory + enter * candidate
            bound = tf.tanh(memory)
            hidden = leave * bound
            values = hidden, memory, bound, candidate, gates
            kept = [array.write(t, value) for array, value in zip(kept, values, strict=True)]
            return t + 1, hidden, memory, *kept

        shapes = [zeros.shape] * 4 + [inputs.shape[1:]]
        arrays = [tf.TensorArray(inputs.dtype, frames, element_shape=shape) for shape in shapes]
        _, _, _, *arrays = tf.while_loop(lambda t, *_: t < frames, step, (0, zeros, zeros, *arrays))
        hidden, memory, *kept = (array.stack() for array in arrays)

        def gradient(slopes):
            before = [tf.concat([zeros[None], values[:-1]], axis=0) for values in (hidden, memory)]
            changes = _loop_back(slopes, kernel, before[1], *kept)
            merged = [tf.reshape(x, (-1, x.shape[2])) for x in (before[0], changes)]
            return changes, tf.matmul(*merged, transpose_a=True)

        return hidden, gradient

    return loop(inputs, kernel)


def _loop_back(slopes, kernel, memory, bound, candidate, gates):
    """The gradient by the hidden states, the memory before each step, what the steps kept -> that by `inputs`."""
    import tensorflow as tf

    frames = tf.shape(slopes)[0]
    zeros = tf.zeros_like(slopes[0])
    enter, forget, _, leave = tf.split(gates, 4, axis=-1)
    # what needs no step before it is taken of all frames at once
    to_memory = leave * (1 - bound * bound)
    by_memory = tf.stack(
        [candidate * enter * (1 - enter), memory * forget * (1 - forget), enter * (1 - candidate * candidate)], axis=-2
    )
    by_leave = bound * leave * (1 - leave)

    def step(t, from_hidden, from_memory, changes):
        hidden = slopes[t] + from_hidden
        memory = hidden * to_memory[t] + from_memory
        first = by_memory[t] * memory[..., None, :]
        change = tf.concat([first, (by_leave[t] * hidden)[..., None, :]], axis=-2)
        change = tf.reshape(change, (-1, kernel.shape[1]))
        from_hidden = tf.matmul(change, kernel, transpose_b=True)
        return t - 1, from_hidden, memory * forget[t], changes.write(t, change)

    changes = tf.TensorArray(slopes.dtype, frames, element_shape=(None, kernel.shape[1]))
    *_, changes = tf.while_loop(lambda t, *_: t >= 0, step, (frames - 1, zeros, zeros, changes))
    return changes.stack()


def _take(values, frames):
    """values (batch, frames, channels), frames (batch, frames) -> the values of those frames."""
    return ops.take_along_axis(values, frames[..., None], axis=1)

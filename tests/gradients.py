"""Gradients on whatever backend Keras runs."""

import keras
import numpy as np


def gradient(function, *arrays) -> list[np.ndarray]:
    """function(*arrays) -> scalar tensor; its gradient by each array, float32."""
    arrays = [np.asarray(array, dtype=np.float32) for array in arrays]
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        slopes = tape.gradient(value, tensors, unconnected_gradients="zero")
        return [np.asarray(slope) for slope in slopes]
    if backend == "jax":
        import jax

        return [np.asarray(slope) for slope in jax.grad(function, argnums=tuple(range(len(arrays))))(*arrays)]
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    value = function(*tensors)
    if not value.requires_grad:
        return [np.zeros_like(array) for array in arrays]
    slopes = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
    return [slope.numpy() for slope in slopes]

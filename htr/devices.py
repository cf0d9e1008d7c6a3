"""Floor 1: training on several devices of one machine: each computes its share of every batch.

JAX runs one program over all devices, so sums over a batch are whole by themselves. Under TensorFlow's MirroredStrategy
each device runs the step on its own share: what belongs to the whole batch is added up here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import keras


@contextmanager
def spread(count: int) -> Iterator[None]:
    """What is built and fitted within runs on count devices; ValueError as `find` raises it."""
    if count == 1:
        yield
    elif keras.backend.backend() == "jax":
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=find(count)))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        with _mirrored(tuple(find(count))).scope():
            yield


@cache
def _mirrored(devices: tuple[str, ...]):
    # one a process: two strategies give their exchanges the same numbers, and meet in one another's
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def find(count: int) -> list[str]:
    """The names of count devices, accelerators before processors.

    ValueError where there are fewer, or where the backend cannot share a batch among several.
    """
    backend, found = keras.backend.backend(), ["the only one"]
    if backend not in ("jax", "tensorflow") and count > 1:
        raise ValueError(f"With the backend {backend} htr trains on one device; for more set KERAS_BACKEND=jax.")
    if backend == "jax":
        found = keras.distribution.list_devices()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        found = [device.name.removeprefix("/device:") for device in devices]
    if count > len(found):
        raise ValueError(f"{count} devices were asked for, found were {len(found)}: {', '.join(found)}; ask for fewer.")
    return found[:count]


def over_devices(tensors: list) -> list:
    """Tensors of one device's share -> their sums over the devices; as they are where one program sees it all."""
    return [_replica().all_reduce("SUM", tensor) for tensor in tensors] if replicas() > 1 else tensors


def replicas() -> int:
    """How many devices run this step, each on its own share of the batch."""
    context = _replica() if keras.backend.backend() == "tensorflow" else None
    return context.num_replicas_in_sync if context else 1


def _replica():
    import tensorflow as tf

    return tf.distribute.get_replica_context()


class AdamW(keras.optimizers.AdamW):
    """AdamW that clips the gradient of the whole batch; the stock one clips each device's share before adding up."""

    def _clip_gradients(self, grads):
        count = replicas()
        if count == 1:
            return super()._clip_gradients(grads)
        there = [grad for grad in grads if grad is not None]
        clipped = iter(super()._clip_gradients(over_devices(there)))
        # the shares are added up once more behind this
        return [None if grad is None else next(clipped) / count for grad in grads]

"""Floor 1: training on several devices of one or more hosts: each computes its share of every batch.

JAX runs one program over all devices, so sums over a batch are whole by themselves. Under TensorFlow's MirroredStrategy
each device runs the step on its own share: what belongs to the whole batch is added up here.

Several hosts (JAX) run the same command, a process each. All take every step together; the first one alone reads the
validation words and writes, and tells the others what it found.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import keras
import numpy as np

_TOLD = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")


def join() -> None:
    """Meet the processes that Keras' environment variables KERAS_DISTRIBUTION_... name; without them nothing happens.

    It must come before anything is computed; a second time it does nothing. ValueError where they cannot be used.
    """
    if _TOLD[0] not in os.environ:
        return
    if keras.backend.backend() != "jax":
        raise ValueError(f"{_TOLD[0]} is set: several hosts train on JAX alone; set KERAS_BACKEND=jax, or unset it.")
    for name in _TOLD[1:]:
        if not os.environ.get(name, "").isdecimal():
            raise ValueError(f"{_TOLD[0]} is set, {name} is {os.environ.get(name)!r}; set it to a number.")
    import jax

    if not jax.distributed.is_initialized():
        keras.utils.set_random_seed(0)  # else Keras has the hosts draw one together, which not every machine can
        keras.distribution.initialize()


def hosts() -> int:
    """How many processes train together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return jax.process_count()


def leads() -> bool:
    """Whether this process is the one that writes."""
    return _number() == 0


def _number() -> int:
    if hosts() == 1:
        return 0
    import jax

    return jax.process_index()


def together(value: float) -> list[float]:
    """What each host, the first one first, has given for value; each waits here for all."""
    if hosts() == 1:
        return [value]
    from jax.experimental import multihost_utils

    # as bytes: JAX would make a float32 of it
    gathered = multihost_utils.process_allgather(np.frombuffer(np.float64(value).tobytes(), np.uint8))
    return np.ascontiguousarray(gathered).view(np.float64).ravel().tolist()


def share(rows: int) -> slice:
    """Which of so many rows of a batch the devices of this host compute."""
    count = rows // hosts()
    return slice(_number() * count, (_number() + 1) * count)


@contextmanager
def apart() -> Iterator[None]:
    """What is built and computed within is this host's own business."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


@contextmanager
def spread(count: int) -> Iterator[None]:
    """What is built and fitted within runs on count devices; ValueError as `find` raises it."""
    if count == 1:
        yield
    elif keras.backend.backend() == "jax":
        before = keras.distribution.distribution()
        # each host makes its own part of every batch
        parallel = keras.distribution.DataParallel(devices=find(count), auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
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
    if hosts() > 1 and (count != len(found) or count % hosts()):
        raise ValueError(
            f"{hosts()} hosts have {len(found)} devices, {count} were asked for; take all, as many on each host."
        )
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

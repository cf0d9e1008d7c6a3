"""The same package on another backend, and where TensorFlow is not installed."""

import os
import subprocess
import sys

import pytest

TRAIN = """
import sys
blocked = {blocked!r}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in blocked else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import htr
from tests.test_training import NETWORK, SHORT
from tests.toy import toy_dataset
words = toy_dataset(24)
settings = htr.TrainConfig(epochs=2, **SHORT)
reader = htr.train(words, words, out={out!r}, model=NETWORK, training=settings)
report = htr.evaluate(reader, words)
assert report.words == 24, report
assert not blocked or "tensorflow" not in sys.modules
print("trained", sys.modules["keras"].backend.backend())
"""


@pytest.mark.parametrize(("backend", "blocked"), [("jax", ["tensorflow"]), ("torch", ["tensorflow"])])
def test_package_trains_and_evaluates_without_tensorflow(backend, blocked, tmp_path):
    code = TRAIN.format(blocked=blocked, out=str(tmp_path / "run"))
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"trained {backend}" in done.stdout


MIRRORED = """
import keras, numpy as np, tensorflow as tf
from htr.losses import MaskedSquaredError
from htr.learner import ObjectiveLoss
from htr.objectives import CTC

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
logits = rng.normal(size=(4, 6, 5)).astype("float32")
labels = np.array([[2, 3], [4, 0], [3, 3], [2, 0]])
for loss, truth in ((ObjectiveLoss.of(CTC()), labels), (MaskedSquaredError(), np.zeros_like(logits))):
    pairs = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((truth, logits)).batch(4))
    per_device = strategy.run(loss, next(iter(pairs)))
    total = strategy.reduce("SUM", per_device, axis=None)
    alone = loss(truth, logits)
    assert abs(float(total) - float(alone)) < 1e-5 * float(alone), (loss.name, float(total), float(alone))
print("the devices' losses add up")
"""


def test_losses_of_mirrored_devices_add_up_to_the_loss_of_the_batch():
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "add up" in done.stdout

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

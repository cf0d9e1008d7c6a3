"""Floor 4: what turns batches of padded images into logits: Keras, ONNX Runtime or OpenVINO.

An engine has a name, a width_step (widths are padded to its multiples) and `run`: batches (batch, height, width, 1) ->
for each its logits (batch, frames, classes). In none has padding a part in the result.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import numpy as np

from htr import files, onnx_check
from htr.checkpoint import MAX_BYTES, ONNX, WEIGHTS, CheckpointError, load, weights_file

_FIRST_ARRAY = Lock()
ENGINES = ("keras", "onnx", "openvino", "openvino-bf16")


class KerasEngine:
    """The network itself, on Keras' backend."""

    name = "keras"

    def __init__(self, model):
        import keras

        self.model = model
        # XLA compiles once a shape: few widths there, no waste elsewhere
        self.width_step = 64 if keras.backend.backend() == "jax" else 1

    def run(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Logits of each batch, one after the other."""
        from keras import ops

        for batch in batches:
            # a batch of one goes through other kernels, which round differently: read the word twice
            batch = np.repeat(batch, 2, axis=0) if len(batch) == 1 else batch
            yield ops.convert_to_numpy(self.model.predict_on_batch(batch))


class _Threaded:
    """An engine whose runtime is safe to call from several threads: a batch on each core."""

    width_step = 1

    def run(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Logits of each batch, in order."""
        batches = list(batches)
        if len(batches) == 1:
            yield self._logits(batches[0])
            return
        with ThreadPoolExecutor(cores()) as pool:
            yield from pool.map(self._logits, batches)

    def _logits(self, batch: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class OnnxEngine(_Threaded):
    """ONNX Runtime on the checkpoint's model.onnx."""

    name = "onnx"

    def __init__(self, path: Path):
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has kinds of its own
            raise CheckpointError(f"{path} cannot be loaded ({_reason(error)}); export it again.") from None

    def _logits(self, batch):
        return self._session.run(["logits"], {"images": batch})[0]


class OpenVinoEngine(_Threaded):
    """OpenVINO on the checkpoint's model.onnx, in float32, or in bfloat16: twice as fast where a processor knows it.

    In bfloat16 a word in some hundreds reads differently.
    """

    name, precision = "openvino", "f32"
    width_step = 8  # it compiles once a shape, a quarter of the time where no shape comes again

    def __init__(self, path: Path):
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision}
        try:
            self._model = openvino().Core().compile_model(str(path), "CPU", hints)
        except RuntimeError as error:
            raise CheckpointError(f"{path} cannot be loaded ({_reason(error)}); export it again.") from None

    def _logits(self, batch):
        return self._model.create_infer_request().infer({"images": batch})["logits"]


class OpenVinoBf16Engine(OpenVinoEngine):
    """`OpenVinoEngine` in bfloat16."""

    name, precision = "openvino-bf16", "bf16"


def onnxruntime():
    """The module; of itself it tells Microsoft of every session, and keeps a number of this machine in the cache."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when it is first imported
    return importlib.import_module("onnxruntime")


def openvino():
    """The module; at its import it would tell Google Analytics of itself, where it finds what to tell it with."""
    sys.modules.setdefault("openvino_telemetry", None)
    module = importlib.import_module("openvino")
    with _FIRST_ARRAY:  # two threads that hand it their first array at once can wait for each other for ever
        np.asarray(module.Tensor(np.zeros(1, np.float32)).data)
    return module


def cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(folder, name: str | None = None) -> OnnxEngine | OpenVinoEngine | None:
    """A checkpoint's folder and an engine's name, None for the best there is -> the engine, or None for Keras.

    ValueError for an unknown name, a runtime that is not installed, and a model.onnx that is missing or of old weights.
    """
    path, kinds = Path(folder) / ONNX, {kind.name: kind for kind in (OnnxEngine, OpenVinoEngine, OpenVinoBf16Engine)}
    if name is None:
        name = "onnx" if find_spec("onnxruntime") and path.is_file() and is_current(path) else "keras"
    if name not in ENGINES:
        raise ValueError(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")
    if name == "keras":
        return None
    runtime, extra = ("onnxruntime", "onnx") if name == "onnx" else ("openvino", "openvino")
    if not find_spec(runtime):
        raise ValueError(f"The engine {name} is not installed; pip install 'htr-words[{extra}]', or take keras.")
    again = f"`htr export {folder} --format onnx --out {path}`"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {ONNX}; write it with {again}, or take the engine keras.")
    if not is_current(path):
        raise CheckpointError(f"{path} belongs to other weights than {WEIGHTS} beside it; write it anew with {again}.")
    charset, config, _ = load(folder)
    try:
        onnx_check.check(files.read(path, MAX_BYTES), height=config.height, classes=charset.num_classes)
    except (ValueError, OSError) as error:
        reason = files.shown(getattr(error, "strerror", None) or error)
        raise CheckpointError(f"{path} cannot be loaded ({reason}); export it again.") from None
    return kinds[name](path)


def digest(weights: Path) -> str:
    """SHA-256 of a file of weights; an exported graph holds that of its own among its metadata."""
    return hashlib.sha256(files.read(weights, MAX_BYTES)).hexdigest()


def is_current(path: Path) -> bool:
    """Whether an ONNX file belongs to the weights that lie beside it; alone in a folder it needs none."""
    weights, named = weights_file(path.parent)
    try:
        return not weights.is_file() or (named or digest(weights)).encode() in files.read(path, MAX_BYTES)
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}.") from None


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")

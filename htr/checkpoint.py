"""Floor 3: a checkpoint is a folder: config.json, weights.npz, a README, and model.onnx where it was exported.

Nothing in it is ever executed. config.json decides which weights are its own, by their SHA-256: a save puts new ones
under a name of their own, then their config in the place of the old one, then them in the place of weights.npz.
Keras is imported where a network of its own is asked for, and not before.
"""

import hashlib
import io
import json
import math
import os
import re
import zipfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from htr import __version__, files, hub, objectives
from htr.charset import Charset
from htr.config import ModelConfig, as_json, from_json, to_json
from htr.config_check import check, check_network, least_weights

if TYPE_CHECKING:
    import keras

FORMAT = 1
MAX_BYTES = 1 << 30  # of a file: 270 million weights
_MAX_CONFIG = 16 << 20  # bytes: more than an alphabet of all that Unicode has
_KINDS = "biufU"  # of arrays: numbers, and the text in a run's state
CONFIG, WEIGHTS, README, ONNX = "config.json", "weights.npz", "README.md", "model.onnx"


class CheckpointError(ValueError):
    """A folder that is no checkpoint, or one that this version cannot read."""


def write(path: Path, data: bytes | memoryview) -> None:
    """The file is either the old one or the whole new one, whenever the machine stops."""
    with files.whole(path) as file:
        file.write(data)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """arrays by name -> an .npz file, written at once or not at all."""
    with files.whole(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no array of ours is called allow_pickle


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; CheckpointError where it is missing, cut or no such file.

    np.load would take what memory a header asks for. Pickles, packed arrays and any other kind are refused.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the whole folder again.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("its arrays are packed, or said to be larger than the file")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except Exception as error:  # zipfile and numpy raise many kinds
        reason = files.shown(error)[:200]
        raise CheckpointError(f"{path} is damaged or cut, or no archive of arrays ({reason}); copy it again.") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """A member of an .npz file, no larger than the bytes that are there."""
    name = member.filename[:60]
    with archive.open(member) as file:
        if (version := np.lib.format.read_magic(file)) not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has a header of version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(file)
        if kind.kind not in _KINDS:
            raise ValueError(f"{name} is an array of {kind}, no floats")
        left = member.file_size - file.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != left:
            raise ValueError(f"{name} has the shape {shape} and holds {left:,} bytes")
        values = np.frombuffer(bytearray(file.read()), kind)
    return values.reshape(shape, order="F" if fortran else "C")


def save(
    folder,
    *,
    model,
    charset: Charset,
    config: ModelConfig,
    objective: str,
    objective_options: dict,
    training: dict,
    temperature: float,
    readme: str,
    half=False,
):
    """Write the folder; half stores the weights as float16. Whenever it is killed, the folder is the old or the new."""
    folder, packed = Path(folder), io.BytesIO()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(packed, **weights_of(model, half=half))  # type: ignore[arg-type]  # no layer is called allow_pickle
    digest = hashlib.sha256(packed.getbuffer()).hexdigest()
    settings = {
        "format": FORMAT,
        "weights": digest,
        "alphabet": charset.characters,
        "objective": objective,
        "objective_options": objective_options,
        "temperature": temperature,
        "model": to_json(config),
        "preprocessing": {"height": config.height, "pad": -1.0, "see": "htr/images.py"},
        "training": training,
        "versions": {"htr": __version__, "keras": version("keras"), "numpy": np.__version__},
    }
    write(folder / README, readme.encode())
    write(_ahead(folder, digest), packed.getbuffer())
    write(folder / CONFIG, json.dumps(settings, indent=2, ensure_ascii=False).encode())
    os.replace(_ahead(folder, digest), folder / WEIGHTS)
    for left in folder.glob(f"weights-{'[0-9a-f]' * 16}.npz"):  # by saves that were killed
        left.unlink()


def _ahead(folder: Path, digest: str) -> Path:
    """Where weights lie until their config is in its place, and a moment longer."""
    return folder / f"weights-{digest[:16]}.npz"


def weights_file(folder) -> tuple[Path, str | None]:
    """The file of the weights that config.json belongs to, and their SHA-256; an older htr did not note it: None."""
    folder = Path(folder)
    digest = read_config(folder).get("weights")
    ahead = digest and _ahead(folder, digest)
    return (ahead if ahead and ahead.is_file() else folder / WEIGHTS), digest


def weights_of(model, *, half: bool = False) -> dict[str, np.ndarray]:
    """The weights by the names of their layers; batch statistics too, the optimizer's state not."""
    import keras

    arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    return {name: array.astype("float16") if half else array for name, array in arrays.items()}


def read_config(folder) -> dict:
    """The settings in config.json, checked to be of this version. CheckpointError says what is wrong with them."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; give the folder of a checkpoint (with {CONFIG} and {WEIGHTS}).")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} holds no {CONFIG}; a checkpoint is a folder with {CONFIG} and {WEIGHTS}.")
    try:
        settings = json.loads(files.read(folder / CONFIG, _MAX_CONFIG))
    except OSError as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} is no JSON ({error}); copy it again.") from None
    written = settings.get("format") if isinstance(settings, dict) else None
    if type(written) is not int or written < 1:
        raise CheckpointError(f"{folder / CONFIG} names no format; it is not the config of a checkpoint of htr.")
    if written > FORMAT:
        raise CheckpointError(
            f"{folder} has format {written}, this htr {__version__} reads up to {FORMAT}: it is from a newer htr, "
            "update htr."
        )
    if absent := {"alphabet", "objective", "model"} - set(settings):
        raise CheckpointError(f"{folder / CONFIG} lacks {', '.join(sorted(absent))}; copy it again.")
    digest = settings.get("weights", "0" * 64)
    if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise CheckpointError(f"{folder / CONFIG}: its weights is {as_json(digest)}, 64 hexadecimal digits are needed.")
    return settings


def load(folder) -> tuple[Charset, ModelConfig, dict]:
    """folder -> charset, config and the settings as stored. CheckpointError with one sentence."""
    folder = Path(folder)
    settings = read_config(folder)
    try:
        check(settings)
        charset, config = Charset(settings["alphabet"]), from_json(ModelConfig, settings["model"])
        check_network(config)
        objectives.get(settings["objective"], **settings.get("objective_options", {}))
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{folder / CONFIG}: {files.shown(error)[:400]}") from None
    return charset, config, settings


def load_weights(folder, charset: Charset) -> dict[str, np.ndarray]:
    """The weights by name. CheckpointError where they are missing, damaged, or not those of config.json."""
    before = weights_file(folder)
    try:
        return _weights(*before, charset)
    except (CheckpointError, FileNotFoundError):
        if weights_file(folder) == before:
            raise
    return load_weights(folder, charset)  # a run has saved another reader meanwhile


def _weights(path: Path, digest: str | None, charset: Charset) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    for name, values in arrays.items():
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise CheckpointError(
                f"{path}: {files.shown(name)[:60]} holds NaN, infinities or no floats; copy it again."
            )
        if name.endswith("variance") and values.min(initial=0) < 0:
            raise CheckpointError(f"{path}: {files.shown(name)[:60]} is below 0, which no variance is; copy it again.")
    if (classes := arrays.get("logits/bias", np.empty(0)).size) != charset.num_classes:
        raise CheckpointError(
            f"{path.parent} has weights for {classes} classes and an alphabet for {charset.num_classes}; "
            "config.json and weights.npz belong to different checkpoints."
        )
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != (digest or found):
        raise CheckpointError(
            f"{path} holds other weights than those that {CONFIG} beside it was written for; copy the whole folder "
            "again, and write weights that you have changed with Transcriber.save."
        )
    return arrays


def load_model(folder, charset: Charset, config: ModelConfig) -> "keras.Model":
    """The network with the folder's weights. CheckpointError with one sentence."""
    from htr.model import build_model

    arrays = load_weights(folder, charset)
    held, least = sum(values.size for values in arrays.values()), least_weights(config, charset.num_classes)
    if least > 2 * held + 10_000:  # one that is merely of another shape is built, and told which
        raise CheckpointError(f"{folder}: config.json is of a network of {least:,} weights, {WEIGHTS} holds {held:,}.")
    model = build_model(config, charset.num_classes)
    assign(model, arrays, str(Path(folder) / WEIGHTS))
    return model


def assign(model, arrays: dict[str, np.ndarray], name: str) -> None:
    """Give the model the weights of these names. CheckpointError where names or shapes differ."""
    wanted = {variable.path: variable for variable in model.weights}
    if differing := set(wanted) ^ set(arrays):
        names = files.shown(", ".join(sorted(differing)[:3]))[:200]
        raise CheckpointError(f"{name} does not fit the network: {names} ... differ.")
    for path, variable in wanted.items():
        if tuple(variable.shape) != arrays[path].shape:
            raise CheckpointError(
                f"{name}: {path} has shape {arrays[path].shape}, the network needs {tuple(variable.shape)}."
            )
        variable.assign(arrays[path].astype(variable.dtype))


def find(name) -> Path:
    """A folder, or hf://owner/name -> the folder of its files, in the hub's cache. CheckpointError without them."""
    name = str(name)
    return _from_hub(name) if name.startswith("hf://") else Path(name)


def _from_hub(name: str) -> Path:
    hub.quiet()
    try:
        return hub.snapshot(name.removeprefix("hf://"), [CONFIG, WEIGHTS, README, ONNX])
    except Exception as error:  # names, network and hub each raise their own kinds
        raise CheckpointError(f"{name} cannot be fetched from the hub: {hub.reason(error)}.") from error


def to_hub(folder: Path, name: str) -> str:
    """Put a checkpoint's files under owner/name, in one commit -> its address; its README as `hub.card` makes it.

    CheckpointError where the hub does not take them. A model.onnx there that the folder does not have is removed.
    """
    hub.quiet()
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils import RepositoryNotFoundError

    folder, settings = Path(folder), read_config(folder)
    readme = (folder / README).read_text("utf-8", errors="replace") if (folder / README).is_file() else ""
    paths = {WEIGHTS: weights_file(folder)[0], ONNX: folder / ONNX}
    operations: list = [CommitOperationAdd(each, str(path)) for each, path in paths.items() if path.is_file()]
    config = json.dumps(hub.shared(settings), indent=2, ensure_ascii=False)
    operations.append(CommitOperationAdd(CONFIG, config.encode()))
    operations.append(CommitOperationAdd(README, hub.card(name, settings, readme).encode()))
    try:
        with suppress(RepositoryNotFoundError):
            hub.find(name, "model")
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        if not (folder / ONNX).is_file() and api.file_exists(name, ONNX):
            operations.append(CommitOperationDelete(ONNX))  # it reads with the weights that were there before
        api.create_commit(name, operations, commit_message=f"Checkpoint of htr {__version__}")
    except Exception as error:  # names, network and hub each raise their own kinds
        raise CheckpointError(f"{folder} cannot be put under {name} on the hub: {hub.reason(error)}.") from error
    return f"hf://{name}"

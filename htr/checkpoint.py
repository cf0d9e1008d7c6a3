"""Floor 3: a checkpoint is a folder: config.json, weights.npz, a README, and model.onnx where it was exported.

Nothing in it is ever executed. Keras is imported where a network of its own is asked for, and not before.
"""

import json
import math
import os
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from htr import __version__, objectives
from htr.charset import Charset
from htr.config import ModelConfig, from_json, to_json

if TYPE_CHECKING:
    import keras

FORMAT = 1
CONFIG, WEIGHTS, README, ONNX = "config.json", "weights.npz", "README.md", "model.onnx"


class CheckpointError(ValueError):
    """A folder that is no checkpoint, or one that this version cannot read."""


def write(path: Path, data: bytes) -> None:
    """The file is either the old one or the whole new one, whenever the machine stops."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """arrays by name -> an .npz file, written at once or not at all."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial.npz")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; pickles are refused. CheckpointError where it is missing, cut or no such file."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the whole folder again.")
    try:
        # np.load given a path leaves it open where the file is damaged
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or cut ({error}); copy it again.") from None


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
    """Write the folder; half stores the weights as float16."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "format": FORMAT,
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
    write_arrays(folder / WEIGHTS, weights_of(model, half=half))
    write(folder / CONFIG, json.dumps(settings, indent=2, ensure_ascii=False).encode())


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
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG} is no JSON ({error}); copy it again.") from None
    written = settings.get("format") if isinstance(settings, dict) else None
    if not isinstance(written, int):
        raise CheckpointError(f"{folder / CONFIG} names no format; it is not the config of a checkpoint of htr.")
    if written > FORMAT:
        raise CheckpointError(
            f"{folder} has format {written}, this htr {__version__} reads up to {FORMAT}: it is from a newer htr, "
            "update htr."
        )
    if absent := {"alphabet", "objective", "model"} - set(settings):
        raise CheckpointError(f"{folder / CONFIG} lacks {', '.join(sorted(absent))}; copy it again.")
    return settings


def load(folder) -> tuple[Charset, ModelConfig, dict]:
    """folder -> charset, config and the settings as stored. CheckpointError with one sentence."""
    folder = Path(folder)
    settings = read_config(folder)
    try:
        temperature = settings.get("temperature", 1.0)
        if not (isinstance(temperature, (int, float)) and 0 < temperature < math.inf):
            raise ValueError(f"its temperature is {temperature!r}, a number above 0 is needed.")
        charset, config = Charset(settings["alphabet"]), from_json(ModelConfig, settings["model"])
        objectives.get(settings["objective"], **settings.get("objective_options", {}))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    return charset, config, settings


def load_weights(folder, charset: Charset) -> dict[str, np.ndarray]:
    """The weights by name. CheckpointError where they are missing, damaged or for another alphabet."""
    path = Path(folder) / WEIGHTS
    arrays = read_arrays(path)
    if (classes := arrays.get("logits/bias", np.empty(0)).shape[0]) != charset.num_classes:
        raise CheckpointError(
            f"{folder} has weights for {classes} classes and an alphabet for {charset.num_classes}; "
            "config.json and weights.npz belong to different checkpoints."
        )
    return arrays


def load_model(folder, charset: Charset, config: ModelConfig) -> "keras.Model":
    """The network with the folder's weights. CheckpointError with one sentence."""
    from htr.model import build_model

    arrays = load_weights(folder, charset)
    model = build_model(config, charset.num_classes)
    assign(model, arrays, str(Path(folder) / WEIGHTS))
    return model


def assign(model, arrays: dict[str, np.ndarray], name: str) -> None:
    """Give the model the weights of these names. CheckpointError where names or shapes differ."""
    wanted = {variable.path: variable for variable in model.weights}
    if differing := set(wanted) ^ set(arrays):
        raise CheckpointError(f"{name} does not fit the network: {', '.join(sorted(differing)[:3])} ... differ.")
    for path, variable in wanted.items():
        if tuple(variable.shape) != arrays[path].shape:
            raise CheckpointError(
                f"{name}: {path} has shape {arrays[path].shape}, the network needs {tuple(variable.shape)}."
            )
        variable.assign(arrays[path].astype(variable.dtype))


def from_hub(name: str) -> Path:
    """hf://owner/name -> its files in a folder of the hub's cache. CheckpointError where they cannot be had."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name.removeprefix("hf://"), allow_patterns=[CONFIG, WEIGHTS, README, ONNX]))
    except Exception as error:  # names, network and hub each raise their own kinds
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise CheckpointError(f"{name} cannot be fetched from the hub: {reason}.") from error


def to_hub(folder: Path, name: str) -> str:
    """Put a checkpoint's files under owner/name -> its address. CheckpointError where the hub does not take them."""
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS, README, ONNX])
    except Exception as error:  # names, network and hub each raise their own kinds
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise CheckpointError(f"{folder} cannot be put under {name} on the hub: {reason}.") from error
    return f"hf://{name}"

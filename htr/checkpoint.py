"""Floor 3: a checkpoint is a folder: config.json, weights.npz and a README. Nothing in it is ever executed."""

import json
import math
import os
import zipfile
from pathlib import Path

import keras
import numpy as np

from htr import __version__, objectives
from htr.charset import Charset
from htr.config import ModelConfig, from_json, to_json
from htr.model import build_model

FORMAT = 1
CONFIG, WEIGHTS, README = "config.json", "weights.npz", "README.md"


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
        "versions": {"htr": __version__, "keras": keras.__version__, "numpy": np.__version__},
    }
    write(folder / README, readme.encode())
    write_arrays(folder / WEIGHTS, weights_of(model, half=half))
    write(folder / CONFIG, json.dumps(settings, indent=2, ensure_ascii=False).encode())


def weights_of(model, *, half: bool = False) -> dict[str, np.ndarray]:
    """The weights by the names of their layers; batch statistics too, the optimizer's state not."""
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
    version = settings.get("format") if isinstance(settings, dict) else None
    if not isinstance(version, int):
        raise CheckpointError(f"{folder / CONFIG} names no format; it is not the config of a checkpoint of htr.")
    if version > FORMAT:
        raise CheckpointError(
            f"{folder} has format {version}, this htr {__version__} reads up to {FORMAT}: it is from a newer htr, "
            "update htr."
        )
    if absent := {"alphabet", "objective", "model"} - set(settings):
        raise CheckpointError(f"{folder / CONFIG} lacks {', '.join(sorted(absent))}; copy it again.")
    return settings


def load(folder) -> tuple[keras.Model, Charset, ModelConfig, dict]:
    """folder -> model, charset, config and the settings as stored. CheckpointError with one sentence."""
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
    arrays = read_arrays(folder / WEIGHTS)
    if (classes := arrays.get("logits/bias", np.empty(0)).shape[0]) != charset.num_classes:
        raise CheckpointError(
            f"{folder} has weights for {classes} classes and an alphabet for {charset.num_classes}; "
            "config.json and weights.npz belong to different checkpoints."
        )
    model = build_model(config, charset.num_classes)
    assign(model, arrays, str(folder / WEIGHTS))
    return model, charset, config, settings


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

"""Read handwritten words. Every public name is loaded on first use, so that `import htr` costs next to nothing."""

import importlib

__version__ = "0.1.0"

# public name -> the module that holds it; a name that is its own module stands for the module
_HOME = {
    "Charset": "charset",
    "ModelConfig": "config",
    "TrainConfig": "config",
    "preset": "config",
    "cer": "metrics",
    "wer": "metrics",
    "objectives": "objectives",
    "Transcriber": "transcriber",
    "Transcription": "transcriber",
    "load": "transcriber",
    "Report": "evaluation",
    "evaluate": "evaluation",
    "train": "training",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'htr' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}.")
    home = importlib.import_module(f"htr.{_HOME[name]}")
    value = home if name == _HOME[name] else getattr(home, name)
    globals()[name] = value  # the next use does not come here again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

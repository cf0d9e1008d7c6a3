"""Floor 1: manners at the Hugging Face Hub: what is told there, what its errors mean, and the card of a reader."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from htr.files import shown

PLAIN = "# A reader of handwritten words\n"  # begins the README of a checkpoint for which nobody wrote one
_TAGS = ("handwriting-recognition", "htr", "ocr", "keras")
_METRICS = ("cer", "wer")
_LOST = {"TransportError", "ConnectionError", "Timeout", "LocalEntryNotFoundError"}  # of whatever HTTP library


def quiet() -> None:
    """Tell the hub nothing of this machine that a request does not need. It reads this when it is first imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextmanager
def only() -> Iterator[None]:
    """Within, datasets asks the hub and no other host: nobody counts downloads elsewhere, no viewer is asked."""
    from datasets import config

    names = ("HF_UPDATE_DOWNLOAD_COUNTS", "USE_PARQUET_EXPORT")
    before = {name: getattr(config, name, None) for name in names}
    try:
        for name in names:
            setattr(config, name, False)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


def find(name: str, kind: str) -> None:
    """Ask once, with a limit, for a model or dataset. ConnectionError where nobody answers, else what the hub says.

    Without it huggingface_hub waits for ever where somebody listens and says nothing, and datasets for half a minute
    where nobody does.
    """
    from huggingface_hub import HfApi, constants

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"{shown(name)} is no name there; write owner/name, of letters, digits, '-', '_' and '.'")
    # a folder of that name here is what datasets takes
    if constants.HF_HUB_OFFLINE or (kind == "dataset" and os.path.isdir(name)):
        return
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:
        if _is_lost(error):
            raise ConnectionError(str(error) or type(error).__name__) from error
        raise


def snapshot(name: str, patterns: list[str]) -> Path:
    """A model's files that fit the patterns -> their folder in the cache; as fetched last where the hub is lost."""
    from huggingface_hub import snapshot_download

    lost = None
    try:
        find(name, "model")
    except ConnectionError as error:
        lost = error
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=lost is not None))
    except Exception as error:
        raise (lost or error) from None


def reason(error: Exception) -> str:
    """An error of the hub or of the way to it -> what is the matter and what to do, without the last full stop."""
    from huggingface_hub import constants

    answers = [getattr(each, "response", None) for each in _chain(error)]
    status = next((answer.status_code for answer in answers if answer is not None), None)
    if status == 401:
        return "it wants to know who asks (401); check the name, and log in with `hf auth login` or set HF_TOKEN"
    if status == 404:
        return "there is none of that name, or it is private; check the name, or log in with `hf auth login`"
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if status is None and _is_lost(error):
        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set, so that only what was fetched before is there; unset it to ask the hub"
        why, again = shown(said[0]).rstrip(".:")[:200], "or set HF_HUB_OFFLINE=1 for what was fetched before"
        return f"{constants.ENDPOINT} does not answer ({why}); check the network and HF_ENDPOINT, {again}"
    return shown(" ".join(said)).rstrip(".")[:400]


def _chain(error: BaseException) -> list[BaseException]:
    """An error, its cause, the cause of that."""
    chain = [error]
    while (cause := chain[-1].__cause__) and cause not in chain:
        chain.append(cause)
    return chain


def _is_lost(error: BaseException) -> bool:
    return bool(_LOST & {kind.__name__ for each in _chain(error) for kind in type(each).__mro__})


def shared(settings: dict) -> dict:
    """A checkpoint's config.json -> what of it goes to the hub: nothing of where the data lay on this machine."""
    training = dict(settings.get("training") or {})
    for key in ("data", "init"):
        if (value := training.get(key)) is not None:
            training[key] = [_named(each) for each in value] if isinstance(value, list) else _named(value)
    return {**settings, "training": training} if "training" in settings else settings


def _named(source) -> str:
    """A source without the folders above it where they are those of the whole machine, an hf:// one as it is."""
    return Path(source).name if Path(str(source)).is_absolute() else str(source)


def card(name: str, settings: dict, readme: str) -> str:
    """A checkpoint's name on the hub, its config.json and README -> its README there, with the hub's metadata on top.

    A README that someone wrote is kept, with its metadata where it has some.
    """
    if readme.startswith("---"):
        return readme
    return _metadata(settings) + (readme if readme.strip() and not readme.startswith(PLAIN) else _body(name, settings))


def _metadata(settings: dict) -> str:
    """What the hub lists a reader by, as YAML between lines of dashes. No licence: that is its maker's to say."""
    data = settings.get("training", {}).get("data")
    found = [re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(/[^:]*)?(:.*)?", str(each)) for each in data or ()]
    lists = {"tags": _TAGS, "metrics": _METRICS, "datasets": dict.fromkeys(each[1] for each in found if each)}
    lines = ["library_name: htr-words", "pipeline_tag: image-to-text"]
    for key, values in lists.items():
        lines += [f"{key}:", *(f'- "{value}"' for value in values)] if values else []
    return "\n".join(["---", *lines, "---", "", ""])


def _body(name: str, settings: dict) -> str:
    training, alphabet = settings.get("training", {}), settings["alphabet"]
    words, cer = training.get("words"), training.get("validation_cer")
    versions = settings.get("versions")
    written = [
        f"{shown(key)} {shown(value)}" for key, value in (versions if isinstance(versions, dict) else {}).items()
    ]
    measured = isinstance(cer, float) and math.isfinite(cer)
    rows = {
        "alphabet": f"{len(alphabet)} characters",
        "objective": shown(settings["objective"]),
        "trained on": f"{words:,} words" if isinstance(words, int) else None,
        "validation CER": f"{cer:.2%}, by which the epoch was chosen: it flatters" if measured else None,
        "written by": ", ".join(written),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value)
    return f"""# {name}: a reader of handwritten words

```python
import htr  # pip install htr-words

print(htr.load("hf://{name}").transcribe("word.jpg").text)
```

| what | |
| --- | --- |
{table}

Characters it can write:

```
{shown(alphabet)}
```

`htr evaluate words/ --checkpoint hf://{name}` measures it on words of your own.
"""

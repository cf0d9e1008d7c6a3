"""Readers and words on the hub: the real huggingface_hub and datasets, in processes that know a hub on this machine."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import htr
from htr.hub import card
from tests.conftest import render_word
from tests.hub_stub import Hub, running

ROOT = Path(__file__).resolve().parent.parent
LATIN = ROOT / "checkpoints" / "latin"
SAMPLE = ROOT / "docs" / "samples" / "orchard.jpg"
READ = f"import htr; w = htr.load('hf://owner/reader').transcribe({str(SAMPLE)!r}); print(w.text, w.confidence)"
TRANSCRIBE = ("-m", "htr", "transcribe", str(SAMPLE), "--checkpoint")


def parquet(writer: str, *words: str) -> bytes:
    """Rendered words as `push_to_hub` writes them."""
    from datasets import Dataset, Features, Image, Value

    rows = []
    for word in words:
        data = io.BytesIO()
        render_word(word).save(data, "PNG")
        rows.append({"image": {"bytes": data.getvalue(), "path": f"{word}.png"}, "text": word, "writer": writer})
    features = Features({"image": Image(), "text": Value("string"), "writer": Value("string")})
    file = io.BytesIO()
    Dataset.from_list(rows, features=features).to_parquet(file)
    return file.getvalue()


@pytest.fixture(scope="module")
def hub():
    """A hub with a dataset of two splits, one of two configs, and no models."""
    with running(Hub()) as hub:
        splits = {"train": parquet("a", "ink", "noon", "pad"), "test": parquet("b", "eel")}
        hub.add("datasets", "owner/words", {f"data/{name}-00000.parquet": data for name, data in splits.items()})
        configs = [{"config_name": name, "data_files": f"{name}/*.parquet"} for name in ("lines", "words")]
        files = {"lines/train.parquet": parquet("c", "tall"), "words/train.parquet": parquet("d", "mask", "line")}
        readme = f"---\nconfigs: {json.dumps(configs)}\n---\n"
        hub.add("datasets", "owner/two", {"README.md": readme.encode(), **files})
        yield hub


def ask(hub: Hub, home: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess:
    """A Python that knows this hub only; what it sends elsewhere, or tells of this machine, fails the test."""
    strange = ("HF_", "HUGGING", "DO_NOT_TRACK", "DISABLE_TELEMETRY")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(strange) and "PROXY" not in k.upper()}
    variables = {**kept, "HTR_CACHE": "off", **hub.environment(home), **environment}
    home.mkdir(exist_ok=True)
    start = time.monotonic()
    command = [sys.executable, *argv]
    done = subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, timeout=600)
    done.seconds = time.monotonic() - start
    assert hub.foreign == [], hub.foreign
    assert not [path for _, path in hub.requests if "telemetry" in path or "agent-harnesses" in path]
    return done


def nowhere() -> str:
    """The address of a hub that does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def refused(done: subprocess.CompletedProcess) -> str:
    """The one sentence on standard error, said without long attempts."""
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("htr: ") and done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1
    assert done.seconds < 60  # a busy machine starts Python slowly; an attempt after the other takes minutes there
    return done.stderr


# --- readers


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory):
    """The process that pushed the shipped reader as owner/reader."""
    return ask(hub, tmp_path_factory.mktemp("push") / "home", "-m", "htr", "push", str(LATIN), "owner/reader")


def test_a_pushed_reader_loads_from_the_hub_and_reads_the_same(hub, pushed, tmp_path):
    word = htr.load(LATIN).transcribe(SAMPLE)
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.startswith("hf://owner/reader: ") and pushed.stdout.endswith(" objective ctc\n")
    held = hub.repos["models", "owner/reader"].files
    for name in ("config.json", "weights.npz", "model.onnx"):
        assert held[name] == (LATIN / name).read_bytes()
    assert set(hub.blobs.values()) == {held["weights.npz"], held["model.onnx"]}  # by LFS, the others within the commit
    assert ask(hub, tmp_path / "home", "-c", READ).stdout == f"{word.text} {word.confidence}\n"


def test_every_command_that_takes_a_reader_takes_one_from_the_hub(hub, pushed, word_folder, tmp_path):
    home, name = tmp_path / "home", "hf://owner/reader"
    run = ["-m", "htr", "train", str(word_folder), "--init", name, "--out", str(tmp_path / "run"), "--epochs", "1"]
    done = ask(hub, home, *run)
    assert done.returncode == 0, done.stderr
    assert f"{name}: " in done.stdout
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["init"] == name
    done = ask(hub, home, "-m", "htr", "export", name, "--out", str(tmp_path / "graph.onnx"))
    assert done.returncode == 0 and (tmp_path / "graph.onnx").is_file(), done.stderr
    assert "give --out" in refused(ask(hub, home, "-m", "htr", "export", name))
    done = ask(hub, home, "-m", "htr", "check", str(word_folder), "--alphabet", name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pushed_reader_has_a_card_with_metadata_above_its_own_readme(hub, pushed):
    _, metadata, readme = hub.repos["models", "owner/reader"].files["README.md"].decode().split("---\n", 2)
    assert readme.strip() == (LATIN / "README.md").read_text(encoding="utf-8").strip()
    metadata = yaml.safe_load(metadata)
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("htr-words", "image-to-text")
    assert "handwriting-recognition" in metadata["tags"] and metadata["metrics"] == ["cer", "wer"]
    assert "Warning" not in pushed.stderr


def test_a_reader_without_a_readme_of_its_own_gets_a_card_and_takes_an_older_graph_away(hub, tmp_path):
    folder = tmp_path / "reader"
    shutil.copytree(LATIN, folder, ignore=shutil.ignore_patterns("model.onnx"))
    (folder / "README.md").write_text(f"# A reader of handwritten words\n\nLoad it with `htr.load({str(folder)!r})`.\n")
    settings = json.loads((folder / "config.json").read_text())
    settings["training"] |= {
        "words": 103314,
        "validation_cer": 0.04237,
        "data": ["hf://owner/words:train", "hf://owner/two/lines", str(folder)],
    }
    (folder / "config.json").write_text(json.dumps(settings))
    older = hub.add("models", "owner/older", {"model.onnx": b"of other weights", "notes.txt": b"kept"})
    done = ask(hub, tmp_path / "home", "-m", "htr", "push", str(folder), "owner/older")
    assert done.returncode == 0, done.stderr
    assert set(older.files) == {"README.md", "config.json", "notes.txt", "weights.npz"}
    readme = older.files["README.md"].decode()
    assert str(tmp_path) not in readme
    assert yaml.safe_load(readme.split("---\n")[1])["datasets"] == ["owner/words", "owner/two"]
    assert 'htr.load("hf://owner/older")' in readme
    config = json.loads(older.files["config.json"])
    assert config["training"]["data"] == ["hf://owner/words:train", "hf://owner/two/lines", "reader"]
    assert str(tmp_path) not in older.files["config.json"].decode()
    assert "| trained on | 103,314 words |" in readme and "| validation CER | 4.24%" in readme
    assert f"```\n{settings['alphabet']}\n```" in readme


def test_a_card_that_has_metadata_is_left_as_it_is():
    settings, readme = json.loads((LATIN / "config.json").read_text()), "---\nlicense: mit\n---\n# Mine\n"
    assert card("owner/reader", settings, readme) == readme


def test_a_reader_that_was_fetched_once_loads_when_the_hub_is_gone(tmp_path):
    with running(Hub()) as hub:
        hub.add("models", "owner/reader", {path.name: path.read_bytes() for path in LATIN.iterdir()})
        first = ask(hub, tmp_path / "home", "-c", READ)
        asked = len(hub.requests)
    assert len(first.stdout.split()) == 2
    assert ask(hub, tmp_path / "home", "-c", READ, HF_HUB_OFFLINE="1").stdout == first.stdout
    assert ask(hub, tmp_path / "home", "-c", READ).stdout == first.stdout
    assert len(hub.requests) == asked


def test_a_reader_that_cannot_be_fetched_is_one_sentence(hub, tmp_path):
    start = "htr: hf://owner/none cannot be fetched from the hub: "
    home, command = tmp_path / "home", (*TRANSCRIBE, "hf://owner/none")
    assert refused(ask(hub, home, *command)).startswith(f"{start}there is none of that name, or it is private; check")
    assert refused(ask(hub, home, *command, HF_TOKEN="")).startswith(f"{start}it wants to know who asks (401); check")
    assert refused(ask(hub, home, *command, HF_HUB_OFFLINE="1")).startswith(f"{start}HF_HUB_OFFLINE is set, so")
    url = nowhere()
    assert refused(ask(hub, home, *command, HF_ENDPOINT=url)).startswith(f"{start}{url} does not answer (")


def test_a_hub_that_listens_and_says_nothing_is_not_waited_for(hub, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{mute.getsockname()[1]}", "HF_HUB_ETAG_TIMEOUT": "1"}
        for command in (
            (*TRANSCRIBE, "hf://owner/none"),
            ("-m", "htr", "push", str(LATIN), "owner/mine"),
            ("-m", "htr", "check", "hf://owner/words:train"),
        ):
            done = ask(hub, tmp_path / "home", *command, **environment)
            assert f"{environment['HF_ENDPOINT']} does not answer (timed out); check the network" in refused(done)


def test_a_reader_that_the_hub_does_not_take_is_one_sentence(hub, tmp_path):
    home, command = tmp_path / "home", ("-m", "htr", "push", str(LATIN))
    assert "on the hub: a/b/c is no name there; write owner/name, of" in refused(ask(hub, home, *command, "a/b/c"))
    sentence = refused(ask(hub, home, *command, "other/reader"))
    assert "cannot be put under other/reader on the hub: 403 Forbidden: You don't have the rights" in sentence
    sentence = refused(ask(hub, home, *command, "owner/mine", HF_TOKEN=""))
    assert "cannot be put under owner/mine on the hub: it wants to know who asks (401); check the name, and" in sentence
    url = nowhere()
    assert f"{url} does not answer" in refused(ask(hub, home, *command, "owner/mine", HF_ENDPOINT=url))
    assert ("models", "owner/mine") not in hub.repos


# --- words


def rows(hub: Hub, home: Path, source: str, **environment: str) -> str:
    code = f"from htr import samples; print(*samples.load({source!r}).dataset['text'])"
    return ask(hub, home, "-c", code, **environment).stdout


def test_words_on_the_hub_are_checked_by_split_and_by_config(hub, tmp_path):
    sources = ("hf://owner/words:train", "hf://owner/two/lines:train", "hf://owner/two/words")
    done = ask(hub, tmp_path / "home", "-m", "htr", "check", *sources)
    assert done.returncode == 0, done.stderr
    for source, count in zip(sources, (3, 1, 2), strict=True):
        assert f"{source}: {count} rows, {count} usable\n" in done.stdout
    assert done.stdout.endswith("0 rows cannot be used\n")


def test_words_that_were_fetched_once_load_when_the_hub_is_not_to_be_asked(hub, tmp_path):
    source, home = "hf://owner/words:train", tmp_path / "home"
    assert rows(hub, home, source) == "ink noon pad\n"
    assert rows(hub, home, source, HF_HUB_OFFLINE="1", HF_ENDPOINT=nowhere()) == "ink noon pad\n"


def test_words_that_cannot_be_loaded_are_one_sentence(hub, tmp_path):
    home, url = tmp_path / "home", nowhere()
    cases = [
        ("hf://owner/words", {}, "has the splits train, test; name one, as in hf://owner/words:train."),
        ("hf://owner/two", {}, "has the configs lines, words; name one, as in hf://owner/two/lines."),
        ("hf://owner/words:dev", {}, "cannot be loaded from the hub: Unknown split"),
        ("hf://owner/none:train", {}, "cannot be loaded from the hub: there is none of that name, or it is private;"),
        ("hf://owner/none", {"HF_TOKEN": ""}, "cannot be loaded from the hub: it wants to know who asks (401);"),
        ("hf://owner/none:train", {"HF_ENDPOINT": url}, f"cannot be loaded from the hub: {url} does not answer"),
        ("hf://owner/none:train", {"HF_HUB_OFFLINE": "1"}, "cannot be loaded from the hub: HF_HUB_OFFLINE is set,"),
    ]
    for source, environment, sentence in cases:
        said = refused(ask(hub, home, "-m", "htr", "check", source, **environment))
        assert said.startswith(f"htr: {source} {sentence}"), said


# --- the stub


def test_what_is_sent_to_another_host_would_be_seen(tmp_path):
    code = "from huggingface_hub import get_session; get_session().get('https://elsewhere.invalid/')"
    with running(Hub()) as hub:
        with pytest.raises(AssertionError):
            ask(hub, tmp_path / "home", "-c", code)
        assert hub.foreign == [("CONNECT", "elsewhere.invalid:443")]

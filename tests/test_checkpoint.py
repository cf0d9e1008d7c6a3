"""A checkpoint gives the same reader anywhere, or one clear sentence."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import htr
from htr.charset import Charset
from htr.checkpoint import CheckpointError
from htr.model import build_model
from htr.transcriber import Transcriber
from tests.conftest import render_word
from tests.test_transcriber import CONFIG


@pytest.fixture
def folder(tmp_path):
    keras.utils.set_random_seed(0)
    charset = Charset("adeiklmnopstwé")
    Transcriber(build_model(CONFIG, charset.num_classes), charset, CONFIG, training={"data": ["x"]}).save(
        tmp_path / "reader"
    )
    render_word("paddle").save(tmp_path / "word.png")
    return tmp_path / "reader"


def logits_elsewhere(folder, backend):
    out = folder.parent / "logits.npy"
    code = (
        "import htr, numpy as np\n"
        f"np.save({str(out)!r}, htr.load({str(folder)!r}).logits([{str(folder.parent / 'word.png')!r}])[0])"
    )
    import os

    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "KERAS_BACKEND": backend})
    return np.load(out)


def test_loaded_reader_gives_the_same_logits_bit_for_bit_in_another_process(folder):
    here = htr.load(folder).logits([folder.parent / "word.png"])[0]
    np.testing.assert_array_equal(here, htr.load(folder).logits([folder.parent / "word.png"])[0])
    np.testing.assert_array_equal(here, logits_elsewhere(folder, keras.backend.backend()))


def test_other_backend_gives_the_same_logits_to_1e_4(folder):
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    pytest.importorskip(other)
    here = htr.load(folder).logits([folder.parent / "word.png"])[0]
    np.testing.assert_allclose(here, logits_elsewhere(folder, other), atol=1e-4)


def test_float16_weights_load(folder):
    reader = htr.load(folder)
    reader.save(folder.parent / "half", half=True)
    size = [(path / "weights.npz").stat().st_size for path in (folder, folder.parent / "half")]
    assert size[1] < 0.7 * size[0]
    full, half = (htr.load(path).logits([folder.parent / "word.png"])[0] for path in (folder, folder.parent / "half"))
    np.testing.assert_allclose(full, half, atol=0.02)


def test_settings_come_back(folder):
    reader = htr.load(folder)
    assert (reader.config, reader.charset.characters) == (CONFIG, "adeiklmnopstwé")
    assert reader.objective.name == "ctc" and reader.training == {"data": ["x"]}


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil(name, folder):
    if name == "newer":
        edit(folder, format=99)
    elif name == "alphabet":
        edit(folder, alphabet="abc")
    elif name == "objective":
        edit(folder, objective="hinge")
    elif name == "field":
        edit(folder, model={"depth": 3})
    elif name == "no config":
        (folder / "config.json").unlink()
    elif name == "no weights":
        (folder / "weights.npz").unlink()
    elif name == "cut":
        data = (folder / "weights.npz").read_bytes()
        (folder / "weights.npz").write_bytes(data[: len(data) // 2])
    elif name == "other network":
        edit(folder, model={**json.loads((folder / "config.json").read_text())["model"], "columns": 13})
    elif name == "no json":
        (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("newer", "newer htr, update htr"),
        ("alphabet", "belong to different checkpoints"),
        ("objective", "no objective 'hinge'"),
        ("field", "has no field depth"),
        ("no config", "holds no config.json"),
        ("no weights", "weights.npz is missing"),
        ("cut", "damaged or cut"),
        ("other network", "the network needs"),
        ("no json", "is no JSON"),
    ],
)
def test_bad_folder_gets_one_sentence(folder, name, sentence):
    spoil(name, folder)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        htr.load(folder)
    assert "\n" not in str(caught.value)


def other_weights(folder):
    """The reader with other weights in a folder of its own."""
    reader, other = htr.load(folder), folder.parent / "other"
    reader.model.get_layer("logits").bias.assign_add(np.ones(reader.charset.num_classes))
    reader.save(other)
    return other


def bias(folder):
    return htr.load(folder).model.get_layer("logits").bias.numpy().max()


def test_weights_that_the_config_was_not_written_for_are_refused(folder):
    other = other_weights(folder)
    assert bias(other) > bias(folder)
    shutil.copy(other / "weights.npz", folder)
    with pytest.raises(CheckpointError, match=r"weights.npz holds other weights than .* copy the whole folder again"):
        htr.load(folder)
    settings = json.loads((folder / "config.json").read_text())
    del settings["weights"]  # as before htr noted whose they are
    (folder / "config.json").write_text(json.dumps(settings))
    assert bias(folder) == bias(other)


@pytest.mark.parametrize("digest", ["../../evil", "A" * 64, ["0" * 64], int("1" * 64), None])
def test_a_digest_names_no_other_file(folder, digest):
    edit(folder, weights=digest)
    with pytest.raises(CheckpointError, match="its weights is .*, 64 hexadecimal digits are needed"):
        htr.load(folder)


def test_weights_under_their_own_name_are_those_of_the_config_that_names_them(folder):
    other, before = other_weights(folder), bias(folder)
    ahead = f"weights-{json.loads((other / 'config.json').read_text())['weights'][:16]}.npz"
    shutil.copy(other / "weights.npz", folder / ahead)
    assert bias(folder) == before
    shutil.copy(other / "config.json", folder)
    assert bias(folder) == bias(other)
    (folder / "weights-mine.npz").touch()
    htr.load(folder).save(folder)
    assert bias(folder) == bias(other) and not (folder / ahead).exists()
    assert (folder / "weights-mine.npz").exists()


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is no folder"):
        htr.load(tmp_path / "nowhere")

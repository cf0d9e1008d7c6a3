"""Other runtimes read what Keras reads: the exported graph against the network, and the engines against each other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import htr
from htr.charset import Charset
from htr.checkpoint import CheckpointError
from htr.cli import main
from htr.config import ModelConfig
from htr.export import export
from htr.model import build_model
from htr.padding import pad_images
from htr.transcriber import Transcriber, shipped
from tests.toy import toy_dataset

ROOT = Path(__file__).parent.parent
SAMPLES = sorted(str(path) for path in (ROOT / "docs" / "samples").glob("*.jpg"))
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
NETWORK = ModelConfig(height=16, blocks=((6, 2, 2, 1), (8, 2, 1, 2), (8, 1, 2, 1)), columns=12, recurrent=(7, 5))


def small_reader(objective="ctc", **config):
    """An untrained reader whose batch statistics and logits are not those of the start."""
    rng = np.random.default_rng(3)
    keras.utils.set_random_seed(3)
    settings = ModelConfig(**{**vars(NETWORK), **config})
    charset = Charset("abcdefg")
    model = build_model(settings, charset.num_classes)
    for variable in model.weights:
        name = variable.path.rsplit("/", 1)[1]
        if name in ("gamma", "beta", "moving_mean", "moving_variance", "bias"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        if variable.path == "logits/kernel":
            variable.assign(rng.normal(0, 4, variable.shape))
    return Transcriber(model, charset, settings, objective, temperature=1.3)


def inks(*widths, height=16):
    rng = np.random.default_rng(5)
    return [rng.uniform(0, 1, (height, width)).astype(np.float32) for width in widths]


@pytest.fixture
def folder(tmp_path):
    small_reader().save(tmp_path / "reader")
    return tmp_path / "reader"


def test_no_runtime_leaves_a_number_of_this_machine_behind(tmp_path):
    """ONNX Runtime of itself writes one to the cache, for its telemetry; in CI and in its own tests it does not."""
    silent = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "GITHUB_ACTIONS", "TF_BUILD"}
    environment = {key: value for key, value in os.environ.items() if key not in silent} | {"HOME": str(tmp_path)}
    for engine in ("onnx", "openvino"):
        command = [sys.executable, "-m", "htr", "transcribe", SAMPLES[0], "--engine", engine]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    quantised = [
        "export",
        str(shipped()),
        "--out",
        str(tmp_path / "small.onnx"),
        "--int8",
        str(ROOT / "docs" / "samples"),
    ]
    done = subprocess.run([sys.executable, "-m", "htr", *quantised], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert not [path for path in left if "icrosoft" in str(path) or "onnxruntime" in str(path)], left


@pytest.mark.parametrize("objective", ["ctc", "crossentropy"])
def test_the_graph_computes_what_keras_computes_and_decodes_it(objective, tmp_path):
    reader = small_reader(objective)
    reader.save(tmp_path)
    (path,) = export(tmp_path, "onnx")
    assert not {node.op_type for node in onnx.load(path).graph.node} & {"Loop", "Scan", "If"}
    words = inks(1, 2, 7, 33, 64, 51)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for extra in (0, 1, 7, 64):
        batch = pad_images(words, width=64 + extra)
        logits, frames, ids, lengths, confidence = session.run(None, {"images": batch})
        expected = keras.ops.convert_to_numpy(reader.model(batch))
        assert frames.tolist() == [reader.config.frames(word.shape[1]) for word in words]
        for row, count in enumerate(frames):
            valid = expected[row, :count]
            np.testing.assert_allclose(logits[row, :count], valid, atol=2e-4)
            reading = reader.objective.decode([valid / np.float32(reader.temperature)])[0]
            assert ids[row, : lengths[row]].tolist() == reading.ids and not ids[row, lengths[row] :].any()
            assert 0 < confidence[row] <= reading.confidence + 1e-4  # of CTC's: one path of all that read so
            if objective == "crossentropy":
                assert confidence[row] == pytest.approx(reading.confidence, rel=1e-3)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_engines_read_the_same_and_padding_has_no_part(engine, folder):
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    export(folder, "onnx")
    words = inks(*range(1, 80, 3))
    images = [np.uint8(255 - 255 * word) for word in words]
    plain, other = htr.load(folder, engine="keras"), htr.load(folder, engine=engine)
    assert other.engine.name == engine
    alone = [other.logits([image])[0] for image in images]
    for batched in (other.logits(images, batch_size=4), other.logits(images, pad_to=300)):
        for one, two, three in zip(alone, batched, plain.logits(images), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)
            np.testing.assert_allclose(one, three, atol=2e-4)
    assert [t.text for t in other.transcribe(images)] == [t.text for t in plain.transcribe(images)]


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_engines_read_the_shipped_reader_s_words_in_one_batch(engine, tmp_path):
    # a network of its size: OpenVINO takes other kernels there than for small ones, which forget lengths
    reader = htr.load(engine="keras")
    reader.save(tmp_path)
    export(tmp_path, "onnx")
    for one, two in zip(reader.logits(SAMPLES), htr.load(tmp_path, engine=engine).logits(SAMPLES), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)


def test_the_best_engine_is_taken_where_it_belongs_to_the_weights(folder):
    assert htr.load(folder).engine.name == "keras"
    export(folder, "onnx")
    assert htr.load(folder).engine.name == "onnx"
    other = small_reader()
    other.model.get_layer("logits").bias.assign(np.zeros(9))
    other.save(folder)
    assert htr.load(folder).engine.name == "keras"
    with pytest.raises(CheckpointError, match=r"belongs to other weights than weights.npz.*`htr export "):
        htr.load(folder, engine="onnx")
    (folder / "weights.npz").unlink()
    assert htr.load(folder).engine.name == "onnx"  # reading needs no more than the graph


def test_what_cannot_be_loaded_or_exported_says_so(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no model.onnx; write it with `htr export"):
        htr.load(folder, engine="onnx")
    with pytest.raises(ValueError, match="no engine 'torch'; choose one of keras, onnx, openvino, openvino-bf16"):
        htr.load(folder, engine="torch")
    with pytest.raises(ValueError, match="no format 'pb'; choose one of onnx, openvino, litert"):
        export(folder, "pb")
    litert = "needs a place of its own" if keras.backend.backend() == "tensorflow" else "are written on TensorFlow"
    with pytest.raises(ValueError, match=litert):
        export(folder, "litert")
    small_reader(learned_mask=True).save(tmp_path / "gated")
    with pytest.raises(ValueError, match="network with learned_mask cannot be exported; read with the keras engine"):
        export(tmp_path / "gated", "onnx")
    (folder / "weights.npz").unlink()
    (folder / "model.onnx").write_bytes(b"no graph")
    for engine in ("onnx", "openvino"):
        with pytest.raises(CheckpointError, match=r"model.onnx cannot be loaded \(.*\); export it again\.$"):
            htr.load(folder, engine=engine)


def test_the_network_of_an_exported_reader_is_built_when_it_is_asked_for(folder):
    export(folder, "onnx")
    reader = htr.load(folder, engine="onnx")
    assert reader.model.count_params() == small_reader().model.count_params()
    reader.save(folder)  # weights as they were
    assert htr.load(folder).engine.name == "onnx"


def test_reading_imports_neither_tensorflow_nor_keras_nor_datasets(tmp_path):
    small_reader().save(tmp_path)
    export(tmp_path, "onnx")
    word = tmp_path / "word.png"
    word.write_bytes(toy_dataset(1)[0]["image"]["bytes"])
    code = (
        "import sys; from htr.cli import main\n"
        f"assert main(['transcribe', {str(word)!r}, '--checkpoint', {str(tmp_path)!r}]) == 0\n"
        "print(sorted({'tensorflow', 'keras', 'datasets', 'jax', 'torch', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


def test_first_words_of_many_threads_do_not_wait_for_ever(folder):
    """OpenVINO meets its first array in a lock that two threads can keep from each other: 21 of 25 such starts hung."""
    pytest.importorskip("openvino")
    export(folder, "onnx")
    code = (
        "import sys, threading, numpy, htr; reader = htr.load(sys.argv[1], engine='openvino');"
        "wait = threading.Barrier(16); x = numpy.zeros((2, 16, 64, 1), numpy.float32);"
        "go = lambda: (wait.wait(), reader.engine._logits(x));"
        "threads = [threading.Thread(target=go) for _ in range(16)];"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60)


def test_openvino_files_hold_the_same_network(folder, tmp_path):
    openvino = pytest.importorskip("openvino")
    xml, weights = export(folder, "openvino", tmp_path / "ov" / "reader.xml")
    assert (xml.suffix, weights.suffix) == (".xml", ".bin") and weights.stat().st_size > 1000
    batch = pad_images(inks(40, 21))
    compiled = openvino.Core().compile_model(str(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = keras.ops.convert_to_numpy(small_reader().model(batch))
    np.testing.assert_allclose(compiled({"images": batch})["logits"][0], expected[0], atol=2e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="LiteRT files are written on TensorFlow")
def test_litert_reads_a_padded_word_as_keras_does(folder, tmp_path):
    (path,) = export(folder, "litert", tmp_path / "reader.tflite")
    code = (
        "import sys, numpy as np; from ai_edge_litert.interpreter import Interpreter\n"
        "run = Interpreter(sys.argv[1]).get_signature_runner('width_128')\n"
        "np.save(sys.argv[2], run(images=np.load(sys.argv[2]))['logits'])"
    )
    (ink,) = inks(90)
    np.save(tmp_path / "word.npy", pad_images([ink], width=128))
    # in a process of its own: the interpreter is chatty on standard error, and at its end
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "word.npy")], check=True, timeout=120)
    reader = small_reader()
    expected = keras.ops.convert_to_numpy(reader.model(pad_images([ink])))[0]
    np.testing.assert_allclose(np.load(tmp_path / "word.npy")[0, : len(expected)], expected, atol=2e-4)


def test_commands_export_and_read(folder, tmp_path, capsys):
    assert main(["export", str(folder)]) == 0
    assert "model.onnx: 0.0 MB" in capsys.readouterr().out
    word = tmp_path / "word.png"
    word.write_bytes(toy_dataset(1)[0]["image"]["bytes"])
    texts = []
    for engine in ("keras", "onnx"):
        assert main(["transcribe", str(word), "--checkpoint", str(folder), "--engine", engine]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert main(["export", str(tmp_path)]) == 1
    assert "holds no config.json" in capsys.readouterr().err


def test_eight_bit_reads_the_samples_as_float_does(tmp_path):
    reader = htr.load(engine="keras")
    reader.save(tmp_path)
    (path,) = export(tmp_path, "onnx", calibration=SAMPLES)
    assert path.stat().st_size < (shipped() / "weights.npz").stat().st_size * 2
    small = htr.load(tmp_path, engine="onnx")
    texts = [t.text for t in reader.transcribe(SAMPLES)]
    assert htr.cer(texts, [t.text for t in small.transcribe(SAMPLES)]) < 0.05


@pytest.fixture(scope="module")
def real_words(shared_data):
    import pyarrow.parquet as parquet

    parts = [parquet.read_table(shared_data / name / "test.parquet").slice(0, 60) for name in ("dhsd", "copiste")]
    return [row["image"]["bytes"] for part in parts for row in part.to_pylist()]


def test_real_words_read_the_same_on_every_engine_and_nearly_so_in_eight_bit(real_words, tmp_path):
    reader = htr.load(engine="keras")
    reader.save(tmp_path)
    export(tmp_path, "onnx")
    expected, texts = reader.logits(real_words), [word.text for word in reader.transcribe(real_words)]
    for engine in ("onnx", "openvino"):
        other = htr.load(tmp_path, engine=engine)
        for one, two in zip(expected, other.logits(real_words), strict=True):
            np.testing.assert_allclose(one, two, atol=2e-3)
        assert [word.text for word in other.transcribe(real_words)] == texts
    export(tmp_path, "onnx", calibration=real_words[::2])
    small = [word.text for word in htr.load(tmp_path, engine="onnx").transcribe(real_words)]
    assert htr.cer(texts, small) < 0.05


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="LiteRT files are written on TensorFlow")
def test_litert_reads_real_words_as_keras_does(real_words, tmp_path):
    reader = htr.load(engine="keras")
    (path,) = export(shipped(), "litert", tmp_path / "reader.tflite")
    words = [ink for ink in (reader._ink(word) for word in real_words[::12]) if ink.pixels.shape[1] <= 256]
    np.save(tmp_path / "words.npy", pad_images([ink.pixels for ink in words], width=256))
    code = (
        "import sys, numpy as np; from ai_edge_litert.interpreter import Interpreter\n"
        "run = Interpreter(sys.argv[1]).get_signature_runner('width_256')\n"
        "words = np.load(sys.argv[2])\n"
        "np.save(sys.argv[2], np.concatenate([run(images=word[None])['logits'] for word in words]))"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "words.npy")], check=True, timeout=300)
    for got, expected in zip(np.load(tmp_path / "words.npy"), reader.logits(words), strict=True):
        np.testing.assert_allclose(got[: len(expected)], expected, atol=2e-3)


def test_the_lines_of_the_docs_read_a_word(tmp_path, monkeypatch, capsys):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.M | re.S
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    word = Image.open(ROOT / "docs" / "samples" / "harvest.jpg").convert("L")
    np.save("word.npy", np.asarray(word))
    export(shipped(), "openvino", "reader.xml")
    names = {}
    for block in blocks[:2]:
        exec(block, names)  # the third starts an interpreter that talks: see the test of LiteRT
    text, confidence = capsys.readouterr().out.split()
    assert htr.cer(["harvest"], [text]) < 0.5 and 0 < float(confidence) <= 1

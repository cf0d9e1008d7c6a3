"""Checkpoints from strangers: loading runs nothing, takes no memory that the files do not, and says what is wrong."""

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import htr
from htr.charset import Charset
from htr.checkpoint import CheckpointError
from htr.export import export
from htr.model import build_model
from htr.transcriber import Transcriber
from tests.test_transcriber import CONFIG

ALPHABET = "adeiklmnopstw"
FAR = 10**12


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    charset = Charset(ALPHABET)
    Transcriber(build_model(CONFIG, charset.num_classes), charset, CONFIG).save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A checkpoint to spoil; none of what is put into it may leave a trace beside it."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    about = settings(folder)
    del about["weights"]  # a stranger would write that of what he has put there; older checkpoints have none
    (folder / "config.json").write_text(json.dumps(about))
    return folder


class Evil:
    """What a pickle runs when it is opened."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def settings(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def edit(folder: Path, **changes) -> None:
    (folder / "config.json").write_text(json.dumps({**settings(folder), **changes}))


def network(**changes):
    return lambda folder: edit(folder, model={**settings(folder)["model"], **changes})


def config(**changes):
    return lambda folder: edit(folder, **changes)


def text(data: str | bytes):
    return lambda folder: (folder / "config.json").write_bytes(data if isinstance(data, bytes) else data.encode())


def arrays(change):
    """change(arrays by name) spoils the weights."""

    def spoil(folder: Path) -> None:
        with np.load(folder / "weights.npz") as file:
            held = {name: file[name] for name in file.files}
        change(held)
        np.savez(folder / "weights.npz", **held)

    return spoil


def put(name: str, value):
    return lambda held: held.update({name: value(held[name])})


def header(shape: tuple[int, ...], kind: str = "<f4", *, version: int = 1, data: bytes = b"") -> bytes:
    """An .npy member that says more than it holds."""
    about = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(about).to_bytes(2, "little") + about + data


def member(name: str, data: bytes, **options):
    """Put a member of the archive in the place of the one of that name, or beside the others."""

    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / "weights.npz") as old:
            held = {info.filename: old.read(info) for info in old.infolist()}
        with zipfile.ZipFile(folder / "weights.npz", "w", **options) as new:
            for key, value in {**held, name: data}.items():
                new.writestr(key, value)

    return spoil


def weights(data: bytes):
    return lambda folder: (folder / "weights.npz").write_bytes(data)


def pickled(folder: Path) -> None:
    (folder / "weights.npz").write_bytes(pickle.dumps(Evil(folder / "hacked")))


def object_array(folder: Path) -> None:
    file, array = io.BytesIO(), np.empty(1, object)
    array[0] = Evil(folder / "hacked")
    np.save(file, array, allow_pickle=True)
    member("logits/bias.npy", file.getvalue())(folder)


def hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "weights.npz", "w") as file:
        file["logits"] = h5py.ExternalLink("/etc/passwd", "/")


def keras_file(folder: Path) -> None:
    """A whole .keras file with a Lambda layer, and no file of ours."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs))
    model.save(folder / "model.keras")
    (folder / "config.json").write_bytes(zipfile.ZipFile(folder / "model.keras").read("config.json"))


def pipe(name: str):
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def device(name: str):
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return spoil


def sparse(name: str):
    def spoil(folder: Path) -> None:
        os.truncate(folder / name, 1 << 40)

    return spoil


BIAS = "logits/bias"
REFUSED = {
    "a pickle as weights": (pickled, "no archive of arrays"),
    "a pickled array": (object_array, "object|floats"),
    "HDF5 with an external link": (hdf5, "no archive of arrays"),
    "Lambda layer": (keras_file, "names no format"),
    "class names": (config(model={"class_name": "Lambda", "module": "os", "config": {}}), "has no field"),
    "custom objects": (network(registered_name="evil>Layer"), "has no field registered_name"),
    "a path as objective": (config(objective="../../evil.py"), "no objective"),
    "an objective of another type": (config(objective=["ctc"]), "config.json"),
    "options that are no numbers": (config(objective="focal-ctc", objective_options={"gamma": "exit()"}), "gamma"),
    "options without end": (config(objective="focal-ctc", objective_options={"gamma": float("nan")}), "gamma"),
    "options as a list": (config(objective_options=["gamma"]), "objective_options"),
    "training as a list": (config(training=["hf://evil/data"]), "training"),
    "newer format": (config(format=2), "newer htr, update htr"),
    "format 0": (config(format=0), "format"),
    "format true": (config(format=True), "format"),
    "format as text": (config(format="1; import os"), "names no format"),
    "temperature 0": (config(temperature=0), "temperature"),
    "temperature true": (config(temperature=True), "temperature"),
    "temperature of 1e-300": (config(temperature=1e-300), "temperature"),
    "temperature NaN": (config(temperature=float("nan")), "temperature"),
    "alphabet as a list": (config(alphabet=["a", "b"]), "alphabet"),
    "alphabet of a half": (config(alphabet="a\ud800"), "alphabet"),
    "alphabet of another size": (config(alphabet=ALPHABET + "xyz"), "different checkpoints"),
    "alphabet without NFC": (config(alphabet="e\u0301"), "NFC"),
    "columns of 10^12": (network(columns=FAR), "columns"),
    "columns below 0": (network(columns=-5), "columns"),
    "columns as text": (network(columns="1e9"), "columns"),
    "filters of 10^12": (network(blocks=[[FAR, 2, 2, 1]]), "blocks"),
    "filters that multiply": (network(blocks=[[4096, 1, 1, 8]] * 8), "weights"),
    "strides of 10^12": (network(blocks=[[8, FAR, FAR, 1]]), "blocks"),
    "ten thousand stages": (network(blocks=[[1, 1, 1, 1]] * 10**4), "blocks"),
    "blocks as text": (network(blocks="evil"), "config.json"),
    "blocks of NaN": (network(blocks=[[float("nan")] * 4]), "config.json"),
    "units of 10^12": (network(recurrent=[FAR]), "recurrent"),
    "ten thousand layers": (network(recurrent=[1] * 10**4), "recurrent"),
    "height of 10^12": (network(height=FAR), "height"),
    "height as a fraction": (network(height=24.5), "height"),
    "dropout NaN": (network(dropout=float("nan")), "dropout"),
    "momentum as text": (network(batch_norm_momentum="0.9"), "batch_norm_momentum"),
    "a flag as text": (network(learned_mask="yes"), "learned_mask"),
    "model as a list": (config(model=[1, 2]), "config.json"),
    "model as null": (config(model=None), "config.json"),
    "no JSON": (text("import os"), "no JSON"),
    "JSON of numbers": (text("7"), "names no format"),
    "JSON without end": (text('{"format":' + "[" * 200_000), "no JSON"),
    "JSON of many digits": (text('{"format": ' + "9" * 10_000 + "}"), "no JSON"),
    "config in latin-1": (text('{"alphabet": "é"}'.encode("latin-1")), "no JSON"),
    "config without end": (sparse("config.json"), "config.json"),
    "config as a pipe": (pipe("config.json"), "holds no config.json"),
    "config as a device": (device("config.json"), "holds no config.json"),
    "weights as a pipe": (pipe("weights.npz"), "weights.npz is missing"),
    "weights as a device": (device("weights.npz"), "weights.npz is missing"),
    "weights without end": (sparse("weights.npz"), "weights.npz"),
    "weights of noise": (weights(bytes(range(256)) * 9), "no archive of arrays"),
    "an empty archive": (weights(b"PK\x05\x06" + bytes(18)), "0 classes"),
    "a lone array of 10^12": (weights(header((FAR,))), "no archive of arrays"),
    "an array of 10^12": (member(f"{BIAS}.npy", header((FAR,))), "holds"),
    "an array of 10^6 x 10^6": (member(f"{BIAS}.npy", header((10**6, 10**6), data=bytes(60))), "holds"),
    "a shape below 0": (member(f"{BIAS}.npy", header((-1,), data=bytes(60))), "shape|header"),
    "a shape that overflows": (member(f"{BIAS}.npy", header((2**62, 4), data=bytes(60))), "holds"),
    "a header that is code": (member(f"{BIAS}.npy", header((1,)).replace(b"'<f4'", b"open(")), "damaged"),
    "a header too long": (member(f"{BIAS}.npy", b"\x93NUMPY\2\0\xff\xff\xff\x7f" + bytes(99)), "header"),
    "a version of the future": (member(f"{BIAS}.npy", header((15,), version=9, data=bytes(60))), "header"),
    "another kind": (member(f"{BIAS}.npy", header((15,), "|S4", data=bytes(60))), "floats"),
    "dates": (member(f"{BIAS}.npy", header((15,), "<M8[s]", data=bytes(120))), "floats"),
    "a member that is no array": (member("__main__.py", b"import os"), "damaged"),
    "a path out of the archive": (member("../../evil.npy", header((1,), data=bytes(4))), "does not fit"),
    "a packed bomb": (member("bomb.npy", header((10**7,), data=bytes(4 * 10**7)), compression=8), "packed"),
    "NaN weights": (arrays(put(BIAS, lambda x: x * np.nan)), "NaN"),
    "one infinite weight": (arrays(put(BIAS, lambda x: np.where(np.arange(len(x)) == 3, np.inf, x))), "NaN"),
    "NaN in float16": (arrays(put(BIAS, lambda x: (x * np.nan).astype("float16"))), "NaN"),
    "negative variance": (arrays(put("project_norm/moving_variance", lambda x: -np.abs(x) - 1)), "below 0"),
    "a shape of another network": (arrays(put("logits/kernel", lambda x: x.T)), "the network needs"),
    "a missing array": (arrays(lambda held: held.pop("project/kernel")), "does not fit"),
    "one array too many": (arrays(lambda held: held.update(evil=np.zeros(3))), "does not fit"),
    "complex weights": (arrays(put(BIAS, lambda x: x.astype(complex))), "floats"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_crafted_checkpoint_is_refused_in_a_sentence_and_nothing_is_run(folder, name):
    spoil, says = REFUSED[name]
    spoil(folder)
    before, peak = {path.name for path in folder.parent.rglob("*")}, memory()
    with pytest.raises(CheckpointError, match=says) as caught:
        htr.load(folder, engine="keras")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert {path.name for path in folder.parent.rglob("*")} == before and "hacked" not in before
    assert memory() - peak < 300_000


def memory() -> int:
    """kB at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_good_checkpoint_of_float16_still_loads(folder):
    htr.load(folder).save(folder, half=True)
    assert htr.load(folder, engine="keras").charset.characters == ALPHABET


def test_every_bit_of_the_weights_may_be_wrong(folder):
    data = (folder / "weights.npz").read_bytes()
    chance = np.random.default_rng(0)
    for _ in range(60):
        spoilt = bytearray(data)
        for place in chance.integers(0, len(data), 3):
            spoilt[place] ^= 1 << int(chance.integers(8))
        (folder / "weights.npz").write_bytes(spoilt)
        try:
            htr.checkpoint.load_weights(folder, Charset(ALPHABET))
        except CheckpointError as error:
            assert "\n" not in str(error)


# --- ONNX


@pytest.fixture
def graph(folder):
    """The folder with its model.onnx and without weights: the graph alone decides."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export(folder, "onnx")
    (folder / "weights.npz").unlink()
    return folder / "model.onnx", onnx.load(folder / "model.onnx")


def outside(model, location: str) -> None:
    """The first constant's numbers are said to lie in another file."""
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = 1
    for key, value in {"location": location, "offset": "0", "length": "64"}.items():
        entry = constant.external_data.add()
        entry.key, entry.value = key, value


def node(model, kind: str, inputs: list[str], **attributes) -> None:
    from onnx import helper

    model.graph.node.insert(0, helper.make_node(kind, inputs, ["evil"], **attributes))


def filled(model, *shape: int) -> None:
    from onnx import helper

    size = helper.make_tensor("size", 7, [len(shape)], shape)
    model.graph.initializer.append(size)
    node(model, "ConstantOfShape", ["size"])


def claims(model, *shape: int) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(shape)


def sparse_constant(model) -> None:
    from onnx import helper

    values, places = helper.make_tensor("v", 1, [1], [1.0]), helper.make_tensor("p", 7, [1], [0])
    node(model, "Constant", [], sparse_value=helper.make_sparse_tensor(values, places, [FAR]))


def script(model) -> None:
    node(model, "PyOp", ["images"], module="os", class_name="system", domain="pyop")
    entry = model.opset_import.add()
    entry.domain, entry.version = "pyop", 1


def looped(model) -> None:
    from onnx import helper

    body = helper.make_graph([helper.make_node("Identity", ["a"], ["evil_inside"])], "inner", [], [])
    node(model, "Loop", ["images"], body=body)


def renamed(model) -> None:
    model.graph.input[0].name = "pixels"


def quantized_noise(model) -> None:
    """No more than a constant in another place: a file of its own inside of a node."""
    from onnx import helper

    inner = helper.make_tensor("inner", 1, [1], [1.0])
    node(model, "Constant", [], value=inner)
    value = model.graph.node[0].attribute[0].t
    value.ClearField("float_data")
    value.data_location = 1
    entry = value.external_data.add()
    entry.key, entry.value = "location", "secret.bin"


GRAPHS = {
    "external data": (lambda model: outside(model, "secret.bin"), "other files"),
    "external data above": (lambda model: outside(model, "../../../etc/passwd"), "other files"),
    "external data anywhere": (lambda model: outside(model, "/etc/passwd"), "other files"),
    "external data in a node": (quantized_noise, "other files"),
    "a constant of 10^12": (lambda model: claims(model, FAR), "holds|cannot be loaded"),
    "a constant of 10^6 x 10^6": (lambda model: claims(model, 10**6, 10**6), "holds|cannot be loaded"),
    "memory filled at the start": (lambda model: filled(model, 10**5, 10**5), "ConstantOfShape"),
    "memory filled without end": (lambda model: filled(model, FAR), "ConstantOfShape"),
    "a sparse constant": (sparse_constant, "Constant"),
    "code": (script, "PyOp"),
    "a loop": (looped, "Loop"),
    "another input": (renamed, "images"),
}


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_crafted_graph_is_refused(graph, name, engine):
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    path, model = graph
    (path.parent / "secret.bin").write_bytes(bytes(64))
    spoil, says = GRAPHS[name]
    spoil(model)
    path.write_bytes(model.SerializeToString())
    peak = memory()
    with pytest.raises(CheckpointError, match=says) as caught:
        htr.load(path.parent, engine=engine)
    assert "\n" not in str(caught.value)
    assert memory() - peak < 300_000


@pytest.mark.parametrize("data", [b"", b"\xff" * 99, b"\n" + b"\xff" * 9 + b"\1", b"<?xml?><net/>", bytes(1 << 20)])
def test_what_is_no_graph_is_refused(graph, data):
    path, _ = graph
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        htr.load(path.parent, engine="onnx")


def test_a_graph_of_another_alphabet_is_refused(graph):
    path, _ = graph
    edit(path.parent, alphabet="abc")
    with pytest.raises(CheckpointError, match="classes"):
        htr.load(path.parent, engine="onnx")


def test_a_graph_without_end_is_refused(graph):
    path, _ = graph
    os.truncate(path, 1 << 40)
    with pytest.raises(CheckpointError, match="model.onnx"):
        htr.load(path.parent, engine="onnx")


def test_the_command_says_it_in_one_line(folder):
    object_array(folder)
    command = [sys.executable, "-m", "htr", "transcribe", "x.png", "--checkpoint", str(folder), "--engine", "keras"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(htr.__file__).parent.parent)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("htr: ") and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr

"""Floor 3: a reader's network and its greedy decoder as one ONNX graph, written node by node from the stored weights.

Keras' own export makes loops of masked LSTMs. Here each is one bidirectional LSTM node, to which padding is shown as a
feature that shuts its input gate; batch normalisation is folded into the convolution before it, and padding is kept out
of these by the same column mask as in `htr.model`. Batch and width are free.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from htr.charset import BLANK, END
from htr.config import ModelConfig
from htr.images import PAD

if TYPE_CHECKING:
    import onnx

OPSET = 17
EPSILON = 1e-3  # of batch normalisation
SIGNS, SHUT = 32, -4.0  # padding is shown to an LSTM by so many features, each of this weight: together they leave a
# sigmoid nothing, and each alone is no larger than other weights, which 8 bit would pay for
OUTPUTS = ("logits", "frames", "ids", "lengths", "confidence")


def graph(
    config: ModelConfig, weights: Mapping[str, np.ndarray], *, spelled: bool = False, temperature: float = 1.0
) -> "onnx.ModelProto":
    """The network of config with weights by their stored names -> an ONNX model

    images (batch, height, width, 1) float32, padded on the right with PAD, ->
    logits (batch, frames, classes), frames (batch,) int64: how many of them lie on the image,
    ids (batch, frames) int64: the classes read, padded with 0, lengths (batch,) int64: how many,
    confidence (batch,): the probability of the path that was read, at the temperature.
    spelled: character i is read at frame i up to END, else frames are decoded as CTC's best path.
    ValueError for a network with parts that the graph does not know.
    """
    if unknown := [name for name in ("learned_mask", "learned_fill", "mask_channel") if getattr(config, name)]:
        raise ValueError(f"A network with {', '.join(unknown)} cannot be exported; read with the keras engine.")
    build = _Graph()
    columns, valid = _convolutions(build, config, weights)
    logits = _recurrent(build, config, weights, columns, valid)
    build.name(logits, "logits")
    mask = build.add("Cast", valid, to=build.BOOL)
    frames = build.add("ReduceSum", build.add("Cast", valid, to=build.INT), build.ints([1]), keepdims=0)
    build.name(frames, "frames")
    (_spelling if spelled else _best_path)(build, logits, mask, frames, temperature)
    return build.model(config.height, weights["logits/bias"].shape[0])


class _Graph:
    """Nodes and constants in order; every method gives back names."""

    FLOAT, INT, BOOL = 1, 7, 9  # onnx.TensorProto's numbers

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes):
        """A node -> the name of its output, or a list of them."""
        from onnx import helper

        self.count += 1
        names = [f"{kind.lower()}_{self.count}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def name(self, value: str, output: str) -> None:
        """Give a value out under a name."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [value], [output]))

    def constant(self, array) -> str:
        from onnx import numpy_helper

        self.count += 1
        name = f"constant_{self.count}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def floats(self, values) -> str:
        return self.constant(np.asarray(values, np.float32))

    def ints(self, values) -> str:
        return self.constant(np.asarray(values, np.int64))

    def model(self, height: int, classes: int) -> "onnx.ModelProto":
        from onnx import checker, helper

        value, n, t = helper.make_tensor_value_info, "batch", "frames"
        images = value("images", self.FLOAT, [n, height, "width", 1])
        kinds: dict[str, tuple[int, list]] = {"logits": (self.FLOAT, [n, t, classes]), "frames": (self.INT, [n])}
        kinds |= {"ids": (self.INT, [n, t]), "lengths": (self.INT, [n]), "confidence": (self.FLOAT, [n])}
        outputs = [value(name, *kinds[name]) for name in OUTPUTS]
        body = helper.make_graph(self.nodes, "reader", [images], outputs, self.constants)
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="htr")
        model.ir_version = 8  # what readers of opset 17 know
        checker.check_model(model)
        return model


# --- the network, layer by layer as in htr.model


def _convolutions(build: _Graph, config: ModelConfig, weights) -> tuple[str, str]:
    """images -> columns (batch, channels, 1, frames), valid (batch, frames) float32: 1 on the image, 0 on padding."""
    images = build.add("Reshape", "images", build.ints([0, 1, config.height, -1]))
    # no ink is below PAD: the highest pixel of a column tells whether it is padding, and ReLU makes paper of that
    highest = build.add("ReduceMax", images, axes=[1, 2], keepdims=1)
    valid = build.add("Cast", build.add("Not", build.add("Equal", highest, build.floats(PAD))), to=build.FLOAT)
    features = build.add("Relu", images)
    for stage, (_, height, width, convolutions) in enumerate(config.blocks, start=1):
        features = build.add("Mul", features, valid) if stage > 1 else features
        if width > 1:
            valid = build.add("Slice", valid, *map(build.ints, ([0], [np.iinfo(np.int64).max], [3], [width])))
        features = _convolution(build, weights, f"conv{stage}_1", features, [height, width])
        for i in range(2, convolutions + 1):
            features = build.add("Mul", features, valid)
            features = build.add("Add", features, _convolution(build, weights, f"conv{stage}_{i}", features, [1, 1]))
    # a column is read as a whole: the product with its features is a convolution as high as it
    scale, shift = _norm(weights, "project_norm")
    kernel = (_float(weights["project/kernel"]) * scale).reshape(-1, config.blocks[-1][0], 1, len(shift))
    kernel = build.floats(kernel.transpose(3, 1, 0, 2))
    columns = build.add("Relu", build.add("Conv", features, kernel, build.floats(shift)))
    return columns, build.add("Squeeze", valid, build.ints([1, 2]))


def _convolution(build: _Graph, weights, name: str, features: str, strides: list[int]) -> str:
    scale, shift = _norm(weights, f"{name}_norm")
    kernel = _float(weights[f"{name}/kernel"]) * scale
    pads = [(size - 1) // 2 for size in kernel.shape[:2]] + [size // 2 for size in kernel.shape[:2]]
    kernel = build.floats(kernel.transpose(3, 2, 0, 1))
    return build.add("Relu", build.add("Conv", features, kernel, build.floats(shift), pads=pads, strides=strides))


def _norm(weights, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A stored batch normalisation -> what to multiply with and what to add."""
    gamma, beta, mean, variance = (
        _float(weights[f"{name}/{part}"]) for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + EPSILON)
    return scale, beta - mean * scale


def _float(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32)


def _recurrent(build: _Graph, config: ModelConfig, weights, columns: str, valid: str) -> str:
    """columns (batch, channels, 1, frames), valid (batch, frames) -> logits (batch, frames, classes)."""
    features = build.add("Transpose", build.add("Squeeze", columns, build.ints([2])), perm=[2, 0, 1])
    padding = build.add("Transpose", build.add("Sub", build.floats(1), valid), perm=[1, 0])
    padding = build.add("Unsqueeze", padding, build.ints([2]))
    channels = config.columns
    for i, units in enumerate(config.recurrent, start=1):
        signs = build.floats(np.ones(SIGNS + -channels % SIGNS))
        more = build.add("Mul", padding, signs)
        features = _lstms(build, weights, i, build.add("Concat", features, more, axis=2), units)
        channels = 2 * units
    features = build.add("Transpose", features, perm=[1, 0, 2])
    logits = build.add("MatMul", features, build.floats(_float(weights["logits/kernel"])))
    return build.add("Add", logits, build.floats(_float(weights["logits/bias"])))


def _lstms(build: _Graph, weights, i: int, features: str, units: int) -> str:
    """features (frames, batch, channels and the signs of padding) -> (frames, batch, 2 * units)

    Padding comes last on the way ahead, where no one hears of it. On the way back it comes first, and shuts the input
    gate: memory and output stay exactly 0 up to the word's last frame, as if it began there.
    """
    inputs, hidden, biases = [], [], []
    for direction in ("forward", "backward"):
        name = f"bilstm{i}/{direction}_lstm{i}/lstm_cell"
        kernel, recurrent, bias = (_float(weights[f"{name}/{part}"]) for part in ("kernel", "recurrent_kernel", "bias"))
        shut = np.zeros((SIGNS + -len(kernel) % SIGNS, 4 * units), np.float32)
        shut[:, :units] = SHUT
        inputs.append(_gates(np.concatenate([kernel, shut])))
        hidden.append(_gates(recurrent))
        biases.append(np.concatenate([_gates(bias), np.zeros(4 * units, np.float32)]))
    parts = [build.floats(np.stack(part)) for part in (inputs, hidden, biases)]
    spoken = build.add("LSTM", features, *parts, hidden_size=units, direction="bidirectional")
    spoken = build.add("Transpose", spoken, perm=[0, 2, 1, 3])
    return build.add("Reshape", spoken, build.ints([0, 0, 2 * units]))


def _gates(part: np.ndarray) -> np.ndarray:
    """(..., 4 * units) in Keras' order input, forget, candidate, output -> (4 * units, ...) in ONNX' i, o, f, c."""
    enter, forget, candidate, leave = np.split(part, 4, axis=-1)
    return np.concatenate([enter, leave, forget, candidate], axis=-1).T


# --- the decoder


def _best_path(build: _Graph, logits: str, mask: str, frames: str, temperature: float) -> None:
    """The likeliest class of each frame but END, repeats merged, blanks removed."""
    path = build.add("ArgMax", _without(build, logits, END), axis=2, keepdims=0)
    path = build.add("Where", mask, path, build.ints(BLANK))
    first = build.add("Slice", build.add("Pad", path, build.ints([0, 1, 0, 0])), *_but_last(build))
    new = build.add("Not", build.add("Equal", path, first))
    kept = build.add("And", new, build.add("Not", build.add("Equal", path, build.ints(BLANK))))
    _give_out(build, path, kept)
    _path_confidence(build, logits, path, mask, temperature)


def _spelling(build: _Graph, logits: str, mask: str, frames: str, temperature: float) -> None:
    """Character i at frame i, up to END or the last frame."""
    path = build.add("ArgMax", _without(build, logits, BLANK), axis=2, keepdims=0)
    path = build.add("Where", mask, path, build.ints(END))
    over = build.add("Cast", build.add("Equal", path, build.ints(END)), to=build.INT)
    before = build.add("CumSum", over, build.ints(1))  # 0 before END, 1 at it
    kept = build.add("Equal", before, build.ints(0))
    _give_out(build, path, kept)
    counted = build.add(
        "And", mask, build.add("Equal", build.add("CumSum", over, build.ints(1), exclusive=1), build.ints(0))
    )
    _path_confidence(build, logits, path, counted, temperature)


def _but_last(build: _Graph) -> list[str]:
    return [build.ints(value) for value in ([0], [-1], [1])]


def _without(build: _Graph, logits: str, left_out: int) -> str:
    """logits with a class that cannot be read."""
    row = np.zeros(left_out + 1, np.float32)
    row[left_out] = -1e30
    classes = build.add("Slice", build.add("Shape", logits), *(build.ints([v]) for v in (2, 3)))
    wide = build.add("Concat", build.ints([0]), build.add("Sub", classes, build.ints([left_out + 1])), axis=0)
    return build.add("Add", logits, build.add("Pad", build.floats(row), wide))


def _give_out(build: _Graph, path: str, kept: str) -> None:
    """path (batch, frames), kept (batch, frames) bool -> ids, moved to the left, and lengths."""
    counts = build.add("Cast", kept, to=build.INT)
    lengths = build.add("ReduceSum", counts, build.ints([1]), keepdims=0)
    build.name(lengths, "lengths")
    places = build.add("Sub", build.add("CumSum", counts, build.ints(1)), build.ints(1))
    # what is not kept goes into a column behind the last frame, which is then cut off
    behind = build.add("Slice", build.add("Shape", path), *(build.ints([v]) for v in (1, 2)))
    places = build.add("Where", kept, places, behind)
    empty = build.add("Pad", build.add("Mul", path, build.ints(0)), build.ints([0, 0, 0, 1]))
    ids = build.add("ScatterElements", empty, places, path, axis=1)
    build.name(build.add("Slice", ids, *_but_last(build)), "ids")


def _path_confidence(build: _Graph, logits: str, path: str, counted: str, temperature: float) -> None:
    scores = build.add("LogSoftmax", build.add("Div", logits, build.floats(temperature)), axis=2)
    scores = build.add("GatherElements", scores, build.add("Unsqueeze", path, build.ints([2])), axis=2)
    scores = build.add("Squeeze", scores, build.ints([2]))
    scores = build.add("Where", counted, scores, build.floats(0))
    build.name(build.add("Exp", build.add("ReduceSum", scores, build.ints([1]), keepdims=0)), "confidence")

"""Floor 0: what an ONNX file holds, read off its bytes before a runtime is given it: no other files, no unknown parts.

A graph is protocol buffers: messages of numbered fields (onnx.proto in the ONNX project says which is which).
"""

import math
from collections.abc import Iterator
from typing import Any

# what htr/onnx_graph.py writes or has written, and what its conversion to 8 bit adds
KINDS = frozenset(
    """Add And ArgMax Cast Concat Conv CumSum Div Equal Exp GatherElements Identity LSTM LogSoftmax MatMul Mul Not Pad
    ReduceMax ReduceSum Relu Reshape ReverseSequence ScatterElements Shape Slice Squeeze Sub Transpose Unsqueeze Where
    DequantizeLinear QuantizeLinear""".split()
)
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25  # of a model
_NODES, _CONSTANTS, _INPUTS, _OUTPUTS, _SPARSE = 1, 5, 11, 12, 15  # of a graph
_TENSORS, _GRAPHS = {5, 10, 22, 23}, {6, 11}  # of an attribute
_OUTSIDE = {13, 14}  # of a tensor: where else its numbers are


def check(data: bytes, *, height: int, classes: int) -> None:
    """An ONNX file, and its reader's input height and number of classes. ValueError says why it is not to be loaded."""
    graphs = []
    for number, value in _fields(memoryview(data)):
        if number in (_TRAINING, _FUNCTIONS):
            raise ValueError("it brings functions of its own, htr's graphs have none")
        graphs += [value] if number == _GRAPH else []
    if len(graphs) != 1:
        raise ValueError(f"it holds {len(graphs)} graphs, not one")
    found: dict[str, list] = {}
    for number, value in _fields(graphs[0]):
        if number == _NODES:
            _check_node(value)
        elif number == _CONSTANTS:
            _check_constant(value)
        elif number == _SPARSE:
            raise ValueError("it holds sparse constants, htr's graphs have none")
        elif number in (_INPUTS, _OUTPUTS):
            found |= _place(value)
    for name, expected in {"images": (1, height), "logits": (-1, classes)}.items():
        shape = found.get(name) or []
        if len(shape) < 3 or shape[expected[0]] != expected[1]:
            what = ("px of height", "classes")[name == "logits"]
            raise ValueError(f"its {name} have the shape {shape}, config.json says {expected[1]} {what}")


def _check_node(node: memoryview) -> None:
    kind = domain = ""
    for number, value in _fields(node):
        kind = _text(value) if number == 4 else kind
        domain = _text(value) if number == 7 else domain
        for part, inner in _fields(value) if number == 5 else ():
            if part in _TENSORS:
                if part == 5:
                    _check_constant(inner)
                raise ValueError(f"its node {kind or 'Constant'} holds a constant, htr's graphs have none there")
            if part in _GRAPHS:
                raise ValueError(f"its node {kind} holds a graph (Loop, Scan or If), htr's have none")
    if kind not in KINDS or domain not in ("", "ai.onnx"):
        raise ValueError(f"it uses {domain or 'ONNX'}'s {kind or 'nameless'} node, which htr's graphs do not")


def _check_constant(tensor: memoryview) -> None:
    shape: list[int] = []
    for number, value in _fields(tensor):
        if number in _OUTSIDE:
            raise ValueError("it keeps numbers in other files, which htr's graphs never do")
        if number == 1:
            shape += [value] if isinstance(value, int) else _numbers(value)
    if math.prod(shape) > len(tensor):  # a number takes a byte at least
        raise ValueError(f"a constant of shape {shape} holds {len(tensor):,} bytes")


def _place(value: memoryview) -> dict[str, list]:
    """An input or output -> its name and shape, None where a side is free."""
    name, shape = "", []
    for number, part in _fields(value):
        name = _text(part) if number == 1 else name
        for kind in _inside(part, 1) if number == 2 else ():
            for sides in _inside(kind, 2):
                shape += [next(iter(_inside(side, 1)), None) for side in _inside(sides, 1)]
    return {name: shape}


def _inside(message: memoryview, wanted: int) -> list:
    return [value for number, value in _fields(message) if number == wanted]


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """A message -> the numbers of its fields and their values: whole numbers, or the bytes they take."""
    if not isinstance(message, memoryview):
        raise ValueError("it is no ONNX file, or cut")
    place = 0
    while place < len(message):
        key, place = _whole(message, place)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 in (0, 2):
            size, place = _whole(message, place)
        if size is None or (key & 7 and place + size > len(message)):
            raise ValueError("it is no ONNX file, or cut")
        yield key >> 3, message[place : place + size] if key & 7 else size
        place += size if key & 7 else 0


def _whole(message: memoryview, place: int) -> tuple[int, int]:
    """A number in pieces of 7 bits, the lowest first -> it, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place + shift // 7 >= len(message):
            break
        byte = message[place + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place + shift // 7 + 1
    raise ValueError("it is no ONNX file, or cut")


def _numbers(packed: memoryview) -> list[int]:
    place, found = 0, []
    while place < len(packed):
        value, place = _whole(packed, place)
        found.append(value)
    return found


def _text(value) -> str:
    return bytes(value[:60]).decode("ascii", "replace") if isinstance(value, memoryview) else ""

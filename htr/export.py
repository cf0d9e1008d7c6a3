"""Floor 7: a checkpoint for other runtimes: ONNX, quantised or not, OpenVINO and LiteRT."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from htr import checkpoint, objectives, onnx_graph
from htr.checkpoint import ONNX, WEIGHTS
from htr.engines import digest, onnxruntime, openvino
from htr.images import ImageError, to_ink
from htr.padding import pad_images

FORMATS = ("onnx", "openvino", "litert")
CALIBRATION = 256  # words that say which range the numbers of a quantised network take
WIDTHS = (64, 128, 256, 512)  # pixels: LiteRT runs fixed shapes


def export(folder, kind: str, out=None, *, calibration: Sequence | None = None) -> list[Path]:
    """Write a checkpoint's network for another runtime -> the files.

    onnx: one file (default: the folder's model.onnx, which the engines onnx and openvino read). openvino: out.xml and
    out.bin beside it. litert: one file with a signature for each of WIDTHS (width_64 ...), one word a call. Inputs and
    outputs are those of `onnx_graph.graph`; LiteRT gives logits alone. calibration: images; with them convolutions and
    products are computed in 8 bit. ValueError for an unknown kind and for what the kind cannot hold.
    """
    if kind not in FORMATS:
        raise ValueError(f"There is no format {kind!r}; choose one of {', '.join(FORMATS)}.")
    if kind == "litert" and calibration is not None:
        raise ValueError("8 bit is made for onnx and openvino; leave --int8 away, or choose one of these.")
    if kind == "litert":
        _needs_tensorflow()
    if out is None and kind != "onnx":
        raise ValueError(f"The format {kind} needs a place of its own; give --out.")
    out = Path(folder) / ONNX if out is None else Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    return {"onnx": _onnx, "openvino": _openvino, "litert": _litert}[kind](Path(folder), out, calibration)


def _onnx(folder: Path, out: Path, calibration) -> list[Path]:
    _installed("onnx", "onnx")
    model = _graph(folder)
    if calibration is not None:
        model = _quantized(model, _inks(folder, calibration))
    entry = model.metadata_props.add()
    entry.key, entry.value = f"sha256 of {WEIGHTS}", digest(checkpoint.weights_file(folder)[0])
    checkpoint.write(out, model.SerializeToString())
    return [out]


def _graph(folder: Path):
    charset, config, settings = checkpoint.load(folder)
    return onnx_graph.graph(
        config,
        checkpoint.load_weights(folder, charset),
        spelled=not objectives.get(settings["objective"]).has_positions,
        temperature=settings.get("temperature", 1.0),
    )


def _openvino(folder: Path, out: Path, calibration) -> list[Path]:
    _installed("openvino", "openvino")
    out = out.with_suffix(".xml")
    with tempfile.TemporaryDirectory() as place:
        (onnx,) = _onnx(folder, Path(place) / "model.onnx", calibration)
        runtime = openvino()
        runtime.save_model(runtime.Core().read_model(str(onnx)), str(out), compress_to_fp16=False)
    return [out, out.with_suffix(".bin")]


def _litert(folder: Path, out: Path, calibration) -> list[Path]:
    import tensorflow as tf
    from keras.export import ExportArchive

    from htr.transcriber import Transcriber

    model = Transcriber.load(folder, engine="keras").model
    archive = ExportArchive()
    archive.track(model)
    names = [f"width_{width}" for width in WIDTHS]
    for name, width in zip(names, WIDTHS, strict=True):
        images = tf.TensorSpec((1, model.input_shape[1], width, 1), tf.float32, name="images")
        archive.add_endpoint(name, lambda images: {"logits": model(images, training=False)}, [images])
    with tempfile.TemporaryDirectory() as place:
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=names)
        checkpoint.write(out, converter.convert())
    return [out]


# --- 8 bit


def _inks(folder: Path, images: Sequence) -> list[np.ndarray]:
    """Images -> ink (height, width) of up to CALIBRATION of them, spread over all; what cannot be read is left out."""
    height = checkpoint.load(folder)[1].height
    inks = []
    for place in np.unique(np.linspace(0, len(images) - 1, min(CALIBRATION, len(images))).astype(int)):
        try:
            ink = to_ink(images[int(place)], height)
        except ImageError:
            continue
        if not ink.blank:
            inks.append(ink.pixels)
    if not inks:
        raise ValueError("No image of the calibration data can be read; give words of the kind that will be read.")
    return inks


def _quantized(model, inks: list[np.ndarray]):
    """The ONNX model with convolutions and matrix products in 8 bit, static ranges taken from inks."""
    _installed("onnxruntime", "onnx")
    import onnx

    onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Words(CalibrationDataReader):
        def __init__(self):
            self.batches = _batches(inks)

        def get_next(self):
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as place:
        plain, small = os.path.join(place, "plain.onnx"), os.path.join(place, "small.onnx")
        onnx.save(model, plain)
        quantize_static(
            plain,
            small,
            Words(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(small)


def _batches(inks: list[np.ndarray], size: int = 16) -> Iterator[dict[str, np.ndarray]]:
    inks = sorted(inks, key=lambda ink: ink.shape[1])
    for start in range(0, len(inks), size):
        yield {"images": pad_images(inks[start : start + size])}


def _installed(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if not find_spec(module):
        raise ValueError(f"{module} is not installed; pip install 'htr-words[{extra}]'.")


def _needs_tensorflow() -> None:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"LiteRT files are written on TensorFlow, Keras runs on {keras.backend.backend()} here.")

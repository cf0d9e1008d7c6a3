"""Whether padding can be seen: 200 real words alone, in a batch of 64 and with extra columns; one training step.

python benchmarks/padding.py                # TensorFlow
KERAS_BACKEND=jax python benchmarks/padding.py
"""

import argparse
import os
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as parquet

import htr
from htr.config import preset
from htr.images import PAD, to_ink
from htr.learner import ObjectiveLoss
from htr.model import build_model
from htr.transcriber import Transcriber

EXTRA = (1, 2, 7, 64, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="a trained reader; without it an untrained `small` is measured")
    parser.add_argument("--words", type=int, default=200)
    args = parser.parse_args()
    data = Path(os.environ.get("HTR_DATA", "../shared/data"))
    rows = [
        r
        for s in ("dhsd", "copiste")
        for r in parquet.read_table(data / s / "validation.parquet").to_pylist()[: args.words // 2]
    ]
    charset = htr.Charset.from_texts(row["text"] for row in rows)
    keras.utils.set_random_seed(0)
    config = preset("small")
    reader = (
        htr.load(args.checkpoint)
        if args.checkpoint
        else Transcriber(build_model(config, charset.num_classes), charset, config)
    )
    inks = [to_ink(row["image"], reader.config.height) for row in rows]
    odd = sum(ink.pixels.shape[1] % 2 for ink in inks)
    print(
        f"{keras.backend.backend()}: {len(inks)} words, {odd} of odd width, {reader.model.count_params():,} parameters"
    )
    for name, value in read_differences(reader, inks).items():
        print(f"  {name:<34} {value}")
    for name, value in step_differences(reader, inks[:32], [row["text"] for row in rows[:32]]).items():
        print(f"  training step, {name:<19} {value:.1e}")


def read_differences(reader: Transcriber, inks) -> dict[str, str]:
    """Largest difference of logits on valid frames, and how many texts differ, against each word alone."""
    alone = reader.logits(inks, batch_size=1)
    texts = [reading.ids for reading in reader.objective.decode(alone)]
    ways = {"in batches of 64": reader.logits(inks, batch_size=64)}
    for extra in EXTRA:
        ways[f"alone with {extra} more columns"] = [
            reader.logits([ink], pad_to=ink.pixels.shape[1] + extra)[0] for ink in inks
        ]
    results = {}
    for name, logits in ways.items():
        difference = max(float(np.abs(a - b).max()) for a, b in zip(alone, logits, strict=True))
        changed = sum(r.ids != t for r, t in zip(reader.objective.decode(logits), texts, strict=True))
        results[name] = f"logits differ by {difference:.1e}, {changed} texts differ"
    return results


def step_differences(reader: Transcriber, inks, texts: list[str], *, extra: int = 200) -> dict[str, float]:
    """Relative differences of loss, gradients (of their norm) and batch statistics with `extra` more columns."""
    from htr.padding import pad_images, pad_labels

    inks = [ink for ink, text in zip(inks, texts, strict=True) if not reader.charset.missing(text)]
    labels, _ = pad_labels([reader.charset.encode(text) for text in texts if not reader.charset.missing(text)])
    images = pad_images([ink.pixels for ink in inks])
    wide = np.pad(images, ((0, 0), (0, 0), (0, extra), (0, 0)), constant_values=PAD)
    outcomes = [one_step(reader, batch, labels) for batch in (images, wide)]
    (loss_a, gradients_a, statistics_a), (loss_b, gradients_b, statistics_b) = outcomes
    return {
        "loss": abs(loss_a - loss_b) / abs(loss_a),
        "gradients": distance(gradients_a, gradients_b),
        "batch statistics": distance(statistics_a, statistics_b),
    }


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    a, b = (np.concatenate([array.ravel() for array in arrays]).astype(np.float64) for arrays in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def one_step(reader: Transcriber, images, labels) -> tuple[float, list, list]:
    """Loss, gradients and moving statistics after one plain SGD step, from the same weights and the same noise."""
    keras.utils.set_random_seed(1)
    model = keras.models.clone_model(reader.model)
    model.set_weights(reader.model.get_weights())
    for layer in model.layers:
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([1, 0])
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    # the gradient is read off an SGD step of rate 1: this works on every backend
    model.compile(keras.optimizers.SGD(1.0), ObjectiveLoss(reader.objective.name), jit_compile=False)
    loss = float(model.train_on_batch(images, labels))
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    statistics = [keras.ops.convert_to_numpy(v) for v in model.non_trainable_variables if "moving" in v.path]
    return loss, [a - b for a, b in zip(before, after, strict=True)], statistics


if __name__ == "__main__":
    main()

"""Floor 6: train a reader: fit, validate through the reader's own path, keep the best, resume exactly."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import keras

from htr import checkpoint, objectives
from htr.batches import Batches, Words, read_words
from htr.charset import Charset
from htr.config import ModelConfig, TrainConfig, preset, to_json
from htr.model import build_model
from htr.run import Run
from htr.samples import write_problems
from htr.transcriber import Transcriber


def train(
    train,
    validation=None,
    *,
    out,
    model: ModelConfig | None = None,
    training: TrainConfig,
    init=None,
    resume: bool = False,
    skip_bad: bool = False,
    data: Sequence[str] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Transcriber:
    """Datasets of image and text -> the reader with the best validation CER, kept in the folder `out`.

    `out` is a checkpoint all the time, with history.csv, and state.npz from which resume=True goes on as if the run had
    never stopped. Without validation the last reader is kept. init is a checkpoint to start from: its network is kept,
    its alphabet grows and shrinks to that of the training texts. Rows that cannot be learned stop the run (ValueError);
    with skip_bad they are left out and listed in problems.csv. data names the training data in the checkpoint.
    """
    out = Path(out)
    cv2.setNumThreads(1)  # augmentation shares the cores with the network: threads of its own slow both down
    start = Transcriber.load(init) if init is not None else None
    config = start.config if start else model or preset("small")
    objective = objectives.get(training.objective)
    words = usable_words(train, config, training.objective, out, skip_bad=skip_bad)
    charset = Charset.from_texts(words.texts)
    keras.utils.set_random_seed(training.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if training.mixed_precision else "float32")
    try:
        network = build_model(config, charset.num_classes)
    finally:
        keras.config.set_dtype_policy(policy)
    if start:
        transplant(start, network, charset)
    about = {"data": list(data), "words": len(words), "config": to_json(training), "init": start.name if start else None}
    reader = Transcriber(network, charset, config, training.objective, about)
    run = Run(reader, training, out, _validation_words(validation, config), resume=resume)
    batches = Batches(
        words,
        charset,
        batch_size=training.batch_size,
        frames_needed=objective.frames_needed,
        stride=config.stride,
        strength=training.augment,
        seed=training.seed,
        epoch=run.epoch,
        width_step=64 if keras.backend.backend() == "jax" else 1,
        workers=training.workers,
    )
    _compile(network, training)
    run.restore(steps=len(batches))
    if not run.finished:
        network.fit(
            batches,
            initial_epoch=run.epoch,
            epochs=training.epochs or 1_000_000,
            shuffle=False,  # the batches draw their own order, which a resumed run repeats
            verbose=0,
            callbacks=[run, *callbacks],
        )
    return Transcriber.load(out)


def usable_words(dataset, config: ModelConfig, objective: str, out: Path, *, skip_bad: bool = False) -> Words:
    """The words of a dataset that can be learned. ValueError where rows cannot be and skip_bad is not set."""
    frames_needed = objectives.get(objective).frames_needed

    def fits(text: str, width: int) -> str | None:
        needed, given = frames_needed([ord(c) for c in text]), config.frames(width)
        if needed <= given:
            return None
        return (
            f"{text!r} needs {needed} frames, the image gives {given}: "
            f"it is {width} px wide at a height of {config.height}, {needed * config.stride} or more are needed"
        )

    words = read_words(dataset, config.height, fits=fits)
    if words.problems and not skip_bad:
        first = "; ".join(str(problem) for problem in words.problems[:3])
        raise ValueError(
            f"{len(words.problems)} of {len(words) + len(words.problems)} rows cannot be learned ({first}); "
            "correct them, or leave them out with --skip-bad."
        )
    if not words.inks:
        raise ValueError("No row of the training data can be learned; `htr check` names the reasons.")
    if words.problems:
        out.mkdir(parents=True, exist_ok=True)
        write_problems(words.problems, out / "problems.csv")
    return words


def transplant(start: Transcriber, network: keras.Model, charset: Charset) -> dict[str, str]:
    """Give network the weights of start, class by class -> {"kept", "new", "gone"}: characters of each kind."""
    source = checkpoint.weights_of(start.model)
    target = {variable.path: variable for variable in network.weights}
    kept = [c for c in charset.characters if c in start.charset.characters]
    old = [0, 1, *start.charset.encode("".join(kept)).tolist()]
    new = [0, 1, *charset.encode("".join(kept)).tolist()]
    for path, variable in target.items():
        values = keras.ops.convert_to_numpy(variable).copy()
        if path.startswith("logits/"):
            values[..., new] = source[path][..., old]
        else:
            values = source[path]
        variable.assign(values)
    gone = "".join(c for c in start.charset.characters if c not in charset.characters)
    return {"kept": "".join(kept), "new": "".join(c for c in charset.characters if c not in kept), "gone": gone}


def _validation_words(dataset, config: ModelConfig) -> Words | None:
    if dataset is None:
        return None
    words = read_words(dataset, config.height)
    if not words.inks:
        raise ValueError("No row of the validation data can be read; `htr check` names the reasons.")
    return words


def _compile(network: keras.Model, training: TrainConfig) -> None:
    optimizer = keras.optimizers.AdamW(
        training.learning_rate, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(
        optimizer,
        loss=objectives.ObjectiveLoss(training.objective),
        # XLA makes LSTMs several times slower on the CPU under TensorFlow
        jit_compile=keras.backend.backend() == "jax",
    )

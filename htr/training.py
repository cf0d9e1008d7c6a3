"""Floor 6: train a reader: fit, validate through the reader's own path, keep the best, resume exactly."""

import io
import math
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import cv2
import keras

from htr import checkpoint, objectives
from htr.batches import Batches, Words, floats, read_words
from htr.cache import Cache
from htr.calibration import fit_temperature
from htr.charset import Charset
from htr.config import ModelConfig, TrainConfig, preset, to_json
from htr.devices import AdamW, find, hosts, join, leads, spread, together
from htr.files import alone, check_writable
from htr.images import Ink
from htr.learner import Learner
from htr.model import build_model
from htr.plotting import curve
from htr.run import Run
from htr.samples import Problem, write_problems
from htr.transcriber import Transcriber

PROBLEMS, CURVE = "problems.csv", "curve.png"
CALIBRATED = 20_000  # validation words, at most, that the temperature is fitted on


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
    problems: Sequence[Problem] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    cache: Cache | None = None,
    devices: int = 1,
) -> Transcriber:
    """Datasets of image and text -> the reader with the best validation CER, kept in the folder `out`.

    `out` is a checkpoint all the time, with history.csv, at the end curve.png, and state.npz from which resume=True
    goes on as if the run had never stopped; one run at a time writes it. Without validation the last reader is kept.
    init is a checkpoint (or hf://owner/name) to start from: its network is kept, its alphabet grows and shrinks to that
    of the training texts. Rows that cannot be learned or, in validation, not be read stop the run (ValueError); with
    skip_bad they are left out and listed in problems.csv, behind the problems that loading the data found. data names
    the training data in the checkpoint; callbacks go to Keras' `fit`. With a cache, images are decoded once for all
    runs. devices shares every batch among so many (JAX, TensorFlow); what is learned stays the same. On several hosts
    (`devices.join`) each calls this alike; the first one writes `out`, which all must see.
    """
    out = Path(out)
    join()
    if devices > 1 or hosts() > 1:
        find(devices)  # what is not there is refused before hours of decoding
    check_writable(out)
    cv2.setNumThreads(1)  # augmentation shares the cores with the network: threads of its own slow both down
    start = Transcriber.load(checkpoint.find(init)) if init is not None else None
    config = start.config if start else model or preset("small")
    read = partial(read_words, height=config.height, cache=cache)
    words = _usable(read(train, fits=_fits(config, training)), "training", skip_bad=skip_bad)
    held = _usable(read(validation), "validation", skip_bad=skip_bad) if validation is not None else None
    with alone(out) if leads() else nullcontext():
        if leads() and (found := [*problems, *words.problems, *(held.problems if held else [])]):
            write_problems(found, out / PROBLEMS)
        with spread(devices):
            reader = _reader(words, config, training, start)
            reader.training = {"data": list(data), "words": len(words), "config": to_json(training)}
            reader.training["init"] = str(init) if start else None
            run = Run(reader, training, out, held, resume=resume)
            _agree(run, words)
            _fit(run, _batches(words, reader, training, run.epoch, devices), callbacks)
        if leads():
            best = _finish(run)
    together(0)  # the others load what the first one has written
    return best if leads() else Transcriber.load(out)


def _agree(run: Run, words: Words) -> None:
    """ValueError where the hosts cannot train as one: each must take the same steps over the same words."""
    if hosts() == 1:
        return
    if run.training.minutes:
        raise ValueError("Several hosts have several clocks; give the end of the run in --epochs, without --minutes.")
    if len(set(together(zlib.crc32(repr((words.texts, run.training, run.epoch)).encode())))) > 1:
        raise ValueError(
            "The hosts came with other words, settings or epochs; give all the same data, command and shared --out."
        )


def _fit(run: Run, batches: Batches, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    learner = _learner(run.reader, run.training, batches.devices)
    try:
        run.restore(learner, steps=len(batches))
        if not run.finished:
            learner.fit(
                batches,
                initial_epoch=run.epoch,
                epochs=run.training.epochs or 1_000_000,
                shuffle=False,  # the batches draw their own order, which a resumed run repeats
                verbose=0,
                callbacks=[run, *callbacks],
            )
    finally:
        batches.close()


def _finish(run: Run) -> Transcriber:
    """The best reader, its confidences calibrated, and the picture of the run beside its history."""
    best = Transcriber.load(run.out)
    if run.validation is not None:
        _calibrate(best, run.validation)
        best.save(run.out)
    rates = [row["cer"] for row in run.history if math.isfinite(row["cer"])]
    if rates:
        picture = io.BytesIO()
        curve(rates, title="validation CER by epoch, %").save(picture, "png")
        checkpoint.write(run.out / CURVE, picture.getvalue())
    return best


def _calibrate(reader: Transcriber, held: Words) -> None:
    """Give the reader the temperature at which its confidences on the validation words mean what they say."""
    # spread over all of them where they are more than one number needs, and more than memory should hold
    rows = range(0, len(held), -(-len(held) // CALIBRATED))
    calibrate(reader, [Ink(floats(held.inks[row]), 0.0, 1.0) for row in rows], [held.texts[row] for row in rows])


def calibrate(reader: Transcriber, images: list, texts: list[str]) -> None:
    """Fit the reader's temperature on images (as `Transcriber.logits` takes them) and what they say."""
    logits = reader.logits(images)
    readings = reader.objective.decode(logits)
    right = [reader.charset.decode(reading.ids) == text for reading, text in zip(readings, texts, strict=True)]
    if any(right) and not all(right):
        reader.temperature = round(fit_temperature(logits, right, decode=reader.objective.decode), 4)


def _fits(config: ModelConfig, training: TrainConfig):
    frames_needed = objectives.get(training.objective, **training.objective_options).frames_needed
    return lambda text, width: config.misfit(text, frames_needed([ord(c) for c in text]), width)


def _usable(words: Words, part: str, *, skip_bad: bool) -> Words:
    """The words as they are, or a ValueError where rows are bad and not to be skipped, or none are left."""
    count = len(words.problems)
    if count and not skip_bad:
        first = "; ".join(str(problem) for problem in words.problems[:3])
        raise ValueError(
            f"{count} of {len(words) + count} {part} rows cannot be used ({first}{' ...' if count > 3 else ''}); "
            "correct them, or leave them out with --skip-bad."
        )
    if not len(words):
        raise ValueError(f"No row of the {part} data can be used; `htr check` names the reasons.")
    return words


def _reader(words: Words, config: ModelConfig, training: TrainConfig, start: Transcriber | None) -> Transcriber:
    """A reader with a fresh network, or with what fits of the one to start from."""
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
    return Transcriber(network, charset, config, training.objective, training.objective_options)


def _batches(words: Words, reader: Transcriber, training: TrainConfig, epoch: int, devices: int) -> Batches:
    return Batches(
        words,
        reader.charset,
        batch_size=training.batch_size,
        config=reader.config,
        frames_needed=reader.objective.frames_needed,
        strength=training.augment,
        seed=training.seed,
        epoch=epoch,
        views=reader.objective.views,
        width_step=64 if keras.backend.backend() == "jax" else 1,
        process=training.workers > 0 and training.augment > 0,
        devices=devices,
    )


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


def _learner(reader: Transcriber, training: TrainConfig, devices: int) -> Learner:
    learner = Learner(reader.model, reader.objective)
    optimizer = (AdamW if devices > 1 else keras.optimizers.AdamW)(
        training.learning_rate, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # XLA makes LSTMs several times slower on the CPU under TensorFlow
    learner.compile(optimizer, jit_compile=keras.backend.backend() == "jax")
    return learner

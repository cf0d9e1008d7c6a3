"""Floor 5: a training run as a Keras callback: learning rate, averaged weights, validation, best, state on disk."""

import csv
import dataclasses
import io
import json
import math
import time
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from htr import checkpoint
from htr.batches import Words, floats
from htr.checkpoint import CheckpointError
from htr.config import TrainConfig, to_json
from htr.devices import apart, hosts, leads, together
from htr.images import Ink
from htr.metrics import edits
from htr.model import build_model
from htr.transcriber import Transcriber

STATE, HISTORY = "state.npz", "history.csv"
EVERY = 8  # steps between two updates of the averaged weights


class Run(keras.callbacks.Callback):
    """What happens around the steps of `fit`. `history` holds one dict an epoch; `last` the readings of validation."""

    def __init__(
        self, reader: Transcriber, training: TrainConfig, out: Path, validation: Words | None, *, resume: bool
    ):
        super().__init__()
        self.reader, self.training, self.out, self.validation = reader, training, out, validation
        self.epoch, self.step, self.elapsed, self.best, self.stale = 0, 0, 0.0, math.inf, 0
        self.history: list[dict] = []
        self.last: list[tuple[str, str]] = []
        self._average: list[np.ndarray] | None = None
        self._twin: keras.Model | None = None
        self._stored = self._read_state() if resume else None
        if self._stored is None and not resume and (out / STATE).exists():
            raise ValueError(f"{out} already holds a run; go on with --resume, or choose another folder.")

    # State: everything that decides what comes next, in one file that is replaced at once

    def _read_state(self) -> dict | None:
        if not (self.out / STATE).exists():
            return None
        arrays = checkpoint.read_arrays(self.out / STATE)
        state = json.loads(str(arrays.pop("state")))
        settings = self._settings()
        # how long a run lasts may be changed; what it computes may not
        free = {"epochs", "minutes", "patience", "workers"}
        begun = {"words": settings["words"]} | state["settings"]  # older states do not know how many there were
        if changed := {k for k in settings if k not in free and begun.get(k) != settings[k]}:
            raise ValueError(
                f"{self.out} was begun with other settings ({', '.join(sorted(changed))}); "
                "resume with the same ones, or start anew in another folder with --init."
            )
        for name in ("epoch", "step", "elapsed", "stale", "history"):
            setattr(self, name, state[name])
        self.best = math.inf if state["best"] is None else state["best"]
        return arrays

    def _settings(self) -> dict:
        words = self.reader.training.get("words")
        return {**to_json(self.training), "alphabet": self.reader.charset.characters, "words": words}

    def restore(self, model: keras.Model, *, steps: int) -> None:
        """Put the stored state into the compiled model that is fitted; steps is the number of batches in an epoch."""
        self.total = (self.training.epochs or 0) * steps
        model.optimizer.build(model.trainable_variables)
        if self._stored is None:
            return
        variables = self._variables(model)
        if len(variables) != sum(name.startswith("v") for name in self._stored):
            raise CheckpointError(f"{self.out / STATE} does not fit the network; start anew in another folder.")
        for i, variable in enumerate(variables):
            variable.assign(self._stored[f"v{i}"])
        if "a0" in self._stored:
            self._average = [self._stored[f"a{i}"].copy() for i in range(len(self.reader.model.weights))]
        self._stored = None
        if leads():
            self._write_history()  # a process killed behind its last state has not written that epoch's row

    @staticmethod
    def _variables(model) -> list:
        # model.variables holds the states of dropout's random seeds too
        return [*model.variables, *model.optimizer.variables]

    def _save_state(self) -> None:
        if not leads():
            return
        names = ("epoch", "step", "elapsed", "stale", "history")
        state = {name: getattr(self, name) for name in names}
        state["best"] = self.best if math.isfinite(self.best) else None
        state["settings"] = self._settings()
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables(self.model))}
        arrays |= {f"a{i}": a for i, a in enumerate(self._average or [])}
        checkpoint.write_arrays(self.out / STATE, arrays | {"state": np.array(json.dumps(state))})
        self._write_history()

    def _write_history(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(self.history[0]))
        writer.writeheader()
        writer.writerows(self.history)
        checkpoint.write(self.out / HISTORY, table.getvalue().encode())

    # Steps

    @property
    def progress(self) -> float:
        """The share of the run that is done, by steps or by minutes, whichever is further."""
        by_steps = self.step / self.total if self.total else 0.0
        by_time = self.seconds / (60 * self.training.minutes) if self.training.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    @property
    def seconds(self) -> float:
        """Seconds of training, over all resumed parts."""
        return self.elapsed + (time.monotonic() - self._begin if hasattr(self, "_begin") else 0.0)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        patience = self.training.patience
        return self.progress >= 1 or (patience is not None and self.stale >= patience)

    def on_train_begin(self, logs=None):
        self._begin = time.monotonic()
        self.model.seconds_before = self.elapsed  # of earlier parts, for whoever tells the time that is left
        self.out.mkdir(parents=True, exist_ok=True)

    def on_train_batch_begin(self, batch, logs=None):
        warmup, done = self.training.warmup, self.progress
        factor = done / warmup if done < warmup else 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # JAX keeps the variables' values to itself within an epoch
        self.model.optimizer.learning_rate.assign(self.training.learning_rate * max(factor, 0.01))

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.training.ema and self.step % EVERY == 0:
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()
            weights = [keras.ops.convert_to_numpy(w) for w in self.reader.model.weights]
            keep = min(self.training.ema**EVERY, self.step / (self.step + 10 * EVERY))  # short runs forget faster
            if self._average is None:
                self._average = [w.copy() for w in weights]
            for average, weight in zip(self._average, weights, strict=True):
                average += (1 - keep) * (weight - average)
        if self.training.minutes and self.progress >= 1:
            self.model.stop_training = True

    # Epochs

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.epoch = epoch + 1
        seconds = time.monotonic() - self._epoch_begin
        row = {"epoch": self.epoch, "step": self.step, "loss": float((logs or {}).get("loss", math.nan))}
        with self._averaged():
            row["cer"] = self._validate()
            if row["cer"] < self.best or self.validation is None:
                self.best, self.stale = row["cer"], 0
                self.reader.training |= {"epoch": self.epoch, "validation_cer": row["cer"]}
                if leads():
                    self.reader.save(self.out)
            else:
                self.stale += 1
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row |= {"learning_rate": rate, "epoch_seconds": round(seconds, 2)}
        self.history.append(row | {"seconds": round(self.seconds, 2)})
        self.elapsed = self.seconds
        self._begin = time.monotonic()
        if self.finished:  # asked before the save, which takes time: what is stored must say the same
            self.model.stop_training = True
        self._save_state()
        if logs is not None:
            logs["cer"] = row["cer"]

    @contextmanager
    def _averaged(self):
        """The model with its averaged weights."""
        if self._average is None:
            yield
            return
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        own = [keras.ops.convert_to_numpy(w).copy() for w in self.reader.model.weights]
        try:
            self._assign(self._average)
            yield
        finally:
            self._assign(own)

    def _assign(self, values) -> None:
        for weight, value in zip(self.reader.model.weights, values, strict=True):
            weight.assign(value)

    def _validate(self) -> float:
        """Corpus CER on the validation words, read the way a user's images are read, on the first host alone."""
        if self.validation is None:
            return math.nan
        if hosts() == 1:
            return self._read(self.reader, self.validation)
        cer = math.nan
        if leads():
            with apart():
                cer = self._read(self._here(), self.validation)
        return together(cer)[0]

    def _here(self) -> Transcriber:
        """The reader as it is now, in a network that no other host has a part in."""
        reader, objective = self.reader, self.reader.objective
        self._twin = self._twin or build_model(reader.config, reader.charset.num_classes)
        for own, weight in zip(self._twin.weights, reader.model.weights, strict=True):
            own.assign(keras.ops.convert_to_numpy(weight))
        return Transcriber(self._twin, reader.charset, reader.config, objective.name, dataclasses.asdict(objective))

    def _read(self, reader: Transcriber, words: Words) -> float:
        # a stream: the words of a large set are in a file, and never all in memory
        inks = (Ink(floats(ink), 0.0, 1.0) for ink in words.inks)
        readings = [word.text for word in reader.stream(inks)]  # type: ignore[union-attr]  # no Ink is unreadable
        self.last = list(zip(words.texts, readings, strict=True))
        self.model.readings = self.last  # for other callbacks to show; Keras' logs hold numbers alone
        return sum(edits(*pair) for pair in self.last) / sum(len(text) for text in words.texts)

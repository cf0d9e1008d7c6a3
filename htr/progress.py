"""Floor 6: the progress of training on the terminal: share done, loss, words a second, time left, a few readings."""

import shutil
import sys
import time

import keras
from tqdm import tqdm

from htr.config import TrainConfig

_MARGIN = 11  # characters before the readings: they stand under the figures of their epoch


class Progress(keras.callbacks.Callback):
    """A bar over the whole run on standard error, and a line for every epoch, which stays where the bar is hidden."""

    def __init__(self, training: TrainConfig):
        super().__init__()
        self.training = training
        self.words, self.rate = 0, 0.0
        self.bar: tqdm | None = None
        self.first: tuple[float, float] | None = None  # time and share when the first step was done

    def on_train_begin(self, logs=None):
        self.begin = time.monotonic() - getattr(self.model, "seconds_before", 0.0)
        layout = "{bar} {n:3.0f} %  {desc}"
        self.bar = tqdm(total=100, bar_format=layout, disable=None, leave=False, dynamic_ncols=True)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.words, self.epoch_begin = epoch, 0, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        share = self._share(batch + 1)
        if self.first is None:  # the first step builds the network's graph, which says nothing about those to come
            self.epoch_begin = time.monotonic()
            self.first = self.epoch_begin, share
        else:
            self.words += self.training.batch_size
            self.rate = self.words / max(time.monotonic() - self.epoch_begin, 1e-3)
        self.bar.n = 100 * share
        loss = (logs or {}).get("loss", float("nan"))
        self.bar.set_description_str(f"epoch {self.epoch + 1}, loss {loss:.3f}{self._pace(share, ', ')}", refresh=False)
        self.bar.update(0)

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        text = f"epoch {epoch + 1:3}  loss {logs.get('loss', float('nan')):7.3f}"
        if "cer" in logs:
            text += f"  validation CER {100 * logs['cer']:6.2f} %"
        text += self._pace(self._share(0, epoch + 1), "  ")
        if shown := side_by_side(examples(self.model), shutil.get_terminal_size((100, 24)).columns - _MARGIN):
            text += "\n" + " " * _MARGIN + shown
        tqdm.write(text, file=sys.stderr)

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Take the bar away, also where a run was stopped, so that what is said of it has a line of its own."""
        if self.bar is not None:
            self.bar.close()

    def _share(self, steps: int, epoch: int | None = None) -> float:
        """How much of the run is done, by steps or by minutes, whichever is further."""
        shares = [0.0]
        if self.training.epochs and self.params.get("steps"):
            done = (self.epoch if epoch is None else epoch) + steps / self.params["steps"]
            shares.append(done / self.training.epochs)
        if self.training.minutes:
            shares.append((time.monotonic() - self.begin) / (60 * self.training.minutes))
        return min(1.0, max(shares))

    def _pace(self, share: float, before: str) -> str:
        """Words a second and time left, each after `before`; nothing until a second step was done."""
        if self.first is None or not self.rate or share <= self.first[1]:
            return ""
        left = (time.monotonic() - self.first[0]) * (1 - share) / (share - self.first[1])
        return f"{before}{self.rate:,.0f} words/s{before}{tqdm.format_interval(left)} left"


def side_by_side(pairs: list[tuple[str, str]], width: int) -> str:
    """References and readings -> one line, as many as `width` characters hold; they stay in place as readings grow."""
    line = ""
    for text, reading in pairs:
        cell = f"{text} -> {reading or '(nothing)'}".ljust(2 * max(len(text), 9) + 7)
        if line and len(line) + len(cell.rstrip()) > width:
            break
        line += cell
    return line.rstrip()


def examples(model, count: int = 3) -> list[tuple[str, str]]:
    """The same few validation words every epoch, each with its last reading; none before the first validation."""
    readings = getattr(model, "readings", [])
    step = max(1, -(-len(readings) // count))
    return readings[step // 2 :: step]

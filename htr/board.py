"""Floor 7: a training run in TensorBoard (extra `tensorboard`): its rates, and sample words with their readings."""

from pathlib import Path

import keras

from htr.progress import examples

SAMPLES = 12


class Board(keras.callbacks.Callback):
    """Writes loss, validation CER, learning rate and a table of readings for every epoch; any backend.

    folder: where TensorBoard looks, `tensorboard --logdir FOLDER`. ValueError where tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        super().__init__()
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError(
                "TensorBoard files need tensorboardX; install it with pip install 'htr-words[tensorboard]'."
            ) from None
        self._writer = SummaryWriter(str(folder))

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        rates = {name: logs[name] for name in ("loss", "cer") if name in logs}
        rates["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        for name, rate in rates.items():
            self._writer.add_scalar(name, rate, epoch + 1)
        if shown := examples(self.model, SAMPLES):
            rows = [f"| {text} | {reading} |" for text, reading in shown]
            self._writer.add_text("readings", "\n".join(["| reference | reading |", "| --- | --- |", *rows]), epoch + 1)
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()

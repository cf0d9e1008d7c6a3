"""Long runs: `python -m tests.soaking words --count 200000`, `epochs --count 50`, `restart --times 10 --pause 0.5`.

The first two say what this process (and those that augment for it) holds of memory and of open files, and fail where it
grows; the third stops the server of `htr demo` under load and starts it again, and fails where an answer is lost.
"""

import argparse
import collections
import functools
import http.client
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import loading, serving
from tests.crashing import processes

GROWTH = 0.03  # by which the memory of the last quarter may exceed that of the second one; medians
LONG_GROWTH = 0.025  # of many words: what the widest batches need is in their memory from the first
RENDERED = 2000  # words on disk, which are read over and over


class Level(NamedTuple):
    """After so many words or epochs: MB of memory that no file stands for, and open files."""

    done: int
    memory: float
    handles: int

    def __str__(self) -> str:
        return f"{self.done:>9,} {self.memory:8.1f} MB {self.handles:4} open files"


def level(done: int) -> Level:
    """This process and its children now."""
    own = os.getpid()
    family = [own, *(pid for pid, (state, parent) in processes().items() if parent == own and state != "Z")]
    memory, handles = 0.0, 0
    for pid in family:
        try:
            memory, handles = memory + serving.anonymous(pid), handles + len(os.listdir(f"/proc/{pid}/fd"))
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return Level(done, memory, handles)


def growth(levels: Sequence[Level]) -> float:
    """The share by which memory grew from the second quarter to the last; what a run needs at first is no growth."""
    quarter = max(1, len(levels) // 4)
    early, late = levels[quarter : 2 * quarter], levels[-quarter:]
    return statistics.median(each.memory for each in late) / statistics.median(each.memory for each in early) - 1


def more_handles(levels: Sequence[Level]) -> int:
    """By how many open files the last quarter exceeds the second one: the fewest of each, images are being opened."""
    quarter = max(1, len(levels) // 4)
    early, late = levels[quarter : 2 * quarter], levels[-quarter:]
    return min(each.handles for each in late) - min(each.handles for each in early)


_say = functools.partial(print, flush=True)  # a long run is watched


# --- words


def words(count: int, folder: Path, *, every: int = 10_000, rendered: int = RENDERED, batch_size: int = 64) -> list:
    """Levels while the shipped reader transcribes so many words from files, in one stream.

    What is held at once grows with the batch: a short run needs small ones to come to its most early.
    """
    import htr
    from htr import images, synth
    from htr.padding import pad_images

    paths = []
    for number, word in enumerate(synth.words(rendered, seed=7)):
        paths.append(folder / f"{number}.png")
        paths[-1].write_bytes(word["image"])
    levels = []
    reader = htr.load(engine="onnx")
    # ONNX Runtime keeps what batches that meet by chance have needed at once, and hours may pass before the widest of
    # all meet: they do so here, before anything is measured
    widest = max((images.to_ink(path, reader.config.height).pixels for path in paths), key=lambda ink: ink.shape[1])
    for _ in reader.engine.run([pad_images([widest] * batch_size)] * 4):
        pass
    read = reader.stream(itertools.islice(itertools.cycle(paths), count), batch_size=batch_size)
    first: list[str] = []
    for done, word in enumerate(read, 1):
        if done <= rendered:
            first.append(word.text)
        assert word.text == first[(done - 1) % rendered], f"word {done} is read otherwise than before"
        if done % every == 0:
            levels.append(level(done))
            _say(levels[-1])
    assert done == count
    return levels


# --- epochs


def epochs(count: int, folder: Path, *, size: int = 240, told: Callable = _say) -> list:
    """Levels after each epoch of a small training run, with two processes that augment."""
    import keras

    import htr
    from htr import batches
    from htr.config import ModelConfig, TrainConfig
    from tests.toy import toy_dataset

    levels: list[Level] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            levels.append(level(epoch + 1))
            told(levels[-1])

    batches.PROCESSES = 2
    network = ModelConfig(height=32, blocks=((8, 4, 2, 1), (16, 2, 1, 1)), columns=32, recurrent=(32,), dropout=0.1)
    settings = TrainConfig(epochs=count, batch_size=16, augment=0.7)
    train, held = toy_dataset(size), toy_dataset(40, seed=5)
    htr.train(train, held, out=folder / "run", model=network, training=settings, callbacks=[Watch()])
    assert len(levels) == count
    return levels


# --- restart


class Restarts(NamedTuple):
    """What became of the requests. notes: each one's line of the record; unread: words that nobody got in the end."""

    notes: list[dict]
    unread: list[str]
    codes: list[int]
    seconds: list[float]

    @property
    def wrong(self) -> list[dict]:
        """Answers that are not the word's, or only a part of one."""
        return [note for note in self.notes if note["outcome"] in ("wrong", "half")]

    def __str__(self) -> str:
        outcomes = collections.Counter(note["outcome"] for note in self.notes)
        return (
            f"{len(self.codes)} stops, exit codes {sorted(set(self.codes))}, each within {max(self.seconds):.1f} s\n"
            f"requests: {', '.join(f'{count} {outcome}' for outcome, count in sorted(outcomes.items()))}; "
            f"{len(self.unread)} words unread in the end"
        )


def _outcome(port: int, word: loading.Word) -> str:
    """What comes of one request on a connection of its own."""
    connection = http.client.HTTPConnection(serving.HOST, port, timeout=120)
    try:
        connection.request("POST", "/read", word.image)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException):  # refused, or closed without an answer
        return "closed"
    try:
        told = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return "half"
    finally:
        connection.close()
    if answer.status != 200:
        return str(answer.status)
    return "wrong" if loading.verdict(word, told) else "right"


def restart(times: int, folder: Path, *, clients: int = 8, each: int = 20, pause: float = 0) -> Restarts:
    """Clients note what they get, each word tried until it is read, while the server is stopped and started again.

    pause: s between two requests of a client.
    """
    known = loading.words()
    server = serving.Server(folder)
    port, lock, stopping = server.port, threading.Lock(), threading.Event()
    unread = {word.text for word in known[: clients * each]}
    record = folder / "record.jsonl"

    def ask(own: list[loading.Word]) -> None:
        waiting, deadline = list(own), time.monotonic() + 600 + 120 * times
        while (waiting or stopping.is_set()) and time.monotonic() < deadline:
            word = waiting[0] if waiting else random.choice(own)
            outcome = _outcome(port, word)
            with lock, open(record, "a", encoding="utf-8") as file:
                file.write(json.dumps({"word": word.text, "outcome": outcome}) + "\n")
                if outcome == "right":
                    unread.discard(word.text)
            time.sleep(pause)
            if outcome == "right":
                waiting = waiting[1:]
            elif outcome in ("closed", "503"):
                time.sleep(0.1)

    stopping.set()
    threads = [threading.Thread(target=ask, args=(known[i * each : (i + 1) * each],)) for i in range(clients)]
    for thread in threads:
        thread.start()
    codes, seconds = [], []
    try:
        for _ in range(times):
            time.sleep(random.uniform(0.5, 2))
            begin = time.monotonic()
            codes.append(server.stop())
            seconds.append(time.monotonic() - begin)
            server = serving.Server(folder, port)
    finally:
        stopping.clear()
        for thread in threads:
            thread.join()
        server.stop()
    assert "Traceback" not in server.complaints, server.complaints
    notes = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return Restarts(notes, sorted(unread), codes, seconds)


def in_flight(folder: Path, count: int = 12) -> int:
    """Requests that the server has begun to take when it is told to stop -> how many of them it answers, rightly."""
    known = loading.words(count)[:count]
    server = serving.Server(folder)
    talks = [serving.connect(server.port) for _ in known]
    for talk, word in zip(talks, known, strict=True):
        lines = f"Content-Length: {len(word.image)}", "Expect: 100-continue"
        talk.sendall(serving.head("/read", *lines))
    for talk in talks:
        assert talk.recv(100).startswith(b"HTTP/1.1 100")  # it is there, and waited for
    for talk, word in zip(talks, known, strict=True):
        talk.sendall(word.image)
    server.stop()
    right = 0
    for talk, word in zip(talks, known, strict=True):
        status, told = serving.answer(talk)
        right += status == 200 and loading.verdict(word, json.loads(told)) is None
        talk.close()
    return right


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=["words", "epochs", "restart"])
    options.add_argument("--count", type=int, default=None, help="words (200,000) or epochs (50)")
    options.add_argument("--times", type=int, default=10, help="restarts")
    options.add_argument("--pause", type=float, default=0, help="seconds between two requests of a client")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.what == "restart":
            told = restart(args.times, folder, pause=args.pause)
            (folder / "last").mkdir()
            right = in_flight(folder / "last")
            print(f"{told}\nin flight at SIGTERM: {right} of 12 answered")
            return int(bool(told.wrong or told.unread or right < 12))
        if args.what == "words":
            levels = words(args.count or 200_000, folder, every=max(1, min(10_000, (args.count or 200_000) // 8)))
        else:
            levels = epochs(args.count or 50, folder)
        bound = LONG_GROWTH if args.what == "words" else GROWTH
        print(f"memory grew by {100 * growth(levels):.1f} %, open files by {more_handles(levels)}")
        return int(growth(levels) > bound or more_handles(levels) > 0)


if __name__ == "__main__":
    sys.exit(main())

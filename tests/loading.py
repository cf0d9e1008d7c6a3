"""The server of `htr demo` under load and abuse: clients that check each answer, and others who do what they can.

`python -m tests.loading --clients 50 --seconds 120` starts the real command and prints what came of it. Nothing of htr
is replaced: clients and abusers are sockets on loopback.
"""

import argparse
import collections
import functools
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from htr import demo, synth
from htr.report_parts import escape
from tests import abusing
from tests.serving import HOST, ROOT, Server, ask, multipart, serving

WORDS = 240  # different ones that the clients send, in all


@dataclass(frozen=True)
class Word:
    """An image and what it reads as: taken beforehand, from a reader in this process."""

    image: bytes
    text: str
    confidence: float


@functools.cache
def words(count: int = WORDS) -> list[Word]:
    """Rendered words, and those of docs/samples, with their readings; each text once: a swapped answer is seen."""
    reader = demo.Desk(engine="onnx").reader()
    images = [Path(file).read_bytes() for file, _ in demo.samples()]
    images += [word["image"] for word in synth.words(count, seed=31, strength=0.3)]
    found: dict[str, Word] = {}
    for image in images:
        read = reader.transcribe(image)
        found.setdefault(read.text, Word(image, read.text, read.confidence))
    return list(found.values())


# --- those who want their words read


@dataclass
class Record:
    """What came of the requests. events: of the abusers, and what they got, with how often."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    told_to_wait: int = 0
    events: collections.Counter = field(default_factory=collections.Counter)

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def verdict(word: Word, told: dict) -> str | None:
    """What is wrong with an answer, None where it is the word's."""
    right = told["text"] == word.text and abs(told["confidence"] - word.confidence) < 1e-3
    whole = "".join(c["character"] for c in told["characters"]) == word.text
    return None if right and whole else f"{word.text!r} ({word.confidence:.4f}) was answered {told}"


def client(port: int, own: list[Word], ends: Callable[[], bool], record: Record) -> None:
    """One word after the other on one connection, each answer held against the word."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    turn = 0
    while not ends():
        word, turn, begin = own[turn % len(own)], turn + 1, time.monotonic()
        try:
            connection.request("POST", "/read", word.image)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            record.errors.append(repr(error))
            connection.close()
            continue
        if answer.status == 503:
            record.told_to_wait += 1
            time.sleep(float(answer.headers["Retry-After"]))
        elif answer.status != 200:
            record.errors.append(f"{answer.status}: {told}")
        else:
            record.seconds.append(time.monotonic() - begin)
            if found := verdict(word, told):
                record.wrong.append(found)
    connection.close()


def visitor(port: int, own: list[Word], ends: Callable[[], bool], record: Record) -> None:
    """The page, as a browser asks for it: its parts, an upload, and the events of what it shows."""
    config = json.loads(ask(port, "GET", "/config")[1])
    picture = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "picture")
    number = next(d["id"] for d in config["dependencies"] if [picture, "change"] in d["targets"])
    turn = 0
    while not ends():
        word, turn = own[turn % len(own)], turn + 1
        session = f"visit{turn}"
        try:
            if ask(port, "GET", "/")[0] != 200:
                record.errors.append("the page does not come")
            body, kind = multipart([("word.png", word.image)])
            (path,) = json.loads(ask(port, "POST", "/gradio_api/upload", body, kind)[1])
            file = {"path": path, "orig_name": "word.png", "meta": {"_type": "gradio.FileData"}}
            event = {"data": [file, None, None, ""], "fn_index": number, "session_hash": session}
            joined = ask(port, "POST", "/gradio_api/queue/join", json.dumps(event).encode(), "application/json")
            shown = ask(port, "GET", f"/gradio_api/queue/data?session_hash={session}")[1].decode()
            if f'data-text=\\"{escape(word.text)}\\"' not in shown:
                record.wrong.append(f"the page shows {word.text!r} as {joined} {shown[:600]}")
            record.events["page: shown"] += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            record.errors.append(f"page: {error!r}")
        time.sleep(0.3)


# --- those who do not


def abuser(
    port: int, does: Callable[[int, bytes], str], image: bytes, ends: Callable[[], bool], record: Record
) -> None:
    """The same again and again, once at least."""
    while True:
        try:
            record.events[f"{does.__name__}: {does(port, image)}"] += 1
        except AssertionError as error:
            record.errors.append(f"{does.__name__}: {error}")
        except OSError as error:
            record.errors.append(f"{does.__name__}: {error!r}")
        if ends():
            return
        time.sleep(0.25)  # as many as there is time for would be a test of the machine, not of the server


# --- together


@dataclass
class Load:
    """What came of it. memory: MB of the server before, at most and after; handles: before and after."""

    record: Record
    seconds: float
    memory: tuple[float, float, float]
    handles: tuple[int, int]
    stray: list[str]

    def __str__(self) -> str:
        r = self.record
        lines = [f"{event}, {count:,} times" for event, count in sorted(r.events.items())]
        lines += [f"wrong: {each}" for each in r.wrong[:5]] + [f"error: {each}" for each in r.errors[:10]]
        lines += [
            f"{len(r.seconds):,} answers in {self.seconds:.0f} s, {len(r.wrong)} wrong, {len(r.errors)} errors, "
            f"{r.told_to_wait} told to wait",
            f"median {1000 * r.percentile(0.5):.0f} ms, 95th percentile {1000 * r.percentile(0.95):.0f} ms, "
            f"longest {1000 * max(r.seconds):.0f} ms",
            "memory of the server before, at most, after: {:.0f}, {:.0f}, {:.0f} MB".format(*self.memory),
            "open handles before, after: {}, {}".format(*self.handles),
            f"files left or outside the folder of uploads: {self.stray or 'none'}",
        ]
        return "\n".join(lines)


def load(server: Server, known: list[Word], *, clients: int, seconds: float, abusers: bool = True) -> Load:
    """Clients, a visitor of the page and, with abusers, every kind of them, all at once."""
    record, peak = Record(), [0.0]
    image = max((word.image for word in known), key=len)
    for word in known[:8]:  # what is allocated once is allocated
        ask(server.port, "POST", "/read", word.image)
    ask(server.port, "GET", "/")
    before, handles = server.memory(), server.handles()
    begin = time.monotonic()

    def ends() -> bool:
        return time.monotonic() > begin + seconds

    threads = [
        threading.Thread(target=client, args=(server.port, known[i::clients], ends, record)) for i in range(clients)
    ]
    threads.append(threading.Thread(target=visitor, args=(server.port, known[::7], ends, record)))
    kinds = [*abusing.QUICK, *abusing.SLOW] if abusers else []
    threads += [threading.Thread(target=abuser, args=(server.port, does, image, ends, record)) for does in kinds]
    for thread in threads:
        thread.start()
    took = 0.0
    while any(thread.is_alive() for thread in threads):
        peak[0] = max(peak[0], server.memory())
        took = took or (time.monotonic() - begin if ends() else 0.0)
        time.sleep(0.2)
    after = settled(server, handles)
    stray = sorted(str(path.relative_to(server.temporary)) for path in partial(server))
    # Gradio keeps the file of an upload that it refuses for the name ".."; the gate clears it away in two hours
    stray = stray if len(stray) > record.events["tricks_in_names: kept inside"] else []
    stray += [str(path) for place in (ROOT, Path("/"), Path.cwd()) for path in place.glob(f"*{abusing.STRAY}*")]
    return Load(record, took, (before, peak[0], server.memory()), (handles, after), stray)


def partial(server: Server) -> list[Path]:
    """Files that an upload which came to nothing has left, and any that lie where none belong."""
    kept = {path for path in server.temporary.glob("htr-demo-*/*/*") if path.is_file()}
    return [path for path in server.temporary.rglob("*") if path.is_file() and path not in kept]


def settled(server: Server, most: int, seconds: float = 45) -> int:
    """Its open handles when they are no more than so many, or after all: connections are closed a while after use."""
    deadline = time.monotonic() + seconds
    while server.handles() > most and time.monotonic() < deadline:
        time.sleep(0.25)
    return server.handles()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--alone", action="store_true", help="without abusers")
    args = options.parse_args()
    known = words()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        told = load(server, known, clients=args.clients, seconds=args.seconds, abusers=not args.alone)
        print(f"{args.clients} clients, {len(known)} words\n{told}")
        code = server.stop()
        print(f"exit code {code}, complaints: {server.complaints or 'none'}")
        print(f"left in its temporary folder: {[path.name for path in server.temporary.iterdir()] or 'nothing'}")
    return int(bool(told.record.wrong or told.record.errors or told.stray))


if __name__ == "__main__":
    sys.exit(main())

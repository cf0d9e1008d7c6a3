"""Training runs to be killed: one process imports all that is heavy, and forks a run for every line it is told.

A run is the command `htr` in a process of its own, with two feeders of its own, on a network smaller than any preset.
The line says what the operating system does to it: at which write, fsync or rename of a save it dies, how large its
files may get, and that it obeys permissions though it is root's. Nothing of htr is replaced but the network's size.
"""

import builtins
import ctypes
import io
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAVED = "rename history.csv"  # the last call of the save of an epoch
PATIENCE = 600  # s: what a run may take on a busy machine before it counts as hanging
CAP_DAC_OVERRIDE = 1 << 1  # root's right to write where permissions forbid it


# --- in the process that is killed


class _File(io.FileIO):
    """A file whose first write may be the last thing that the process does, with half of it written."""

    def __init__(self, path, happens: Callable):
        super().__init__(path, "w")
        self._happens, self._path = happens, path

    def write(self, data) -> int:
        if self._happens:
            self._happens("write", self._path, lambda: super(_File, self).write(memoryview(data)[: len(data) // 2]))
        self._happens = None
        return super().write(data)


def _watch(trace: str, die_at: int | None) -> None:
    """Write every write, fsync and rename of a save into the file trace, and die at number die_at of them."""
    opened, fsync, replace = builtins.open, os.fsync, os.replace
    count, handle = 0, os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def happens(what: str, path, before: Callable = lambda: None) -> None:
        nonlocal count
        count += 1
        name = re.sub(r"\.\d+\.partial", "", Path(path).name).lstrip(".")
        os.write(handle, f"{what} {name}\n".encode())
        if count == die_at:
            before()
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_open(file, mode="r", *args, **options):
        saves = mode == "wb" and ".partial" in str(file)
        return io.BufferedWriter(_File(file, happens)) if saves else opened(file, mode, *args, **options)

    def watched_fsync(file):
        happens("fsync", os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def watched_replace(source, target, **options):
        happens("rename", target)
        replace(source, target, **options)

    builtins.open, os.fsync, os.replace = watched_open, watched_fsync, watched_replace


def _obey() -> None:
    """Root without its right to write where a folder's permissions forbid it; of another user nothing is taken."""
    system = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    system.capget(header, sets)
    sets[0] &= ~CAP_DAC_OVERRIDE  # those in effect
    sets[1] &= ~CAP_DAC_OVERRIDE  # those that may be, which access() goes by
    system.capset(header, sets)


def _become(order: dict) -> None:
    """The forked process as the run that the order asks for."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(os.open(order["told"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    # tests in the background of a shell ignore Ctrl+C, and what they start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _watch(order["trace"], order["die_at"])
    if order["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"],) * 2)
    if order["obedient"]:
        _obey()


def serve() -> None:
    """A run for every line of JSON on standard input; its process id and its exit code are the answer."""
    import datasets  # noqa: F401
    import tensorflow  # noqa: F401

    import htr.cli_train
    import htr.training  # noqa: F401
    from htr import batches, cli, config

    batches.PROCESSES = 2
    config.PRESETS["tiny"] = config.ModelConfig(
        height=32, blocks=((8, 4, 2, 1), (16, 2, 1, 1)), columns=32, recurrent=(32,), dropout=0.1
    )
    print("ready", flush=True)
    while line := sys.stdin.readline():
        order = json.loads(line)
        if not (run := os.fork()):
            _become(order)
            sys.argv[1:] = order["command"]
            sys.exit(cli.main())
        print(run, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]), flush=True)


# --- in the tests


class Run:
    """A run that was begun: its process, what it told (both streams), and the calls of its saves so far."""

    def __init__(self, server: "Server", pid: int, folder: Path):
        self.server, self.pid, self.code = server, pid, None
        self._told, self._trace = folder / "told", folder / "trace"

    @property
    def told(self) -> str:
        return self._told.read_text(encoding="utf-8", errors="replace") if self._told.exists() else ""

    @property
    def trace(self) -> list[str]:
        return self._trace.read_text(encoding="utf-8").splitlines() if self._trace.exists() else []

    @property
    def epochs(self) -> int:
        """Epochs that this process saved."""
        return self.trace.count("rename state.npz")

    def ended(self, seconds: float) -> bool:
        """Whether the run ends within so many seconds."""
        if self.code is None:
            self.code = self.server.answer(seconds)
        return self.code is not None

    def until(self, holds: Callable[[], bool]) -> bool:
        """Wait for something; False where the run is over before."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if self.ended(0.01):
                return False
            if time.monotonic() > deadline:
                self.fail("waited in vain")
        return True

    def result(self) -> int:
        """The exit code, when it is over; below 0 the signal that ended it."""
        if not self.ended(PATIENCE):
            self.fail("does not end")
        return self.code

    def fail(self, how: str) -> None:
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"{how}: {self.told}")

    def kill(self, how=signal.SIGKILL) -> None:
        os.kill(self.pid, how)

    def feeders(self) -> list[int]:
        """The processes that the run has started."""
        return [pid for pid, (state, parent) in processes().items() if parent == self.pid and state != "Z"]


class Server:
    """The process that forks runs; one at a time. `folder` gets what they tell."""

    def __init__(self, folder: Path):
        self.folder, self.count, self._left = folder, 0, b""
        self._last: Run | None = None
        with open(folder / "server", "wb") as chatter:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from tests.crashing import serve; serve()"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=chatter,
                bufsize=0,
                env=os.environ
                | {
                    "HTR_CACHE": "off",
                    "KERAS_BACKEND": "tensorflow",
                    "TF_DETERMINISTIC_OPS": "1",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "CUDA_VISIBLE_DEVICES": "",
                },
            )
        assert self.answer() == 0, "the process does not come up"

    def answer(self, seconds: float = PATIENCE) -> int | None:
        """The next number that the process says, 0 for "ready"; None where it says none in that time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._left:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, (self.folder / "server").read_text(encoding="utf-8", errors="replace")
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        return 0 if line == b"ready" else int(line)

    def begin(
        self, *command: str, die_at: int | None = None, largest: int | None = None, obedient: bool = False
    ) -> Run:
        """Begin `htr` with these arguments. largest: bytes that a file may have."""
        if self._last and not self._last.ended(0):  # of a test that has failed
            self._last.kill()
            self._last.result()
        self.count += 1
        place = self.folder / str(self.count)
        place.mkdir()
        order = {"command": command, "die_at": die_at, "largest": largest, "obedient": obedient}
        order |= {"told": str(place / "told"), "trace": str(place / "trace")}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        assert (pid := self.answer()) is not None, "no run could be begun"
        self._last = Run(self, pid, place)
        return self._last

    def close(self) -> None:
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def processes() -> dict[int, tuple[str, int]]:
    """The state and the parent of every process."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it is over
            continue
        found[int(place.name)] = (fields[0], int(fields[1]))
    return found


def gone(pids: list[int], seconds: float = 120) -> bool:
    """Whether these processes end within so many seconds."""
    deadline = time.monotonic() + seconds
    while any(state != "Z" for pid, (state, _) in processes().items() if pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True

"""The server of `htr demo` as a process of its own, and how to talk to it: in HTTP, or byte by byte."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
LATE = 40  # s after which a server that lets itself be held up counts as held up


class Server:
    """`htr demo` as a process of its own. `complaints` is what it wrote to standard error."""

    def __init__(self, folder: Path, port: int = 0):
        self.errors = folder / "errors.txt"
        # a folder of its own for uploads, to see whether any file is made elsewhere or stays behind
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "htr", "demo", "--engine", "onnx", "--port", str(port)]
        with open(self.errors, "a", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(self.temporary)},
            )
        line = self.process.stdout.readline()
        assert line, self.complaints
        self.port = int(re.search(r":(\d+) ", line)[1])

    @property
    def complaints(self) -> str:
        return self.errors.read_text(encoding="utf-8", errors="replace")

    def memory(self) -> float:
        """MB that are its own and in use now."""
        return anonymous(self.process.pid)

    def handles(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, how=signal.SIGTERM) -> int:
        """-> its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


def anonymous(pid: int | str = "self") -> float:
    """MB of a process that no file stands for: what it has allocated and touched."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return int(re.search(r"^Anonymous:\s+(\d+)", rollup, re.MULTILINE)[1]) / 1024


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def ask(port: int, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
    """-> status and body."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=120)) as connection:
        connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def multipart(files: list[tuple[str | bytes, bytes]]) -> tuple[bytes, str]:
    """(name, content) of files -> a body as a browser makes it, and its content type."""
    body = b""
    for name, content in files:
        raw = name if isinstance(name, bytes) else name.encode()
        body += b'--edge\r\nContent-Disposition: form-data; name="files"; filename="' + raw + b'"\r\n'
        body += b"Content-Type: image/png\r\n\r\n" + content + b"\r\n"
    return body + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=LATE)


def head(path: str | bytes, *lines: str, method: str = "POST") -> bytes:
    """The head of a request."""
    raw = path if isinstance(path, bytes) else path.encode()
    return (
        method.encode()
        + b" "
        + raw
        + b" HTTP/1.1\r\nHost: x\r\n"
        + "".join(f"{o}\r\n" for o in lines).encode()
        + b"\r\n"
    )


def answer(talk: socket.socket) -> tuple[int, bytes]:
    """The status and the body of an answer, up to where the server closes or its length is reached; 0 for none."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := talk.recv(65536):
            data += piece
            top, _, rest = data.partition(b"\r\n\r\n")
            if b"content-length: " in top.lower():
                if len(rest) >= int(top.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
                    break
    return (int(data[9:12]), data.partition(b"\r\n\r\n")[2]) if data else (0, b"")


def push(talk: socket.socket, data: bytes) -> bool:
    """Whether all of it could be sent."""
    try:
        talk.sendall(data)
    except OSError:
        return False
    return True

"""What clients do to a server out of haste, by mistake or by design. Each function does it once, to a server at a port.

Each says in a word what it got; a server that does anything but what may be expected fails an assertion.
"""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from htr import demo, demo_gate
from tests.serving import LATE, answer, connect, head, push

STRAY = "htr-stray"  # in the name of every file that nobody may find outside the folder of uploads
UPLOAD = "Content-Type: multipart/form-data; boundary=edge"
SYSTEM = b"/etc/passwd", b"../../../etc/passwd", b"%2e%2e/%2e%2e/etc/passwd", b"%00", b"\xff\xfe", b"/dev/zero"
QUERIES = b"checkpoint=../../etc", b"checkpoint=%00", b"engine=%2e%2e", b"top=%ff", b"top=\xff", b"top=9" * 500
_CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"


def refused(talk: socket.socket, *statuses: int) -> str:
    """The status of an answer that must be one of these, with a sentence in it."""
    status, body = answer(talk)
    assert status in statuses, (status, body[:300])
    if status:
        assert json.loads(body)["error"].endswith("."), body[:300]
    return str(status)


# --- too much


def too_large(port: int, image: bytes) -> str:
    with connect(port) as talk:
        push(talk, head("/read", f"Content-Length: {demo.MAX_BYTES + 1}"))
        push(talk, bytes(demo.MAX_BYTES + 1))
        return refused(talk, 413, 503)


def endless(port: int, image: bytes) -> str:
    """Chunks without an end."""
    with connect(port) as talk:
        push(talk, head("/read", "Transfer-Encoding: chunked"))
        begin = time.monotonic()
        while push(talk, _CHUNK):
            assert time.monotonic() < begin + 4 * LATE, "it takes whatever comes"
        status, _ = answer(talk)  # it may be lost, where the connection was reset while we went on
        assert status in (0, 413, 503), status
        return str(status)


def heavy_message(port: int, image: bytes) -> str:
    """JSON of many MB where the page sends a word or two."""
    size = demo_gate.LIMITS[demo_gate.OTHER] + 1
    with connect(port) as talk:
        push(talk, head("/gradio_api/queue/join", "Content-Type: application/json", f"Content-Length: {size}"))
        push(talk, b'{"data": ["' + b"x" * (size - 11))
        return refused(talk, 413, 503)


def many_large(port: int, image: bytes) -> str:
    """Large bodies at once, which stop before their end: together they may not have more than there is room for."""
    with contextlib.ExitStack() as stack:
        talks = [stack.enter_context(connect(port)) for _ in range(6)]
        for talk in talks:
            push(talk, head("/read", f"Content-Length: {demo.MAX_BYTES}") + bytes(demo.MAX_BYTES - 1000))
        for talk in talks:
            refused(talk, 0, 408, 503)  # 0: the answer is lost where we still send
        return "408 or 503"


# --- too slowly


def slow_body(port: int, image: bytes) -> str:
    """A chunk of one byte a second."""
    with connect(port) as talk:
        push(talk, head("/read", "Transfer-Encoding: chunked"))
        begin, talk_timeout = time.monotonic(), 1
        talk.settimeout(talk_timeout)
        while time.monotonic() < begin + LATE:
            push(talk, b"1\r\nx\r\n")
            with contextlib.suppress(TimeoutError):
                return refused(talk, 408)
        raise AssertionError("a slow body is waited for without an end")


def slow_upload(port: int, image: bytes) -> str:
    with connect(port) as talk:
        push(talk, head("/gradio_api/upload", UPLOAD, "Content-Length: 9999"))
        push(talk, b'--edge\r\nContent-Disposition: form-data; name="files"; filename="slow.png"\r\n\r\n' + image[:100])
        return refused(talk, 408)


def slow_head(port: int, image: bytes) -> str:
    """A request that does not get as far as saying what it wants."""
    with connect(port) as talk:
        begin = time.monotonic()
        talk.settimeout(1)
        for byte in b"POST /read HTTP/1.1\r\nHost: " + b"x" * 200:
            if not push(talk, bytes([byte])):
                return "closed"
            with contextlib.suppress(TimeoutError, ConnectionError):
                if talk.recv(1) == b"":
                    return "closed"
            assert time.monotonic() < begin + LATE, "a slow head is waited for without an end"
        raise AssertionError("a slow head is waited for without an end")


def silent(port: int, image: bytes) -> str:
    with connect(port) as talk:
        assert talk.recv(1) == b""
        return "closed"


def takes_nothing(port: int, image: bytes) -> str:
    """Asks for the page over and over, and takes none of it."""
    with connect(port) as talk:
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk.settimeout(LATE)
        push(talk, head("/", method="GET") * 40)
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < begin + LATE:
                time.sleep(1)
                talk.send(b"\r\n")
            raise AssertionError("what nobody takes is kept for ever")
        return "closed"


# --- leaving


def _reset(talk: socket.socket) -> None:
    """Close without a farewell."""
    talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.close()


def leaves_in_the_body(port: int, image: bytes) -> str:
    talk = connect(port)
    push(talk, head("/read", f"Content-Length: {len(image)}") + image[: len(image) // 2])
    _reset(talk)
    return "left"


def leaves_in_an_upload(port: int, image: bytes) -> str:
    talk = connect(port)
    push(talk, head("/gradio_api/upload", UPLOAD, "Content-Length: 99999"))
    push(talk, b'--edge\r\nContent-Disposition: form-data; name="files"; filename="left.png"\r\n\r\n' + image)
    time.sleep(0.05)
    _reset(talk)
    return "left"


def leaves_before_the_answer(port: int, image: bytes) -> str:
    talk = connect(port)
    push(talk, head("/read?top=100", f"Content-Length: {len(image)}") + image)
    _reset(talk)
    return "left"


def leaves_the_page(port: int, image: bytes) -> str:
    talk = connect(port)
    push(talk, head("/gradio_api/heartbeat/gone", method="GET") + head("/", method="GET"))
    time.sleep(0.05)
    _reset(talk)
    return "left"


# --- in disguise


def wrong_types(port: int, image: bytes) -> str:
    """What is no image is refused whatever it says it is, and an image is read whatever it says it is."""
    for kind in ("application/json", "multipart/form-data", "text/html; charset=\xff", "image/png", "x" * 2000, ""):
        for body, statuses in ((b'{"image": 1}', (400,)), (image, (200, 503)), (b"", (400,))):
            with connect(port) as talk:
                push(talk, head("/read", f"Content-Type: {kind}", f"Content-Length: {len(body)}") + body)
                status, told = answer(talk)
                assert status in (*statuses, 503), (kind, status, told[:300])
    return "as it should"


def wrong_messages(port: int, image: bytes) -> str:
    """To the page: nothing that it understands."""
    for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload", "/gradio_api/cancel"):
        for kind in ("application/json", "multipart/form-data; boundary=edge", "text/plain"):
            for body in (b"", b"{}", b"[" * 5000, b"\xff\xfe", b'{"data": null, "fn_index": 99, "session_hash": "x"}'):
                with connect(port) as talk:
                    push(talk, head(path, f"Content-Type: {kind}", f"Content-Length: {len(body)}") + body)
                    status, told = answer(talk)
                    assert status in range(200, 504), (path, kind, body, status, told[:300])
    return "refused"


def no_http(port: int, image: bytes) -> str:
    for data in (b"\x16\x03\x01\x02\x00\x01" * 9, b"hello\r\n\r\n", b"GET  /  HTTP/1.1\r\n\r\n", b"\0" * 99_999):
        with connect(port) as talk:
            push(talk, data)
            assert answer(talk)[0] in (0, 400), data[:20]
    upgrade = "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="
    two = "Content-Length: 3", "Transfer-Encoding: chunked"
    for lines, path in ((upgrade, "/gradio_api/queue/join"), (two, "/read"), (("Content-Length: -1",), "/read")):
        with connect(port) as talk:
            push(talk, head(path, *lines, "Connection: close") + b"0\r\n\r\n")
            assert answer(talk)[0] in (0, 400, 404, 405, 422, 503), lines
    return "refused"


TRICKS = [
    f"../../../../{STRAY}.png".encode(),
    f"..\\..\\{STRAY}.png".encode(),
    f"{Path('/').absolute()}{STRAY}.png".encode(),
    f"%2e%2e%2f{STRAY}.png".encode(),
    f"{STRAY}\0.png".encode(),
    b"\xff\xfe" + STRAY.encode() + b"\xc3.png",
    STRAY.encode() * 400,
    b"..",
    b".",
    b"",
    b"CON",
    f"{STRAY}\u202egnp.exe".encode(),
    "\ud800".encode("utf-8", "surrogatepass") + STRAY.encode(),
]


def tricks_in_names(port: int, image: bytes) -> str:
    """Files that are called after other places, to where the page takes uploads."""
    for name in TRICKS:
        body = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="' + name + b'"\r\n\r\n' + image
        body += b"\r\n--edge--\r\n"
        lines = UPLOAD, f"Content-Length: {len(body)}", "Connection: close"
        with connect(port) as talk:
            push(talk, head("/gradio_api/upload", *lines) + body)
            status, told = answer(talk)
            assert status in (200, 400, 413, 422, 500, 503), (name, status)
            if status == 200:
                (path,) = json.loads(told)
                assert ".." not in Path(path).parts and "htr-demo-" in path, path
    return "kept inside"


def tricks_in_queries(port: int, image: bytes) -> str:
    """Files of this machine asked for by name, and parameters that are none."""
    for path in ("/gradio_api/file=", "/static/", "/assets/", "/svelte/", "/gradio_api/file/"):
        for name in SYSTEM:
            with connect(port) as talk:
                push(talk, head(path.encode() + name, "Connection: close", method="GET"))
                status, told = answer(talk)
                assert b"root:" not in told and status in (0, 400, 403, 404, 405, 422, 500), (path, name, status)
    for query in QUERIES:
        with connect(port) as talk:
            push(talk, head(b"/read?" + query, f"Content-Length: {len(image)}") + image)
            status, told = answer(talk)
            assert status in (400, 503), (query, status)
    return "refused"


QUICK: list[Callable[[int, bytes], str]] = [
    too_large,
    endless,
    heavy_message,
    leaves_in_the_body,
    leaves_in_an_upload,
    leaves_before_the_answer,
    leaves_the_page,
    wrong_types,
    wrong_messages,
    no_http,
    tricks_in_names,
    tricks_in_queries,
]
SLOW: list[Callable[[int, bytes], str]] = [many_large, slow_body, slow_upload, slow_head, silent, takes_nothing]

"""Floor 8: the gate of `htr demo`'s server: whatever one client sends, and however slowly, the others do not notice.

A body has a size and a pace, all bodies at once have a size, and so has the folder of uploads; connections have a
number, and a time in which to ask or to take what they asked for. It needs what the extra `demo` installs.
"""

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from htr.demo import MAX_BYTES, MAX_UNPACKED

CONNECTIONS = 256  # at once; a page has about six
PATIENCE = 20  # s in which a connection asks for something, or takes some of what it asked for
GRACE, PACE = 10, 64_000  # s by which a body may be late, and the bytes a second that it is late against
READ, UPLOAD, OTHER = "/read", "/gradio_api/upload", ""  # paths; of the others a drawn sheet and a lexicon are largest
LIMITS = {READ: MAX_BYTES, UPLOAD: MAX_UNPACKED, OTHER: 8 << 20}  # bytes of a body
HELD = {READ: 4 * MAX_BYTES, UPLOAD: 2 * MAX_UNPACKED, OTHER: 32 << 20}  # bytes of all bodies at once, but for FREE
FREE = 1 << 20  # bytes of each body that do not count: large ones must not crowd out the usual ones
STORED = 2 << 30  # bytes in the folder of uploads above which no more are taken
BUSY = "The server has as much to do as it takes at once: try again in a second."
_DRAINED = 2  # times its limit: how much of a body that is refused is still taken, so that the client hears why
_LOG = logging.getLogger("uvicorn.error")
_LEFT = {"type": "http.disconnect"}
_LOOK = 2  # s between two looks at a connection


def refuse(status: int, sentence: str) -> JSONResponse:
    """The answer to a request that is not granted. With it the connection ends: more of a body may be on its way."""
    headers = {"connection": "close"} | ({"retry-after": "1"} if status == 503 else {})
    return JSONResponse({"error": sentence}, status, headers)


class Gate:
    """An ASGI application around another one. folder: where that one puts uploads; kept: seconds that they stay."""

    def __init__(self, app, folder: str, *, kept: float, headers: dict[str, str]):
        self.app, self.folder, self.kept = app, folder, kept
        self.reading = 0  # requests for READ that are not answered yet
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.held = dict.fromkeys(HELD, 0)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, started, done = _Body(self, scope["path"].rstrip("/"), receive), False, False

        async def sending(message):
            nonlocal started, done
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            started, done = True, not message.get("more_body", message["type"] == "http.response.start")
            await send(message)

        async def granted(message):
            if started or not body.refusal:  # nothing of an answer that a refusal will stand for
                await sending(message)

        self.reading += body.kind == READ
        try:
            if body.kind == UPLOAD and await asyncio.to_thread(stored, self.folder, self.kept) > STORED:
                body.refusal = 503, "Too much was uploaded within an hour: try again later."
            else:
                await self.app(scope, body, granted)
        except Exception as error:
            if not body.cut:  # of a client that left, or was sent away, nothing need be told
                if not done:
                    raise
                # it was answered as an error: what Gradio and FastAPI make of requests that no page would send
                _LOG.warning("%s %s: %s", scope["method"], ascii(scope["path"]), type(error).__name__)
        finally:
            self.reading -= body.kind == READ
            self.held[body.kind] -= body.held
        if body.refusal and not started:
            await refuse(*body.refusal)(scope, receive, sending)


class _Body:
    """`receive` of one request, until its body is there. refusal: the rule that it breaks, as status and sentence."""

    def __init__(self, gate: Gate, path: str, receive):
        self._gate, self._receive, self._due = gate, receive, time.monotonic() + GRACE
        self.kind = path if path in LIMITS else OTHER
        self.size, self.held, self.complete, self.cut = 0, 0, False, False
        self.refusal: tuple[int, str] | None = None

    async def __call__(self):
        if self.cut or self.complete:
            return _LEFT if self.cut else await self._receive()
        message = await self._next()
        self._gate.held[self.kind] -= self.held
        self.held = max(0, self.size - FREE)
        self._gate.held[self.kind] += self.held
        if message is None:
            self.refusal = 408, f"The body came more slowly than {PACE // 1000} kB a second: try again."
        elif self.size > (limit := LIMITS[self.kind]):
            self.refusal = 413, f"At most {limit >> 20} MB are taken: scale the image down."
        elif self.held and self._gate.held[self.kind] > HELD[self.kind]:
            self.refusal = 503, BUSY
        elif message["type"] != "http.disconnect":
            return message
        if message and self.refusal:  # a client hears why only when it has sent what it began to send
            while not self.complete and self.size < _DRAINED * LIMITS[self.kind] and await self._next():
                pass
        self.cut = True
        if self.kind == UPLOAD:  # behind this error alone Gradio clears away what it has written
            raise MultiPartException("The body is not complete.")
        return _LEFT

    async def _next(self) -> dict | None:
        """The next part of the body, None when it is late. Who was early before gains no time by it."""
        try:
            async with asyncio.timeout(self._due - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            return None
        size = len(message.get("body", b""))
        self.size += size
        self._due = min(self._due + size / PACE, time.monotonic() + GRACE)
        self.complete = not message.get("more_body", False)
        return message


def stored(folder: str, kept: float) -> int:
    """Bytes in a folder, from which goes what is older than so many seconds and nobody has fetched."""
    size = 0
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):  # another request cleared it away
                found = path.stat()
                size += found.st_size
                if time.time() - found.st_mtime > 2 * kept:
                    path.unlink()
    return size


class Connection(H11Protocol):
    """A connection that is closed when, for a while, it neither asks for anything nor takes what it asked for."""

    def connection_made(self, transport):
        """One more: too many are told to come back."""
        super().connection_made(transport)
        self._moved, self._left, self._look = self.loop.time(), 0, None
        if len(self.connections) > CONNECTIONS:
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            transport.close()
        self._watch()

    def on_response_complete(self):
        """The time in which to ask for something else begins."""
        self._moved = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc):
        """It is over."""
        self._look.cancel()
        super().connection_lost(exc)

    def _watch(self):
        now, left = self.loop.time(), self.transport.get_write_buffer_size()
        asked = self.cycle is not None and not self.cycle.response_complete
        if (asked and not left) or left != self._left:
            self._moved = now
        self._left = left
        self._look = self.loop.call_later(_LOOK, self._watch)
        if now - self._moved > PATIENCE:
            self.transport.abort()

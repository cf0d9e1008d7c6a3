"""Floor 8: the server of `htr demo`: the page, an HTTP API beside it, and what keeps both to themselves.

Nothing leaves the machine: telemetry is off, fonts are the system's, and a Content-Security-Policy makes the browser
refuse whatever Gradio might ask of others. Uploads lie in a folder that goes when the server does.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs

from htr import demo_page
from htr.demo import MAX_BYTES, Desk
from htr.listing import record

READING = 2  # requests in work at once: one is read while the next one's image is opened
WAITING = 64  # requests that wait for that, and as many of the page; more are told to come back
GRACE = 8  # s in which those are answered when the server is told to stop; many a service is killed after 10
_STYLE = Path(__file__).with_name("demo.css")
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
_OF_NO_INTEREST = "Cancel ", "Invalid HTTP request", "Unsupported upgrade request"  # anybody may send anything


@contextlib.contextmanager
def application(desk: Desk) -> Iterator:
    """The ASGI application of the page and its API. ValueError where gradio is not installed."""
    if find_spec("gradio") is None:
        raise ValueError("The page needs gradio, which is not installed: pip install 'htr-words[demo]'.")
    quiet = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}
    with _ends_tidily(), tempfile.TemporaryDirectory(prefix="htr-demo-") as uploads:
        os.environ.update(quiet, GRADIO_TEMP_DIR=uploads)  # read when gradio is imported
        import gradio as gr
        from fastapi import FastAPI

        from htr.demo_gate import Gate

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_route("/read", _api(desk), methods=["POST"])
        theme = gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        )
        page = gr.mount_gradio_app(
            app,
            _closed(gr, demo_page.build(gr, desk)).queue(max_size=WAITING),
            path="/",
            footer_links=[],
            max_file_size=MAX_BYTES,
            ssr_mode=False,
            theme=theme,
            css_paths=[_STYLE],
        )
        # the policy keeps the browser from asking anybody else
        headers = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
        yield Gate(page, uploads, kept=demo_page.KEPT, headers=headers)


@contextlib.contextmanager
def _ends_tidily() -> Iterator:
    """SIGTERM, by which services are stopped, leaves by way of every `finally`, too: the uploads go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits at host and port, 0 for any that is free; ValueError where it cannot."""
    try:
        found = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"The page cannot be served at {host}:{port} ({reason}); choose another --port.") from None
    return found


def serve(app, door: socket.socket) -> None:
    """Answer at the socket until the process is told to stop; then those that wait for a word, for GRACE seconds."""
    import uvicorn

    from htr.demo_gate import Connection

    class Server(uvicorn.Server):
        async def shutdown(self, sockets=None):
            for each in [*self.servers, *(sockets or [])]:
                each.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()  # those that wait for no answer
            # of itself it waits for the pages, too, which stay open until somebody closes them
            last = asyncio.get_running_loop().time() + GRACE
            while app.reading and not self.force_exit and asyncio.get_running_loop().time() < last:
                await asyncio.sleep(0.02)
            await super().shutdown(sockets)

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, http=Connection, ws="none")
    logging.getLogger("uvicorn.error").addFilter(_of_interest)
    Server(config).run(sockets=[door])


def _of_interest(entry: logging.LogRecord) -> bool:
    """Not that pages were still open when the server was told to stop, nor what nobody can do anything about."""
    cancelled = entry.exc_info and isinstance(entry.exc_info[1], asyncio.CancelledError)
    return not (cancelled or entry.getMessage().startswith(_OF_NO_INTEREST))


def _api(desk: Desk):
    """POST /read: the bytes of an image -> JSON like a line of `htr transcribe --format jsonl`."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    from htr.demo_gate import BUSY, refuse

    def read(body: bytes, name: str, engine: str | None, wanted: dict[str, list[str]]) -> dict:
        reader = desk.reader(name, engine)
        top = wanted.get("top", ["1"])[-1]
        if top not in map(str, range(1, 101)):
            raise ValueError(f"top is {top!r}; give a whole number from 1 to 100.")
        source = {"path": "the body", "bytes": body}
        found = record("", desk.transcribe(source, reader, "\n".join(wanted.get("lexicon", [])), int(top)))
        del found["path"]
        return {**found, "checkpoint": name, "engine": reader.engine.name}

    async def in_turn(request, body: bytes):
        wanted = parse_qs(request.scope["query_string"].decode(errors="replace"))
        name, engine = wanted.get("checkpoint", [desk.checkpoint])[-1], wanted.get("engine", [None])[-1]
        if not desk.has(name, engine):
            async with loading:  # others have their turns while a reader is loaded
                await run_in_threadpool(desk.reader, name, engine)
        async with turns:
            if await request.is_disconnected():
                return JSONResponse({"error": "Nobody waits for this any more."}, 400)
            return JSONResponse(await run_in_threadpool(read, body, name, engine, wanted))

    async def answer(request):
        body = await request.body()  # who sends it slowly takes nobody's turn
        if len(waiting) >= WAITING:  # those that left have none, either
            waiting.difference_update([each for each in list(waiting) if await each.is_disconnected()])
        if len(waiting) >= WAITING:
            return refuse(503, BUSY)
        waiting.add(request)
        try:
            return await in_turn(request, body)
        except (ValueError, OSError) as error:
            return JSONResponse({"error": str(error)}, 400)
        finally:
            waiting.discard(request)

    waiting: set = set()
    turns, loading = asyncio.Semaphore(READING), asyncio.Lock()
    return answer


def _closed(gr, page):
    """The page, which takes what was uploaded and nothing else.

    Of itself a mounted Gradio fetches whatever a made-up request names: an address, or any file of this machine.
    """
    for component in page.blocks.values():
        if move := getattr(component, "async_move_resource_to_block_cache", None):

            async def moved(path, move=move, inside=component.GRADIO_CACHE):
                if not Path(path).resolve().is_relative_to(Path(inside).resolve()):
                    raise gr.Error("Only what was uploaded here can be read.", print_exception=False)
                return await move(path)

            component.async_move_resource_to_block_cache = moved
    return page

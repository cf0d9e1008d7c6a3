"""Floor 8: the server of `htr demo`: the page, an HTTP API beside it, and what keeps both to themselves.

Nothing leaves the machine: telemetry is off, fonts are the system's, and a Content-Security-Policy makes the browser
refuse whatever Gradio might ask of others. Uploads lie in a folder that goes when the server does.
"""

import asyncio
import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs

from htr import demo_page
from htr.demo import MAX_BYTES, Desk
from htr.listing import record

_STYLE = Path(__file__).with_name("demo.css")
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)


@contextlib.contextmanager
def application(desk: Desk) -> Iterator:
    """The ASGI application of the page and its API. ValueError where gradio is not installed."""
    if find_spec("gradio") is None:
        raise ValueError("The page needs gradio, which is not installed: pip install 'htr-words[demo]'.")
    quiet = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}
    with tempfile.TemporaryDirectory(prefix="htr-demo-") as uploads:
        os.environ.update(quiet, GRADIO_TEMP_DIR=uploads)  # read when gradio is imported
        import gradio as gr
        from fastapi import FastAPI

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_route("/read", _api(desk), methods=["POST"])
        theme = gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        )
        yield _guarded(
            gr.mount_gradio_app(
                app,
                _closed(gr, demo_page.build(gr, desk)),
                path="/",
                footer_links=[],
                max_file_size=MAX_BYTES,
                ssr_mode=False,
                theme=theme,
                css_paths=[_STYLE],
            )
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits at host and port, 0 for any that is free; ValueError where it cannot."""
    try:
        found = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"The page cannot be served at {host}:{port} ({reason}); choose another --port.") from None
    return found


def serve(app, door: socket.socket) -> None:
    """Answer at the socket until the process is told to stop."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    logging.getLogger("uvicorn.error").addFilter(_of_interest)
    uvicorn.Server(config).run(sockets=[door])


def _of_interest(entry: logging.LogRecord) -> bool:
    """Not that pages were still open when the server was told to stop."""
    cancelled = entry.exc_info and isinstance(entry.exc_info[1], asyncio.CancelledError)
    return not (cancelled or entry.getMessage().startswith("Cancel "))


def _guarded(app):
    """The application, with a header that keeps the browser from asking anybody else."""

    async def answer(scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start":
                extra = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        await app(scope, receive, sending)

    return answer


def _api(desk: Desk):
    """POST /read: the bytes of an image -> JSON like a line of `htr transcribe --format jsonl`."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    def read(body: bytes, wanted: dict[str, list[str]]) -> dict:
        name = wanted.get("checkpoint", [desk.checkpoint])[-1]
        reader = desk.reader(name, wanted.get("engine", [None])[-1])
        top = wanted.get("top", ["1"])[-1]
        if top not in map(str, range(1, 101)):
            raise ValueError(f"top is {top!r}; give a whole number from 1 to 100.")
        source = {"path": "the body", "bytes": body}
        found = record("", desk.transcribe(source, reader, "\n".join(wanted.get("lexicon", [])), int(top)))
        del found["path"]
        return {**found, "checkpoint": name, "engine": reader.engine.name}

    async def answer(request):
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BYTES:
                return JSONResponse({"error": f"At most {MAX_BYTES >> 20} MB are taken: scale the image down."}, 413)
        try:
            return JSONResponse(await run_in_threadpool(read, bytes(body), parse_qs(request.url.query)))
        except (ValueError, OSError) as error:
            return JSONResponse({"error": str(error)}, 400)

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

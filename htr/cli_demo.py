"""Floor 9: the command that serves the page: demo."""

from htr.cli_shared import OK, quietly


def demo(args) -> int:
    """`htr demo` -> exit code."""
    from htr import demo_server
    from htr.demo import Desk

    with demo_server.listen(args.host, args.port) as door:  # a port that is taken is told before readers are loaded
        desk = quietly(lambda: Desk(args.checkpoint, args.engine))
        with demo_server.application(desk) as app:
            host = f"[{args.host}]" if ":" in args.host else args.host
            print(f"http://{host}:{door.getsockname()[1]} (Ctrl+C ends it)", flush=True)
            demo_server.serve(app, door)
    return OK

"""Floor 9: `htr`. Each command is imported when it is called, and what is heavy within it: `htr --help` is quick."""

import importlib
import os
import signal
import sys

from htr import options
from htr.cli_shared import FAILED, INTERRUPTED, OK, complain, sentence

COMMANDS = {  # command -> the module and the function that does it
    "check": "cli_data",
    "synth": "cli_data",
    "train": "cli_train",
    "evaluate": "cli_train",
    "transcribe": "cli_read",
    "align": "cli_read",
    "lm": "cli_data",
    "export": "cli_export",
    "push": "cli_export",
    "demo": "cli_demo",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command -> exit code: 0, 1 (some inputs failed), 2 (usage), 130 (interrupted)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be valid text
    args = _completed(options.parser()).parse_args(argv)
    if args.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    try:
        return command(args.command)(args)
    except BrokenPipeError:  # the reader of our output has seen enough; nothing may be flushed into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except KeyboardInterrupt as stop:
        code = complain(str(stop) or "stopped by the keyboard.", INTERRUPTED)
        if argv is None:  # the process is ours: while it ends, another Ctrl+C ends it at once, without a traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return code
    except (ValueError, OSError) as error:
        return complain(sentence(error), FAILED)


def _completed(parser):
    """The parser; a shell that asks it for completions (extra `completion`) is answered here, and gets no further."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser


def command(name: str):
    """The function (args) -> exit code behind a command's name."""
    return getattr(importlib.import_module(f"htr.{COMMANDS[name]}"), name)

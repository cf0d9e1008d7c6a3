"""Floor 0: libtiff, by which Pillow reads packed TIFFs, says nothing of its own."""

import ctypes
from functools import cache
from pathlib import Path

import PIL


@cache
def silence() -> None:
    """Take libtiff its ways to standard error: what is wrong with a file is said by htr, in a sentence that names it.

    It is found where the wheels of Pillow for Linux and macOS have theirs; from another build its notes still come.
    """
    home = Path(PIL.__file__).parent
    for path in [*home.parent.glob("pillow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")]:
        library = ctypes.CDLL(str(path))  # the one that is loaded: a library is loaded once a file
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)

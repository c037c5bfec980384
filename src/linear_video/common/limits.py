"""Bounds on what a small file may ask for. Each is an environment variable, since it depends on the machine.

A file's header is checked first, and a file that asks for too much is refused before memory is allocated.
"""

import os
from pathlib import Path

from linear_video.common.errors import InputError

# What each variable bounds, and how much is allowed where it is not set.
MOST_PIXELS = "LINEAR_VIDEO_MOST_PIXELS"  # of a frame or a picture
MOST_BYTES = "LINEAR_VIDEO_MOST_BYTES"  # of anything that is read, unpacked or kept as a whole
SERVER_BYTES = "LINEAR_VIDEO_SERVER_BYTES"  # estimated, for one answer of a server
SERVER_SECONDS = "LINEAR_VIDEO_SERVER_SECONDS"  # the same
DEFAULTS = {MOST_PIXELS: 100_000_000, MOST_BYTES: 2**30, SERVER_BYTES: 2**31, SERVER_SECONDS: 60}


def limit(variable: str) -> int:
    """The limit that an environment variable sets, or the default.

    Raises:
        InputError: if it is not a positive whole number.
    """
    text = os.environ.get(variable, "")
    if not text:
        return DEFAULTS[variable]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0):
        raise InputError(f"the environment variable {variable} must be a positive whole number, not {text[:40]!r}.")
    return int(text)


def check_pixels(height: int, width: int, name: str = "", share: int = 1) -> None:
    """Raise InputError for frames with more pixels than are allowed, or than 1 / ``share`` of them.

    ``name`` is the name of the file, if the code that catches the error does not know it.
    """
    most = limit(MOST_PIXELS) // share
    if height * width > most:
        of = f"{name} has frames of" if name else "frames are"
        enough = share * height * width
        raise InputError(
            f"{of} {width}x{height} pixels, which is more than {most:,}; make them smaller, or set {MOST_PIXELS} to "
            f"{enough} or more (if there is enough memory)"
        )


def check_bytes(count: int, name: str) -> None:
    """Raise InputError if a file asks for more bytes than are allowed to be read, unpacked or kept as a whole."""
    most = limit(MOST_BYTES)
    if count > most:
        needs = f"{count:,} bytes" if count < 10**18 else "over 10^18 bytes"
        raise InputError(
            f"{name} needs {needs}, which is more than {most:,}; if you trust it and have enough memory, set "
            f"{MOST_BYTES} higher."
        )


def read_bounded(path: Path, name: str = "") -> bytes:
    """The content of a regular file.

    Raises:
        InputError: if it is not a regular file, or has more bytes than are allowed.
        OSError: if it cannot be read.
    """
    name = name or str(path)
    if not path.is_file():  # a pipe or a device may never end
        raise InputError(f"{name} is not a regular file.")
    check_bytes(path.stat().st_size, name)
    return path.read_bytes()

"""Reader of the idx format of MNIST's files.

Big-endian: two zero bytes, one byte for the type, one for the number of dimensions, an unsigned 32-bit size for each
dimension, then the values in row order.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linear_video.errors import InputError

UNSIGNED_BYTE = 0x08
MAXIMUM_BYTES = 2**31  # far above MNIST; a forged header must not make us allocate without bound


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, plain or gzip-compressed by its name's ending.

    Raises:
        InputError: if the file is truncated, too long, corrupt or of another type, naming the file.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                content = file.read(MAXIMUM_BYTES)
        else:
            content = path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is no complete gzip file ({error}); fetch it again.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] == 0:
        raise InputError(f"{path} is no idx file: it does not start with an idx header.")
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTE:
        raise InputError(f"{path} holds values of type 0x{kind:02x}; only unsigned bytes (0x08) are read.")
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise InputError(f"{path} is truncated within its header; fetch it again.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise InputError(
            f"{path} should be {expected:,} bytes long for its shape {shape}, but is {len(content):,}; fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)

"""Reader of the idx format of MNIST's files.

Big-endian: two zero bytes, one byte for the type, one for the number of dimensions, an unsigned 32-bit size for each
dimension, then the values in row order.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.common.limits import check_bytes

UNSIGNED_BYTE = 0x08
BYTES_OF_VALUE = 4  # as float32, which the values become: a forged header must not make us read without bound
PIECE = 2**16  # bytes read at once, so that memory follows what the file holds, not what its header claims


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, plain or, if its name ends in ``.gz``, gzip-compressed.

    Raises:
        InputError: if the file is truncated, too long, corrupt or of another type. The message names the file.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_shape(cast("BinaryIO", file), path)
            expected = math.prod(shape)
            check_bytes(BYTES_OF_VALUE * expected, f"{path}, of the shape {shape},")
            values = bytearray()
            while len(values) <= expected and (piece := file.read(PIECE)):
                values += piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is not a complete gzip file ({error}); fetch it again.") from error
    if len(values) != expected:
        holds = "more" if len(values) > expected else f"only {len(values):,}"
        raise InputError(f"{path} should hold {expected:,} values for its shape {shape}, not {holds}; fetch it again.")
    try:
        return np.frombuffer(values, np.uint8).reshape(shape)
    except ValueError as error:  # over 64 dimensions, or a size that overflows beside one of zero
        raise InputError(f"{path} has a shape that no array can have ({error}).") from error


def _read_shape(file: BinaryIO, path: Path) -> tuple[int, ...]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[3] == 0:
        raise InputError(f"{path} is not an idx file: it does not start with an idx header.")
    kind, dimensions = start[2], start[3]
    if kind != UNSIGNED_BYTE:
        raise InputError(f"{path} holds values of type 0x{kind:02x}; only unsigned bytes (0x08) are read.")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(f"{path} is truncated within its header; fetch it again.")
    return struct.unpack(f">{dimensions}I", sizes)

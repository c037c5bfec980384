"""Reader of the small NORB dataset's binary matrix files (LeCun, Huang, Bottou 2004).

The files are little-endian: a 32-bit magic number that tells the type, the number of dimensions, one 32-bit size for
each dimension (padded with ones to three sizes), then the values in row order. Files may be gzip-compressed.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.common.files import replacing_file
from linear_video.common.limits import check_bytes

TYPES: dict[int, np.dtype[Any]] = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}
MAXIMUM_DIMENSIONS = 8  # NORB has up to four

PARTS = {
    "training": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "testing": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
CATEGORIES = ("animal", "human", "airplane", "truck", "car")
INSTANCES, ELEVATIONS, AZIMUTHS, LIGHTINGS = 10, 9, 18, 6
MOST_VIEWS = len(CATEGORIES) * INSTANCES * ELEVATIONS * AZIMUTHS * LIGHTINGS  # small NORB has half of them in each part


@dataclass(frozen=True)
class NorbPart:
    """One half of small NORB.

    Attributes:
        images: uint8 (N, 2, h, w), memory-mapped; the second axis is the camera.
        facts: int32 (N, 5): category, instance, elevation (0 .. 8), azimuth (0 .. 17, steps of 20 degrees), lighting.
    """

    images: NDArray[np.uint8]
    facts: NDArray[np.int32]


def find_norb(folder: Path) -> list[str]:
    """The halves of NORB (``training``, ``testing``) that have a file of images in the folder, plain or compressed."""
    return [part for part, stem in PARTS.items() if any((folder / f"{stem}-dat.mat{z}").exists() for z in ("", ".gz"))]


def open_norb(folder: Path, part: str, unpacked: Path) -> NorbPart:
    """Open one half of small NORB; compressed files are first unpacked into the folder ``unpacked``, once.

    Raises:
        InputError: if a file is missing, broken or does not belong to the others. The message names it.
    """
    matrices = []
    for kind in ("dat", "cat", "info"):
        path = folder / f"{PARTS[part]}-{kind}.mat"
        packed = path.with_name(f"{path.name}.gz")
        if not path.is_file():
            if not packed.is_file():
                raise InputError(f"{path}(.gz) is missing; the three files -dat, -cat and -info belong together.")
            path = unpack(packed, unpacked)
        matrices.append(open_matrix(path))
    images, category, info = matrices
    name = folder / f"{PARTS[part]}-*.mat"
    if images.ndim != 4 or images.shape[1] != 2 or images.dtype != np.uint8:
        raise InputError(f"{name}: the images are {images.dtype} {images.shape}, not bytes of the shape (N, 2, h, w).")
    if len(images) > MOST_VIEWS:
        raise InputError(f"{name}: {len(images):,} pairs of images are more than the {MOST_VIEWS:,} views that exist.")
    shapes_fit = category.shape == images.shape[:1] and info.shape == (len(images), 4)
    if not shapes_fit or not info.dtype == category.dtype == "<i4":
        raise InputError(
            f"{name}: {len(images)} images, categories {category.dtype} {category.shape} and info {info.dtype} "
            f"{info.shape} do not belong together."
        )
    instance, elevation, azimuth, lighting = info.T
    facts = np.stack((category, instance, elevation, azimuth // 2, lighting), axis=1)
    limits = (len(CATEGORIES), INSTANCES, ELEVATIONS, AZIMUTHS, LIGHTINGS)
    if (azimuth % 2).any() or (facts < 0).any() or (facts >= limits).any():
        raise InputError(f"{name}: categories or info are out of range; fetch the files again.")
    return NorbPart(cast("NDArray[np.uint8]", images), facts)


def open_matrix(path: Path) -> NDArray[Any]:
    """Check the header of an uncompressed matrix file, and open it as a read-only memory map.

    Raises:
        InputError: if it is not a matrix file, or its size is not what the header says.
    """
    with path.open("rb") as file:
        kind, shape = _read_header(file, path)
        start = file.tell()
    expected = math.prod(shape) * kind.itemsize
    held = path.stat().st_size - start
    if held != expected:
        raise InputError(f"{path} should hold {expected:,} bytes for its shape {shape}, not {held:,}; fetch it again.")
    return np.memmap(path, kind, "r", start, shape)


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a gzip-compressed matrix file, piece by piece, unless a newer unpacked file exists.

    Raises:
        InputError: if it is not a matrix file, is cut off, or is longer than its header says.
    """
    target = folder / path.stem
    if target.is_file() and target.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return target
    try:
        with gzip.open(path, "rb") as opened:
            file = cast("BinaryIO", opened)
            kind, shape = _read_header(file, path)
            expected = math.prod(shape) * kind.itemsize
            check_bytes(expected, f"{path}, of the shape {shape},")
            start = file.tell()
            file.seek(0)
            with replacing_file(target) as part, part.open("wb") as unpacked:
                left = start + expected + 1  # one more byte shows that the file is too long
                while left > 0 and (piece := file.read(min(left, 2**20))):
                    unpacked.write(piece)
                    left -= len(piece)
                if left != 1:
                    held = "more" if left < 1 else f"{left - 1:,} bytes less"
                    raise InputError(f"{path} holds {held} than its shape {shape} needs; fetch it again.")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is not a complete gzip file ({error}); fetch it again.") from error
    return target


def _read_header(file: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = file.read(8)
    if len(start) < 8:
        raise InputError(f"{path} is not a matrix file: it ends within its header.")
    magic, dimensions = struct.unpack("<2i", start)
    if magic not in TYPES:
        raise InputError(
            f"{path} is not a matrix file of bytes or integers: it starts with 0x{magic & 0xFFFFFFFF:08X}."
        )
    if not 1 <= dimensions <= MAXIMUM_DIMENSIONS:
        raise InputError(f"{path} claims to have {dimensions} dimensions.")
    written = max(dimensions, 3)
    sizes = file.read(4 * written)
    if len(sizes) < 4 * written:
        raise InputError(f"{path} is truncated within its header; fetch it again.")
    shape = struct.unpack(f"<{written}i", sizes)[:dimensions]
    if min(shape) < 1:
        raise InputError(f"{path} claims the shape {shape}.")
    return TYPES[magic], shape

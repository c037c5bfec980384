"""Read pictures safely: their size by their header, and their content at another size."""

import io
import struct
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from linear_video.common.limits import check_pixels, read_bounded

TIFF_STARTS = (b"II*\0", b"MM\0*")  # in little and in big endian
TIFF_NUMBERS = {3: "H", 4: "I"}  # kinds of values: of two and of four bytes
TIFF_TAGS = (256, 257, 258, 259, 273, 279, 324, 325)  # width, height, bits, compression; places of strips and tiles
BYTES_OF_COLOUR = 16  # of a pixel's red, green, blue and opacity as float32

T = TypeVar("T", np.uint8, np.float32)


def resized(picture: NDArray[T], height: int, width: int) -> NDArray[T]:
    """Resize a picture (h, w, C) to (height, width, C), without aliasing."""
    if picture.shape[:2] == (height, width):
        return picture
    # Area averaging is OpenCV's only method without aliasing, and it is meant only for shrinking.
    kind = cv2.INTER_AREA if height <= picture.shape[0] and width <= picture.shape[1] else cv2.INTER_LINEAR
    other = cv2.resize(picture, (width, height), interpolation=kind)
    return np.asarray(other, picture.dtype).reshape(height, width, -1)


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Height and width of a picture by the header of its file; None if the format is not known.

    A TIFF file must be whole, and hold a single picture. Pictures other than PNG, JPEG, WebP and TIFF are read as far
    as Pillow allows; it stops at 179 million pixels.
    """
    try:
        if content.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith(b"\xff\xd8"):
            width, height = JpegImagePlugin.JpegImageFile(io.BytesIO(content)).size
        elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            width, height = _webp_size(content)
        elif content.startswith(TIFF_STARTS):
            width, height = _tiff_size(content)
        else:
            width, height = Image.open(io.BytesIO(content)).size
    except (OSError, ValueError, SyntaxError, OverflowError, struct.error, Image.DecompressionBombError):
        return None
    return height, width


def _tiff_size(content: bytes) -> tuple[int, int]:
    """Width and height of the picture in a TIFF file; ValueError if it is not all there, or not the only one.

    Decoders take a part that is missing for black, and the first of several pictures for the only one.
    """
    order = "<" if content.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, at)
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", content, entry)
        if tag in TIFF_TAGS and kind in TIFF_NUMBERS:
            form = f"{order}{values}{TIFF_NUMBERS[kind]}"
            inside = struct.calcsize(form) <= 4
            place = entry + 8 if inside else struct.unpack_from(f"{order}I", content, entry + 8)[0]
            tags[tag] = struct.unpack_from(form, content, place)
    (following,) = struct.unpack_from(f"{order}I", content, at + 2 + 12 * count)
    (width,), (height,) = tags.get(256, ()), tags.get(257, ())
    sizes = tags.get(279, ()) or tags.get(325, ())  # of strips, or of tiles
    starts = tags.get(273, ()) or tags.get(324, ())
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    bits = sum(tags.get(258, (1,)))  # of all of a pixel's values
    plain = tags.get(259, (1,)) == (1,)
    if following or not 0 < max(ends, default=0) <= len(content) or (plain and sum(sizes) < height * width * bits / 8):
        raise ValueError
    return width, height


def _webp_size(content: bytes) -> tuple[int, int]:
    """Width and height; each of the three kinds of the format has them in another place."""
    kind = content[12:16]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))  # type: ignore[return-value]
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", content, 21)
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def read_picture(path: Path, flag: int) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """Read a picture (h, w) or (h, w, C) as OpenCV does with a flag; None if it is not a picture.

    Its size is bounded as that of the float32 array that it becomes later.

    Raises:
        InputError: if it is larger than is allowed, or not a regular file. The message names it.
    """
    content = read_bounded(path)
    size = picture_size(content)
    if size is None:
        return None
    check_pixels(*size, str(path), BYTES_OF_COLOUR)
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error:
        return None
    return cast("NDArray[np.uint8] | NDArray[np.uint16] | None", picture)

"""UCSD's layout for tests: its pictures byte by byte, from the definitions of TIFF 6.0 and of Windows' bitmaps."""

import struct
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4
LAYOUTS = {SHORT: "H", LONG: "I"}


def tiff(picture: np.ndarray, order: str = "<", strips: int = 1, following: int = 0, lacking: int = 0) -> bytes:
    """A baseline grey TIFF without compression, of uint8 (h, w).

    Args:
        picture: values.
        order: ``"<"`` for little endian (II), ``">"`` for big endian (MM).
        strips: in which the rows lie.
        following: where the directory of a second picture is said to lie; 0 for none.
        lacking: bytes by which the strips are said to be shorter than they are.
    """
    height, width = picture.shape
    rows = -(-height // strips)
    parts = [picture[top : top + rows].tobytes() for top in range(0, height, rows)]
    directory = 8
    arrays = directory + 2 + 9 * 12 + 4
    pixels = arrays + 8 * len(parts)
    starts = [pixels + sum(map(len, parts[:k])) for k in range(len(parts))]
    counts = [len(part) - lacking for part in parts]
    entries = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [8]),  # bits of a value
        (259, SHORT, [1]),  # not compressed
        (262, SHORT, [1]),  # 0 is black
        (273, LONG, starts),
        (277, SHORT, [1]),  # values of a pixel
        (278, LONG, [rows]),
        (279, LONG, counts),
    ]
    content = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, directory)
    content += struct.pack(f"{order}H", len(entries))
    for tag, kind, values in entries:
        packed = struct.pack(f"{order}{len(values)}{LAYOUTS[kind]}", *values)
        if len(packed) > 4:
            packed = struct.pack(f"{order}I", arrays + (4 * len(parts) if tag == 279 else 0))
        content += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    content += struct.pack(f"{order}I", following)
    if len(parts) > 1:
        content += struct.pack(f"{order}{len(parts)}I", *starts) + struct.pack(f"{order}{len(parts)}I", *counts)
    return content.ljust(pixels, b"\0") + b"".join(parts)


def bmp(mask: np.ndarray, bits: int) -> bytes:
    """A bitmap of 1 or 8 bits with a palette from black to white, of bool (h, w); the last row comes first."""
    height, width = mask.shape
    grey = [0, 255] if bits == 1 else range(256)
    palette = b"".join(bytes((value, value, value, 0)) for value in grey)
    stride = (width * bits + 31) // 32 * 4
    rows = [np.packbits(row).tobytes() if bits == 1 else (255 * row.astype(np.uint8)).tobytes() for row in mask[::-1]]
    pixels = b"".join(row.ljust(stride, b"\0") for row in rows)
    start = 14 + 40 + len(palette)
    header = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    information = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(pixels), 2835, 2835, len(palette) // 4, 0
    )
    return header + information + palette + pixels


def write_clip(folder: Path, frames: np.ndarray) -> None:
    """Frames (T, h, w) as ``001.tif`` and so on."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        (folder / f"{number:03d}.tif").write_bytes(tiff(frame))


def write_masks(folder: Path, anomalous: np.ndarray, size: tuple[int, int], bits: int = 8) -> None:
    """A mask for each frame, with a single white pixel in those that are anomalous."""
    folder.mkdir(parents=True)
    for number, labelled in enumerate(anomalous, 1):
        mask = np.zeros(size, np.bool_)
        mask[2, 3] = labelled
        (folder / f"{number:03d}.bmp").write_bytes(bmp(mask, bits))


def moving(number: int, frames: int, fast_from: int | None = None, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A bright bar that creeps over a dark ground, another in each video, and runs from a frame on: (T, h, w)."""
    made = np.full((frames, *size), 20 + number, np.uint8)
    x = 3.0
    for t in range(frames):
        x += 4 if fast_from is not None and t >= fast_from else 0.5
        left = round(x) % (size[1] - 8)
        made[t, 8 + number : 24 + number, left : left + 8] = 220
    return made


def write_ucsd(root: Path, train: int = 4, frames: int = 24) -> dict[str, np.ndarray]:
    """Training clips and three test clips, the second of which has no masks; returns the labels of the tests."""
    for number in range(1, train + 1):
        write_clip(root / f"Train/Train{number:03d}", moving(number, frames))
    labels, lines = {}, ["TestVideoFile = {};"]
    for number, first in ((1, 18), (2, 16), (3, 20)):
        name = f"Test{number:03d}"
        write_clip(root / "Test" / name, moving(number + train, frames, first))
        labels[name] = np.arange(frames) >= first
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{first + 1}:{frames}];")
        if number != 2:
            write_masks(root / "Test" / f"{name}_gt", labels[name], (40, 60), bits=1 if number == 1 else 8)
    (root / "Test/UCSDped9.m").write_text("\r\n".join(lines) + "\r\n")
    return labels

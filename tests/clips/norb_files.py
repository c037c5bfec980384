"""Tiny files in the format of small NORB, written from the definition of the format, without code of the package."""

import gzip
import struct
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

UNSIGNED_BYTES, INTEGERS = 0x1E3D4C55, 0x1E3D4C54
STEMS = {
    "training": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "testing": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
SIDE = 8  # pixels on a side of the pictures, instead of 96


class View(NamedTuple):
    """Where one pair of pictures was taken; the azimuth in steps of 20 degrees."""

    category: int
    instance: int
    elevation: int
    azimuth: int
    lighting: int


def header(magic: int, sizes: Iterable[int]) -> bytes:
    """Magic number, number of dimensions, and their sizes; ones up to three of them."""
    sizes = list(sizes)
    written = sizes + [1] * (3 - len(sizes))
    return struct.pack("<Ii", magic, len(sizes)) + b"".join(struct.pack("<i", size) for size in written)


def matrix(values: np.ndarray, magic: int) -> bytes:
    """A whole file, of one byte or four for each value."""
    numbers = [int(value) for value in values.ravel()]
    code = {UNSIGNED_BYTES: "B", INTEGERS: "i"}[magic]
    return header(magic, values.shape) + struct.pack(f"<{len(numbers)}{code}", *numbers)


def turntable(objects: Iterable[tuple[int, int]], configurations: Iterable[tuple[int, int]]) -> list[View]:
    """All views of objects (category, instance) at each (lighting, elevation)."""
    return [
        View(category, instance, elevation, azimuth, lighting)
        for (category, instance), (lighting, elevation), azimuth in product(objects, configurations, range(18))
    ]


def picture(view: View, camera: int) -> np.ndarray:
    """Noise that differs in each picture; its first pixels say what it shows, for ``decode``."""
    pixels = np.random.default_rng([*view, camera]).integers(0, 256, (SIDE, SIDE))
    pixels[0, :6] = (*view, camera)
    return pixels


def decode(frames: np.ndarray) -> np.ndarray:
    """What pictures (..., 8, 8) show: (..., 6), the view and the camera."""
    return frames[..., 0, :6]


def contents(views: list[View]) -> dict[str, bytes]:
    """The three files of one half: images, categories, and info as NORB has it (azimuth in steps of ten degrees)."""
    images = np.array([[picture(view, camera) for camera in (0, 1)] for view in views])
    info = np.array([(v.instance, v.elevation, 2 * v.azimuth, v.lighting) for v in views])
    return {
        "dat": matrix(images, UNSIGNED_BYTES),
        "cat": matrix(np.array([v.category for v in views]), INTEGERS),
        "info": matrix(info, INTEGERS),
    }


def write_norb(folder: Path, half: str, views: list[View], compressed: bool = False) -> None:
    """Write one half, with its views in no particular order, as in NORB itself."""
    folder.mkdir(parents=True, exist_ok=True)
    mixed = [views[i] for i in np.random.default_rng(0).permutation(len(views))]
    for kind, content in contents(mixed).items():
        path = folder / f"{STEMS[half]}-{kind}.mat{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content) if compressed else content)

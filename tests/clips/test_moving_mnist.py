"""Moving MNIST: re-generated clips beside a plain form of the published generator, and its test file byte by byte."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_video.clips.base import ClipSet, Split
from linear_video.clips.motion import clamped_walk
from linear_video.clips.moving_symbols import MovingSymbolsSettings
from linear_video.clips.readers.moving_mnist import read_test_clips
from linear_video.common.errors import InputError

SHAPE = (1, 64, 64)
MOVING_MNIST: dict[str, Any] = {
    "generator": "moving_mnist",
    "symbols": "mnist",
    "symbol_size": 28,
    "symbols_per_clip": (2, 2),
    "speed": (3.6, 3.6),
    "frames": 20,
}

# --- the generator ---------------------------------------------------------------------------------------------------


def walk_in_the_unit_square(x: float, y: float, theta: float, frames: int) -> list[tuple[int, int]]:
    """Left and upper edge of a digit of 28 pixels in 64, as Srivastava et al. (2015) move it: steps of 0.1."""
    place, velocity = [x, y], [0.1 * np.cos(theta), 0.1 * np.sin(theta)]
    edges = []
    for _ in range(frames):
        for axis in range(2):
            place[axis] += velocity[axis]
            if place[axis] <= 0:
                place[axis], velocity[axis] = 0.0, -velocity[axis]
            if place[axis] >= 1:
                place[axis], velocity[axis] = 1.0, -velocity[axis]
        edges.append((int(36 * place[0]), int(36 * place[1])))
    return edges


@pytest.mark.parametrize("seed", range(20))
def test_digits_walk_as_in_the_published_generator(seed: int) -> None:
    x, y, turn = np.random.default_rng(seed).random(3)
    direction = np.array([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)])
    position, velocity, hits = clamped_walk(36 * np.array([x, y]), 3.6 * direction, np.full(2, 36.0), 20)
    expected = walk_in_the_unit_square(x, y, 2 * np.pi * turn, 20)
    np.testing.assert_array_equal(np.floor(position + 1e-9), expected)
    np.testing.assert_allclose(np.hypot(*velocity.T), 3.6)
    assert hits.sum() == (np.diff(np.sign(np.vstack((direction[None], velocity))), axis=0) != 0).sum() > 0


def mnist_files(folder: Path, count: int = 40) -> np.ndarray:
    """MNIST's four files, of noise that no two images share, with black edges; the images of ``train``."""
    images = np.zeros((2, count, 28, 28), np.uint8)
    images[..., 4:25, 6:20] = np.random.default_rng(0).integers(1, 256, (2, count, 21, 14))
    for part, pixels in zip(("train", "t10k"), images, strict=True):
        head = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
        labels = struct.pack(">HBBI", 0, 8, 1, count) + bytes(k % 10 for k in range(count))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    train: np.ndarray = images[0]
    return train


def test_clips_are_whole_digits_at_whole_pixels_and_the_brighter_one_shows(tmp_path: Path) -> None:
    images = mnist_files(tmp_path)
    counts: dict[Split, int] = {"train": 4, "validation": 1, "test": 1}
    settings = MovingSymbolsSettings(clips=counts, symbols_folder=str(tmp_path), **MOVING_MNIST)
    clips = settings.make("moving_symbols", 0, tmp_path).clips["train"]
    assert isinstance(clips, ClipSet)
    states = clips.states
    assert states is not None
    overlaps = 0
    for clip in range(4):
        digits = [images[int(source.rpartition("/")[2])] for source in clips.table["source"][clip].split(",")]
        for t in range(20):
            canvas, drawn = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.int64)
            rows = states[(states["clip"] == clip) & (states["frame"] == t)]
            for digit, x, y in zip(digits, rows["x"], rows["y"], strict=True):
                left, top = int(x - 14), int(y - 14)
                assert (left + 14, top + 14) == (x, y)
                place = (slice(top, top + 28), slice(left, left + 28))
                canvas[place], drawn[place] = np.maximum(canvas[place], digit), drawn[place] + 1
            np.testing.assert_array_equal(clips.frames[clip, t, 0], canvas)
            overlaps += int((drawn == 2).sum())
    assert overlaps > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation_speed": (-1, 1)}, "does not know rotation_speed"),
        ({"scale": (0.5, 1)}, "does not know scale"),
        ({"collisions": True, "pushes": (0, 0)}, "does not know collisions"),
        ({"pushes": (1, 1), "backgrounds_folder": "pictures"}, "does not know pushes, backgrounds_folder"),
        ({"generator": "exact", "test_file": "mnist_test_seq.npy"}, "for the generator moving_mnist alone"),
        ({"generator": "toronto"}, "exact or moving_mnist"),
    ],
)
def test_what_the_generator_does_not_know_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MovingSymbolsSettings(**{**MOVING_MNIST, **changes})


# --- the test file ---------------------------------------------------------------------------------------------------


def npy(shape: tuple[int, ...], content: bytes, kind: str = "|u1") -> bytes:
    """A .npy file of version 1.0 by its specification: magic, version, length of the header, header, values."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(-(10 + len(header) + 1) % 64 + len(header)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twenty frames of seven clips, of which frame t of clip n has the grey value 10 n + t, but for one pixel."""
    path = tmp_path / "mnist_test_seq.npy"
    frames = [bytes([10 * n + t]) * (64 * 64 - 1) + b"\xff" for t in range(20) for n in range(7)]
    path.write_bytes(npy((20, 7, 64, 64), b"".join(frames)))
    return path


def test_the_test_file_is_read_with_time_first(file: Path) -> None:
    clips = read_test_clips(file, 100, 20, SHAPE)
    assert clips.frames.shape == (7, 20, *SHAPE)
    expected = 10 * np.arange(7)[:, None] + np.arange(20)
    np.testing.assert_array_equal(clips.frames[:, :, 0, 0, 0], expected)
    np.testing.assert_array_equal(clips.frames[:, :, 0, 63, 62], expected)
    assert (clips.frames[:, :, 0, 63, 63] == 255).all()
    assert list(clips.table["number"]) == list(range(7))
    assert clips.states is None


def test_fewer_clips_are_spread_over_the_file_and_start_with_its_first_frames(file: Path) -> None:
    clips = read_test_clips(file, 3, 15, SHAPE)
    assert list(clips.table["number"]) == [0, 3, 6]
    np.testing.assert_array_equal(clips.frames[:, :, 0, 0, 0], 10 * np.array([[0], [3], [6]]) + np.arange(15))


def test_the_file_takes_the_place_of_the_test_clips_alone(file: Path) -> None:
    mnist_files(file.parent)
    clips: dict[Split, int] = {"train": 2, "validation": 2, "test": 5}
    settings = MovingSymbolsSettings(clips=clips, symbols_folder=str(file.parent), test_file=str(file), **MOVING_MNIST)
    made = settings.make("moving_symbols", 0, file.parent).clips
    assert {split: len(of_split.table) for split, of_split in made.items()} == clips
    assert set(made["test"].table["source"]) == {"mnist_test_seq.npy"}
    assert made["train"].table["source"].str.startswith("mnist/train").all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "fetch mnist_test_seq.npy again"),
        (b"\x80\x04\x95 a pickle", "fetch mnist_test_seq.npy again"),
        (npy((20, 7, 64, 64), b"\0" * 4096), "fetch mnist_test_seq.npy again"),  # cut off
        (npy((20, 1), b"\x80\x04N." * 20, "|O"), "fetch mnist_test_seq.npy again"),  # objects, which are pickled
        (npy((20, 1, 64, 64), b"\0" * 20 * 4096 * 4, "<f4"), "holds float32 of the shape"),
        (npy((20, 64, 64), b"\0" * 20 * 4096), "not uint8 .frames, clips, 64, 64."),
        (npy((20, 0, 64, 64), b""), "not uint8"),
        (npy((19, 1, 64, 64), b"\0" * 19 * 4096), "clips of 19 grey frames of 64x64 pixels, .* ask for 20"),
        (npy((20, 1, 32, 64), b"\0" * 20 * 2048), "clips of 20 grey frames of 64x32 pixels"),
    ],
)
def test_other_files_are_refused_by_their_header(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mnist_test_seq.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mnist_test_seq\.npy.*{message}"):
        read_test_clips(path, 5, 20, SHAPE)


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is missing; put Moving MNIST's mnist_test_seq\.npy there, or set"):
        read_test_clips(tmp_path / "mnist_test_seq.npy", 5, 20, SHAPE)

"""Small files that ask for too much are refused by their header, before memory is allocated."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from linear_video.clips.readers.recordings import Source, read_image, read_source
from linear_video.common.errors import InputError
from linear_video.common.images import picture_size, read_picture
from linear_video.common.limits import MOST_BYTES, MOST_PIXELS, check_bytes, check_pixels, read_bounded
from tests.clips.footage_files import noise, read_all, write_video


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height: int, width: int) -> bytes:
    """A black picture of one bit a pixel, by the format's definition."""
    packer, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def encoded(kind: str, height: int, width: int, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_size_of_a_picture_is_what_was_written(kind: str, lossless: bool) -> None:
    options = {"lossless": lossless} if kind == "WEBP" else {}
    assert picture_size(encoded(kind, 5, 300, **options)) == (5, 300)
    if kind == "WEBP":  # with a header of its own
        file = io.BytesIO()
        Image.fromarray(np.zeros((5, 300, 4), np.uint8)).save(file, kind, lossless=lossless, exif=b"Exif\0\0MM\0*")
        assert file.getvalue()[12:16] == b"VP8X"
        assert picture_size(file.getvalue()) == (5, 300)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG", b"\xff\xd8", b"RIFF\0\0\0\0WEBP", b"BM"])
def test_what_is_no_picture_has_no_size(content: bytes) -> None:
    assert picture_size(content) is None


def test_a_small_file_of_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(30_000, 30_000))
    assert path.stat().st_size < 2**20
    for read in (lambda: read_image(path, 3), lambda: read_picture(path, -1)):
        tracemalloc.start()
        with pytest.raises(InputError, match=r"huge\.png has frames of 30000x30000 pixels.*set LINEAR_VIDEO_MOST_PIX"):
            read()
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()


def test_the_limit_is_what_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png(20, 30))
    monkeypatch.setenv(MOST_PIXELS, "600")
    assert read_image(path, 3).shape == (20, 30, 3)
    monkeypatch.setenv(MOST_PIXELS, "599")
    with pytest.raises(InputError, match="more than 599"):
        read_image(path, 3)
    monkeypatch.setenv(MOST_PIXELS, "")
    check_pixels(10_000, 10_000)
    with pytest.raises(InputError, match="frames are 10001x10000 pixels, which is more than 100,000,000"):
        check_pixels(10_000, 10_001)


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "many", "9" * 30, "\u0661"])
def test_a_limit_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(MOST_BYTES, text)
    with pytest.raises(InputError, match="LINEAR_VIDEO_MOST_BYTES must be a positive whole number"):
        check_bytes(1, "it")


def test_only_regular_files_that_are_not_too_long_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    monkeypatch.setenv(MOST_BYTES, "5")
    assert read_bounded(path) == b"12345"
    monkeypatch.setenv(MOST_BYTES, "4")
    with pytest.raises(InputError, match="file needs 5 bytes, which is more than 4"):
        read_bounded(path)
    (tmp_path / "device").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="device is not a regular file"):
        read_bounded(tmp_path / "device")


def test_a_video_of_huge_frames_is_refused_before_the_first_one(tmp_path: Path) -> None:
    path = write_video(tmp_path / "huge.avi", noise(0, frames=12, height=16, width=16))
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, content.find(b"avih") + 8 + 32, 16_000, 16_000)
    struct.pack_into("<ii", content, content.find(b"strf") + 8 + 4, 16_000, 16_000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="frames are 16000x16000 pixels, which is more than 100,000,000"):
        next(read_source(Source("huge.avi", "", (path,)), 3))


def test_an_array_of_huge_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (2, 20_000, 20_000)}
        )
        file.truncate(file.tell() + 2 * 20_000**2)  # takes no room on the disk
    with pytest.raises(InputError, match="frames are 20000x20000 pixels"):
        read_all(path)


@pytest.mark.parametrize("in_cell", [False, True])
def test_a_small_matlab_file_that_becomes_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_cell: bool
) -> None:
    frames = np.zeros((500, 500, 40), np.uint8)
    path, cell = tmp_path / "large.mat", np.empty((1, 1), object)
    cell[0, 0] = frames
    savemat(path, {"film": cell if in_cell else frames}, do_compression=True)
    assert path.stat().st_size < 2**17
    assert read_all(path)[0][1].shape == (40, 500, 500, 3)
    monkeypatch.setenv(MOST_BYTES, str(2**22))
    with pytest.raises(InputError, match=r"unpacks to more than 4,194,304 bytes.*set LINEAR_VIDEO_MOST_BYTES higher"):
        read_all(path)

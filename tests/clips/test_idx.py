import contextlib
import gzip
import math
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linear_video.clips.readers.idx import read_idx
from linear_video.common.errors import InputError
from tests.clips.footage_files import put

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
IMAGES = bytes.fromhex("00000803 00000002 00000003 00000002 00 01 02 03 04 05 fa fb fc fd fe ff")


def save(folder: Path, content: bytes, compressed: bool = False) -> Path:
    path = folder / ("file.gz" if compressed else "file")
    return put(path, gzip.compress(content) if compressed else content)


@pytest.mark.parametrize("compressed", [False, True])
def test_values_are_read_in_row_order(tmp_path: Path, compressed: bool) -> None:
    values = read_idx(save(tmp_path, IMAGES, compressed))
    assert values.dtype == np.uint8
    assert values.tolist() == [[[0, 1], [2, 3], [4, 5]], [[250, 251], [252, 253], [254, 255]]]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(0,), (7,), (0, 28, 28), (3, 5), (1, 2, 3, 4), (1000, 200)])
def test_every_shape_is_read(
    tmp_path: Path, write_idx: Callable[[Path, np.ndarray], None], shape: tuple[int, ...], compressed: bool
) -> None:
    expected = np.random.default_rng(0).integers(0, 256, shape)
    path = tmp_path / ("file.gz" if compressed else "file")
    write_idx(path, expected)
    np.testing.assert_array_equal(read_idx(path), expected)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (IMAGES[:3], "not an idx file"),
        (b"PK" + IMAGES[2:], "not an idx file"),
        (b"\0\0\x08\0", "not an idx file"),
        (IMAGES[:15], "truncated within its header"),
        (IMAGES[:-1], "should hold 12 values .* not only 11"),
        (IMAGES + b"\0", "should hold 12 values .* not more"),
        *[(b"\0\0" + bytes([kind]) + IMAGES[3:], f"type 0x{kind:02x}") for kind in (0x09, 0x0B, 0x0C, 0x0D, 0x0E)],
        (b"\0\0\x08\x41" + 65 * struct.pack(">I", 1) + b"a", "no array can have"),
        (b"\0\0\x08\x04" + struct.pack(">4I", 0, *[2**32 - 1] * 3), "no array can have"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, content: bytes, message: str, compressed: bool) -> None:
    path = save(tmp_path, content, compressed)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_every_truncation_of_a_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(IMAGES)
    for length in range(len(whole)):
        path = tmp_path / "file.gz"
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_idx(path)


@pytest.mark.parametrize(
    "content",
    [IMAGES, gzip.compress(IMAGES)[:-8] + bytes(8), gzip.compress(IMAGES) + b"rest"],
    ids=["not packed", "wrong end", "more behind"],  # the bytes hold the time
)
def test_what_is_no_sound_gzip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a complete gzip file"):
        read_idx(path)


def measured(read: Callable[[Path], Any], path: Path) -> tuple[Any, int]:
    """What a file is read as, and the most memory allocated at once."""
    tracemalloc.start()
    try:
        return read(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@SETTINGS
@given(
    kind=st.sampled_from([0x08, 0x08, 0x08, 0x0D]),
    sizes=st.lists(st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1)), max_size=255),
    values=st.binary(max_size=64),
    compressed=st.booleans(),
)
@example(kind=0x08, sizes=[2**31], values=b"", compressed=False)
@example(kind=0x08, sizes=[2**31], values=b"", compressed=True)
@example(kind=0x08, sizes=[2**32 - 1] * 255, values=b"", compressed=True)
@example(kind=0x08, sizes=[1] * 70, values=b"a", compressed=False)
def test_forged_headers_raise_input_errors_and_take_no_memory(
    tmp_path: Path, kind: int, sizes: list[int], values: bytes, compressed: bool
) -> None:
    content = bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + values
    assert measured(read_or_refuse, save(tmp_path, content, compressed))[1] < 2**20


@SETTINGS
@given(content=st.binary(max_size=400), compressed=st.booleans(), length=st.integers(0, 400))
def test_any_bytes_are_an_array_or_an_input_error(
    tmp_path: Path, content: bytes, compressed: bool, length: int
) -> None:
    path = save(tmp_path, content, compressed)
    path.write_bytes(path.read_bytes()[:length])
    with contextlib.suppress(InputError):
        read_idx(path)


@SETTINGS
@given(place=st.integers(0, 1000), value=st.integers(0, 255), compressed=st.booleans())
def test_one_wrong_byte_is_an_array_or_an_input_error(tmp_path: Path, place: int, value: int, compressed: bool) -> None:
    path = save(tmp_path, IMAGES, compressed)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        read_idx(path)


@st.composite
def forged(draw: st.DrawFn) -> bytes:
    """Idx files with one change, or with sizes of any kind; or arbitrary bytes."""
    change = draw(st.sampled_from(["noise", "sizes", "none", "size", "byte", "cut", "longer"]))
    if change == "noise":
        return draw(st.binary(max_size=300))
    if change == "sizes":
        sizes = draw(st.lists(st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1)), max_size=80))
        return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + draw(st.binary(max_size=64))
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    content = bytearray([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    start = len(content)
    content += bytes(37 * i % 251 for i in range(int(np.prod(sizes))))
    if change == "size":
        struct.pack_into(">I", content, 4 * draw(st.integers(1, len(sizes))), draw(st.integers(0, 2**32 - 1)))
    elif change == "byte":
        content[draw(st.integers(0, start - 1))] = draw(st.integers(0, 255))
    elif change == "cut":
        del content[draw(st.integers(0, len(content) - 1)) :]
    elif change == "longer":
        content += draw(st.binary(min_size=1, max_size=20))
    return bytes(content)


def meant(content: bytes) -> tuple[tuple[int, ...], bytes] | None:
    """Shape and values of an idx file by the format's definition; None if it is not a valid file of unsigned bytes."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 64:  # NumPy's most dimensions
        return None
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    return (shape, content[start:]) if len(content) - start == math.prod(shape) and len(content) >= start else None


def check_forged(folder: Path, content: bytes, damage: tuple[str, int, int]) -> None:
    """Read a file as it is, then compressed, with no damage, one wrong byte, its end cut off, or one byte added."""
    expected = meant(content)
    found, peak = measured(read_or_refuse, save(folder, content))
    assert peak < len(content) + 2**20
    if found is not None:
        assert found == expected
    elif expected is not None:  # no array can have this shape, though it holds nothing
        assert 0 in expected[0]
        assert max(expected[0]) > 4
    packed = bytearray(gzip.compress(content, 1))
    kind, place, value = damage
    if kind == "byte":
        packed[place % len(packed)] = value
    elif kind == "cut":
        del packed[place % len(packed) :]
    elif kind == "longer":
        packed.append(value)
    unpacked, peak = measured(read_or_refuse, put(folder / "file.gz", packed))
    assert peak < len(content) + 2**20
    assert unpacked == found if kind == "none" else unpacked in (found, None)


def read_or_refuse(path: Path) -> tuple[tuple[int, ...], bytes] | None:
    """Shape and values that are read; None for an ``InputError``."""
    try:
        values = read_idx(path)
    except InputError:
        return None
    assert values.dtype == np.uint8
    return values.shape, values.tobytes()


DAMAGE = st.tuples(
    st.sampled_from(["none", "none", "byte", "cut", "longer"]), st.integers(0, 5000), st.integers(0, 255)
)


@settings(SETTINGS, max_examples=100)
@given(content=forged(), damage=DAMAGE)
def test_forged_files_are_what_their_bytes_say_or_an_input_error(
    tmp_path: Path, content: bytes, damage: tuple[str, int, int]
) -> None:
    check_forged(tmp_path, content, damage)


@pytest.mark.slow
@settings(SETTINGS, max_examples=10_000)
@given(content=forged(), damage=DAMAGE)
def test_ten_thousand_forged_files_are_what_their_bytes_say_or_an_input_error(
    tmp_path: Path, content: bytes, damage: tuple[str, int, int]
) -> None:
    check_forged(tmp_path, content, damage)


def test_a_gzip_file_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    bomb = b"\0\0\x08\x01" + struct.pack(">I", 5) + bytes(2**26)
    assert measured(read_or_refuse, save(tmp_path, bomb, compressed=True))[1] < 2**20


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_follows_the_size_of_what_is_read(tmp_path: Path, compressed: bool) -> None:
    size = 2**22
    path = save(tmp_path, b"\0\0\x08\x01" + struct.pack(">I", size) + bytes(size), compressed)
    assert size <= measured(read_idx, path)[1] < 2.5 * size

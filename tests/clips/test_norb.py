import contextlib
import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linear_video.clips.readers.norb import find_norb, open_matrix, open_norb, unpack
from linear_video.common.errors import InputError
from tests.clips.footage_files import put
from tests.clips.norb_files import (
    INTEGERS,
    STEMS,
    UNSIGNED_BYTES,
    View,
    contents,
    decode,
    header,
    matrix,
    picture,
    turntable,
    write_norb,
)

FILES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
FEW = settings(max_examples=100, suppress_health_check=FILES)
MANY = settings(max_examples=10_000, suppress_health_check=FILES)
BYTES = bytes.fromhex("554C3D1E 02000000 02000000 03000000 01000000 00 01 02 FD FE FF")  # 2 x 3
VIEWS = turntable([(4, 6), (0, 9)], [(0, 0), (5, 8)])


def save(folder: Path, content: bytes, name: str = "file.mat") -> Path:
    return put(folder / name, content)


def read_plain(folder: Path, content: bytes) -> np.ndarray:
    return open_matrix(save(folder, content))


def read_packed(folder: Path, content: bytes) -> np.ndarray:
    return open_matrix(unpack(save(folder, gzip.compress(content), "file.mat.gz"), folder / "unpacked"))


READERS = pytest.mark.parametrize("read", [read_plain, read_packed])


# --- one matrix -----------------------------------------------------------------------------------------------------


@READERS
def test_bytes_are_read_as_the_format_defines_them(tmp_path: Path, read: Callable[[Path, bytes], np.ndarray]) -> None:
    values = read(tmp_path, BYTES)
    assert values.dtype == np.uint8
    assert values.tolist() == [[0, 1, 2], [253, 254, 255]]


@READERS
def test_integers_are_read_as_the_format_defines_them(
    tmp_path: Path, read: Callable[[Path, bytes], np.ndarray]
) -> None:
    content = "544C3D1E 01000000 03000000 01000000 01000000 01000000 FFFFFFFF 00000080"
    values = read(tmp_path, bytes.fromhex(content))
    assert values.dtype == np.int32
    assert values.tolist() == [1, -1, -(2**31)]


@READERS
@pytest.mark.parametrize("magic", [UNSIGNED_BYTES, INTEGERS])
@pytest.mark.parametrize("shape", [(1,), (7,), (5, 4), (2, 3, 4), (3, 2, 5, 4), (1, 1, 1, 1)])
def test_up_to_four_dimensions_are_read_in_row_order(
    tmp_path: Path, read: Callable[[Path, bytes], np.ndarray], shape: tuple[int, ...], magic: int
) -> None:
    low, high = (0, 256) if magic == UNSIGNED_BYTES else (-(2**31), 2**31)
    expected = np.random.default_rng(0).integers(low, high, shape)
    np.testing.assert_array_equal(read(tmp_path, matrix(expected, magic)), expected)


def test_a_matrix_is_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    path = save(tmp_path, BYTES)
    values = open_matrix(path)
    assert isinstance(values, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0] = 9
    assert path.read_bytes() == BYTES


def test_opening_a_large_matrix_takes_no_memory(tmp_path: Path) -> None:
    size = 2**24
    path = save(tmp_path, header(UNSIGNED_BYTES, [size]) + bytes(size))
    assert peak_bytes(lambda: open_matrix(path)) < 2**20


@READERS
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends within its header"),
        (BYTES[:7], "ends within its header"),
        (BYTES[:19], "truncated within its header"),
        (BYTES[:20], "should hold 6 bytes .* not 0|6 bytes less"),
        (BYTES[:-1], "should hold 6 bytes .* not 5|1 bytes less"),
        (BYTES + b"\0", "should hold 6 bytes .* not 7|holds more"),
        *[
            (struct.pack("<I", 0x1E3D4C00 | kind) + BYTES[4:], f"starts with 0x1E3D4C{kind:X}")
            for kind in (0x51, 0x52, 0x53, 0x56)  # floats, packed, doubles, 16 bits
        ],
        (BYTES[3::-1] + BYTES[4:], "starts with 0x554C3D1E"),  # big-endian
        (b"\xff\xff\xff\xff" + BYTES[4:], "starts with 0xFFFFFFFF"),
        (b"\0\0\x08\x01" + BYTES[4:], "not a matrix file"),  # MNIST's format
        *[(BYTES[:4] + struct.pack("<i", n) + bytes(400), f"claims to have {n} dim") for n in (0, -1, 9, 2**31 - 1)],
        *[
            (header(UNSIGNED_BYTES, shape) + bytes(6), rf"claims the shape \({shape[0]}, {shape[1]}")
            for shape in [(0, 3), (3, 0), (-2, -3), (-1, 6), (6, -1, 1, 1), (1, -(2**31), 1, 2)]
        ],
        (header(UNSIGNED_BYTES, [2**31 - 1] * 8) + bytes(6), "should hold|more than"),
        (header(INTEGERS, [2**31 - 1]) + bytes(6), "should hold|more than"),
        (header(INTEGERS, [2]) + bytes(2), "should hold 8 bytes .* not 2|6 bytes less"),
        (header(UNSIGNED_BYTES, [2**16, 2**16]), "should hold|more than"),  # 0 in 32 bits
        (header(UNSIGNED_BYTES, [2**30, 2**30, 16]), "should hold|more than"),  # 0 in 64 bits
    ],
)
def test_damaged_matrices_are_refused_by_name(
    tmp_path: Path, read: Callable[[Path, bytes], np.ndarray], content: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "file.mat") in str(caught.value)
    assert not list((tmp_path / "unpacked").glob("*"))


def test_sizes_that_only_fill_up_to_three_count_for_nothing(tmp_path: Path) -> None:
    content = struct.pack("<Ii3i", UNSIGNED_BYTES, 1, 4, 7, 0) + b"abcd"
    assert open_matrix(save(tmp_path, content)).tobytes() == b"abcd"


# --- unpacking ------------------------------------------------------------------------------------------------------


def test_a_file_is_unpacked_once(tmp_path: Path) -> None:
    packed = save(tmp_path, gzip.compress(BYTES), "file.mat.gz")
    target = unpack(packed, tmp_path / "a" / "b")
    assert target == tmp_path / "a" / "b" / "file.mat"
    assert target.read_bytes() == BYTES
    before = target.stat()
    assert unpack(packed, tmp_path / "a" / "b") == target
    after = target.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert [path.name for path in target.parent.iterdir()] == ["file.mat"]


def test_a_newer_compressed_file_is_unpacked_anew(tmp_path: Path) -> None:
    packed = save(tmp_path, gzip.compress(BYTES), "file.mat.gz")
    target = unpack(packed, tmp_path / "unpacked")
    other = BYTES[:-1] + b"\x07"
    save(tmp_path, gzip.compress(other), "file.mat.gz")
    later = target.stat().st_mtime_ns + 10**9
    os.utime(packed, ns=(later, later))
    assert unpack(packed, tmp_path / "unpacked").read_bytes() == other


def test_what_was_unpacked_before_outlives_a_broken_successor(tmp_path: Path) -> None:
    packed = save(tmp_path, gzip.compress(BYTES), "file.mat.gz")
    target = unpack(packed, tmp_path / "unpacked")
    save(tmp_path, gzip.compress(BYTES)[:-1], "file.mat.gz")
    later = target.stat().st_mtime_ns + 10**9
    os.utime(packed, ns=(later, later))
    with pytest.raises(InputError):
        unpack(packed, tmp_path / "unpacked")
    assert [path.name for path in target.parent.iterdir()] == ["file.mat"]
    assert target.read_bytes() == BYTES


def test_a_file_longer_than_one_piece_is_unpacked_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, 3 * 2**20 + 17, np.uint8)
    content = header(UNSIGNED_BYTES, values.shape) + values.tobytes()
    path = unpack(save(tmp_path, gzip.compress(content, 1), "file.mat.gz"), tmp_path / "unpacked")
    np.testing.assert_array_equal(open_matrix(path), values)


def test_a_gzip_file_of_several_members_is_unpacked_whole(tmp_path: Path) -> None:
    packed = gzip.compress(BYTES[:10]) + gzip.compress(BYTES[10:23]) + gzip.compress(BYTES[23:])
    assert unpack(save(tmp_path, packed, "file.mat.gz"), tmp_path).read_bytes() == BYTES


def test_every_truncation_of_a_compressed_matrix_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    whole = gzip.compress(BYTES)
    for length in range(len(whole)):
        with pytest.raises(InputError, match=r"file\.mat\.gz"):
            unpack(save(tmp_path, whole[:length], "file.mat.gz"), tmp_path / "unpacked")
        assert not list((tmp_path / "unpacked").glob("*"))


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(BYTES) + b"rest",
        gzip.compress(BYTES) + gzip.compress(b"more")[:9],
        gzip.compress(BYTES)[:-8] + bytes(8),  # wrong check sum
        gzip.compress(BYTES)[:-4] + bytes(4),  # wrong length
        BYTES,
        b"PK\3\4" + bytes(100),
    ],
    ids=["rest", "half a member", "check sum", "length", "not compressed", "zip"],
)
def test_what_is_no_sound_gzip_file_is_refused_and_leaves_nothing(tmp_path: Path, packed: bytes) -> None:
    with pytest.raises(InputError, match=r"file\.mat\.gz is not a complete gzip file"):
        unpack(save(tmp_path, packed, "file.mat.gz"), tmp_path / "unpacked")
    assert not list((tmp_path / "unpacked").glob("*"))


@pytest.mark.parametrize(
    "sizes", [[2**31 - 1, 2], [2**16, 2**15 + 1], [2**31 - 1] * 8, [1, 2**20, 2**10 + 1], [2**31 - 1]]
)
def test_claims_of_gigabytes_are_refused_and_take_neither_memory_nor_place(tmp_path: Path, sizes: list[int]) -> None:
    packed = save(tmp_path, gzip.compress(header(UNSIGNED_BYTES, sizes) + bytes(100)), "file.mat.gz")
    assert peak_bytes(lambda: refused(lambda: unpack(packed, tmp_path / "unpacked"))) < 3 * 2**20
    assert not list((tmp_path / "unpacked").glob("*"))


def test_a_compressed_file_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    bomb = header(UNSIGNED_BYTES, [5]) + bytes(2**26)
    packed = save(tmp_path, gzip.compress(bomb, 1), "file.mat.gz")
    assert peak_bytes(lambda: refused(lambda: unpack(packed, tmp_path / "unpacked"))) < 2**20
    assert not list((tmp_path / "unpacked").glob("*"))


def peak_bytes(call: Callable[[], Any]) -> int:
    """Most memory allocated at once during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(InputError):
        call()


# --- anything at all ------------------------------------------------------------------------------------------------


@st.composite
def forged(draw: st.DrawFn) -> bytes:
    """Matrix files with one change, or with sizes of any kind; or arbitrary bytes."""
    kind = draw(st.sampled_from(["noise", "sizes", "none", "field", "byte", "cut", "longer"]))
    if kind == "noise":
        return draw(st.binary(max_size=300))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    magic = draw(st.sampled_from([UNSIGNED_BYTES, INTEGERS]))
    if kind == "sizes":
        any_size = st.one_of(st.integers(0, 5), st.integers(-(2**31), 2**31 - 1))
        sizes = draw(st.lists(any_size, max_size=10))
        return header(magic, sizes) + draw(st.binary(max_size=64))
    length = int(np.prod(sizes)) * (4 if magic == INTEGERS else 1)
    content = bytearray(header(magic, sizes) + bytes(37 * i % 251 for i in range(length)))
    fields = 2 + max(3, len(sizes))
    if kind == "field":
        struct.pack_into("<i", content, 4 * draw(st.integers(0, fields - 1)), draw(st.integers(-(2**31), 2**31 - 1)))
    elif kind == "byte":
        content[draw(st.integers(0, 4 * fields - 1))] = draw(st.integers(0, 255))
    elif kind == "cut":
        del content[draw(st.integers(0, len(content) - 1)) :]
    elif kind == "longer":
        content += draw(st.binary(min_size=1, max_size=20))
    return bytes(content)


def meant(content: bytes) -> tuple[str, tuple[int, ...], bytes] | None:
    """Type, shape and values of a matrix file by the format's definition; None if it cannot be read."""
    fields = [int.from_bytes(content[i : i + 4], "little", signed=True) for i in range(0, min(len(content), 48), 4)]
    kind = {UNSIGNED_BYTES: "uint8", INTEGERS: "int32"}.get(fields[0]) if len(content) >= 8 else None
    if kind is None or not 1 <= fields[1] <= 8:
        return None
    start = 8 + 4 * max(3, fields[1])
    shape = tuple(fields[2 : 2 + fields[1]])
    count = 4 if kind == "int32" else 1
    for size in shape:
        count *= size
    if len(content) < start or min(shape) < 1 or len(content) - start != count:
        return None
    return kind, shape, content[start:]


def check_open(folder: Path, content: bytes) -> None:
    path = save(folder, content)
    found: list[np.ndarray] = []

    def read() -> None:
        with contextlib.suppress(InputError):
            found.append(open_matrix(path))

    assert peak_bytes(read) < len(content) + 2**20
    expected = meant(content)
    assert bool(found) == (expected is not None)
    for values in found:
        assert (str(values.dtype), values.shape, values.tobytes()) == expected


def check_unpack(folder: Path, content: bytes, damage: tuple[str, int, int]) -> None:
    """Unpack a compressed file with no damage, one wrong byte, its end cut off, or one byte added."""
    packed = bytearray(gzip.compress(content, 1))
    kind, place, value = damage
    if kind == "byte":
        packed[place % len(packed)] = value
    elif kind == "cut":
        del packed[place % len(packed) :]
    elif kind == "longer":
        packed.append(value)
    path = save(folder, bytes(packed), "file.mat.gz")
    target = folder / "unpacked" / "file.mat"
    target.unlink(missing_ok=True)
    results: list[Path] = []

    def read() -> None:
        with contextlib.suppress(InputError):
            results.append(unpack(path, target.parent))

    assert peak_bytes(read) < len(content) + 3 * 2**20
    if kind == "none":
        assert bool(results) == (meant(content) is not None)
    if results:  # an unpacked file is whole, whatever the damage
        assert results == [target]
        assert target.read_bytes() == content
        assert meant(content) is not None
    assert list(target.parent.glob("*")) == results


DAMAGE = st.tuples(
    st.sampled_from(["none", "none", "byte", "cut", "longer"]), st.integers(0, 5000), st.integers(0, 255)
)
CLAIMS = header(UNSIGNED_BYTES, [2**31 - 1])
SOUND = ("none", 0, 0)


@FEW
@given(content=forged())
@example(content=CLAIMS)
@example(content=header(INTEGERS, [2**31 - 1] * 8))
def test_any_bytes_are_a_matrix_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    check_open(tmp_path, content)


@pytest.mark.slow
@MANY
@given(content=forged())
def test_ten_thousand_forged_files_are_a_matrix_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    check_open(tmp_path, content)


@FEW
@given(content=forged(), damage=DAMAGE)
@example(content=CLAIMS, damage=SOUND)
@example(content=header(INTEGERS, [2**31 - 1] * 8), damage=SOUND)
def test_any_compressed_bytes_are_unpacked_whole_or_an_input_error(
    tmp_path: Path, content: bytes, damage: tuple[str, int, int]
) -> None:
    check_unpack(tmp_path, content, damage)


@pytest.mark.slow
@MANY
@given(content=forged(), damage=DAMAGE)
def test_ten_thousand_forged_compressed_files_are_unpacked_whole_or_an_input_error(
    tmp_path: Path, content: bytes, damage: tuple[str, int, int]
) -> None:
    check_unpack(tmp_path, content, damage)


# --- three files that belong together -------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["training", "testing"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_half_has_its_images_and_facts(tmp_path: Path, half: str, compressed: bool) -> None:
    write_norb(tmp_path / "raw", half, VIEWS, compressed)
    part = open_norb(tmp_path / "raw", half, tmp_path / "unpacked")
    assert part.images.shape == (len(VIEWS), 2, 8, 8)
    assert part.images.dtype == np.uint8
    assert isinstance(part.images, np.memmap)
    assert sorted(View(*facts) for facts in part.facts.tolist()) == sorted(VIEWS)
    for facts, pair in zip(part.facts.tolist(), part.images, strict=True):
        for camera in (0, 1):
            np.testing.assert_array_equal(pair[camera], picture(View(*facts), camera))
    assert (tmp_path / "unpacked").exists() == compressed  # what is plain is read where it is


def test_compressed_halves_are_unpacked_once(tmp_path: Path) -> None:
    write_norb(tmp_path / "raw", "training", VIEWS, compressed=True)
    states = []
    for _ in range(2):
        open_norb(tmp_path / "raw", "training", tmp_path / "unpacked")
        files = sorted((tmp_path / "unpacked").iterdir())
        states.append([(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in files])
    assert states[0] == states[1]
    assert [name for name, *_ in states[0]] == [f"{STEMS['training']}-{kind}.mat" for kind in ("cat", "dat", "info")]


def test_plain_files_are_preferred_to_compressed_ones(tmp_path: Path) -> None:
    write_norb(tmp_path, "training", VIEWS)
    for kind in ("dat", "cat", "info"):
        (tmp_path / f"{STEMS['training']}-{kind}.mat.gz").write_bytes(b"never read")
    assert len(open_norb(tmp_path, "training", tmp_path / "unpacked").images) == len(VIEWS)
    assert not (tmp_path / "unpacked").exists()


def test_plain_and_compressed_files_go_together(tmp_path: Path) -> None:
    write_norb(tmp_path, "testing", VIEWS)
    plain = tmp_path / f"{STEMS['testing']}-dat.mat"
    plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    part = open_norb(tmp_path, "testing", tmp_path / "unpacked")
    np.testing.assert_array_equal(decode(part.images[:, 1])[:, :5], part.facts)
    assert [path.name for path in (tmp_path / "unpacked").iterdir()] == [plain.name]


def test_halves_are_found_by_their_images(tmp_path: Path) -> None:
    assert find_norb(tmp_path) == []
    write_norb(tmp_path, "testing", VIEWS[:1], compressed=True)
    assert find_norb(tmp_path) == ["testing"]
    write_norb(tmp_path, "training", VIEWS[:1])
    assert find_norb(tmp_path) == ["training", "testing"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["dat", "cat", "info"])
def test_a_missing_file_is_named(tmp_path: Path, kind: str, compressed: bool) -> None:
    write_norb(tmp_path, "training", VIEWS[:1], compressed)
    (missing,) = tmp_path.glob(f"*-{kind}.mat*")
    missing.unlink()
    with pytest.raises(InputError, match="is missing") as caught:
        open_norb(tmp_path, "training", tmp_path / "unpacked")
    assert f"{STEMS['training']}-{kind}.mat" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "shape", "magic"),
    [
        ("cat", (4,), INTEGERS),
        ("cat", (6,), INTEGERS),
        ("cat", (5, 1), INTEGERS),
        ("cat", (5,), UNSIGNED_BYTES),
        ("info", (4, 4), INTEGERS),
        ("info", (5, 3), INTEGERS),
        ("info", (5, 5), INTEGERS),
        ("info", (20,), INTEGERS),
        ("info", (5, 4), UNSIGNED_BYTES),
        ("dat", (5, 2, 8, 8), INTEGERS),
        ("dat", (5, 1, 8, 8), UNSIGNED_BYTES),
        ("dat", (5, 3, 8, 8), UNSIGNED_BYTES),
        ("dat", (5, 2, 64), UNSIGNED_BYTES),
        ("dat", (5, 2, 8, 8, 1), UNSIGNED_BYTES),
        ("dat", (4, 2, 8, 8), UNSIGNED_BYTES),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, kind: str, shape: tuple[int, ...], magic: int
) -> None:
    write_norb(tmp_path, "training", VIEWS[:5])
    save(tmp_path, matrix(np.zeros(shape), magic), f"{STEMS['training']}-{kind}.mat")
    with pytest.raises(InputError, match=STEMS["training"]):
        open_norb(tmp_path, "training", tmp_path / "unpacked")


def test_categories_and_info_of_bytes_are_refused(tmp_path: Path) -> None:
    write_norb(tmp_path, "training", VIEWS[:5])
    save(tmp_path, matrix(np.zeros(5), UNSIGNED_BYTES), f"{STEMS['training']}-cat.mat")
    save(tmp_path, matrix(np.zeros((5, 4)), UNSIGNED_BYTES), f"{STEMS['training']}-info.mat")
    with pytest.raises(InputError, match=STEMS["training"]):
        open_norb(tmp_path, "training", tmp_path / "unpacked")


LIMITS = {"category": 4, "instance": 9, "elevation": 8, "azimuth": 34, "lighting": 5}


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        *[(name, greatest, True) for name, greatest in LIMITS.items()],
        *[(name, greatest + (2 if name == "azimuth" else 1), False) for name, greatest in LIMITS.items()],
        *[(name, -2, False) for name in LIMITS],
        *[("azimuth", value, False) for value in (1, 17, 33, 35, -1)],
        *[(name, 2**31 - 2, False) for name in LIMITS],
    ],
)
def test_facts_must_be_ones_that_small_norb_has(tmp_path: Path, name: str, value: int, right: bool) -> None:
    place = ["category", "instance", "elevation", "azimuth", "lighting"].index(name)
    rows = np.zeros((5, 5), int)
    rows[3, place] = value
    write_norb(tmp_path, "testing", VIEWS[:5])
    save(tmp_path, matrix(rows[:, 0], INTEGERS), f"{STEMS['testing']}-cat.mat")
    save(tmp_path, matrix(rows[:, 1:], INTEGERS), f"{STEMS['testing']}-info.mat")
    if right:
        facts = open_norb(tmp_path, "testing", tmp_path / "unpacked").facts
        assert facts.dtype == np.int32
        assert facts[3, place] == (17 if name == "azimuth" else value)
        assert np.count_nonzero(facts) == 1
    else:
        with pytest.raises(InputError, match=STEMS["testing"]):
            open_norb(tmp_path, "testing", tmp_path / "unpacked")


@pytest.mark.parametrize("kind", ["dat", "cat", "info"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_broken_file_of_the_three_is_named(tmp_path: Path, kind: str, compressed: bool) -> None:
    write_norb(tmp_path, "training", VIEWS[:5], compressed)
    (path,) = tmp_path.glob(f"*-{kind}.mat*")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError) as caught:
        open_norb(tmp_path, "training", tmp_path / "unpacked")
    assert path.name in str(caught.value)
    assert not [left for left in (tmp_path / "unpacked").glob("*") if kind in left.name]


def test_the_order_of_views_is_the_files(tmp_path: Path) -> None:
    for kind, content in contents(VIEWS[::-1]).items():
        save(tmp_path, content, f"{STEMS['training']}-{kind}.mat")
    facts = open_norb(tmp_path, "training", tmp_path / "unpacked").facts
    assert facts.tolist() == [list(view) for view in VIEWS[::-1]]

import contextlib
import os
import pickle
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from scipy.io import savemat, whosmat

from linear_video.clips.readers.recordings import Source, find_sources, matches, natural_order, read_image, read_source
from linear_video.common.errors import InputError
from tests.clips.footage_files import (
    FPS,
    LOSSLESS,
    LOSSY,
    cut_off,
    decoded,
    luma,
    noise,
    put,
    read_all,
    read_whole,
    tree,
    write_array,
    write_gif,
    write_images,
    write_video,
)
from tests.processes import module_forked

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(FUZZ, max_examples=1000)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 0, 0), (255, 255, 255)]
VIDEO_SUFFIXES = [".avi", ".mp4", ".mov", ".m4v", ".webm", ".mkv", ".gif"]


def found(root: Path) -> dict[str, Source]:
    sources = find_sources(root)
    names = [source.name for source in sources]
    assert len(set(names)) == len(names)
    return dict(zip(names, sources, strict=True))


# ---- videos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "suffix"), LOSSLESS + LOSSY)
def test_videos_give_the_frames_that_opencv_decodes_one_by_one(tmp_path: Path, codec: str, suffix: str) -> None:
    path = write_video(tmp_path / f"video{suffix}", noise(0, frames=23), codec)
    [(recording, frames)] = read_all(path)
    assert frames.dtype == np.uint8
    assert frames.shape == (23, 24, 32, 3)
    np.testing.assert_array_equal(frames, decoded(path))
    assert recording.fps == pytest.approx(FPS)
    assert recording.name == path.name


@pytest.mark.parametrize(("codec", "suffix"), LOSSLESS)
@pytest.mark.parametrize(("frames", "height", "width"), [(2, 16, 16), (9, 30, 20), (40, 24, 32)])
def test_lossless_videos_give_the_frames_that_were_written(
    tmp_path: Path, codec: str, suffix: str, frames: int, height: int, width: int
) -> None:
    written = noise(1, frames, height, width)
    [(_, read)] = read_all(write_video(tmp_path / f"video{suffix}", written, codec))
    np.testing.assert_array_equal(read, written)


def test_gifs_give_the_frames_that_pillow_sees(tmp_path: Path) -> None:
    path = write_gif(tmp_path / "video.gif", noise(2, frames=9))
    with Image.open(path) as picture:
        seen = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]
    [(recording, frames)] = read_all(path)
    np.testing.assert_array_equal(frames, seen)
    assert recording.fps == pytest.approx(1000 / 80)


# MATLAB's are told by their variables below, and become grey as NumPy's do.
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".gif", ".png", ".npy"])
def test_colours_are_in_the_order_red_green_blue_and_grey_is_their_luma(tmp_path: Path, suffix: str) -> None:
    written = np.broadcast_to(np.array(COLOURS, np.uint8)[:, None, None], (len(COLOURS), 16, 16, 3))
    if suffix == ".png":
        source = Source("images", "", tuple(sorted(write_images(tmp_path, written).iterdir())))
    else:
        path = tmp_path / f"video{suffix}"
        if suffix == ".npy":
            write_array(path, written)
        else:
            (write_gif if suffix == ".gif" else write_video)(path, written)
        source = Source(path.name, "", (path,))
    [(_, colour)] = read_whole(source, channels=3)
    np.testing.assert_array_equal(colour, written)
    [(_, grey)] = read_whole(source, channels=1)
    assert grey.dtype == np.uint8
    assert grey.shape == (len(COLOURS), 16, 16, 1)
    np.testing.assert_allclose(grey[..., 0], luma(written), atol=0.51 if suffix != ".png" else 1)


@pytest.mark.parametrize(("codec", "suffix"), [*LOSSLESS, ("MJPG", ".avi"), ("VP80", ".webm"), ("mp4v", ".mp4")])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_videos_that_were_cut_off_are_refused(tmp_path: Path, codec: str, suffix: str, share: float) -> None:
    path = cut_off(write_video(tmp_path / f"video{suffix}", noise(3, frames=30), codec), share)
    with pytest.raises(InputError, match=r"damaged|cut off"):
        read_all(path)


def test_every_truncation_of_a_gif_is_refused_or_gives_the_frames_it_has_left(tmp_path: Path) -> None:
    path = write_gif(tmp_path / "video.gif", noise(4, frames=4, height=8, width=8))
    content, whole = path.read_bytes(), decoded(path)
    refused = 0
    for length in range(len(content)):
        put(path, content[:length])
        try:
            [(_, frames)] = read_all(path)
        except InputError:
            refused += 1
        else:  # data may end in what looks like the end mark
            assert content[length - 1] == 0x3B
            assert len(frames) < 2 or np.array_equal(frames[:-1], whole[: len(frames) - 1])
    assert refused > 0.95 * len(content)


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile real.mkv\n", "#EXTM3U\n#EXTINF:1,\nreal.mkv\n", "x", ""])
def test_texts_with_the_name_of_a_video_are_refused_and_what_they_name_is_not_read(
    tmp_path: Path, suffix: str, text: str
) -> None:
    write_video(tmp_path / "real.mkv", noise(5))
    path = tmp_path / f"text{suffix}"
    path.write_text(text)
    with pytest.raises(InputError, match="first bytes" if len(text) > 1 else "first bytes|empty"):
        read_all(path)


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_videos_that_vanish_are_an_input_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError):
        read_all(tmp_path / f"gone{suffix}")


# ---- images ----------------------------------------------------------------------------------------------------------


def imread(path: Path) -> np.ndarray:
    """In colour, as OpenCV decodes it; in red, green, blue."""
    image = cv2.imread(str(path))
    assert image is not None
    return image[..., ::-1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_images_are_those_of_imread(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, noise(6, frames=1), suffix)
    path = tmp_path / f"frame1{suffix}"
    np.testing.assert_array_equal(read_image(path, 3), imread(path))
    np.testing.assert_array_equal(read_image(path, 1)[..., 0], cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    if suffix == ".png":  # JPEG decoders give the grey that is stored
        np.testing.assert_allclose(read_image(path, 1)[..., 0], luma(read_image(path, 3)), atol=1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_every_kind_have_the_channels_asked_for(tmp_path: Path, mode: str, channels: int) -> None:
    grey = noise(7, frames=1)[0, ..., 0]
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(grey).convert("RGB").convert(mode)
    picture.save(tmp_path / "picture.png")
    image = read_image(tmp_path / "picture.png", channels)
    assert image.dtype == np.uint8
    assert image.shape == (*grey.shape, channels)
    if mode in ("L", "LA", "RGBA", "I;16"):
        np.testing.assert_allclose(image, np.repeat(grey[..., None], channels, axis=2), atol=1)


def test_a_folder_of_images_is_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    written = noise(8, frames=12)
    write_images(tmp_path / "class" / "take", written)
    [source] = find_sources(tmp_path)
    assert (source.name, source.label) == ("class/take", "class")
    assert [path.name for path in source.paths] == [f"frame{number}.png" for number in range(1, 13)]
    [(recording, frames)] = read_whole(source)
    np.testing.assert_array_equal(frames, written)
    assert recording.fps is None


def with_preview(picture: bytes, preview: bytes) -> bytes:
    """A JPEG file with another complete one in its header, as cameras write it."""
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(preview) + 8) + b"Exif\0\0" + preview + picture[2:]


@pytest.mark.parametrize("kind", [".png", ".jpg", "preview"])
def test_every_truncation_of_an_image_is_refused(tmp_path: Path, kind: str) -> None:
    suffix = ".png" if kind == ".png" else ".jpg"
    write_images(tmp_path, noise(9, frames=2, height=8, width=8), suffix)
    path = tmp_path / f"frame1{suffix}"
    content = path.read_bytes()
    if kind == "preview":
        content = with_preview(content, (tmp_path / "frame2.jpg").read_bytes())
        path.write_bytes(content)
    whole = read_image(path, 3)
    np.testing.assert_array_equal(whole, imread(path))
    for length in sorted({*range(0, len(content), 3), *range(len(content) - 9, len(content))}):
        put(path, content[:length])
        if kind == ".png" and length >= len(content) - 4:  # all but the check sum of the end mark
            with contextlib.suppress(InputError):
                np.testing.assert_array_equal(read_image(path, 3), whole)
        else:
            with pytest.raises(InputError, match=r"frame1\.\w+ is"):
                read_image(path, 3)


# ---- names and folders -----------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@given(
    numbers=st.lists(st.integers(0, 10**6), unique=True),
    prefix=st.sampled_from(["", "frame", "Take 3 - ", "1.5x"]),
    suffix=st.sampled_from(["", ".jpg", " b2.png"]),
    width=st.sampled_from([0, 3, 8]),
)
def test_names_are_sorted_by_their_numbers(numbers: list[int], prefix: str, suffix: str, width: int) -> None:
    prefix += "_" if prefix.endswith("x") else ""
    names = {f"{prefix}{number:0{width}d}{suffix}": number for number in numbers}
    assert [names[name] for name in sorted(names, key=natural_order)] == sorted(numbers)


@given(names=st.lists(NAMES | st.from_regex(r"[ab]{0,2}[0-9]{0,2}[ab]{0,2}[0-9]{0,2}", fullmatch=True), unique=True))
@example(names=["run", "run2"])
@example(names=["a1", "a01", "A1", "A", "a"])
def test_any_names_have_one_order_whatever_order_they_come_in(names: list[str]) -> None:
    in_order, from_the_end = sorted(names, key=natural_order), names[::-1]
    from_the_end.sort(key=natural_order)
    assert in_order == from_the_end


def test_folders_whose_names_continue_each_other_are_found(tmp_path: Path) -> None:
    for name in ("run", "run2", "run10", "Run 1"):
        write_array(tmp_path / name / "a.npy", noise(0))
    assert sorted(found(tmp_path)) == ["Run 1/a.npy", "run/a.npy", "run10/a.npy", "run2/a.npy"]
    names = list(found(tmp_path))
    assert names.index("run/a.npy") < names.index("run2/a.npy") < names.index("run10/a.npy")


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("Golf/001/a.avi", [], True),
        ("Golf/001/a.avi", ["Golf"], True),
        ("Golf/001/a.avi", ["Golf/001"], True),
        ("Golf/001/a.avi", ["Golf/001/a.avi"], True),
        ("Golf/001/a.avi", ["G*"], True),
        ("Golf/001/a.avi", ["*/00?"], True),
        ("Golf/001/a.avi", ["Walk", "*.avi"], True),
        ("Golf/001/a.avi", ["Golf/00"], False),
        ("Golf/001/a.avi", ["golf"], False),
        ("Golf/001/a.avi", ["001"], False),
        ("Golf/001/a.avi", ["Walk"], False),
        ("Golf/001", ["Golf/001/a.avi"], False),
    ],
)
def test_patterns_fit_names_and_folders(name: str, patterns: list[str], expected: bool) -> None:
    assert matches(name, patterns) is expected


def test_videos_arrays_and_folders_of_images_are_sources_and_their_folder_is_the_label(tmp_path: Path) -> None:
    root = tmp_path / "footage"
    write_video(root / "alone.avi", noise(0))
    write_array(root / "water" / "boiling.npy", noise(1)).rename(root / "water" / "boiling.NPY")
    for name in ("b10.avi", "b9.MKV"):
        write_video(root / "fire" / "deep" / "down" / name, noise(2), codec="MJPG")
    write_images(root / "smoke" / "001", noise(3), ".jpg")
    write_images(root / "flag", noise(4), ".PNG")
    expected = {
        "alone.avi": "footage",
        "fire/deep/down/b9.MKV": "fire",
        "fire/deep/down/b10.avi": "fire",
        "flag": "flag",
        "smoke/001": "smoke",
        "water/boiling.NPY": "water",
    }
    assert {name: source.label for name, source in found(root).items()} == expected
    assert list(found(root)) == list(expected)
    assert not any(source.reason for source in found(root).values())


def test_images_in_the_root_itself_are_named_after_it(tmp_path: Path) -> None:
    write_images(tmp_path / "waves", noise(0))
    [source] = find_sources(tmp_path / "waves")
    assert (source.name, source.label) == ("waves", "waves")


def test_the_current_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "waves", noise(0))
    monkeypatch.chdir(tmp_path / "waves")
    [source] = find_sources(Path())
    assert (source.name, source.label) == ("waves", "waves")


@pytest.mark.parametrize("top", ["", "ucf action", "ucf_sports_actions/ucf action"])
def test_both_forms_of_a_ucf_recording_are_one_source(tmp_path: Path, top: str) -> None:
    folder = tmp_path / top / "Golf-Swing-Side" / "001"
    write_video(folder / "2538-5_70133.avi", noise(0))
    write_images(folder, noise(1), ".jpg", name="2538-5_70133 {}")
    write_images(folder / "gt", noise(2, frames=3), ".jpg")
    write_images(folder / "gt2", noise(2, frames=3), ".jpg")
    [source] = find_sources(tmp_path)
    assert source.label == "Golf-Swing-Side"
    assert source.name == "/".join([*Path(top).parts, "Golf-Swing-Side", "001", "2538-5_70133.avi"])
    assert [path.name for path in source.paths] == ["2538-5_70133.avi"]
    assert [path.name for path in source.images] == [f"2538-5_70133 {number}.jpg" for number in range(1, 13)]
    [(_, frames)] = read_whole(source)
    np.testing.assert_array_equal(frames, noise(0))


def test_images_beside_several_videos_belong_to_none(tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, noise(0))
    write_images(tmp_path, noise(1))
    assert {name: source.images for name, source in found(tmp_path).items()} == {"a.avi": (), "b.avi": ()}


def test_hidden_files_leavings_of_archives_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    write_array(tmp_path / "class" / "good.npy", noise(0))
    for name in ("class/._good.npy", ".hidden/x.npy", "__MACOSX/x.npy", "class/__MACOSX/x.npy", "class/gt2/x.npy"):
        write_array(tmp_path / name, noise(1))
    for name in ("notes.txt", "class/._x.avi", "class/Thumbs.db", "class/readme", "class/x.avi.txt", "class/.jpg"):
        (tmp_path / name).write_text("no footage")
    assert list(found(tmp_path)) == ["class/good.npy"]


def test_links_to_folders_are_followed_and_loops_are_told(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    write_array(root / "class" / "a.npy", noise(0))
    write_array(elsewhere / "b.npy", noise(1))
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "c.npy").symlink_to(elsewhere / "b.npy")
    (root / "class" / "up").symlink_to(root)
    (root / "class" / "self").symlink_to(root / "class")
    (elsewhere / "back").symlink_to(root / "class")
    (root / "round.avi").symlink_to(root / "round.avi")
    (root / "there.avi").symlink_to(root / "back.avi")
    (root / "back.avi").symlink_to(root / "there.avi")
    (root / "nowhere.avi").symlink_to(tmp_path / "gone.avi")
    sources = found(root)
    usable = {name for name, source in sources.items() if not source.reason}
    assert usable == {"class/a.npy", "linked/b.npy", "linked/c.npy", "linked/back/a.npy"}
    loops = {"class/up", "class/self", "linked/back/up", "linked/back/self"}
    links = {"round.avi", "there.avi", "back.avi", "nowhere.avi"}
    assert set(sources) - usable == loops | links
    assert all("back to a folder" in sources[name].reason for name in loops)
    assert all("nowhere or in a circle" in sources[name].reason for name in links)


def test_what_is_no_file_has_a_reason_and_a_folder_may_be_called_like_a_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    write_array(tmp_path / "folder.avi" / "a.npy", noise(0))
    (tmp_path / "empty.mp4").mkdir()
    sources = found(tmp_path)
    assert set(sources) == {"pipe.avi", "folder.avi/a.npy"}
    assert sources["pipe.avi"].reason == "not a regular file"
    assert not sources["folder.avi/a.npy"].reason


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may open everything")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_folders_that_may_not_be_opened_are_told(tmp_path: Path, mode: int) -> None:
    write_array(tmp_path / "open" / "a.npy", noise(0))
    write_array(tmp_path / "closed" / "b.npy", noise(1))
    (tmp_path / "closed").chmod(mode)
    try:
        sources = found(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert not sources.pop("open/a.npy").reason
    assert sources
    assert all(name.startswith("closed") and source.reason for name, source in sources.items())


# ---- arrays ----------------------------------------------------------------------------------------------------------

GREY = noise(10, frames=5, height=7, width=9)[..., 0]
COLOUR = noise(11, frames=5, height=7, width=9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (GREY, [GREY]),
        (COLOUR, [COLOUR]),
        (np.stack([GREY, 255 - GREY]), [GREY, 255 - GREY]),
        (np.stack([COLOUR, 255 - COLOUR]), [COLOUR, 255 - COLOUR]),
        (np.asfortranarray(GREY), [GREY]),
        (GREY.astype(np.int64), [GREY]),
        (GREY.astype(">u2"), [GREY]),
        (GREY.astype(np.float32), [GREY]),
        (GREY / 255, [GREY]),
        (np.clip(GREY - 0.4, 0, 255), [GREY]),
        (np.clip(GREY + 0.4, 0, 255) / 255, [GREY]),
        (np.clip(GREY - 0.4, 0, 255) / 255, [GREY]),
        ((COLOUR / 255).astype(np.float32), [COLOUR]),
        (np.stack([GREY, 255 - GREY]) / 255, [GREY, 255 - GREY]),
        (GREY % 2, [GREY % 2]),
        ((GREY % 2).astype(np.int64), [GREY % 2]),
        ((GREY % 2).astype(np.float64), [GREY % 2 * 255]),
        (np.zeros((4, 5, 6)), [np.zeros((4, 5, 6), np.uint8)]),
    ],
)
def test_numpy_arrays_of_every_layout_give_their_frames(
    tmp_path: Path, channels: int, values: np.ndarray, expected: list[np.ndarray]
) -> None:
    path = write_array(tmp_path / "film.npy", values)
    recordings = read_all(path, channels)
    names = [recording.name for recording, _ in recordings]
    assert names == (["film.npy"] if len(expected) == 1 else ["film.npy/000", "film.npy/001"])
    for (_, frames), whole in zip(recordings, expected, strict=True):
        assert frames.dtype == np.uint8
        if whole.ndim == 3:
            np.testing.assert_array_equal(frames, np.repeat(whole[..., None], channels, axis=3))
        elif channels == 3:
            np.testing.assert_array_equal(frames, whole)
        else:
            np.testing.assert_allclose(frames[..., 0], luma(whole), atol=0.51)


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_variables_of_every_layout_give_their_frames(tmp_path: Path, compressed: bool) -> None:
    variables = {
        "grey": GREY.transpose(1, 2, 0),
        "floats": GREY.transpose(1, 2, 0) / 255,
        "colour": COLOUR.transpose(1, 2, 3, 0),
        "several": np.stack([GREY, 255 - GREY]).transpose(2, 3, 1, 0),
        "note": "no frames",
        "number": 3.0,
    }
    savemat(tmp_path / "film.mat", variables, do_compression=compressed)
    recordings = {recording.name: frames for recording, frames in read_all(tmp_path / "film.mat")}
    grey = np.repeat(GREY[..., None], 3, axis=3)
    expected = {"grey": grey, "floats": grey, "colour": COLOUR, "several/000": grey, "several/001": 255 - grey}
    assert set(recordings) == {f"film.mat/{name}" for name in expected}
    for name, frames in expected.items():
        np.testing.assert_array_equal(recordings[f"film.mat/{name}"], frames)


def test_a_matlab_cell_array_gives_a_recording_for_each_cell(tmp_path: Path) -> None:
    cells = np.empty((1, 12), object)
    for number in range(12):
        cells[0, number] = noise(number, frames=3 + number)[..., 0].transpose(1, 2, 0)
    savemat(tmp_path / "ucla50.mat", {"imgdb": cells})
    recordings = read_all(tmp_path / "ucla50.mat", channels=1)
    assert [recording.name for recording, _ in recordings] == [f"ucla50.mat/imgdb/{i:03d}" for i in range(12)]
    for number, (_, frames) in enumerate(recordings):
        np.testing.assert_array_equal(frames[..., 0], noise(number, frames=3 + number)[..., 0])


def changed(values: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    values = values.astype(np.float64)
    values[place] = value
    return values


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.int64) + 1000,
        GREY.astype(np.int64) - 300,
        changed(GREY, (0, 0, 0), 255.5),
        changed(GREY, (4, 6, 8), -0.01),
        changed(GREY, (2, 3, 4), np.inf),
        changed(GREY, (0, 0, 0), np.nan),
        changed(GREY, (2, 3, 4), np.nan),
        changed(GREY / 255, (4, 6, 8), np.nan),
        GREY * 1j,
        np.zeros((5, 0, 7)),
    ],
)
def test_values_that_are_no_brightness_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = write_array(tmp_path / "film.npy", values)
    with pytest.raises(InputError, match="holds"):
        read_all(path)


def test_values_of_matlab_files_that_are_no_brightness_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mat"
    arrays = {"a": GREY.astype(np.int64) + 1000, "b": changed(GREY / 255, (4, 6, 8), np.nan), "c": np.zeros((5, 0, 7))}
    savemat(path, {name: values.transpose(1, 2, 0) for name, values in arrays.items()})
    recordings = list(read_source(Source(path.name, "", (path,)), 3))
    assert [recording.name for recording in recordings] == ["film.mat/a", "film.mat/b", "film.mat/c"]
    for recording in recordings:
        with pytest.raises(InputError, match="holds"):
            list(recording.frames)


def test_complex_values_of_matlab_files_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "film.mat", {"film": GREY.transpose(1, 2, 0) * 1j})
    with pytest.raises(InputError, match="holds"):
        read_all(tmp_path / "film.mat")


@pytest.mark.parametrize(
    "values",
    [
        np.array(1.0),
        np.zeros(5),
        np.zeros((5, 6)),
        np.zeros((5, 3)),
        np.zeros((5, 6, 3)),  # colour without an axis of time
        np.zeros((2, 2, 5, 6, 7)),
        np.zeros((5, 6, 7), bool),
        np.zeros((5, 6, 7), "S3"),
        np.zeros((5, 6, 7), "datetime64[s]"),
        np.zeros((5, 6, 7), [("a", "u1"), ("b", "f4")]),
    ],
)
def test_numpy_arrays_that_are_no_frames_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = write_array(tmp_path / "film.npy", values)
    with pytest.raises(InputError, match="holds"):
        read_all(path)


@pytest.mark.parametrize("variables", [{}, {"a": 1.0, "b": "text", "c": GREY[0], "d": {"e": GREY}}])
def test_matlab_files_without_frames_are_refused(tmp_path: Path, variables: dict[str, Any]) -> None:
    savemat(tmp_path / "film.mat", variables)
    with pytest.raises(InputError, match="holds no array of frames"):
        read_all(tmp_path / "film.mat")


def test_matlab_files_of_version_73_are_refused_with_what_to_do(tmp_path: Path) -> None:
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    (tmp_path / "film.mat").write_bytes(header + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="-v7"):
        read_all(tmp_path / "film.mat")


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
@pytest.mark.parametrize("content", [b"", b"This is a text, not an array of anything at all. " * 9])
def test_texts_with_the_name_of_an_array_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"film{suffix}").write_bytes(content)
    with pytest.raises(InputError, match="not a valid"):
        read_all(tmp_path / f"film{suffix}")


def test_every_truncation_of_a_numpy_file_is_refused(tmp_path: Path) -> None:
    path = write_array(tmp_path / "film.npy", GREY)
    content = path.read_bytes()
    for length in range(len(content)):
        with pytest.raises(InputError):
            read_all(put(path, content[:length]))


# An empty file is refused above; half a file, below.
@pytest.mark.parametrize(
    ("missing", "compressed"),
    [
        (0.9, False),
        (0.1, True),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in [(0.9, True), (0.1, False)]),
    ],
)
def test_matlab_files_that_were_cut_off_are_refused(tmp_path: Path, missing: float, compressed: bool) -> None:
    savemat(tmp_path / "film.mat", {"film": GREY}, do_compression=compressed)
    path = cut_off(tmp_path / "film.mat", 1 - missing)
    with pytest.raises(InputError):
        read_all(path)


class Trap:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["array of objects", "pickle"])
def test_pickles_are_refused_without_unpickling(tmp_path: Path, form: str) -> None:
    path, trace = tmp_path / "film.npy", tmp_path / "trace"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Trap(trace)))
    else:
        np.save(path, np.full((2, 2, 2), Trap(trace)), allow_pickle=True)
    with pytest.raises(InputError, match="not a valid NumPy file"):
        read_all(path)
    assert not trace.exists()


def test_a_zip_archive_with_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "film.npz", film=GREY)
    (tmp_path / "film.npz").rename(tmp_path / "film.npy")
    with pytest.raises(InputError, match="not a valid NumPy file"):
        read_all(tmp_path / "film.npy")


# ---- anything at all -------------------------------------------------------------------------------------------------

STARTS = {
    ".npy": [b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"PK\x03\x04"],
    ".gif": [b"GIF89a", b"GIF87a\x08\x00\x08\x00"],
    ".avi": [b"RIFF\xff\x00\x00\x00AVI LIST", b"RIFF"],
    ".jpg": [b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xdb"],
    ".png": [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0", b"\x89PNG"],
}
ENDS = {".gif": b"\x3b", ".jpg": b"\xff\xd9", ".png": b"\0\0\0\0IEND\xaeB\x60\x82"}


def valid_files(folder: Path) -> dict[str, bytes]:
    frames = noise(12, frames=4, height=8, width=8)
    write_images(folder, frames[:1], ".jpg")
    write_images(folder, frames[:1], ".png")
    paths = {
        ".npy": write_array(folder / "valid.npy", frames / 255),
        ".gif": write_gif(folder / "valid.gif", frames),
        ".avi": write_video(folder / "valid.avi", frames),
        ".jpg": folder / "frame1.jpg",
        ".png": folder / "frame1.png",
    }
    return {suffix: path.read_bytes() for suffix, path in paths.items()}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return valid_files(tmp_path_factory.mktemp("valid"))


def read_or_refuse(path: Path, every_channels: tuple[int, ...] = (1, 3)) -> bool:
    """Whether a file can be read; if not, it raises an ``InputError``. (For videos, OpenCV's error is accepted.)"""
    refused = (InputError, cv2.error) if path.suffix in (".avi", ".gif") else (InputError,)
    for channels in every_channels:
        try:
            for recording in read_source(Source(path.name, "", (path,)), channels):
                for frame in recording.frames:
                    assert frame.dtype == np.uint8
                    assert frame.ndim == 3
                    assert frame.shape[2] == channels
        except refused:
            return False
    return True


@pytest.mark.parametrize("suffix", sorted(STARTS))
def test_the_files_that_are_damaged_below_are_sound(tmp_path: Path, valid: dict[str, bytes], suffix: str) -> None:
    (tmp_path / f"file{suffix}").write_bytes(valid[suffix])
    assert read_or_refuse(tmp_path / f"file{suffix}")


def check_any_bytes(folder: Path, suffix: str, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([b"", *STARTS[suffix]]))
    content = start + data.draw(st.binary(max_size=300)) + data.draw(st.sampled_from([b"", ENDS.get(suffix, b"")]))
    read_or_refuse(put(folder / f"file{suffix}", content))


def check_damaged(folder: Path, suffix: str, sound: bytes, changes: list[tuple[int, int]], kept: float) -> None:
    content = bytearray(sound)
    for place, value in changes:
        content[place % len(content)] = value
    read_or_refuse(put(folder / f"file{suffix}", content[: int(kept * len(content))]))


CHANGES = st.lists(st.tuples(st.integers(0, 120) | st.integers(0, 20000), st.integers(0, 255)), min_size=1, max_size=5)
KEPT = st.just(1.0) | st.floats(0, 1)


# MATLAB files, each of which needs a process, are below.
@pytest.mark.parametrize("suffix", sorted(STARTS))
@FUZZ
@given(data=st.data())
def test_any_bytes_are_read_or_an_input_error(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    check_any_bytes(tmp_path, suffix, data)


@pytest.mark.parametrize("suffix", sorted(STARTS))
@FUZZ
@given(changes=CHANGES, kept=KEPT)
@example(changes=[(37, ord("("))], kept=1.0)
def test_damaged_files_are_read_or_an_input_error(
    tmp_path: Path, valid: dict[str, bytes], suffix: str, changes: list[tuple[int, int]], kept: float
) -> None:
    check_damaged(tmp_path, suffix, valid[suffix], changes, kept)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", sorted(STARTS))
@MANY
@given(data=st.data())
def test_a_thousand_files_of_any_bytes_are_read_or_an_input_error(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    check_any_bytes(tmp_path, suffix, data)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", sorted(STARTS))
@MANY
@given(changes=CHANGES, kept=KEPT)
def test_a_thousand_damaged_files_are_read_or_an_input_error(
    tmp_path: Path, valid: dict[str, bytes], suffix: str, changes: list[tuple[int, int]], kept: float
) -> None:
    check_damaged(tmp_path, suffix, valid[suffix], changes, kept)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 2, 2), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 2, 2), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 2, 2), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2**3, 2, 2), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2, 2), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000, 2, 2), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 2, 2), }",
        "{[]: 1}",
        "{1: 2, 'a': 3}",
        "(" * 50,
        "(" * 5000 + ")" * 4000,
        "-" * 9000 + "1",
        "1+" * 4000 + "1",
        "'''",
        "[]",
        "",
    ],
)
def test_forged_numpy_headers_are_an_input_error(tmp_path: Path, header: str) -> None:
    text = header.encode()
    path = tmp_path / "film.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64))
    with pytest.raises(InputError):
        read_all(path)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """MATLAB files are read in processes that are forked, since a start with SciPy takes a second."""
    monkeypatch.setattr("linear_video.clips.readers.recordings.subprocess", SimpleNamespace(run=module_forked))


# In a compressed file, zlib already finds most wrong bytes.
@pytest.mark.parametrize(
    ("compressed", "places"),
    [
        (False, (124, 310)),
        (True, (217,)),
        *(pytest.param(compressed, range(124, 400, 31), marks=pytest.mark.slow) for compressed in (False, True)),
    ],
)
@pytest.mark.usefixtures("forked")
def test_damaged_matlab_files_are_read_or_an_input_error(
    tmp_path: Path, compressed: bool, places: Iterable[int]
) -> None:
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = noise(0, 3, 4, 5)[..., 0].transpose(1, 2, 0), np.linspace(0, 1, 60).reshape(4, 5, 3)
    path = tmp_path / "film.mat"
    savemat(path, {"film": cells}, do_compression=compressed)
    read_all(path)
    content = path.read_bytes()
    # Each place below gets one wrong bit; some crash SciPy's reader, which must not crash ours.
    for place in places:
        damaged = bytearray(content)
        damaged[place % len(content)] ^= 1
        read_or_refuse(put(path, damaged), (3,))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a valid MATLAB file"):
        read_all(path)


def test_a_crash_of_the_matlab_reader_is_an_input_error(tmp_path: Path) -> None:
    """This byte crashes the interpreter with SciPy 1.17; in other versions, it may be another error."""
    path = tmp_path / "film.mat"
    savemat(path, {"film": noise(0, 3, 4, 5)[..., 0].transpose(1, 2, 0)})
    content = bytearray(path.read_bytes())
    content[184] = 0
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"MATLAB|no array"):
        read_all(path)


def test_one_wrong_byte_in_a_compressed_matlab_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "film.mat"
    savemat(path, {"film": noise(0, 6, 20, 20)[..., 0].transpose(1, 2, 0)}, do_compression=True)
    content = bytearray(path.read_bytes())
    content[-20] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a valid MATLAB file"):
        read_all(path)


# Further places where SciPy 1.17 crashes the interpreter.
@pytest.mark.parametrize(
    ("place", "value"),
    [(193, 40), *(pytest.param(*wrong, marks=pytest.mark.slow) for wrong in [(232, 40), (356, 1), (361, 255)])],
)
def test_a_crash_of_the_matlab_reader_within_cells_is_an_input_error(tmp_path: Path, place: int, value: int) -> None:
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = noise(0, 3, 4, 5)[..., 0].transpose(1, 2, 0), np.linspace(0, 1, 60).reshape(4, 5, 3)
    savemat(tmp_path / "film.mat", {"film": cells})
    content = bytearray((tmp_path / "film.mat").read_bytes())
    assert content[place] != value
    content[place] = value
    with pytest.raises(InputError, match=r"MATLAB|no array"):
        read_all(put(tmp_path / "film.mat", bytes(content)))


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_many_damaged_matlab_files_are_read_or_an_input_error(tmp_path: Path) -> None:
    path, chance = tmp_path / "film.mat", random.Random(0)
    damaged = [chance.randbytes(10 * number) for number in range(10)]
    for compressed in (False, True):
        savemat(path, {"film": noise(0, 3, 4, 5)[..., 0].transpose(1, 2, 0)}, do_compression=compressed)
        content = path.read_bytes()
        for place in chance.sample(range(124, len(content)), 60):
            # Large values would ask for gigabytes.
            wrong = bytes([chance.choice([0, 1, 8, 40, content[place] ^ 1])])
            damaged.append(content[:place] + wrong + content[place + 1 :])
    for content in damaged:
        read_or_refuse(put(path, content))


def test_names_within_matlab_files_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file from elsewhere must not choose where we write.
    names = [f"{tmp_path}/trace", "../trace", "../../trace", "long" * 70]
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    savemat(tmp_path / "film.mat", dict.fromkeys([*names, "good"], GREY))
    assert [name for name, _, _ in whosmat(tmp_path / "film.mat")] == [*names, "good"]
    before = tree(tmp_path)
    assert {recording.name for recording, _ in read_all(tmp_path / "film.mat")} == {"film.mat/good"}
    assert tree(tmp_path) == before


def test_a_name_that_is_no_utf8_is_told_and_ends_nothing(tmp_path: Path) -> None:
    write_video(tmp_path / "good.avi", noise(0))
    os.link(tmp_path / "good.avi", os.fsencode(tmp_path) + b"/bad\xff.avi")

    program = """if True:
        import sys
        from pathlib import Path
        from linear_video.clips.readers.recordings import find_sources, read_source
        from linear_video.common.errors import InputError
        for source in find_sources(Path(sys.argv[1])):
            source.name.encode()
            try:
                if source.reason:
                    raise InputError(source.reason)
                print(len(list(next(read_source(source, 1)).frames)))
            except InputError:
                print("refused")
    """
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-500:]
    assert sorted(ran.stdout.split()) in (["12", "12"], ["12", "refused"])

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from linear_video.clips import extraction
from linear_video.clips.extraction import crop_regions, extract, fit_frame
from linear_video.clips.footage import FootageSettings
from linear_video.clips.readers.recordings import find_sources, read_image
from linear_video.clips.windows import cut
from linear_video.common import storage
from linear_video.common.errors import InputError
from tests.clips.footage_files import (
    FPS,
    cut_off,
    decoded,
    footage_settings,
    luma,
    noise,
    tree,
    write_array,
    write_gif,
    write_images,
    write_video,
)
from tests.processes import killed_everywhere

ANYWHERE = Path("nowhere")
SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))
FRAME_SIZES = st.tuples(st.integers(1, 64), st.integers(1, 64))


def rows_of(table: pd.DataFrame) -> dict[str, Any]:
    """Rows by the name of their source."""
    assert table["source"].is_unique
    rows: list[Any] = list(table.itertuples())
    return {row.source: row for row in rows}


# ---- geometry --------------------------------------------------------------------------------------------------------


@given(size=SIZES, frame_size=FRAME_SIZES)
def test_a_crop_is_the_largest_part_of_the_right_shape_in_the_middle(
    size: tuple[int, int], frame_size: tuple[int, int]
) -> None:
    [(top, left, high, wide)] = crop_regions(size, footage_settings(ANYWHERE, frame_size=frame_size))
    assert high == size[0] or wide == size[1]
    below, right = size[0] - top - high, size[1] - left - wide
    assert min(top, left, below, right) >= 0
    assert min(high, wide) >= 1
    assert abs(top - below) <= 1
    assert abs(left - right) <= 1
    aspect = frame_size[1] / frame_size[0]
    assert abs(wide - high * aspect) < 1 or abs(high - wide / aspect) < 1


@given(size=SIZES, frame_size=FRAME_SIZES)
def test_a_letterbox_shows_the_whole_frame_between_black_bars(
    size: tuple[int, int], frame_size: tuple[int, int]
) -> None:
    choice = footage_settings(ANYWHERE, frame_size=frame_size, fit="letterbox")
    [region] = crop_regions(size, choice)
    assert region == (0, 0, *size)
    fitted = fit_frame(np.full((*size, 3), 200, np.uint8), region, choice)
    assert fitted.shape == (*frame_size, 3)
    rows, columns = np.nonzero(fitted.any(axis=(1, 2)))[0], np.nonzero(fitted.any(axis=(0, 2)))[0]
    high, wide = len(rows), len(columns)
    assert (fitted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 200).all()
    assert fitted.sum(dtype=int) == 200 * 3 * high * wide
    assert high == frame_size[0] or wide == frame_size[1]
    assert abs(rows[0] - (frame_size[0] - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (frame_size[1] - 1 - columns[-1])) <= 1
    aspect = size[1] / size[0]
    assert abs(wide - high * aspect) < 1 or abs(high - wide / aspect) < 1


@given(size=SIZES, frame_size=FRAME_SIZES, crop_size=st.integers(1, 120), crops=st.integers(1, 30), data=st.data())
def test_crops_lie_within_the_frame_beside_each_other(
    size: tuple[int, int], frame_size: tuple[int, int], crop_size: int, crops: int, data: st.DataObject
) -> None:
    fit = data.draw(st.sampled_from(["crop", "letterbox"]))
    choice = footage_settings(ANYWHERE, frame_size=frame_size, crop_size=crop_size, crops=crops, fit=fit)
    wide = max(1, crop_size * frame_size[1] / frame_size[0])
    try:
        regions = crop_regions(size, choice)
    except InputError:
        assert crops > (size[0] // crop_size) * (size[1] // np.ceil(wide))
        return
    assert len(regions) == crops
    taken = np.zeros(size, int)
    for top, left, height, width in regions:
        assert height == crop_size
        assert abs(width - wide) <= 0.5
        assert min(top, left) >= 0
        assert top + height <= size[0]
        assert left + width <= size[1]
        taken[top : top + height, left : left + width] += 1
    assert taken.max() == 1


def test_as_many_crops_as_there_is_room_for_fill_the_middle_of_the_frame() -> None:
    choice = footage_settings(ANYWHERE, frame_size=(8, 16), crop_size=30, crops=6)
    regions = crop_regions((95, 130), choice)
    assert regions == [(top, left, 30, 60) for top in (2, 32, 62) for left in (5, 65)]
    with pytest.raises(InputError, match="room for 6 crops of 60x30"):
        crop_regions((95, 130), footage_settings(ANYWHERE, frame_size=(8, 16), crop_size=30, crops=7))


def test_few_crops_are_spread_over_the_frame() -> None:
    choice = footage_settings(ANYWHERE, crop_size=10, crops=3)
    assert [left for _, left, *_ in crop_regions((10, 150), choice)] == [20, 70, 120]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ((32, 32), {}),
        ((32, 56), {}),
        ((56, 32), {}),
        ((32, 32), {"fit": "letterbox"}),
        ((40, 40), {"crop_size": 32}),
    ],
)
def test_a_fine_pattern_becomes_even_when_shrunk(size: tuple[int, int], changes: dict[str, Any], channels: int) -> None:
    board = np.indices(size).sum(axis=0) % 2 * 255
    frame = np.repeat(board[..., None], channels, axis=2).astype(np.uint8)
    choice = footage_settings(ANYWHERE, channels=channels, **changes)
    [region] = crop_regions(size, choice)
    fitted = fit_frame(frame, region, choice)
    assert fitted.shape == (8, 8, channels)
    np.testing.assert_allclose(fitted, 127.5, atol=0.5)


@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_by_a_whole_number_takes_the_mean_of_blocks(channels: int) -> None:
    frame = noise(0, 1, 24, 40)[0, ..., :channels]
    choice = footage_settings(ANYWHERE, frame_size=(8, 8), channels=channels)
    fitted = fit_frame(frame, (0, 8, 24, 24), choice)
    means = frame[:, 8:32].reshape(8, 3, 8, 3, channels).mean(axis=(1, 3))
    np.testing.assert_allclose(fitted, means, atol=0.51)


@given(seed=st.integers(0, 100), size=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_enlarging_invents_no_values_and_keeps_frames_of_the_right_size(seed: int, size: tuple[int, int]) -> None:
    frame = noise(seed, 1, *size)[0] // 2 + 50
    choice = footage_settings(ANYWHERE, frame_size=(12, 12))
    [region] = crop_regions(size, choice)
    fitted = fit_frame(frame, region, choice)
    assert fitted.shape == (12, 12, 3)
    assert fitted.min() >= frame.min()
    assert fitted.max() <= frame.max()
    if size == (12, 12):
        np.testing.assert_array_equal(fitted, frame)


@pytest.mark.parametrize(
    "changes",
    [
        {"frame_size": (0, 8)},
        {"crops": 0},
        {"crops": 2},  # without crop_size
        {"crop_size": 0},
        {"channels": 2},
        {"frames": 1},
        {"frame_step": 0},
        {"window_step": 0},
        {"least_motion": -0.1},
        {"least_motion": 1.1},
        {"cut_threshold": 0.0},
        {"cut_threshold": 1.5},
        {"test_share": 0.0},
        {"validation_share": 0.6, "test_share": 0.4},
        {"workers": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        footage_settings(ANYWHERE, **changes)


# ---- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("FFV1", ".avi"), ("MJPG", ".avi"), ("mp4v", ".mp4"), ("VP80", ".webm"), ("FFV1", ".mkv")]
)
def test_frames_on_disk_are_those_of_the_video_cropped_and_resized_by_hand(
    tmp_path: Path, codec: str, suffix: str, channels: int
) -> None:
    path = write_video(tmp_path / "raw" / "class" / f"a{suffix}", noise(1, 15), codec)
    choice = footage_settings(tmp_path / "raw", frame_size=(10, 10), channels=channels)
    row: Any
    [row] = extract(choice, tmp_path / "out").itertuples()
    assert (row.source, row.label, row.crop, row.frames, row.reason) == (f"class/a{suffix}", "class", 0, 15, "")
    assert row.fps == pytest.approx(FPS)
    expected = []
    for frame in decoded(path)[:, :, 4:28]:  # 24x32 -> 24x24
        picture = np.ascontiguousarray(frame)
        if channels == 1:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        resized = cv2.resize(picture, (10, 10), interpolation=cv2.INTER_AREA)
        expected.append(np.moveaxis(resized.reshape(10, 10, channels), 2, 0))
    content = (tmp_path / "out" / row.file).read_bytes()
    np.testing.assert_array_equal(np.load(io.BytesIO(content), allow_pickle=False), expected)
    saved = io.BytesIO()
    np.save(saved, np.array(expected))
    assert content == saved.getvalue()


@pytest.mark.parametrize("fps", [10, 25, 29.97])
def test_frames_per_second_are_kept_or_unknown(tmp_path: Path, fps: float) -> None:
    write_video(tmp_path / "raw" / "a.avi", noise(0), fps=fps)
    write_images(tmp_path / "raw" / "b", noise(1))
    write_array(tmp_path / "raw" / "c.npy", noise(2))
    rows = rows_of(extract(footage_settings(tmp_path / "raw"), tmp_path / "out"))
    assert rows["a.avi"].fps == pytest.approx(fps, rel=1e-4)
    assert np.isnan(rows["b"].fps)
    assert np.isnan(rows["c.npy"].fps)


def test_each_crop_has_a_file_of_its_own(tmp_path: Path) -> None:
    frames = noise(3)
    write_array(tmp_path / "raw" / "a.npy", frames)
    choice = footage_settings(tmp_path / "raw", frame_size=(8, 8), crop_size=8, crops=12)
    table = extract(choice, tmp_path / "out")
    assert table["crop"].tolist() == list(range(12))
    assert table["file"].is_unique
    corners = [(top, left) for top in (0, 8, 16) for left in (0, 8, 16, 24)]
    for file, (top, left) in zip(table["file"], corners, strict=True):
        part = frames[:, top : top + 8, left : left + 8]
        np.testing.assert_array_equal(np.load(tmp_path / "out" / file), part.transpose(0, 3, 1, 2))


def test_an_array_of_several_recordings_gives_a_row_for_each(tmp_path: Path) -> None:
    several = np.stack([noise(seed) for seed in range(3)])
    write_array(tmp_path / "raw" / "class" / "all.npy", several)
    choice = footage_settings(tmp_path / "raw", frame_size=(24, 32))
    table = extract(choice, tmp_path / "out")
    assert table["source"].tolist() == [f"class/all.npy/{i:03d}" for i in range(3)]
    for file, frames in zip(table["file"], several, strict=True):
        np.testing.assert_array_equal(np.load(tmp_path / "out" / file), frames.transpose(0, 3, 1, 2))
    chosen = extract(footage_settings(tmp_path / "raw", include=["class/all.npy/001"]), tmp_path / "out")
    assert chosen["source"].tolist() == ["class/all.npy/001"]


def test_images_are_read_if_the_video_beside_them_cannot_be(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "ucf action" / "Golf-Swing-Side"
    for number in ("001", "002"):
        write_video(folder / number / "film.avi", noise(1, 20), "MJPG")
        write_images(folder / number, noise(2, 20), ".jpg", name="film {}")
    cut_off(folder / "002" / "film.avi")
    choice = footage_settings(tmp_path / "raw", frame_size=(24, 32))
    table = extract(choice, tmp_path / "out")
    assert set(table["label"]) == {"Golf-Swing-Side"}
    assert table["reason"].tolist() == ["", ""]
    assert table["frames"].tolist() == [20, 20]
    first, second = (np.load(tmp_path / "out" / file).transpose(0, 2, 3, 1) for file in table["file"])
    np.testing.assert_array_equal(first, decoded(folder / "001" / "film.avi"))
    pictures = [read_image(folder / "002" / f"film {number}.jpg", 3) for number in range(1, 21)]
    np.testing.assert_array_equal(second, pictures)
    assert table["fps"].isna().tolist() == [False, True]


def test_copies_under_another_name_are_told_by_the_name_of_the_first(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_video(raw / "a" / "film.avi", noise(0))
    write_video(raw / "b" / "film.mkv", noise(0))
    write_video(raw / "b" / "other.mkv", noise(1))
    write_array(raw / "c" / "again.npy", noise(0))
    write_array(raw / "c" / "black.npy", np.zeros_like(noise(0)))  # all crops of one are alike
    table = extract(footage_settings(raw, crop_size=8, crops=2), tmp_path / "out")
    for name, rows in table.groupby("source"):
        copied = name in ("b/film.mkv", "c/again.npy")
        assert len(rows) == 2
        assert all(("a/film.avi" in reason) if copied else not reason for reason in rows["reason"])
    with pytest.raises(InputError, match=r"b/film\.mkv: .*a/film\.avi"):
        extract(footage_settings(raw, unusable="fail"), tmp_path / "out")


def test_grey_frames_are_the_luma_of_the_colour(tmp_path: Path) -> None:
    write_video(tmp_path / "raw" / "a.avi", noise(0))
    choice = footage_settings(tmp_path / "raw", frame_size=(24, 32), channels=1)
    row: Any
    [row] = extract(choice, tmp_path / "out").itertuples()
    np.testing.assert_allclose(np.load(tmp_path / "out" / row.file)[:, 0], luma(noise(0)), atol=0.51)


# ---- what cannot be used ---------------------------------------------------------------------------------------------


def write_usable(raw: Path, count: int) -> set[str]:
    """Recordings of every kind, all different; their names."""
    names = set()
    for number in range(count):
        frames, folder = noise(number, frames=6, height=16, width=16), raw / f"class{number % 7}"
        match number % 9:
            case 0 | 1:
                path = write_video(folder / f"v{number}.avi", frames, "MJPG")
            case 2:
                path = write_video(folder / f"v{number}.mp4", frames, "mp4v")
            case 3:
                path = write_video(folder / f"v{number}.webm", frames, "VP80")
            case 4:
                path = write_gif(folder / f"v{number}.gif", frames)
            case 5:
                path = write_images(folder / f"v{number}", frames, ".jpg")
            case 6:
                path = write_images(folder / f"v{number}", frames)
            case 7:
                path = write_array(folder / f"v{number}.npy", frames)
            case _:
                path = write_video(folder / f"v{number}.mkv", frames)
        names.add(path.relative_to(raw).as_posix())
    return names


def write_unusable(raw: Path) -> set[str]:
    """Twenty recordings that cannot be used, each for another reason; their names."""
    bad, frames = raw / "bad", noise(10_000, 30)
    bad.mkdir(parents=True)
    (bad / "empty.avi").touch()
    cut_off(write_video(bad / "cut.avi", frames, "MJPG"))
    cut_off(write_video(bad / "cut.mp4", frames, "mp4v"))
    cut_off(write_video(bad / "cut.webm", frames, "VP80"))
    cut_off(write_gif(bad / "cut.gif", frames))
    cut_off(write_images(bad / "cut-jpg", frames[:6], ".jpg") / "frame4.jpg")
    cut_off(write_images(bad / "cut-png", frames[:6]) / "frame4.png")
    (bad / "list.avi").write_text("ffconcat version 1.0\nfile cut.mp4\n")
    (bad / "text.mp4").write_text("a text " * 200)
    write_video(bad / "none.avi", frames[:0])
    write_video(bad / "one.avi", frames[:1])
    write_images(bad / "sizes", frames[:6])
    cv2.imwrite(str(bad / "sizes" / "frame7.png"), np.zeros((20, 20, 3), np.uint8))
    os.mkfifo(bad / "pipe.avi")
    (bad / "gone.avi").symlink_to(raw / "gone")
    (bad / "circle.avi").symlink_to(bad / "circle.avi")
    (bad / "up").symlink_to(raw)
    write_video(bad / "short.mkv", frames[:3])
    write_array(bad / "range.npy", frames.astype(np.int64) + 1000)
    savemat(bad / "cut.mat", {"film": frames[..., 0].transpose(1, 2, 0)})
    cut_off(bad / "cut.mat")
    write_images(bad / "single", frames[:1])
    names = {path.relative_to(raw).as_posix() for path in bad.iterdir()}
    assert len(names) == 20
    return names


def test_what_cannot_be_used_is_told_and_the_rest_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    usable, unusable = write_usable(raw, 45), write_unusable(raw)
    with caplog.at_level("INFO", logger="linear_video"):
        table = extract(footage_settings(raw), out)
    rows = rows_of(table)
    assert set(rows) == usable | unusable
    assert {name for name, row in rows.items() if not row.reason} == usable
    for name in usable:
        frames = np.load(out / rows[name].file, allow_pickle=False)
        assert frames.shape == (rows[name].frames, 3, 8, 8) == (6, 3, 8, 8)
    reasons = {name.removeprefix("bad/"): rows[name].reason for name in unusable}
    assert all(len(reason) > 4 for reason in reasons.values())
    assert "empty" in reasons["empty.avi"]
    assert "frame4.jpg" in reasons["cut-jpg"]
    assert "frame4.png" in reasons["cut-png"]
    assert "20x20" in reasons["sizes"]
    assert "too short" in reasons["short.mkv"]
    assert "single frame" in reasons["one.avi"]
    assert "no frames" in reasons["none.avi"]
    assert "20 of 65" in caplog.text
    assert all(f"{name}: {reasons[name.removeprefix('bad/')]}" in caplog.text for name in unusable)

    # Only finished folders are left: those of all that could be read.
    parts = {path.name for path in out.iterdir()}
    assert parts == {Path(row.file).parts[0] for row in rows.values() if row.file}
    assert len(parts) == 46  # what is too short is read as well
    assert not [name for name in tree(out) if ".part" in name or ".old" in name]

    with pytest.raises(InputError, match="20 of 65") as caught:
        extract(footage_settings(raw, unusable="fail"), out)
    assert all(name in str(caught.value) for name in unusable)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_files_that_may_not_be_read_are_told(tmp_path: Path) -> None:
    write_array(tmp_path / "raw" / "open.npy", noise(0))
    for name in ("closed.avi", "closed.npy", "closed.gif"):
        path = tmp_path / "raw" / name
        path.write_bytes(b"closed")
        path.chmod(0)
    rows = rows_of(extract(footage_settings(tmp_path / "raw"), tmp_path / "out"))
    assert {name for name, row in rows.items() if row.reason} == {"closed.avi", "closed.npy", "closed.gif"}


def test_a_long_list_of_reasons_is_cut_short(tmp_path: Path) -> None:
    write_array(tmp_path / "raw" / "a.npy", noise(0))
    for number in range(30):
        (tmp_path / "raw" / f"bad{number}.avi").touch()
    with pytest.raises(InputError, match="and 10 more") as caught:
        extract(footage_settings(tmp_path / "raw", unusable="fail"), tmp_path / "out")
    assert str(caught.value).count("bad") == 20


@pytest.mark.parametrize("kind", ["missing", "empty", "other files", "a file"])
def test_without_recordings_the_error_says_where_to_get_them(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    if kind == "a file":
        raw.touch()
    elif kind != "missing":
        raw.mkdir()
    if kind == "other files":
        (raw / "readme.txt").write_text("no footage")
    with pytest.raises(InputError, match=r"holds no recordings\. Get them there\.") as caught:
        extract(footage_settings(raw), tmp_path / "out", "Get them there.")
    assert str(raw) in str(caught.value)


@pytest.mark.parametrize("unusable", ["skip", "fail"])
def test_with_nothing_usable_at_all_there_is_an_error(tmp_path: Path, unusable: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.avi").touch()
    with pytest.raises(InputError, match=r"1 of 1 .*\n.*a.avi: empty"):
        extract(footage_settings(tmp_path / "raw", unusable=unusable), tmp_path / "out")


def test_include_chooses_by_name_and_an_unusable_one_left_out_is_no_matter(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("Golf/001", "Golf/002", "Walk/001"):
        write_images(raw / name, noise(sum(name.encode())))
    write_array(raw / "Walk" / "several.npy", np.stack([noise(5), noise(6)]))
    (raw / "Walk" / "broken.avi").touch()
    choice = footage_settings(raw, include=["Golf/001", "Walk/several.npy"], unusable="fail")
    table = extract(choice, tmp_path / "out")
    assert table["source"].tolist() == ["Golf/001", "Walk/several.npy/000", "Walk/several.npy/001"]


def test_a_broken_array_that_include_leaves_out_is_no_matter(tmp_path: Path) -> None:
    write_array(tmp_path / "raw" / "Golf" / "a.npy", noise(0))
    (tmp_path / "raw" / "Walk").mkdir()
    (tmp_path / "raw" / "Walk" / "broken.npy").touch()
    choice = footage_settings(tmp_path / "raw", include=["Golf"], unusable="fail")

    assert extract(choice, tmp_path / "out")["source"].tolist() == ["Golf/a.npy"]


def test_include_that_fits_nothing_is_an_error_that_names_what_there_is(tmp_path: Path) -> None:
    write_array(tmp_path / "raw" / "Golf" / "a.npy", noise(0))
    with pytest.raises(InputError, match=r"Gulf.*Golf/a\.npy"):
        extract(footage_settings(tmp_path / "raw", include=["Gulf"]), tmp_path / "out")


def test_a_slip_in_include_costs_no_finished_folder(tmp_path: Path) -> None:
    write_video(tmp_path / "raw" / "Golf" / "a.avi", noise(0))
    out = tmp_path / "out"
    extract(footage_settings(tmp_path / "raw"), out)
    before = tree(out)
    with pytest.raises(InputError, match="Gulf"):
        extract(footage_settings(tmp_path / "raw", include=["Gulf"]), out)
    assert tree(out) == before


# ---- again -----------------------------------------------------------------------------------------------------------


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file or folder is made anew or written to."""
    states = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*")}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


STUCK = """
import itertools, json, sys, threading
from pathlib import Path
from linear_video.clips import extraction
from linear_video.clips.footage import FootageSettings
from linear_video.clips.readers.recordings import Recording

read_source, numbers, whole = extraction.read_source, itertools.count(), int(sys.argv[3])

def hanging(frames):
    yield next(frames)
    yield next(frames)
    threading.Event().wait()

def stuck(source, channels):
    number = None
    for recording in read_source(source, channels):
        number = next(numbers) if number is None else number
        if number < whole:
            yield recording
        else:
            yield Recording(recording.name, recording.fps, hanging(recording.frames))

extraction.read_source = stuck
extraction.extract(FootageSettings(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def run_until_stuck(choice: FootageSettings, out: Path, whole: int) -> set[str]:
    """Extract in another process, which is killed when so many recordings are finished and others half written.

    Returns the names of the finished folders.
    """
    command = [sys.executable, "-c", STUCK, json.dumps(asdict(choice)), str(out), str(whole)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            give_up = time.monotonic() + 60
            while True:
                finished = {path.parent.name for path in out.glob("[!.]*/recordings.json")}
                if len(finished) == whole and list(out.glob(".*.part/*.npy")):
                    return finished
                assert process.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.02)
        finally:
            process.kill()


def test_a_run_that_was_killed_is_continued_as_if_nothing_had_been(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_usable(raw, 18)
    write_array(raw / "class0" / "several.npy", np.stack([noise(50), noise(51)]))
    (raw / "class0" / "broken.avi").touch()
    choice = footage_settings(raw)
    finished = run_until_stuck(choice, out, whole=6)
    before = {name: stamp for name, stamp in stamps(out).items() if name.split("/")[0] in finished}
    assert len(before) >= 3 * 6  # folder, facts and frames of each
    table = extract(choice, out)
    undisturbed = extract(choice, tmp_path / "undisturbed")
    pd.testing.assert_frame_equal(table, undisturbed)
    assert tree(out) == tree(tmp_path / "undisturbed")
    after = stamps(out)
    assert {name: after[name] for name in before} == before


def test_killed_at_any_change_reading_is_continued_as_if_nothing_had_been(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_array(raw / "several.npy", np.stack([noise(50), noise(51)]))
    write_images(raw / "images", noise(20))
    choice = footage_settings(raw, workers=1)
    undisturbed = extract(choice, tmp_path / "undisturbed")
    kills = 0
    for _ in killed_everywhere(partial(extract, choice, out), out):
        kills += 1
        for facts in out.glob("[!.]*/recordings.json"):
            assert tree(facts.parent) == tree(tmp_path / "undisturbed" / facts.parent.name)
        pd.testing.assert_frame_equal(extract(choice, out), undisturbed)
        assert tree(out) == tree(tmp_path / "undisturbed")  # and nothing beside
        shutil.rmtree(out)
    assert kills > 10  # every change of a folder, a name or a file of two recordings


def test_nothing_is_read_again_unless_it_changed(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for number, name in enumerate(("same", "touched", "changed", "removed", "renamed")):
        write_array(raw / f"{name}.npy", noise(number))
    write_images(raw / "images", noise(20))
    table = extract(footage_settings(raw), out)
    before = stamps(out)
    pd.testing.assert_frame_equal(extract(footage_settings(raw), out), table)
    assert stamps(out) == before

    os.utime(raw / "touched.npy", (1e9, 1e9))
    write_array(raw / "changed.npy", noise(30, frames=9))
    (raw / "removed.npy").unlink()
    (raw / "renamed.npy").rename(raw / "new.npy")
    (raw / "images" / "frame12.png").unlink()
    rows = rows_of(extract(footage_settings(raw), out))
    assert set(rows) == {"same.npy", "touched.npy", "changed.npy", "new.npy", "images"}
    assert rows["changed.npy"].frames == 9
    assert rows["images"].frames == 11
    assert rows["same.npy"].file == rows_of(table)["same.npy"].file
    after = stamps(out)
    kept = {name: stamp for name, stamp in after.items() if name.startswith(str(Path(rows["same.npy"].file).parent))}
    assert len(kept) == 3
    assert all(before[name] == stamp for name, stamp in kept.items())
    assert not set(before.values()) & (set(after.values()) - set(kept.values()))
    assert {path.name for path in out.iterdir()} == {Path(row.file).parts[0] for row in rows.values()}


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"frame_size": (8, 9)}, True),
        ({"fit": "letterbox"}, True),
        ({"channels": 1}, True),
        ({"crop_size": 10}, True),
        ({"crop_size": 10, "crops": 2}, True),
        ({"frames": 3, "frame_step": 2, "window_step": 1}, False),
        ({"workers": 1, "unusable": "fail", "split_by": "time", "test_share": 0.3}, False),
    ],
)
def test_changed_settings_of_the_frames_make_them_anew_and_those_of_clips_do_not(
    tmp_path: Path, changes: dict[str, Any], anew: bool
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_array(raw / "a.npy", noise(0))
    write_array(raw / "b.npy", noise(1))
    extract(footage_settings(raw), out)
    before = stamps(out)
    table = extract(footage_settings(raw, **changes), out)
    after = stamps(out)
    if anew:
        assert not set(before) & set(after)
        fresh = extract(footage_settings(raw, **changes), tmp_path / "fresh")
        pd.testing.assert_frame_equal(table, fresh)
        assert tree(out) == tree(tmp_path / "fresh")
    else:
        assert after == before


def test_a_clip_that_got_too_long_makes_recordings_too_short_without_reading_them(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_array(raw / "long.npy", noise(0, frames=13))
    write_array(raw / "short.npy", noise(1, frames=12))
    assert not extract(footage_settings(raw, frames=12), out)["reason"].any()
    before = stamps(out)
    table = extract(footage_settings(raw, frames=5, frame_step=3), out)
    assert table["reason"].str.contains("too short: 12 frames, but a clip spans 13").tolist() == [False, True]
    assert stamps(out) == before


def test_a_full_disk_is_no_fault_of_the_recording(tmp_path: Path) -> None:
    write_array(tmp_path / "npy" / "a.npy", noise(0, frames=30))
    (tmp_path / "mat").mkdir()
    savemat(tmp_path / "mat" / "a.mat", {"film": noise(0, frames=30).transpose(1, 2, 3, 0)})
    # The system lets files grow no further than to ``size`` bytes: the first write, or one in the middle, fails.
    program = """if True:
        import json, resource, sys
        from pathlib import Path
        from linear_video.clips.extraction import extract
        from linear_video.clips.footage import FootageSettings
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        for settings, out, size in json.loads(sys.argv[1]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
            try:
                table = extract(FootageSettings(**settings), Path(out))
            except Exception as error:
                print(type(error).__name__)
            else:
                print("skipped", *table["reason"])
    """
    cases = [
        (asdict(footage_settings(tmp_path / kind)), str(tmp_path / "out" / f"{kind}{size}"), size)
        for kind, size in [("npy", 64), ("npy", 3000), ("mat", 3000)]
    ]
    ran = subprocess.run(
        [sys.executable, "-c", program, json.dumps(cases)], capture_output=True, text=True, check=False
    )
    assert ran.stdout.split("\n") == [*["NoRoomError"] * 3, ""], ran.stdout + ran.stderr[-500:]
    assert all(tree(Path(out)) == {} for _, out, _ in cases)


def test_a_folder_that_cannot_be_made_is_no_fault_of_the_recording(tmp_path: Path) -> None:
    write_array(tmp_path / "raw" / "a.npy", noise(0))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        extract(footage_settings(tmp_path / "raw"), tmp_path / "file" / "out")


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_usable(raw, 18)
    write_unusable(raw)
    one, three = (extract(footage_settings(raw, workers=workers), tmp_path / str(workers)) for workers in (1, 3))
    pd.testing.assert_frame_equal(one, three)
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_rows_come_in_natural_order(tmp_path: Path) -> None:
    names = ["a1.npy", "a2.npy", "a10.npy", "b/x9.npy", "b/x11.npy", "c/y.npy"]
    for number, name in enumerate(reversed(names)):
        write_array(tmp_path / "raw" / name, noise(number))
    table = extract(footage_settings(tmp_path / "raw", workers=3), tmp_path / "out")
    assert table["source"].tolist() == names


@pytest.fixture
def restore_threads() -> Iterator[None]:
    threads, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    yield
    cv2.setNumThreads(threads)
    cv2.utils.logging.setLogLevel(level)


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("prepare", [lambda path: write_array(path, noise(0)), lambda path: path.touch()])
def test_opencv_is_left_as_it_was(tmp_path: Path, prepare: Callable[[Path], Any]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    prepare(raw / "a.npy")
    cv2.setNumThreads(2)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        extract(footage_settings(raw), tmp_path / "out")
    except InputError:
        assert (raw / "a.npy").stat().st_size == 0
    assert cv2.getNumThreads() == 2
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_ERROR


# ---- in a store ------------------------------------------------------------------------------------------------------


def test_recordings_that_another_machine_has_read_are_not_read_again(
    root: str, another_machine: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "raw" / "a.avi", noise(0, 40))
    write_array(tmp_path / "raw" / "b.npy", noise(1, 40))
    settings = footage_settings(tmp_path / "raw", split_by="time")
    local = extract(settings, tmp_path / "local")
    first = storage.place(f"{root}/frames")
    pd.testing.assert_frame_equal(extract(settings, first), local)
    clips, _ = cut(local, tmp_path / "local", settings)

    # One recording, as a worker is given it: the folder is that of the machine which hands it out.
    another_machine()
    monkeypatch.setattr(extraction, "read_source", None)
    [source] = [one for one in find_sources(tmp_path / "raw") if one.name == "a.avi"]
    [row], key = extraction._extracted(source, settings, first)
    assert row["reason"] == ""
    assert (storage.here(first) / row["file"]).read_bytes() == (tmp_path / "local" / row["file"]).read_bytes()

    # Who cuts the clips fetches the recordings that others have read.
    another_machine()
    place = storage.place(f"{root}/frames")
    found, _ = cut(local, place, settings)
    for split, stream in found.items():
        for piece, expected in zip(stream.pieces(), clips[split].pieces(), strict=True):
            np.testing.assert_array_equal(piece, expected)

    # What is not asked for any more is removed from the store, too.
    (tmp_path / "raw" / "a.avi").unlink()
    extract(settings, place)
    store, base = fsspec.core.url_to_fs(f"{root}/frames")
    left = {name.removeprefix(base).split("/")[1] for name in store.find(base)}
    assert key not in left
    assert len(left) == 1

"""UCSD's layout, from pictures written byte by byte: frames, masks, the text in MATLAB, splits and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_video.clips.anomalies import AnomaliesSettings, frame_labels, read_intervals
from linear_video.clips.base import ClipStream, Made
from linear_video.clips.readers.recordings import find_sources, read_image
from linear_video.common.errors import InputError
from tests.clips.ucsd_files import bmp, moving, tiff, write_clip, write_masks, write_ucsd

SIZE = (40, 60)
# The first lines of the text that comes with Ped1, as they are quoted in public.
PED1 = """TestVideoFile = {};
TestVideoFile{end+1}.gt_frame = [60:152];
TestVideoFile{end+1}.gt_frame = [50:175];
TestVideoFile{end+1}.gt_frame = [91:200];
TestVideoFile{end+1}.gt_frame = [31:168];
TestVideoFile{end+1}.gt_frame = [5:90, 140:200];
TestVideoFile{end+1}.gt_frame = [1:100, 110:200];
"""


def settings(root: Path, **changes: Any) -> AnomaliesSettings:
    values: dict[str, Any] = {"frame_size": SIZE, "frames": 6, "window_step": 3, "validation_share": 0.3, "workers": 1}
    return AnomaliesSettings(raw_folder=str(root), **{**values, **changes})


def made(root: Path, **changes: Any) -> tuple[Made, np.ndarray]:
    """What the dataset makes, and all frames of the test videos."""
    found = settings(root, **changes).make("ucsd", 0, root.parent / "frames")
    assert isinstance(found.videos, ClipStream)
    return found, np.concatenate(list(found.videos.pieces()))


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("strips", [1, 2, 7])
@pytest.mark.parametrize("size", [(158, 238), (240, 360)])  # of Ped1 and Ped2
def test_a_grey_tiff_is_read_as_it_was_written(tmp_path: Path, size: tuple[int, int], strips: int, order: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    (tmp_path / "001.tif").write_bytes(tiff(picture, order, strips))
    assert np.array_equal(read_image(tmp_path / "001.tif", 1)[..., 0], picture)
    assert np.array_equal(read_image(tmp_path / "001.tif", 3), np.repeat(picture[..., None], 3, axis=2))


@pytest.mark.parametrize("strips", [1, 4])
def test_a_tiff_that_is_not_all_there_is_refused(tmp_path: Path, strips: int) -> None:
    """At every length but its own."""
    picture, path = np.full((9, 11), 200, np.uint8), tmp_path / "001.tif"
    content = tiff(picture, strips=strips)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"^001.tif is (empty|not a JPEG, PNG or TIFF|cut off or damaged)"):
            read_image(path, 1)
    path.write_bytes(content)
    assert (read_image(path, 1) == 200).all()


@pytest.mark.parametrize("changes", [{"lacking": 1}, {"following": 8}])
def test_a_tiff_with_too_few_bytes_or_several_pictures_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "001.tif").write_bytes(tiff(np.full((9, 11), 200, np.uint8), strips=2, **changes))
    with pytest.raises(InputError, match="is cut off or damaged, or holds several pictures"):
        read_image(tmp_path / "001.tif", 1)


def test_folders_of_masks_are_no_recordings(tmp_path: Path) -> None:
    write_ucsd(tmp_path, train=2)
    (tmp_path / "Test/Test001_gt/001.png").write_bytes(b"\x89PNG")  # whatever else lies there
    names = [source.name for source in find_sources(tmp_path)]
    assert names == ["Test/Test001", "Test/Test002", "Test/Test003", "Train/Train001", "Train/Train002"]


# --- labels -----------------------------------------------------------------------------------------------------------


def test_the_text_is_read_as_it_comes_with_ped1(tmp_path: Path) -> None:
    (tmp_path / "UCSDped1.m").write_text(PED1)
    assert read_intervals(tmp_path / "UCSDped1.m") == [
        [(60, 152)],
        [(50, 175)],
        [(91, 200)],
        [(31, 168)],
        [(5, 90), (140, 200)],
        [(1, 100), (110, 200)],
    ]


@pytest.mark.parametrize(
    ("line", "interval"),
    [
        ("TestVideoFile{end+1}.gt_frame = [5:90 140:200]", [(5, 90), (140, 200)]),
        ("  TestVideoFile{end+1}.gt_frame=[ 7 , 9:9 ];  % a cyclist", [(7, 7), (9, 9)]),
    ],
)
def test_what_means_the_same_in_matlab_is_read_too(tmp_path: Path, line: str, interval: list[tuple[int, int]]) -> None:
    (tmp_path / "labels.m").write_text(f"% ground truth\n\nTestVideoFile = {{}};\n{line}\n")
    assert read_intervals(tmp_path / "labels.m") == [interval]


@pytest.mark.parametrize(
    "line",
    [
        "TestVideoFile{end+1}.gt_frame = [60:152",
        "TestVideoFile{end+1}.gt_frame = [];",
        "TestVideoFile{end+1}.gt_frame = [0:9];",
        "TestVideoFile{end+1}.gt_frame = [9:3];",
        "TestVideoFile{end+1}.gt_frame = [1:2:9];",
        "TestVideoFile{end+1}.gt_frame = [1:9]; system('true')",
        "TestVideoFile{3}.gt_frame = [1:9];",
        "TestVideoFile{end+1}.gt_frame = [1:" + "9" * 5000 + "];",
        "TestVideoFile = {};",  # again: what came before would be forgotten
    ],
)
def test_a_line_that_says_anything_else_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "labels.m").write_text(f"{PED1}{line}\n")
    with pytest.raises(InputError, match=r"labels\.m, line 8: .* names no frames; a line for each video must look"):
        read_intervals(tmp_path / "labels.m")


@pytest.mark.parametrize("bits", [1, 8])
def test_a_frame_with_a_white_pixel_in_its_mask_is_anomalous(tmp_path: Path, bits: int) -> None:
    labels = np.random.default_rng(0).integers(0, 2, 12).astype(bool)
    write_masks(tmp_path / "Test001_gt", labels, (158, 238), bits)
    (tmp_path / "Test001_gt/.DS_Store").write_bytes(b"")
    assert np.array_equal(frame_labels(tmp_path / "Test001", 12), labels)


def test_frames_of_masks_count_by_number_and_not_by_letter(tmp_path: Path) -> None:
    (tmp_path / "Test001_gt").mkdir()
    for number in range(1, 13):
        mask = np.full((4, 4), number == 2)
        (tmp_path / f"Test001_gt/frame{number}.bmp").write_bytes(bmp(mask, 8))
    assert np.flatnonzero(frame_labels(tmp_path / "Test001", 12)).tolist() == [1]


def test_each_video_has_its_line_of_the_text_by_its_number(tmp_path: Path) -> None:
    for name in ("Test1", "Test2", "Test10"):
        write_clip(tmp_path / name, moving(0, 2))
    (tmp_path / "Test2_gt.txt").write_text("")
    lines = [f"TestVideoFile{{end+1}}.gt_frame = [{n}:{n + 1}];" for n in (1, 3, 5)]
    (tmp_path / "labels.m").write_text("\n".join(lines))
    found = {name: np.flatnonzero(frame_labels(tmp_path / name, 8)).tolist() for name in ("Test1", "Test2", "Test10")}
    assert found == {"Test1": [0, 1], "Test2": [2, 3], "Test10": [4, 5]}


def test_labels_that_are_missing_or_do_not_fit_are_errors(tmp_path: Path) -> None:
    video, text = tmp_path / "Test001", tmp_path / "labels.m"
    write_clip(video, moving(0, 8))
    with pytest.raises(InputError, match=r"Test001 has no labels: .* but there are 0\.$"):
        frame_labels(video, 8)
    text.write_text("TestVideoFile{end+1}.gt_frame = [2:9];")
    with pytest.raises(InputError, match=r"labels\.m names frame 9 of Test001, which has 8 frames"):
        frame_labels(video, 8)
    write_clip(tmp_path / "Test002", moving(0, 8))
    with pytest.raises(InputError, match=r"names the frames of 1 videos, but 2 lie beside it"):
        frame_labels(video, 8)
    text.write_text("TestVideoFile{end+1}.gt_frame = [1:2];\n" * 2)
    with pytest.raises(InputError, match=r"names the frames of folders, but .*Test003\.avi is a file"):
        frame_labels(tmp_path / "Test003.avi", 8)
    (tmp_path / "other.m").write_text("")
    with pytest.raises(InputError, match=r"but there are 2\.$"):
        frame_labels(video, 8)
    write_masks(tmp_path / "Test001_gt", np.ones(7, bool), SIZE)
    with pytest.raises(InputError, match=r"Test001_gt holds 7 masks \(\.bmp\) for 8 frames"):
        frame_labels(video, 8)
    write_masks(tmp_path / "Test002_gt", np.ones(8, bool), SIZE)
    mask = tmp_path / "Test002_gt/003.bmp"
    mask.write_bytes(mask.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"003\.bmp cannot be read as a picture"):
        frame_labels(tmp_path / "Test002", 8)


# --- the dataset ------------------------------------------------------------------------------------------------------


def test_folders_decide_what_is_for_the_test(tmp_path: Path) -> None:
    write_ucsd(tmp_path / "ped", train=6)
    found, _ = made(tmp_path / "ped")
    names = {split: set(clips.table["source"]) for split, clips in found.clips.items()}
    assert names["test"] == {"Test/Test001", "Test/Test002", "Test/Test003"}
    assert names["train"] | names["validation"] == {f"Train/Train{n:03d}" for n in range(1, 7)}
    assert not names["train"] & names["validation"]
    assert len(names["validation"]) == 2  # round(0.3 * 6)


def test_whole_test_videos_come_with_the_labels_of_their_frames(tmp_path: Path) -> None:
    labels = write_ucsd(tmp_path / "ped", train=4)
    found, frames = made(tmp_path / "ped")
    assert found.videos is not None
    table = found.videos.table
    assert frames.shape == (3 * 24, 1, 1, *SIZE)
    for number, name in enumerate(("Test001", "Test002", "Test003"), 1):
        rows = np.flatnonzero(table["source"] == f"Test/{name}")
        assert table["start"].iloc[rows].tolist() == list(range(24))
        assert np.array_equal(table["anomalous"].iloc[rows], labels[name])
        first = {1: 18, 2: 16, 3: 20}[number]
        assert np.array_equal(frames[rows, 0, 0], moving(number + 4, 24, first))


def test_every_second_frame_keeps_its_own_label(tmp_path: Path) -> None:
    labels = write_ucsd(tmp_path / "ped", train=4)
    found, frames = made(tmp_path / "ped", frame_step=2, frames=4)
    assert found.videos is not None
    table = found.videos.table
    rows = np.flatnonzero(table["source"] == "Test/Test002")
    assert table["start"].iloc[rows].tolist() == list(range(0, 24, 2))
    assert np.array_equal(table["anomalous"].iloc[rows], labels["Test002"][::2])
    assert np.array_equal(frames[rows, 0, 0], moving(6, 24, 16)[::2])


def test_a_clip_that_cannot_be_used_does_not_shift_the_labels_of_others(tmp_path: Path) -> None:
    labels = write_ucsd(tmp_path / "ped", train=4)
    broken = tmp_path / "ped/Test/Test001/005.tif"
    broken.write_bytes(broken.read_bytes()[:-1])
    found, _ = made(tmp_path / "ped")
    assert found.videos is not None
    table = found.videos.table
    assert table["source"].unique().tolist() == ["Test/Test002", "Test/Test003"]
    assert np.array_equal(table.loc[table["source"] == "Test/Test002", "anomalous"], labels["Test002"])


def test_a_set_without_a_test_folder_is_an_error(tmp_path: Path) -> None:
    write_ucsd(tmp_path / "ped", train=4)
    with pytest.raises(InputError, match="lies in a folder called Test"):
        made(tmp_path / "ped/Train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"split_by": "time"}, "split_by must be folder"), ({"crops": 2, "crop_size": 8}, "crops must be 1, not 2")],
)
def test_settings_that_do_not_go_with_labels_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(Path("x"), **changes)

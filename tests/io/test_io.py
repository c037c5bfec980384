import base64
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from linear_video.clips.base import ClipSet
from linear_video.common import files
from linear_video.common.errors import InputError
from linear_video.common.files import replacing_file, replacing_folder
from linear_video.io.clips import ArrayDataset, ClipSetDataset, FactsDataset
from linear_video.io.figures import Animation, FigureDataset, FiguresDataset, encoded, written_files
from linear_video.io.folders import FolderDataset


def make_clips(count: int = 3, seed: int = 0, states: bool = True, actions: bool = False) -> ClipSet:
    frames = np.random.default_rng(seed).integers(0, 256, (count, 4, 3, 6, 5)).astype(np.uint8)
    table = pd.DataFrame({"source": [f"clip {i}" for i in range(count)], "label": "a", "start": range(count)})
    truth = pd.DataFrame({"clip": np.repeat(range(count), 4), "x": np.linspace(0, 1, 4 * count)})
    known = np.random.default_rng(seed).standard_normal((count, 4, 2)).astype(np.float32)
    return ClipSet(frames, table, truth if states else None, known if actions else None)


def check_equal(loaded: ClipSet, expected: ClipSet) -> None:
    np.testing.assert_array_equal(loaded.frames, expected.frames)
    pd.testing.assert_frame_equal(loaded.table, expected.table)
    assert (loaded.states is None) == (expected.states is None)
    if loaded.states is not None and expected.states is not None:
        pd.testing.assert_frame_equal(loaded.states, expected.states)
    assert (loaded.actions is None) == (expected.actions is None)
    if loaded.actions is not None and expected.actions is not None:
        np.testing.assert_array_equal(loaded.actions, expected.actions)
        assert loaded.actions.dtype == expected.actions.dtype


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_pictures(count: int = 5) -> np.ndarray:
    """Pictures of one flat colour each, different in every frame, which a palette represents exactly."""
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (213, 94, 0), (90, 90, 90)], np.uint8)[:count]
    return np.broadcast_to(colours[:, None, None], (count, 8, 12, 3)).copy()


# --- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("actions", [True, False])
def test_clips_come_back_as_they_were_saved(tmp_path: Path, states: bool, actions: bool) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "deep" / "train"))
    clips = make_clips(states=states, actions=actions)
    assert not dataset.exists()
    dataset.save(clips)
    assert dataset.exists()
    check_equal(dataset.load(), clips)


def test_frames_are_memory_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips())
    frames = dataset.load().frames
    assert isinstance(frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips(5, actions=True))
    dataset.save(make_clips(2, seed=1, states=False))
    check_equal(dataset.load(), make_clips(2, seed=1, states=False))
    assert sorted(everything_in(tmp_path)) == ["train/clips.parquet", "train/frames.npy"]


@pytest.mark.parametrize("array", [np.arange(24.0).reshape(2, 3, 4), np.zeros((0, 3), np.float32), np.array(7)])
def test_array_comes_back_as_it_was_saved(tmp_path: Path, array: np.ndarray) -> None:
    dataset = ArrayDataset(filepath=str(tmp_path / "deep" / "array.npy"))
    assert not dataset.exists()
    dataset.save(array)
    assert dataset.exists()
    np.testing.assert_array_equal(dataset.load(), array)
    assert dataset.load().dtype == array.dtype
    assert sorted(everything_in(tmp_path)) == ["deep/array.npy"]


@pytest.mark.parametrize(("frames_per_second", "milliseconds"), [(4, 250), (10, 100)])
def test_animation_shows_every_picture_at_its_pace_for_ever(
    tmp_path: Path, frames_per_second: float, milliseconds: int
) -> None:
    folder, pictures = tmp_path / "deep" / "figures", make_pictures()
    dataset = FiguresDataset(filepath=str(folder))
    assert not dataset.exists()
    shown = {"prediction": Animation(pictures, frames_per_second), "filmstrip": Figure()}
    dataset.save(shown)
    assert dataset.exists()
    assert set(written_files(folder, shown)) == set(folder.iterdir())
    with Image.open(folder / "prediction.gif") as image:
        assert image.info["loop"] == 0
        frames = [(frame.info["duration"], np.array(frame.convert("RGB"))) for frame in ImageSequence.Iterator(image)]
    assert [duration for duration, _ in frames] == [milliseconds] * 5
    np.testing.assert_array_equal([frame for _, frame in frames], pictures)


def test_what_is_encoded_is_written_as_it_is(tmp_path: Path) -> None:
    pictures = {"filmstrip": encoded(Figure(figsize=(2, 1))), "prediction": encoded(Animation(make_pictures(), 4))}
    FiguresDataset(filepath=str(tmp_path)).save(pictures)
    found = everything_in(tmp_path)
    assert found == {"filmstrip.png": pictures["filmstrip"].content, "prediction.gif": pictures["prediction"].content}
    assert set(written_files(tmp_path, pictures)) == set(tmp_path.iterdir())


def test_still_pictures_take_their_time(tmp_path: Path) -> None:
    FiguresDataset(filepath=str(tmp_path)).save({"animation": Animation(make_pictures()[[0, 1, 1, 1]], 4)})
    with Image.open(tmp_path / "animation.gif") as image:  # equal pictures may be stored as one
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(image)) == 4 * 250


def test_folder_is_handed_out_as_a_path(tmp_path: Path) -> None:
    dataset = FolderDataset(filepath=str(tmp_path / "state"))
    assert dataset.load() == tmp_path / "state"
    assert dataset.exists()
    assert not (tmp_path / "state").exists()


def test_folder_cannot_be_saved(tmp_path: Path) -> None:
    anything: Any = tmp_path
    with pytest.raises(DatasetError, match="not saved"):
        FolderDataset(filepath=str(tmp_path)).save(anything)


def test_pictures_cannot_be_read_back(tmp_path: Path) -> None:
    for dataset in (FiguresDataset, FigureDataset):
        with pytest.raises(DatasetError, match="not read back"):
            dataset(filepath=str(tmp_path / "name")).load()


def test_pictures_do_not_count_as_there_for_what_else_is_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("{}")
    assert not FiguresDataset(filepath=str(tmp_path)).exists()


def test_facts_that_are_not_there_yet_are_none(tmp_path: Path) -> None:
    dataset = FactsDataset(filepath=str(tmp_path / "facts.json"))
    assert dataset.load() == {}
    dataset.save({"clips": "7"})
    assert FactsDataset(filepath=str(tmp_path / "facts.json")).load() == {"clips": "7"}


@pytest.mark.parametrize("content", ["", "[]", "5", "no JSON", '{"clips": ', "[" * 100_000])
def test_facts_that_are_none_are_told_with_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=f"{path} .*; run again from the node predict"):
        FactsDataset(filepath=str(path)).load()


# --- files that are damaged or forged -------------------------------------------------------------------------------


def spring() -> None:
    pytest.fail("code from the file was run")


class Trap:
    """An object that would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, ()


def check_refused(dataset: ArrayDataset | ClipSetDataset) -> None:
    with pytest.raises(DatasetError, match=r"make (it|them) again") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, InputError)


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    check_refused(ArrayDataset(filepath=str(path)))


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    with pytest.raises(DatasetError, match="allow_pickle=False"):
        ArrayDataset(filepath=str(path)).save(np.array([Trap()], dtype=object))
    assert everything_in(tmp_path) == {}


def test_pickled_frames_are_refused(tmp_path: Path) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips())
    np.save(tmp_path / "train" / "frames.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    check_refused(dataset)


@pytest.mark.parametrize("length", [0, 5, 60, 200])
def test_truncated_array_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:length])
    check_refused(ArrayDataset(filepath=str(path)))


@pytest.mark.parametrize("name", ["frames.npy", "clips.parquet", "states.parquet", "actions.npy"])
@pytest.mark.parametrize("length", [0, 5, 60, 200])
def test_truncated_clips_are_refused(tmp_path: Path, name: str, length: int) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips(actions=True))
    path = tmp_path / "train" / name
    path.write_bytes(path.read_bytes()[:length])
    check_refused(dataset)


@pytest.mark.parametrize("frames", [np.zeros((3, 4, 1, 6, 5)), np.zeros((3, 4, 6, 5), np.uint8), make_clips(2).frames])
def test_frames_that_are_no_clips_of_the_table_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips(3))
    np.save(tmp_path / "train" / "frames.npy", frames)
    check_refused(dataset)


@pytest.mark.parametrize("actions", [np.zeros((3, 4)), np.zeros((2, 4, 2)), np.zeros((3, 5, 2))])
def test_actions_that_are_none_of_the_clips_are_refused(tmp_path: Path, actions: np.ndarray) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips(3, actions=True))
    np.save(tmp_path / "train" / "actions.npy", actions)
    check_refused(dataset)


def test_pickled_actions_are_refused(tmp_path: Path) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "train"))
    dataset.save(make_clips(actions=True))
    np.save(tmp_path / "train" / "actions.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    check_refused(dataset)


# --- saving that fails ----------------------------------------------------------------------------------------------


def write_some_and_fail(target: Any, *_: Any, **__: Any) -> None:
    """A writer on a disk that becomes full."""
    if hasattr(target, "write"):
        target.write(b"half")
        target.flush()
    else:
        Path(target).write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk(monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    """Let a writer, whose target is its first argument or comes after ``self``, fail half-way."""
    owner: Any = {"save": np, "to_parquet": pd.DataFrame, "Image.save": Image.Image}[writer]
    method = writer.rpartition(".")[2]
    first = write_some_and_fail if owner is np else lambda _, target, *rest, **more: write_some_and_fail(target)
    monkeypatch.setattr(owner, method, first)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("dataset", "old", "new", "writer"),
    [
        (ClipSetDataset, make_clips(3), make_clips(5, seed=1), "save"),
        (ClipSetDataset, make_clips(3), make_clips(5, seed=1), "to_parquet"),
        (ArrayDataset, np.arange(5), np.arange(9), "save"),
        (FiguresDataset, {"a": Animation(make_pictures(3), 4)}, {"a": Animation(make_pictures(5), 4)}, "Image.save"),
    ],
)
def test_full_disk_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Any, old: Any, new: Any, writer: str, before: bool
) -> None:
    saved = dataset(filepath=str(tmp_path / "name"))
    if before:
        saved.save(old)
    content = everything_in(tmp_path)
    assert bool(content) == before
    full_disk(monkeypatch, writer)
    with pytest.raises(DatasetError, match=r"name.* cannot be written: the disk is full"):
        saved.save(new)
    monkeypatch.undo()
    assert everything_in(tmp_path) == content
    kept = before or dataset is FiguresDataset  # whose folder holds other results too
    assert [path.name for path in tmp_path.iterdir()] == ["name"] * kept
    saved.save(new)
    assert everything_in(tmp_path) != content


def test_old_folder_stays_when_the_new_one_cannot_be_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "old").write_text("kept")
    rename = Path.rename

    def refuse_part(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", refuse_part)
    with pytest.raises(OSError, match="Input/output"), replacing_folder(tmp_path / "name") as part:
        (part / "new").write_text("lost")
    assert everything_in(tmp_path) == {"name/old": b"kept"}


def test_remains_of_a_killed_run_do_not_get_into_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / ".name.part").mkdir()
    (tmp_path / ".name.part" / "remains").write_text("half")
    with replacing_folder(tmp_path / "name") as part:
        (part / "new").write_text("whole")
    assert everything_in(tmp_path) == {"name/new": b"whole"}


@pytest.mark.parametrize("replacing", [replacing_file, replacing_folder])
def test_nothing_stands_in_its_place_before_it_is_whole(tmp_path: Path, replacing: Any) -> None:
    with replacing(tmp_path / "name") as part:
        if replacing is replacing_file:
            part.write_text("half")
        assert not (tmp_path / "name").exists()
        assert part.parent == tmp_path  # the same disk, so that renaming is one step
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


@pytest.mark.parametrize("replacing", [replacing_file, replacing_folder])
def test_the_longest_of_names_can_be_written(tmp_path: Path, replacing: Any) -> None:
    place = tmp_path / ("é" * 125 + ".json")  # 255 bytes
    for content in ("one", "other"):
        with replacing(place) as part:
            (part if replacing is replacing_file else part / "file").write_text(content)
        assert everything_in(tmp_path) in ({place.name: content.encode()}, {f"{place.name}/file": content.encode()})


def test_figures_are_written_whole_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure(figsize=(2, 1))
    dataset = FigureDataset(filepath=(tmp_path / "new" / "figure.png").as_posix())
    assert not dataset.exists()
    dataset.save(figure)
    assert dataset.exists()
    with Image.open(tmp_path / "new" / "figure.png") as picture:
        assert picture.size == (233, 123)  # 2 x 1 inches with a margin, 110 pixels per inch
    assert base64.b64decode(dataset.preview()) == (tmp_path / "new" / "figure.png").read_bytes()
    before = dataset.preview()
    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(DatasetError, match="no room"):
        dataset.save(figure)
    assert dataset.preview() == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["figure.png"]
    with pytest.raises(DatasetError, match="not read back"):
        dataset.load()


def broken(*_: Any, **__: Any) -> None:
    raise OSError("no room")

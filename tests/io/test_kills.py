"""Every dataset of the catalog is killed at each change to a file, or finds no room: the result is old or new."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kedro.io import AbstractDataset
from matplotlib.figure import Figure

from linear_video.common import files
from linear_video.common.files import recover, replacing_file, replacing_folder
from linear_video.io.clips import ClipSetDataset
from linear_video.io.figures import Animation
from linear_video.io.files import CSVDataset, JSONDataset, TextDataset
from linear_video.io.models import Checkpoint, CheckpointDataset
from linear_video.models.registry import build, describe
from tests.io.test_io import everything_in, make_clips, make_pictures
from tests.processes import cannot_exchange, killed_everywhere, limited

CATALOG: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "conf/base/catalog.yml").read_text().replace("${data:}", "DATA")
)
NOT_SAVED = (
    "MemoryDataset",
    "linear_video.io.folders.FolderDataset",
    "linear_video.io.folders.StateFolderDataset",
    "linear_video.io.clips.ResultsDataset",
)
# One entry of each type: the others differ in their place and in the options for reading them.
SAVED = list(
    {entry["type"]: name for name, entry in reversed(CATALOG.items()) if entry["type"] not in NOT_SAVED}.values()
)
FOLDERS = ["{dataset}.{split}_clips", "{model}.{dataset}.checkpoint"]


def checkpoint(weight: float) -> Checkpoint:
    model = build("lds", (1, 8, 8), {"state_dimension": 2})
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.fill_(weight)
    return Checkpoint(model, describe("lds", model))


def figure(width: int) -> Figure:
    return Figure(figsize=(width, 1))


def table(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"source": [f"clip {i}" for i in range(rows)], "label": "7", "frames": range(rows)})


# By the last part of the type: what is there, and what takes its place.
CONTENTS: dict[str, tuple[Any, Any]] = {
    "ClipSetDataset": (make_clips(3), make_clips(5, seed=1, states=False, actions=True)),
    "CSVDataset": (table(3), table(5000)),
    "FigureDataset": (figure(1), figure(2)),
    "CheckpointDataset": (checkpoint(1), checkpoint(2)),
    "ArrayDataset": (np.arange(5), np.arange(5000)),
    "FactsDataset": ({"clips": "7"}, {"clips": "8", "more": list(range(5000))}),
    "TextDataset": ("old", "new" * 5000),
    "JSONDataset": ({"psnr": [1.0]}, {"psnr": [2.0] * 5000}),
    "FiguresDataset": (
        {"filmstrip": figure(1), "prediction": Animation(make_pictures(3), 4)},
        {"filmstrip": figure(2), "prediction": Animation(make_pictures(5), 4)},
    ),
}


def dataset_of(name: str, folder: Path) -> tuple[AbstractDataset[Any, Any], Any, Any]:
    """A dataset with the catalog's settings in a folder, and its old and new content."""
    entry = dict(CATALOG[name])
    entry["filepath"] = (
        entry["filepath"].replace("DATA", str(folder)).format(model="ile", dataset="mine", split="train")
    )
    return AbstractDataset.from_config(name, entry), *CONTENTS[entry["type"].rpartition(".")[2]]


def shown(folder: Path) -> dict[str, bytes]:
    """All files except the temporary ones beside the results."""
    return {name: content for name, content in everything_in(folder).items() if "/." not in name}


def check_kills(name: str, folder: Path, exchange: bool = True) -> None:
    dataset, old, new = dataset_of(name, folder)
    dataset.save(new)
    all_new = everything_in(folder)
    dataset.save(old)
    all_old = everything_in(folder)
    assert set(all_new.values()) != set(all_old.values())
    seen = []
    for _ in killed_everywhere(partial(dataset.save, new), folder, exchange):
        assert dataset.exists()
        if "igure" not in type(dataset).__name__:
            dataset.load()
        found = shown(folder)
        if "figures" in name:  # each picture is a file of its own
            assert all(found[file] in (all_old[file], all_new[file]) for file in all_old)
        else:
            assert found in (all_old, all_new)
        seen.append(found)
        dataset.save(new)
        assert everything_in(folder) == all_new  # and nothing beside
        dataset.save(old)
        assert everything_in(folder) == all_old
    assert seen[0] == all_old
    assert seen[-1] == all_new  # killed when all but its own remains was done


@pytest.mark.parametrize("name", SAVED)
def test_killed_at_any_change_a_dataset_holds_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    check_kills(name, tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_same_where_folders_cannot_change_places_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(files, "_exchange", cannot_exchange)
    check_kills(name, tmp_path, exchange=False)


@pytest.mark.parametrize("exchange", [True, False])
def test_what_else_lies_beside_a_model_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", cannot_exchange)
    dataset, old, new = dataset_of("{model}.{dataset}.checkpoint", tmp_path)
    place = tmp_path / "06_models/ile/mine"

    def start() -> None:
        dataset.save(old)
        for name in ("state/last.ckpt", "notes/mine.md"):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(name)

    start()
    for _ in killed_everywhere(partial(dataset.save, new), tmp_path, exchange):
        assert dataset.exists()
        assert (place / "state/last.ckpt").exists()
        assert (place / "notes/mine.md").exists()
        start()
    assert (place / "notes/mine.md").read_text() == "notes/mine.md"


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    dataset, _, new = dataset_of("{dataset}.{split}_clips", tmp_path)
    for _ in killed_everywhere(partial(dataset.save, new), tmp_path):
        if dataset.exists():
            np.testing.assert_array_equal(dataset.load().frames, new.frames)
            shutil.rmtree(tmp_path / "03_primary")
    np.testing.assert_array_equal(dataset.load().frames, new.frames)


def test_a_reader_does_not_disturb_a_writer_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two steps of a writer, a reader finds nothing, and puts the old folder back."""
    monkeypatch.setattr(files, "_exchange", cannot_exchange)
    place = tmp_path / "name"
    place.mkdir()
    (place / "old").write_text("old")
    rename, times = Path.rename, list[int]()

    def read_between(path: Path, target: Path) -> Path:
        result = rename(path, target)
        if path == place and not times:
            times.append(1)
            recover(place)
            assert [file.name for file in place.iterdir()] == ["old"]
        return result

    monkeypatch.setattr(Path, "rename", read_between)
    with replacing_folder(place) as part:
        (part / "new").write_text("new")
    assert times
    assert everything_in(tmp_path) == {"name/new": b"new"}


def test_what_a_kill_leaves_is_never_taken_for_the_only_copy(tmp_path: Path) -> None:
    """The old folder beside its place is restored, whether it is read or written next, and however that ends."""
    (tmp_path / ".name.old").mkdir()
    (tmp_path / ".name.old/kept").write_text("kept")
    with pytest.raises(ValueError, match="stop"), replacing_folder(tmp_path / "name"):
        raise ValueError("stop")
    assert everything_in(tmp_path) == {"name/kept": b"kept"}
    (tmp_path / "name").rename(tmp_path / ".name.old")
    recover(tmp_path / "name")
    assert everything_in(tmp_path) == {"name/kept": b"kept"}


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_several_may_write_the_same_folder_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, exchange: bool
) -> None:
    """The one that ends last finds the other's folder in its place; each has a place of its own meanwhile."""
    if not exchange:
        monkeypatch.setattr(files, "_exchange", cannot_exchange)
    place = tmp_path / "name"
    if before:
        place.mkdir()
        (place / "damaged").touch()
    with replacing_folder(place, several=True) as slow:
        (slow / "first").write_text("same")
        with replacing_folder(place, several=True) as fast:
            assert not list(fast.iterdir())
            for name in ("first", "second"):
                (fast / name).write_text("same")
        assert everything_in(place) == {"first": b"same", "second": b"same"}
        (slow / "second").write_text("same")
    assert everything_in(tmp_path) == {"name/first": b"same", "name/second": b"same"}
    with pytest.raises(ValueError, match="stop"), replacing_folder(place, several=True):
        raise ValueError("stop")
    assert everything_in(tmp_path) == {"name/first": b"same", "name/second": b"same"}


@pytest.mark.parametrize("replacing", [replacing_file, replacing_folder])
def test_links_stay_and_lead_to_the_new(tmp_path: Path, replacing: Any) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "place")
    for content in ("old", "new"):
        with replacing(tmp_path / "link") as part:
            (part if replacing is replacing_file else part / "file").write_text(content)
    assert (tmp_path / "link").is_symlink()
    place = tmp_path / "disk" / "place"
    assert (place if replacing is replacing_file else place / "file").read_text() == "new"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["place"]


def save_state(path: Path, step: int) -> None:
    from linear_video.training.lightning import WholeFiles

    WholeFiles().save_checkpoint({"step": step, "weights": torch.zeros(100_000)}, path)


# --- no room --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("size", [0, 300])
def test_a_file_that_may_not_grow_is_one_message_and_leaves_the_old(tmp_path: Path, name: str, size: int) -> None:
    dataset, old, new = dataset_of(name, tmp_path)
    dataset.save(old)
    before = everything_in(tmp_path)
    said = limited(partial(dataset.save, new), size)
    assert said.startswith("DatasetError: Failed while saving")
    assert "cannot be written: it would be larger than a file may be here (see ulimit -f)" in said
    assert str(tmp_path) in said.splitlines()[-1]
    assert ".part" not in said
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("size", [0, 5000, 100_000])
def test_a_training_state_that_may_not_grow_leaves_the_last_one(tmp_path: Path, size: int) -> None:
    (tmp_path / "last.ckpt").write_text("old")
    said = limited(partial(save_state, tmp_path / "last.ckpt", 1), size)
    assert said.startswith(f"NoRoomError: {tmp_path / 'last.ckpt'} cannot be written: it would be larger")
    assert everything_in(tmp_path) == {"last.ckpt": b"old"}


def test_a_training_state_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_state(path, 0)
    kills = 0
    for _ in killed_everywhere(partial(save_state, path, 1), tmp_path):
        kills += 1
        there = path if path.exists() else path.with_name("previous.ckpt")  # what a training goes on from
        assert torch.load(there, weights_only=True)["step"] in (0, 1)
        save_state(path, 0)
        assert {file.name for file in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt", "digests"}
    assert kills
    assert torch.load(path, weights_only=True)["step"] == 1


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    def make_a_mistake(part: Path) -> None:
        part.write_text("half")
        raise KeyError("mistake")

    with pytest.raises(KeyError, match="mistake"), replacing_file(tmp_path / "name") as part:
        make_a_mistake(part)
    assert everything_in(tmp_path) == {}


# --- Kedro's datasets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "content"),
    [(CSVDataset, table(3)[["source", "frames"]]), (JSONDataset, {"a": [1, 2]}), (TextDataset, "words")],
)
def test_datasets_of_one_file_work_in_a_store_too(make: Callable[..., Any], content: Any) -> None:
    dataset = make(filepath=f"memory://bucket/{make.__name__}/file")
    assert not dataset.exists()
    dataset.save(content)
    loaded = make(filepath=f"memory://bucket/{make.__name__}/file").load()
    assert loaded.equals(content) if isinstance(content, pd.DataFrame) else loaded == content


def test_versions_are_kept_apart(tmp_path: Path) -> None:
    from kedro.io import Version

    for version in ("one", "two"):
        TextDataset(filepath=(tmp_path / "a.txt").as_posix(), version=Version(None, version)).save(version)
    assert everything_in(tmp_path) == {"a.txt/one/a.txt": b"one", "a.txt/two/a.txt": b"two"}


def test_a_table_is_previewed_as_the_catalog_has_it(tmp_path: Path) -> None:
    dataset: Any
    dataset, old, _ = dataset_of("{dataset}.sources", tmp_path)
    dataset.save(old)
    assert dataset.preview(2)["data"] == [["clip 0", "7", 0], ["clip 1", "7", 1]]  # labels are text
    assert dataset.metadata == {"kedro-viz": {"layer": "reporting"}}
    dataset, old, _ = dataset_of("{model}.{dataset}.scores", tmp_path)
    dataset.save(old)
    assert dataset.preview() == '{"psnr": [1.0]}'


def test_every_dataset_that_is_saved_is_one_that_writes_whole() -> None:
    """Kedro's datasets write in place, so the catalog uses none of them, except one that keeps nothing."""
    assert {entry["type"].rpartition(".")[0] for entry in CATALOG.values() if entry["type"] != "MemoryDataset"} <= {
        "linear_video.io.clips",
        "linear_video.io.figures",
        "linear_video.io.files",
        "linear_video.io.folders",
        "linear_video.io.models",
    }
    assert ClipSetDataset.witness
    assert CheckpointDataset.witness

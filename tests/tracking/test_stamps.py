"""A node runs again if and only if an output, or anything that its outputs depend on, has changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro_datasets.json import JSONDataset

from linear_video.io.folders import FolderDataset
from linear_video.pipelines.bound import ALWAYS, bound
from linear_video.tracking import stamps as module
from linear_video.tracking.stamps import Stamps, files_of

Project = Path
NAMES = ["make", "train", "draw"]


def make(settings: Any, folder: Path, name: str) -> list[int]:
    return [0]


def pipeline() -> Pipeline:
    """Clips of raw data, a model of the clips, a picture of both."""
    return Pipeline(
        [
            node(bound(make, name="a"), ["params:clips", "folder"], "clips", name="make"),
            node(lambda clips, steps: {}, ["clips", "params:steps"], "model", name="train"),
            node(lambda clips, model: "", ["clips", "model"], "picture", name="draw"),
        ]
    )


def catalog_of(project: Path, steps: int = 3, raw: str = "raw") -> DataCatalog:
    datasets: dict[str, Any] = {
        name: JSONDataset(filepath=str(project / f"data/{name}.json")) for name in ("clips", "model", "picture")
    }
    datasets["folder"] = FolderDataset(filepath=str(project / "data/folder"))
    datasets["params:clips"] = MemoryDataset({"raw_folder": str(project / raw), "frames": 5})
    datasets["params:steps"] = MemoryDataset(steps)
    return DataCatalog(datasets)


def run(project: Path, names: list[str], **changes: Any) -> None:
    """Save the outputs of the nodes, and stamp them, as a run does."""
    catalog = catalog_of(project, **changes)
    stamps = Stamps(project / "data/.stamps", catalog)
    for one in pipeline().nodes:
        if one.name in names:
            made_of = stamps.made_of(one)
            assert made_of is not None
            (output,) = one.outputs
            catalog.save(output, {"made by": one.name})
            files = files_of(catalog.get(output))
            assert files is not None
            stamps.write(one, made_of, {output: files})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in which everything has run once."""
    (tmp_path / "raw/class").mkdir(parents=True)
    (tmp_path / "raw/class/video.avi").write_text("frames")
    run(tmp_path, NAMES)
    return tmp_path


def stale(project: Path, named: tuple[str, ...] = (), **changes: Any) -> list[str]:
    found = Stamps(project / "data/.stamps", catalog_of(project, **changes)).stale(pipeline(), named)
    return [name for name in NAMES if name in found]


def test_nothing_runs_again(project: Path) -> None:
    assert stale(project) == []


def test_nothing_has_been_made_yet(tmp_path: Path) -> None:
    assert stale(tmp_path) == NAMES


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_killed_run_goes_on_with_the_first_node_that_is_not_stamped(tmp_path: Path, killed_after: int) -> None:
    run(tmp_path, NAMES[:killed_after])
    assert stale(tmp_path) == NAMES[killed_after:]


def edit(path: Path) -> None:
    """Write other content of the same size, with the same time to the nanosecond."""
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("name", "first"), [("clips", 0), ("model", 1), ("picture", 2)])
@pytest.mark.parametrize("change", [edit, Path.unlink])
def test_an_edited_or_deleted_output_is_made_again_and_what_follows(
    project: Path, name: str, first: int, change: Callable[[Path], None]
) -> None:
    change(project / f"data/{name}.json")
    assert stale(project) == NAMES[first:]


def test_a_file_that_is_touched_alone_is_the_same(project: Path) -> None:
    (project / "data/clips.json").touch()
    assert stale(project) == []


def test_a_parameter_concerns_the_node_that_has_it(project: Path) -> None:
    assert stale(project, steps=4) == ["train", "draw"]


@pytest.mark.parametrize("change", ["edited", "added", "deleted"])
def test_raw_files_are_looked_at(project: Path, change: str) -> None:
    video = project / "raw/class/video.avi"
    if change == "edited":
        video.write_text("others")
        os.utime(video, (1, 1))
    elif change == "added":
        (project / "raw/class/another.avi").write_text("more")
    else:
        video.unlink()
    assert stale(project) == NAMES


def test_a_machine_without_the_raw_files_passes_over_what_was_made_of_them(project: Path) -> None:
    (project / "raw").rename(project / "elsewhere")
    assert stale(project) == []
    (project / "raw").mkdir()  # which is here, and holds other files
    assert stale(project) == NAMES


def test_raw_files_that_were_not_there_yet_count(tmp_path: Path) -> None:
    run(tmp_path, NAMES)
    assert stale(tmp_path) == []
    (tmp_path / "raw").mkdir()
    assert stale(tmp_path) == NAMES


def test_links_among_raw_files_that_go_round_are_followed_once(project: Path) -> None:
    (project / "raw/again").symlink_to(project / "raw")
    assert stale(project) == []
    (project / "elsewhere").mkdir()
    (project / "elsewhere/more.avi").write_text("more")
    (project / "raw/linked").symlink_to(project / "elsewhere")
    assert stale(project) == NAMES


def test_other_code_makes_all_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_code", lambda: "another")
    assert stale(project) == NAMES


def test_a_named_node_runs_whatever_its_stamp_says(project: Path) -> None:
    assert stale(project, ("train",)) == ["train", "draw"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "outputs": 3}', "\0"])
def test_a_damaged_stamp_is_none(project: Path, content: str) -> None:
    (project / "data/.stamps/make.json").write_text(content)
    assert stale(project) == NAMES


def test_a_project_that_was_moved_has_what_it_had(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = tmp_path_factory.mktemp("moved") / "project"
    (project / "data").rename(project / "old")
    moved.mkdir()
    (project / "old").rename(moved / "data")
    catalog = catalog_of(project)
    for name in ("clips", "model", "picture"):
        catalog[name] = JSONDataset(filepath=str(moved / f"data/{name}.json"))
    assert Stamps(moved / "data/.stamps", catalog).stale(pipeline(), ()) == set()


def test_what_does_not_lie_on_this_disk_is_made_each_time(project: Path) -> None:
    catalog = catalog_of(project)
    catalog["model"] = JSONDataset(filepath="memory://bucket/model.json")
    assert Stamps(project / "data/.stamps", catalog).stale(pipeline(), ()) == {"train", "draw"}


def test_an_output_that_shall_lie_elsewhere_is_made_there(project: Path) -> None:
    catalog = catalog_of(project)
    catalog["model"] = JSONDataset(filepath=str(project / "data/another.json"))
    assert Stamps(project / "data/.stamps", catalog).stale(pipeline(), ()) == {"train", "draw"}


def test_a_tagged_node_runs_each_time(project: Path) -> None:
    last = pipeline().nodes[-1]
    tagged = Pipeline([*pipeline().nodes[:-1], last.tag(ALWAYS)])
    assert Stamps(project / "data/.stamps", catalog_of(project)).stale(tagged, ()) == {"draw"}


def test_a_file_that_has_not_changed_is_not_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("a file was read"))
    assert stale(project) == []


def test_a_stamp_says_what_a_node_was_made_of(project: Path) -> None:
    stamp = json.loads((project / "data/.stamps/draw.json").read_text())
    assert set(stamp["made_of"]["inputs"]) == {"clips", "model"}
    assert list(stamp["outputs"]["picture"]) == ["../picture.json"]

"""Runs whose data lie in a bucket leave there what runs with local data leave, and go on from machine to machine."""

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

import linear_video
from tests.pipelines.project import DATA, copy_of_project, fails, succeeds, write_raw_data
from tests.torture import difference, fingerprint

MADE = "--pipelines=ile,ucf_sports,compare"
VIDEO = "video=data/01_raw/own_footage"
RETIMED = ("--pipelines=predict", f"--params=predict.{VIDEO},predict.task=retime,predict.context=4")
SHOWN = ("--pipelines=footage", f"--params=footage.{VIDEO},footage.tasks=[extrapolate]")


@pytest.fixture
def elsewhere(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project whose data lie in a bucket."""
    monkeypatch.setenv("LINEAR_VIDEO_DATA", f"{bucket}/video")
    monkeypatch.setenv("LINEAR_VIDEO_CACHE", str(tmp_path / "copies"))
    (tmp_path / "project").mkdir()
    return copy_of_project(tmp_path / "project")


def fetch_all(url: str, folder: Path) -> None:
    """Let a local folder be what the bucket has, by other means than ours."""
    store, key = fsspec.core.url_to_fs(url)
    store.get(f"{key}/", str(folder), recursive=True)
    for array in list(folder.rglob("frames.zarr")):
        np.save(array.with_name("frames.npy"), np.asarray(zarr.open_array(str(array), mode="r")[:]))
        shutil.rmtree(array)
    for file in [*folder.rglob(".files.json"), folder / ".writable"]:
        file.unlink()
    for file in folder.rglob("facts.json"):  # which tell where the model lay
        file.write_text(file.read_text().replace(url, str(DATA)))


def without_times(found: dict[str, str]) -> dict[str, str]:
    """A fingerprint without the page that tells how many frames a second were predicted."""
    return {name: digest for name, digest in found.items() if name != "08_reporting/comparison/moving_symbols.md"}


@pytest.mark.slow
def test_a_bucket_holds_in_the_end_what_a_local_folder_holds(
    elsewhere: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw_data(elsewhere)
    commands = [(MADE,), RETIMED, SHOWN]
    for command in commands:
        succeeds(elsewhere, "run", "--env=test", *command)
    assert not (elsewhere / DATA).exists()

    # Another machine has only the bucket, and nothing to do; it can use the model.
    monkeypatch.setenv("LINEAR_VIDEO_CACHE", str(tmp_path / "copies of another machine"))
    assert "Everything is up to date" in succeeds(elsewhere, "run", "--env=test", MADE)
    assert linear_video.load(f"{bucket}/video/test/06_models/ile/moving_symbols").name == "ile"
    # It evaluates what the first has trained, when it is asked to.
    told = succeeds(elsewhere, "run", "--env=test", "--pipelines=ile", "--from-nodes=ile.moving_symbols.predict")
    assert "Running node: train" not in told

    fetch_all(f"{bucket}/video/test", elsewhere / DATA)
    found = without_times(fingerprint(elsewhere))
    monkeypatch.delenv("LINEAR_VIDEO_DATA")
    (tmp_path / "local").mkdir()
    local = copy_of_project(tmp_path / "local")
    shutil.copytree(elsewhere / "data/01_raw", local / "data/01_raw")  # times of change name folders
    for command in commands:
        succeeds(local, "run", "--env=test", *command)
    assert len(found) > 50
    assert difference(found, without_times(fingerprint(local))) == ""


@pytest.mark.slow
def test_a_bucket_that_is_not_there_ends_the_run_with_a_message(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAR_VIDEO_DATA", "s3://no-such-bucket/video")
    message = fails(elsewhere, "run", "--env=test", "--pipelines=ile")
    assert message.startswith("s3://no-such-bucket/video/test cannot be read or written: ")

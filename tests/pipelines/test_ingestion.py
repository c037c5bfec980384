"""The datasets that are read from files, as their users run them; real data where the machine has some."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from linear_video.clips.base import Split
from linear_video.clips.digit_cycles import DigitCyclesSettings
from linear_video.common.errors import InputError
from linear_video.parameters import check_parameters
from tests.pipelines.project import DATA, begin, copy_of_project, fails, kedro, succeeds, write_footage
from tests.test_parameters import load

# Real downloads, kept apart from the project: a folder with ucf_sports_like, textures, coil20 and mnist in it.
REAL_DATA = os.environ.get("LINEAR_VIDEO_REAL_DATA")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the project in which footage has been read, and a model fitted to it."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    write_footage(folder / "data/01_raw/ucf_sports")
    return folder, succeeds(folder, "run", "--env=test", "--pipelines=lds.ucf_sports")


def test_footage_becomes_clips_a_trained_model_and_scores(ingested: tuple[Path, str]) -> None:
    folder, _ = ingested
    results = folder / DATA / "08_reporting/lds/ucf_sports"
    assert {"scores.json", "filmstrip.png", "horizon.png", "prediction.gif"} <= {
        path.name for path in results.iterdir()
    }
    for split in ("train", "validation", "test"):
        frames = np.load(folder / DATA / "03_primary/ucf_sports" / split / "frames.npy", mmap_mode="r")
        assert frames.shape[1:] == (15, 1, 16, 16)


def newest_run(folder: Path) -> Any:
    """MLflow's client, and the newest run."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video")
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id])[0]


def test_what_was_read_and_rejected_is_told_saved_and_tracked(ingested: tuple[Path, str]) -> None:
    folder, output = ingested
    sources = pd.read_csv(folder / DATA / "08_reporting/ucf_sports/sources.csv", keep_default_na=False)
    rejected = sources[sources["reason"] != ""]
    assert rejected["source"].tolist() == ["Golf/900/clip.avi"]
    assert "Golf/900/clip.avi: its first bytes are not those of the format AVI" in output
    summary = pd.read_csv(folder / DATA / "08_reporting/ucf_sports/summary.csv", index_col="part")
    assert summary[["sources", "frames"]].to_dict("index")["read"] == {"sources": 6, "frames": 180}
    assert summary.loc["rejected", "sources"] == 1
    splits = summary.loc[["train", "validation", "test"]]
    assert splits["clips"].sum() == summary.loc["read", "clips"] == 36  # starts 0, 3, ..., 15 of 30 frames
    assert splits["sources"].sum() == 6
    client, run = newest_run(folder)
    assert (run.data.tags["model"], run.data.tags["dataset"]) == ("lds", "ucf_sports")
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id, "ucf_sports")}
    assert artifacts == {f"ucf_sports/{name}" for name in ("sources.csv", "summary.csv", "contact_sheet.png")}


def test_the_contact_sheet_can_be_opened(ingested: tuple[Path, str]) -> None:
    with Image.open(ingested[0] / DATA / "08_reporting/ucf_sports/contact_sheet.png") as picture:
        assert min(picture.size) > 200


def test_one_broken_file_stops_the_run_where_that_is_asked_for(ingested: tuple[Path, str]) -> None:
    arguments = ("--pipelines=ucf_sports", "--params=ucf_sports.unusable=fail")
    assert "Golf/900/clip.avi: its first bytes are not those of the format AVI" in fails(
        ingested[0], "run", "--env=test", *arguments
    )


def test_shards_are_read_by_runs_side_by_side_and_merged_by_an_ordinary_one(
    tmp_path: Path, ingested: tuple[Path, str]
) -> None:
    folder = copy_of_project(tmp_path)
    write_footage(folder / "data/01_raw/ucf_sports")
    command = ("run", "--env=test", "--pipelines=lds.ucf_sports")
    runs = [begin(folder, *command, f"--params=shard={number}/2") for number in (1, 2)]
    said = [" ".join(run.communicate(timeout=300)[0].split()) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert "Shard 1/2 of ucf_sports: 4 of 7 recordings are read, and 1 of these cannot be used. When all" in said[0]
    assert "Shard 2/2 of ucf_sports: 3 of 7 recordings are read, and 0 of these cannot be used. When all" in said[1]
    assert not any("Waiting for another run" in words for words in said)
    data, read = folder / DATA, folder / DATA / "02_intermediate/ucf_sports"
    assert [path.name for path in data.iterdir() if not path.name.startswith(".")] == ["02_intermediate"]
    before = {path: path.stat().st_mtime_ns for path in read.rglob("*")}
    assert len(list(read.iterdir())) == 6
    succeeds(folder, "run", "--env=test", "--pipelines=ucf_sports")
    assert {path: path.stat().st_mtime_ns for path in read.rglob("*")} == before
    for name in ("frames.npy", "clips.parquet"):
        clips = f"03_primary/ucf_sports/train/{name}"
        assert (data / clips).read_bytes() == (ingested[0] / DATA / clips).read_bytes()
    _, run = newest_run(folder)
    assert run.data.tags["mlflow.runName"] == "test: clips of ucf_sports"  # and the shards have none


def test_other_clips_are_cut_without_reading_again(ingested: tuple[Path, str]) -> None:
    folder, _ = ingested
    read = folder / DATA / "02_intermediate/ucf_sports"
    before = {path: path.stat().st_mtime_ns for path in read.rglob("*")}
    succeeds(folder, "run", "--env=test", "--pipelines=ucf_sports", "--params=ucf_sports.window_step=15")
    assert {path: path.stat().st_mtime_ns for path in read.rglob("*")} == before
    summary = pd.read_csv(folder / DATA / "08_reporting/ucf_sports/summary.csv", index_col="part")
    assert summary.loc["read", "clips"] == 12  # starts 0 and 15 of 30 frames
    client, run = newest_run(folder)
    assert run.data.tags["mlflow.runName"] == "test: clips of ucf_sports"
    metrics = run.data.metrics
    assert (metrics["video/read_clips"], metrics["video/rejected_sources"]) == (12, 1)
    assert metrics["video/train_clips"] == summary.loc["train", "clips"]
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"sources.csv", "summary.csv", "contact_sheet.png"} <= artifacts


@pytest.mark.parametrize(
    ("name", "place"),
    [("ucf_sports", "www.crcv.ucf.edu"), ("ucla_textures", "dyntex"), ("small_norb", "download_small_norb")],
)
def test_missing_raw_data_gets_a_message_that_says_where_to_get_it(tmp_path: Path, name: str, place: str) -> None:
    known: Any = check_parameters(load("base")).datasets[name]
    settings = replace(known, raw_folder=str(tmp_path / "nothing"))
    with pytest.raises(InputError) as caught:
        settings.make(name, 0, tmp_path)
    for part in ("nothing holds", place, f"--params={name}.raw_folder="):
        assert part in str(caught.value)


def test_counting_needs_no_download(tmp_path: Path) -> None:
    images: dict[Split, int] = {"train": 100, "validation": 20, "test": 20}
    settings = DigitCyclesSettings(frames=2, images_per_digit=images)
    made = settings.make("digit_cycles", 0, tmp_path)
    assert {split: len(clips.table) for split, clips in made.clips.items()} == {
        "train": 399,  # 4 digits, 100 images of each, one step less
        "validation": 79,
        "test": 79,
    }
    assert made.sources is None


@pytest.mark.slow
@pytest.mark.skipif(REAL_DATA is None, reason="LINEAR_VIDEO_REAL_DATA does not name a folder of real data")
@pytest.mark.parametrize("dataset", ["ucf_sports", "ucla_textures", "small_norb", "digit_cycles", "moving_symbols"])
def test_real_data_is_counted_as_an_independent_count_does(tmp_path: Path, dataset: str) -> None:
    folder, data = copy_of_project(tmp_path), Path(str(REAL_DATA)).resolve()
    parameters = {
        "ucf_sports": f"ucf_sports.raw_folder={data}/ucf_sports_like",
        "ucla_textures": f"ucla_textures.raw_folder={data}/textures",
        "small_norb": f"small_norb.raw_folder={data}/coil20,small_norb.object=all",
        "digit_cycles": f"digit_cycles.frames=2,digit_cycles.symbols=mnist,digit_cycles.symbols_folder={data}/mnist",
        "moving_symbols": f"moving_symbols.symbols=mnist,moving_symbols.symbols_folder={data}/mnist",
    }[dataset]
    done = kedro(folder, "run", f"--pipelines={dataset}", f"--params={parameters}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("warn", done.stdout + done.stderr, re.IGNORECASE), done.stdout + done.stderr
    summary = pd.read_csv(folder / f"data/08_reporting/{dataset}/summary.csv", index_col="part")
    if dataset in ("ucf_sports", "ucla_textures"):
        root = data / ("ucf_sports_like" if dataset == "ucf_sports" else "textures")
        frames: dict[Path, int] = {}
        for path in root.rglob("*"):
            if path.suffix in (".avi", ".mp4"):
                video = cv2.VideoCapture(str(path))
                frames[path] = 0
                while video.read()[0]:
                    frames[path] += 1
            elif path.suffix == ".jpg":
                frames[path.parent] = frames.get(path.parent, 0) + 1
        assert summary[["sources", "frames"]].to_dict("index")["read"] == {
            "sources": len(frames),
            "frames": sum(frames.values()),
        }
        assert summary.loc["rejected", "sources"] == 0
    elif dataset == "small_norb":
        pictures = [path.name.partition("__")[0] for path in (data / "coil20").glob("obj*.png")]
        assert summary[["sources", "frames"]].to_dict("index")["read"] == {
            "sources": len(set(pictures)),
            "frames": len(pictures),
        }
    elif dataset == "digit_cycles":
        assert summary["clips"].tolist() == [7_999, 799, 799]
        assert summary["sources"].tolist() == [8_000, 800, 800]
    else:
        assert summary["clips"].tolist() == [10_000, 100, 100]
        assert summary["frames"].tolist() == [150_000, 1_500, 1_500]

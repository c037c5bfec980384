"""docs/how_to/platforms.md, done in three folders that share nothing but a folder of data and an MLflow server."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.pipelines.project import ROOT, write_footage

PAGE = (ROOT / "docs/how_to/platforms.md").read_text()
BLOCKS = dict(re.findall(r'^```bash title="([\w ]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))
MACHINES = ("ingestion", "training", "evaluation")


def machine(folder: Path) -> Path:
    """A folder with the configuration alone, as it is unpacked."""
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local", "my_*"))
    (folder / "conf/local").mkdir()
    return folder


def do(folder: Path, commands: str, data: Path, uri: str) -> str:
    """Do a block of the page at test size; return what it says."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"LINEAR_VIDEO_DATA": str(data), "MLFLOW_TRACKING_URI": uri, "KEDRO_ENV": "test", "PATH": path}
    settings |= {"PYTHONPATH": str(ROOT / "src"), "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def ran(said: str) -> list[str]:
    return re.findall(r"Completed node: (\S+)", said)


def test_the_page_names_the_variables_and_the_processes() -> None:
    assert list(BLOCKS) == ["every machine", *MACHINES, "steps"]
    assert re.findall(r"export (\w+)=", BLOCKS["every machine"]) == ["LINEAR_VIDEO_DATA", "MLFLOW_TRACKING_URI"]


@pytest.mark.slow
def test_three_processes_share_data_and_mlflow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    load: Any = importlib.import_module("tracking_load")
    folders = {name: machine(tmp_path / name) for name in MACHINES}
    write_footage(folders["ingestion"] / "data/01_raw/ucf_sports")
    data = tmp_path / "shared"
    with load.mlflow_server(tmp_path / "server") as uri:
        said = {name: do(folders[name], BLOCKS[name], data, uri) for name in MACHINES}
        stepped = do(folders["training"], BLOCKS["steps"], data, uri)
        client = mlflow.MlflowClient(uri)
        runs = {run.info.run_name: run for run in client.search_runs(["1"], order_by=["attributes.start_time DESC"])}
        champion = client.get_model_version_by_alias("ile-ucf_sports-test", "champion")
    assert sorted(ran(said["ingestion"])) == ["ucf_sports.make", "ucf_sports.summarise"]
    assert ran(said["training"]) == ["ile.ucf_sports.train"]
    assert ran(said["evaluation"]) == [f"ile.ucf_sports.{step}" for step in ("predict", "evaluate", "draw")]
    assert ran(stepped) == [f"ile.ucf_sports.{step}" for step in ("evaluate", "draw")]
    for name in MACHINES:  # nothing was made there
        assert {path.name for path in folders[name].iterdir()} <= {"conf", "data", ".runs", ".viz"}, name
        assert not (folders[name] / "data/test").exists()
    assert not (folders["evaluation"] / "data").exists()
    trained, judged = runs["test: ile on ucf_sports"], runs["test: evaluate ile on ucf_sports"]
    assert champion.run_id == judged.data.tags["trained_by"] == trained.info.run_id
    scores = json.loads((data / "test/08_reporting/ile/ucf_sports/scores.json").read_text())
    assert judged.data.metrics["evaluation/psnr_frame_1"] == pytest.approx(scores["psnr"][0])

"""Runs that are tracked on MLflow's server, over HTTP: all that they leave in a file of SQLite, they leave there."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.entities import Run

import linear_video
from tests.pipelines.project import DATA, ROOT, copy_of_project
from tests.tracking.servers import postgresql, postgresql_binaries

EVERYTHING = "ile.moving_symbols,last_frame.moving_symbols,compare"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        load: Any = importlib.import_module("tracking_load")
        with load.mlflow_server(tmp_path_factory.mktemp("mlflow") / "server") as uri:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            before = mlflow.get_tracking_uri()
            mlflow.set_tracking_uri(uri)
            yield uri
            mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def project(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which two models were trained and compared; MLflow was on the server."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    command = [sys.executable, "-m", "kedro", "run", "--env=test", f"--pipelines={EVERYTHING}"]
    settings = {"DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": server}
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "mlflow.db").exists()
    assert not (folder / "mlruns").exists()
    return folder


def run_called(name: str) -> Run:
    found = mlflow.search_runs(search_all_experiments=True, output_format="list")
    [run] = [run for run in found if run.info.run_name == name]
    return run


@pytest.mark.slow
def test_runs_below_a_run_hold_what_the_files_hold(project: Path) -> None:
    parent = run_called("test: ile, last_frame on moving_symbols")
    run = run_called("test: ile on moving_symbols")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {run.info.status, parent.info.status} == {"FINISHED"}
    scores = json.loads((project / DATA / "08_reporting/ile/moving_symbols/scores.json").read_text())
    assert run.data.metrics["evaluation/psnr_frame_1"] == pytest.approx(scores["psnr"][0])
    assert run.data.params["ile.moving_symbols.training.steps"] == "60"
    assert run.inputs is not None
    assert run.outputs is not None
    assert {clips.dataset.name for clips in run.inputs.dataset_inputs} == {"moving_symbols"}
    [model] = run.outputs.model_outputs
    logged = mlflow.MlflowClient().get_logged_model(model.model_id)
    assert logged.metrics is not None
    assert {metric.key: metric.value for metric in logged.metrics}["evaluation/psnr_frame_1"] == pytest.approx(
        scores["psnr"][0]
    )


@pytest.mark.slow
def test_files_and_the_picture_of_the_description_come_from_the_server(project: Path, server: str) -> None:
    run = run_called("test: ile on moving_symbols")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"scores.json", "filmstrip.png", "prediction.gif", "report.html"} <= files
    note = run.data.tags["mlflow.note.content"]
    assert "| ile " in note
    address = note.split("![filmstrip](")[1].removesuffix(")")
    with urllib.request.urlopen(f"{server}/{address}") as answer:
        assert answer.read().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_champion_is_loaded_over_http_and_leaves_no_copy(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = linear_video.load("models:/ile-moving_symbols-test@champion", method="model")
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.glob("linear_video_*"))
    frames = np.random.default_rng(0).integers(0, 255, (10, 16, 16, 1), np.uint8)
    local = linear_video.load(project / DATA / "06_models/ile/moving_symbols", method="model")
    np.testing.assert_array_equal(model.extrapolate(frames, 3), local.extrapolate(frames, 3))


@pytest.mark.slow
@pytest.mark.skipif(postgresql_binaries() is None, reason="PostgreSQL is not installed, or root has no account for it")
def test_runs_at_once_on_postgresql_are_as_they_are_alone() -> None:
    pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    binaries = postgresql_binaries()
    assert binaries is not None
    with postgresql(binaries) as database:
        command = [sys.executable, "benchmarks/tracking_load.py", "--processes=2", f"--backend={database}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "FINISHED" in line]
    assert len(rows) == 2
    assert all("as alone" in row for row in rows)

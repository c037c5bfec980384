"""A trained model on footage of one's own, as its users run it; and served by MLflow."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest

import linear_video
from tests.clips.footage_files import FPS, decoded, write_video
from tests.pipelines.project import copy_of_project, kedro

RESULTS = "data/08_reporting/predict"


def waves(frames=40, height=24, width=32):
    """A coloured pattern that wanders: uint8 (T, h, w, 3)."""
    t, y, x = np.ogrid[:frames, :height, :width]
    planes = [np.sin(x / 4 + t / 5 + shift) * np.cos(y / 6 - t / 9) for shift in (0, 1, 2)]
    return np.rint(127.5 * (1 + np.stack(planes, -1))).astype(np.uint8)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a trained model and a video."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    done = kedro(folder, "run", "--env=test", "--pipelines=ile")
    assert done.returncode == 0, done.stdout + done.stderr
    write_video(folder / "footage/waves.avi", waves())
    return folder


@pytest.fixture
def store(project, monkeypatch):
    """MLflow's runs of the project, newest first."""
    uri = f"sqlite:///{project / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.chdir(project)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield lambda: mlflow.search_runs(experiment_names=["linear_video"], order_by=["start_time DESC"])
    mlflow.set_tracking_uri(before)


def predict(project, **parameters):
    given = ",".join(f"predict.{name}={value}" for name, value in parameters.items())
    return kedro(project, "run", "--env=test", "--pipelines=predict", f"--params={given}")


def test_a_video_is_retimed_and_tracked(project, store):
    done = predict(project, video="footage/waves.avi", task="retime", factor=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "32x24 resized to 16x16" in " ".join(done.stderr.split()) + " ".join(done.stdout.split())
    made = project / RESULTS / "retime/waves.avi"
    assert {path.name for path in made.iterdir()} == {"video.webm", "picture.png", "table.csv", "facts.json"}
    frames = decoded(made / "video.webm")
    assert frames.shape == (79, 24, 32, 3)
    assert cv2.VideoCapture(str(made / "video.webm")).get(cv2.CAP_PROP_FPS) == pytest.approx(FPS)
    assert np.abs(frames[::2].astype(int) - waves()).mean() < 6  # the codec is lossy
    facts = json.loads((made / "facts.json").read_text())
    assert (facts["frames"], facts["model"], facts["settings"]["factor"]) == (40, "ile", 2)
    results = pd.read_csv(project / RESULTS / "results.csv")
    assert results.loc[0, "folder"] == str(made)
    run = store().iloc[0]
    assert (run["tags.task"], run["tags.model"]) == ("retime", "ile")
    artifacts = mlflow.artifacts.list_artifacts(run_id=run["run_id"], artifact_path="waves.avi")
    assert {"waves.avi/video.webm", "waves.avi/picture.png"} <= {artifact.path for artifact in artifacts}


def test_windows_all_over_a_video_are_scored(project, store):
    done = predict(project, video="footage", task="extrapolate", window_step=5)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(project / RESULTS / "extrapolate/waves.avi/table.csv")
    assert list(table["frame"]) == list(range(10, 40))
    assert list(table["lead"]) == [1, 2, 3, 4, 5] * 6
    # Last frame seen, against the frames of the (lossless) video: by hand.
    video = waves() / 255
    error = np.square(video[table["frame"]] - video[table["frame"] - table["lead"]]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(table["last_frame_psnr"], -10 * np.log10(error), rtol=1e-6)
    assert store().iloc[0]["metrics.last_frame_psnr"] == pytest.approx(table["last_frame_psnr"].mean())


def test_models_are_loaded_from_mlflow_as_from_their_folder(project, store):
    trained = store()[store()["tags.dataset"] == "moving_symbols"].iloc[0]["run_id"]
    frames = waves(12)
    from_folder = linear_video.load(project / "data/06_models/ile/moving_symbols").extrapolate(frames, 3)
    from_mlflow = linear_video.load(f"runs:/{trained}/model").extrapolate(frames, 3)
    np.testing.assert_array_equal(from_mlflow, from_folder)
    served = mlflow.pyfunc.load_model(f"runs:/{trained}/model")
    np.testing.assert_array_equal(served.predict(frames, params={"horizon": 3}), from_folder)
    with pytest.raises(mlflow.MlflowException, match="4 frames, but this needs at least 10"):
        served.predict(frames[:4])
    kept = mlflow.artifacts.download_artifacts(artifact_uri=f"runs:/{trained}/model")
    assert not [
        name for _, _, names in os.walk(kept) for name in names if name.endswith(("pkl", "pickle", "pt", "pth"))
    ]


def test_wrong_input_is_one_message_and_no_output(project):
    before = sorted((project / RESULTS).rglob("*")) if (project / RESULTS).exists() else []
    for parameters, message in (
        ({"video": "footage/none.mp4"}, "footage/none.mp4 does not exist"),
        ({"task": "retime"}, "predict.video names no footage"),
        ({"video": "footage", "task": "forecast"}, "predict.task"),
        ({"video": "footage", "task": "what_if"}, "the model knows no actions"),
        ({"video": "footage", "context": 50}, "waves.avi: the footage has 40 frames, but this needs at least 50"),
        ({"video": "footage", "model": "runs:/0123/model"}, "runs:/0123/model cannot be had from MLflow"),
    ):
        done = predict(project, **parameters)
        assert done.returncode != 0
        [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        rest = " ".join(done.stderr.split("Error: ")[1].split())
        assert message in rest, line
        assert "Traceback" not in done.stderr
        assert (sorted((project / RESULTS).rglob("*")) if (project / RESULTS).exists() else []) == before


@pytest.mark.slow
def test_a_server_answers_over_http(project, store):
    run = store()[store()["tags.dataset"] == "moving_symbols"].iloc[0]["run_id"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["models", "serve", "-m", f"runs:/{run}/model", "--env-manager", "local", "-p", str(port), "-w", "1"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command], env=environment, cwd=project, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/ping", server)
        frames = waves(12, 16, 16)[..., :1]
        answer = _post(f"{address}/invocations", {"inputs": frames.tolist(), "params": {"horizon": 2}})
        expected = linear_video.load(project / "data/06_models/ile/moving_symbols").extrapolate(frames, 2)
        np.testing.assert_array_equal(answer["predictions"], expected)
        with pytest.raises(urllib.error.HTTPError) as refused:
            _post(f"{address}/invocations", {"inputs": frames[:3].tolist()})
        assert refused.value.code == 400
        assert "3 frames, but this needs at least 10" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def _wait_for(address, server):
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not come up")


def _post(address, content):
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)

"""A trained model on your own footage, as users run it; and served by MLflow."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import linear_video
from linear_video.common.errors import InputError
from linear_video.pipelines.footage_task.nodes import run_task
from linear_video.tasks.settings import PredictSettings
from tests.clips.footage_files import FPS, decoded, write_video
from tests.pipelines.project import DATA, fails, succeeds

RESULTS = DATA / "08_reporting/predict"
MODEL = DATA / "06_models/ile/moving_symbols"
Store = Callable[[], pd.DataFrame]


def waves(frames: int = 40, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """A coloured pattern that wanders: uint8 (T, h, w, 3)."""
    t, y, x = np.ogrid[:frames, :height, :width]
    planes = [np.sin(x / 4 + t / 5 + shift) * np.cos(y / 6 - t / 9) for shift in (0, 1, 2)]
    return np.rint(127.5 * (1 + np.stack(planes, -1))).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def video(project: Path) -> None:
    write_video(project / "footage/waves.avi", waves())


@pytest.fixture
def store(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """MLflow's runs of the project, newest first."""
    uri = f"sqlite:///{project / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.chdir(project)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield lambda: mlflow.search_runs(experiment_names=["linear_video"], order_by=["start_time DESC"])
    mlflow.set_tracking_uri(before)


def champion() -> Any:
    """The best of the registered models."""
    return mlflow.MlflowClient().get_model_version_by_alias("ile-moving_symbols-test", "champion")


def predict(project: Path, **parameters: Any) -> str:
    given = ",".join(f"predict.{name}={value}" for name, value in parameters.items())
    return succeeds(project, "run", "--env=test", "--pipelines=predict", f"--params={given}")


def test_a_video_is_retimed_and_tracked(project: Path, store: Store) -> None:
    told = predict(project, video="footage/waves.avi", task="retime", factor=2)
    assert "32x24 resized to 16x16" in told
    (made,) = (project / RESULTS / "retime/waves.avi").iterdir()
    assert made.name == "ile.moving_symbols"  # all settings but the model's are the defaults
    left = {"video.webm", "reference.webm", "picture.png", "compared.png", "table.csv", "backtest.csv", "facts.json"}
    assert {path.name for path in made.iterdir()} == left
    frames = decoded(made / "video.webm")
    assert frames.shape == (79, 24, 32, 3)
    assert cv2.VideoCapture(str(made / "video.webm")).get(cv2.CAP_PROP_FPS) == pytest.approx(FPS)
    there, seen = frames[::2].astype(int), waves().astype(int)
    error, next_error = (np.abs(one - other).mean() for one, other in ((there, seen), (there[:-1], seen[1:])))
    assert error < 0.6 * next_error  # every other frame is one of the footage; the codec is lossy
    facts = json.loads((made / "facts.json").read_text())
    assert (facts["frames"], facts["model"], facts["settings"]["factor"]) == (40, "ile", 2)
    results = pd.read_csv(project / RESULTS / "results.csv")
    assert results.loc[0, "folder"] == str(made)
    run = store().iloc[0]
    assert (run["tags.task"], run["tags.model"], run["tags.footage"]) == ("retime", "ile", "waves.avi")
    assert (run["tags.mlflow.runName"], run["tags.kind"]) == ("test: retime waves.avi with ile.moving_symbols", "task")
    assert run["tags.trained_by"] == champion().run_id
    backtest = pd.read_csv(made / "backtest.csv")
    assert {"model", "blend", "optical_flow", "mean"} <= set(backtest["method"])
    for method, score in backtest.groupby("method")["psnr"].mean().items():
        section = "evaluation" if method in ("model", "blend") else "reference"
        assert run[f"metrics.{section}/backtest_{method}_psnr"] == pytest.approx(score)
    artifacts = mlflow.artifacts.list_artifacts(run_id=run["run_id"], artifact_path="waves.avi")
    assert {"waves.avi/video.webm", "waves.avi/picture.png"} <= {artifact.path for artifact in artifacts}


def test_windows_all_over_a_video_are_scored(project: Path, store: Store) -> None:
    predict(project, video="footage", task="extrapolate", window_step=5)
    (made,) = (project / RESULTS / "extrapolate/waves.avi").iterdir()
    assert made.name == "ile.moving_symbols.window_step-5"
    table = pd.read_csv(made / "table.csv")
    assert list(table["frame"]) == list(range(10, 40))
    assert list(table["lead"]) == [1, 2, 3, 4, 5] * 6
    # Last frame seen, against the frames of the (lossless) video: by hand.
    video = waves() / 255
    error = np.square(video[table["frame"]] - video[table["frame"] - table["lead"]]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(table["last_frame_psnr"], -10 * np.log10(error), rtol=1e-6)
    columns = [name for name in map(str, table) if name.endswith("psnr")]
    assert {"psnr", "model_psnr", "last_frame_psnr", "optical_flow_psnr"} <= set(columns)
    for name in columns:
        section = "evaluation" if name in ("psnr", "model_psnr") else "reference"
        assert store().iloc[0][f"metrics.{section}/{name}"] == pytest.approx(table[name].mean())


def test_models_are_loaded_from_mlflow_as_from_their_folder(project: Path, store: Store) -> None:
    trained = store()[store()["tags.dataset"] == "moving_symbols"].iloc[-1]["run_id"]  # the oldest, which trained
    frames = waves(12)
    from_folder = linear_video.load(project / MODEL).extrapolate(frames, 3)
    from_mlflow = linear_video.load(f"runs:/{trained}/model").extrapolate(frames, 3)
    np.testing.assert_array_equal(from_mlflow, from_folder)
    best = linear_video.load("models:/ile-moving_symbols-test@champion").extrapolate(frames, 3)
    np.testing.assert_array_equal(best, from_folder)
    with pytest.raises(InputError, match="models:/ile-moving_symbols@champion cannot be loaded from MLflow"):
        linear_video.load("models:/ile-moving_symbols@champion")  # runs with --env=test leave nothing there
    served = mlflow.pyfunc.load_model(f"runs:/{trained}/model")
    np.testing.assert_array_equal(served.predict(frames, params={"horizon": 3}), from_folder)
    with pytest.raises(mlflow.MlflowException, match="4 frames, but this needs at least 10"):
        served.predict(frames[:4])
    kept = mlflow.artifacts.download_artifacts(artifact_uri=f"runs:/{trained}/model")
    assert not [
        name for _, _, names in os.walk(kept) for name in names if name.endswith(("pkl", "pickle", "pt", "pth"))
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"video": "footage/none.mp4"}, "footage/none.mp4 does not exist"),
        ({"task": "retime"}, "predict.video names no footage"),
        ({"video": "footage", "task": "what_if"}, "the model knows no actions"),
        ({"video": "footage", "context": 50}, "waves.avi: the footage has 40 frames, but this needs at least 50"),
        ({"video": "footage", "model": "runs:/0123/model"}, "runs:/0123/model cannot be loaded from MLflow"),
    ],
)
def test_wrong_input_is_one_message_and_no_output(
    project: Path, store: Store, tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    settings = PredictSettings(**{"model": str(MODEL), **parameters})
    with pytest.raises(InputError) as caught:
        run_task(settings, 0, tmp_path)
    assert message in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_wrong_input_is_shown_without_a_trace(project: Path) -> None:
    given = "--params=predict.video=footage/none.mp4"
    assert "footage/none.mp4 does not exist" in fails(project, "run", "--env=test", "--pipelines=predict", given)


# What either server refuses; and what MLflow's own answers in its own way, or takes for numbers.
REFUSED: dict[str, tuple[bytes, str]] = {
    "too much memory": (
        json.dumps({"inputs": np.zeros((10, 500, 500, 1), int).tolist(), "params": {"horizon": 1000}}).encode(),
        "GiB",
    ),
    "too few frames": (json.dumps({"inputs": np.zeros((3, 16, 16, 1), int).tolist()}).encode(), "3 frames, but"),
    "no horizon": (
        json.dumps({"inputs": np.zeros((12, 16, 16, 1), int).tolist(), "params": {"horizon": None}}).encode(),
        "horizon must be",
    ),
    "ragged": (b'{"inputs": [[[[1]]], [[[1], [2]]]]}', ""),
    "negative": (b'{"inputs": [[[[-1]]]]}', ""),
    "NaN": (b'{"inputs": [[[[NaN]]]]}', ""),
    "five dimensions": (b'{"inputs": [[[[[1]]]]]}', ""),
    "malformed": (b'{"inputs": [', ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["ours", "of MLflow"])
def test_a_server_answers_over_http_and_outlives_what_it_refuses(project: Path, store: Store, own: bool) -> None:
    run = store()[store()["tags.dataset"] == "moving_symbols"].iloc[-1]["run_id"]  # the oldest, which trained
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", f"runs:/{run}/model", "--env-manager", "local", "-w", "1"]
    if own:
        command = ["linear_video.tracking.server", f"runs:/{run}/model"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    server = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)], env=environment, cwd=project, start_new_session=True
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", server)
        frames = waves(12, 16, 16)[..., :1]
        asked = json.dumps({"inputs": frames.tolist(), "params": {"horizon": 2}}).encode()
        expected = linear_video.load(project / MODEL).extrapolate(frames, 2)
        for case, (body, message) in {"": (b"", ""), **REFUSED}.items():
            if case:
                status, text = _post(port, body)
                assert status == 400, case
                assert message in text, case
                assert "Traceback" not in text, case
                assert not own or set(json.loads(text)) == {"error"}, case
            status, text = _post(port, asked)
            assert status == 200, case
            np.testing.assert_array_equal(json.loads(text)["predictions"], expected)
        for headers in ({}, {"Content-Type": "text/plain"}):
            assert (400 if own else 415) <= _post(port, asked, headers)[0] <= (400 if own else 500)
        assert _post(port, asked)[0] == 200
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not come up")


def _post(port: int, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and text of the answer; no header is added but the length."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(
            "POST", "/invocations", body, {"Content-Type": "application/json"} if headers is None else headers
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()

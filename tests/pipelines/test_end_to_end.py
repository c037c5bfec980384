"""The project as its users run it: the ``kedro`` command in a copy of the project, with ``--env=test``."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import mlflow
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import linear_video
from linear_video.clips.base import ClipSet
from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.predictions import optical_flow
from linear_video.io.models import Checkpoint
from linear_video.models.registry import build
from linear_video.pipelines.prediction.nodes import predict
from tests.pipelines.project import DATA, copy_of_project, fails, kedro, succeeds

RESULTS = DATA / "08_reporting/ile/moving_symbols"
MODEL = DATA / "06_models/ile/moving_symbols"


def test_every_node_leaves_its_files(project: Path) -> None:
    for split in ("train", "validation", "test"):
        files = {p.name for p in (project / DATA / "03_primary/moving_symbols" / split).iterdir()}
        assert files == {"frames.npy", "clips.parquet", "states.parquet"}
    assert {p.name for p in (project / MODEL).iterdir()} == {"model.safetensors", "config.json"}
    assert {p.name for p in (project / RESULTS).iterdir()} == {
        "scores.json",
        "history.csv",
        "filmstrip.png",
        "horizon.png",
        "spectrum.png",
        "prediction.gif",
        "report.html",
    }
    assert not list(project.rglob("*.part"))


def test_scores_are_those_of_the_saved_predictions(project: Path) -> None:
    """Recomputed here with scikit-image from the files alone."""
    scores = json.loads((project / RESULTS / "scores.json").read_text())
    predicted = np.load(project / DATA / "07_model_output/ile/moving_symbols/predictions.npy")
    frames = np.load(project / DATA / "03_primary/moving_symbols/test/frames.npy") / 255
    assert (scores["n_sequences"], scores["context"], scores["horizon"]) == (20, 10, 5)
    assert scores["frame_shape"] == [1, 16, 16]
    flow = optical_flow(frames[:, :10], 5)["optical_flow"]
    assert np.abs(flow[:, 0] - frames[:, 10]).mean() < np.abs(frames[:, 9] - frames[:, 10]).mean()
    rows = {
        "flow": (scores["optical_flow"], flow),
        "model": (scores, predicted),
        "last": (scores["last_frame"], np.repeat(frames[:, 9:10], 5, axis=1)),
    }
    mean = np.load(project / DATA / "03_primary/moving_symbols/train/frames.npy").mean((0, 1)) / 255
    rows["mean"] = (scores["mean_frame"], np.broadcast_to(mean, predicted.shape))
    for row, values in rows.values():
        for k in range(5):
            pairs = [(frames[i, 10 + k, 0], values[i, k, 0].astype(float)) for i in range(20)]
            psnr = [peak_signal_noise_ratio(*pair, data_range=1) for pair in pairs]
            ssim = [structural_similarity(*pair, data_range=1) for pair in pairs]
            assert row["psnr"][k] == pytest.approx(np.mean(psnr), abs=1e-6)
            assert row["ssim"][k] == pytest.approx(np.mean(ssim), abs=1e-6)


def test_pictures_can_be_opened(project: Path) -> None:
    for name in ("filmstrip.png", "horizon.png", "spectrum.png"):
        with Image.open(project / RESULTS / name) as picture:
            assert min(picture.size) > 200
    with Image.open(project / RESULTS / "prediction.gif") as picture:
        assert getattr(picture, "n_frames", 1) == 15
        assert picture.width >= 3 * 256  # truth, prediction and difference side by side


def test_the_page_has_the_pictures_and_says_what_the_scores_say(project: Path) -> None:
    page = (project / RESULTS / "report.html").read_text()
    for name in ("filmstrip.png", "horizon.png", "spectrum.png", "prediction.gif"):
        assert base64.b64encode((project / RESULTS / name).read_bytes()).decode() in page
    scores = json.loads((project / RESULTS / "scores.json").read_text())
    assert f"<td>{scores['psnr'][0]:.1f} ± {scores['psnr_ci95'][0]:.1f}</td>" in page
    assert "<dt>motion_channels</dt><dd>8</dd>" in page  # settings of the model, training, dataset and evaluation
    assert "<dt>clips_per_step</dt><dd>8</dd>" in page
    assert "<dt>symbol_size</dt><dd>8</dd>" in page
    assert "<dt>sequences</dt><dd>20</dd>" in page


def first_run(project: Path) -> Any:
    """MLflow's run of the training."""
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])[0]


def test_everything_is_tracked_in_one_mlflow_run(project: Path) -> None:
    client, run = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}"), first_run(project)
    assert run.data.tags["model"] == "ile"
    assert run.data.tags["dataset"] == "moving_symbols"
    assert run.data.tags["mlflow.runName"] == "test: ile on moving_symbols"
    assert (run.data.tags["kind"], run.data.tags["environment"]) == ("training", "test")
    assert "git_commit" in run.data.tags
    assert run.data.params["ile.moving_symbols.model.motion_channels"] == "8"
    scores = json.loads((project / RESULTS / "scores.json").read_text())
    for prefix, row in (("evaluation/", scores), ("reference/last_frame_", scores["last_frame"])):
        for metric in ("psnr", "ssim"):
            history = client.get_metric_history(run.info.run_id, f"{prefix}{metric}")
            assert [m.step for m in history] == [1, 2, 3, 4, 5]
            assert [m.value for m in history] == pytest.approx(row[metric])
            assert run.data.metrics[f"{prefix}{metric}_frame_1"] == pytest.approx(row[metric][0])
            assert run.data.metrics[f"{prefix}{metric}_frame_5"] == pytest.approx(row[metric][4])
    losses = pd.read_csv(project / RESULTS / "history.csv")
    tracked = client.get_metric_history(run.info.run_id, "loss/val_loss")
    assert [(m.step, m.value) for m in tracked] == list(zip(losses["step"], losses["val_loss"], strict=True))
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"filmstrip.png", "horizon.png", "spectrum.png", "prediction.gif", "scores.json", "report.html"} <= artifacts
    assert not [name for name in run.data.metrics if name.startswith("system/")]  # it takes seconds


def test_the_clips_of_a_run_are_its_datasets(project: Path) -> None:
    used = first_run(project).inputs.dataset_inputs
    assert {each.tags[0].value for each in used} == {"training", "validation", "test"}
    for each in used:
        split = each.tags[0].value.replace("training", "train")
        frames = project / DATA / "03_primary/moving_symbols" / split / "frames.npy"
        digest = hashlib.sha256(frames.read_bytes()).hexdigest()
        assert (each.dataset.name, each.dataset.digest) == ("moving_symbols", digest[:12])
        assert json.loads(each.dataset.profile)["clips"] == len(np.load(frames))


def test_a_run_is_described_by_its_scores_and_its_film_strip(project: Path) -> None:
    run, scores = first_run(project), json.loads((project / RESULTS / "scores.json").read_text())
    description = run.data.tags["mlflow.note.content"]
    rows = {cells[1]: cells[2:4] for line in description.splitlines() if len(cells := re.split(r" *\| *", line)) > 3}
    references = {name.replace("_", " "): scores[name] for name in ("optical_flow", "last_frame", "mean_frame")}
    for name, row in {"ile": scores, **references}.items():
        assert rows[name] == [f"{row['psnr'][0]:.1f}", f"{row['psnr'][4]:.1f}"]
    place = f"description/filmstrip.png&run_uuid={run.info.run_id}"
    assert f"![filmstrip](get-artifact?path={place})" in description
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    kept = client.list_artifacts(run.info.run_id, "description")
    assert [artifact.path for artifact in kept] == ["description/filmstrip.png"]


def test_the_first_training_is_the_champion(project: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    version = client.get_model_version_by_alias("ile-moving_symbols-test", "champion")
    run = first_run(project)
    assert version.run_id == run.info.run_id
    frames = np.load(project / DATA / "03_primary/moving_symbols/validation/frames.npy")
    predicted = linear_video.load(project / MODEL).model.predict(torch.from_numpy(frames[:, :-1]).float() / 255, 1)
    pairs = zip(frames[:, -1] / 255, predicted[:, 0].clamp(0, 1).double().numpy(), strict=True)
    psnr = np.mean([peak_signal_noise_ratio(*pair, data_range=1) for pair in pairs])
    assert float(version.tags["validation_psnr"]) == pytest.approx(psnr, abs=1e-3)
    assert run.data.metrics["evaluation/validation_psnr"] == pytest.approx(psnr, abs=1e-3)


def test_scoring_again_leaves_the_checkpoint_alone(project: Path) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (project / MODEL).iterdir()}
    scores = (project / RESULTS / "scores.json").read_bytes()
    (project / RESULTS / "scores.json").unlink()
    told = succeeds(project, "run", "--env=test", "--pipelines=ile", "--from-nodes=ile.moving_symbols.evaluate")
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (project / MODEL).iterdir()} == before
    assert (project / RESULTS / "scores.json").read_bytes() == scores
    assert f"PSNR {json.loads(scores)['psnr'][4]:.1f} dB" in told
    assert f"See {RESULTS / 'report.html'}." in told.replace("/ ", "/").replace("ht ml", "html")
    trained, client = first_run(project), mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    again = client.search_runs([trained.info.experiment_id], "tags.kind = 'evaluation'")[0]
    assert again.data.tags["mlflow.runName"] == "test: evaluate ile on moving_symbols"
    assert again.data.tags["trained_by"] == trained.info.run_id
    inputs: Any = client.get_run(again.info.run_id).inputs
    model: Any = client.get_logged_model(inputs.model_inputs[0].model_id)
    assert model.source_run_id == trained.info.run_id
    runs = {metric.run_id for metric in model.metrics if metric.key == "evaluation/psnr_frame_5"}
    assert {trained.info.run_id, again.info.run_id} <= runs
    assert not [metric for metric in model.metrics if metric.key.startswith("reference/")]


def test_predictions_of_other_settings_are_not_scored(project: Path) -> None:
    arguments = ("--from-nodes=ile.moving_symbols.evaluate", "--params=evaluation.horizon=4")
    assert "run again from the node predict" in fails(project, "run", "--env=test", "--pipelines=ile", *arguments)


def test_clips_of_another_size_are_not_predicted() -> None:
    model = build("ile", (1, 16, 16), {"state_dimension": 4, "couplings": 1, "hidden_channels": 4})
    clips = ClipSet(np.zeros((2, 15, 1, 24, 24), np.uint8), pd.DataFrame({"source": ["a", "b"]}))
    with pytest.raises(InputError, match=r"takes frames of the shape \(1, 16, 16\)"):
        predict(Checkpoint(model, {}), clips, clips, clips, EvaluationSettings(), "ile", "moving_symbols")


def test_the_notebook_runs_quietly_and_leaves_nothing_behind(project: Path) -> None:
    notebook = nbformat.read(project / "notebooks/first_look.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    for cell in notebook.cells:
        cell.source = cell.source.replace("env=None", 'env="test"').replace("data/", f"{DATA}/")
    before = files_of(project)
    context = {"metadata": {"path": str(project / "notebooks")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=context).execute()
    assert files_of(project) == before
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) >= 2
    assert not [output for output in outputs if output.output_type == "stream"]
    assert not [output for output in outputs if re.search("INFO|WARNING", output.get("data", {}).get("text/plain", ""))]


def files_of(project: Path) -> dict[Path, bytes]:
    """Every file and what it holds, but for what Python compiles and the database that is opened."""
    files = (path for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path: b"" if path.name == "mlflow.db" else path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [  # before the run, and while it makes clips and a model
        ("moving_symbols.sped=3", "moving_symbols.sped is not a parameter; did you mean moving_symbols.speed?"),
        ("moving_symbols.render_size=18,moving_symbols.frame_size=18", "must be multiples of 16"),
    ],
)
def test_bad_input_gets_one_message_and_leaves_nothing_half_written(
    tmp_path: Path, parameters: str, message: str
) -> None:
    project = copy_of_project(tmp_path)
    assert message in fails(project, "run", "--env=test", "--pipelines=ile", f"--params={parameters}")
    assert not list(project.rglob("*.part"))
    assert not (project / MODEL / "config.json").exists()


@pytest.mark.slow
def test_the_machine_is_measured_where_that_is_asked_for(project: Path) -> None:
    told = succeeds(project, "run", "--env=test", "--pipelines=ile", "--params=fresh=true,system_metrics_every=1")
    assert "system metrics" not in told
    client, trained = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}"), first_run(project)
    newest = client.search_runs([trained.info.experiment_id])[0]
    history = client.get_metric_history(newest.info.run_id, "system/cpu_utilization_percentage")
    assert len(history) > 1
    assert all(0 <= metric.value <= 100 for metric in history)


@pytest.mark.slow
def test_pipeline_is_accepted_as_well_as_pipelines(project: Path) -> None:
    """As people were told to run it before; Kedro says that the option is deprecated."""
    done = kedro(project, "run", "--env=test", "--pipeline=ile", "--nodes=ile.moving_symbols.evaluate")
    assert done.returncode == 0, done.stdout + done.stderr

"""The project as its users run it: the ``kedro`` command in a copy of the project, with ``--env=test``."""

import json
import shutil
from pathlib import Path

import mlflow
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.pipelines.project import copy_of_project, kedro

RESULTS = Path("data/08_reporting/ile/moving_symbols")
MODEL = Path("data/06_models/ile/moving_symbols")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in which the default experiment has run once."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    done = kedro(folder, "run", "--env=test", "--pipelines=ile")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def empty_project(tmp_path):
    return copy_of_project(tmp_path)


def test_every_node_leaves_its_files(project):
    for split in ("train", "validation", "test"):
        files = {p.name for p in (project / "data/03_primary/moving_symbols" / split).iterdir()}
        assert files == {"frames.npy", "clips.parquet", "states.parquet"}
    assert {p.name for p in (project / MODEL).iterdir()} == {"model.safetensors", "config.json"}
    assert {p.name for p in (project / RESULTS).iterdir()} == {
        "scores.json",
        "history.csv",
        "filmstrip.png",
        "horizon.png",
        "spectrum.png",
        "prediction.gif",
    }
    assert not list(project.rglob("*.part"))


def test_scores_are_those_of_the_saved_predictions(project):
    """Recomputed here with scikit-image from the files alone."""
    scores = json.loads((project / RESULTS / "scores.json").read_text())
    predicted = np.load(project / "data/07_model_output/ile/moving_symbols/predictions.npy")
    frames = np.load(project / "data/03_primary/moving_symbols/test/frames.npy") / 255
    assert (scores["n_sequences"], scores["context"], scores["horizon"]) == (20, 10, 5)
    assert scores["frame_shape"] == [1, 16, 16]
    rows = {"model": (scores, predicted), "last": (scores["last_frame"], np.repeat(frames[:, 9:10], 5, axis=1))}
    mean = np.load(project / "data/03_primary/moving_symbols/train/frames.npy").mean((0, 1)) / 255
    rows["mean"] = (scores["mean_frame"], np.broadcast_to(mean, predicted.shape))
    for row, values in rows.values():
        for k in range(5):
            pairs = [(frames[i, 10 + k, 0], values[i, k, 0].astype(float)) for i in range(20)]
            psnr = [peak_signal_noise_ratio(*pair, data_range=1) for pair in pairs]
            ssim = [structural_similarity(*pair, data_range=1) for pair in pairs]
            assert row["psnr"][k] == pytest.approx(np.mean(psnr), abs=1e-6)
            assert row["ssim"][k] == pytest.approx(np.mean(ssim), abs=1e-6)


def test_pictures_can_be_opened(project):
    for name in ("filmstrip.png", "horizon.png", "spectrum.png"):
        with Image.open(project / RESULTS / name) as picture:
            assert min(picture.size) > 200
    with Image.open(project / RESULTS / "prediction.gif") as picture:
        assert picture.n_frames == 15


def test_everything_is_tracked_in_one_mlflow_run(project):
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video")
    run = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])[0]
    assert run.data.tags["model"] == "ile"
    assert run.data.tags["dataset"] == "moving_symbols"
    assert "git_commit" in run.data.tags
    assert run.data.params["ile.moving_symbols.model.state_dimension"] == "32"
    scores = json.loads((project / RESULTS / "scores.json").read_text())
    for prefix, row in (("", scores), ("last_frame_", scores["last_frame"])):
        for metric in ("psnr", "ssim"):
            history = client.get_metric_history(run.info.run_id, f"{prefix}{metric}")
            assert [m.step for m in history] == [1, 2, 3, 4, 5]
            assert [m.value for m in history] == pytest.approx(row[metric])
            assert run.data.metrics[f"{prefix}{metric}_frame_1"] == pytest.approx(row[metric][0])
            assert run.data.metrics[f"{prefix}{metric}_frame_5"] == pytest.approx(row[metric][4])
    losses = pd.read_csv(project / RESULTS / "history.csv")
    tracked = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(m.step, m.value) for m in tracked] == list(zip(losses["step"], losses["val_loss"], strict=True))
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"filmstrip.png", "horizon.png", "spectrum.png", "prediction.gif", "scores.json"} <= artifacts


def test_scoring_again_leaves_the_checkpoint_alone(project):
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (project / MODEL).iterdir()}
    scores = (project / RESULTS / "scores.json").read_bytes()
    (project / RESULTS / "scores.json").unlink()
    done = kedro(project, "run", "--env=test", "--pipelines=ile", "--from-nodes=ile.moving_symbols.evaluate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (project / MODEL).iterdir()} == before
    assert (project / RESULTS / "scores.json").read_bytes() == scores
    assert f"PSNR {json.loads(scores)['psnr'][4]:.1f} dB" in " ".join(done.stdout.split())


def test_predictions_of_other_settings_are_not_scored(project):
    arguments = ("--from-nodes=ile.moving_symbols.evaluate", "--params=evaluation.horizon=4")
    done = kedro(project, "run", "--env=test", "--pipelines=ile", *arguments)
    assert done.returncode != 0
    assert "run again from the node predict" in done.stderr
    assert "Traceback" not in done.stderr


def test_clips_of_another_size_are_not_predicted(project, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project, other)
    size = "--params=moving_symbols.render_size=24,moving_symbols.frame_size=24"
    assert kedro(other, "run", "--env=test", "--pipelines=moving_symbols", size).returncode == 0
    done = kedro(other, "run", "--env=test", "--pipelines=ile", size, "--from-nodes=ile.moving_symbols.predict")
    assert done.returncode != 0
    assert "takes frames of the shape (1, 16, 16)" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_notebook_runs(project):
    notebook = nbformat.read(project / "notebooks/first_look.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    for cell in notebook.cells:
        cell.source = cell.source.replace("env=None", 'env="test"')
    context = {"metadata": {"path": str(project / "notebooks")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=context).execute()
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("moving_symbols.sped=3", "moving_symbols.sped is no parameter; did you mean moving_symbols.speed?"),
        ("moving_symbols.symbol_size=17", "larger than the frame"),
        ("evaluation.horizon=0", "evaluation: horizon must be at least 1, not 0."),
        ("moving_symbols.symbols=mnist", "-images-idx3-ubyte(.gz) is missing"),
        ("moving_symbols.render_size=18,moving_symbols.frame_size=18", "must be multiples of 8"),
    ],
)
def test_bad_input_gets_one_message_and_leaves_nothing_half_written(empty_project, parameters, message):
    done = kedro(empty_project, "run", "--env=test", "--pipelines=ile", f"--params={parameters}")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(empty_project.rglob("*.part"))
    assert not (empty_project / MODEL / "config.json").exists()


def test_pipelines_are_registered_by_model_and_dataset(project):
    listed = kedro(project, "registry", "list").stdout
    datasets = ("moving_symbols", "ucf_sports", "ucla_textures", "small_norb", "digit_cycles")
    downloads = ("download_mnist", "download_small_norb")
    others = [f"{m}.{d}" for m in ("dynamic_vae", "lds") for d in ("digit_cycles", "ucla_textures", "small_norb")]
    for name in ("__default__", "ile", "ile.moving_symbols", "ile.ucf_sports", *datasets, *downloads, *others):
        assert f"- {name}" in listed

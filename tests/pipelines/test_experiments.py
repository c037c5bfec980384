"""Every model on every dataset that suits it, as its users run them, at test size."""

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from linear_video.experiments import SYNTHESIS_REFERENCE, Experiment, all_experiments, declared_datasets
from linear_video.pipeline_registry import register_pipelines
from tests.pipelines.project import DATA, copy_of_project, kedro, write_raw_data
from tests.test_parameters import load

# Datasets with anomalies are footage and Moving Symbols but for their labels, and have a test file of their own.
DATASETS = {name: kind for name, kind in sorted(declared_datasets(load("test")).items()) if not kind.labels_anomalies}
PAIRS = all_experiments(DATASETS)
METRICS = {
    "counting": {"readable_frames", "correct_transitions", "mean_run", "reader_accuracy", "variety"},
    "texture": {"spectrum_distance", "autocorrelation_distance", "frechet_distance", "sharpness"},
    "rotation": {"turn_psnr", "turn_ssim", "angle_error", "confused"},
}
Run = tuple[Path, str]


def run_experiments(folder: Path, dataset: str) -> Path:
    """All models on a dataset in one command, with their comparison named first."""
    project = copy_of_project(folder)
    write_raw_data(project)
    names = [experiment.name for experiment in PAIRS if experiment.dataset == dataset]
    first = [f"compare.{dataset}"] if DATASETS[dataset].judge == "prediction" else []
    done = kedro(project, "run", "--env=test", f"--pipelines={','.join([*first, *names])}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("warn", done.stdout + done.stderr, re.IGNORECASE), done.stdout + done.stderr
    return project


@pytest.fixture(scope="module", params=DATASETS)
def dataset_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_experiments(tmp_path_factory.mktemp("project"), request.param), request.param


def test_every_sensible_pair_is_a_pipeline() -> None:
    predicted = {"moving_symbols", "ucf_sports", "own_footage", "ucsd", "planted_events"}
    synthesised = {"ucla_textures", "small_norb", "digit_cycles"}
    models = {"ile", "dynamic_vae", "adversarial", "lds", "last_frame", "optical_flow", "convolutional"}
    expected = {f"{model}.{dataset}" for model in models for dataset in predicted}
    expected |= {f"{model}.{dataset}" for model in ("dynamic_vae", "lds") for dataset in synthesised}
    expected |= {f"compare.{dataset}" for dataset in predicted} | predicted | synthesised | models
    expected |= {"compare", "predict", "footage", "download_mnist", "download_small_norb", "__default__"}
    assert set(register_pipelines()) == expected


@pytest.mark.slow
def test_every_model_is_trained_and_judged_on_the_dataset(dataset_run: Run) -> None:
    project, dataset = dataset_run
    models = [experiment.model for experiment in PAIRS if experiment.dataset == dataset]
    for model in models:
        assert (project / DATA / "06_models" / model / dataset / "config.json").exists()
        scores = json.loads((project / DATA / "08_reporting" / model / dataset / "scores.json").read_text())
        assert (scores["model"], scores["dataset"]) == (model, dataset)
        with Image.open(project / DATA / "08_reporting" / model / dataset / "filmstrip.png") as picture:
            assert min(picture.size) > 200
    if DATASETS[dataset].judge == "prediction":  # the comparison came after all of them
        table = pd.read_csv(project / DATA / f"08_reporting/comparison/{dataset}.csv")
        assert set(table["model"]) == set(models)
        page = (project / DATA / f"08_reporting/comparison/{dataset}.md").read_text()
        assert "not trained yet" not in page
        last = json.loads((project / DATA / f"08_reporting/last_frame/{dataset}/scores.json").read_text())
        for metric in ("psnr", "ssim"):  # as the baseline of that name
            assert last[metric] == pytest.approx(last["last_frame"][metric], rel=1e-6)


# --- synthesis ------------------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if kind.judge == "texture" else [pytest.mark.slow])
        for name, kind in DATASETS.items()
        if kind.judge != "prediction"
    ],
)
def synthesis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    project = copy_of_project(tmp_path_factory.mktemp("project"))
    write_raw_data(project)
    done = kedro(project, "run", "--env=test", f"--pipelines=dynamic_vae.{request.param}")
    assert done.returncode == 0, done.stdout + done.stderr
    return project, request.param


def test_model_and_linear_system_are_scored_side_by_side_and_tracked_side_by_side(synthesis: Run) -> None:
    project, dataset = synthesis
    metrics = METRICS[DATASETS[dataset].judge]
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    found = client.get_experiment_by_name("linear_video")
    assert found is not None
    runs = {run.data.tags["model"]: run for run in client.search_runs([found.experiment_id])}
    parent, child = (runs.pop(model) for model in ("dynamic_vae", "lds"))
    assert not runs
    assert parent.data.tags["mlflow.runName"] == f"test: dynamic_vae on {dataset}"
    assert child.data.tags["mlflow.runName"] == f"test: lds on {dataset}"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    for run, model in ((parent, "dynamic_vae"), (child, "lds")):
        assert run.data.tags["dataset"] == dataset
        assert run.data.params[f"{model}.{dataset}.model.state_dimension"] == ("4" if model == "dynamic_vae" else "6")
        assert f"dynamic_vae.{dataset}.model.channels" not in child.data.params
        scores = json.loads((project / DATA / f"08_reporting/{model}/{dataset}/scores.json").read_text())
        assert (scores["model"], scores["dataset"]) == (model, dataset)
        lasts = {"spectral_radius"} | ({"stationarity_norm", "long_run_covariance_error"} if run is parent else set())
        assert metrics | lasts <= set(scores["synthesis"])
        assert scores["synthesis"]["spectral_radius"] < 1.0001
        assert all(scores["synthesis"][name] < 0.1 for name in lasts - {"spectral_radius"})
        assert scores["synthesis"]["linearization_error"] > 0
        for metric in metrics | lasts | {"linearization_error", "persistence_error"}:
            assert run.data.metrics[f"evaluation/{metric}"] == pytest.approx(scores["synthesis"][metric])
        artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
        assert {"scores.json", "filmstrip.png", "spectrum.png", "synthesis.gif", "report.html"} <= artifacts
        assert client.get_model_version_by_alias(f"{model}-{dataset}-test", "champion").run_id == run.info.run_id
    page = (project / DATA / f"08_reporting/dynamic_vae/{dataset}/report.html").read_text()
    assert "<th>dynamic vae</th><th>lds</th>" in page
    assert all(model in parent.data.tags["mlflow.note.content"] for model in ("| dynamic_vae", "| lds"))


def test_sequences_and_pictures_are_there(synthesis: Run) -> None:
    project, dataset = synthesis
    for model in ("dynamic_vae", SYNTHESIS_REFERENCE):
        frames = np.load(project / DATA / f"07_model_output/{model}/{dataset}/synthesised.npy")
        assert frames.dtype == np.uint8
        assert frames.shape[2:] == (1, 16, 16)
        results = project / DATA / f"08_reporting/{model}/{dataset}"
        with Image.open(results / "synthesis.gif") as picture:
            assert getattr(picture, "n_frames", 1) > 1
        with Image.open(results / "filmstrip.png") as picture:
            assert min(picture.size) > 200


def test_a_sequence_starts_where_the_held_out_clip_does(synthesis: Run) -> None:
    """The linear system's first frame is the projection of the true one, so it is nearest to it (or to its equal)."""
    project, dataset = synthesis
    output = project / DATA / "07_model_output" / Path(*Experiment("lds", dataset))
    made = np.load(output / "synthesised.npy")[:, 0] / 255
    clips = np.load(project / DATA / f"03_primary/{dataset}/test/frames.npy") / 255
    starts = np.loadtxt(output / "starts.csv", int, delimiter=",", skiprows=1)
    truth = np.stack([clips[clip, frame] for clip, frame in starts])
    distances = ((made[:, None] - truth[None]) ** 2).sum(axis=(2, 3, 4))
    assert np.diag(distances).sum() <= distances.mean() * len(distances) + 1e-9


# --- environments ---------------------------------------------------------------------------------------------------


def test_an_environment_leaves_the_data_of_others_alone(project: Path) -> None:
    """All results of --env=test are in its own folder."""
    assert [path.name for path in (project / "data").iterdir()] == ["test"]

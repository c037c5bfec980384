"""The comparison as its users run it, at test size."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.pipelines.project import copy_of_project, kedro

REPORTS = "data/08_reporting/comparison/moving_symbols"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    done = kedro(folder, "run", "--env=test", "--pipelines=moving_symbols")
    assert done.returncode == 0, done.stdout + done.stderr
    nothing_yet = kedro(folder, "run", "--env=test", "--pipelines=compare")
    for pipeline in ("adversarial", "lds.moving_symbols", "compare"):
        done = kedro(folder, "run", "--env=test", f"--pipelines={pipeline}")
        assert done.returncode == 0, done.stdout + done.stderr
    return folder, nothing_yet


def test_before_any_model_it_says_what_to_run(project):
    _, nothing_yet = project
    assert nothing_yet.returncode != 0
    assert "no model has been trained on moving_symbols yet" in nothing_yet.stderr
    assert "Traceback" not in nothing_yet.stderr


def test_the_numbers_are_those_of_the_saved_predictions(project):
    folder, _ = project
    table = pd.read_csv(folder / f"{REPORTS}.csv").set_index(["model", "frame"])
    clips = np.load(folder / "data/03_primary/moving_symbols/test/frames.npy")
    truth, last = clips[:, 10:15, 0] / 255, clips[:, 9, 0] / 255
    for model in ("adversarial", "lds"):
        shown = np.load(folder / f"data/07_model_output/{model}/moving_symbols/predictions.npy")[:, :, 0].astype(float)
        for k in range(5):
            pairs = [(truth[n, k], shown[n, k], last[n]) for n in range(len(clips))]
            for name, score in (("psnr", peak_signal_noise_ratio), ("ssim", structural_similarity)):
                values = [score(t, s, data_range=1) for t, s, _ in pairs]
                gains = [v - score(t, la, data_range=1) for v, (t, _, la) in zip(values, pairs, strict=True)]
                assert table.loc[(model, k + 1), name] == pytest.approx(np.mean(values), abs=1e-6)
                assert table.loc[(model, k + 1), f"{name}_gain"] == pytest.approx(np.mean(gains), abs=1e-6)


def test_missing_models_are_named_with_their_commands(project):
    folder, _ = project
    for suffix in ("md", "html"):
        text = (folder / f"{REPORTS}.{suffix}").read_text()
        assert "kedro run --pipeline=ile.moving_symbols" in text
        assert "kedro run --pipeline=dynamic_vae.moving_symbols" in text
        assert "kedro run --pipeline=lds.moving_symbols" not in text


def test_the_comparison_is_tracked(project):
    folder, _ = project
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video").experiment_id
    (run,) = client.search_runs([experiment], "tags.mlflow.runName = 'comparison on moving_symbols'")[:1]
    assert run.info.status == "FINISHED"
    files = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"moving_symbols.csv", "moving_symbols_models.csv", "moving_symbols.md", "moving_symbols.html"} <= files


def test_models_are_compared_by_the_same_metrics(project):
    folder, _ = project
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video").experiment_id
    metrics = [
        set(client.search_runs([experiment], f"tags.model = '{model}'")[0].data.metrics)
        for model in ("adversarial", "lds")
    ]
    common = {"psnr_frame_1", "psnr_frame_5", "ssim_frame_1", "ssim_frame_5", "last_frame_psnr_frame_1"}
    assert common <= metrics[0] & metrics[1]


def test_predictions_of_other_clips_are_refused(project):
    folder, _ = project
    before = (folder / f"{REPORTS}.csv").read_bytes()
    done = kedro(folder, "run", "--env=test", "--pipelines=compare", "--params=evaluation.sequences=10")
    assert done.returncode != 0
    assert "adversarial, lds predicted other clips" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / f"{REPORTS}.csv").read_bytes() == before


def test_what_is_known_of_a_model_is_kept_with_its_predictions(project):
    folder, _ = project
    facts = json.loads((folder / "data/07_model_output/adversarial/moving_symbols/facts.json").read_text())
    assert facts["held_out"] == "test"
    assert facts["parameters"] > 100_000
    assert facts["frames_per_second"] > 0
    assert 0 < facts["training_minutes"] < 5


@pytest.mark.slow
def test_a_second_training_with_the_same_seed_gives_the_same_table(project):
    folder, _ = project
    before = (folder / f"{REPORTS}.csv").read_bytes()
    for pipeline in ("adversarial", "compare"):
        done = kedro(folder, "run", "--env=test", f"--pipelines={pipeline}")
        assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / f"{REPORTS}.csv").read_bytes() == before

"""The experiments of the second paper as their users run them, at test size."""

import json
import re

import cv2
import mlflow
import numpy as np
import pytest
from PIL import Image

from tests.pipelines.project import copy_of_project, kedro


def write_textures(folder):
    """Four videos of a class as arrays: waves that travel."""
    folder.mkdir(parents=True)
    across = np.arange(20)
    for number in range(4):
        phase = 0.4 * np.arange(90)[:, None, None] + 0.5 * across + number * np.sin(0.3 * across)[:, None]
        np.save(folder / f"{number}.npy", np.rint(127 + 100 * np.sin(phase)).astype(np.uint8))


def write_turntable(folder):
    """An object of 72 views as COIL-20 has it: a bar that turns."""
    folder.mkdir(parents=True)
    for view in range(72):
        picture = np.zeros((32, 32), np.uint8)
        angle = 2 * np.pi * view / 72
        end = (round(16 + 12 * np.cos(angle)), round(16 + 12 * np.sin(angle)))
        cv2.line(picture, (16, 16), end, 255, 4)
        assert cv2.imwrite(str(folder / f"obj1__{view}.png"), picture)


@pytest.fixture(scope="module", params=["digit_cycles", "ucla_textures", "small_norb"])
def experiment(request, tmp_path_factory):
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    write_textures(folder / "data/01_raw/ucla_textures/waves")
    write_turntable(folder / "data/01_raw/small_norb")
    dataset = request.param
    done = kedro(folder, "run", "--env=test", f"--pipelines=dynamic_vae.{dataset}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("warn", done.stdout + done.stderr, re.IGNORECASE), done.stdout + done.stderr
    return folder, dataset


METRICS = {
    "digit_cycles": {"readable_frames", "correct_transitions", "mean_run", "reader_accuracy"},
    "ucla_textures": {"spectrum_distance", "autocorrelation_distance", "frechet_distance", "sharpness"},
    "small_norb": {"turn_psnr", "turn_ssim", "angle_error", "confused"},
}


def test_model_and_linear_system_are_scored_side_by_side_and_tracked_in_one_run(experiment):
    folder, dataset = experiment
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("linear_video").experiment_id])
    assert (run.data.tags["model"], run.data.tags["dataset"]) == ("dynamic_vae", dataset)
    for model, prefix in (("dynamic_vae", ""), ("lds", "lds_")):
        scores = json.loads((folder / f"data/08_reporting/{model}/{dataset}/scores.json").read_text())
        assert (scores["model"], scores["dataset"]) == (model, dataset)
        lasts = {"spectral_radius"} | ({"stationarity_norm", "long_run_covariance_error"} if not prefix else set())
        assert METRICS[dataset] | lasts <= set(scores["synthesis"])
        assert scores["synthesis"]["spectral_radius"] < 1.0001
        assert all(scores["synthesis"][name] < 0.1 for name in lasts - {"spectral_radius"})
        for metric in METRICS[dataset] | lasts:
            assert run.data.metrics[f"{prefix}{metric}"] == pytest.approx(scores["synthesis"][metric])
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"scores.json", "filmstrip.png", "spectrum.png", "synthesis.gif", "lds"} <= artifacts
    assert "lds/scores.json" in {a.path for a in client.list_artifacts(run.info.run_id, "lds")}


def test_sequences_and_pictures_are_there(experiment):
    folder, dataset = experiment
    for model in ("dynamic_vae", "lds"):
        frames = np.load(folder / f"data/07_model_output/{model}/{dataset}/synthesised.npy")
        assert frames.dtype == np.uint8
        assert frames.shape[2:] == (1, 16, 16)
        results = folder / f"data/08_reporting/{model}/{dataset}"
        with Image.open(results / "synthesis.gif") as picture:
            assert picture.n_frames > 1
        with Image.open(results / "filmstrip.png") as picture:
            assert min(picture.size) > 200


def test_a_sequence_starts_where_the_held_out_clip_does(experiment):
    """The linear system's first frame is the projection of the true one, so it is nearest to it (or to its equal)."""
    folder, dataset = experiment
    made = np.load(folder / f"data/07_model_output/lds/{dataset}/synthesised.npy")[:, 0] / 255
    clips = np.load(folder / f"data/03_primary/{dataset}/test/frames.npy") / 255
    starts = np.loadtxt(folder / f"data/07_model_output/lds/{dataset}/starts.csv", int, delimiter=",", skiprows=1)
    truth = np.stack([clips[clip, frame] for clip, frame in starts])
    distances = ((made[:, None] - truth[None]) ** 2).sum(axis=(2, 3, 4))
    assert np.diag(distances).sum() <= distances.mean() * len(distances) + 1e-9

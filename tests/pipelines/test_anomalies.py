"""Anomalies as users have them scored: areas under the ROC curve in scores.json, in MLflow and on the page."""

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from tests.clips.ucsd_files import write_ucsd
from tests.pipelines.project import DATA, copy_of_project, kedro

RAW = Path("data/01_raw/UCSD_Anomaly_Dataset.v1p2/UCSDped2")
MODEL = "lds"
DATASETS = ("ucsd", "planted_events")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_of_project(tmp_path_factory.mktemp("project"))
    write_ucsd(project / RAW)
    done = kedro(project, "run", "--env=test", f"--pipelines={','.join(f'{MODEL}.{name}' for name in DATASETS)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("warn", done.stdout + done.stderr, re.IGNORECASE), done.stdout + done.stderr
    return project


def watched(project: Path, dataset: str) -> pd.DataFrame:
    return pd.read_csv(project / DATA / f"07_model_output/{MODEL}/{dataset}/watched.csv")


@pytest.mark.parametrize("dataset", DATASETS)
def test_areas_are_those_of_the_frames_that_were_watched(scored: Path, dataset: str) -> None:
    """Recomputed from the file alone."""
    scores = json.loads((scored / DATA / f"08_reporting/{MODEL}/{dataset}/scores.json").read_text())
    found, frames = scores["anomalies"], watched(scored, dataset)
    assert found["videos"] == frames["source"].nunique()
    frames = frames[frames["forecast_error"].notna()]
    assert (found["frames"], found["anomalous_frames"]) == (len(frames), frames["anomalous"].sum())
    assert set(found["scores"]) == {"forecast_error", "frame_difference", "optical_flow"}  # it has no likelihood
    for score, areas in found["scores"].items():
        unit = frames.groupby("source")[score].transform(lambda v: (v - v.min()) / (v.max() - v.min()))
        assert areas["auroc"] == pytest.approx(roc_auc_score(frames["anomalous"], unit))
        assert areas["auroc_unscaled"] == pytest.approx(roc_auc_score(frames["anomalous"], frames[score]))
        alone = [roc_auc_score(rows["anomalous"], rows[score]) for _, rows in frames.groupby("source")]
        assert areas["auroc_of_videos"] == pytest.approx(np.mean(alone))


def test_a_bar_that_runs_is_seen_as_an_anomaly(scored: Path) -> None:
    scores = json.loads((scored / DATA / f"08_reporting/{MODEL}/ucsd/scores.json").read_text())
    assert scores["anomalies"]["scores"]["frame_difference"]["auroc"] > 0.9
    assert watched(scored, "ucsd").groupby("source")["anomalous"].sum().to_dict() == {
        "Test/Test001": 6,
        "Test/Test002": 8,
        "Test/Test003": 4,
    }


@pytest.mark.parametrize("dataset", DATASETS)
def test_areas_are_in_mlflow_and_on_the_page(scored: Path, dataset: str) -> None:
    results = scored / DATA / f"08_reporting/{MODEL}/{dataset}"
    areas = json.loads((results / "scores.json").read_text())["anomalies"]["scores"]
    client = mlflow.MlflowClient(f"sqlite:///{scored / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id], f"tags.dataset = '{dataset}' and tags.model = '{MODEL}'")
    for score, of_score in areas.items():
        section = "evaluation" if score == "forecast_error" else "reference"
        for name, area in of_score.items():
            assert run.data.metrics[f"{section}/{score}_{name}"] == pytest.approx(area)
    page = (results / "report.html").read_text()
    cells = "".join(f"<td>{area:.3f}</td>" for area in areas["forecast_error"].values())
    assert f"<tr><td>lds: forecast error</td>{cells}</tr>" in page
    assert page.count("<img ") == 5  # film strip, scores by frame, animation, spectrum, anomalies
    with Image.open(results / "anomalies.png") as picture:
        assert min(picture.size) > 200

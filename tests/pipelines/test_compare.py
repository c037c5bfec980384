"""The comparison as its users run it, at test size."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from linear_video.clips.base import ClipSet
from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.pipelines.comparison.nodes import compare
from tests.pipelines.project import DATA, fails, succeeds

REPORTS = DATA / "08_reporting/comparison/moving_symbols"
MODELS = ("ile", "lds")


@pytest.fixture(scope="module")
def compared(project: Path) -> Path:
    """Another model and the comparison in one run, in which the comparison is named first."""
    succeeds(project, "run", "--env=test", "--pipelines=compare,lds.moving_symbols")
    return project


def test_before_any_model_it_says_what_to_run() -> None:
    clips = ClipSet(np.zeros((1, 2, 1, 8, 8), np.uint8), pd.DataFrame({"source": ["a"]}))
    with pytest.raises(InputError, match=r"no model has been trained on dots yet; start with .*--pipelines=ile\.dots"):
        compare({}, clips, clips, EvaluationSettings(1, 1), "dots", ile={}, lds={})


FACTS: dict[str, Any] = {
    "model": "ile",
    "dataset": "dots",
    "held_out": "test",
    "clips": "a fingerprint",
    "parameters": 5,
    "training_minutes": 0,
    "bits_per_value": None,
    "frames_per_second": 1.5,
    "commit": "unknown",
}


@pytest.mark.parametrize(
    ("name", "value"), [*((name, ...) for name in FACTS), ("parameters", "many"), ("clips", None), ("model", 5)]
)
def test_facts_that_lack_something_are_told_with_what_to_do(name: str, value: Any) -> None:
    clips = ClipSet(np.zeros((1, 2, 1, 8, 8), np.uint8), pd.DataFrame({"source": ["a"]}))
    facts = {key: fact for key, fact in FACTS.items() if key != name}
    if value is not ...:
        facts[name] = value
    again = r"predict again: kedro run --pipelines=ile\.dots --from"
    message = rf"facts\.json .* ile on dots is incomplete or wrong \({name}\); {again}"
    with pytest.raises(InputError, match=message):
        compare({}, clips, clips, EvaluationSettings(1, 1), "dots", ile=facts)
    with pytest.raises(InputError, match="ile predicted other clips"):  # with all of them, one looks at the clips
        compare({}, clips, clips, EvaluationSettings(1, 1), "dots", ile=FACTS)


def test_it_comes_after_what_it_compares_in_the_same_run(compared: Path) -> None:
    table = pd.read_csv(compared / f"{REPORTS}.csv")
    assert {*MODELS, "last_frame"} == set(table["model"])


def test_the_numbers_are_those_of_the_saved_predictions(compared: Path) -> None:
    table = pd.read_csv(compared / f"{REPORTS}.csv").set_index(["model", "frame"])
    clips = np.load(compared / DATA / "03_primary/moving_symbols/test/frames.npy")
    truth, last = clips[:, 10:15, 0] / 255, clips[:, 9, 0] / 255
    for model in MODELS:
        predictions = np.load(compared / DATA / f"07_model_output/{model}/moving_symbols/predictions.npy")
        shown = predictions[:, :, 0].astype(float)
        for k in range(5):
            pairs = [(truth[n, k], shown[n, k], last[n]) for n in range(len(clips))]
            for name, score in (("psnr", peak_signal_noise_ratio), ("ssim", structural_similarity)):
                values = [score(t, s, data_range=1) for t, s, _ in pairs]
                gains = [v - score(t, la, data_range=1) for v, (t, _, la) in zip(values, pairs, strict=True)]
                assert table.loc[(model, k + 1), name] == pytest.approx(np.mean(values), abs=1e-6)
                assert table.loc[(model, k + 1), f"{name}_gain"] == pytest.approx(np.mean(gains), abs=1e-6)


def test_missing_models_are_named_with_their_commands(compared: Path) -> None:
    for suffix in ("md", "html"):
        text = (compared / f"{REPORTS}.{suffix}").read_text()
        assert "kedro run --pipelines=dynamic_vae.moving_symbols" in text
        assert "kedro run --pipelines=adversarial.moving_symbols" in text
        for there in (*MODELS, "last_frame"):
            assert f"kedro run --pipelines={there}.moving_symbols" not in text


def test_models_are_tracked_by_the_same_metrics_and_the_comparison_with_its_files(compared: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{compared / 'mlflow.db'}")
    found = client.get_experiment_by_name("linear_video")
    assert found is not None
    oldest = ["attributes.start_time ASC"]
    found_by = {model: f"tags.model = '{model}'" for model in MODELS}
    runs = {
        model: client.search_runs([found.experiment_id], tag, order_by=oldest)[0] for model, tag in found_by.items()
    }
    common = {
        *(f"evaluation/{m}_frame_{k}" for m in ("psnr", "ssim") for k in (1, 5)),
        "reference/last_frame_psnr_frame_1",
    }
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert common <= set(run.data.metrics)
    files = {a.path for a in client.list_artifacts(runs["lds"].info.run_id)}
    assert {"moving_symbols.csv", "moving_symbols_models.csv", "moving_symbols.md", "moving_symbols.html"} <= files


def test_predictions_of_other_clips_are_refused(compared: Path) -> None:
    before = (compared / f"{REPORTS}.csv").read_bytes()
    message = fails(compared, "run", "--env=test", "--pipelines=compare", "--params=evaluation.sequences=10")
    assert "ile, lds predicted other clips" in message
    assert (compared / f"{REPORTS}.csv").read_bytes() == before


def test_what_is_known_of_a_model_is_kept_with_its_predictions(compared: Path) -> None:
    facts = json.loads((compared / DATA / "07_model_output/ile/moving_symbols/facts.json").read_text())
    assert facts["held_out"] == "test"
    assert facts["parameters"] > 10_000
    assert facts["frames_per_second"] > 0
    assert 0 < facts["training_minutes"] < 5


@pytest.mark.slow
def test_a_second_training_with_the_same_seed_gives_the_same_table(compared: Path) -> None:
    before = (compared / f"{REPORTS}.csv").read_bytes()
    succeeds(compared, "run", "--env=test", "--pipelines=ile,compare", "--params=fresh=true")
    assert (compared / f"{REPORTS}.csv").read_bytes() == before

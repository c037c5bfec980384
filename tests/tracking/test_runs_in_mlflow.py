"""The names of MLflow's runs, how runs are nested, and which registered model is the champion."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from linear_video.clips.base import ClipSet
from linear_video.tracking.hooks import HOST, LOCK, close_killed
from linear_video.tracking.models import LoggedModel, register, registered_name
from linear_video.tracking.reports import REPORTS
from linear_video.tracking.runs import Clips, TrackedRun, kind_of, prefix, subjects, title

PREDICT = {"predict": {"task": "retime", "video": "films/my.mp4", "model": "data/06_models/ile/moving_symbols"}}
OF_REGISTRY = {"predict": {**PREDICT["predict"], "model": "models:/ile-moving_symbols@champion"}}
FOOTAGE = {"footage": {"video": "films/my.mp4"}}


@pytest.mark.parametrize(
    ("namespaces", "settings", "trains", "called", "kind"),
    [
        (["moving_symbols", "ile.moving_symbols"], {}, True, "ile on moving_symbols", "training"),
        (["ile.moving_symbols"], {}, False, "evaluate ile on moving_symbols", "evaluation"),
        (["lds.moving_symbols", "ile.moving_symbols", "adversarial.moving_symbols"], {}, True,
         "lds, ile, adversarial on moving_symbols", "training"),
        (["ile.waves", "ile.golf"], {}, True, "ile on waves; ile on golf", "training"),
        ([f"{m}.moving_symbols" for m in ("ile", "adversarial", "convolutional", "optical_flow")], {}, False,
         "evaluate 4 models on moving_symbols", "evaluation"),
        (["digit_cycles", "dynamic_vae.digit_cycles", "lds.digit_cycles"], {}, True, "dynamic_vae on digit_cycles",
         "training"),
        (["ile.waves", "comparison.waves"], {}, True, "ile on waves", "training"),
        (["comparison.waves"], {}, False, "comparison on waves", "comparison"),
        (["waves"], {}, False, "clips of waves", "dataset"),
        (["waves", "golf"], {}, False, "clips of waves, golf", "dataset"),
        (["download_mnist"], {}, False, "download_mnist", "download"),
        (["predict"], PREDICT, False, "retime my.mp4 with ile.moving_symbols", "task"),
        (["predict"], OF_REGISTRY, False, "retime my.mp4 with ile-moving_symbols@champion", "task"),
        (["own_footage", "ile.own_footage", "footage"], FOOTAGE, True, "footage my.mp4", "footage"),
    ],
)  # fmt: skip
def test_a_run_is_called_after_what_it_does(
    namespaces: list[str], settings: dict[str, Any], trains: bool, called: str, kind: str
) -> None:
    main, others = subjects(namespaces)
    assert title(main, others, settings, trains=trains) == called
    assert kind_of(main, others, settings, trains=trains) == kind


def test_runs_below_are_those_of_further_experiments() -> None:
    assert subjects(["waves", "ile.waves", "comparison.waves"]) == ("ile.waves", [])
    assert subjects(["waves", "lds.waves", "dynamic_vae.waves"]) == ("dynamic_vae.waves", ["lds.waves"])
    several = ["optical_flow.waves", "ile.waves"]
    assert subjects(["waves", *several, "comparison.waves", "ile.waves"]) == (None, several)


def test_environments_with_data_of_their_own_have_models_and_names_of_their_own() -> None:
    assert [registered_name("ile.waves", env) for env in (None, "local", "test")] == [
        *["ile-waves"] * 2,
        "ile-waves-test",
    ]
    assert [prefix(env) for env in (None, "local", "test")] == ["", "", "test: "]


def test_sections_of_metrics_come_in_the_order_of_what_matters() -> None:
    """MLflow sorts them by the alphabet, and shows what has no section last."""
    row = {"psnr": [20.0], "ssim": [0.5]}
    scores = {"model": "ile", **row, "last_frame": row, "mean_frame": row, "bits_per_value": 3.0}
    scores |= {"linearization_error": 0.2, "persistence_error": 1.5}
    history = pd.DataFrame({"step": [1], "seconds": [2.0], "train_loss": [0.1], "val_loss": [0.1], "val_motion": [1.0]})
    names = []
    summary = pd.DataFrame({"part": ["train"], "clips": [3]})
    results = pd.DataFrame({"task": ["denoise", "sample"], "psnr": [20.0, 21.0]})  # of one video
    for kind, data in (("history", history), ("scores", scores), ("summary", summary), ("results", results)):
        measures = REPORTS[kind].measures
        assert measures is not None
        names += [measure.name for measure in measures(data)]
    assert {"evaluation/linearization_error", "evaluation/persistence_error"} <= set(names)
    assert all("/" in name for name in names)
    sections = sorted({name.partition("/")[0] for name in names})
    footage = ["footage_denoise", "footage_sample"]
    assert sections == ["evaluation", *footage, "loss", "loss_parts", "reference", "training", "video"]


def test_scores_in_openstls_conventions_are_metrics_of_the_model_and_of_its_references() -> None:
    row = {"psnr": [20.0], "ssim": [0.5]}
    rows = [{**row, "openstl": {"mse": value, "ssim": 0.9}} for value in (30.0, 40.0, 50.0)]
    scores = {"model": "ile", **rows[0], "last_frame": rows[1], "mean_frame": rows[2]}
    measures = REPORTS["scores"].measures
    assert measures is not None
    found = {measure.name: measure.value for measure in measures(scores) if measure.name.endswith("openstl_mse")}
    assert found == {
        "evaluation/openstl_mse": 30.0,
        "reference/last_frame_openstl_mse": 40.0,
        "reference/mean_frame_openstl_mse": 50.0,
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """A separate database of MLflow."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def test_only_a_better_score_on_the_same_clips_makes_a_champion(
    store: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "linear_video")
    experiment = store.create_experiment("here", artifact_location=str(tmp_path))
    run = store.create_run(experiment).info.run_id
    trainings: list[tuple[float | None, str, str | None]] = [
        (None, "clips", None),  # nothing is known of it
        (20.0, "clips", "2"),
        (19.0, "clips", "2"),
        (20.0, "clips", "2"),  # the same training once more
        (20.5, "clips", "5"),
        (30.0, "others", "5"),
        (20.6, "clips", "7"),
    ]
    for score, clips, champion in trainings:
        model = store.create_logged_model(experiment, source_run_id=run)
        register(LoggedModel(model.model_id, run), "ile-waves", score, clips, {"environment": "base"})
        aliases = dict(store.get_registered_model("ile-waves").aliases)
        assert {name: str(version) for name, version in aliases.items()} == ({"champion": champion} if champion else {})
    told = [record.getMessage() for record in caplog.records]
    assert "models:/ile-waves/6; the champion stays version 5, which was trained on other clips" in told[5]
    assert "set_registered_model_alias('ile-waves', 'champion', 6)" in told[5]
    assert "models:/ile-waves/7, the champion with a PSNR of 20.60 dB" in told[6]
    version = store.get_model_version("ile-waves", "5")
    assert version.tags == {"environment": "base", "validation_clips": "clips", "validation_psnr": "20.500000"}


@pytest.mark.parametrize("scores", [(20.0, 21.0), (21.0, 20.0), (20.0, 20.0)])
@pytest.mark.parametrize("before", [None, 19.0])
def test_the_better_of_two_that_register_at_once_is_the_champion(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: tuple[float, float],
    before: float | None,
) -> None:  # fmt: skip
    name = "-".join(map(str, ("ile", *scores, before)))
    experiment = store.create_experiment(name, artifact_location=str(tmp_path))
    run = store.create_run(experiment).info.run_id

    def trained(score: float) -> None:
        model = store.create_logged_model(experiment, source_run_id=run)
        register(LoggedModel(model.model_id, run), name, score, "clips", {})

    really, others = mlflow.MlflowClient.set_registered_model_alias, [scores[1]]

    def set_late(client: mlflow.MlflowClient, *arguments: str) -> None:
        """As if the other machine had done all of its registration after this one had looked."""
        if others:
            trained(others.pop())
        really(client, *arguments)

    if before is not None:
        trained(before)
    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", set_late)
    trained(scores[0])
    assert not others
    champion = store.get_model_version_by_alias(name, "champion")
    assert float(champion.tags["validation_psnr"]) == max(scores)
    assert int(champion.version) == (before is not None) + 1 + scores.index(max(scores))


def test_runs_of_another_machine_at_the_same_path_are_left_to_it(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    experiment = store.create_experiment("two machines")
    file, here, there = tmp_path / "1-a.lock", socket.gethostname(), "elsewhere"

    def running(host: str, lock: Path) -> str:
        run_id: str = store.create_run(experiment, tags={HOST: host, LOCK: str(lock)}).info.run_id
        return run_id

    cases = {
        running(here, file): "KILLED",
        running(there, file): "RUNNING",  # at work, for all that this machine can know
        running(there, tmp_path / "2-b.lock"): "KILLED",  # its lock file was found here, and nobody had it
        running(here, tmp_path / "another/3-c.lock"): "RUNNING",
    }
    close_killed(tmp_path, {tmp_path / "2-b.lock"})
    assert {run_id: store.get_run(run_id).info.status for run_id in cases} == cases


@pytest.mark.parametrize("model", ["last_frame", "optical_flow"])
def test_a_reference_is_not_tracked_beside_itself(model: str) -> None:
    row = {"psnr": [20.0], "ssim": [0.5]}
    scores = {"model": model, "horizon": 1, **row, "last_frame": row, "mean_frame": row, "optical_flow": row}
    report = REPORTS["scores"]
    assert report.measures is not None
    assert report.table is not None
    assert not [measure for measure in report.measures(scores) if measure[0].startswith(f"reference/{model}")]
    assert sorted(report.table(scores)["model"]) == ["last frame", "mean frame", "optical flow"]


def test_clips_that_another_run_logs_at_the_same_time_are_logged(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow looks whether it knows the clips, and adds them if not; another run may come in between."""
    experiment = store.create_experiment("clips", artifact_location=str(tmp_path))
    first, second = (TrackedRun(store.create_run(experiment).info.run_id, None) for _ in range(2))
    clips = ClipSet(np.zeros((1, 2, 1, 4, 4), np.uint8), pd.DataFrame({"source": ["a"]}))
    known = Clips("waves", "0" * 36)
    log, tries = second.client.log_inputs, []

    def overtaken(*given: Any) -> None:
        tries.append(given)
        if len(tries) == 1:
            first.log_clips(known, "test", clips, tmp_path)
            raise MlflowException("duplicate key value violates unique constraint", error_code=BAD_REQUEST)
        log(*given)

    monkeypatch.setattr(second.client, "log_inputs", overtaken)
    second.log_clips(known, "test", clips, tmp_path)
    for run in (first, second):
        inputs = store.get_run(run.run_id).inputs
        assert inputs is not None
        (logged,) = inputs.dataset_inputs
        assert (logged.dataset.name, logged.dataset.digest) == known

    def unreachable(*given: Any) -> None:
        tries.append(given)
        raise MlflowException("no answer")

    monkeypatch.setattr(first.client, "log_inputs", unreachable)
    with pytest.raises(MlflowException, match="no answer"):
        first.log_clips(known, "train", clips, tmp_path)
    assert len(tries) == 3

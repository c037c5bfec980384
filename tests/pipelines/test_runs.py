"""Several runs at once, interrupted runs, and resumed runs, as users start them, with ``--env=test``."""

import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.pipelines.project import DATA, begin, copy_of_project, fails, kedro, succeeds, write_footage

MODEL = DATA / "06_models/ile/moving_symbols/model.safetensors"
STATE = DATA / "06_models/ile/moving_symbols.training_state"
ILE = ("run", "--env=test", "--pipelines=ile")
LONG = "--params=ile.moving_symbols.training.steps=400"
UP_TO_DATE = "Everything is up to date, and nothing is run; --params=fresh=true runs it all the same."


def statuses(project: Path) -> list[str]:
    with sqlite3.connect(project / "mlflow.db") as database:
        return [status for (status,) in database.execute("select status from runs order by start_time")]


def tracked(project: Path) -> list[Any]:
    """MLflow's runs, the oldest first."""
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    found = client.get_experiment_by_name("linear_video")
    assert found is not None
    return list(client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))


def states(project: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (project / DATA).rglob("*") if path.is_file()}


def content(project: Path) -> dict[str, bytes]:
    """The content of all results that contain no times."""
    kept = ("frames.npy", "model.safetensors", "predictions.npy", "scores.json", "filmstrip.png", "synthesised.npy")
    return {str(p.relative_to(project)): p.read_bytes() for p in (project / DATA).rglob("*") if p.name in kept}


def ends(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run that must succeed; return its output, without line breaks."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return " ".join(said.split())


def end_when(project: Path, there: Path, what: signal.Signals, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a run, and send it a signal as soon as a file is there."""
    process = begin(project, *arguments)
    while not there.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(what)
    said, _ = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, said, "")


# --- what is up to date ---------------------------------------------------------------------------------------------


def test_what_is_up_to_date_is_neither_made_nor_tracked_again(project: Path) -> None:
    succeeds(project, *ILE)  # other tests have their own parameters
    before, runs = states(project), statuses(project)
    assert UP_TO_DATE in succeeds(project, *ILE)
    assert states(project) == before
    assert statuses(project) == runs


@pytest.mark.slow
def test_fresh_runs_all_the_same_and_gives_the_same(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    succeeds(project, *ILE)
    before, made = states(project), content(project)
    said = succeeds(project, *ILE, "--params=fresh=true")
    assert "up to date" not in said.lower()
    assert content(project) == made
    after = states(project)
    assert not [path for path, state in before.items() if after[path] == state]


@pytest.mark.slow
def test_what_follows_from_a_parameter_is_made_again_and_the_rest_is_tracked_with_it(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    succeeds(project, *ILE)
    weights = (project / MODEL).stat().st_mtime_ns
    said = succeeds(project, *ILE, "--params=evaluation.horizon=4")
    assert "Running node: train" not in said
    assert "Running node: predict" in said
    assert (project / MODEL).stat().st_mtime_ns == weights
    first, second = tracked(project)
    assert second.data.params["evaluation.moving_symbols.horizon"] == "4"
    kept = {name: value for name, value in first.data.params.items() if not name.startswith("evaluation.")}
    assert {name: second.data.params[name] for name in kept} == kept
    for metric in ("loss/val_loss", "training/seconds"):
        assert second.data.metrics[metric] == first.data.metrics[metric]
    assert "evaluation/psnr_frame_5" not in second.data.metrics
    assert "evaluation/psnr_frame_1" in second.data.metrics
    assert second.data.tags["made_before"] == "moving_symbols.make, ile.moving_symbols.train, moving_symbols.summarise"
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    assert {"scores.json", "history.csv", "moving_symbols"} <= {
        artifact.path for artifact in client.list_artifacts(second.info.run_id)
    }


# --- runs that are ended --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kill_while_drawing_does_not_train_again(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    scores = project / DATA / "08_reporting/ile/moving_symbols/scores.json"
    killed = end_when(project, project / DATA / ".stamps/ile.moving_symbols.evaluate.json", signal.SIGKILL, *ILE)
    assert killed.returncode == -signal.SIGKILL
    assert scores.exists()
    assert statuses(project) == ["RUNNING"]
    weights = (project / MODEL).stat().st_mtime_ns
    said = succeeds(project, *ILE)
    assert "Running node: draw" in said
    assert "Running node: train" not in said
    assert (project / MODEL).stat().st_mtime_ns == weights
    assert (project / DATA / "08_reporting/ile/moving_symbols/filmstrip.png").exists()
    assert statuses(project) == ["KILLED", "FINISHED"]
    first, second = tracked(project)
    assert second.data.metrics["evaluation/psnr_frame_5"] == first.data.metrics["evaluation/psnr_frame_5"]
    assert UP_TO_DATE in succeeds(project, *ILE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, None), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_ended_training_goes_on_and_is_tracked_as_killed(
    tmp_path: Path, what: signal.Signals, code: int | None
) -> None:
    project = copy_of_project(tmp_path)
    ended = end_when(project, project / STATE / "last.ckpt", what, *ILE, LONG)
    assert ended.returncode == code if code is not None else ended.returncode > 0, ended.stdout
    assert "Traceback" not in ended.stdout
    if what == signal.SIGTERM:
        assert ended.stdout.count("Ended by SIGTERM. The same command goes on where this one stopped.") == 1
    assert statuses(project) == ["RUNNING" if what == signal.SIGKILL else "KILLED"]
    said = succeeds(project, *ILE, LONG)
    assert "Resuming the interrupted training from step" in said
    assert "Running node: make" not in said
    assert not (project / STATE).exists()
    assert statuses(project) == ["KILLED", "FINISHED"]
    assert tracked(project)[1].data.tags["kedro_command"] == " ".join(["kedro", *ILE, LONG])
    kept = content(project)
    succeeds(project, *ILE, f"{LONG},fresh=true")
    assert content(project) == kept


@pytest.mark.slow
def test_a_kill_between_model_and_history_does_not_train_from_nothing(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    end_when(project, project / MODEL, signal.SIGKILL, *ILE)
    assert (project / STATE / "last.ckpt").exists()
    assert "Resuming the interrupted training from step 60 of 60" in succeeds(project, *ILE)
    assert (project / DATA / "08_reporting/ile/moving_symbols/history.csv").exists()
    assert not (project / STATE).exists()


@pytest.mark.slow
def test_an_error_in_a_node_is_tracked_as_failed(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    broken = "--params=moving_symbols.render_size=18,moving_symbols.frame_size=18"
    fails(project, "run", "--env=test", "--pipelines=ile,last_frame", broken)
    assert statuses(project) == ["FAILED"] * 3  # the run, and one below it for each experiment


# --- runs at once ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_seeds_at_once_give_what_each_gives_alone(tmp_path: Path) -> None:
    """In a project without a database of MLflow yet."""
    project = copy_of_project(tmp_path)
    both = [begin(project, *ILE, f"--params=seed={seed}") for seed in (1, 2)]
    said = [ends(process) for process in both]
    assert sum("Waiting for another run" in text for text in said) == 1
    waited = next(number for number, text in enumerate(said) if "Waiting for another run" in text)
    assert f"process {both[1 - waited].pid}, since 20" in said[waited]
    for seed in (1, 2):
        succeeds(project, *ILE, f"--params=seed={seed},fresh=true")
    runs = tracked(project)
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    together, alone = ({run.data.params["seed"]: run.data.metrics for run in some} for some in (runs[:2], runs[2:]))
    names = [name for name in alone["1"] if "psnr" in name or "loss" in name]
    for of in ("1", "2"):
        assert {name: together[of][name] for name in names} == {name: alone[of][name] for name in names}
    assert alone["1"]["evaluation/psnr_frame_5"] != alone["2"]["evaluation/psnr_frame_5"]
    assert [path.name for path in (project / ".runs").iterdir() if path.suffix == ".json"] == []


@pytest.mark.slow
def test_two_ingestions_at_once_both_end_well(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    write_footage(project / "data/01_raw/ucf_sports")
    both = [begin(project, "run", "--env=test", "--pipelines=ucf_sports") for _ in range(2)]
    said = [ends(process) for process in both]
    assert sum(UP_TO_DATE in text for text in said) == 1  # the one that waited finds the clips of the other
    assert statuses(project) == ["FINISHED"]


@pytest.mark.slow
def test_models_of_the_same_clips_go_side_by_side(tmp_path: Path) -> None:
    """The second one waits for the clips alone; the first one still trains when it is done."""
    project = copy_of_project(tmp_path)
    first = begin(project, *ILE, "--params=ile.moving_symbols.training.steps=20000")
    while not (project / STATE / "last.ckpt").exists():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    succeeds(project, "run", "--env=test", "--pipelines=lds.moving_symbols")
    assert first.poll() is None
    clips = {path: time for path, time in states(project).items() if "03_primary" in path.parts}
    assert clips
    other = begin(project, "run", "--env=test", "--pipelines=moving_symbols", "--params=seed=5")  # would replace them
    assert other.stdout is not None
    while "Waiting for another run" not in (line := other.stdout.readline()):
        assert line, "it did not wait"
    assert clips.items() <= states(project).items()
    for process in (other, first):
        process.terminate()
        process.communicate()
        assert process.returncode == 143
    assert sorted(statuses(project)) == ["FINISHED", "KILLED"]  # the one that waited has not been started


def test_a_misspelt_parameter_leaves_no_run(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    assert "sead is not a parameter; did you mean seed?" in fails(project, *ILE, "--params=sead=3")
    assert statuses(project) == []
    assert not (project / "data").exists()
    message = kedro(project, *ILE, "--params=fresh=perhaps").stderr
    assert "fresh: Input should be a valid boolean" in " ".join(message.split())
    assert [path.name for path in (project / ".runs").iterdir()] == ["tracking.lock"]

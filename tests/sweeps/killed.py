"""A sweep whose processes are killed must end as one in sequence that nobody killed."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.pipelines.project import begin
from tests.torture import LONGEST, project

CASES = {
    "default": {},
    "one coupling": {"couplings": 1},
    "no forecasts": {"forecast_weight": 0.0},
    "no noise to speak of": {"noise": 0.001},
    "looks back 4 frames": {"look_back": 4},
    "raw pixels": {"mix": "none"},
}


def write_study(folder: Path, cases: int, seeds: int) -> Path:
    """A study of the ILE at test size, cases times seeds trials."""
    study = {
        "pipelines": "ile",
        "environment": "test",
        "metric": "psnr.0",
        "direction": "maximize",
        "columns": ["psnr.4", "val_loss"],
        "parameters": {"evaluation": {"held_out": "validation"}},
        "seeds": list(range(seeds)),
        "cases": {name: {"ile": {"moving_symbols": {"model": CASES[name]}}} for name in list(CASES)[:cases]},
    }
    path = folder / "study.yml"
    path.write_text(json.dumps(study))  # which is YAML
    return path


def sweeps(place: Path, cases: int = 6, seeds: int = 2, *, kill_command: bool = True) -> list[str]:
    """A sweep with two workers, one of which is killed twice, against one in sequence; what came out otherwise.

    With ``kill_command``, the command that has started the workers is killed as well, and started once more.
    """
    reference, folder = project(place / "reference"), project(place / "killed")
    alone = begin(reference, "sweep", str(write_study(reference, cases, seeds)))
    said, _ = alone.communicate(timeout=cases * seeds * LONGEST)
    if alone.returncode:
        raise RuntimeError(f"the sweep in sequence ended with {alone.returncode}:\n{said[-3000:]}")
    command = ("sweep", str(write_study(folder, cases, seeds)), "--workers=2")
    process = begin(folder, *command)
    killed = list[int]()
    try:
        for _ in range(2):
            killed.append(_kill_trial(folder, killed))
        if kill_command:
            process.kill()
            process.communicate()
            process = begin(folder, *command)
    finally:
        said, _ = process.communicate(timeout=cases * seeds * LONGEST)
    problems = [f"ended with {process.returncode}: {said[-2000:]}"] if process.returncode else []
    problems += _of_sweep(folder, cases * seeds, killed)
    tables = [(one / "data/sweeps/study/table.csv").read_text() for one in (reference, folder)]
    return problems + [f"the table is {tables[1]}, in sequence {tables[0]}"] * (tables[0] != tables[1])


def _trials(folder: Path) -> list[Any]:
    """The trials of the sweep in a project, as Optuna has them."""
    import optuna

    from linear_video.sweeps.trials import open_storage

    if not (journal := folder / "data/sweeps/study/optuna.journal").exists():
        return []
    storage = open_storage(str(journal))
    names = [study.study_name for study in storage.get_all_studies()]
    return optuna.load_study(study_name="study", storage=storage).get_trials() if names else []


def _kill_trial(folder: Path, killed: list[int]) -> int:
    """Kill the process of a trial that has written the state of its training; its number."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        for trial in _trials(folder):
            process = trial.user_attrs.get("process")  # a trial that goes on begins with the losses of the killed one
            in_training = trial.state.name == "RUNNING" and len(trial.intermediate_values) > 1
            if in_training and process is not None and trial.number not in killed:
                os.kill(process, signal.SIGKILL)
                return int(trial.number)
        time.sleep(0.05)
    raise RuntimeError("no trial was in training.")


def _of_sweep(folder: Path, wanted: int, killed: list[int]) -> list[str]:
    """What is wrong with the trials and runs of a sweep in which some trials were killed."""
    import mlflow

    trials = _trials(folder)
    done = [trial.user_attrs["settings"] for trial in trials if trial.state.name == "COMPLETE"]
    failed = [trial.number for trial in trials if trial.state.name == "FAIL"]
    problems = [] if len(done) == len(set(done)) == wanted else [f"{len(done)} trials, {len(set(done))} settings"]
    problems += [f"trials {failed} failed, {killed} were killed"] * (not set(killed) <= set(failed))
    logs = [path.read_text() for path in (folder / "data/sweeps/study/trials").glob("*.log")]
    went_on = sum("Resuming the interrupted training" in log for log in logs)
    problems += [f"{went_on} trainings went on, {len(killed)} trials were killed"] * (went_on < 1)
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video")
    runs = client.search_runs([experiment.experiment_id] if experiment else [])
    parents = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in {run.info.run_id for run in parents}]
    finished = [run.info.run_name for run in below if run.info.status == "FINISHED"]
    if [run.info.status for run in parents] != ["FINISHED"] or not len(finished) == len(set(finished)) == wanted:
        problems.append(f"MLflow has {[run.info.status for run in parents]}, and below {sorted(map(str, finished))}")
    if len(runs) != len(parents) + len(below) or any(run.info.status == "RUNNING" for run in runs):
        problems.append(f"MLflow has other runs: {[(run.info.run_name, run.info.status) for run in runs]}")
    return problems

"""One trial, in a process of its own: an ordinary run of the pipeline, with a folder of data for itself."""

import hashlib
import json
import math
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock
from kedro.framework.project import settings as kedro_settings
from kedro.framework.startup import bootstrap_project
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from linear_video.clips.base import DatasetSettings
from linear_video.common.errors import InputError
from linear_video.parameters import plain
from linear_video.sweeps.study import VAL_LOSS, Study
from linear_video.sweeps.trials import BEAT, BEATS_EVERY, ENDED, ERROR, HOST, LOCK, PROCESS, open_storage
from linear_video.tracking.environments import DATA, data_folder
from linear_video.tracking.session import RUN as SESSION_RUN
from linear_video.training.fit import watchers

SCORES = "scores"  # attribute of a trial that is done: all numbers of each experiment's scores
OF_DATASET = ("02_intermediate", "03_primary", "08_reporting")  # layers in which the pipeline of a dataset works
LONGEST = 500  # letters of a message


class Job(NamedTuple):
    """All that the process of a trial is told."""

    project: Path
    study: Study
    name: str  # of the study, in Optuna
    storage: str
    number: int
    trial_id: int
    parameters: dict[str, Any]  # over those of the environment
    folder: Path  # for the trial's data
    lock: Path
    clips: dict[str, Path]  # folder of each dataset's clips, which trials share
    experiments: list[str]  # that have scores; first the one that is judged
    tags: dict[str, str]  # of the run in MLflow
    log: Path


class Pruned(SystemExit):
    """The training is not better than those before it, and ends here; this is not a failure."""

    def __init__(self) -> None:
        super().__init__(0)


def run_trial(job: Job) -> None:
    """Run a trial, and tell Optuna what came of it.

    Raises:
        Exception: whatever the run raises; Optuna is told of it.
    """
    _write_to(job.log)
    lock = FileLock(job.lock)
    lock.acquire(timeout=60)
    study = optuna.load_study(
        study_name=job.name,
        storage=open_storage(job.storage),
        sampler=RandomSampler(),  # which is asked nothing here
        pruner=MedianPruner(n_startup_trials=4) if job.study.pruner else optuna.pruners.NopPruner(),
    )
    trial = optuna.Trial(study, job.trial_id)
    if study.trials[job.number].state != TrialState.RUNNING:  # another process thought it lost before it had the lock
        return
    for name, value in {HOST: socket.gethostname(), PROCESS: os.getpid(), LOCK: str(job.lock)}.items():
        trial.set_user_attr(name, value)
    try:
        with _beating(trial):
            scores, value = _run(job, trial)
    except Pruned:
        study.tell(job.number, state=TrialState.PRUNED)
        raise
    except Exception as error:
        trial.set_user_attr(ERROR, (" ".join(str(error).split()) or type(error).__name__)[:LONGEST])
        study.tell(job.number, state=TrialState.FAIL)
        raise
    except BaseException:  # the user has ended it
        trial.set_user_attr(ENDED, True)
        study.tell(job.number, state=TrialState.FAIL)
        raise
    trial.set_user_attr(SCORES, scores)
    study.tell(job.number, value)


def clips_folder(folder: Path, dataset: str, settings: DatasetSettings, seed: int) -> Path:
    """Where the clips of a dataset lie for all trials in which it has these settings."""
    known = json.dumps([plain(settings), seed], sort_keys=True, default=str)
    return folder / "clips" / f"{dataset}-{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def _run(job: Job, trial: optuna.Trial) -> tuple[dict[str, dict[str, float]], float]:
    """Run the pipelines; the scores of each experiment, and the metric."""
    environment = job.study.environment
    os.environ[DATA] = str(job.folder)
    _link_clips(Path(data_folder(environment)), job.clips)
    bootstrap_project(job.project)
    SESSION_RUN.tags = job.tags
    watchers.append(_Watcher(trial, 1 if job.study.direction == "minimize" else -1))
    session_class: Any = kedro_settings.SESSION_CLASS
    with session_class.create(job.project, env=environment, runtime_params=job.parameters) as session:
        session.run(pipeline_names=job.study.names)
    catalog = SESSION_RUN.context.catalog
    scores = {}
    for experiment in job.experiments:
        history = catalog.load(f"{experiment}.history")
        scores[experiment] = dict(numbers(catalog.load(f"{experiment}.scores")))
        scores[experiment]["training_minutes"] = float(history["seconds"].iloc[-1]) / 60
        if VAL_LOSS in history:
            scores[experiment][VAL_LOSS] = float(history[VAL_LOSS].min())
    value = scores[job.experiments[0]].get(job.study.metric, math.nan)
    if math.isnan(value):
        raise InputError(f"{job.experiments[0]} has no {job.study.metric} among its scores; choose another metric.")
    return scores, value


class _Watcher:
    """Is told of each validation, tells Optuna, and ends the training if Optuna says so."""

    def __init__(self, trial: optuna.Trial, sign: int) -> None:
        self.trial, self.sign = trial, sign
        self.known = set(trial.study.trials[trial.number].intermediate_values)

    def __call__(self, step: int, steps: int, loss: float) -> None:
        if step not in self.known:  # else a training that goes on has told it before
            self.trial.report(self.sign * loss, step)
        if step < steps and self.trial.should_prune():  # at the end, there is nothing to save
            raise Pruned


def numbers(scores: Any, above: str = "") -> Iterator[tuple[str, float]]:
    """Names and values of all numbers in nested mappings and lists, as in ``synthesis.mean_run`` or ``psnr.0``."""
    if isinstance(scores, Mapping | list):
        for name, value in scores.items() if isinstance(scores, Mapping) else enumerate(scores):
            yield from numbers(value, f"{above}.{name}" if above else str(name))
    elif isinstance(scores, int | float) and not isinstance(scores, bool):
        yield above, float(scores)


def _link_clips(folder: Path, clips: Mapping[str, Path]) -> None:
    """Let the pipelines of datasets work in folders that trials share, with their stamps, so that one makes the clips.

    The others find them up to date, or wait while they are made, as all runs do.
    """
    for dataset, place in clips.items():
        shared = [Path(layer, dataset) for layer in OF_DATASET]
        shared += [Path(".stamps", f"{dataset}.{node}.json") for node in ("make", "summarise")]
        for path in shared:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / path).is_symlink():
                (folder / path).symlink_to(os.path.relpath(place / path, (folder / path).parent))


@contextmanager
def _beating(trial: optuna.Trial) -> Iterator[None]:
    """Show other machines that this process lives."""
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.wait(BEATS_EVERY):
            count += 1
            trial.set_user_attr(BEAT, count)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _write_to(log: Path) -> None:
    """All that this process says goes to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)

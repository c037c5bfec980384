"""``kedro sweep``: starts processes for the trials of a study, a few at a time, until all are done."""

import logging
import multiprocessing
import os
import shlex
import time
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.project import settings as kedro_settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project
from optuna.exceptions import DuplicatedStudyError
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from linear_video.common.errors import InputError
from linear_video.experiments import Experiment, main_experiment
from linear_video.models.base import TrainedBySteps
from linear_video.models.registry import model_class
from linear_video.parameters import Parameters, check_parameters, merged
from linear_video.sweeps.results import Results
from linear_video.sweeps.running import Job, clips_folder, run_trial
from linear_video.sweeps.study import VAL_LOSS, Settings, Study, read_study
from linear_video.sweeps.trials import DONE, ERROR, IN_WORK, JOURNAL, Trials, open_storage, settings_of
from linear_video.tracking.session import asked_to_end, typed_command

logger = logging.getLogger(__name__)

FOLDER = Path("data/sweeps")  # in the project
LOOK_EVERY = 2.0  # seconds between two looks at what other machines have done
FIRST_WAIT = 60.0  # seconds that a process gives the one that made the sweep to say where MLflow has it
IDENTITY, PARENT = "identity", "mlflow_run"  # attributes of Optuna's study

# Imported once, by the process that all trials are forked from. Nothing of this project: each trial imports the code as
# it is then, which is what its stamps say of it.
PRELOADED = (
    "kedro.framework.cli.cli",
    "kedro_viz.integrations.kedro.hooks",
    "lightning.pytorch",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "optuna",
    "sklearn.datasets",
)


class Options(NamedTuple):
    """What the command line says.

    Attributes:
        workers: trials at once on this machine.
        folder: for what the sweep makes; its name is that of the sweep. None for one in ``data/sweeps``.
        storage: URL of a database, over that of the study.
        parameters: for every trial, over those of the study.
        retry: whether trials that failed run again.
    """

    workers: int
    folder: Path | None
    storage: str | None
    parameters: dict[str, Any]
    retry: bool


def sweep(path: Path, options: Options) -> None:
    """Run the trials of a study that are not done, and write its table and plots.

    Raises:
        InputError: if the study cannot be run, or trials failed.
    """
    study, project = read_study(path), find_kedro_project(Path.cwd()) or Path.cwd()
    folder = (options.folder or project / FOLDER / path.stem).absolute()
    session_class: Any = kedro_settings.SESSION_CLASS
    with asked_to_end(), session_class.create(project, env=study.environment) as session:
        context = session.load_context()
        experiments = check_study(study, context.params, pipelines, options.parameters)
        folder.mkdir(parents=True, exist_ok=True)
        sweeping = Sweep(study, folder, options, context, experiments)
        try:
            sweeping.run()
        except BaseException as end:
            sweeping.results.end("FAILED" if isinstance(end, Exception) else "KILLED")
            raise
        sweeping.results.end("FINISHED")
    failed = sweeping.trials.given_up()
    if failed:
        logs = ", ".join(os.path.relpath(sweeping.place(trial).with_suffix(".log")) for trial in failed[:3])
        why = str(failed[0].user_attrs.get(ERROR, "its process was killed several times"))
        raise InputError(
            f"{len(failed)} of {sweeping.trials.wanted()} trials failed, the first with: {why} See {logs}. The others "
            "are in the table; --retry runs those that failed once more."
        )


def check_study(
    study: Study, base: Mapping[str, Any], pipelines: Mapping[str, Pipeline], further: Mapping[str, Any]
) -> list[str]:
    """Find what is wrong before anything runs; the experiments that have scores, first the one that is judged.

    Args:
        study: the study.
        base: parameters of its environment.
        pipelines: all that follow from these, by name.
        further: parameters from the command line.

    Raises:
        InputError: naming what is wrong.
    """
    for name in study.names:
        if name not in pipelines:
            raise InputError(f"pipelines: there is no pipeline called {name!r}; see kedro registry list.")
    outputs = [output for name in study.names for output in pipelines[name].all_outputs()]
    scored = [name.removesuffix(".scores") for name in dict.fromkeys(outputs) if name.endswith(".scores")]
    judged = main_experiment(node.namespace for node in pipelines[study.names[0]].nodes if node.namespace)
    if judged is None or judged not in scored:
        raise InputError(
            f"pipelines: {study.names[0]} is not a single experiment, as a study needs; see kedro registry list."
        )
    experiments = [judged, *sorted(name for name in scored if name != judged)]
    stepwise = [name for name in experiments if issubclass(model_class(name.split(".")[0]), TrainedBySteps)]
    if study.pruner is not None and stepwise != [judged]:
        raise InputError(
            f"pruner needs one training by steps, and the pipelines train {', '.join(stepwise) or 'none'}."
        )
    for settings in study.corners():
        checked = _checked(study, settings, base, further)
        held_out = checked.evaluation[Experiment(*judged.split(".")).dataset].held_out
        if held_out == "test" and study.metric != VAL_LOSS and not study.report:
            raise InputError(
                f"{study.metric} would be of test clips, by which no setting may be chosen. Set evaluation.held_out to "
                "validation in the parameters of the study; or say report: true if it shows scores and chooses nothing."
            )
    return experiments


def _checked(study: Study, settings: Settings, base: Mapping[str, Any], further: Mapping[str, Any]) -> Parameters:
    tree = merged(base, study.parameters_of(settings, further))
    try:
        return check_parameters(tree)
    except InputError as error:
        raise InputError(f"The study's settings {settings.name!r} cannot run. {error}") from error


class Sweep:
    """The part of a sweep that this process does."""

    def __init__(
        self, study: Study, folder: Path, options: Options, context: KedroContext, experiments: list[str]
    ) -> None:
        self.study, self.folder, self.options, self.context = study, folder, options, context
        self.experiments = experiments
        self.storage = options.storage or study.storage or str(folder / JOURNAL)
        self.mended = False  # whether all trials failed so far, and the study is another one now
        in_optuna, is_new = self._open()
        self.trials = Trials(study, in_optuna)
        # As typed, but that the URL of a database may have a password.
        self.command = (typed_command() or "").replace(shlex.quote(self.storage), "...").replace(self.storage, "...")
        self.results = Results(study, self.trials, folder, experiments)
        self._find_parent(in_optuna, is_new)
        self.results.begin(in_optuna.user_attrs[PARENT], self.command)
        self.processes: dict[int, Any] = {}  # of trials, by their number

    def _open(self) -> tuple[optuna.Study, bool]:
        """The study in Optuna, and whether it was made now."""
        storage, identity = open_storage(self.storage), self.study.identity(self.options.parameters)
        named: dict[str, Any] = {"study_name": self.folder.name, "storage": storage}
        try:
            found, is_new = optuna.create_study(**named, direction=self.study.direction), True
            found.set_user_attr(IDENTITY, identity)
        except DuplicatedStudyError:
            found, is_new = optuna.load_study(**named), False
        if found.user_attrs.get(IDENTITY, identity) != identity:
            begun = any(trial.state in (*DONE, *IN_WORK) for trial in found.get_trials(deepcopy=False))
            if begun or found.direction.name.lower() != self.study.direction:
                raise InputError(
                    f"The sweep {self.folder.name} was begun with another study or other parameters. Name another "
                    "--folder for this one. Only cases, columns, seeds and trials may change while a sweep goes on."
                )
            found.set_user_attr(IDENTITY, identity)
            self.mended = True
        found.sampler = RandomSampler()
        if not self.study.is_grid:  # another start must not draw what the first one drew
            found.sampler = TPESampler(seed=len(found.get_trials(deepcopy=False)), constant_liar=True)
        return found, is_new

    def _find_parent(self, in_optuna: optuna.Study, is_new: bool) -> None:
        """Let the sweep have one run in MLflow, which who made it makes; else, if that was killed before, this one."""
        until = time.monotonic() + (0 if is_new else FIRST_WAIT)
        while PARENT not in in_optuna.user_attrs:
            if time.monotonic() >= until:
                in_optuna.set_user_attr(PARENT, self._make_parent())
            time.sleep(0 if is_new else 0.5)

    def _make_parent(self) -> str:
        import mlflow

        tracking: Any = self.context
        experiment = tracking.mlflow.tracking.experiment._experiment.experiment_id
        tags = {"kind": "sweep", "environment": self.study.environment or "base"}
        run = mlflow.MlflowClient().create_run(experiment, run_name=self.folder.name, tags=tags)
        return str(run.info.run_id)

    def run(self) -> None:
        """Start trials until there are none, neither here nor elsewhere."""
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # trials share the processors
        starting = multiprocessing.get_context("forkserver")
        starting.set_forkserver_preload(list(PRELOADED))
        if self.options.retry or self.mended:
            self.trials.forgive()
        self.results.write()
        with tqdm(total=self.trials.wanted(), desc=self.folder.name, unit="trial") as bar:
            try:
                while True:
                    self._collect()
                    self.trials.fail_dead()
                    while len(self.processes) < self.options.workers and (trial := self.trials.next()) is not None:
                        process = starting.Process(target=run_trial, args=(self._job(trial),))
                        process.start()
                        self.processes[trial.number] = process
                    trials = self.trials.all()
                    if done := sum(trial.state in DONE for trial in trials) - bar.n:
                        bar.update(done)
                    if not self.processes and not any(trial.state in IN_WORK for trial in trials):
                        break
                    wait([process.sentinel for process in self.processes.values()], timeout=LOOK_EVERY)
            finally:
                for process in self.processes.values():
                    process.terminate()
                for process in self.processes.values():
                    process.join()
        self.results.write()

    def _collect(self) -> None:
        """See which processes are over; a trial whose process could not tell what came of it has failed."""
        for number, process in list(self.processes.items()):
            if not process.is_alive():
                process.join()
                del self.processes[number]
                self.trials.fail(number)
                self.trials.own.discard(number)
                trial = self.trials.optuna.get_trials(deepcopy=False)[number]
                if trial.state == TrialState.FAIL:
                    why = trial.user_attrs.get(ERROR, "its process was killed.")
                    log = os.path.relpath(self.place(trial).with_suffix(".log"))
                    logger.warning("Trial %d failed: %s See %s.", number, why, log)

    def place(self, trial: FrozenTrial) -> Path:
        """Folder of a trial's data."""
        return self.folder / "trials" / f"{self.trials.folder_number(trial):04d}"

    def _job(self, trial: FrozenTrial) -> Job:
        settings = settings_of(trial)
        assert settings is not None
        parameters = self.study.parameters_of(settings, self.options.parameters)
        checked = _checked(self.study, settings, self.context.params, self.options.parameters)
        made = {node.namespace for name in self.study.names for node in pipelines[name].nodes}
        datasets = {name: kind for name, kind in checked.datasets.items() if name in made}
        (self.folder / "locks").mkdir(exist_ok=True)
        return Job(
            project=Path(self.context.project_path),
            study=self.study,
            name=self.folder.name,
            storage=self.storage,
            number=trial.number,
            trial_id=trial._trial_id,
            parameters=parameters,
            folder=self.place(trial),
            lock=self.folder / "locks" / f"{trial.number}.lock",
            clips={n: clips_folder(self.folder, n, kind, checked.random.seed) for n, kind in datasets.items()},
            experiments=self.experiments,
            tags={
                "mlflow.parentRunId": self.results.run_id,
                "mlflow.runName": settings.name,
                "sweep": self.folder.name,
                "trial": str(trial.number),
                "kedro_command": self.command,
            },
            log=self.place(trial).with_suffix(".log"),
        )

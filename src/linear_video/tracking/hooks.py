"""During a run: what it is about is tagged, and what its nodes make is told and tracked in MLflow."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from linear_video.common.commit import git_commit
from linear_video.experiments import main_experiment
from linear_video.io.figures import written_files
from linear_video.models.registry import MODELS
from linear_video.tracking.locks import FOLDER, is_alive
from linear_video.tracking.models import log_model
from linear_video.tracking.reports import REPORTS
from linear_video.tracking.session import RunHooks, typed_command

LOCK = "lock"  # tag of what tells whether the process is still there
LONGEST = 6000  # letters of a parameter's value


class TrackingHooks:
    """Put tags, scores, training curves, files and models into the run that kedro-mlflow has opened."""

    def __init__(self, run: RunHooks) -> None:
        self.run = run
        self.main: str | None = None  # what the run is about
        self.catalog: CatalogProtocol[Any, Any]

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Tag the run with what it is about, and with the commit."""
        import mlflow

        self.catalog = catalog
        self.main = main_experiment(node.namespace for node in pipeline.nodes if node.namespace)
        if self.run.lock is not None:
            _close_killed(Path(run_params["project_path"]) / FOLDER)
        if mlflow.active_run() is None:
            return
        if self.run.lock is not None:
            mlflow.set_tags({"host": socket.gethostname(), "process": os.getpid(), LOCK: self.run.lock.file})
        if (command := typed_command()) is not None:
            mlflow.set_tag("kedro_command", command)
        mlflow.set_tag("git_commit", git_commit())
        mlflow.set_experiment_tag("mlflow.experimentKind", "custom_model_development")  # what the UI shows first
        if self.main is not None:
            model, _, dataset = self.main.rpartition(".")
            tags = {"dataset": dataset} | ({"model": model} if model in MODELS else {})
            mlflow.set_tags({**tags, "mlflow.runName": f"{model} on {dataset}" if model else dataset})
        self._track_what_is_kept()

    def _track_what_is_kept(self) -> None:
        """Track what is up to date as if it were made now, so that MLflow has the whole of a run that goes on.

        By its stamp it is what this run would make, and no other run can change it meanwhile.
        """
        import mlflow

        for node, outputs in self.run.passed_over.items():
            parameters = {n: self.catalog.load(n) for n in node.inputs if n.startswith("params:")}
            flat = dict(_flat({name.removeprefix("params:"): value for name, value in parameters.items()}))
            mlflow.log_params({name: value for name, value in flat.items() if len(str(value)) <= LONGEST})
            for name, files in outputs.items():
                report = REPORTS.get(name.rpartition(".")[2])
                told = report is not None and (report.tell or report.track)
                self._report(name, self.catalog.load(name) if told else None, files)
        if self.run.passed_over:
            mlflow.set_tag("made_before", ", ".join(node.name for node in self.run.passed_over))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tell and track what has been made and, now that it is on disk, keep its files."""
        self._report(dataset_name, data, written_files(self._path(dataset_name), data))

    def _report(self, dataset_name: str, data: Any, files: list[Path]) -> None:
        import mlflow

        experiment, _, kind = dataset_name.rpartition(".")
        report = REPORTS.get(kind)
        tracked = mlflow.active_run() is not None
        if kind == "checkpoint" and tracked and self.main in (None, experiment):
            name = "model" if self.main else experiment.replace(".", "_")
            log_model(self._path(dataset_name), name)
        if report is None:
            return
        if report.tell is not None:
            report.tell(data, self._path(dataset_name))
        if not tracked:
            return
        # Models that the run is not about have metrics and a folder of their name.
        model = experiment.partition(".")[0]
        beside = model if model in MODELS and experiment != self.main else None
        if report.track is not None:
            report.track(data, f"{beside}_" if beside else "")
        for file in files:
            mlflow.log_artifact(str(file), beside)

    def _path(self, dataset_name: str) -> Path:
        dataset: Any = self.catalog.get(dataset_name)
        return Path(dataset._filepath)


def _close_killed(folder: Path) -> None:
    """Close MLflow's runs whose process, known by its lock in the folder, was killed before it could do so."""
    import mlflow

    client = mlflow.MlflowClient()
    running = mlflow.search_runs(
        filter_string="attributes.status = 'RUNNING'", search_all_experiments=True, output_format="list"
    )
    for run in running:
        file = Path(run.data.tags.get(LOCK, ""))
        if file.parent == folder and not is_alive(file):
            client.set_terminated(run.info.run_id, "KILLED")


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value

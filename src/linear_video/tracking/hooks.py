"""During a run: what it is about is tagged, and what its nodes make is told and tracked in MLflow."""

from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from linear_video.common.commit import git_commit
from linear_video.experiments import main_experiment
from linear_video.io.figures import written_files
from linear_video.models.registry import MODELS
from linear_video.tracking.models import log_model
from linear_video.tracking.reports import REPORTS


class TrackingHooks:
    """Put tags, scores, training curves, files and models into the run that kedro-mlflow has opened."""

    def __init__(self) -> None:
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
        if mlflow.active_run() is None:
            return
        mlflow.set_tag("git_commit", git_commit())
        mlflow.set_experiment_tag("mlflow.experimentKind", "custom_model_development")  # what the UI shows first
        if self.main is None:
            return
        model, _, dataset = self.main.rpartition(".")
        tags = {"dataset": dataset} | ({"model": model} if model in MODELS else {})
        mlflow.set_tags({**tags, "mlflow.runName": f"{model} on {dataset}" if model else dataset})

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tell and track what has been made and, now that it is on disk, keep its files."""
        import mlflow

        experiment, _, kind = dataset_name.rpartition(".")
        report = REPORTS.get(kind)
        tracked = mlflow.active_run() is not None
        if kind == "checkpoint" and tracked and self.main in (None, experiment):
            name = "model" if self.main else experiment.replace(".", "_")
            log_model(self._path(dataset_name), name)
        if report is None:
            return
        path = self._path(dataset_name)
        if report.tell is not None:
            report.tell(data, path)
        if not tracked:
            return
        # Models that the run is not about have metrics and a folder of their name.
        model = experiment.partition(".")[0]
        beside = model if model in MODELS and experiment != self.main else None
        if report.track is not None:
            report.track(data, f"{beside}_" if beside else "")
        for file in written_files(path, data):
            mlflow.log_artifact(str(file), beside)

    def _path(self, dataset_name: str) -> Path:
        dataset: Any = self.catalog.get(dataset_name)
        return Path(dataset._filepath)

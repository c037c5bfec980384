"""What happens around a run: parameters are checked before it, results are tracked in MLflow after each node."""

import logging
import math
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from linear_video.commit import git_commit
from linear_video.errors import InputError, TrainingError

if TYPE_CHECKING:
    import pandas as pd
    from kedro.framework.context import KedroContext

logger = logging.getLogger(__name__)

ARTIFACTS = (
    "filmstrip",
    "horizon",
    "spectrum",
    "animation",
    "loop",
    "scores",
    "history",
    "sources",
    "summary",
    "contact_sheet",
    "table",
    "models",
    "markdown",
    "page",
    "results",
)
RESULTS = ("psnr", "last_frame_psnr", "spread", "alarms")  # of footage, that are tracked
SERVED_WITH = ("torch", "safetensors", "numpy", "scipy", "pandas", "opencv-python-headless", "mlflow")


class ParameterHooks:
    """Stop a run with unusable parameters before it starts, and show the user's own mistakes without a traceback."""

    @hook_impl
    def after_context_created(self, context: "KedroContext") -> None:
        """From here on, an error that the user can mend is shown as its message alone."""
        sys.excepthook = _show_error(sys.excepthook)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Check all parameters, used by this run or not: a misspelt name must not pass unseen."""
        from linear_video.parameters import check_parameters

        check_parameters(catalog.load("parameters"))


def _show_error(previous: Any) -> Any:
    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, InputError | TrainingError | DatasetError | OSError):
            print(f"\nError: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    return show


class TrackingHooks:
    """Put tags, scores, training curves and figures of experiments into the run that kedro-mlflow has opened."""

    def __init__(self) -> None:
        self.beside: set[str] = set()  # experiments that a run has for comparison

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Tag the run with its experiment and commit."""
        import mlflow

        if mlflow.active_run() is None:
            return
        mlflow.set_tag("git_commit", git_commit())
        mlflow.set_experiment_tag("mlflow.experimentKind", "custom_model_development")  # what the UI shows first
        namespaces = {node.namespace for node in pipeline.nodes if node.namespace}
        experiments = {namespace for namespace in namespaces if "." in namespace}
        # Beside another model, the linear system is for comparison.
        main = {name for name in experiments if not name.startswith("lds.")} or experiments
        self.beside = experiments - main
        if len(main) == 1:
            model, dataset = main.pop().split(".", 1)
            mlflow.set_tags({"model": model, "dataset": dataset, "mlflow.runName": f"{model} on {dataset}"})
        elif not experiments and len(namespaces) == 1:
            dataset = namespaces.pop()
            mlflow.set_tags({"dataset": dataset, "mlflow.runName": dataset})

    @hook_impl
    def after_node_run(self, node: Node, catalog: CatalogProtocol[Any, Any], outputs: dict[str, Any]) -> None:
        """Track what a node of an experiment has made, and tell its scores."""
        import mlflow

        tracked = mlflow.active_run() is not None
        for name, value in outputs.items():
            experiment, _, kind = name.rpartition(".")
            prefix = f"{experiment.partition('.')[0]}_" if experiment in self.beside else ""
            if kind == "scores" and "synthesis" in value:
                _tell_synthesis(value)
                if tracked:
                    _track_synthesis(value, prefix)
            elif kind == "scores":
                _tell_scores(value)
                if tracked:
                    _track_scores(value)
            elif kind == "history" and tracked:
                _track_history(value)
            elif name == "predict.results":
                _tell_results(value)
                if tracked:
                    _track_results(value)
            elif kind == "summary":
                _tell_summary(name.removesuffix(".summary"), value)
                if tracked:
                    _track_summary(value)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Keep the figures and tables, now on disk, as artifacts."""
        import mlflow

        if mlflow.active_run() is None:
            return
        for name in sorted(pipeline.all_outputs()):
            experiment, _, kind = name.rpartition(".")
            if kind == "checkpoint" and experiment not in self.beside:
                _log_model(catalog.get(name))
            path = getattr(catalog.get(name), "_filepath", None) if kind in ARTIFACTS else None
            if path is not None:
                mlflow.log_artifact(str(path), experiment.partition(".")[0] if experiment in self.beside else None)


def _tell_scores(scores: dict[str, Any]) -> None:
    last = scores["last_frame"]
    for frame in sorted({1, scores["horizon"]}):
        psnr, ssim, last_psnr, last_ssim = (row[k][frame - 1] for row in (scores, last) for k in ("psnr", "ssim"))
        logger.info(
            f"{scores['model']} on {scores['dataset']}, predicted frame {frame}: PSNR {psnr:.1f} dB, SSIM {ssim:.3f} "
            f"(last frame: {last_psnr:.1f} dB, {last_ssim:.3f})"
        )


def _tell_synthesis(scores: dict[str, Any]) -> None:
    values = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in scores["synthesis"].items())
    logger.info(f"{scores['model']} on {scores['dataset']}: {', '.join(values)}")


def _track_synthesis(scores: dict[str, Any], prefix: str) -> None:
    import mlflow

    numbers = {f"{prefix}{k}": v for k, v in scores["synthesis"].items() if isinstance(v, float) and math.isfinite(v)}
    mlflow.log_metrics(numbers)


def _track_scores(scores: dict[str, Any]) -> None:
    import mlflow

    for prefix, row in (("", scores), ("last_frame_", scores["last_frame"]), ("mean_frame_", scores["mean_frame"])):
        for metric in ("psnr", "ssim"):
            for frame, value in enumerate(row[metric], start=1):
                mlflow.log_metric(f"{prefix}{metric}", value, step=frame)
                if frame in (1, 5):
                    mlflow.log_metric(f"{prefix}{metric}_frame_{frame}", value)


def _tell_summary(dataset: str, summary: "pd.DataFrame") -> None:
    table = summary.to_string(index=False)
    logger.info(f"{dataset}:\n{table}\nSee data/08_reporting/{dataset}.")


def _track_summary(summary: "pd.DataFrame") -> None:
    import mlflow

    for row in summary.to_dict("records"):
        part = row.pop("part")
        mlflow.log_metrics({f"{part}_{name}": float(value) for name, value in row.items()})


def _log_model(checkpoint: Any) -> None:
    """Log a trained model so that MLflow serves it, and ``linear_video.load`` finds it: runs:/<run>/model."""
    import mlflow
    import numpy as np

    from linear_video import serving
    from linear_video.models.checkpoint import load_config

    channels, height, width = load_config(Path(checkpoint._filepath))["frame_shape"]
    example = np.zeros((10, height, width, channels), np.uint8)
    versions = [f"{name}=={version(name)}" for name in SERVED_WITH]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Add type hints.*")
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=serving.__file__,
            artifacts={"checkpoint": str(checkpoint._filepath)},
            signature=serving.SIGNATURE,
            input_example=example,
            pip_requirements=versions,
        )
    logger.info(f"The trained model is in MLflow: runs:/{logged.run_id}/model")


def _headline(row: dict[Any, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in RESULTS if name in row and math.isfinite(row[name])}


def _tell_results(results: "pd.DataFrame") -> None:
    for row in results.to_dict("records"):
        facts = "".join(f", {name} {value:.4g}" for name, value in _headline(row).items())
        logger.info(f"{row['task']} of {row['footage']}, {row['frames']} frames{facts}. See {row['folder']}.")


def _track_results(results: "pd.DataFrame") -> None:
    import mlflow

    for number, row in enumerate(results.to_dict("records")):
        mlflow.log_metrics(_headline(row), step=number)
        mlflow.log_artifacts(row["folder"], Path(row["folder"]).name)
        mlflow.set_tags({"task": row["task"], "model": row["model"], "mlflow.runName": f"{row['task']} of footage"})


def _track_history(history: "pd.DataFrame") -> None:
    import mlflow

    for row in history.to_dict("records"):
        values = {str(name): float(value) for name, value in row.items() if name != "step" and math.isfinite(value)}
        mlflow.log_metrics(values, step=int(row["step"]))

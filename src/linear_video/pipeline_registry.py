"""All pipelines by name: each dataset, each experiment ``<model>.<dataset>``, comparisons, downloads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from linear_video.experiments import (
    DEFAULT_PREDICTED,
    SYNTHESIS_REFERENCE,
    Datasets,
    Experiment,
    all_experiments,
    declared_datasets,
    default_experiment,
)
from linear_video.models.registry import MODELS
from linear_video.parameters import DOWNLOAD
from linear_video.pipelines.comparison import pipeline as comparison
from linear_video.pipelines.download import pipeline as download
from linear_video.pipelines.footage_task import pipeline as footage_task
from linear_video.pipelines.ingestion import pipeline as ingestion
from linear_video.pipelines.own_footage import pipeline as own_footage
from linear_video.pipelines.prediction import pipeline as prediction
from linear_video.pipelines.synthesis import pipeline as synthesis
from linear_video.pipelines.training import pipeline as training

OWN_FOOTAGE = "own_footage"  # the dataset of the pipeline footage

_parameters: Mapping[str, Any] | None = None


def use_parameters(parameters: Mapping[str, Any]) -> None:
    """Set the parameters that determine the pipelines: those of the session that is about to run."""
    global _parameters
    _parameters = parameters


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines for ``kedro run --pipelines``; an experiment includes making its dataset."""
    parameters = _parameters if _parameters is not None else _default_parameters()
    datasets = declared_datasets(parameters)
    if parameters.get("shard") is not None:
        return _reading(datasets)
    pipelines = {
        name: ingestion.create_pipeline(name, lists_sources=kind.lists_sources, labels_anomalies=kind.labels_anomalies)
        for name, kind in datasets.items()
    }
    experiments = all_experiments(datasets)
    for experiment in experiments:
        kind = datasets[experiment.dataset]
        if kind.judge == "prediction":
            judged = prediction.create_pipeline(experiment, labels_anomalies=kind.labels_anomalies)
        else:
            judged = synthesis.create_pipeline(experiment)
        pipelines[experiment.name] = pipelines[experiment.dataset] + training.create_pipeline(experiment) + judged
    for model, dataset in experiments:
        beside = Experiment(SYNTHESIS_REFERENCE, dataset).name
        if datasets[dataset].judge != "prediction":
            pipelines[f"{model}.{dataset}"] += pipelines[beside]
    for model in MODELS:
        if (name := default_experiment(model).name) in pipelines:
            pipelines[model] = pipelines[name]
    for name, kind in datasets.items():
        if kind.judge == "prediction":
            models = [model for model, dataset in experiments if dataset == name]
            pipelines[f"compare.{name}"] = comparison.create_pipeline(name, models)
    pipelines |= {name: download.create_pipeline(name) for name in parameters if name.startswith(DOWNLOAD)}
    pipelines["predict"] = footage_task.create_pipeline()
    trained = f"ile.{OWN_FOOTAGE}"
    if (parameters.get("footage") or {}).get("model"):
        pipelines["footage"] = own_footage.create_pipeline(None)
    elif trained in pipelines:
        pipelines["footage"] = (
            pipelines[OWN_FOOTAGE]
            + training.create_pipeline(Experiment("ile", OWN_FOOTAGE))
            + own_footage.create_pipeline(f"{trained}.checkpoint")
        )
    for name, of in (("compare", f"compare.{DEFAULT_PREDICTED}"), ("__default__", "ile")):
        if of in pipelines:
            pipelines[name] = pipelines[of]
    return pipelines


def _reading(datasets: Datasets) -> dict[str, Pipeline]:
    """What the commands of datasets and experiments do where only a part of the recordings is to be read: no more."""
    pipelines = {name: ingestion.create_shard_pipeline(name) for name, kind in datasets.items() if kind.in_shards}
    experiments = [one for one in all_experiments(datasets) if one.dataset in pipelines]
    return pipelines | {one.name: pipelines[one.dataset] for one in experiments}


def _default_parameters() -> Mapping[str, Any]:
    """Parameters of the environment that a command without a session uses."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=os.environ.get("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
    )
    found: Mapping[str, Any] = loader["parameters"]
    return found

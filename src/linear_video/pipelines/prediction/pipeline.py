"""Wiring of prediction and its evaluation: one template, used for each model and dataset."""

from kedro.pipeline import Pipeline, node

from linear_video.clips.base import SPLITS
from linear_video.experiments import Experiment
from linear_video.pipelines.bound import bound
from linear_video.pipelines.prediction.nodes import draw, evaluate, predict, watch


def create_pipeline(experiment: Experiment, *, labels_anomalies: bool) -> Pipeline:
    """Nodes ``<model>.<dataset>.predict``, ``evaluate`` and ``draw``; and ``watch`` where anomalies are labelled."""
    names = {"model_name": experiment.model, "dataset": experiment.dataset}
    settings, evaluation = f"params:{experiment.dataset}", f"params:evaluation.{experiment.dataset}"
    held_out = {name: name for name in ("validation_clips", "test_clips")} | {"evaluation": evaluation}
    watched = {"watched": "watched"} if labels_anomalies else {}
    nodes = [
        node(
            bound(predict, **names),
            inputs={"checkpoint": "checkpoint", "train_clips": "train_clips", **held_out},
            outputs=["predictions", "prediction_facts"],
            name="predict",
            tags="predict",
        ),
        node(
            bound(evaluate, **names),
            inputs={
                "predictions": "predictions",
                "prediction_facts": "prediction_facts",
                "train_clips": "train_clips",
                **held_out,
                **watched,
            },
            outputs="scores",
            name="evaluate",
            tags="evaluate",
        ),
        node(
            draw,
            inputs={
                "checkpoint": "checkpoint",
                "predictions": "predictions",
                "prediction_facts": "prediction_facts",
                "scores": "scores",
                "settings": settings,
                **held_out,
                **watched,
            },
            outputs=["figures", "page"],
            name="draw",
            tags="draw",
        ),
    ]
    clips = {f"{split}_clips": f"{experiment.dataset}.{split}_clips" for split in SPLITS}
    if labels_anomalies:
        clips["videos"] = f"{experiment.dataset}.videos"
        inputs = {"checkpoint": "checkpoint", "validation_clips": "validation_clips", "videos": "videos"}
        nodes.append(
            node(watch, inputs={**inputs, "evaluation": evaluation}, outputs="watched", name="watch", tags="predict")
        )
    return Pipeline(nodes, namespace=experiment.name, inputs=clips, parameters={settings, evaluation})

"""Wiring of prediction and its evaluation: one template, stamped out for each model and dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.clips.symbols import SPLITS
from linear_video.pipelines.prediction.nodes import draw, evaluate, predict


def create_pipeline(model: str, dataset: str) -> Pipeline:
    """Nodes ``<model>.<dataset>.predict``, ``evaluate`` and ``draw``."""
    clips = {f"{split}_clips": f"{dataset}.{split}_clips" for split in SPLITS}
    held_out = {name: name for name in ("validation_clips", "test_clips")} | {"evaluation": "params:evaluation"}
    nodes = [
        node(
            predict,
            inputs={"checkpoint": "checkpoint", **held_out},
            outputs="predictions",
            name="predict",
        ),
        node(
            update_wrapper(partial(evaluate, model_name=model, dataset=dataset), evaluate),
            inputs={
                "predictions": "predictions",
                "train_clips": "train_clips",
                **held_out,
            },
            outputs="scores",
            name="evaluate",
        ),
        node(
            draw,
            inputs={
                "checkpoint": "checkpoint",
                "predictions": "predictions",
                "scores": "scores",
                **held_out,
            },
            outputs=["filmstrip", "horizon", "spectrum", "animation"],
            name="draw",
        ),
    ]
    return Pipeline(nodes, namespace=f"{model}.{dataset}", inputs=clips, parameters={"params:evaluation"})

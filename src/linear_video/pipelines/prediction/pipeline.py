"""Wiring of prediction and its evaluation: one template, stamped out for each model and dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.clips.symbols import SPLITS
from linear_video.pipelines.prediction.nodes import draw, draw_spectrum, evaluate, predict

NOT_LINEAR = ("adversarial",)  # models without a spectrum


def create_pipeline(model: str, dataset: str) -> Pipeline:
    """Nodes ``<model>.<dataset>.predict``, ``evaluate``, ``draw`` and, of a linear model, ``draw_spectrum``."""
    clips = {f"{split}_clips": f"{dataset}.{split}_clips" for split in SPLITS}
    held_out = {name: name for name in ("validation_clips", "test_clips")} | {"evaluation": "params:evaluation"}
    nodes = [
        node(
            update_wrapper(partial(predict, model_name=model, dataset=dataset), predict),
            inputs={"checkpoint": "checkpoint", **held_out},
            outputs=["predictions", "prediction_facts"],
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
                "predictions": "predictions",
                "scores": "scores",
                **held_out,
            },
            outputs=["filmstrip", "horizon", "animation"],
            name="draw",
        ),
    ]
    if model not in NOT_LINEAR:
        nodes.append(node(draw_spectrum, inputs="checkpoint", outputs="spectrum", name="draw_spectrum"))
    return Pipeline(nodes, namespace=f"{model}.{dataset}", inputs=clips, parameters={"params:evaluation"})

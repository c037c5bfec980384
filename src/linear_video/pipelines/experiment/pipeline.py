"""Wiring of an experiment: one template, stamped out for each model and dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.experiment.nodes import draw, evaluate, predict, train


def create_pipeline(model: str, dataset: str) -> Pipeline:
    """Pipeline ``<model>.<dataset>``; its nodes are ``<model>.<dataset>.train`` and so on."""
    clips = {f"{split}_clips": f"{dataset}.{split}_clips" for split in ("train", "validation", "test")}
    nodes = [
        node(
            update_wrapper(partial(train, model_name=model), train),
            inputs={
                "train_clips": "train_clips",
                "validation_clips": "validation_clips",
                "model_settings": "params:model",
                "training_settings": "params:training",
                "seed": "params:seed",
                "training_state": "training_state",
            },
            outputs=["checkpoint", "history"],
            name="train",
        ),
        node(
            predict,
            inputs={"checkpoint": "checkpoint", "test_clips": "test_clips", "evaluation": "params:evaluation"},
            outputs="predictions",
            name="predict",
        ),
        node(
            update_wrapper(partial(evaluate, model_name=model, dataset=dataset), evaluate),
            inputs={
                "predictions": "predictions",
                "train_clips": "train_clips",
                "test_clips": "test_clips",
                "evaluation": "params:evaluation",
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
                "test_clips": "test_clips",
                "evaluation": "params:evaluation",
            },
            outputs=["filmstrip", "horizon", "spectrum", "animation"],
            name="draw",
        ),
    ]
    return Pipeline(
        nodes, namespace=f"{model}.{dataset}", inputs=clips, parameters={"params:seed", "params:evaluation"}
    )

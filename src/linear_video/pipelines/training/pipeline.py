"""Wiring of the training: one template, used for each model and dataset."""

from kedro.pipeline import Pipeline, node

from linear_video.experiments import Experiment
from linear_video.pipelines.bound import bound
from linear_video.pipelines.training.nodes import train


def create_pipeline(experiment: Experiment) -> Pipeline:
    """Node ``<model>.<dataset>.train``."""
    settings = f"params:{experiment.name}"
    made = node(
        bound(train, model_name=experiment.model),
        inputs={
            "train_clips": "train_clips",
            "validation_clips": "validation_clips",
            "settings": settings,
            "seed": "params:seed",
            "training_state": "training_state",
        },
        outputs=["checkpoint", "history"],
        name="train",
        tags="train",
    )
    clips = {f"{split}_clips": f"{experiment.dataset}.{split}_clips" for split in ("train", "validation")}
    return Pipeline([made], namespace=experiment.name, inputs=clips, parameters={settings, "params:seed"})

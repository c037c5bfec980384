"""Train, predict, evaluate, draw."""

from linear_video.pipelines.experiment.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""Train a model on a dataset."""

from linear_video.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]

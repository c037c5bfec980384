"""Predict, evaluate, draw."""

from linear_video.pipelines.prediction.pipeline import create_pipeline

__all__ = ["create_pipeline"]

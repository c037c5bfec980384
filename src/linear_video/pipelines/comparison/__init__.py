"""Compare all models of a dataset."""

from linear_video.pipelines.comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]

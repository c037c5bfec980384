"""Make the clips of a dataset, count and show them."""

from linear_video.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]

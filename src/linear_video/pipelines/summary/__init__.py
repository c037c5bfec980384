"""What came out of a dataset's ingestion."""

from linear_video.pipelines.summary.pipeline import create_pipeline

__all__ = ["create_pipeline"]

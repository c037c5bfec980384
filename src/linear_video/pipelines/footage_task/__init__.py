"""A trained model on footage of one's own."""

from linear_video.pipelines.footage_task.pipeline import create_pipeline

__all__ = ["create_pipeline"]

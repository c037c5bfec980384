"""Endless counting sequences of handwritten digits."""

from linear_video.pipelines.digit_cycles.pipeline import create_pipeline

__all__ = ["create_pipeline"]

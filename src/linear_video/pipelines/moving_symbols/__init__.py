"""Simulate Moving Symbols."""

from linear_video.pipelines.moving_symbols.pipeline import create_pipeline

__all__ = ["create_pipeline"]

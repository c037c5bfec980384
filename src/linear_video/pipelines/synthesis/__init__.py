"""Synthesise endless sequences, evaluate, draw."""

from linear_video.pipelines.synthesis.pipeline import create_pipeline

__all__ = ["create_pipeline"]

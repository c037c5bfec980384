"""Rotating objects: small NORB, COIL."""

from linear_video.pipelines.small_norb.pipeline import create_pipeline

__all__ = ["create_pipeline"]

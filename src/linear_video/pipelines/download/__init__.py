"""Fetch the files of a dataset that may be had openly."""

from linear_video.pipelines.download.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""Fetch MNIST."""

from linear_video.pipelines.download_mnist.pipeline import create_pipeline

__all__ = ["create_pipeline"]

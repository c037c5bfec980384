"""Read recordings and cut clips out of them: UCF Sports, UCLA textures, footage of one's own."""

from linear_video.pipelines.footage.pipeline import create_pipeline

__all__ = ["create_pipeline"]

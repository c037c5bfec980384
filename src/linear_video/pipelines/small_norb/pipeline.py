"""Wiring of the rotating objects."""

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.small_norb.nodes import rotate_objects


def create_pipeline() -> Pipeline:
    """One node: which configurations are held out concerns all splits."""
    nodes = [
        node(
            rotate_objects,
            inputs={"parameters": "params:small_norb", "folder": "frames_folder"},
            outputs=["train_clips", "validation_clips", "test_clips", "sources"],
            name="rotate",
        )
    ]
    return Pipeline(nodes, namespace="small_norb", parameters={"params:small_norb"})

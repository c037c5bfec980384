"""Wiring of a dataset that is read from recordings."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.footage.nodes import cut_clips, extract_recordings


def create_pipeline(dataset: str) -> Pipeline:
    """Two nodes, so that other clips can be cut without reading the recordings again."""
    nodes = [
        node(
            update_wrapper(partial(extract_recordings, dataset=dataset), extract_recordings),
            inputs={"parameters": f"params:{dataset}", "folder": "frames_folder"},
            outputs="recordings",
            name="extract",
        ),
        node(
            cut_clips,
            inputs={"recordings": "recordings", "folder": "frames_folder", "parameters": f"params:{dataset}"},
            outputs=["train_clips", "validation_clips", "test_clips", "sources"],
            name="cut",
        ),
    ]
    return Pipeline(nodes, namespace=dataset, parameters={f"params:{dataset}"})

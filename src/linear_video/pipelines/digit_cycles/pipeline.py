"""Wiring of the counting sequences."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.clips.symbols import SPLITS
from linear_video.pipelines.digit_cycles.nodes import count_split


def create_pipeline() -> Pipeline:
    """One node for each split, so that one can be made again alone."""
    nodes = [
        node(
            update_wrapper(partial(count_split, split=split), count_split),
            inputs={"parameters": "params:digit_cycles", "seed": "params:seed"},
            outputs=f"{split}_clips",
            name=f"count_{split}",
        )
        for split in SPLITS
    ]
    return Pipeline(nodes, namespace="digit_cycles", parameters={"params:digit_cycles", "params:seed"})

"""Wiring of the simulated dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.clips.symbols import SPLITS
from linear_video.pipelines.moving_symbols.nodes import simulate_split


def create_pipeline() -> Pipeline:
    """One node for each split, so that one can be made again alone."""
    nodes = [
        node(
            update_wrapper(partial(simulate_split, split=split), simulate_split),
            inputs={"parameters": "params:moving_symbols", "seed": "params:seed"},
            outputs=f"{split}_clips",
            name=f"simulate_{split}",
        )
        for split in SPLITS
    ]
    return Pipeline(nodes, namespace="moving_symbols", parameters={"params:moving_symbols", "params:seed"})

"""Wiring of the summary: one template, stamped out for each dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.summary.nodes import show, summarise


def create_pipeline(dataset: str, *, sources: bool) -> Pipeline:
    """Nodes ``<dataset>.summarise`` and ``<dataset>.show``; ``sources`` tells whether the dataset lists them."""
    splits = {"train": "train_clips", "validation": "validation_clips", "test": "test_clips"}
    nodes = [
        node(
            summarise, inputs=splits | ({"sources": "sources"} if sources else {}), outputs="summary", name="summarise"
        ),
        node(update_wrapper(partial(show, dataset=dataset), show), inputs=splits, outputs="contact_sheet", name="show"),
    ]
    return Pipeline(nodes, namespace=dataset)

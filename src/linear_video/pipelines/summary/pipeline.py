"""Wiring of the summary: one template, stamped out for each dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.summary.nodes import summarise


def create_pipeline(dataset: str, *, sources: bool) -> Pipeline:
    """Node ``<dataset>.summarise``; ``sources`` tells whether the dataset lists them."""
    inputs = {"train": "train_clips", "validation": "validation_clips", "test": "test_clips"}
    if sources:
        inputs["sources"] = "sources"
    function = update_wrapper(partial(summarise, dataset=dataset), summarise)
    return Pipeline(
        [node(function, inputs=inputs, outputs=["summary", "contact_sheet"], name="summarise")], namespace=dataset
    )

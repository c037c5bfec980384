"""Wiring of the comparison: it reads what the models have left on disk, and trains none."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.comparison.nodes import compare, report


def create_pipeline(dataset: str, models: list[str]) -> Pipeline:
    """Nodes ``comparison.<dataset>.compare`` and ``report``, for the models that have been run on the dataset."""
    held_out = {name: name for name in ("validation_clips", "test_clips")} | {"evaluation": "params:evaluation"}
    nodes = [
        node(
            update_wrapper(partial(compare, dataset=dataset, models=models), compare),
            inputs={"predictions": "predictions", "prediction_facts": "prediction_facts", **held_out},
            outputs=["table", "models"],
            name="compare",
        ),
        node(
            update_wrapper(partial(report, dataset=dataset, models=models), report),
            inputs={"scores": "table", "facts": "models", "predictions": "predictions", **held_out},
            outputs=["markdown", "page"],
            name="report",
        ),
    ]
    clips = {f"{split}_clips": f"{dataset}.{split}_clips" for split in ("validation", "test")}
    inputs = clips | {kind: f"comparison.{dataset}.{kind}" for kind in ("predictions", "prediction_facts")}
    return Pipeline(nodes, namespace=f"comparison.{dataset}", inputs=inputs, parameters={"params:evaluation"})

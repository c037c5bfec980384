"""Wiring of the comparison, which reads the models' predictions from disk, and trains no model."""

from kedro.pipeline import Pipeline, node

from linear_video.experiments import Experiment
from linear_video.pipelines.bound import bound
from linear_video.pipelines.comparison.nodes import compare, report


def create_pipeline(dataset: str, models: list[str]) -> Pipeline:
    """Nodes ``comparison.<dataset>.compare`` and ``report``, for the models that have been run on the dataset.

    The facts of every model are an input, so within one run the comparison comes after the models.
    """
    evaluation = f"params:evaluation.{dataset}"
    held_out = {name: name for name in ("validation_clips", "test_clips")} | {"evaluation": evaluation}
    facts = {model: f"{Experiment(model, dataset).name}.prediction_facts" for model in models}
    nodes = [
        node(
            bound(compare, dataset=dataset),
            inputs={"predictions": "predictions", **held_out, **facts},
            outputs=["table", "models"],
            name="compare",
            tags="compare",
        ),
        node(
            bound(report, dataset=dataset, models=models),
            inputs={"scores": "table", "facts": "models", "predictions": "predictions", **held_out},
            outputs=["markdown", "page"],
            name="report",
            tags="compare",
        ),
    ]
    clips = {f"{split}_clips": f"{dataset}.{split}_clips" for split in ("validation", "test")}
    inputs = {**clips, **{name: name for name in facts.values()}, "predictions": f"comparison.{dataset}.predictions"}
    return Pipeline(nodes, namespace=f"comparison.{dataset}", inputs=inputs, parameters={evaluation})

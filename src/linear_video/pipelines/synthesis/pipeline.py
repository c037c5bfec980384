"""Wiring of synthesis and its evaluation: one template, used for each model and dataset."""

from kedro.pipeline import Pipeline, node

from linear_video.clips.base import SPLITS
from linear_video.experiments import SYNTHESIS_REFERENCE, Experiment
from linear_video.pipelines.bound import bound
from linear_video.pipelines.synthesis import nodes


def create_pipeline(experiment: Experiment) -> Pipeline:
    """Nodes ``<model>.<dataset>.synthesise``, ``evaluate`` and ``draw``; a strip also shows the reference model."""
    names = {"model_name": experiment.model, "dataset": experiment.dataset}
    settings = f"params:{experiment.dataset}"
    evaluation, synthesis = (f"params:{group}.{experiment.dataset}" for group in ("evaluation", "synthesis"))
    held_out = {name: name for name in ("validation_clips", "test_clips")} | {"evaluation": evaluation}
    reference = Experiment(SYNTHESIS_REFERENCE, experiment.dataset)
    beside = {reference.model: f"{reference.name}.synthesised", "scores_beside": f"{reference.name}.scores"}
    beside = {} if experiment == reference else beside
    made = {"checkpoint": "checkpoint", "synthesised": "synthesised", "starts": "starts"}
    wired = [
        node(
            nodes.synthesise,
            inputs={"checkpoint": "checkpoint", **held_out, "synthesis": synthesis, "seed": "params:seed"},
            outputs=["synthesised", "starts"],
            name="synthesise",
            tags="predict",
        ),
        node(
            bound(nodes.evaluate, **names),
            inputs={
                **made,
                "train_clips": "train_clips",
                **held_out,
                "settings": settings,
                "seed": "params:seed",
            },
            outputs="scores",
            name="evaluate",
            tags="evaluate",
        ),
        node(
            nodes.draw,
            inputs={**made, "scores": "scores", **held_out, "settings": settings, "synthesis": synthesis, **beside},
            outputs=["figures", "page"],
            name="draw",
            tags="draw",
        ),
    ]
    clips = {f"{split}_clips": f"{experiment.dataset}.{split}_clips" for split in SPLITS}
    return Pipeline(
        wired,
        namespace=experiment.name,
        inputs={**clips, **{name: name for name in beside.values()}},
        parameters={settings, evaluation, synthesis, "params:seed"},
    )

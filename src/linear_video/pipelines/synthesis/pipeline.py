"""Wiring of synthesis and its evaluation: one template, stamped out for each model and dataset."""

from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.synthesis import nodes

HELD_OUT = {name: name for name in ("validation_clips", "test_clips")}
# What each dataset's scores are made from, beside the sequences.
SCORES: dict[str, tuple[Any, dict[str, str]]] = {
    "digit_cycles": (nodes.score_counting, {"cycles": "params:digit_cycles", "seed": "params:seed"}),
    "ucla_textures": (nodes.score_textures, HELD_OUT),
    "small_norb": (nodes.score_rotation, {"starts": "starts", **HELD_OUT}),
}


def create_pipeline(model: str, dataset: str) -> Pipeline:
    """Nodes ``<model>.<dataset>.synthesise``, ``evaluate`` and ``draw``; a strip shows the linear system too."""
    score, beside = SCORES[dataset]
    linear = "synthesised" if model == "lds" else f"lds.{dataset}.synthesised"
    wired = [
        node(
            nodes.synthesise,
            inputs={
                "checkpoint": "checkpoint",
                **HELD_OUT,
                "synthesis": "params:synthesis",
                "evaluation": "params:evaluation",
                "seed": "params:seed",
            },
            outputs=["synthesised", "starts"],
            name="synthesise",
        ),
        node(
            update_wrapper(partial(score, model_name=model, dataset=dataset), score),
            inputs={
                "checkpoint": "checkpoint",
                "synthesised": "synthesised",
                "evaluation": "params:evaluation",
                **beside,
            },
            outputs="scores",
            name="evaluate",
        ),
        node(
            update_wrapper(partial(nodes.draw, model_name=model, dataset=dataset), nodes.draw),
            inputs={
                "checkpoint": "checkpoint",
                "synthesised": "synthesised",
                "linear": linear,
                "starts": "starts",
                **HELD_OUT,
                "evaluation": "params:evaluation",
            },
            outputs=["filmstrip", "spectrum", "loop"],
            name="draw",
        ),
    ]
    parameters = {"params:seed", "params:evaluation"} | (
        {"params:digit_cycles"} if dataset == "digit_cycles" else set()
    )
    inputs = {name: f"{dataset}.{name}" for name in HELD_OUT} | ({linear: linear} if model != "lds" else {})
    return Pipeline(wired, namespace=f"{model}.{dataset}", inputs=inputs, parameters=parameters)

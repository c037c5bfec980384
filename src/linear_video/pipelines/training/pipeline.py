"""Wiring of the training: one template, stamped out for each model and dataset."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.training.nodes import fit_in_closed_form, train

CLOSED_FORM = ("lds",)  # models that need no training by steps


def create_pipeline(model: str, dataset: str) -> Pipeline:
    """Node ``<model>.<dataset>.train``."""
    clips = {f"{split}_clips": f"{dataset}.{split}_clips" for split in ("train", "validation")}
    if model in CLOSED_FORM:
        del clips["validation_clips"]
        made = node(
            update_wrapper(partial(fit_in_closed_form, model_name=model), fit_in_closed_form),
            inputs={"train_clips": "train_clips", "model_settings": "params:model"},
            outputs="checkpoint",
            name="train",
        )
        return Pipeline([made], namespace=f"{model}.{dataset}", inputs=clips)
    made = node(
        update_wrapper(partial(train, model_name=model), train),
        inputs={
            "train_clips": "train_clips",
            "validation_clips": "validation_clips",
            "model_settings": "params:model",
            "training_settings": "params:training",
            "seed": "params:seed",
            "training_state": "training_state",
        },
        outputs=["checkpoint", "history"],
        name="train",
    )
    return Pipeline([made], namespace=f"{model}.{dataset}", inputs=clips, parameters={"params:seed"})

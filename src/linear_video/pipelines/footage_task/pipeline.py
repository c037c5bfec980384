"""Wiring of a trained model on your own footage."""

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.bound import ALWAYS
from linear_video.pipelines.footage_task.nodes import run_task


def create_pipeline() -> Pipeline:
    """Node ``predict.run_task``."""
    done = node(
        run_task,
        inputs={"predict": "params:predict", "seed": "params:seed", "folder": "results_folder"},
        outputs="results",
        name="run_task",
        tags=["footage", ALWAYS],
    )
    return Pipeline([done], namespace="predict", parameters={"params:predict", "params:seed"})

"""Wiring of all tasks on one video."""

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.bound import ALWAYS
from linear_video.pipelines.own_footage.nodes import run_tasks, run_tasks_with, write_report


def create_pipeline(checkpoint: str | None) -> Pipeline:
    """Nodes ``footage.run_tasks`` and ``footage.write_report``, with this checkpoint, or the model in the settings."""
    given = {"footage": "params:footage", "seed": "params:seed", "folder": "results_folder"}
    own = {} if checkpoint is None else {"checkpoint": checkpoint}
    done = node(
        run_tasks if checkpoint is None else run_tasks_with,
        inputs={**own, **given},
        outputs="results",
        name="run_tasks",
        tags=["footage", ALWAYS],
    )
    told = node(
        write_report,
        inputs={"results": "results", "footage": "params:footage"},
        outputs="page",
        name="write_report",
        tags=["footage", ALWAYS],
    )
    return Pipeline(
        [done, told],
        namespace="footage",
        inputs=set() if checkpoint is None else {checkpoint},
        parameters={"params:footage", "params:seed"},
    )

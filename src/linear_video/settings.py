"""Settings of the Kedro project."""

import logging
import os

from linear_video.tracking.checking import ParameterHooks, ProjectContext, show_mistakes_without_trace
from linear_video.tracking.environments import ProjectConfigLoader
from linear_video.tracking.hooks import TrackingHooks
from linear_video.tracking.session import LEADS, RUN, ProjectSession

show_mistakes_without_trace()  # here, since Kedro reads this file before it reads any configuration

# Warnings about what is meant so (our experiments are called <model>.<dataset>, and checked parameters take the place
# of unchecked ones) or not ours (kedro-mlflow's own model class). Filters of the log, since kedro-mlflow's import
# overrides filters of warnings.
NOT_WORTH_A_WARNING = (
    "One or more dataset names contain '.'",
    "Replacing dataset 'params:",
    "Add type hints to the `predict` method",
    "SQLAlchemy database error",  # with a trace, before it is raised, and told by us
    "missing from font(s)",  # of names in other scripts
    "failed with error:",  # which is told at the end of the run
)
for name in ("py.warnings", "kedro.io.data_catalog", "kedro.pipeline.node", "mlflow.store.db.utils"):
    logging.getLogger(name).addFilter(
        lambda record: not any(text in record.getMessage() for text in NOT_WORTH_A_WARNING)
    )


def _without_markup(record: logging.LogRecord) -> bool:
    """Kedro's messages have colours within brackets; in others, brackets may belong to the name of a file."""
    if not record.name.startswith("kedro."):
        record.markup = False
    return True


for handler in logging.getLogger().handlers:
    handler.addFilter(_without_markup)

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # of two files

# What comes later is called earlier. Of those that want to be first, parameters are checked, then a run waits for
# others; kedro-mlflow's own hooks, which come in by their entry point, open MLflow's run then; at last it is tagged.
HOOKS = (RUN, ParameterHooks(), TrackingHooks(RUN))
SESSION_CLASS = ProjectSession

# Of the processes that torchrun starts, the first tracks.
DISABLE_HOOKS_FOR_PLUGINS = () if LEADS else ("kedro_mlflow",)

CONTEXT_CLASS = ProjectContext
CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment's file changes the parameters it names and leaves their siblings.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}

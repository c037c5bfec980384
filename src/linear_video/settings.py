"""Settings of the Kedro project."""

import logging
import os

import rich
from kedro.framework.project import LOGGING

from linear_video.tracking.checking import ParameterHooks, ProjectContext, show_mistakes_without_trace
from linear_video.tracking.environments import ProjectConfigLoader
from linear_video.tracking.hooks import TrackingHooks
from linear_video.tracking.session import LEADS, RUN, ProjectSession

# Outside a terminal, a message is one line. (This asks rich itself: FORCE_COLOR=1 keeps its log in a pipe, too.)
if "plain" in LOGGING.get("handlers", {}) and not rich.get_console().is_terminal:
    LOGGING.configure({**LOGGING, "root": {**LOGGING.get("root", {}), "handlers": ["plain"]}})

# Set here, since Kedro reads this file before any configuration; and after the log, which has a hook of its own.
show_mistakes_without_trace()

# These messages are about something intended (our experiments are called <model>.<dataset>, and checked parameters
# replace unchecked ones), or something that a user cannot change. The filters are on the log, since kedro-mlflow's
# import overrides filters of warnings, and since the other messages of these loggers are worth reading.
NOT_WORTH_SAYING = {
    "py.warnings": (
        "One or more dataset names contain '.'",
        "Add type hints to the `predict` method",
        "ORJSONResponse is deprecated",  # kedro-viz uses it
        "is made from a 'partial' function",  # the nodes of a ParallelRunner lose their name
        "missing from font(s)",  # for names in other scripts
    ),
    "kedro.io.data_catalog": ("Replacing dataset 'params:",),
    "kedro.pipeline.node": ("failed with error:",),  # shown at the end of the run
    "mlflow.store.db.utils": ("SQLAlchemy database error",),  # with a trace; we show it ourselves
    "kedro.runner.sequential_runner": ("Using synchronous mode",),
    "kedro.runner.parallel_runner": ("Using synchronous mode",),
    "kedro_viz.integrations.kedro.run_hooks": ("Workflow tracking is disabled",),
    "kedro_viz.integrations.kedro.hooks": ("Could not find a Kedro project",),  # when the wheel runs alone
    "kedro_viz.integrations.kedro.hooks_utils": ("No Kedro project found",),
    "kedro_viz.models.flowchart.nodes": ("Cannot find parameter",),  # filled in by defaults of the settings classes
    "kedro_mlflow.framework.hooks.mlflow_hook": ("Registering new custom resolver",),
}


def _worth_saying(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in NOT_WORTH_SAYING[record.name])


for name in NOT_WORTH_SAYING:
    logging.getLogger(name).addFilter(_worth_saying)


def _without_markup(record: logging.LogRecord) -> bool:
    """Kedro's messages have markup in brackets; in other messages, brackets may belong to the name of a file."""
    if not record.name.startswith("kedro."):
        record.markup = False
    return True


for handler in logging.getLogger().handlers:
    handler.addFilter(_without_markup)

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # of two files

# Later hooks are called earlier. Of those that want to be first, parameters are checked, then a run waits for others;
# then kedro-mlflow's own hooks, which are found by their entry point, open MLflow's run; last, the run is tagged.
HOOKS = (RUN, ParameterHooks(), TrackingHooks(RUN))
SESSION_CLASS = ProjectSession

# Of the processes that torchrun starts, only the first one tracks.
DISABLE_HOOKS_FOR_PLUGINS = () if LEADS else ("kedro_mlflow",)

CONTEXT_CLASS = ProjectContext
CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},  # as kedro-mlflow sets it later
    # An environment's file changes the parameters that it names and keeps their siblings.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}

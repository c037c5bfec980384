"""Before a run, check all parameters; then give the nodes the checked objects."""

import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline

from linear_video.common import storage
from linear_video.common.errors import InputError, TrainingError
from linear_video.pipeline_registry import use_parameters
from linear_video.tracking import room
from linear_video.tracking.names import check_names


class ProjectContext(KedroContext):
    """Kedro's context, with parameters exactly as in the files: ``check_parameters`` reads them."""

    @property
    def params(self) -> dict[str, Any]:
        """The tree of all parameters."""
        parameters: dict[str, Any] = self.config_loader["parameters"]
        return parameters


class ParameterHooks:
    """Stop a run with unusable parameters before it starts, and show the user's own mistakes without a traceback."""

    def __init__(self) -> None:
        self.checked: dict[str, Any] = {}  # what nodes get for each of their parameters

    @hook_impl(wrapper=True)
    def after_context_created(self, context: KedroContext) -> Iterator[None]:
        """Build the pipelines from the parameters, and check the names that the command asks for.

        After that, kedro-mlflow looks for its server or database.
        """
        use_parameters(context.params)
        command = click.get_current_context(silent=True)
        if command is not None:
            check_names(command.params, sharded=context.params.get("shard") is not None)
        try:
            yield
        except Exception as error:
            of_mlflow = type(error).__module__.startswith(("mlflow.", "sqlalchemy."))
            if isinstance(error, InputError) or not (isinstance(error, ImportError | OSError) or of_mlflow):
                raise
            message = " ".join(str(error).split())
            raise InputError(
                f"MLflow cannot be used ({message}). Look at server.mlflow_tracking_uri in mlflow.yml, and at the "
                "environment variable MLFLOW_TRACKING_URI."
            ) from error

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Check all parameters, whether this run uses them or not, so that a misspelt name is always noticed.

        The catalog gets the values with all defaults, which MLflow tracks.
        """
        from linear_video.parameters import check_parameters, plain

        self.checked = check_parameters(catalog.load("parameters")).by_name()
        for name, settings in self.checked.items():
            catalog[f"params:{name}"] = plain(settings)

    @hook_impl
    def before_node_run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Give the node the checked objects."""
        return {name: self.checked[name.removeprefix("params:")] for name in inputs if name.startswith("params:")}


def show_mistakes_without_trace() -> None:
    """From here on, show errors that the user can fix as their message alone."""
    if getattr(sys.excepthook, "__module__", "") != __name__:
        sys.excepthook = _show_error(sys.excepthook)


def _show_error(previous: Any) -> Any:
    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, InputError | TrainingError | DatasetError | OSError):
            print(f"\nError: {storage.with_urls(str(room.told(error) or error))}", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            print("\nInterrupted.", file=sys.stderr)
        elif (message := room.told(error)) is not None:
            print(f"\nError: {message}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    return show

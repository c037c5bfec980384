"""The project's own ``kedro run``: Kedro's, with a hint for a misspelt runner, and a message when it is interrupted."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import load_obj
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from linear_video.common.checks import hint

RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")
INTERRUPTED = 130  # exit status, as shells have it


@click.group(name="linear_video")
def cli() -> None:
    """Commands of this project."""


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def called(*arguments: Any, **options: Any) -> Any:
        _check_runner(options.get("runner"))
        try:
            return command(*arguments, **options)
        except (KeyboardInterrupt, SystemExit) as end:
            if not _comes_of_interrupt(end):
                raise
            print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from end

    return called


def _check_runner(name: str | None) -> None:
    try:
        load_obj(name or "SequentialRunner", "kedro.runner")
    except (AttributeError, ImportError, ValueError) as error:
        message = f"there is no runner called {name!r}; {hint(str(name), RUNNERS)}"
        raise click.BadParameter(message, param_hint="--runner") from error


def _comes_of_interrupt(end: BaseException | None) -> bool:
    """Whether an exception is Ctrl-C, or was raised because of it: Lightning exits."""
    return isinstance(end, KeyboardInterrupt) or (end is not None and _comes_of_interrupt(end.__context__))


class _Run(click.Command):
    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """As Kedro's, but a value of ``--params`` that is not YAML gets a message."""
        try:
            return super().parse_args(context, arguments)
        except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
            message = " ".join(str(error).split())
            raise click.BadParameter(f"a value cannot be read ({message}).", param_hint="--params") from error


run = _Run(
    kedro_run.name,
    callback=_interruptible(cast("Callable[..., Any]", kedro_run.callback)),
    params=kedro_run.params,
    help=kedro_run.help,
)
cli.add_command(run)

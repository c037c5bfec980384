"""The project's own ``kedro run``: Kedro's, which knows a misspelt runner, and says so when it is interrupted."""

import copy
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import load_obj

from linear_video.common.checks import hint

RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")
INTERRUPTED = 130  # exit status, as shells have it


@click.group(name="linear_video")
def cli() -> None:
    """Commands of this project."""


def _interruptible(command: Callable[..., Any] | None) -> Callable[..., Any]:
    assert command is not None  # Kedro's has one

    @wraps(command)
    def called(*arguments: Any, **options: Any) -> Any:
        _check_runner(options.get("runner"))
        try:
            return command(*arguments, **options)
        except (KeyboardInterrupt, SystemExit) as end:
            if not _comes_of_interrupt(end):
                raise
            print("\nInterrupted. The same command goes on.", file=sys.stderr)
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


run = copy.copy(kedro_run)
run.callback = _interruptible(kedro_run.callback)
cli.add_command(run)

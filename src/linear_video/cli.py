"""The project's own commands.

``kedro run`` is Kedro's, with a hint for a misspelt runner, and a message when it is interrupted. ``kedro sweep`` runs
a study.
"""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, cast

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import load_obj
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from linear_video.common.checks import hint
from linear_video.common.errors import InputError

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


def _assignments(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """What ``name=value`` says, with dots in names, and YAML as values."""
    for text in given:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} must be name=value, such as ile.symbols.training.steps=500.")
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.from_dotlist(list(given))))
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise click.BadParameter(f"a value cannot be read ({' '.join(str(error).split())}).") from error


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("parameters", nargs=-1, callback=_assignments)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials at once.")
@click.option("--folder", type=click.Path(path_type=Path), help="For results; data/sweeps/<study> by default.")
@click.option("--storage", help="Optuna's database, such as postgresql://...; a file in the folder by default.")
@click.option("--retry", is_flag=True, help="Run trials that failed once more.")
@_interruptible
def sweep(
    study: Path, parameters: dict[str, Any], workers: int, folder: Path | None, storage: str | None, retry: bool
) -> None:
    """Run a pipeline with many settings, as the file STUDY says.

    PARAMETERS, such as ile.symbols.training.steps=500, are for every trial. The same command goes on where a sweep has
    stopped, and joins one that is at work, also on another machine.
    """
    try:
        from linear_video.sweeps.command import Options, sweep
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError('kedro sweep needs Optuna: pip install "linear-video[sweeps]".') from error
    sweep(study, Options(workers, folder, storage, parameters, retry))

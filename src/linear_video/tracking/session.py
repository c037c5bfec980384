"""A run among others: it has its files to itself, passes over what is up to date, and ends as it says it did."""

import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click
from filelock import FileLock
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.session import KedroSession
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner, SequentialRunner

from linear_video.common import storage
from linear_video.io.folders import FolderDataset, StateFolderDataset
from linear_video.parameters import SystemMetrics
from linear_video.pipelines.bound import FIRST, SHARING
from linear_video.tracking.database import make_database, make_experiment
from linear_video.tracking.environments import data_folder
from linear_video.tracking.locks import FOLDER, Claims, RunLock
from linear_video.tracking.stamps import Stamps, files_of, place_of

logger = logging.getLogger(__name__)

STAMPS = ".stamps"  # folder in an environment's data

LEADS = not int(os.environ.get("RANK", 0))  # of the processes that torchrun starts; alone, if there are no others
TOGETHER = int(os.environ.get("WORLD_SIZE", 1)) > 1


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM); its exit status is what a shell says of that."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class RunHooks:
    """Before a run, wait for others and find out which nodes are up to date; after each node, stamp it.

    Attributes:
        lock: of the run at work; None if there is none, or another process of it has the lock.
        passed_over: nodes that are up to date, with the files of each of their outputs.
        left: by name, nodes that have to run and have not yet.
        children: ids of the MLflow runs below the run's own, which end with it.
        tags: of the MLflow run, over those that it is given otherwise.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()  # nodes may run in threads
        self.tags: dict[str, str] = {}
        self.end()

    def end(self) -> None:
        """Let others have everything."""
        if (lock := getattr(self, "lock", None)) is not None:
            lock.release()
        self.lock: RunLock | None = None
        self.skips = False  # whether the session's runner passes over nodes
        self.passed_over: dict[Node, dict[str, list[Path]]] = {}
        self.left: dict[str, Node] = {}
        self.children: list[str] = []
        self._stamps: Stamps | None = None
        self._made_of: dict[str, dict[str, Any] | None] = {}  # of nodes at work
        self._saved: dict[str, dict[str, list[Path] | None]] = {}  # by such a node, so far

    @hook_impl(wrapper=True)
    def after_context_created(self, context: KedroContext) -> Generator[None, Any, Any]:
        """Let one process at a time set up MLflow's database and experiment: the first two would hinder each other."""
        self.context = context
        with suppress(MissingConfigException):
            storage.use_credentials(context.config_loader["credentials"])
        if not LEADS:
            return (yield)
        (context.project_path / FOLDER).mkdir(exist_ok=True)
        with FileLock(context.project_path / FOLDER / "tracking.lock"):
            uri, experiment = _tracking(context)
            make_database(uri, context.project_path / "mlruns")
            make_experiment(uri, experiment)
            return (yield)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Claim what the run reads and writes, once no other run is in the way, and find out what is up to date."""
        if not LEADS:
            return
        project = Path(run_params["project_path"])
        data = data_folder(run_params["env"])
        if storage.is_url(data):
            storage.check(data)
        stamps = Stamps(project / storage.place(data) / STAMPS, catalog)
        lock = RunLock(project, typed_command() or self.tags.get("kedro_command") or "started from Python")
        self.lock, self._stamps, self._catalog = lock, stamps, catalog
        parameters: Any = catalog.get("parameters")
        everything = not self.skips or TOGETHER or parameters.load().get("fresh", False)
        named = {*(run_params["node_names"] or ()), *(run_params["from_nodes"] or ())}
        while True:
            lock.claim(_claims(pipeline.nodes, catalog, writing=False))
            stale = {node.name for node in pipeline.nodes} if everything else stamps.stale(pipeline, named)
            self.left = {node.name: node for node in pipeline.nodes if node.name in stale}
            claims = _claims(self.left.values(), catalog)
            if lock.claim(claims, wait=False):
                break
            lock.claim(claims)  # what is up to date may be another thing by then
        self.passed_over = {node: stamps.outputs(node) for node in pipeline.nodes if node.name not in stale}
        for node in self.passed_over:
            self._discard_states(node)
        self._tell(run_params["pipeline_names"] or ["__default__"])
        measure_system(parameters.load().get("system_metrics_every", SystemMetrics.system_metrics_every))

    def digest(self, path: Path) -> str:
        """SHA-256 of a file on this machine, which is read once; "" if there is none."""
        return "" if self._stamps is None else self._stamps.digest_here(path)

    def _tell(self, pipelines: list[str]) -> None:
        if self.left and self.passed_over:
            names = ", ".join(node.name for node in self.passed_over)
            logger.info("Up to date, and not run again (--params=fresh=true runs all): %s.", names)
        elif self.passed_over:
            logger.info("Everything is up to date, and nothing is run; --params=fresh=true runs it all the same.")
        if all(SHARING in node.tags for node in self.left.values()):  # nothing is made, or a part of something
            tracking: Any = self.context
            tracking.mlflow.tracking.disable_tracking.pipelines = pipelines

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note what the node's outputs will depend on."""
        if self._stamps is not None:
            self._made_of[node.name], self._saved[node.name] = self._stamps.made_of(node), {}

    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Once all outputs of a node are saved and tracked, stamp it, and let others have what is needed no more."""
        if self._stamps is None or self.lock is None:
            return
        saved = self._saved[node.name]
        saved[dataset_name] = files_of(self._catalog.get(dataset_name), data)
        if len(saved) < len(node.outputs):
            return
        made_of, files = self._made_of.pop(node.name), {name: paths for name, paths in saved.items() if paths}
        if made_of is not None and len(files) == len(saved):
            self._stamps.write(node, made_of, files)
        self._discard_states(node)
        with self._changing:
            del self.left[node.name]
            self.lock.claim(_claims(self.left.values(), self._catalog))

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Let others have everything, where a session of Kedro's own is used."""
        self.close_children("FINISHED")
        self.end()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Let others have everything, where a session of Kedro's own is used."""
        self.close_children("FAILED")
        self.end()

    def close_children(self, status: str) -> None:
        """End the MLflow runs below the run's own, each once."""
        import mlflow

        while self.children:
            mlflow.MlflowClient().set_terminated(self.children.pop(), status)

    def _discard_states(self, node: Node) -> None:
        for dataset in map(self._catalog.get, node.inputs):
            if isinstance(dataset, StateFolderDataset):
                dataset.discard()


RUN = RunHooks()


class PassesOver:
    """Part of a runner: nodes that are up to date do not run. What it returns is all there is, as before."""

    def run(self, pipeline: Pipeline, catalog: Any, *others: Any, **named: Any) -> dict[str, Any]:
        """Run those that are left, those that are tagged so before the others."""
        left = pipeline
        if RUN.passed_over:
            left = pipeline.filter(node_names=list(RUN.left)) if RUN.left else Pipeline([])
        runner: Any = super()
        first = left.only_nodes_with_tags(FIRST)
        parts = [part for part in (first, left - first) if part.nodes] or [left]
        for part in parts:
            runner.run(part, catalog, *others, **named)
        return {name: catalog[name] for name in pipeline.outputs()}


class ProjectSession(KedroSession):
    """Kedro's, whose runs pass over nodes that are up to date, and whose MLflow runs end as they did."""

    def run(
        self,
        pipeline_name: str | None = None,
        pipeline_names: list[str] | None = None,
        tags: Any = None,
        runner: AbstractRunner | None = None,
        *others: Any,
        **named: Any,
    ) -> dict[str, Any]:
        """Run pipelines; see Kedro's documentation.

        Raises:
            Terminated: if the process was asked to end; what was done so far stays.
        """
        runner = runner or SequentialRunner()
        kind = type(runner)
        passing: Any = object.__new__(type(kind.__name__, (PassesOver, kind), {"__module__": kind.__module__}))
        vars(passing).update(vars(runner))
        RUN.skips = True
        with asked_to_end(), _tracked_as_it_ends():
            return super().run(pipeline_name, pipeline_names, tags, passing, *others, **named)


@contextmanager
def _tracked_as_it_ends() -> Iterator[None]:
    """Close MLflow's run with what became of ours: FAILED after an error, KILLED if somebody ended it."""
    import mlflow

    elsewhere = mlflow.active_run() is not None  # somebody else has opened it, and closes it
    try:
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        RUN.close_children(status)
        while not elsewhere and mlflow.active_run() is not None:  # kedro-mlflow opens it once more for each node
            mlflow.end_run(status)
        if isinstance(error, Terminated):
            print("\nEnded by SIGTERM. The same command goes on where this one stopped.", file=sys.stderr)
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None  # Lightning's way of telling it
        raise
    finally:
        RUN.end()


@contextmanager
def asked_to_end() -> Iterator[None]:
    """Let SIGTERM end the process as an exception does; a second one ends it at once."""

    def end(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tracking(context: KedroContext) -> tuple[str, str]:
    """Address and experiment of MLflow; no address, if nothing is said of it."""
    from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig

    try:
        settings = KedroMlflowConfig.model_validate(context.config_loader["mlflow"])
    except MissingConfigException:  # kedro-mlflow does without
        return "", ""
    return settings.server.mlflow_tracking_uri or "", settings.tracking.experiment.name


def _claims(nodes: Iterable[Node], catalog: CatalogProtocol[Any, Any], *, writing: bool = True) -> Claims:
    """What nodes read and write, on this machine's disk; all of it to be read alone, if not for ``writing``.

    To claim a folder for reading keeps others from writing it alone: so do those that share it.
    """
    reads, writes = set[str](), set[str]()
    for node in nodes:
        for name in {*node.inputs, *node.outputs}:
            dataset: Any = catalog.get(name)
            if (place := place_of(dataset)) is not None:
                given = isinstance(dataset, FolderDataset) and SHARING not in node.tags
                written = given or name in node.outputs
                (writes if written and writing else reads).add(place)
    return Claims(frozenset(reads), frozenset(writes))


def measure_system(every: float | None) -> None:
    """Let the MLflow run that is opened next measure the machine, every so many seconds; None for not at all."""
    import mlflow

    if every is None:
        mlflow.disable_system_metrics_logging()
        return
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it tells that it starts and ends
    mlflow.set_system_metrics_sampling_interval(every)
    mlflow.enable_system_metrics_logging()


def typed_command() -> str | None:
    """The command that was typed; None where a run was started from Python."""
    return None if click.get_current_context(silent=True) is None else shlex.join(["kedro", *sys.argv[1:]])

"""During a run: what it is about is tagged, and what its nodes make is told and tracked in MLflow."""

import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from linear_video.common import storage
from linear_video.common.commit import git_commit
from linear_video.io.figures import written_files
from linear_video.models.registry import MODELS
from linear_video.tracking.locks import FOLDER, is_alive
from linear_video.tracking.models import LoggedModel, digest_of, find_model, log_model, register, registered_name
from linear_video.tracking.reports import OF_CLIPS, PICTURES, REPORTS, tables_in_markdown
from linear_video.tracking.runs import Clips, Measure, TrackedRun, kind_of, prefix, subjects, title
from linear_video.tracking.session import RunHooks, measure_system, typed_command

HOST = "host"  # tag of the machine's name
LOCK = "lock"  # tag of what tells whether the process is still there
TASKS = ("predict", "footage")  # namespaces of tasks on footage, and the parameters that say what they do
DIGEST = 12  # characters of the SHA-256 of clips, which MLflow shows beside the name
TAKEN_OVER = ("mlflow.user", "mlflow.source.name", "mlflow.source.type")  # tags of a run that those below it have, too


class TrackingHooks:
    """Put tags, scores, training curves, files and models into MLflow.

    What a command is about is tracked in the run that kedro-mlflow has opened. Where a command deals with further
    experiments, each of them has a run of its own below that one, with the same names of metrics.
    """

    def __init__(self, run: RunHooks) -> None:
        self.run = run
        self.parent: TrackedRun | None = None  # None if nothing is tracked
        self.children: dict[str, TrackedRun] = {}  # by experiment
        self.environment: str | None = None
        self.catalog: CatalogProtocol[Any, Any]

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Name and tag the run, and those below it."""
        import mlflow

        measure_system(None)  # of runs that are opened from here on
        self.catalog, self.environment = catalog, run_params["env"]
        self.parent, self.children = None, {}
        self._models: dict[str, LoggedModel | None] = {}  # by the digest of a checkpoint's config
        self._tables: dict[str, Any] = {}  # of scores, by experiment
        if self.run.lock is not None:
            close_killed(Path(run_params["project_path"]) / FOLDER, self.run.lock.ended)
        active = mlflow.active_run()
        if active is None:
            return
        mlflow.set_experiment_tag("mlflow.experimentKind", "custom_model_development")  # what the UI shows first
        names = [node.namespace for node in pipeline.nodes if node.namespace]
        main, others = subjects(names or [node.name for node in pipeline.nodes])
        tasks = {name: catalog.load(f"params:{name}") for name in TASKS if name in names}
        self.parent, self.experiment_id = TrackedRun(active.info.run_id, main), active.info.experiment_id
        self.parent.set_tags(self._tags(main, others, tasks) | self.run.tags)
        above = {name: value for name, value in active.data.tags.items() if name in TAKEN_OVER}
        for name in others:
            tags = {**above, **self._tags(name, [], {}), "mlflow.parentRunId": active.info.run_id}
            texts = {key: str(value) for key, value in tags.items()}
            run_id = mlflow.MlflowClient().create_run(self.experiment_id, tags=texts).info.run_id
            self.run.children.append(run_id)
            self.children[name] = TrackedRun(run_id, name)
        self._track_what_is_kept()

    def _tags(self, main: str | None, others: list[str], tasks: Mapping[str, Any]) -> dict[str, Any]:
        """What tells a run from others: its name, what it is about, the commit, the command, the process."""
        trains = any(f"{name}.train" in self.run.left for name in (main, *others))
        tags: dict[str, Any] = {
            "mlflow.runName": prefix(self.environment) + title(main, others, tasks, trains=trains),
            "kind": kind_of(main, others, tasks, trains=trains),
            "environment": self.environment or "base",
            "git_commit": git_commit(),
        }
        model, _, dataset = (main or "").rpartition(".")
        if dataset and not tasks:
            tags |= {"dataset": dataset} | ({"model": model} if model in MODELS else {})
        if self.run.lock is not None:
            tags |= {HOST: socket.gethostname(), "process": os.getpid(), LOCK: self.run.lock.file}
        if (command := typed_command()) is not None:
            tags["kedro_command"] = command
        return tags

    def _run_of(self, subject: str | None) -> TrackedRun | None:
        """The run in which an experiment or dataset is tracked; None if nothing is."""
        return self.children.get(subject or "", self.parent)

    def _track_what_is_kept(self) -> None:
        """Track what is up to date as if it were made now, so that MLflow has the whole of a run that goes on.

        By its stamp it is what this run would make, and no other run can change it meanwhile.
        """
        for node, outputs in self.run.passed_over.items():
            parameters = {name: self.catalog.load(name) for name in node.inputs if name.startswith("params:")}
            for run in {run for run in (self.parent, self._run_of(node.namespace)) if run is not None}:
                run.log_parameters(parameters)
            for name in node.inputs:
                if name.endswith("_clips"):
                    self._log_clips(node, name, self.catalog.load(name))
            for name, files in outputs.items():
                report = REPORTS.get(name.rpartition(".")[2])
                told = report is not None and (report.tell or report.measures or report.table)
                self._report(name, self.catalog.load(name) if told else None, files)
        if self.run.passed_over and self.parent is not None:
            self.parent.set_tags({"made_before": ", ".join(node.name for node in self.run.passed_over)})

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Log the parameters of a node whose experiment has a run of its own; kedro-mlflow logs them in the parent."""
        if (run := self.children.get(node.namespace or "")) is not None:
            run.log_parameters({name: value for name, value in inputs.items() if name.startswith("params:")})

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Log the clips that a node reads."""
        if dataset_name.endswith("_clips"):
            self._log_clips(node, dataset_name, data)

    def _log_clips(self, node: Node, dataset_name: str, clips: Any) -> None:
        if (run := self._run_of(node.namespace)) is not None:
            name, _, split = dataset_name.removesuffix("_clips").rpartition(".")
            run.log_clips(self._clips(name, split), split, clips, self._path(dataset_name))

    def _clips(self, dataset: str, split: str) -> Clips:
        """Which clips a dataset stands for now."""
        frames = self._path(f"{dataset}.{split}_clips") / "frames.npy"
        return Clips(dataset, self.run.digest(frames)[:DIGEST])

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tell and track what has been made and, now that it is on disk, keep its files."""
        self._report(dataset_name, data, written_files(self._path(dataset_name), data))

    def _report(self, dataset_name: str, data: Any, files: list[Path]) -> None:
        subject, _, kind = dataset_name.rpartition(".")
        report, run = REPORTS.get(kind), self._run_of(subject)
        if kind == "checkpoint" and run is not None:
            self._keep_model(subject, run)
        if report is None:
            return
        if report.tell is not None:
            report.tell(data, self._path(dataset_name))
        if run is None:
            return
        # A dataset that an experiment only uses has a folder there; its numbers are in the dataset's own run.
        used = kind in OF_CLIPS and run.subject != subject
        for file in files:
            storage.fetch_file(file)
            run.log_file(file, subject if used else None)
        if used:
            return
        if kind == "results":
            self._keep_results(data, run)
        if report.measures is not None:
            measures = list(report.measures(data))
            run.log_measures(measure for measure in measures if kind != "scores" or not _of_model(measure))
            if kind == "scores":
                run.log_measures(filter(_of_model, measures), *self._made_by(subject, data, run))
        if report.table is not None:
            self._describe(subject, report.table(data), run)
        for file in files:
            if file.name in PICTURES:
                run.describe(picture=file)

    def _keep_model(self, experiment: str, run: TrackedRun) -> None:
        """Log, measure and register a model, unless MLflow has it from the run that trained it."""
        from linear_video.models.checkpoint import load_config

        folder = self._path(f"{experiment}.checkpoint")
        storage.fetch_folder(folder)
        digest = digest_of(folder)
        if self._used_model(digest, run) is not None:
            return
        model = self._models[digest] = log_model(folder, run.run_id)
        score = load_config(folder).get("training", {}).get("ordinary", {}).get("mean_psnr")
        clips = self._clips(experiment.partition(".")[2], "validation")
        if score is not None:
            run.log_measures([Measure("evaluation/validation_psnr", score)], model.model_id, clips)
        tags = {"environment": self.environment or "base", "git_commit": git_commit()}
        register(model, registered_name(experiment, self.environment), score, clips.digest, tags)

    def _made_by(self, experiment: str, scores: Mapping[str, Any], run: TrackedRun) -> tuple[str | None, Clips]:
        """The logged model that scores are of, and the clips that it was measured on."""
        facts = {}
        if "psnr" in scores:  # the predictions may be older than the checkpoint that is there now
            facts = self.catalog.load(f"{experiment}.prediction_facts")
        digest = facts.get("checkpoint")
        if not digest:
            folder = self._path(f"{experiment}.checkpoint")
            storage.fetch_folder(folder)
            digest = digest_of(folder)
        return self._used_model(digest, run), self._clips(scores["dataset"], scores["held_out"])

    def _used_model(self, digest: str, run: TrackedRun) -> str | None:
        """Note in a run which model it uses; return its id, or None if MLflow does not have it."""
        if self._models.get(digest) is None:
            self._models[digest] = find_model(digest, self.experiment_id)
        model = self._models[digest]
        if model is None:
            return None
        run.log_used_model(model.model_id, model.run_id)
        return model.model_id

    def _keep_results(self, results: Any, run: TrackedRun) -> None:
        """Keep what became of footage, and say which task and model it was."""
        from linear_video.tasks.runner import PICTURE, read_facts

        several = len(set(results["task"])) > 1
        for folder, task in zip(map(storage.place, results["folder"]), results["task"], strict=True):
            storage.fetch_folder(folder)
            run.log_file(folder, f"{task}/{folder.parent.name}" if several else folder.parent.name)
            self._used_model(read_facts(folder).get("checkpoint", ""), run)
        run.set_tags({name: ", ".join(results[name].unique()) for name in ("task", "model", "footage")})
        run.describe(picture=storage.place(results["folder"].iloc[0]) / PICTURE)

    def _describe(self, subject: str, table: Any, run: TrackedRun) -> None:
        """Describe a run by its table, and the parent by those of all its experiments."""
        run.describe(tables_in_markdown({subject: table}))
        if subject.partition(".")[0] in MODELS and self.parent is not None:
            self._tables[subject] = table
            first = {name: t for name, t in self._tables.items() if name == self.parent.subject}
            self.parent.describe(tables_in_markdown({**first, **self._tables}))

    def _path(self, dataset_name: str) -> Path:
        dataset: Any = self.catalog.get(dataset_name)
        return Path(dataset._filepath)


def _of_model(measure: Measure) -> bool:
    """Whether a score is the model's own, and not that of a reference."""
    return measure.name.startswith("evaluation/")


def close_killed(folder: Path, ended: Collection[Path]) -> None:
    """Close MLflow's runs whose process, known by its lock in the folder, was killed before it could do so.

    Another machine may have a folder at the same path, and its runs in the same MLflow. Whether a process of another
    machine is still there can be told only by a lock file that lies here.
    """
    import mlflow

    client = mlflow.MlflowClient()
    running = mlflow.search_runs(
        filter_string="attributes.status = 'RUNNING'", search_all_experiments=True, output_format="list"
    )
    for run in running:
        file = Path(run.data.tags.get(LOCK, ""))
        here = run.data.tags.get(HOST) == socket.gethostname() or file in ended
        if here and file.parent == folder and not is_alive(file):
            client.set_terminated(run.info.run_id, "KILLED")

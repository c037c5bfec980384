"""One run in MLflow: its contents, its name and its description."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from linear_video.clips.base import ClipSet
from linear_video.common import storage
from linear_video.experiments import main_experiment
from linear_video.models.registry import MODELS
from linear_video.parameters import DOWNLOAD
from linear_video.tracking.environments import SHARED

LONGEST = 6000  # letters of a parameter's value
LONGEST_TITLE = 60  # letters; longer lists are replaced by a count
PICTURE_WIDTH = 800  # width in pixels of the picture in a description
CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}  # MLflow's names of the splits


class Measure(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int = 0


class Clips(NamedTuple):
    """Clips as recorded in MLflow: the name of their dataset and the SHA-256 of their frames."""

    name: str
    digest: str


class TrackedRun:
    """A run in MLflow, identified by its id, since nodes may run in threads, and several runs may be open at once.

    Attributes:
        subject: the experiment or dataset that the run is about; None if it is about several.
    """

    def __init__(self, run_id: str, subject: str | None) -> None:
        import mlflow

        self.client, self.run_id, self.subject = mlflow.MlflowClient(), run_id, subject
        self._table = self._picture = ""
        self._clips = set[tuple[str, str]]()  # clips that have been logged: dataset and split

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Log parameters ``params:<name>`` under names with dots; a value that is too long for MLflow is left out."""
        from mlflow.entities import Param

        flat = _flat({name.removeprefix("params:"): value for name, value in values.items()})
        params = [Param(name, str(value)) for name, value in flat if len(str(value)) <= LONGEST]
        for start in range(0, len(params), 100):  # the most that MLflow takes at once
            self.client.log_batch(self.run_id, params=params[start : start + 100])

    def log_measures(self, measures: Iterable[Measure], model_id: str | None = None, on: Clips | None = None) -> None:
        """Log metrics; they also belong to the logged model and the clips that they were measured on, if given."""
        from mlflow.entities import Metric

        now, of = round(1000 * time.time()), on or Clips("", "")
        metrics = [
            Metric(name, value, now, step, model_id, of.name or None, of.digest or None, self.run_id)
            for name, value, step in measures
        ]
        for start in range(0, len(metrics), 1000):  # the most that MLflow takes at once
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 1000])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or everything in a folder, as artifacts."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)

    def log_clips(self, known: Clips, split: str, clips: ClipSet, folder: Path) -> None:
        """Log the clips of a split as a dataset that the run has read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        if (known.name, split) in self._clips:
            return
        self._clips.add((known.name, split))
        count, frames, channels, height, width = clips.frames.shape
        features = [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, *clips.frames.shape[1:]]}}]
        schema = {"mlflow_tensorspec": {"features": json.dumps(features), "targets": None}}
        profile = {"clips": count, "frames": frames, "channels": channels, "height": height, "width": width}
        dataset = Dataset(
            known.name,
            known.digest,
            "local",
            json.dumps({"uri": storage.name_of(folder)}),
            json.dumps(schema),
            json.dumps(profile),
        )
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS[split])])]
        try:
            self.client.log_inputs(self.run_id, inputs)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            # MLflow has no place for two runs that name the same clips for the first time at once; the other run won.
            self.client.log_inputs(self.run_id, inputs)

    def log_used_model(self, model_id: str, trained_by: str) -> None:
        """Record which model made the run's results, and which run trained it."""
        from mlflow.entities import LoggedModelInput

        if trained_by != self.run_id:
            self.client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])
            self.set_tags({"trained_by": trained_by})

    def describe(self, table: str = "", picture: Path | None = None) -> None:
        """Write the run's description: a table in Markdown, and below it a picture that is among the artifacts."""
        if picture is not None:
            self._picture = self._keep_small(picture)
        self._table = table or self._table
        content = "\n\n".join(part for part in (self._table, self._picture) if part)
        self.client.set_tag(self.run_id, "mlflow.note.content", content)

    def _keep_small(self, picture: Path) -> str:
        """Keep a copy that fits the width of a description, since MLflow would cut it off; return it in Markdown."""
        from PIL import Image

        place = f"description/{picture.name}"
        with Image.open(picture) as image:
            shown = image.convert("RGB")
            shown.thumbnail((PICTURE_WIDTH, 10 * PICTURE_WIDTH))
        self.client.log_image(self.run_id, shown, artifact_file=place)
        return f"![{picture.stem}](get-artifact?path={place}&run_uuid={self.run_id})"  # a link within MLflow's page


def subjects(namespaces: Iterable[str]) -> tuple[str | None, list[str]]:
    """What a command is about, and what else it does that has its own run: experiments, or only datasets."""
    names = list(dict.fromkeys(namespaces))
    main = main_experiment(names)
    experiments = [name for name in names if name.partition(".")[0] in MODELS]
    several = experiments or (names if main is None else [])
    return main, [name for name in several if name != main]


def title(main: str | None, others: Sequence[str], settings: Mapping[str, Any], *, trains: bool) -> str:
    """The name of a run: ``ile on moving_symbols``, ``retime my.mp4 with ile.moving_symbols``.

    MLflow's table shows about twenty letters, so the part that distinguishes runs comes first.

    Args:
        main, others: the result of ``subjects``; ``others`` matter only if there is no ``main``.
        settings: parameters of tasks on footage, by the namespace of their nodes (``predict``, ``footage``).
        trains: whether a model is trained, not only evaluated again.
    """
    if (footage := settings.get("footage")) is not None:
        return f"footage {Path(str(footage['video'])).name}"
    if (task := settings.get("predict")) is not None:
        model = ".".join(part for part in Path(str(task["model"])).parts[-2:] if not part.endswith(":"))
        return f"{task['task']} {Path(str(task['video'])).name} with {model}"
    again = "" if trains else "evaluate "
    if main is None:
        return again * ("." in others[0]) + _title_of_several(others)
    model, _, dataset = main.rpartition(".")
    if model:
        return f"{again * (model in MODELS)}{model} on {dataset}"
    return main if main.startswith(DOWNLOAD) else f"clips of {main}"


def _title_of_several(names: Sequence[str]) -> str:
    by_dataset: dict[str, list[str]] = {}
    for name in names:
        model, _, dataset = name.rpartition(".")
        by_dataset.setdefault(dataset, []).append(model)
    if not all(all(models) for models in by_dataset.values()):
        told = f"clips of {', '.join(by_dataset)}"
        return told if len(told) <= LONGEST_TITLE else f"clips of {len(by_dataset)} datasets"
    told = "; ".join(f"{', '.join(models)} on {dataset}" for dataset, models in by_dataset.items())
    if len(told) <= LONGEST_TITLE:
        return told
    return f"{len(names)} models on {' and '.join(by_dataset)}" if len(by_dataset) < 3 else f"{len(names)} experiments"


def kind_of(main: str | None, others: Sequence[str], settings: Mapping[str, Any], *, trains: bool) -> str:
    """The value of the tag ``kind``, which tells runs apart in a column; the arguments are as in ``title``."""
    if settings:
        return "footage" if "footage" in settings else "task"
    name = main or next(iter(others), "")
    if name.partition(".")[0] in MODELS:
        return "training" if trains else "evaluation"
    if name.startswith(DOWNLOAD):
        return "download"
    if "." in name:
        return "comparison"
    return "dataset"


def prefix(environment: str | None) -> str:
    """The prefix of the names of an environment's runs, which tells them from others: "test: "."""
    return "" if environment in SHARED else f"{environment}: "


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value

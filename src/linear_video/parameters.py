"""The tree of all parameters: read strictly, with every mistake found before a run starts, and handed on as objects.

Settings of an experiment are layers, each over the one before: the defaults of the model's class, ``<model>.<kind>``
(the kind of the dataset), ``<model>.<dataset>``. Evaluation and synthesis have general settings, and those of
``evaluation.<dataset>`` over them.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple

from linear_video.clips.base import DatasetSettings
from linear_video.clips.registry import KINDS
from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.judges import JUDGES, SynthesisSettings
from linear_video.experiments import Experiment, all_experiments, declared_datasets
from linear_video.models.registry import MODELS, model_class
from linear_video.tasks.settings import PredictSettings
from linear_video.training.fit import TrainingSettings

DOWNLOAD = "download_"  # what the names of downloads start with

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class DownloadSettings:
    """Where files come from and go to: ``checksums`` gives each file's name and ``md5:`` or ``sha256:`` sum."""

    url: str
    folder: str
    checksums: dict[str, str]


@dataclass(frozen=True)
class Seed:
    """The one number that everything random follows from."""

    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be within [0, 2^31), not {self.seed}.")


class ExperimentSettings(NamedTuple):
    """Settings of one model on one dataset."""

    model: Any  # an instance of the model's ``settings_class``
    training: TrainingSettings | None  # None for a model that is not trained by steps


@dataclass(frozen=True)
class Parameters:
    """All parameters, checked.

    Attributes:
        seed: of everything random: clips, initial weights, noise.
        datasets: by name.
        evaluation, synthesis: of each dataset, what is predicted or synthesised, and scored.
        experiments: ``<model>.<dataset>``.
        predict: what a trained model does with footage of one's own.
        downloads: by name, with ``download_`` in front.
    """

    seed: int
    datasets: dict[str, DatasetSettings] = field(default_factory=dict)
    evaluation: dict[str, EvaluationSettings] = field(default_factory=dict)
    synthesis: dict[str, SynthesisSettings] = field(default_factory=dict)
    experiments: dict[str, ExperimentSettings] = field(default_factory=dict)
    predict: PredictSettings = field(default_factory=PredictSettings)
    downloads: dict[str, DownloadSettings] = field(default_factory=dict)

    def by_name(self) -> dict[str, Any]:
        """What nodes are given for each of their ``params:<name>``."""
        named = {"seed": self.seed, "predict": self.predict, **self.datasets, **self.downloads, **self.experiments}
        for group, members in (("evaluation", self.evaluation), ("synthesis", self.synthesis)):
            named |= {f"{group}.{dataset}": settings for dataset, settings in members.items()}
        return named


def plain(settings: Any) -> Any:
    """A parameter's object as it would stand in a file."""
    if isinstance(settings, ExperimentSettings):
        return {name: plain(value) for name, value in settings._asdict().items() if value is not None}
    return asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings


def merged(*layers: Any) -> Any:
    """Mappings entry by entry, each over the one before; anything else as a whole."""
    lower, *uppers = layers
    for upper in uppers:
        if isinstance(lower, Mapping) and isinstance(upper, Mapping):
            lower = {**lower, **{k: merged(lower[k], v) if k in lower else v for k, v in upper.items()}}
        else:
            lower = upper
    return lower


def experiment_values(parameters: Tree, experiment: Experiment) -> dict[str, Any]:
    """What the parameters say of an experiment, and the model's own training settings: ``model`` and ``training``."""
    kind = parameters[experiment.dataset]["kind"]
    from linear_video.models.base import TrainedBySteps

    of_model = parameters.get(experiment.model) or {}
    layers = [of_model.get(name) or {} for name in (kind, experiment.dataset)]
    found = model_class(experiment.model)
    own = {"training": found.training_defaults} if issubclass(found, TrainedBySteps) else {}
    values: dict[str, Any] = merged({"model": {}, **own}, *layers)
    return values


def check_parameters(parameters: Tree) -> Parameters:
    """Read the whole tree of parameters.

    Raises:
        InputError: naming every parameter that is unknown, missing, of a wrong type or out of range.
    """
    reading = _Reading(parameters)
    checked = reading.read()
    if reading.problems:
        raise InputError("Parameters cannot be used:\n" + "\n".join(f"  - {problem}" for problem in reading.problems))
    return checked


class _Reading:
    """One pass over the tree, which collects what is wrong."""

    def __init__(self, parameters: Tree) -> None:
        self.parameters, self.problems = parameters, list[str]()
        self.kinds = declared_datasets(parameters)
        self.experiments = all_experiments(self.kinds)

    def read(self) -> Parameters:
        self.names("", self.parameters, [*("seed", "evaluation", "synthesis", "predict"), *MODELS, *self.kinds])
        seed = self.settings(Seed, {k: v for k, v in self.parameters.items() if k == "seed"}, "")
        datasets = {
            name: self.settings(kind, {k: v for k, v in self.parameters[name].items() if k != "kind"}, name)
            for name, kind in self.kinds.items()
        }
        evaluation = self.by_dataset("evaluation", {name: EvaluationSettings() for name in self.kinds})
        judged = {name: JUDGES[kind.judge].defaults for name, kind in self.kinds.items() if kind.judge in JUDGES}
        synthesis = self.by_dataset("synthesis", judged)
        experiments = self.of_models()
        predict = self.settings(PredictSettings, self.parameters.get("predict", {}), "predict")
        downloads = {
            name: self.settings(DownloadSettings, values, name)
            for name, values in self.parameters.items()
            if name.startswith(DOWNLOAD)
        }
        if not self.problems:
            self.together(datasets, evaluation, experiments)
        return Parameters(getattr(seed, "seed", 0), datasets, evaluation, synthesis, experiments, predict, downloads)

    def settings(self, kind: type, values: Any, path: str, *, whole: bool = True) -> Any:
        """An object of a settings class; ``whole`` is False where its names have been looked at before."""
        if whole and isinstance(values, Mapping):
            self.names(path, values, [f.name for f in fields(kind)] if is_dataclass(kind) else [])
        found, problems = _read(kind, values, path)
        self.problems += problems
        return found

    def names(self, path: str, values: Any, known: list[str]) -> None:
        """Note what is no parameter."""
        prefix = f"{path}." if path else ""
        for name in values if isinstance(values, Mapping) else ():
            if name in known or (not path and name.startswith(DOWNLOAD)):
                continue
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}."
            if not path and not close and isinstance(values[name], Mapping):
                hint += f" A dataset of your own needs a kind: one of {', '.join(KINDS)}."
            self.problems.append(f"{prefix}{name} is no parameter; {hint}")

    def by_dataset(self, group: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of evaluation or synthesis of each dataset: defaults, general settings, those of the dataset."""
        values = self.parameters.get(group, {})
        kind = EvaluationSettings if group == "evaluation" else SynthesisSettings
        own = {name: values[name] for name in defaults if isinstance(values, Mapping) and name in values}
        if isinstance(values, Mapping):
            known = [f.name for f in fields(kind)]
            self.names(group, values, [*known, *defaults])
            for name, of_dataset in own.items():
                self.names(f"{group}.{name}", of_dataset, known)
            values = {name: value for name, value in values.items() if name not in defaults}
        before = len(self.problems)
        self.settings(kind, values, group, whole=False)  # so that a general mistake is told once
        if len(self.problems) > before:
            return {}
        return {
            name: self.settings(
                kind,
                merged(asdict(settings), values, own.get(name, {})),
                f"{group}.{name}" if name in own else group,
                whole=False,
            )
            for name, settings in defaults.items()
        }

    def of_models(self) -> dict[str, ExperimentSettings]:
        """Settings of every experiment, from the layers that there are."""
        found = {}
        for model in MODELS:
            of_model = self.parameters.get(model) or {}
            experiments = [experiment for experiment in self.experiments if experiment.model == model]
            self.names(model, of_model, [*KINDS, *(experiment.dataset for experiment in experiments)])
            before = len(self.problems)
            if not isinstance(of_model, Mapping):
                self.problems.append(f"{model} must name kinds of datasets, or datasets, not {of_model!r}.")
                continue
            for name, block in of_model.items():
                self.block(model, block, f"{model}.{name}")
            if len(self.problems) == before:
                for experiment in experiments:
                    found[experiment.name] = self.experiment(experiment)
        return found

    def block(self, model: str, block: Any, path: str) -> None:
        """What is wrong with the settings of a model for a kind or a dataset, told where they stand."""
        classes = _classes(model)
        if not isinstance(block, Mapping):
            self.problems.append(f"{path} must name {' and '.join(classes)}, not {block!r}.")
            return
        self.names(path, block, list(classes))
        for name, kind in classes.items():
            if name in block:
                self.settings(kind, block[name], f"{path}.{name}")

    def experiment(self, experiment: Experiment) -> ExperimentSettings:
        values = experiment_values(self.parameters, experiment)
        settings = {
            name: self.settings(kind, values[name], f"{experiment.name}.{name}", whole=False)
            for name, kind in _classes(experiment.model).items()
        }
        return ExperimentSettings(settings["model"], settings.get("training"))

    def together(
        self,
        datasets: Mapping[str, DatasetSettings],
        evaluation: Mapping[str, EvaluationSettings],
        experiments: Mapping[str, ExperimentSettings],
    ) -> None:
        """Note what would be found out only after the training otherwise."""
        for experiment in self.experiments:
            frames, judged = datasets[experiment.dataset].frames, evaluation[experiment.dataset]
            try:
                model_class(experiment.model).check_clips(experiments[experiment.name].model, frames)
            except ValueError as error:
                self.problems.append(f"{experiment.name}.model: {error}")
        for name, dataset in datasets.items():
            judged = evaluation[name]
            if dataset.judge == "prediction" and dataset.frames < judged.context + judged.horizon:
                self.problems.append(
                    f"evaluation.context + evaluation.horizon are {judged.context + judged.horizon} frames, but "
                    f"{name}.frames is {dataset.frames}; lower them, if for this dataset alone in evaluation.{name}."
                )


def _classes(model: str) -> dict[str, type]:
    """The settings classes of what may be said of a model on a dataset."""
    from linear_video.models.base import TrainedBySteps

    found = model_class(model)
    classes: dict[str, type] = {"model": found.settings_class}
    if issubclass(found, TrainedBySteps):
        classes["training"] = TrainingSettings
    return classes


def _read(kind: type, values: Any, path: str) -> tuple[Any, list[str]]:
    """An object of a settings class, and what is wrong with the values."""
    from pydantic import ValidationError

    try:
        # Strict: "15" is no number. JSON has no tuples, so that lists are fine.
        return _adapter(kind).validate_json(json.dumps(_over_defaults(kind, values), default=str), strict=True), []
    except ValidationError as error:
        return None, [_problem(detail, path) for detail in error.errors()]


def _over_defaults(kind: type, values: Any) -> Any:
    """Values in which mappings, such as the clips of each split, name only what differs from the default."""
    if not isinstance(values, Mapping):
        return values
    factories = {f.name: f.default_factory for f in fields(kind) if f.default_factory is not MISSING}
    defaults = {name: factories[name]() for name in factories.keys() & values.keys()}
    return {**values, **{name: merged(own, values[name]) for name, own in defaults.items() if isinstance(own, Mapping)}}


def _problem(detail: Any, path: str) -> str:
    """One line on what pydantic found."""
    name = ".".join(str(part) for part in ([path] if path else []) + list(detail["loc"])) or "parameters"
    if "error" in detail.get("ctx", {}):
        return f"{name}: {detail['ctx']['error']}"
    given = "" if detail["type"] == "missing" else f", not {detail['input']!r}"
    return f"{name}: {detail['msg']}{given}"


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)

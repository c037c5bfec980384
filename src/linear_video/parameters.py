"""The tree of all parameters, read strictly: every mistake is found before a run starts, and nodes get objects.

Settings of an experiment are layers, each over the one before: the defaults of the model's class, ``<model>.<kind>``
(the kind of the dataset), ``<model>.<dataset>``. Evaluation and synthesis have general settings, which
``evaluation.<dataset>`` overrides.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple

from linear_video.clips.base import DatasetSettings, Shard
from linear_video.clips.registry import KINDS
from linear_video.common.checks import check_within
from linear_video.common.errors import InputError, shown
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.judges import JUDGES, SynthesisSettings
from linear_video.experiments import Experiment, all_experiments, declared_datasets
from linear_video.models.registry import MODELS, model_class
from linear_video.tasks.settings import OwnFootageSettings, PredictSettings
from linear_video.training.fit import TrainingSettings

GENERAL = ("seed", "fresh", "shard", "system_metrics_every", "evaluation", "synthesis", "predict", "footage")
GREATEST = 2**31 - 1  # largest absolute value of a parameter
DOWNLOAD = "download_"  # names of downloads start with this

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class DownloadSettings:
    """Source and folder of a download: ``checksums`` gives each file's name and its ``md5:`` or ``sha256:`` sum."""

    url: str
    folder: str
    checksums: dict[str, str]


@dataclass(frozen=True)
class Seed:
    """The one number that determines everything random: clips, initial weights, noise."""

    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be within [0, 2^31), not {self.seed}.")


@dataclass(frozen=True)
class Rerun:
    """Whether nodes run although their outputs are up to date."""

    fresh: bool = False


@dataclass(frozen=True)
class Sharded:
    """Which part of a dataset's recordings this run reads, and nothing else: ``i/n``; None for an ordinary run."""

    shard: str | None = None

    def __post_init__(self) -> None:
        if self.shard is not None:
            Shard.parse(self.shard)


@dataclass(frozen=True)
class SystemMetrics:
    """Seconds between measurements of the use of processor, memory and GPU, for MLflow; None for no measurements."""

    system_metrics_every: float | None = 5.0

    def __post_init__(self) -> None:
        check_within(self, "[1, inf)", "system_metrics_every")


class ExperimentSettings(NamedTuple):
    """Settings of one model on one dataset."""

    model: Any  # an instance of the model's ``settings_class``
    training: TrainingSettings | None  # None for a model that is not trained by steps


@dataclass(frozen=True)
class Parameters:
    """All parameters, checked.

    Attributes:
        random: the seed.
        sharded: which part of the recordings is read, if only one.
        datasets: settings of each dataset, by name.
        evaluation: for each dataset, what is predicted and scored.
        synthesis: for each dataset, what is synthesised and scored.
        experiments: settings of each experiment, by name: ``<model>.<dataset>``.
        predict: what a trained model does with the user's footage.
        footage: what is done with one video, all tasks together.
        downloads: settings of each download, by name, which starts with ``download_``.
    """

    random: Seed
    sharded: Sharded
    datasets: dict[str, DatasetSettings]
    evaluation: dict[str, EvaluationSettings]
    synthesis: dict[str, SynthesisSettings]
    experiments: dict[str, ExperimentSettings]
    predict: PredictSettings
    footage: OwnFootageSettings
    downloads: dict[str, DownloadSettings]

    def by_name(self) -> dict[str, Any]:
        """The object that a node gets for each of its inputs ``params:<name>``."""
        named: dict[str, Any] = {
            "seed": self.random.seed,
            "predict": self.predict,
            "footage": self.footage,
            **self.datasets,
            **self.downloads,
            **self.experiments,
        }
        if self.sharded.shard is not None:
            named["shard"] = self.sharded.shard
        for group, members in (("evaluation", self.evaluation), ("synthesis", self.synthesis)):
            named |= {f"{group}.{dataset}": settings for dataset, settings in members.items()}
        return named


def plain(settings: Any) -> Any:
    """A parameter's object as plain values, as in a file."""
    if isinstance(settings, ExperimentSettings):
        return {name: plain(value) for name, value in settings._asdict().items() if value is not None}
    return asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings


def merged(*layers: Any) -> Any:
    """Merge values, each over the one before: mappings entry by entry, and anything else as a whole."""
    lower, *uppers = layers
    for upper in uppers:
        if isinstance(lower, Mapping) and isinstance(upper, Mapping):
            lower = {**lower, **{k: merged(lower[k], v) if k in lower else v for k, v in upper.items()}}
        else:
            lower = upper
    return lower


def experiment_values(parameters: Tree, experiment: Experiment) -> dict[str, Any]:
    """The parameters of an experiment, over the model's own training settings: ``model`` and ``training``."""
    from linear_video.models.base import TrainedBySteps

    kind = parameters[experiment.dataset]["kind"]
    of_model = parameters.get(experiment.model) or {}
    layers = [of_model.get(name) or {} for name in (kind, experiment.dataset)]
    found = model_class(experiment.model)
    values: dict[str, Any] = merged({"model": {}}, *layers)
    if issubclass(found, TrainedBySteps):
        values = merged({"model": {}, "training": found.training_for(values["model"])}, values)
    return values


def check_parameters(parameters: Tree) -> Parameters:
    """Read the whole tree of parameters.

    Raises:
        InputError: naming every parameter that is unknown, missing, of a wrong type or out of range.
    """
    reading = _Reading(parameters)
    checked = reading.read()
    if reading.problems:
        problems = dict.fromkeys(reading.problems)  # a problem with all datasets of a kind is found once for each
        raise InputError("Parameters cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return checked


class _Reading:
    """One pass over the tree, which collects all problems."""

    def __init__(self, parameters: Tree) -> None:
        self.parameters, self.problems = parameters, list[str]()
        self.datasets = declared_datasets(parameters)
        self.experiments = all_experiments(self.datasets)

    def read(self) -> Parameters:
        self.names("", self.parameters, [*GENERAL, *MODELS, *self.datasets])
        for kind in (Rerun, SystemMetrics):
            names = [one.name for one in fields(kind)]
            self.settings(kind, {name: self.parameters[name] for name in names if name in self.parameters}, "")
        judges = {name: JUDGES[kind.judge].defaults for name, kind in self.datasets.items() if kind.judge in JUDGES}
        checked = Parameters(
            self.settings(Seed, {"seed": self.parameters.get("seed", 0)}, ""),
            self.settings(Sharded, {"shard": self.parameters.get("shard")}, ""),
            {
                name: self.settings(kind, {k: v for k, v in self.parameters[name].items() if k != "kind"}, name)
                for name, kind in self.datasets.items()
            },
            self.of_datasets("evaluation", EvaluationSettings, {name: EvaluationSettings() for name in self.datasets}),
            self.of_datasets("synthesis", SynthesisSettings, judges),
            self.of_experiments(),
            self.settings(PredictSettings, self.parameters.get("predict", {}), "predict"),
            self.settings(OwnFootageSettings, self.parameters.get("footage", {}), "footage"),
            {
                name: self.settings(DownloadSettings, values, name)
                for name, values in self.parameters.items()
                if name.startswith(DOWNLOAD)
            },
        )
        self.check_of_synthesis(judges)
        if not self.problems:
            self.check_together(checked)
        return checked

    def names(self, path: str, values: Any, known: Iterable[str]) -> None:
        """Note names that are not parameters."""
        prefix, names = f"{path}." if path else "", list(known)
        for name in values if isinstance(values, Mapping) else ():
            if name in names or (not path and name.startswith(DOWNLOAD)):
                continue
            close = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(names)}."
            if not path and not close and isinstance(values[name], Mapping):
                hint += f" A dataset of your own needs a kind: one of {', '.join(KINDS)}."
            self.problems.append(f"{prefix}{shown(name)} is not a parameter; {hint}")

    def settings(self, kind: type, values: Any, path: str) -> Any:
        """An object of a settings class from ``values``, whose names are checked."""
        self.names(path, values, [f.name for f in fields(kind)])
        return self.values(kind, values, path)

    def values(self, kind: type, values: Any, path: str) -> Any:
        """An object of a settings class from values whose names have been checked already."""
        found, problems = _read(kind, values, path)
        self.problems += problems
        return found

    def of_datasets(self, group: str, kind: type, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of each dataset: its defaults, the general settings, then those of this dataset."""
        given = self.parameters.get(group, {})
        if not isinstance(given, Mapping):
            return {"": self.values(kind, given, group)}
        self.names(group, given, [*(f.name for f in fields(kind)), *defaults])
        general = {name: value for name, value in given.items() if name not in defaults}
        before = len(self.problems)
        if general:
            self.values(kind, merged(asdict(next(iter(defaults.values()), kind())), general), group)
        if len(self.problems) > before:  # general settings: once is enough
            return {}
        found = {}
        for name, settings in defaults.items():
            own = given.get(name, {})
            self.names(f"{group}.{name}", own, [f.name for f in fields(kind)])
            place = f"{group}.{name}" if name in given else group
            found[name] = self.values(kind, merged(asdict(settings), general, own), place)
        return found

    def of_experiments(self) -> dict[str, ExperimentSettings]:
        """Settings of each experiment."""
        before = len(self.problems)
        for model in MODELS:
            datasets = [experiment.dataset for experiment in self.experiments if experiment.model == model]
            kinds = {self.parameters[dataset]["kind"]: None for dataset in datasets}
            self.blocks(model, self.parameters.get(model) or {}, [*kinds, *datasets], list(_classes(model)))
        if len(self.problems) > before:
            return {}
        return {experiment.name: self.of_experiment(experiment) for experiment in self.experiments}

    def blocks(self, path: str, values: Any, known: list[str], parts: list[str]) -> None:
        """Check the names in a model's block, down to ``parts``: its settings and those of its training."""
        if not isinstance(values, Mapping):
            self.problems.append(f"{path} must name some of {', '.join(known)}, not {shown(repr(values))}.")
            return
        self.names(path, values, known)
        for name, block in values.items():
            if known is not parts:
                self.blocks(f"{path}.{name}", block, parts, parts)
            elif name in parts:
                self.names(f"{path}.{name}", block, [f.name for f in fields(_classes(path.split(".")[0])[name])])

    def of_experiment(self, experiment: Experiment) -> ExperimentSettings:
        model, dataset = experiment
        values, given = experiment_values(self.parameters, experiment), self.parameters.get(model) or {}
        found = {}
        for part, kind in _classes(model).items():
            layers = (dataset, self.parameters[dataset]["kind"])
            place = next((layer for layer in layers if part in (given.get(layer) or {})), dataset)
            found[part] = self.values(kind, values[part], f"{model}.{place}.{part}")
        return ExperimentSettings(found["model"], found.get("training"))

    def check_of_synthesis(self, datasets: Iterable[str]) -> None:
        """Note settings of the evaluation that would have no effect, since models synthesise on these datasets."""
        given = self.parameters.get("evaluation", {})
        for dataset in datasets:
            own = given.get(dataset) if isinstance(given, Mapping) else None
            for name in own if isinstance(own, Mapping) else ():
                if name != "held_out" and name in (f.name for f in fields(EvaluationSettings)):
                    has = name in (f.name for f in fields(SynthesisSettings))
                    hint = f"set synthesis.{dataset}.{name} instead." if has else "only held_out counts there."
                    self.problems.append(
                        f"evaluation.{dataset}.{name} has no effect, since models synthesise on {dataset}; {hint}"
                    )

    def check_together(self, checked: Parameters) -> None:
        """Note contradictions that would otherwise be found only after the training."""
        for experiment in self.experiments:
            try:
                settings, dataset = checked.experiments[experiment.name], checked.datasets[experiment.dataset]
                model_class(experiment.model).check_clips(settings.model, dataset.frames)
            except ValueError as error:
                self.problems.append(f"{experiment.name}.model: {error}")
        for name, dataset in checked.datasets.items():
            wanted = checked.evaluation[name].context + checked.evaluation[name].horizon
            if dataset.judge == "prediction" and dataset.frames < wanted:
                self.problems.append(
                    f"evaluation.context + evaluation.horizon are {wanted} frames, but {name}.frames is "
                    f"{dataset.frames}; lower them, for this dataset alone in evaluation.{name}."
                )


def _classes(model: str) -> dict[str, type]:
    """The settings classes of the blocks that a model may have for a dataset."""
    from linear_video.models.base import TrainedBySteps

    found = model_class(model)
    classes: dict[str, type] = {"model": found.settings_class}
    if issubclass(found, TrainedBySteps):
        classes["training"] = TrainingSettings
    return classes


def _read(kind: type, values: Any, path: str) -> tuple[Any, list[str]]:
    """An object of a settings class, and the problems with the values."""
    from pydantic import ValidationError

    if beyond := [f"{path or 'parameters'}: {problem}" for problem in _beyond(values)]:
        return None, beyond
    try:
        # Strict: "15" is not a number. JSON has no tuples, so lists are accepted.
        return _adapter(kind).validate_json(json.dumps(_over_defaults(kind, values), default=str), strict=True), []
    except ValidationError as error:
        return None, [_problem(detail, path) for detail in error.errors()]


def _beyond(values: Any, name: str = "") -> Iterator[str]:
    """Problems with numbers that make no sense anywhere: NaN, infinity, and numbers that are far too large."""
    entries = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for part, value in entries:
        yield from _beyond(value, f"{name}.{part}" if name else str(part))
    if isinstance(values, int | float) and not abs(values) <= GREATEST:  # not true of NaN, either
        yield f"{name} must be a finite number of at most {GREATEST:,} in size, not {values!r:.40}.".strip()


def _over_defaults(kind: type, values: Any) -> Any:
    """Values in which mappings, such as the clips of each split, name only what differs from the default."""
    if not isinstance(values, Mapping):
        return values
    factories = {f.name: f.default_factory for f in fields(kind) if f.default_factory is not MISSING}
    defaults = {name: factories[name]() for name in factories.keys() & values.keys()}
    return {**values, **{name: merged(own, values[name]) for name, own in defaults.items() if isinstance(own, Mapping)}}


def _problem(detail: Any, path: str) -> str:
    """One line about a problem that pydantic found."""
    name = ".".join([path] * bool(path) + [shown(part) for part in detail["loc"]]) or "parameters"
    if "error" in detail.get("ctx", {}):
        return f"{name}: {shown(detail['ctx']['error'], 500)}"
    given = "" if detail["type"] == "missing" else f", not {shown(repr(detail['input']))}"
    return f"{name}: {detail['msg']}{given}"


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)

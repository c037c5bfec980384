"""A study: the file that says which experiment runs with which settings, and which of them is the best."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from yaml import YAMLError

from linear_video.common.errors import InputError, shown
from linear_video.parameters import merged
from linear_video.tracking.yaml_files import check_yaml

VAL_LOSS = "val_loss"  # the metric that is no score: the least validation loss of the training
MAY_CHANGE = {"cases", "columns", "seeds", "storage", "trials"}  # between two starts of the same sweep

Choice = bool | int | float | str | None | list[Any]


class Range(BaseModel):
    """Numbers that a parameter may have: whole ones if both ends are whole.

    Attributes:
        low, high: the ends, which belong to it.
        log: whether the logarithm is what is spread evenly.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if not self.low < self.high or (self.log and not self.low > 0):
            raise ValueError(f"low must be below high, and above 0 with log, not {self.low} and {self.high}")
        return self


Choices = Annotated[
    Annotated[list[Choice], Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(lambda given: "list" if isinstance(given, list) else "range"),
]


class Settings(NamedTuple):
    """What one trial runs with, apart from what all trials of the study share.

    Attributes:
        case: its name; "" in a study without cases.
        parameters: those of the case.
        values: of the parameters that are searched, by their names with dots.
        seed: None for the seed of the project.
    """

    case: str
    parameters: dict[str, Any]
    values: dict[str, Any]
    seed: int | None

    @property
    def key(self) -> str:
        """The same text for the same settings."""
        return json.dumps(self, sort_keys=True)

    @property
    def group(self) -> str:
        """The same text for settings that differ in their seed alone."""
        return json.dumps(self._replace(seed=None), sort_keys=True)

    @property
    def name(self) -> str:
        """What the trial's run in MLflow is called."""
        values = [f"{name.rpartition('.')[2]} {_short(value)}" for name, value in self.values.items()]
        seed = [] if self.seed is None else [f"seed {self.seed}"]
        return ", ".join([*filter(None, [self.case]), *values, *seed]) or "default"


class Study(BaseModel):
    """What the file of a study says.

    Attributes:
        pipelines: as for ``kedro run``; the first one's experiment is the one that is judged.
        metric: a number of its scores, such as ``psnr.0``; or ``val_loss``, the least validation loss.
        direction: whether the metric should be great or small.
        columns: further numbers of the scores, for the table.
        environment: of the project; None for the default one.
        parameters: for every trial.
        cases: sets of parameters by name; None stands for none.
        search: what each parameter may be, by its name with dots: a list, or a range.
        seeds: each setting runs with each; none for the seed of the project.
        sampler: ``"grid"`` runs all cases and lists, ``"tpe"`` searches. By default it searches if there are ranges.
        trials: settings that ``tpe`` tries.
        pruner: ``"median"`` ends a training whose validation loss is above the median of those before it.
        report: the study shows scores and chooses nothing, so that they may be of test clips.
        storage: URL of the database that Optuna uses; None for a file in the study's folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pipelines: str
    metric: str
    direction: Literal["maximize", "minimize"]
    columns: list[str] = []
    environment: str | None = None
    parameters: dict[str, Any] = {}
    cases: dict[str, dict[str, Any] | None] = {}
    search: dict[str, Choices] = {}
    seeds: list[int] = []
    sampler: Literal["grid", "tpe"] | None = None
    trials: int | None = Field(default=None, ge=1)
    pruner: Literal["median"] | None = None
    report: bool = False
    storage: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Study":
        grid = self.is_grid
        ranges = [name for name, choices in self.search.items() if isinstance(choices, Range)]
        problems = {
            "search: a list is empty": any(choices == [] for choices in self.search.values()),
            f"sampler grid runs lists alone, but {', '.join(ranges)} has a range; use tpe": grid and ranges,
            "trials is for tpe; grid runs all there is": grid and self.trials is not None,
            "sampler tpe needs trials, the number of settings that it tries": not grid and self.trials is None,
            "sampler tpe needs search, and takes no cases": not grid and (self.cases or not self.search),
            "seeds: one is there twice": len(set(self.seeds)) < len(self.seeds),
            "pruner compares trainings, which differ by their seeds: name one seed at most": self.pruner is not None
            and len(self.seeds) > 1,
            "a report chooses nothing: sampler must be grid, and pruner null": self.report
            and (not grid or self.pruner is not None),
        }
        found = [problem for problem, there in problems.items() if there]
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def is_grid(self) -> bool:
        """Whether all settings are known before anything runs."""
        searched = any(isinstance(choices, Range) for choices in self.search.values())
        return self.sampler == "grid" or (self.sampler is None and not searched)

    @property
    def names(self) -> list[str]:
        """Those of the pipelines."""
        return [name.strip() for name in self.pipelines.split(",")]

    @property
    def shown(self) -> list[str]:
        """Columns of the table: the metric, then what else is asked for."""
        return list(dict.fromkeys([self.metric, *self.columns]))

    @property
    def all_seeds(self) -> list[int | None]:
        """The seeds; None alone for that of the project."""
        return [*self.seeds] or [None]

    def grid(self) -> Iterator[Settings]:
        """All settings, seed by seed, so that a sweep that is not over yet has seen every case."""
        lists = [choices for choices in self.search.values() if isinstance(choices, list)]
        for seed in self.all_seeds:
            for case, parameters in (self.cases or {"": None}).items():
                for values in itertools.product(*lists):
                    yield Settings(case, parameters or {}, dict(zip(self.search, values, strict=True)), seed)

    def corners(self) -> Iterator[Settings]:
        """Settings to check before anything runs: the whole grid of one seed, or the ends of all that is searched."""
        if self.is_grid:
            yield from (settings for settings in self.grid() if settings.seed == self.all_seeds[0])
            return
        ends = {n: [c.low, c.high] if isinstance(c, Range) else list(c) for n, c in self.search.items()}
        for number in range(max(map(len, ends.values()))):
            values = {name: choices[min(number, len(choices) - 1)] for name, choices in ends.items()}
            yield Settings("", {}, values, self.all_seeds[0])

    def parameters_of(self, settings: Settings, further: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial changes in the parameters of the environment; ``further`` is said on the command line."""
        values = [_nested(name, value) for name, value in settings.values.items()]
        seed = {} if settings.seed is None else {"seed": settings.seed}
        tree: dict[str, Any] = merged(self.parameters, settings.parameters, *values, seed, further)
        return tree

    def identity(self, further: Mapping[str, Any]) -> str:
        """What must be the same whenever the sweep goes on."""
        return json.dumps([self.model_dump(exclude=MAY_CHANGE), further], sort_keys=True)


def read_study(path: Path) -> Study:
    """Read the file of a study.

    Raises:
        InputError: if it cannot be read, or naming all that is wrong in it.
    """
    check_yaml(path)
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as YAML: {' '.join(str(error).split())}; correct this file."
        ) from error
    try:
        return Study.model_validate(found)
    except ValidationError as error:
        problems = [f"  - {_problem(detail)}" for detail in error.errors()]
        raise InputError("\n".join([f"{path} is not a study that can be run:", *problems])) from error


def _problem(detail: Any) -> str:
    name = ".".join(shown(part) for part in detail["loc"])
    if "error" in detail.get("ctx", {}):
        return ": ".join(filter(None, [name, f"{detail['ctx']['error']}."]))
    given = "" if detail["type"] == "missing" else f", not {shown(repr(detail['input']))}"
    return f"{name}: {detail['msg']}{given}."


def _nested(name: str, value: Any) -> Any:
    """Mappings in mappings, as a name with dots stands for."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""Impossible numbers are refused for every numeric parameter; the fields are taken from the settings classes."""

import copy
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest

from linear_video.common.errors import InputError
from linear_video.parameters import ExperimentSettings, check_parameters
from linear_video.settings import CONFIG_LOADER_ARGS
from linear_video.tracking.environments import ProjectConfigLoader

ARGUMENTS: Any = CONFIG_LOADER_ARGS
BASE = ProjectConfigLoader(conf_source=str(Path(__file__).parents[1] / "conf"), env="base", **ARGUMENTS)["parameters"]
NEVER = (math.nan, math.inf, -math.inf, 1e308, 10**30, -(10**30))


class Number(NamedTuple):
    """A parameter that is a number, or holds some: its class, its place, and a value of it."""

    kind: type
    path: str
    value: Any


def is_numeric(hint: Any) -> bool:
    return hint in (int, float) or any(is_numeric(part) for part in get_args(hint))


def numbers() -> Iterator[Number]:
    """Every numeric field of every class of settings, once for each class."""
    seen = set()
    for name, settings in check_parameters(BASE).by_name().items():
        parts = settings._asdict() if isinstance(settings, ExperimentSettings) else {"": settings}
        for part, value in parts.items():
            if not is_dataclass(value) or type(value) in seen:
                continue
            seen.add(type(value))
            hints = get_type_hints(type(value))
            for field in fields(value):
                if is_numeric(hints[field.name]):
                    path = ".".join(filter(None, (name, part, field.name)))
                    yield Number(type(value), path, getattr(value, field.name))


NUMBERS = [*numbers(), Number(int, "seed", 0)]


def with_number(number: Number, bad: Any) -> dict[str, Any]:
    """The parameters with a value in place of a number, or of the first number in a list or mapping."""
    value = number.value
    if isinstance(value, dict):
        given: Any = {next(iter(value), "something"): bad}
    elif isinstance(value, tuple | list):
        given = [bad, *value[1:]]
    else:
        given = bad
    result = copy.deepcopy(BASE)
    *above, name = number.path.split(".")
    place = result
    for part in above:
        place = place.setdefault(part, {})
    place[name] = given
    return result


def test_fields_of_every_kind_of_settings_are_found() -> None:
    kinds = {number.kind.__name__ for number in NUMBERS}
    assert {"TrainingSettings", "PredictSettings", "EvaluationSettings", "RotationSettings", "IleSettings"} <= kinds
    assert len(NUMBERS) > 100
    assert {"predict.missing", "moving_symbols.clips", "small_norb.test"} <= {number.path for number in NUMBERS}


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.path)
def test_no_number_beyond_measure_passes(number: Number) -> None:
    for bad in NEVER:
        with pytest.raises(InputError) as caught:
            check_parameters(with_number(number, bad))
        above, _, name = number.path.rpartition(".")
        (line,) = str(caught.value).splitlines()[1:]
        assert line.startswith(f"  - {above or 'parameters'}: {name}")
        assert " must be a finite number of at most 2,147,483,647 in size, not " in line


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.path)
def test_a_negative_number_passes_where_the_documentation_allows_it_alone(number: Number) -> None:
    name, problem = number.path.rpartition(".")[2], ""
    try:
        check_parameters(with_number(number, -1))
    except InputError as error:
        problem = str(error)
    texts = [base.__doc__ or "" for base in number.kind.__mro__]  # inherited settings are explained where they are from
    lines = [line for text in texts for line in text.splitlines() if line.strip().startswith(f"{name}:")]
    assert name in problem or any("negative" in line for line in lines), f"{number.path} may be -1; nothing says why"


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.path)
def test_true_is_no_number(number: Number) -> None:
    with pytest.raises(InputError) as caught:
        check_parameters(with_number(number, True))
    assert number.path in str(caught.value)

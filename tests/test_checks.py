"""Checks of settings: accepted values, and messages for the others."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from linear_video.common.checks import check_choice, check_least, check_literals, check_most, check_pair, check_within
from linear_video.common.errors import shown


@dataclass(frozen=True)
class Settings:
    count: int = 3
    limit: int | None = None
    share: float = 0.5
    span: tuple[float, float] = (0.0, 1.0)
    kind: Literal["near", "far", "none"] = "near"


def message(check: Any, *arguments: Any, **values: Any) -> str:
    """The message of a check on settings; empty if it accepts them."""
    try:
        check(Settings(**values), *arguments)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
        ("[0, 1)", [0, 1 - 1e-9], [1]),
        ("(0, 1]", [1e-9, 1], [0]),
        ("(0, 1)", [0.5], [0, 1]),
        ("[0.1, 10]", [0.1, 10], [0.09, 10.1]),
        ("(0, inf)", [1e300], [0, math.inf, -1]),
        ("(-inf, inf)", [-1e300, 0, 1e300], [-math.inf, math.inf]),
    ],
)
def test_intervals_are_as_they_are_written(interval: str, inside: list[float], outside: list[float]) -> None:
    assert not any(message(check_within, interval, "share", share=value) for value in inside)
    assert not any(message(check_pair, interval, "span", span=(value, value)) for value in inside)
    for value in (*outside, math.nan):
        assert message(check_within, interval, "share", share=value) == f"share must be within {interval}, not {value}."
        for span in ((value, inside[0]), (inside[-1], value)):
            assert message(check_pair, interval, "span", span=span).startswith("span must be [least, greatest] within")


def test_pairs_are_in_order() -> None:
    assert message(check_pair, "[0, 9]", "span", span=(2, 1)) == (
        "span must be [least, greatest] within [0, 9], not [2, 1]."
    )


def test_null_is_said_to_be_allowed_where_it_is() -> None:
    assert not message(check_least, 1, "count", "limit")
    assert message(check_least, 1, "count", "limit", count=0) == "count must be at least 1, not 0."
    assert message(check_least, 1, "count", "limit", limit=0) == "limit must be at least 1 or null, not 0."


def test_choices_are_named() -> None:
    assert not message(check_choice, (1, 3), "count")
    assert message(check_choice, (1, 3), "count", count=2) == "count must be 1 or 3, not 2."
    assert not message(check_literals)
    assert message(check_literals, kind="by") == "kind must be near, far or none, not 'by'."


def test_numbers_that_nothing_sensible_exceeds() -> None:
    assert message(check_most, 3, "count", "limit", count=3) == ""
    assert message(check_most, 3, "count", count=4) == "count must be at most 3, not 4."
    assert message(check_most, 3, "limit", limit=10**400).startswith("limit must be at most 3 or null, not 1000")


def test_what_was_given_is_shown_in_one_short_line() -> None:
    assert shown("a b") == "a b"
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 61) == "x" * 60 + "..."

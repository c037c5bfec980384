"""Checks that settings make of their own values. A ValueError names the setting, what is allowed, and what was given.

None passes every check, since the type already says whether it is allowed.
"""

import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints


def hint(name: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown name: the most similar known name, or a list of all known names."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(names) or 'none'}."


def check_least(settings: Any, least: int, *names: str) -> None:
    """Check that whole numbers are at least ``least``."""
    for name in names:
        value = getattr(settings, name)
        _require(settings, name, value is None or value >= least, f"at least {least}")


def check_most(settings: Any, most: int, *names: str) -> None:
    """Check that whole numbers are at most ``most``, a generous bound, so that a forged one cannot fill the memory."""
    for name in names:
        value = getattr(settings, name)
        _require(settings, name, value is None or value <= most, f"at most {most}")


def check_within(settings: Any, interval: str, *names: str) -> None:
    """Check that numbers lie in an interval, written as in ``"[0, 1)"`` or ``"(0, inf)"``."""
    for name in names:
        value = getattr(settings, name)
        _require(settings, name, value is None or _lies_within(value, interval), f"within {interval}")


def check_pair(settings: Any, interval: str, *names: str) -> None:
    """Check that pairs are (least, greatest), both in an interval."""
    for name in names:
        least, greatest = getattr(settings, name)
        fine = least <= greatest and _lies_within(least, interval) and _lies_within(greatest, interval)
        _require(settings, name, fine, f"[least, greatest] within {interval}")


def check_choice(settings: Any, choices: tuple[Any, ...], *names: str) -> None:
    """Check that values are among ``choices``."""
    for name in names:
        *others, last = (str(choice) for choice in choices)
        _require(settings, name, getattr(settings, name) in choices, f"{', '.join(others)} or {last}")


def check_literals(settings: Any) -> None:
    """Check that every field of a ``Literal`` type is among its choices."""
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            check_choice(settings, get_args(hint), name)


def _require(settings: Any, name: str, fine: bool, allowed: str) -> None:
    if not fine:
        value, hints = getattr(settings, name), get_type_hints(type(settings))
        given = repr(value) if isinstance(value, str) else list(value) if isinstance(value, tuple) else value
        null = " or null" if type(None) in get_args(hints[name]) else ""
        raise ValueError(f"{name} must be {allowed}{null}, not {given}.")


def _lies_within(value: float, interval: str) -> bool:
    least, greatest = (float(end) for end in interval[1:-1].split(","))
    above = least <= value if interval[0] == "[" else least < value
    return above and (value <= greatest if interval[-1] == "]" else value < greatest)

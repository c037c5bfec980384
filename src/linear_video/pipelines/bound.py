"""Functions as nodes of a template: with the arguments that a stamp gives."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

# Tags of nodes: those that run whatever has been made before, and those that run before all that have it not.
ALWAYS, FIRST = "always", "first"


def bound(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """The function with some of its arguments given, under its own name."""
    return update_wrapper(partial(function, **arguments), function)

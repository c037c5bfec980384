"""Functions as nodes of a template: with the arguments that a stamp gives."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

ALWAYS = "always"  # tag of nodes that run whatever has been made before


def bound(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """The function with some of its arguments given, under its own name."""
    return update_wrapper(partial(function, **arguments), function)

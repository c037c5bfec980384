"""Functions as nodes of a template: with the arguments that a stamp gives."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

# Tags of nodes: those that run whatever has been made before; those that run before all others; those that share the
# folder they are given with other runs.
ALWAYS, FIRST, SHARING = "always", "first", "sharing"


def bound(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """The function with some of its arguments given, under its own name."""
    return update_wrapper(partial(function, **arguments), function)

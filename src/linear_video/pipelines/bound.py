"""Functions as nodes of a template, with some arguments fixed by each use of the template."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

# Tags of nodes: ALWAYS runs even if its outputs exist, FIRST runs before all nodes without this tag, and SHARING shares
# its folder with other runs.
ALWAYS, FIRST, SHARING = "always", "first", "sharing"


def bound(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """The function with some of its arguments fixed, under its own name."""
    return update_wrapper(partial(function, **arguments), function)

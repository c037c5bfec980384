"""Check the names in a command: pipelines, nodes, tags, namespaces, datasets."""

from collections.abc import Iterable, Mapping
from typing import Any

from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from linear_video.common.checks import hint
from linear_video.common.errors import InputError


def check_names(options: Mapping[str, Any], *, sharded: bool = False) -> None:
    """Check every name in the options of ``kedro run``, before Kedro does.

    ``sharded`` says that only a part of the recordings is read, which few pipelines can do.

    Raises:
        InputError: if a name is unknown. The message names the option, the name, and a similar one.
    """
    old, new = options.get("pipeline"), options.get("pipelines")
    asked = [*([old] if isinstance(old, str) else []), *(new or [])]
    if sharded:
        asked = asked or ["__default__"]
        _check("--pipelines", "pipeline that can be read in shards (parameter shard)", asked, pipelines)
    _check("--pipelines", "pipeline", asked, pipelines)
    chosen = sum((pipelines[name] for name in asked or ["__default__"]), Pipeline([]))
    nodes = [node.name for node in chosen.nodes]
    of_pipelines = f"of {', '.join(asked) or 'the default pipeline'}"
    _check("--nodes", f"node {of_pipelines}", options.get("node_names"), nodes)
    _check("--from-nodes", f"node {of_pipelines}", options.get("from_nodes"), nodes)
    _check("--to-nodes", f"node {of_pipelines}", options.get("to_nodes"), nodes)
    _check("--tags", f"tag {of_pipelines}", options.get("tags"), {tag for node in chosen.nodes for tag in node.tags})
    _check("--from-inputs", f"dataset {of_pipelines}", options.get("from_inputs"), chosen.datasets())
    _check("--to-outputs", f"dataset {of_pipelines}", options.get("to_outputs"), chosen.datasets())
    namespaces = {prefix for node in chosen.nodes for prefix in node.namespace_prefixes}
    _check("--namespaces", f"namespace {of_pipelines}", options.get("namespaces"), namespaces)


def _check(option: str, kind: str, asked: Iterable[str] | None, known: Iterable[str]) -> None:
    names = sorted(known)
    for name in asked or ():
        if name not in names:
            raise InputError(f"{option}: there is no {kind} called {name!r}; {hint(name, names)}")

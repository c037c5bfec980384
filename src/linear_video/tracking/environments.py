"""Each environment of ``conf/`` has a folder of data of its own, so that none touches what another has made."""

from collections.abc import Callable
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf.resolvers import oc

SHARED = (None, "base", "local")  # environments that work in data/ itself


def data_folder(environment: str | None) -> str:
    """Where an environment keeps what it makes: ``data``, or a folder of its name in there."""
    return "data" if environment in SHARED else f"data/{environment}"


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's, which knows ``${data:}`` in catalog and parameters: the folder of the environment's data."""

    def __init__(self, conf_source: str, env: str | None = None, **arguments: Any) -> None:
        resolvers: dict[str, Callable[..., Any]] = {"oc.env": oc.env, "data": lambda: data_folder(env)}
        super().__init__(conf_source, env, custom_resolvers=resolvers, **arguments)

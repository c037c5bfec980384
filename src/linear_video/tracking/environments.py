"""Each environment of ``conf/`` has a folder of data of its own, so that none touches what another has made."""

from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

SHARED = (None, "base", "local")  # environments that work in data/ itself


def data_folder(environment: str | None) -> str:
    """Where an environment keeps what it makes: ``data``, or a folder of its name in there."""
    return "data" if environment in SHARED else f"data/{environment}"


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's, which knows ``${data:}`` in catalog and parameters: the folder of the environment's data."""

    def __init__(self, conf_source: str, env: str | None = None, **arguments: Any) -> None:
        super().__init__(conf_source, env, custom_resolvers={"oc.env": oc.env}, **arguments)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Read the configuration of a kind.

        Resolvers are global: a server and a notebook have several loaders, and the one that reads must be the one that
        is asked where data lie.
        """
        OmegaConf.register_new_resolver("data", lambda: data_folder(self.env), replace=True)
        found: dict[str, Any] = super().__getitem__(key)
        return found

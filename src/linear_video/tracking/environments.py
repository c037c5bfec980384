"""Each environment of ``conf/`` has a folder of data of its own, so that none touches what another has made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf.resolvers import oc

from linear_video.tracking.yaml_files import check_yaml

SHARED = (None, "base", "local")  # environments that work in data/ itself


def data_folder(environment: str | None) -> str:
    """Where an environment keeps what it makes: ``data``, or a folder of its name in there."""
    return "data" if environment in SHARED else f"data/{environment}"


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's, which knows ``${data:}`` in catalog and parameters: the folder of the environment's data."""

    def __init__(self, conf_source: str, env: str | None = None, **arguments: Any) -> None:
        resolvers: dict[str, Callable[..., Any]] = {"oc.env": oc.env, "data": lambda: data_folder(env)}
        self.looked_at = False
        super().__init__(conf_source, env, custom_resolvers=resolvers, **arguments)

    def __getitem__(self, key: str) -> Any:
        """Kedro's, after a look at all files that it may read.

        Raises:
            InputError: if one of them is no text, or would take much more memory than it has bytes.
        """
        # Globals are read before there is somebody to show a message.
        if key != "globals" and not self.looked_at and "://" not in str(self.conf_source):
            for environment in (self.base_env, self.env or self.default_run_env):
                for path in sorted((Path(self.conf_source) / environment).rglob("*.y*ml")):
                    check_yaml(path)
            self.looked_at = True
        return super().__getitem__(key)

"""Each environment of ``conf/`` has a folder of data of its own, so that none touches what another has made."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from pydantic import ValidationError
from yaml import MarkedYAMLError, YAMLError

from linear_video.common.checks import hint
from linear_video.common.errors import InputError
from linear_video.tracking.yaml_files import check_yaml

DATA = "LINEAR_VIDEO_DATA"  # environment variable
SHARED = (None, "base", "local")  # environments that work in data/ itself


def data_folder(environment: str | None) -> str:
    """Where an environment keeps what it makes, a path or a URL: ``data``, or a folder of its name in there.

    The environment variable ``LINEAR_VIDEO_DATA`` names another place than ``data``.
    """
    root = (os.environ.get(DATA) or "data").rstrip("/")
    return root if environment in SHARED else f"{root}/{environment}"


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's, which knows ``${data:}`` in catalog and parameters: the folder of the environment's data.

    Raises:
        InputError: if there is no such environment, or a file of it cannot be read, which is named with its line, or
            would take much more memory than it has bytes.
    """

    def __init__(self, conf_source: str, env: str | None = None, **arguments: Any) -> None:
        if "://" not in str(conf_source):
            _check_environment(Path(conf_source), env or arguments.get("default_run_env"))
            for name in (arguments.get("base_env"), env or arguments.get("default_run_env")):
                for path in sorted((Path(conf_source) / name).rglob("*.y*ml")) if name else ():
                    check_yaml(path)
        super().__init__(conf_source, env, custom_resolvers={"oc.env": oc.env}, **arguments)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Kedro's configuration of one kind (``parameters``, ``catalog``).

        Resolvers are global: a server and a notebook have several loaders, and the one that reads must be the one that
        is asked where data lie.
        """
        OmegaConf.register_new_resolver("data", lambda: data_folder(self.env), replace=True)
        try:
            found = super().__getitem__(key)
        except (MissingConfigException, InputError):  # many kinds of configuration need not be there
            raise
        except Exception as error:
            names = (self.base_env, self.env or self.default_run_env)
            problem = _first_problem(Path(self.conf_source) / name for name in names)
            if problem is None and isinstance(error, OmegaConfBaseException | ValueError):
                message = " ".join(str(error).split())
                problem = f"the {key} of {' and '.join(dict.fromkeys(names))} cannot be put together: {message}"
            if problem is None:
                raise
            raise InputError(problem) from error
        if key == "parameters" and (others := [name for name in found if not isinstance(name, str)]):
            raise InputError(
                f"names of parameters are text, but {others[0]!r} is not; correct it in {self.conf_source}."
            )
        if key == "mlflow":
            _check_tracking(found)
        return found


def _check_environment(conf: Path, env: str | None) -> None:
    known = sorted(path.name for path in conf.iterdir() if path.is_dir()) if conf.is_dir() else []
    if env is not None and known and env not in known:
        raise InputError(f"there is no environment {env!r}: {conf} has no folder of that name; {hint(env, known)}")


def _check_tracking(settings: dict[str, Any]) -> None:
    """What kedro-mlflow would find in ``mlflow.yml``."""
    from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig

    try:
        KedroMlflowConfig.model_validate(settings)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise InputError(f"mlflow.yml cannot be used: {'; '.join(problems)}.") from error


def _first_problem(folders: Iterable[Path]) -> str | None:
    """What is wrong with the first file of configuration that cannot be read; None if all can."""
    for folder in folders:
        for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml"), *folder.rglob("*.json")]):
            try:
                found = OmegaConf.load(path)
            except MarkedYAMLError as error:
                place = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
                return f"{path}{place}: {' '.join(filter(None, (error.context, error.problem)))}; correct this file."
            except (YAMLError, ValueError, RecursionError, OSError, OmegaConfBaseException) as error:
                return f"{path} cannot be read as YAML: {' '.join(str(error).split())}; correct this file."
            if not isinstance(found, DictConfig):
                return f"{path} must hold names and values (name: value), not a list; correct this file."
    return None

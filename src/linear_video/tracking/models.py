"""Every trained model is kept in MLflow and registered under its experiment's name. The best one is the champion."""

import logging
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from linear_video.tracking.environments import SHARED

logger = logging.getLogger(__name__)

SERVED_WITH = ("torch", "safetensors", "numpy", "scipy", "pandas", "opencv-python-headless", "mlflow")
CHAMPION = "champion"  # alias of the registered version with the best validation score
CHECKPOINT = "checkpoint"  # tag of a logged model: the digest of its checkpoint's config
SCORE, CLIPS = "validation_psnr", "validation_clips"  # tags of a version: in dB, and the digest of the clips


class LoggedModel(NamedTuple):
    """A model that MLflow keeps, and the run that trained it."""

    model_id: str
    run_id: str


def digest_of(folder: Path) -> str:
    """The digest that identifies a trained model; "" for checkpoints of earlier versions."""
    from linear_video.models.checkpoint import SIGNATURE, load_config

    return str(load_config(folder).get(SIGNATURE, ""))


def find_model(digest: str, experiment_id: str) -> LoggedModel | None:
    """The model with that digest among those of an experiment of MLflow; None if there is none."""
    import mlflow

    if not digest:
        return None
    found = mlflow.MlflowClient().search_logged_models(
        [experiment_id], filter_string=f"tags.{CHECKPOINT} = '{digest}'", max_results=1
    )
    return LoggedModel(found[0].model_id, str(found[0].source_run_id)) if found else None


def log_model(folder: Path, run_id: str) -> LoggedModel:
    """Log the model of a folder, so that ``linear_video.load`` finds it: ``runs:/<run>/model``."""
    import mlflow
    import numpy as np

    from linear_video.models.checkpoint import load_config
    from linear_video.tracking import serving

    channels, height, width = load_config(folder)["frame_shape"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Add type hints.*")
        logged = mlflow.models.Model.log(
            None,
            mlflow.pyfunc,
            run_id=run_id,
            name="model",
            tags={CHECKPOINT: digest_of(folder)},
            python_model=serving.__file__,
            artifacts={"checkpoint": str(folder)},
            signature=serving.SIGNATURE,
            input_example=np.zeros((10, height, width, channels), np.uint8),
            pip_requirements=[f"{package}=={version(package)}" for package in SERVED_WITH],
        )
    return LoggedModel(logged.model_id, run_id)


def registered_name(experiment: str, environment: str | None) -> str:
    """The name under which a model is registered: ``ile-moving_symbols``; each environment has its own names."""
    name = experiment.replace(".", "-")
    return name if environment in SHARED else f"{name}-{environment}"


def register(model: LoggedModel, name: str, score: float | None, clips: str, tags: Mapping[str, Any]) -> None:
    """Register a logged model as a new version, which becomes the champion if it is better than the previous champion.

    Scores are comparable only on the same validation clips. A champion with other clips therefore stays, and the log
    says how to replace it.

    Args:
        model: the result of ``log_model``.
        name: the result of ``registered_name``.
        score: PSNR in dB on the validation clips; None if it is not known.
        clips: digest of the validation clips.
        tags: tags of the version, beside those of score and clips.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another run, at the same time
                raise
    all_tags = {**tags, CLIPS: clips, **({} if score is None else {SCORE: f"{score:.6f}"})}
    version = client.create_model_version(
        name, f"models:/{model.model_id}", model.run_id, tags=all_tags, model_id=model.model_id
    ).version
    champion = _champion(client, name)
    told = f"The trained model is in MLflow: models:/{name}/{version}"
    if score is None:
        logger.info("%s.", told)
    elif champion is None or (champion.tags.get(CLIPS) == clips and score > float(champion.tags[SCORE])):
        crowned = _crown_best(client, name, clips, 0 if champion is None else int(champion.version))
        if crowned == int(version):
            logger.info("%s, the champion with a PSNR of %.2f dB on validation clips.", told, score)
        else:
            logger.info("%s; version %s, registered at the same time, is better and the champion.", told, crowned)
    elif champion.tags.get(CLIPS) == clips:
        best = float(champion.tags[SCORE])
        logger.info("%s; the champion stays version %s (%.2f, not %.2f dB).", told, champion.version, best, score)
    else:
        logger.info(
            "%s; the champion stays version %s, which was trained on other clips and is not comparable. To replace it: "
            "mlflow.MlflowClient().set_registered_model_alias(%r, %r, %s)",
            *(told, champion.version, name, CHAMPION, version),
        )


def _crown_best(client: Any, name: str, clips: str, since: int) -> int:
    """Make the best of the versions after ``since`` the champion, and return its number.

    Other machines may do the same at the same time. Each looks again after it has set the alias, so that the last one
    that sets it knows all the others.
    """
    crowned = 0
    while True:
        versions = [
            (float(found.tags[SCORE]), -int(found.version))  # of two that are equal, the first
            for found in client.search_model_versions(f"name = '{name}'")
            if int(found.version) > since and SCORE in found.tags and found.tags.get(CLIPS) == clips
        ]
        best = -max(versions)[1]
        if best == crowned:
            return best
        client.set_registered_model_alias(name, CHAMPION, str(best))
        crowned = best


def _champion(client: Any, name: str) -> Any:
    """The version with the alias; None if no version has it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # depends on the store
            raise
        return None

"""Find a trained model: in its folder, at a URL, or where MLflow keeps one."""

from pathlib import Path
from tempfile import TemporaryDirectory

from linear_video.common import storage
from linear_video.common.errors import InputError
from linear_video.common.files import recover
from linear_video.models.checkpoint import CONFIG, load_checkpoint, load_config
from linear_video.tasks.settings import Fit
from linear_video.tasks.trained import TrainedModel


def load_model(
    source: str | Path, fit: Fit = "auto", context: int = 10, device: str | None = None, method: str = "blend"
) -> TrainedModel:
    """Read a trained model from its folder, from a URL, or from where MLflow keeps one; see ``linear_video.load``."""
    if isinstance(source, str) and storage.is_url(source):
        return _load(_from_store(source), fit, context, device, method)
    if isinstance(source, str) and ":/" in source:
        with TemporaryDirectory(prefix="linear_video_") as place:
            return _load(_from_mlflow(source, place), fit, context, device, method)
    return _load(Path(source), fit, context, device, method)


def _load(folder: Path, fit: Fit, context: int, device: str | None, method: str) -> TrainedModel:
    recover(folder)
    if (folder / "MLmodel").is_file():  # the artifact of a model in MLflow that is our checkpoint
        folder = next((path.parent for path in folder.glob("artifacts/*/config.json")), folder)
    config = load_config(folder)
    return TrainedModel(load_checkpoint(folder, config), config, fit, context, device, method)


def _from_store(url: str) -> Path:
    """The copy on this machine; of a folder without a list of its files, which somebody has copied there, too."""
    folder = storage.place(url)
    if storage.names_in(folder) is None:
        storage.fetch_files(folder)
    else:
        storage.fetch_folder(folder)
    if not (folder / CONFIG).is_file() and not (folder / "MLmodel").is_file():
        raise InputError(f"{url} holds no trained model: there is no {CONFIG}; train one first, or name another URL.")
    return folder


def _from_mlflow(uri: str, place: str) -> Path:
    import mlflow

    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=place))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise InputError(f"{uri} cannot be loaded from MLflow ({error}).") from error

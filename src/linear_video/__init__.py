"""Video models whose latent state evolves linearly."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from linear_video.tasks.trained import TrainedModel

try:
    __version__ = version("linear-video")  # of pyproject.toml
except PackageNotFoundError:  # src is on the path, but not installed
    __version__ = "unknown"


def load(
    source: str | Path,
    fit: Literal["auto", "whole", "resize", "tile"] = "auto",
    context: int = 10,
    device: str | None = None,
    method: str = "blend",
) -> "TrainedModel":
    """Read a trained model, ready for footage.

    Args:
        source: folder of a trained model (``data/06_models/ile/moving_symbols``), its URL in a store
            (``s3://bucket/06_models/ile/moving_symbols``), or its address in MLflow
            (``runs:/<run>/model``, ``models:/<name>/1``, ``models:/ile-moving_symbols@champion``).
        fit: how the model sees frames that do not have its own size: ``"whole"``, if it takes any size; ``"resize"``,
            made larger or smaller; ``"tile"``, cut into tiles. ``"auto"`` is ``"whole"`` if possible, and ``"resize"``
            otherwise.
        context: number of frames that the model sees.
        device: a device as PyTorch names it; None for a GPU if there is one, and the CPU otherwise.
        method: how ``extrapolate``, ``fill_in``, ``retime`` and ``denoise`` guess: ``"blend"`` weights the model and
            the references by tests on the footage itself; ``"model"`` uses the model alone; the other methods use one
            of the references alone (see ``tasks.settings.METHODS``).

    Raises:
        InputError: if there is no model at this place, or if it is damaged or of another version. Nothing is ever
            unpickled.
    """
    from linear_video.tasks.loading import load_model

    return load_model(source, fit, context, device, method)

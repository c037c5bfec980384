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
        source: folder of a trained model (``data/06_models/ile/moving_symbols``), or where MLflow keeps one
            (``runs:/<run>/model``, ``models:/<name>/1``, ``models:/ile-moving_symbols@champion``).
        fit: what becomes of frames of another size than the model's: seen ``"whole"``, if the model can; ``"resize"``d,
            or cut into ``"tile"``s. ``"auto"`` is whole or resize.
        context: frames that the model sees.
        device: as PyTorch names it; None for a GPU if there is one.
        method: of extrapolate, fill_in, retime and denoise: ``"blend"`` of the model and of what anybody would guess,
            weighted by tests on the footage itself; ``"model"`` alone, or another one alone: see
            ``tasks.settings.METHODS``.

    Raises:
        InputError: if there is none, or it is damaged, or of another version. Nothing is ever unpickled.
    """
    from linear_video.tasks.loading import load_model

    return load_model(source, fit, context, device, method)

"""Video models whose latent state evolves linearly."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from linear_video.tasks.trained import TrainedModel

__version__ = "0.1.0"


def load(
    source: str | Path, fit: Literal["resize", "tile"] = "resize", context: int = 10, device: str | None = None
) -> "TrainedModel":
    """Read a trained model, ready for footage.

    Args:
        source: folder of a trained model (``data/06_models/ile/moving_symbols``), or where MLflow keeps one
            (``runs:/<run>/model``, ``models:/<name>/1``).
        fit: what becomes of frames of another size than the model's: ``"resize"``, or cut into ``"tile"``s.
        context: frames that the model sees.
        device: as PyTorch names it; None for a GPU if there is one.

    Raises:
        InputError: if there is none, or it is damaged, or of another version. Nothing is ever unpickled.
    """
    from linear_video.tasks.loading import load_model

    return load_model(source, fit, context, device)

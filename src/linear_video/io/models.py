"""Kedro dataset of trained models."""

import shutil
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from kedro.io import AbstractDataset

TRAINING_STATE = "training_state"  # folder beside a checkpoint


class Checkpoint(NamedTuple):
    """A trained model (``models.base.VideoModel``), and the config that makes it again (``registry.describe``)."""

    model: Any  # this file is imported by every command, PyTorch only where a model is used
    config: dict[str, Any]


class CheckpointDataset(AbstractDataset[Checkpoint, Checkpoint]):
    """A folder with ``model.safetensors`` and ``config.json``.

    Saving ends the training: the state it could have been resumed from, beside the checkpoint, is deleted then.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> Checkpoint:
        """Read a model that is ready to predict."""
        from linear_video.models.checkpoint import load_checkpoint, load_config

        folder = Path(self._filepath)
        return Checkpoint(load_checkpoint(folder), load_config(folder))

    def save(self, data: Checkpoint) -> None:
        """Write the model; end its training."""
        from linear_video.models.checkpoint import save_checkpoint

        folder = Path(self._filepath)
        save_checkpoint(folder, data.model, data.config)
        shutil.rmtree(folder / TRAINING_STATE, ignore_errors=True)

    def _exists(self) -> bool:
        return (Path(self._filepath) / "config.json").exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

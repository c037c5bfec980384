"""Kedro dataset of trained models."""

from typing import Any, NamedTuple

from linear_video.io.base import PathDataset


class Checkpoint(NamedTuple):
    """A trained model (``models.base.VideoModel``), and the config that makes it again (``registry.describe``)."""

    model: Any  # this file is imported by every command, PyTorch only where a model is used
    config: dict[str, Any]


class CheckpointDataset(PathDataset[Checkpoint, Checkpoint]):
    """A folder with ``model.safetensors`` and ``config.json``."""

    witness = "config.json"

    def load(self) -> Checkpoint:
        """Read a model that is ready to predict."""
        from linear_video.models.checkpoint import load_checkpoint, load_config

        self._fetch()
        config = load_config(self._filepath)
        return Checkpoint(load_checkpoint(self._filepath, config), config)

    def save(self, data: Checkpoint) -> None:
        """Write the model."""
        from linear_video.models.checkpoint import save_checkpoint

        save_checkpoint(self._filepath, data.model, data.config)
        self._put()

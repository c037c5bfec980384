"""Kedro dataset of a folder."""

from pathlib import Path

from kedro.io import DatasetError

from linear_video.common.files import recover
from linear_video.io.base import PathDataset


class FolderDataset(PathDataset[None, Path]):
    """A folder's path, for what writes files of its own there (a training's state)."""

    def load(self) -> Path:
        """Give the path."""
        recover(self._filepath.parent)  # a training's state lies in the folder of its model
        return self._filepath

    def save(self, data: None) -> None:
        """A folder is not saved."""
        raise DatasetError("a folder is handed out, not saved.")

    def _exists(self) -> bool:
        return True

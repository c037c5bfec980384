"""Kedro datasets of folders."""

import shutil
from pathlib import Path

from kedro.io import DatasetError

from linear_video.common.files import recover
from linear_video.io.base import PathDataset


class FolderDataset(PathDataset[None, Path]):
    """A folder's path, for what writes files of its own there."""

    def load(self) -> Path:
        """Give the path."""
        recover(self._filepath.parent)  # a training's state lies in the folder of its model
        return self._filepath

    def save(self, data: None) -> None:
        """A folder is not saved."""
        raise DatasetError("a folder is handed out, not saved.")

    def files(self) -> list[Path]:
        """None: whoever is given the folder knows what is still good in it."""
        return []

    def _exists(self) -> bool:
        return True


class StateFolderDataset(FolderDataset):
    """A folder for the state of work that may be interrupted; of no use once all that the work makes is saved."""

    def discard(self) -> None:
        """Delete it."""
        shutil.rmtree(self._filepath, ignore_errors=True)

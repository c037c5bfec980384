"""Kedro datasets of folders."""

import os
from pathlib import Path

from kedro.io import DatasetError

from linear_video.common import storage
from linear_video.common.files import recover
from linear_video.io.base import PathDataset


class FolderDataset(PathDataset[None, Path]):
    """A folder's path, for what writes files of its own there.

    Of a URL, whoever is given the place on this machine fetches from the store and puts into it.
    """

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
    """A folder for the state of work that may be interrupted; of no use once all that the work makes is saved.

    Whoever works there puts each file into the store when it has been written.
    """

    def load(self) -> Path:
        """Give the path, with what another machine may have left."""
        if not int(os.environ.get("RANK", 0)):  # the first of the processes that torchrun starts, or the only one
            storage.fetch_files(self._filepath)
        return super().load()

    def discard(self) -> None:
        """Delete it."""
        storage.remove(self._filepath)

"""Kedro dataset of a folder."""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset, DatasetError


class FolderDataset(AbstractDataset[None, Path]):
    """A folder's path, for what writes files of its own there (a training's state)."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Give the path."""
        return Path(self._filepath)

    def save(self, data: None) -> None:
        """A folder is not saved."""
        raise DatasetError("a folder is handed out, not saved.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

"""What Kedro datasets of a file or folder have in common."""

from pathlib import Path
from typing import Any, Generic, TypeVar

from kedro.io import AbstractDataset

from linear_video.common.files import recover

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class PathDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """Something at one path. Where that is a folder, it exists if it holds the file ``witness``."""

    witness = ""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath, self.metadata = Path(filepath), metadata

    def files(self) -> list[Path]:
        """The files that are there now; of a folder, those directly in it that are not hidden."""
        paths = self._filepath.glob("[!.]*") if self._filepath.is_dir() else [self._filepath]
        return sorted(path for path in paths if path.is_file())

    def _exists(self) -> bool:
        recover(self._filepath)
        return (self._filepath / self.witness).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

"""What Kedro datasets of a file or folder have in common."""

from pathlib import Path
from typing import Any, Generic, TypeVar

from kedro.io import AbstractDataset

from linear_video.common import storage
from linear_video.common.files import recover

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class PathDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """Something at one path or URL. Where that is a folder, it exists if it holds the file ``witness``.

    Of a URL, ``_filepath`` is the place of its copy on this machine (``common.storage``).
    """

    witness = ""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath, self.metadata = storage.place(filepath), metadata

    @property
    def _stored(self) -> bool:
        """Whether it lies at a URL."""
        return storage.url_of(self._filepath) is not None

    def _fetch(self) -> None:
        """Before it is read: let the copy on this machine be what the store has."""
        (storage.fetch_folder if self.witness else storage.fetch_file)(self._filepath)
        recover(self._filepath)

    def _put(self) -> None:
        """After it was written: put it into the store."""
        (storage.put_folder if self.witness else storage.put_file)(self._filepath)

    def files(self) -> list[Path]:
        """The files that are there now; of a folder, those directly in it that are not hidden, or all in a store."""
        if self._stored:
            names = (storage.names_in(self._filepath) or []) if self.witness else [""]
            return [self._filepath / name for name in names]
        paths = self._filepath.glob("[!.]*") if self._filepath.is_dir() else [self._filepath]
        return sorted(path for path in paths if path.is_file())

    def _exists(self) -> bool:
        if self._stored:
            return storage.state(self._filepath / (storage.LIST if self.witness else "")) is not None
        recover(self._filepath)
        return (self._filepath / self.witness).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": storage.name_of(self._filepath)}

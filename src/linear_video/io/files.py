"""Kedro's datasets of one file, which write in its place, as ones that write it whole or not at all."""

from pathlib import Path, PurePosixPath
from typing import Any

import kedro_datasets.json
import kedro_datasets.pandas
import kedro_datasets.text

from linear_video.common import storage
from linear_video.common.files import replacing_file


class _Whole:
    """Before one of Kedro's datasets in a class's bases: what it saves is written beside, then renamed.

    Of a URL, Kedro's dataset reads and writes the copy on this machine (``common.storage``).
    """

    def __init__(self: Any, *, filepath: str, **others: Any) -> None:
        super().__init__(filepath=str(storage.place(filepath)), **others)  # type: ignore[call-arg]

    def load(self: Any) -> Any:
        """Read the file."""
        storage.fetch_file(Path(self._filepath))
        return super().load.__wrapped__(self)  # type: ignore[misc]

    def save(self: Any, data: Any) -> None:
        """Replace the file."""
        # As it was written, without what Kedro puts around it; it looks for the path in the object that it is given.
        write = super().save.__wrapped__  # type: ignore[misc]
        path = Path(self._get_save_path())
        with replacing_file(path) as part:
            write(self._copy(_filepath=PurePosixPath(part), _version=None), data)
        storage.put_file(path)

    def _exists(self: Any) -> bool:
        path = Path(self._filepath)
        if storage.url_of(path) is None:
            return bool(super()._exists())  # type: ignore[misc]
        return storage.state(path) is not None


class CSVDataset(_Whole, kedro_datasets.pandas.CSVDataset):
    """A table as a CSV file."""


class JSONDataset(_Whole, kedro_datasets.json.JSONDataset):
    """What JSON can hold."""


class TextDataset(_Whole, kedro_datasets.text.TextDataset):
    """Text, and pages."""

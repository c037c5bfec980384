"""Kedro's datasets of one file, which write in its place, as ones that write it whole or not at all."""

from pathlib import Path, PurePosixPath
from typing import Any

import kedro_datasets.json
import kedro_datasets.pandas
import kedro_datasets.text

from linear_video.common.files import replacing_file


class _Whole:
    """Before one of Kedro's datasets in a class's bases: what it saves is written beside, then renamed.

    Elsewhere than on local disks (``s3://`` and the like), a store itself takes up a file whole or not at all.
    """

    def save(self: Any, data: Any) -> None:
        """Replace the file."""
        # As it was written, without what Kedro puts around it; it looks for the path in the object that it is given.
        write = super().save.__wrapped__  # type: ignore[misc]
        if self._protocol != "file":
            write(self, data)
            return
        with replacing_file(Path(self._get_save_path())) as part:
            write(self._copy(_filepath=PurePosixPath(part), _version=None), data)


class CSVDataset(_Whole, kedro_datasets.pandas.CSVDataset):
    """A table as a CSV file."""


class JSONDataset(_Whole, kedro_datasets.json.JSONDataset):
    """What JSON can hold."""


class TextDataset(_Whole, kedro_datasets.text.TextDataset):
    """Text, and pages."""

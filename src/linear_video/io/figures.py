"""Kedro dataset of figures."""

import base64
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview

from linear_video.files import replacing_file


class FigureDataset(AbstractDataset[Any, None]):
    """A matplotlib figure as a PNG file, whole or not at all, with a preview in kedro viz.

    Unlike the dataset that Kedro has for it, it does not import matplotlib when a command only lists the catalog.
    """

    def __init__(self, *, filepath: str, dpi: int = 110, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self._dpi = dpi
        self.metadata = metadata

    def load(self) -> None:
        """Figures are not read back."""
        raise DatasetError("figures are written to be looked at, not read back.")

    def save(self, data: Any) -> None:
        """Draw the figure into the file."""
        with replacing_file(Path(self._filepath)) as part:
            data.savefig(part, format="png", dpi=self._dpi)

    def preview(self) -> ImagePreview:
        """The picture for kedro viz, in base64."""
        return ImagePreview(base64.b64encode(Path(self._filepath).read_bytes()).decode())

    def _exists(self) -> bool:
        return Path(self._filepath).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

"""Kedro datasets of what is only written, to be looked at: figures and animations."""

import base64
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview
from numpy.typing import NDArray

from linear_video.files import replacing_file

DPI = 110


class _PictureDataset(AbstractDataset[Any, None]):
    """A file that is written whole or not at all, and not read back."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> None:
        """Pictures are not read back."""
        raise DatasetError("figures and animations are written to be looked at, not read back.")

    def _exists(self) -> bool:
        return Path(self._filepath).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}


class FigureDataset(_PictureDataset):
    """A matplotlib figure as a PNG file, with a preview in kedro viz.

    Unlike the dataset that Kedro has for it, it does not import matplotlib when a command only lists the catalog.
    """

    def save(self, data: Any) -> None:
        """Draw the figure into the file."""
        with replacing_file(Path(self._filepath)) as part:
            data.savefig(part, format="png", dpi=DPI)

    def preview(self) -> ImagePreview:
        """The picture for kedro viz, in base64."""
        return ImagePreview(base64.b64encode(Path(self._filepath).read_bytes()).decode())


class AnimationDataset(_PictureDataset):
    """Pictures uint8 (T, height, width, 3) as an endlessly looping GIF."""

    def __init__(self, *, filepath: str, frames_per_second: float = 4, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._frames_per_second = frames_per_second

    def save(self, data: NDArray[np.uint8]) -> None:
        """Write the pictures as one GIF."""
        from PIL import Image

        first, *rest = (Image.fromarray(picture) for picture in data)
        with replacing_file(Path(self._filepath)) as part:
            duration = round(1000 / self._frames_per_second)
            first.save(part, "GIF", save_all=True, append_images=rest, duration=duration, loop=0)

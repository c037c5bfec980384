"""Kedro datasets of what is only written, to be looked at: figures and animations."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from kedro.io import DatasetError
from kedro_datasets._typing import ImagePreview
from numpy.typing import NDArray

from linear_video.common import storage
from linear_video.common.files import replacing_file
from linear_video.io.base import PathDataset

DPI = 110
MARGIN = 0.06  # inches


class Animation(NamedTuple):
    """Pictures that are shown over and over."""

    pictures: NDArray[np.uint8]  # (T, height, width, 3)
    frames_per_second: float


class Encoded(NamedTuple):
    """The content of a picture's file."""

    kind: str  # "png" or "gif"
    content: bytes


def encoded(picture: Any) -> Encoded:
    """PNG of a matplotlib figure, without white around it; GIF of an animation; what is encoded, as it is.

    A figure does not look the same to the last pixel when it is drawn twice; so who needs it twice encodes it once.
    """
    if isinstance(picture, Encoded):
        return picture
    file = io.BytesIO()
    if isinstance(picture, Animation):
        _write_gif(picture, file)
        return Encoded("gif", file.getvalue())
    picture.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=MARGIN)
    return Encoded("png", file.getvalue())


class _PictureDataset(PathDataset[Any, None]):
    """A file that is written whole or not at all, and not read back."""

    def load(self) -> None:
        """Pictures are not read back."""
        raise DatasetError("figures and animations are written to be looked at, not read back.")

    def preview(self) -> ImagePreview:
        """The picture for kedro viz, in base64; of several, the film strip, which every experiment has."""
        picture = self._filepath / self.witness
        storage.fetch_file(picture)
        return ImagePreview(base64.b64encode(picture.read_bytes()).decode())


class FigureDataset(_PictureDataset):
    """A matplotlib figure as a PNG file, with a preview in kedro viz.

    Unlike the dataset that Kedro has for it, it does not import matplotlib when a command only lists the catalog.
    """

    def save(self, data: Any) -> None:
        """Draw the figure into the file."""
        with replacing_file(self._filepath) as part:
            part.write_bytes(encoded(data).content)
        self._put()


class FiguresDataset(_PictureDataset):
    """The pictures of an experiment by name, in one folder: figures as PNG files, animations as GIF files."""

    witness = "filmstrip.png"

    def save(self, data: Mapping[str, Any]) -> None:
        """Write each; pictures of before that are not among them stay."""
        for name, picture in data.items():
            path = self._filepath / _file_name(name, picture)
            with replacing_file(path) as part:
                part.write_bytes(encoded(picture).content)
            storage.put_file(path)

    def _exists(self) -> bool:
        return storage.state(self._filepath / self.witness) is not None if self._stored else super()._exists()


def written_files(path: Path, data: Any) -> list[Path]:
    """The files that were written for what was saved at a path: of pictures by name, each; else the path itself."""
    if isinstance(data, Mapping) and path.suffix == "":
        return [path / _file_name(name, picture) for name, picture in data.items()]
    return [path]


def _file_name(name: str, picture: Any) -> str:
    if isinstance(picture, Encoded):
        return f"{name}.{picture.kind}"
    return f"{name}.gif" if isinstance(picture, Animation) else f"{name}.png"


def _write_gif(animation: Animation, file: io.BytesIO) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(picture) for picture in animation.pictures)
    duration = round(1000 / animation.frames_per_second)
    first.save(file, "GIF", save_all=True, append_images=rest, duration=duration, loop=0)

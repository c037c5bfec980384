"""Write videos that browsers play."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError

CODEC = "VP80"  # a quarter of VP9's time for a third more bytes; H.264 cannot be written by OpenCV's free build


class VideoWriter:
    """Takes frames uint8 (h, w, 1) or (h, w, 3), red, green, blue, one by one, and writes them as a ``.webm`` file.

    The codec knows even sizes alone: the last row or column of others is doubled. It is lossy (about 40 dB).

    Raises:
        InputError: if the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame; all must be of the same size."""
        height, width = frame.shape[:2]
        padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._writer is None:
            with _without_words():
                size = padded.shape[1::-1]
                self._writer = cv2.VideoWriter(
                    str(self.path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), self.fps, size, True
                )
            if not self._writer.isOpened():
                raise InputError(f"{self.path} cannot be written as a video of {width}x{height} at {self.fps:g} fps.")
        colour = padded if padded.shape[2] == 3 else np.repeat(padded, 3, axis=2)
        self._writer.write(np.ascontiguousarray(colour[..., ::-1]))


@contextmanager
def _without_words() -> Iterator[None]:
    """Nothing on the error output: OpenCV complains of every codec in a ``.webm`` file, and then writes it."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

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
from linear_video.common.files import telling_no_room

CODEC = "VP80"  # takes a quarter of VP9's time for a third more bytes; OpenCV's free build cannot write H.264
SEGMENT = b"\x18\x53\x80\x67"  # in the head of a ``.webm`` file; its size follows in 8 bytes, a 1 and 7 of number


class VideoWriter:
    """Takes frames uint8 (h, w, 1) or (h, w, 3), red, green, blue, one by one, and writes them as a ``.webm`` file.

    The codec takes only even sizes, so a last odd row or column is doubled. It is lossy (about 40 dB).

    OpenCV does not report a failed write, so the file's frames are counted when the block ends without an error.

    Raises:
        InputError: if the file cannot be written.
        OSError: if it does not hold all frames; a ``NoRoomError`` if the disk has no room.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None
        self._written = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if error is None:
            with telling_no_room(self.path, self.path):
                if not _is_whole(self.path, self._written):
                    raise OSError(
                        f"{self.path} was cut off: it does not hold the {self._written} frames that were written to it."
                    )

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
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # one message a frame
        self._writer.write(np.ascontiguousarray(colour[..., ::-1]))
        cv2.utils.logging.setLogLevel(level)
        self._written += 1


def _is_whole(path: Path, frames: int) -> bool:
    """Whether a video holds all frames and its end. Frames are not decoded: that would take a hundred times as long."""
    with path.open("rb") as file:
        head = file.read(100)
    start = head.find(SEGMENT) + len(SEGMENT) + 8
    if start + int.from_bytes(head[start - 7 : start]) != path.stat().st_size:  # the size is written last
        return False
    with _without_words():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        try:
            return sum(1 for _ in iter(video.grab, False)) == frames
        finally:
            video.release()


@contextmanager
def _without_words() -> Iterator[None]:
    """Keep OpenCV off the error output: it complains about every codec in a ``.webm`` file, and then writes the file.

    It also complains about every file that was cut off, which we report ourselves.
    """
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

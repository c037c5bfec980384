"""Convert frames of any size to frames of a model's size, and back."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.common.images import resized
from linear_video.tasks.settings import Fit

MODEL_LINES = 400  # for larger frames, blends use the model on smaller copies

Frame = NDArray[np.uint8]  # (h, w, planes)
Values = NDArray[np.float32]
Item = TypeVar("Item")


class Parts:
    """How frames uint8 (h, w, planes) become the P parts that a model sees, float32 (P, C, H, W) in [0, 1].

    ``"whole"`` leaves the frame as it is, mirrored beyond its edge up to the model's size; ``"resize"`` shrinks or
    enlarges it; ``"tile"`` cuts it into tiles of the model's size, mirrored beyond its edge. A model of grey frames
    sees the planes of a colour frame one by one, so colour is kept; a model of colour frames sees a grey frame as three
    equal planes.

    Raises:
        InputError: if the model's channels and the frame's planes do not go together.
    """

    def __init__(self, frame_shape: tuple[int, int, int], size: tuple[int, int, int], fit: Fit) -> None:
        self.channels, self.height, self.width = frame_shape
        self.size, self.fit = size, fit
        if self.channels not in (1, size[2]) and size[2] != 1:
            raise InputError(f"frames of {size[2]} channels do not go with a model of {self.channels}.")
        high, wide = size[:2]
        self.rows = -(-high // self.height) if fit != "resize" else 1
        self.columns = -(-wide // self.width) if fit != "resize" else 1
        self.planes = size[2] if self.channels == 1 else 1

    @property
    def exact(self) -> bool:
        """Whether frames already have the model's size."""
        return self.size[:2] == (self.height, self.width)

    def __str__(self) -> str:
        """What is done to frames, for readers."""
        size, own = f"{self.size[1]}x{self.size[0]}", f"{self.width}x{self.height}"
        if self.exact or self.fit == "whole":
            done = f"frames of {size}"
        elif self.fit == "resize":
            done = f"frames of {size} resized to {own} and back"
        else:
            done = f"frames of {size} cut into {self.columns} x {self.rows} tiles of {own}"
        return done + (f", {self.planes} colours one by one" if self.planes > 1 else "")

    def split(self, frame: Frame) -> Values:
        """Parts of one frame."""
        values: Values = frame.astype(np.float32) / np.float32(255)  # (h, w, planes)
        if not self.exact and self.fit == "resize":
            values = resized(values, self.height, self.width)
        elif not self.exact:
            below, right = self.rows * self.height - self.size[0], self.columns * self.width - self.size[1]
            wider = cv2.copyMakeBorder(values, 0, below, 0, right, cv2.BORDER_REFLECT)
            values = np.asarray(wider, np.float32).reshape(*wider.shape[:2], -1)
        tiles = values.reshape(self.rows, self.height, self.columns, self.width, -1)
        parts = tiles.transpose(0, 2, 4, 1, 3)  # (rows, columns, planes, H, W)
        if self.channels > 1 and self.size[2] == 1:
            parts = np.repeat(parts, self.channels, axis=2)
        return np.ascontiguousarray(parts.reshape(-1, self.channels, self.height, self.width))

    def join(self, parts: NDArray[Any]) -> Values:
        """Join float parts (P, C, H, W) of a frame or a difference of frames to the original size: (h, w, planes)."""
        planes = parts.reshape(self.rows, self.columns, -1, self.height, self.width)
        if self.channels > 1 and self.size[2] == 1:
            planes = planes.mean(axis=2, keepdims=True)
        whole = planes.transpose(0, 3, 1, 4, 2).reshape(self.rows * self.height, self.columns * self.width, -1)
        if self.exact or self.fit != "resize":
            return np.asarray(whole[: self.size[0], : self.size[1]], np.float32)
        return resized(np.ascontiguousarray(whole, np.float32), *self.size[:2])


class EvenlySpread(Generic[Item]):
    """At most ``most`` items of a stream of any length, spread evenly over it, with their numbers."""

    def __init__(self, most: int = 12) -> None:
        self.most, self.step, self.seen = most, 1, 0
        self.kept: list[tuple[int, Item]] = []

    @property
    def due(self) -> bool:
        """Whether the next item of the stream would be kept."""
        return self.seen % self.step == 0

    def skip(self) -> None:
        """Skip the next item of the stream, which is not due."""
        self.seen += 1

    def add(self, item: Item) -> None:
        """Add the next item of the stream."""
        if self.due:
            self.kept.append((self.seen, item))
        if len(self.kept) > self.most:
            self.kept, self.step = self.kept[::2], 2 * self.step
        self.seen += 1


def halvings(lines: int) -> int:
    """How often frames with this number of lines are halved before a model that takes any size sees them."""
    return max(0, math.ceil(math.log2(lines / MODEL_LINES)))


def smaller(frame: Frame, times: int = 1) -> Frame:
    """Halve a frame's height and width a number of times, as ``blend.bands`` does."""
    for _ in range(times):
        frame = np.asarray(cv2.pyrDown(frame), np.uint8)
    return frame.reshape(*frame.shape[:2], -1)


def checked(frame: Frame, number: int, before: tuple[int, ...] | None) -> Frame:
    """A frame as (h, w, planes), after a check of its shape and type against the frames before it.

    Raises:
        InputError: if it is not a frame, or has another shape.
    """
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or 0 in frame.shape:
        raise InputError(f"frames must be uint8 (h, w, 3), (h, w, 1) or (h, w), not {frame.dtype} {frame.shape}.")
    frame = frame.reshape(*frame.shape[:2], -1)
    if before is not None and frame.shape != before:
        raise InputError(f"frame {number} is {frame.shape}, the ones before {before}.")
    return frame


def all_checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Apply ``checked`` to frames, one by one."""
    shape: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        frame = checked(frame, number, shape)
        shape = frame.shape
        yield frame


def difference(one: Frame, two: Frame) -> float:
    """Mean absolute difference of two frames, of values in [0, 1]."""
    return float(cv2.absdiff(one, two).mean() / 255)


def counted(frames: int) -> str:
    """A number of frames, in words."""
    return "1 frame" if frames == 1 else f"{frames} frames"


def to_values(frame: Frame) -> Values:
    """uint8 -> float32 in [0, 1]."""
    return np.asarray(frame, np.float32) / np.float32(255)


def to_frame(values: NDArray[Any]) -> Frame:
    """Values in [0, 1] -> uint8, clipped."""
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)

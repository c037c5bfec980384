"""Footage on its way through a model. It is read frame by frame, so memory does not grow with its length."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linear_video.common.errors import InputError
from linear_video.models.base import Seen, VideoModel
from linear_video.tasks.parts import Frame, Parts, checked, counted, to_frame
from linear_video.tasks.settings import Fit

BATCH = 16  # frames that are read and encoded at once
PARTS_AT_ONCE = 2048  # parts of all frames together


class Footage:
    """Frames that are being read, checked, and split into parts. It yields (frame, parts (P, C, H, W)).

    Args:
        frames: the frames, uint8.
        sized: returns the model for frames of a shape (h, w, planes).
        fit: what is done with frames that do not have the model's size.
    """

    def __init__(self, frames: Iterable[Frame], sized: Callable[[tuple[int, ...]], VideoModel], fit: Fit) -> None:
        self.frames, self.sized, self.fit = iter(frames), sized, fit
        self.count, self.ended = 0, False
        self.model: Any  # for frames of this size, after the first one
        self.parts: Parts

    def __iter__(self) -> Iterator[tuple[Frame, Tensor]]:
        return self

    def __next__(self) -> tuple[Frame, Tensor]:
        frame = next(self.frames, None)
        if frame is None:
            self.ended = True
            raise StopIteration
        frame = checked(frame, self.count, self.parts.size if self.count else None)
        if not self.count:
            self.model = self.sized(frame.shape)
            self.parts = Parts(self.model.frame_shape, frame.shape, self.fit)
        self.count += 1
        return frame, torch.from_numpy(self.parts.split(frame)).to(self.model.device)

    def batches(self) -> Iterator[list[tuple[Frame, Tensor]]]:
        """Yield several frames at once."""
        while batch := list(itertools.islice(self, BATCH)):
            yield batch

    def check_length(self, least: int) -> None:
        """Raise InputError if fewer frames have been read than are needed."""
        if self.count < least:
            raise InputError(
                f"the footage has {counted(self.count)}, but this needs at least {least} (parameter context)."
            )

    def joined(self, clip: Tensor, difference: bool = False) -> NDArray[Any]:
        """Frames from parts (P, T, C, H, W): uint8 (T, h, w, channels); differences stay float32."""
        frames = [self.parts.join(parts) for parts in clip.movedim(1, 0).cpu().numpy()]
        return np.stack(frames if difference else [to_frame(frame) for frame in frames])


class Window:
    """Frames around the one that is being made, and what the model needs from them."""

    def __init__(self, footage: Footage, reach: int, missing: frozenset[int] = frozenset()) -> None:
        self.footage, self.reach, self.missing = footage, reach, missing
        self.first = 0  # number of the first frame kept
        self.length = 0  # of the window; frames read beyond it do not count yet
        self.frames: list[Frame] = []
        self.batches = footage.batches()
        self._projected: Seen  # for all frames kept

    @property
    def projected(self) -> Any:
        """What the model needs from the window's frames."""
        return self._projected.first(self.length)

    @property
    def observed(self) -> Tensor:
        """Which of the frames are known, bool (length,)."""
        there = [number not in self.missing for number in range(self.first, self.first + self.length)]
        return torch.tensor(there, device=self.footage.model.device)

    def frame(self, number: int) -> Frame:
        """One of the frames kept, by its number in the footage."""
        return self.frames[number - self.first]

    def move(self, number: int) -> bool:
        """Move the window to the frames around this one; False if the footage ends before it."""
        reach = self.reach
        while self.footage.count <= number + reach:
            batch = next(self.batches, None)
            if batch is None:
                break
            projected = self.footage.model.project(torch.stack([parts for _, parts in batch], 1))
            self._projected = self._projected.followed_by(projected) if self.frames else projected
            self.frames.extend(frame for frame, _ in batch)
        passed = max(0, number - reach - self.first)
        if passed:
            self._projected = self._projected.from_frame(passed)
            self.frames, self.first = self.frames[passed:], number - reach
        self.length = min(self.footage.count, number + reach + 1) - self.first
        return number < self.footage.count


def pieces(clip: Tensor, times: int = 1) -> tuple[Tensor, ...]:
    """Some parts of a clip (P, T, C, H, W) at a time, to bound memory; fewer parts if each one makes more frames."""
    parts: tuple[Tensor, ...] = clip.split(max(1, PARTS_AT_ONCE // (clip.shape[1] * times)))
    return parts

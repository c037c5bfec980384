"""One piece of footage on its way through a task, and the results of the task."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from linear_video.clips.writing import VideoWriter
from linear_video.tasks.alarms import Calibration
from linear_video.tasks.parts import Frame, to_frame
from linear_video.tasks.references import Values
from linear_video.tasks.settings import PredictSettings
from linear_video.tasks.trained import TrainedModel

BORDER = (213, 94, 0)  # colour of the frames that a model has made


class Result(NamedTuple):
    """The results of a task beside its video."""

    table: pd.DataFrame
    picture: Figure
    backtest: pd.DataFrame | None = None  # scores of each method on known frames of the same footage
    compared: Figure | None = None  # the worst and the median of those tests, with each method's guess


@dataclass
class Job:
    """One piece of footage on its way through a task."""

    trained: TrainedModel
    settings: PredictSettings
    frames: Iterator[Frame]
    again: Iterable[Frame]  # reads the frames again from the start
    fps: float
    seed: int
    title: str
    writer: VideoWriter
    reference: VideoWriter  # for the result without a model
    calibration: Calibration | None

    def write(self, frames: Iterable[Frame]) -> None:
        """Add frames to the video."""
        for frame in frames:
            self.writer.write(frame)

    def write_beside(self, frame: Frame, guesses: dict[str, Values], name: str) -> None:
        """Add a frame to the video of the reference: its guess if there is one, and the frame itself otherwise."""
        self.reference.write(framed(to_frame(guesses[name])) if name in guesses else frame)


class Remembered:
    """Passes frames on, and keeps the last few of them."""

    def __init__(self, frames: Iterable[Frame], most: int) -> None:
        self.frames, self.last, self.count = frames, deque[Frame](maxlen=most), 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            self.last.append(frame)
            self.count += 1
            yield frame


def frames_table(job: Job, numbers: Any, **columns: Any) -> pd.DataFrame:
    """A row for each frame: its number, its time, and any other facts about it."""
    return pd.DataFrame({"frame": numbers, "seconds": np.asarray(numbers) / job.fps, **columns})


def numbered(frames: Iterable[Frame], first: int = 0, form: str = "{}") -> list[tuple[str, Frame]]:
    """Frames with their numbers from ``first`` on as captions."""
    return [(form.format(number), frame) for number, frame in enumerate(frames, first)]


def framed(frame: Frame) -> Frame:
    """A frame with the mark of a model's result: a border of a fortieth of its height, at least one pixel."""
    width = max(1, frame.shape[0] // 40)
    marked = np.empty_like(frame)
    marked[:] = BORDER if frame.shape[2] == 3 else (200,)
    inner = (slice(width, -width), slice(width, -width))
    marked[inner] = frame[inner]
    return marked


def captioned(kept: Iterable[tuple[int, Frame]]) -> list[tuple[str, Frame]]:
    """Frames with their own numbers as captions."""
    return [(str(number), frame) for number, frame in kept]

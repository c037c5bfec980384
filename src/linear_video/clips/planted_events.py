"""Moving Symbols in which nothing happens, to train on, and test videos in each of which something does."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet, Made
from linear_video.clips.motion import Trajectory, draw_trajectory
from linear_video.clips.moving_symbols import MovingSymbolsSettings, render
from linear_video.clips.readers.symbols import Symbol, load_symbols
from linear_video.common.checks import check_least
from linear_video.common.errors import InputError

EVENTS = ("another identity", "stop", "jump", "random texture", "other pictures")
LEAST_JUMP = 3  # pixels of the rendered frame
JUMPS_TRIED = 1_000


@dataclass(frozen=True)
class PlantedEventsSettings(MovingSymbolsSettings):
    """Settings of Moving Symbols, and of the test videos with an event.

    Attributes:
        videos: test videos of each kind of event: a symbol becomes another one, stands still, goes on elsewhere,
            becomes noise, or becomes a polygon.
        video_frames: most frames of a test video. It ends with the last frame that counts as anomalous.
        first_event: frame from which on an event may start.
        lasting: frames that count as anomalous, from the first that shows the event.
    """

    labels_anomalies: ClassVar[bool] = True

    videos: int = 20
    video_frames: int = 30
    first_event: int = 16
    lasting: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "videos", "first_event", "lasting")
        if self.symbols_per_clip != (1, 1) or self.backgrounds_folder is not None:
            raise ValueError("events are planted in clips of one symbol without backgrounds; leave these settings out.")
        if self.video_frames <= self.first_event + self.lasting:
            raise ValueError(
                f"video_frames must be above first_event + lasting, {self.first_event + self.lasting}, not "
                f"{self.video_frames}."
            )

    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Simulate the clips of all splits, and the test videos."""
        return super().make(name, seed, folder)._replace(videos=self._videos(seed))

    def _videos(self, seed: int) -> ClipSet:
        symbols = load_symbols(self.symbols, Path(self.symbols_folder), self.symbol_size, "test")
        random, settings = np.random.default_rng((seed, len(EVENTS))), replace(self, frames=self.video_frames)
        shown, tables = [], []
        for event in EVENTS:
            for number in range(self.videos):
                clip, moment = planted(event, settings, symbols, random, self.first_event, self.lasting)
                frames = clip[: moment + self.lasting]
                shown.append(frames)
                facts = {"source": f"{event}/{number:03d}", "label": event, "start": np.arange(len(frames))}
                tables.append(pd.DataFrame(facts).assign(anomalous=np.arange(len(frames)) >= moment))
        return ClipSet(np.concatenate(shown)[:, None], pd.concat(tables, ignore_index=True))


def planted(
    event: str,
    settings: MovingSymbolsSettings,
    symbols: list[Symbol],
    random: np.random.Generator,
    first: int,
    lasting: int,
) -> tuple[NDArray[np.uint8], int]:
    """A clip of one symbol, (T, C, H, W), in which one of the ``EVENTS`` happens; and the frame that first shows it.

    That frame is drawn: it is ``first`` or a later one, and ``lasting`` frames at least are left from it on. With any
    other event, nothing happens.

    Raises:
        InputError: if all symbols are of one label, or there is no room for a jump.
    """
    symbol = symbols[random.integers(len(symbols))]
    course = draw_trajectory(settings, [symbol], random)
    moment = int(random.integers(first, settings.frames - lasting))
    clip = _drawn(settings, symbol, course)
    if event == "another identity":
        others = [other for other in symbols if other.label != symbol.label]
        if not others:
            raise InputError(f"all symbols are of the label {symbol.label}; an event needs symbols of two.")
        clip[moment:] = _drawn(settings, others[random.integers(len(others))], course)[moment:]
    elif event == "stop":
        clip[moment:] = clip[moment - 1]
    elif event == "jump":
        for _ in range(JUMPS_TRIED):
            elsewhere = draw_trajectory(settings, [symbol], random)
            if np.abs(elsewhere.position[moment] - course.position[moment]).max() >= LEAST_JUMP:
                break
        else:
            raise InputError(f"a symbol has no room to jump {LEAST_JUMP} pixels; lower symbol_size or its scale.")
        clip[moment:] = _drawn(settings, symbol, elsewhere)[moment:]
    elif event == "random texture":
        texture = random.random(symbol.planes.shape, np.float32)
        clip[moment:] = _drawn(settings, Symbol(texture, "texture", "texture"), course)[moment:]
    elif event == "other pictures":
        clip[moment:] = _drawn(settings, shape_like(symbol, random), course)[moment:]
    return clip, moment


def _drawn(settings: MovingSymbolsSettings, symbol: Symbol, course: Trajectory) -> NDArray[np.uint8]:
    return render(settings, [symbol], course, None)


def shape_like(symbol: Symbol, random: np.random.Generator) -> Symbol:
    """A filled outline with a few corners, as large as a digit, but not a digit."""
    height, width = symbol.planes.shape[:2]
    corners = int(random.integers(3, 7))
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    points = np.stack((np.cos(angles) * width / 2 + width / 2, np.sin(angles) * height / 2 + height / 2), 1)
    planes = np.zeros((height, width), np.float32)
    cv2.fillPoly(planes, [np.rint(points).astype(np.int32)], 1.0)
    planes[0, 0], planes[-1, -1] = max(planes[0, 0], 0.5), max(planes[-1, -1], 0.5)
    return Symbol(planes[..., None], "shape", "shape")

"""Settings of the pipeline ``predict``: a trained model, footage, and what to do with it."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from linear_video.common.checks import check_least, check_within
from linear_video.common.errors import InputError

Task = Literal[
    "extrapolate",
    "hindcast",
    "fill_in",
    "retime",
    "denoise",
    "surprise",
    "spectrum",
    "fourier",
    "dmd",
    "magnify",
    "sample",
    "what_if",
]
Fit = Literal["auto", "whole", "resize", "tile"]
Method = Literal["blend", "model", "last_frame", "optical_flow", "mean", "cubic"]
MOST_FRAMES = 1_000_000  # that may be named as missing: about nine hours of video
MOST_DIGITS = 31  # of a range of frames
METHODS: tuple[str, ...] = get_args(Method)
BLENDED = ("extrapolate", "fill_in", "retime", "denoise")  # the tasks that have a choice of methods
# The tasks of the methods that are neither the blend nor the model.
ABLE: dict[str, tuple[str, ...]] = {
    "last_frame": ("extrapolate",),
    "optical_flow": ("extrapolate", "fill_in", "retime"),
    "mean": ("fill_in", "retime"),
    "cubic": ("fill_in", "retime"),
}


def check_method(method: str, task: str) -> None:
    """Raise InputError unless a method can do a task."""
    able = ABLE.get(method, (task,))
    if task not in able:
        raise InputError(f"method {method} cannot {task}; it can {', '.join(able)}.")


@dataclass(frozen=True)
class PredictSettings:
    """Settings of the pipeline ``predict``: what is done with which footage.

    Attributes:
        model: folder of a trained model, or its address in MLflow: ``runs:/<run>/model``, ``models:/<name>/1``.
        video: a video, a folder of images (frames in natural order), or an array; or a folder of several of these, each
            of which is processed separately.
        task: what to do, see ``tasks.trained.TrainedModel``.
        method: extrapolate, fill_in, retime, denoise: ``"blend"`` of the model and the references, weighted by tests on
            the video itself; or the name of one of them alone.
        fit: how the model sees frames that do not have its own size: ``"whole"``, if it takes any size; ``"resize"``,
            made larger or smaller; ``"tile"``, cut into tiles. ``"auto"`` is ``"whole"`` if possible, and ``"resize"``
            otherwise.
        lines: frames with more lines (pixel rows) are made smaller first; None leaves them as they are.
        fps: frames per second; None for what the file says, or 25 where it says nothing.
        context: number of frames that the model sees, before or around the frames that it makes.
        horizon: number of frames to make: after the last one (extrapolate, sample, what_if), or before the first one
            (hindcast).
        window_step: extrapolate: forecasts all over the video, beside the truth, with this number of frames from one
            window to the next; None for a single forecast at the end.
        missing: fill_in: numbers, from 0, of the frames that are present but corrupt or blank, as in "7 40-45".
        dropped: fill_in: numbers that the absent frames would have in the complete video.
        factor: retime: number of frames to make for each frame of the video, from 0.1 to 10.
        playback: retime: ``"slow"`` keeps the frame rate, so that the video lasts longer or shorter; ``"rate"`` keeps
            the duration.
        normal: surprise: footage in which nothing is out of the ordinary, in the same form as ``video``; None for no
            alarms.
        false_alarm_rate: surprise: share of normal frames that may raise an alarm.
        window: spectrum: number of frames that are analysed together.
        modes: spectrum: number of modes that are drawn, strongest first; dmd: number of pairs of eigenvalues that are
            fitted.
        band: fourier, dmd and magnify: frequencies in Hz, as in "0.5-0.9"; required for magnify.
        magnification: magnify: factor by which changes grow.
        futures: sample: number of futures.
        noise: sample: size of the noise; 1 is the model's own.
        actions: what_if: CSV file with a column ``frame`` (from 0, including frames after the end of the video) and one
            for each value of an action; frames that are not listed have zeros.
    """

    model: str = "data/06_models/ile/moving_symbols"
    video: str | None = None
    task: Task = "extrapolate"
    method: Method = "blend"
    fit: Fit = "auto"
    fps: float | None = None
    lines: int | None = None
    context: int = 10
    horizon: int = 5
    window_step: int | None = None
    missing: str | int = ""
    dropped: str | int = ""
    factor: float = 2.0
    playback: Literal["slow", "rate"] = "slow"
    normal: str | None = None
    false_alarm_rate: float = 0.01
    window: int = 50
    modes: int = 6
    band: str = ""
    magnification: float = 10.0
    futures: int = 16
    noise: float = 1.0
    actions: str | None = None

    def __post_init__(self) -> None:
        check_method(self.method, self.task)
        check_least(self, 2, "context", "window", "futures")
        check_least(self, 1, "horizon", "modes", "window_step", "lines")
        check_within(self, "(0, inf)", "fps")
        check_within(self, "[0.1, 10]", "factor")
        check_within(self, "(0, 1)", "false_alarm_rate")
        check_within(self, "[0, inf)", "noise", "magnification")
        parse_band(self.band)
        parse_frames(self.missing)
        parse_frames(self.dropped)


@dataclass(frozen=True)
class OwnFootageSettings:
    """Settings of the pipeline ``footage``: all tasks on one video.

    Attributes:
        video: a video, a folder of images, or an array.
        model: folder of a trained model that takes frames of any size; None trains one on the video.
        tasks: the tasks, in order.
        context: number of frames that the model sees.
        horizon: number of frames to predict after the last one.
        factor: number of frames to make for each frame in slow motion.
        lines: frames with more lines (pixel rows) are made smaller first.
        noise: least standard deviation of the noise, in grey levels, at which the video is denoised.
        band: frequencies in Hz, as in "0.5-0.9", in which changes are magnified; empty for no magnification.
        magnification: factor by which those changes grow.
    """

    video: str = "data/01_raw/own_footage"
    model: str | None = None
    tasks: tuple[Task, ...] = ("extrapolate", "retime", "denoise", "surprise", "fourier", "magnify")
    context: int = 5
    horizon: int = 5
    factor: float = 2.0
    lines: int = 720
    noise: float = 2.0
    band: str = ""
    magnification: float = 10.0

    def __post_init__(self) -> None:
        check_least(self, 2, "context")
        check_least(self, 1, "horizon", "lines")
        check_within(self, "[0.1, 10]", "factor")
        check_within(self, "[0, inf)", "noise", "magnification")
        parse_band(self.band)


def parse_band(text: str) -> tuple[float, float] | None:
    """The two frequencies in a text like "0.5-0.9"; None for an empty text.

    Raises:
        ValueError: if it is neither.
    """
    if not text:
        return None
    low, _, high = text.partition("-")
    try:
        found = float(low), float(high)
    except ValueError:
        found = (0.0, 0.0)
    if not 0 < found[0] < found[1] < math.inf:
        raise ValueError(f"band must be two frequencies in Hz, the lower one first, as in '0.5-0.9', not {text!r}.")
    return found


def parse_frames(text: str | int) -> list[int]:
    """Frame numbers in a text like "7 40-45", or a single number, in order.

    Raises:
        ValueError: if it is neither, or names more than ``MOST_FRAMES``. This is checked before ranges are expanded.
    """
    ranges = list[range]()
    for part in str(text).split():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > MOST_DIGITS:
            raise ValueError(f"missing and dropped must be frame numbers like '7 40-45', not {part[:40]!r}.")
        ranges.append(range(int(first), int(last or first) + 1))
        if not ranges[-1]:
            raise ValueError(f"missing and dropped must be frame numbers like '7 40-45', not {part!r}.")
    count = sum(numbers.stop - numbers.start for numbers in ranges)  # len() stops at 2^63
    if count > MOST_FRAMES:
        raise ValueError(f"missing and dropped must name at most {MOST_FRAMES:,} frames, not {count:,}.")
    return sorted({number for numbers in ranges for number in numbers})

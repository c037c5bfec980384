"""What each task leaves of a piece of footage: frames in a video, a table, and a picture."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from linear_video.clips.writing import VideoWriter
from linear_video.common.errors import InputError
from linear_video.evaluation.scores import score_frames
from linear_video.tasks import pictures
from linear_video.tasks.alarms import Calibration, forecast_error, ordinary_errors
from linear_video.tasks.parts import Frame
from linear_video.tasks.settings import PredictSettings, parse_frames
from linear_video.tasks.trained import TrainedModel

logger = logging.getLogger(__name__)

BORDER = (213, 94, 0)  # of frames that a model has made, beside others

Result = tuple[pd.DataFrame, Figure]  # table and picture


@dataclass
class Job:
    """One piece of footage on its way through a task."""

    trained: TrainedModel
    settings: PredictSettings
    frames: Iterator[Frame]
    fps: float
    seed: int
    title: str
    writer: VideoWriter
    calibration: Calibration | None

    def write(self, frames: Iterable[Frame]) -> None:
        """Add frames to the video."""
        for frame in frames:
            self.writer.write(frame)


class Remembered:
    """Frames on their way, of which the last few are kept."""

    def __init__(self, frames: Iterable[Frame], most: int) -> None:
        self.frames, self.last, self.count = frames, deque[Frame](maxlen=most), 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            self.last.append(frame)
            self.count += 1
            yield frame


def _extrapolate(job: Job) -> Result:
    if job.settings.window_step is not None:
        return _forecasts(job, job.settings.window_step)
    footage = Remembered(job.frames, job.trained.context)
    future = job.trained.extrapolate(footage, job.settings.horizon)
    job.write(footage.last)
    job.write(_framed(frame) for frame in future)
    rows = {
        "footage": _numbered(footage.last, footage.count - len(footage.last)),
        "what comes": _numbered(future, footage.count),
    }
    return _table(job, footage.count + np.arange(len(future))), pictures.strip(rows, job.title)


def _table(job: Job, numbers: Any, **columns: Any) -> pd.DataFrame:
    """A row for each frame: its number, its time, and what else is known of it."""
    return pd.DataFrame({"frame": numbers, "seconds": np.asarray(numbers) / job.fps, **columns})


def _numbered(frames: Iterable[Frame], first: int = 0, form: str = "{}") -> list[tuple[str, Frame]]:
    """Frames with their numbers from ``first`` on as captions."""
    return [(form.format(number), frame) for number, frame in enumerate(frames, first)]


def _forecasts(job: Job, step: int) -> Result:
    """Side by side, footage and the latest forecast of it; PSNR and SSIM, and those of the last frame seen."""
    first, second = itertools.tee(job.frames)
    windows = job.trained.forecasts(first, job.settings.horizon, step)
    upcoming = next(windows, None)
    start, forecasts = 0, list[Frame]()  # the latest ones, and the frame from which they are
    before = last_seen = np.empty(0, np.uint8)
    rows = []
    truth, made = pictures.Thumbnails(), pictures.Thumbnails()
    for number, frame in enumerate(second):
        if upcoming is not None and upcoming[0] == number:
            start, forecasts, last_seen = number, list(upcoming[1]), before
            upcoming = next(windows, None)
        if number - start < len(forecasts):
            forecast = forecasts[number - start]
            row = {"frame": number, "seconds": number / job.fps, "lead": number - start + 1}
            rows.append(row | _scores(forecast, frame) | _scores(last_seen, frame, "last_frame_"))
            job.write([np.hstack([frame, _framed(forecast)])])
            truth.add(frame)
            made.add(forecast)
        before = frame
    if not rows:
        raise InputError(f"no frame follows a window of {job.trained.context}: lower the parameter context.")
    pairs = {
        "footage": [(f"frame {rows[number]['frame']}", frame) for number, frame in truth.kept],
        "forecast": [(f"+{rows[number]['lead']}", frame) for number, frame in made.kept],
    }
    return pd.DataFrame(rows), pictures.strip(pairs, job.title)


def _scores(frame: Frame, truth: Frame, prefix: str = "") -> dict[str, float]:
    pair = [np.ascontiguousarray(values.transpose(2, 0, 1)[None, None]) / 255 for values in (frame, truth)]
    psnr, ssim = score_frames(*pair)
    return {f"{prefix}psnr": float(psnr[0, 0]), f"{prefix}ssim": float(ssim[0, 0])}


def _hindcast(job: Job) -> Result:
    first = list(itertools.islice(job.frames, job.trained.context))
    past = job.trained.hindcast(first, job.settings.horizon)
    lost = job.trained.forgotten(job.settings.horizon)
    if len(lost):
        logger.info(
            f"Modes that decay too quickly to be traced back {len(past)} frames are left out there: "
            f"{', '.join(map(str, lost['mode']))} (half-lives of at most {lost['half_life_frames'].max():.2g} frames)."
        )
    job.write(_framed(frame) for frame in past)
    job.write(first)
    strips = {"what came before": _numbered(past, -len(past)), "footage": _numbered(first)}
    back = range(len(past), 0, -1)
    left_out = [" ".join(map(str, job.trained.forgotten(frames)["mode"])) for frames in back]
    return _table(job, -np.array(back), modes_left_out=left_out), pictures.strip(strips, job.title)


def _fill_in(job: Job) -> Result:
    dropped = parse_frames(job.settings.dropped)
    missing = {*parse_frames(job.settings.missing), *dropped}
    if not missing:
        raise InputError(
            'predict.missing and predict.dropped name no frames; as in --params=predict.missing="7 40-45".'
        )
    first, second = itertools.tee(_with_gaps(job.frames, frozenset(dropped)))
    filled = job.trained.fill_in(first, missing)
    shown: list[tuple[int, Frame, Frame]] = []
    for number, (was, frame) in enumerate(zip(second, filled, strict=True)):
        job.write([frame])
        near = number in missing or number - 1 in missing or number + 1 in missing
        if near and len(shown) < 16:
            shown.append((number, was, frame))
    rows = {
        "as it was": [(f"{number}", was) for number, was, _ in shown],
        "filled in": [(f"{number}{'*' if number in missing else ''}", frame) for number, _, frame in shown],
    }
    return _table(job, sorted(missing)), pictures.strip(rows, job.title)


def _with_gaps(frames: Iterator[Frame], dropped: frozenset[int]) -> Iterator[Frame]:
    """Frames, and black ones in the places of those that were dropped."""
    number = 0
    for frame in frames:
        while number in dropped:
            yield np.zeros_like(frame)
            number += 1
        yield frame
        number += 1


def _retime(job: Job) -> Result:
    factor = job.settings.factor
    shown: list[tuple[str, Frame]] = []
    rows = []
    for given, frame in enumerate(job.trained.retime(job.frames, factor)):
        job.write([frame])
        rows.append({"frame": given, "time_in_footage": given / factor, "seconds": given / factor / job.fps})
        if len(shown) < 12:
            shown.append((f"frame {given / factor:.3g}", frame))
    return pd.DataFrame(rows), pictures.strip({"retimed": shown}, job.title)


def _denoise(job: Job) -> Result:
    first, second = itertools.tee(job.frames)
    was, made, changes = pictures.Thumbnails(), pictures.Thumbnails(), []
    for before, frame in zip(second, job.trained.denoise(first), strict=True):
        job.write([frame])
        was.add(before)
        made.add(frame)
        changes.append(float(np.abs(before.astype(np.float32) - frame).mean() / 255))
    strips = {"footage": was.kept, "denoised": made.kept}
    captioned = {name: [(str(number), frame) for number, frame in kept] for name, kept in strips.items()}
    return _table(job, range(len(changes)), change=changes), pictures.strip(captioned, job.title)


def _surprise(job: Job) -> Result:
    thumbnails = pictures.Thumbnails()

    def seen() -> Iterator[Frame]:
        for frame in job.frames:
            thumbnails.add(frame)
            yield frame

    surprises = job.trained.surprise(seen(), job.settings.horizon)
    ordinary = job.calibration.errors if job.calibration else ordinary_errors([surprises])
    errors = forecast_error(surprises.errors, ordinary)
    table = _table(job, range(len(errors)), likelihood_bits=surprises.likelihood, forecast_error=errors)
    if job.calibration:
        table["alarm"] = job.calibration.alarms(surprises)
    return table, pictures.surprise_plot(thumbnails.kept, table, job.calibration, job.title)


def _spectrum(job: Job) -> Result:
    modes = job.trained.spectrum(job.frames, job.fps, job.settings.window, job.settings.modes)
    scale = max(float(np.abs(modes.responses).max()), 1e-6)
    for moment in range(modes.responses.shape[1]):  # side by side, what each does, about grey
        row = [np.uint8(np.rint(127.5 * (1 + response[moment] / scale))) for response in modes.responses]
        job.write([np.hstack([modes.frames[moment], *row])])
    return modes.table, pictures.modes_plot(modes, job.fps, job.title)


def _sample(job: Job) -> Result:
    settings = job.settings
    futures = job.trained.sample(job.frames, settings.horizon, settings.futures, settings.noise, job.seed)
    job.write(np.hstack(list(moment)) for moment in futures[:4].swapaxes(0, 1))
    spread = (futures / 255).std(axis=0).mean(axis=(1, 2, 3))
    lead = np.arange(1, len(spread) + 1)
    return pd.DataFrame({"lead": lead, "seconds": lead / job.fps, "spread": spread}), pictures.spread_plot(
        futures, job.title
    )


def _what_if(job: Job) -> Result:
    if job.settings.actions is None:
        raise InputError("predict.actions names no file of actions: a CSV with a column frame, and one for each value.")
    given = _read_actions(Path(job.settings.actions), job.trained.model.actions)
    horizon, context = job.settings.horizon, job.trained.context
    footage = Remembered(job.frames, context)
    deque(footage, maxlen=0)  # to the end
    last, first = list(footage.last), footage.count - context  # the first frame seen
    actions = np.zeros((context + horizon, given.shape[1] - 1), np.float32)
    for frame, *values in given.to_numpy():
        if 0 <= int(frame) - first < len(actions):
            actions[int(frame) - first] = values
    seen_alone = np.where(np.arange(len(actions))[:, None] < context, actions, 0)
    with_them, without = (job.trained.what_if(last, horizon, given) for given in (actions, seen_alone))
    job.write(np.hstack([frame, frame]) for frame in last)
    job.write(np.hstack([one, two]) for one, two in zip(without, with_them, strict=True))
    difference = np.abs(with_them.astype(np.float32) - without).mean(axis=(1, 2, 3)) / 255
    table = pd.DataFrame({"frame": footage.count + np.arange(horizon), "difference": difference})
    rows = {
        "footage": _numbered(last, first)[-horizon:],
        "without": _numbered(without, 1, "+{}"),
        "with": _numbered(with_them, 1, "+{}"),
    }
    return table, pictures.strip(rows, job.title)


def _read_actions(path: Path, values: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a CSV file of actions ({error}).") from error
    numbers = all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes) and not table.isna().any(axis=None)
    if list(table.columns[:1]) != ["frame"] or len(table.columns) != values + 1 or not numbers:
        known = list(table.columns)
        raise InputError(f"{path} must have a column frame and {values} more, all numbers; it has {known}.")
    return table


PRESENTERS: dict[str, Callable[[Job], Result]] = {
    "extrapolate": _extrapolate,
    "hindcast": _hindcast,
    "fill_in": _fill_in,
    "retime": _retime,
    "denoise": _denoise,
    "surprise": _surprise,
    "spectrum": _spectrum,
    "sample": _sample,
    "what_if": _what_if,
}


def _framed(frame: Frame) -> Frame:
    """A frame with a mark that a model has made it: a border of a fortieth of its height, at least a pixel."""
    width = max(1, frame.shape[0] // 40)
    marked = np.empty_like(frame)
    marked[:] = BORDER if frame.shape[2] == 3 else (200,)
    inner = (slice(width, -width), slice(width, -width))
    marked[inner] = frame[inner]
    return marked

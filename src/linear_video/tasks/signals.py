"""The results of tasks that measure footage: how unlikely it is, and what oscillates in it."""

import logging
from collections.abc import Iterator

import numpy as np

from linear_video.common.errors import InputError
from linear_video.tasks import frequencies, pictures
from linear_video.tasks.alarms import forecast_error, ordinary_errors
from linear_video.tasks.bagged_modes import bagged_modes
from linear_video.tasks.job import Job, Remembered, Result, captioned, frames_table
from linear_video.tasks.parts import EvenlySpread, Frame, difference
from linear_video.tasks.settings import parse_band
from linear_video.tasks.trained import Surprises

logger = logging.getLogger(__name__)

FAR = 1.0  # bits per value above the greatest of clips that were held out of a model's training


def surprise(job: Job) -> Result:
    """How unlikely each frame is, and its difference from the frame before."""
    thumbnails = EvenlySpread[Frame]()

    changes: list[float] = []
    before: Frame | None = None

    def seen() -> Iterator[Frame]:
        nonlocal before
        for frame in job.frames:
            thumbnails.add(frame)
            changes.append(np.nan if before is None else difference(before, frame))
            before = frame
            yield frame

    surprises = job.trained.surprise(seen(), job.settings.horizon)
    _warn(job, surprises)
    ordinary = job.calibration.errors if job.calibration else ordinary_errors([surprises])
    errors = forecast_error(surprises.errors, ordinary)
    columns = {"likelihood_bits": surprises.likelihood, "forecast_error": errors, "frame_difference": changes}
    table = frames_table(job, range(len(errors)), **columns)
    if job.calibration:
        table["alarm"] = job.calibration.alarms(surprises)
    return Result(table, pictures.surprise_plot(thumbnails.kept, table, job.calibration, job.title))


def _warn(job: Job, surprises: Surprises) -> None:
    """Warn in one line if footage is much less likely than the model's training clips."""
    likelihood = surprises.likelihood[np.isfinite(surprises.errors[:, 0])]
    ordinary = job.trained.ordinary("bits_per_value")
    if ordinary is None or not len(likelihood) or not np.median(likelihood) > ordinary[1] + FAR:
        return
    logger.warning(
        f"{job.title}: the model does not fit. Frames take {np.median(likelihood):.1f} bits per value, and clips held "
        f"out of its training {ordinary[0]:.1f} to {ordinary[1]:.1f}."
    )


def spectrum(job: Job) -> Result:
    """The modes of the model, and beside them the strongest peak of the Fourier transform."""
    footage = Remembered(job.frames, 1)
    modes = job.trained.spectrum(footage, job.fps, job.settings.window, job.settings.modes)
    long_enough = footage.count >= frequencies.LEAST_FRAMES
    peak = frequencies.fourier(job.again, job.fps, seed=job.seed) if long_enough else None
    scale = max(float(np.abs(modes.responses).max()), 1e-6)
    for moment in range(modes.responses.shape[1]):  # the part of each mode, side by side, around grey
        row = [np.uint8(np.rint(127.5 * (1 + response[moment] / scale))) for response in modes.responses]
        job.write([np.hstack([modes.frames[moment], *row])])
    return Result(modes.table, pictures.modes_plot(modes, job.fps, job.title, peak))


def fourier(job: Job) -> Result:
    """Without a model: what oscillates, and the strongest frequency with its interval."""
    low, high = parse_band(job.settings.band) or (None, None)
    peak = frequencies.fourier(job.frames, job.fps, low, high, job.seed)
    first, last = peak.interval_hz
    logger.info(f"{job.title}: strongest at {peak.frequency_hz:.3f} Hz (95 % within {first:.3f} to {last:.3f} Hz).")
    table = peak.table.assign(peak_hz=peak.frequency_hz, peak_from_hz=first, peak_to_hz=last)
    return Result(table, pictures.power_plot(peak, job.title))


def dmd(job: Job) -> Result:
    """Without a model: linear modes of the video by PyDMD, with the spread of their frequencies."""
    modes = bagged_modes(job.frames, job.fps, 2 * job.settings.modes, parse_band(job.settings.band), job.seed)
    first = modes.iloc[0]
    logger.info(
        f"{job.title}: strongest at {first['frequency_hz']:.3f} Hz "
        f"({first['from_hz']:.3f} to {first['to_hz']:.3f} Hz by bagging, which tends to be too narrow)."
    )
    return Result(modes, pictures.bags_plot(modes, job.title))


def magnify(job: Job) -> Result:
    """Magnification by the video's own linear modes, and beside it linear Eulerian magnification."""
    band, factor = parse_band(job.settings.band), job.settings.magnification
    if band is None:
        raise InputError('predict.band names no frequencies; name two, as in --params="predict.band=0.5-0.9".')
    found = frequencies.oscillations(job.frames, job.fps, band)
    was, made = EvenlySpread[Frame](6), EvenlySpread[Frame](6)
    magnified = frequencies.magnified(job.again, found.part, factor)
    linear = frequencies.magnified_linear(job.again, job.fps, band, factor)
    for before, frame, other in zip(job.again, magnified, linear, strict=True):
        job.write([frame])
        job.reference.write(other)
        was.add(before)
        made.add(frame)
    logger.info(f"{job.title}: most modes agree on {found.frequency_hz:.3f} Hz.")
    strips = {"footage": captioned(was.kept), "magnified": captioned(made.kept)}
    table = found.table.assign(agreed_hz=found.frequency_hz)
    return Result(table, pictures.strip(strips, job.title))

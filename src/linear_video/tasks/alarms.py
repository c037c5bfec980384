"""From how unlikely frames are to alarms, calibrated on footage in which nothing is out of the ordinary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linear_video.errors import InputError
from linear_video.tasks.trained import Surprises

LEAST_VARIANCE = 1e-6  # of forecasts, in values of [0, 1]: what is always forecast exactly


@dataclass(frozen=True)
class Calibration:
    """What is ordinary.

    Attributes:
        variances: mean squared errors of forecasts 1, 2, ... frames ahead.
        centre, spread: mean and standard deviation of likelihood and forecast surprise (bits per value).
        threshold: of the score, which ordinary frames exceed at the false-alarm rate.
    """

    variances: NDArray[np.float64]  # (horizon,)
    centre: NDArray[np.float64]  # (2,)
    spread: NDArray[np.float64]  # (2,)
    threshold: float


def forecast_bits(errors: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits per value of frames whose forecasts have these squared errors (T, horizon): (T,), NaN where there is none.

    The mean over the forecasts made 1, 2, ... frames before of -log2 N(frame; forecast, variance), per grey level.
    """
    nats = errors / (2 * variances) + np.log(2 * np.pi * variances) / 2
    there = np.isfinite(nats)
    total = np.where(there, nats, 0).sum(axis=1)
    mean: NDArray[np.float64] = np.divide(
        total, there.sum(axis=1), out=np.full(len(nats), np.nan), where=there.all(axis=1)
    )
    return np.asarray(mean / np.log(2) + np.log2(255))


def calibrate(normal: list[Surprises], false_alarm_rate: float) -> Calibration:
    """Learn from ordinary footage what is ordinary.

    The threshold is the value that a further ordinary frame exceeds with at most the rate given, if frames were
    exchangeable (split conformal: rank ceil((1 - rate)(n + 1)) of n scores).

    Raises:
        InputError: if there are too few frames for the rate.
    """
    errors = np.concatenate([of_one.errors for of_one in normal])
    whole = np.isfinite(errors).all(axis=1)
    count = int(whole.sum())
    rank = int(np.ceil((1 - false_alarm_rate) * (count + 1)))
    if rank > count:
        raise InputError(
            f"{count} frames of normal footage that follow enough others are too few for a false_alarm_rate of "
            f"{false_alarm_rate:g}; give at least {int(np.ceil(1 / false_alarm_rate))}."
        )
    variances = np.maximum(errors[whole].mean(axis=0), LEAST_VARIANCE)
    both = np.concatenate([_both(of_one, variances) for of_one in normal])[whole]
    unknown = np.isnan(both).any(axis=0)  # no likelihood
    centre = np.where(unknown, 0, both.mean(axis=0))
    spread = np.where(unknown, 1, np.maximum(both.std(axis=0), 1e-9))
    found = Calibration(variances, centre, spread, np.inf)
    scores = np.concatenate([score(of_one, found) for of_one in normal])[whole]
    return Calibration(variances, centre, spread, float(np.sort(scores)[rank - 1]))


def _both(surprises: Surprises, variances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack((surprises.likelihood, forecast_bits(surprises.errors, variances)), axis=1)


def score(surprises: Surprises, calibration: Calibration) -> NDArray[np.float64]:
    """How far each frame is out of the ordinary: (T,), the larger of the two surprises in ordinary standard deviations.

    NaN where too few frames are before it for either.
    """
    both = (_both(surprises, calibration.variances) - calibration.centre) / calibration.spread
    both[:, 0] = np.where(np.isnan(both[:, 1]), np.nan, both[:, 0])
    out: NDArray[np.float64] = np.where(np.isnan(both[:, 0]), both[:, 1], both.max(axis=1))
    return out

"""Alarms for unlikely frames, calibrated on footage in which nothing is out of the ordinary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.tasks.trained import Surprises

LEAST_ERROR = 1e-6  # squared error of values in [0, 1]: a floor, in case everything is forecast exactly


@dataclass(frozen=True)
class Calibration:
    """What counts as ordinary.

    Attributes:
        errors: (horizon,), mean squared errors of forecasts 1, 2, ... frames ahead.
        forecast: a ``forecast_error`` above this raises an alarm.
        likelihood: bits per value above this raise an alarm, too; infinite for a model without a likelihood.
    """

    errors: NDArray[np.float64]
    forecast: float
    likelihood: float

    def alarms(self, surprises: Surprises) -> NDArray[np.bool_]:
        """Which frames are out of the ordinary, (T,); frames with too few frames before them never are."""
        error = forecast_error(surprises.errors, self.errors)
        unlikely = np.isfinite(error) & (surprises.likelihood > self.likelihood)
        return (error > self.forecast) | unlikely


def forecast_error(errors: NDArray[np.float64], ordinary: NDArray[np.float64]) -> NDArray[np.float64]:
    """The worst of a frame's forecasts: its squared error relative to the ordinary error of a forecast as far ahead.

    Errors (T, horizon), ordinary errors (horizon,) -> (T,), NaN for frames that lack some forecast.
    """
    return np.asarray((errors / ordinary).max(axis=1))


def ordinary_errors(surprises: list[Surprises]) -> NDArray[np.float64]:
    """Mean squared errors of forecasts 1, 2, ... frames ahead: (horizon,).

    Raises:
        InputError: if no frame has enough frames before it.
    """
    errors = _complete(surprises).errors
    if not len(errors):
        raise InputError("the footage has too few frames: it needs at least context + horizon of them.")
    return np.asarray(np.maximum(errors.mean(axis=0), LEAST_ERROR))


def calibrate(normal: list[Surprises], false_alarm_rate: float) -> Calibration:
    """Learn from ordinary footage what is ordinary.

    Each threshold is the value that another ordinary frame exceeds with at most half the given rate, if frames are
    exchangeable (split conformal: rank ceil((1 - rate / 2)(n + 1)) of n frames). Without a likelihood, the threshold of
    the forecasts has the whole rate.

    Raises:
        InputError: if there are too few frames for the rate.
    """
    ordinary = ordinary_errors(normal)
    likelihood, errors = _complete(normal)
    forecast = forecast_error(errors, ordinary)
    known = bool(np.isfinite(likelihood).all())
    rate = false_alarm_rate / 2 if known else false_alarm_rate
    rank = int(np.ceil((1 - rate) * (len(forecast) + 1)))
    if rank > len(forecast):
        raise InputError(
            f"{len(forecast)} frames of normal footage with enough frames before them are too few for a "
            f"false_alarm_rate of {false_alarm_rate:g}; give at least {int(np.ceil(1 / rate))}."
        )
    limits = [float(np.sort(values)[rank - 1]) for values in (forecast, likelihood)]
    return Calibration(ordinary, limits[0], limits[1] if known else np.inf)


def _complete(surprises: list[Surprises]) -> Surprises:
    """Forecast errors and likelihoods of all frames that have every forecast."""
    likelihood, errors = (np.concatenate(values) for values in zip(*surprises, strict=True))
    whole = np.isfinite(errors).all(axis=1)
    return Surprises(likelihood[whole], errors[whole])

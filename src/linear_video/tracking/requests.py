"""Requests to a server: they are read strictly, and bounded before memory is allocated."""

import json
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.common.limits import SERVER_BYTES, SERVER_SECONDS, limit
from linear_video.tasks.ahead import ends_of_tests
from linear_video.tasks.parts import Parts, halvings
from linear_video.tasks.trained import TrainedModel

HORIZON, MOST_HORIZON = 5, 1000  # number of frames in an answer: by default, and at most
# Measured bytes for each value of the given and the predicted frames: the methods' guesses, and numbers in JSON lists.
BYTES_OF_VALUE = 100
# Measured bytes for each value of the frames that a model sees and predicts, with the ILE, the most costly model.
BYTES_OF_SMALL, BYTES_OF_WHOLE = 1000, 400  # at the model's size; for models that take any size
# Seconds for each forecast and each frame that it is made of, and for each value of those as the model sees it,
# measured on one core with warp dynamics, the most costly. (A forecast is made of all frames before it.)
SECONDS_OF_FRAME, SECONDS_OF_VALUE = 1e-4, 4e-8
BODY_SHARE = 20  # factor by which a request's text grows while it is read


def most_body() -> int:
    """The largest size of a request's text in bytes."""
    return max(1, limit(SERVER_BYTES) // BODY_SHARE)


def read_request(body: bytes) -> tuple[NDArray[np.uint8], int]:
    """Frames uint8 (T, h, w, channels) and the horizon of ``{"inputs": ..., "params": {"horizon": 5}}``.

    Raises:
        InputError: if it is anything else.
    """
    try:
        content = json.loads(body.decode(), parse_constant=_no_number)
    except RecursionError as error:
        raise InputError("the request is not valid JSON (it is nested too deeply).") from error
    except ValueError as error:  # UnicodeDecodeError too
        raise InputError(f"the request is not valid JSON ({str(error)[:200]}).") from error
    if not isinstance(content, dict) or not {"inputs"} <= content.keys() <= {"inputs", "params"}:
        raise InputError('the request must be {"inputs": frames, "params": {"horizon": 5}}, without other entries.')
    params = content.get("params", {})
    if not isinstance(params, dict) or not params.keys() <= {"horizon"}:
        raise InputError('params must be {"horizon": 5}, or be left out.')
    return _frames(content["inputs"]), check_horizon(params.get("horizon", HORIZON))


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _frames(inputs: Any) -> NDArray[np.uint8]:
    """Lists of lists as an array; only numbers are accepted as numbers."""
    level, shape = [inputs], list[int]()
    for _ in range(4):
        if set(map(type, level)) != {list} or len(sizes := set(map(len, level))) != 1 or 0 in sizes:
            raise InputError("inputs must be frames (T, h, w, channels) as lists of lists of one length, none empty.")
        shape += sizes
        level = list(chain.from_iterable(level))
    if set(map(type, level)) != {int} or min(level) < 0 or max(level) > 255:
        raise InputError("inputs must be whole numbers from 0 to 255, four lists deep: (T, h, w, channels).")
    return np.frombuffer(bytes(level), np.uint8).reshape(shape)


def check_horizon(horizon: Any) -> int:
    """The number of frames to predict.

    Raises:
        InputError: if it is not a number, or is too large.
    """
    whole = isinstance(horizon, int | np.integer) and not isinstance(horizon, bool)
    if not whole or not 1 <= horizon <= MOST_HORIZON:
        raise InputError(f"horizon must be a whole number from 1 to {MOST_HORIZON}, not {str(horizon)[:40]}.")
    return int(horizon)


def answer(trained: TrainedModel, frames: NDArray[np.uint8], horizon: int) -> NDArray[np.uint8]:
    """The frames after the last one: (horizon, h, w, channels).

    Raises:
        InputError: if the frames cannot be used, or the answer would take more memory or time than is allowed.
    """
    if frames.ndim != 4 or 0 in frames.shape or frames.shape[3] not in (1, 3):
        raise InputError(f"frames must be (T, h, w, channels), with 1 or 3 channels, not {frames.shape}.")
    asked = f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]} and a horizon of {horizon}"
    size = estimated_bytes(trained, frames.shape, horizon)
    seconds = estimated_seconds(trained, frames.shape, horizon)
    for needed, form, unit, unit_size, variable in (
        (size, ",.1f", "GiB", 2**30, SERVER_BYTES),
        (seconds, ",.0f", "seconds, tests on the frames given included", 1, SERVER_SECONDS),
    ):
        if needed > (most := limit(variable)):
            raise InputError(
                f"{asked} take about {needed / unit_size:{form}} {unit}, but {most / unit_size:{form}} are allowed. "
                f"Give fewer or smaller frames, or a smaller horizon; or start the server with a larger {variable}."
            )
    return trained.extrapolate(frames, horizon)


def estimated_seconds(trained: TrainedModel, shape: tuple[int, ...], horizon: int) -> float:
    """Time on one core to predict frames after those of a shape (T, h, w, channels), with tests on the given frames."""
    tested = trained.method != "model"
    tests = len(ends_of_tests(shape[0], max(2, trained.context), horizon)) if tested else 0
    frames = (1 + tests) * horizon * (trained.context + horizon)
    return frames * (SECONDS_OF_FRAME + SECONDS_OF_VALUE * _values_seen(trained, shape))


def estimated_bytes(trained: TrainedModel, shape: tuple[int, ...], horizon: int) -> int:
    """Memory to predict frames after those of a shape (T, h, w, channels), without the model itself."""
    kept = BYTES_OF_VALUE * (shape[0] + horizon) * shape[1] * shape[2] * shape[3]
    cost = BYTES_OF_WHOLE if trained.fit == "whole" else BYTES_OF_SMALL
    return kept + cost * (trained.context + horizon) * _values_seen(trained, shape)


def _values_seen(trained: TrainedModel, shape: tuple[int, ...]) -> int:
    """Number of values in one frame, in the size and the parts in which the model sees it."""
    _, height, width, planes = shape
    own: tuple[int, int, int] = trained.model.frame_shape
    if trained.fit == "whole":
        times = halvings(min(height, width))
        height, width = max(1, height >> times), max(1, width >> times)
        own = (own[0], height, width)
    parts = Parts(own, (height, width, planes), trained.fit)
    return parts.rows * parts.columns * parts.planes * own[0] * own[1] * own[2]

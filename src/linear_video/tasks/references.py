"""References: what one can do with footage without a trained model.

Frames are float32 (h, w, planes) in [0, 1].
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linear_video.common.images import resized
from linear_video.models.optical_flow import flow, grid, moved, origins

Values = NDArray[np.float32]

ENLARGED = 128  # pixels of the shorter side; smaller frames are enlarged to this before their flow is computed
MOTION_LINES = 400  # largest number of lines in the check whether anything moves
SMOOTHED = 1.5  # pixels: noisy frames are smoothed before their flow is computed


def _enlargement(frame: Values) -> int:
    return max(1, min(4, ENLARGED // int(min(frame.shape[:2]))))


def last_frame(frames: Sequence[Values], horizon: int) -> list[Values]:
    """The last frame, repeated."""
    return [frames[-1]] * horizon


def optical_flow(frames: Sequence[Values], horizon: int, fine: bool = False) -> list[Values]:
    """Motion continues along the optical flow between the last two frames."""
    before, last = frames[-2:]
    places = origins(before, last, horizon, _enlargement(last), fine)
    return [moved(last, origin, cv2.INTER_CUBIC).clip(0, 1) for origin in places]


def mean_of_neighbours(before: Values, after: Values, share: float) -> Values:
    """The mean of two frames, weighted by nearness; ``share`` is the time passed from the first to the second."""
    return np.asarray((1 - share) * before + share * after, np.float32)


def cubic(four: Sequence[Values], share: float) -> Values:
    """Cubic (Lagrange) interpolation between the second and the third of four evenly spaced frames."""
    times = (-1.0, 0.0, 1.0, 2.0)
    weights = [np.prod([(share - other) / (one - other) for other in times if other != one]) for one in times]
    return np.asarray(sum(w * frame for w, frame in zip(weights, four, strict=True)), np.float32).clip(0, 1)


def optical_flow_between(before: Values, after: Values, share: float, fine: bool = False) -> Values:
    """Both neighbours moved to the time between them, each along its own optical flow; their mean by nearness."""
    enlargement = _enlargement(before)
    forth, back = flow(before, after, enlargement, fine), flow(after, before, enlargement, fine)
    one, two = _partly(before, forth, share), _partly(after, back, 1 - share)
    return mean_of_neighbours(one, two, share).clip(0, 1)


def _partly(frame: Values, field: NDArray[np.float32], share: float) -> Values:
    """A frame moved by a share of its displacements to another frame."""
    places = grid(*field.shape[:2])
    there = moved(field, places - share * field)  # the displacement of the point that is here at that time
    return moved(frame, places - share * there, cv2.INTER_CUBIC)


def motion(before: Values, after: Values) -> float:
    """Number of pixels by which at least a tenth of the picture moves from one frame to the other.

    For large frames, it is measured on smaller copies.
    """
    height, width = before.shape[:2]
    shrinkage = max(1.0, min(height, width) / MOTION_LINES)
    size = (round(height / shrinkage), round(width / shrinkage))
    one, two = (resized(frame, *size) for frame in (before, after))
    lengths = np.hypot(*np.moveaxis(flow(one, two, 1), 2, 0))
    return float(shrinkage * np.quantile(lengths, 0.9))


def onto(frame: Values, other: Values) -> Values:
    """Another frame of the same scene, moved onto this one along the optical flow between both, smoothed."""
    one, two = (cv2.GaussianBlur(values, (0, 0), SMOOTHED).reshape(values.shape) for values in (frame, other))
    field = flow(np.asarray(one, np.float32), np.asarray(two, np.float32), _enlargement(frame))
    return moved(other, grid(*field.shape[:2]) + field, cv2.INTER_CUBIC)


def blurred(frame: Values, width: float) -> Values:
    """A frame blurred by a Gaussian with this standard deviation in pixels."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), width), np.float32).reshape(frame.shape)


def non_local_means(frame: Values, strength: float) -> Values:
    """OpenCV's non-local means; the strength is in grey levels."""
    levels = np.rint(frame.clip(0, 1) * 255).astype(np.uint8)
    if frame.shape[2] == 3:
        found = cv2.fastNlMeansDenoisingColored(levels, None, strength, strength)
    else:
        found = cv2.fastNlMeansDenoising(levels, None, strength)
    return np.asarray(found, np.float32).reshape(frame.shape) / np.float32(255)

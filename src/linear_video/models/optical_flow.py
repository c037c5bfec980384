"""A prediction without training: the picture continues its last motion, as optical flow finds it.

Velocities come from OpenCV's DIS (Kroeger et al. 2016, arXiv 1603.03590) between the last two frames, and are constant
along the motion: the point at x in the next frame was at x + f(x) in this one, and the field f is carried along.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linear_video.common.checks import check_least, check_most
from linear_video.models.base import TakesAnySize

LEAST_SIDE = 16  # in pixels; DIS fails, or ends the process, on frames whose shorter side is smaller

Field = NDArray[np.float32]  # (H, W, 2), pixels along x and y


@dataclass(frozen=True)
class OpticalFlowSettings:
    """Settings of optical flow.

    Attributes:
        enlargement: factor by which frames are enlarged before the flow is computed; DIS compares patches of 8 pixels.
    """

    enlargement: int = 4

    def __post_init__(self) -> None:
        check_least(self, 1, "enlargement")
        check_most(self, 16, "enlargement")


class OpticalFlow(TakesAnySize):
    """Moves the last frame on. It has nothing to learn."""

    settings_class = OpticalFlowSettings

    @property
    def least_context(self) -> int:
        """Two frames, to find the motion between them."""
        return 2

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Context (N, T, C, H, W) -> (N, horizon, C, H, W)."""
        pairs = self.newest(context).permute(0, 1, 3, 4, 2).cpu().numpy()  # (N, 2, H, W, C)
        predicted = [self._predict_one(before, last, horizon) for before, last in pairs]
        frames = torch.from_numpy(np.stack(predicted)).permute(0, 1, 4, 2, 3)
        return frames.clamp(0, 1).to(context)

    def _predict_one(self, before: NDArray[np.float32], last: NDArray[np.float32], horizon: int) -> NDArray[np.float32]:
        """Two frames (H, W, C) -> (horizon, H, W, C)."""
        places = origins(before, last, horizon, self.settings.enlargement)
        return np.stack([moved(last, origin, cv2.INTER_CUBIC) for origin in places])


def origins(
    before: NDArray[np.float32], last: NDArray[np.float32], horizon: int, enlargement: int, fine: bool = False
) -> NDArray[np.float32]:
    """For each pixel of the next frames, its place in the last of two frames (H, W, C): (horizon, H, W, 2)."""
    field = flow(last, before, enlargement, fine)
    places = grid(*field.shape[:2])
    origin, found = places, []
    for _ in range(horizon):
        step = places + field
        origin, field = moved(origin, step), moved(field, step)
        found.append(origin)
    return np.stack(found)


def grid(height: int, width: int) -> Field:
    """The coordinates of the pixels themselves."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)


def flow(frame: NDArray[np.float32], other: NDArray[np.float32], enlargement: int, fine: bool = False) -> Field:
    """Displacements f with ``frame(x) = other(x + f(x))``, of frames (H, W, C) in [0, 1].

    It uses OpenCV's own settings, which stop at half the resolution, or ``fine`` ones, at several times the cost.
    """
    height, width = frame.shape[:2]
    enlargement = max(enlargement, -(-LEAST_SIDE // min(height, width)))
    size = (enlargement * width, enlargement * height)
    grey = [np.rint(255 * one.mean(-1).clip(0, 1)).astype(np.uint8) for one in (frame, other)]
    large = [cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in grey]
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if fine:
        engine.setFinestScale(0)
        engine.setVariationalRefinementIterations(15)
    found = engine.calc(large[0], large[1], np.zeros((*size[::-1], 2), np.float32))
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) / enlargement, np.float32)


def moved(values: NDArray[np.float32], origin: Field, interpolation: int = cv2.INTER_LINEAR) -> NDArray[np.float32]:
    """Values (H, W, K) sampled at the origin of each pixel; the edge continues beyond the frame."""
    found = cv2.remap(values, origin[..., 0], origin[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32).reshape(values.shape)

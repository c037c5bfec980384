"""The common part of the two forms whose transition follows the motion."""

from abc import abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from linear_video.models.base import FrameShape
from linear_video.models.ile.motion import MotionNetwork, coarse_error
from linear_video.models.ile.prior import Encoded, Learned, Prior
from linear_video.models.ile.settings import IleSettings

# The motion is learned from coarse to fine: widths of the low-pass filter, in pixels of a frame of 32; and errors,
# relative to the last frame's, below which a clip counts less and less, so that the worst clips improve first.
COARSEST, FINEST = 4.0, 0.3
COARSE_TOLERANCE, FINE_TOLERANCE = 0.3, 0.003
MOMENTS = 5  # moments of a clip in each step


class Filtering(Protocol):
    """The results of a filter for sequences."""

    @property
    def states(self) -> Tensor:
        """The states after each frame: (N, T, ...)."""

    @property
    def motion(self) -> Tensor:
        """The motion after each frame, in the next steps: (N, T, reach, ...)."""

    @property
    def log_density(self) -> Tensor:
        """The log density of each frame given those before: (N, T); 0 where it is missing."""


class MovingPrior(Prior):
    """A prior of embeddings that are pictures. After each frame, the motion network says how they continue.

    Args:
        frame_shape: (C, H, W).
        settings: see ``IleSettings``.
    """

    motion: MotionNetwork
    reach: int

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        super().__init__()
        self.frame_shape, self.settings, self.reach = frame_shape, settings, settings.reach

    def pictures_of(self, embeddings: Tensor) -> Tensor:
        """(..., D) -> (..., C, H, W)."""
        pictures: Tensor = embeddings.unflatten(-1, self.frame_shape)
        return pictures

    @abstractmethod
    def carried(self, pictures: Tensor, motion: Tensor) -> Tensor:
        """Pictures (B, C, H, W) moved by the motion (B, reach, ...) after them: (B, reach, C, H, W)."""

    @abstractmethod
    def roughness(self, motion: Tensor) -> Tensor:
        """A penalty on the motion, beside its errors: a scalar."""

    def motion_error(
        self, clips: Tensor, actions: Tensor | None, generator: torch.Generator | None, done: float
    ) -> Tensor:
        """Objective for learning the motion alone from frames (N, T, C, H, W): coarse to fine, without the flow.

        ``generator`` draws some moments from which the next frames are predicted; ``done`` is the share of this
        stage that is over, in [0, 1).
        """
        starts = clips.shape[1] - self.reach
        moments = torch.arange(starts, device=clips.device)
        if generator is not None:
            moments = torch.randperm(starts, generator=generator, device=clips.device)
        moments = moments[:MOMENTS]
        motion = self.motion(clips, actions, moments).flatten(0, 1)
        last = clips[:, moments].flatten(0, 1)
        truth = clips[:, 1:].unfold(1, self.reach, 1).movedim(-1, 2)[:, moments].flatten(0, 1)  # (N K, reach, C, H, W)
        width = min(self.frame_shape[1:]) / 32 * COARSEST * (FINEST / COARSEST) ** done
        tolerance = COARSE_TOLERANCE * (FINE_TOLERANCE / COARSE_TOLERANCE) ** done
        moved = self.carried(last, motion)
        return coarse_error(moved, truth, last[:, None], width, tolerance) + self.roughness(motion)

    def moments(self, clips: Encoded, generator: torch.Generator | None) -> Tensor:
        """Numbers of the frames from which ``learn`` forecasts, drawn for each clip: (N, K)."""
        count, length = clips.embeddings.shape[:2]
        latest = length - 1 - self.reach
        first = min(self.settings.look_back - 1, latest)
        shape, device = (count, self.settings.forecasts_per_clip), clips.frames.device
        if generator is None:
            return torch.linspace(latest, first, shape[1], device=device).round().long().expand(shape)
        return torch.randint(first, latest + 1, shape, generator=generator, device=device)

    def learn(self, seen: Encoded, generator: torch.Generator | None) -> Learned:
        """See ``Prior``."""
        filtered, moments = self.filter(seen), self.moments(seen, generator)
        chosen = torch.arange(len(moments), device=moments.device)[:, None]
        states, motion = (of_all[chosen, moments].flatten(0, 1) for of_all in (filtered.states, filtered.motion))
        times = moments[..., None] + torch.arange(1, self.reach + 1, device=moments.device)
        forecasts = self.forecast_from(states, motion).unflatten(0, moments.shape).flatten(1, 2)  # (N, K reach, D)
        likelihood = {"likelihood": filtered.log_density.sum(1)}
        return Learned(likelihood, {"likelihood": 1.0}, forecasts, times.flatten(1))

    def log_density(self, seen: Encoded, first: int = 0) -> Tensor:
        """See ``Prior``; exact."""
        return self.filter(seen).log_density[:, first:]

    def log_likelihood(self, seen: Encoded, observed: Tensor | None = None) -> Tensor:
        """See ``Prior``."""
        return self.filter(seen, observed).log_density.sum(1)

    def forecast(self, seen: Encoded, horizon: int, observed: Tensor | None = None) -> Tensor:
        """See ``Prior``."""
        filtered = self.filter(seen, observed)
        return self.forecast_from(filtered.states[:, -1], filtered.motion[:, -1, :horizon])

    @abstractmethod
    def filter(self, seen: Encoded, observed: Tensor | None = None) -> Filtering:
        """Filter over embeddings (N, T, D), of which the ``observed`` (N, T) ones are known."""

    @abstractmethod
    def forecast_from(self, states: Tensor, motion: Tensor) -> Tensor:
        """Embeddings expected after states (B, ...) with the motion (B, reach, ...) after them: (B, reach, D)."""

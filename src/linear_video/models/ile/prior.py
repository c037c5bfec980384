"""The interface of linear dynamics on sequences of embeddings, which three forms implement.

The forms are ``dense`` (as in the paper, one transition for all motions), ``modal`` (the past turns the modes) and
``warp`` (the past moves the picture). The flow, the training and the tasks use only this interface.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from linear_video.models.base import Spectrum


class Encoded(NamedTuple):
    """Seen frames, their embeddings, and the actions on them."""

    frames: Tensor  # (N, T, C, H, W)
    embeddings: Tensor  # (N, T, D)
    actions: Tensor | None = None  # (N, T, m), or longer, with actions of later frames

    def first(self, frames: int) -> "Encoded":
        """The same for the first frames alone, with all actions."""
        return self._replace(frames=self.frames[:, :frames], embeddings=self.embeddings[:, :frames])

    def from_frame(self, frame: int) -> "Encoded":
        """The same for the frames from ``frame`` on."""
        actions = None if self.actions is None else self.actions[:, frame:]
        return Encoded(self.frames[:, frame:], self.embeddings[:, frame:], actions)

    def followed_by(self, later: "Encoded") -> "Encoded":
        """The same for these frames and then the ``later`` ones."""
        frames = torch.cat((self.frames, later.frames), 1)
        return self._replace(frames=frames, embeddings=torch.cat((self.embeddings, later.embeddings), 1))

    def windows(self, frames: int) -> "Encoded":
        """The same for all windows of consecutive frames: (N, T) -> (N · (T - frames + 1), frames)."""
        parts = (self.frames, self.embeddings)
        return Encoded(*(part.unfold(1, frames, 1).movedim(-1, 2).flatten(0, 1) for part in parts))

    def reversed(self) -> "Encoded":
        """The same in reverse order of time, without actions."""
        return Encoded(self.frames.flip(1), self.embeddings.flip(1))


class Learned(NamedTuple):
    """What the objective needs from a batch of clips."""

    log_likelihoods: dict[str, Tensor]  # by name, each (N,): likelihoods of all embeddings, in nats
    weights: dict[str, float]  # weights of those in the objective
    forecasts: Tensor  # (N, K, D): embeddings forecast from frames before; K may be 0
    times: Tensor  # (N, K): numbers of the forecast frames


class Prior(nn.Module, ABC):
    """A density of sequences of embeddings (N, T, D), and what follows from it.

    Attributes:
        pictures: whether it needs embeddings in the order of a picture's pixels, ``Flow.as_pictures``.
        reach: greatest number of steps in one forecast; None for any number.
    """

    pictures: ClassVar[bool] = True
    reach: int | None = None

    @abstractmethod
    def learn(self, seen: Encoded, generator: torch.Generator | None) -> Learned:
        """The terms of the objective; ``generator`` draws the moments from which it forecasts."""

    @abstractmethod
    def log_density(self, seen: Encoded, first: int = 0) -> Tensor:
        """Log p(z_t | z_0 .. z_{t-1}) in nats, of the frames from ``first`` on: (N, T - first)."""

    @abstractmethod
    def log_likelihood(self, seen: Encoded, observed: Tensor | None = None) -> Tensor:
        """Log density in nats of the embeddings of ``observed`` frames (N, T): (N,)."""

    @abstractmethod
    def forecast(self, seen: Encoded, horizon: int, observed: Tensor | None = None) -> Tensor:
        """Embeddings expected after those seen, at most ``reach`` of them: (N, horizon, D)."""

    def forecast_windows(self, seen: Encoded, context: int, horizon: int) -> Tensor:
        """The result of ``forecast`` after each window of ``context`` frames: (N, windows, horizon, D)."""
        ahead: Tensor = self.forecast(seen.windows(context), horizon).unflatten(0, (len(seen.frames), -1))
        return ahead

    def density_windows(self, seen: Encoded, past: int) -> Tensor:
        """Log p(z_t | the frames before it, at most ``past``) in nats: (N, T)."""
        known = self.log_density(seen.first(past))
        if seen.frames.shape[1] <= past:
            return known
        rest = self.log_density(seen.windows(past + 1), first=past)
        return torch.cat((known, rest.unflatten(0, (len(known), -1))[..., 0]), 1)

    @abstractmethod
    def at(self, seen: Encoded, observed: Tensor, times: Tensor) -> Tensor:
        """Embeddings expected at real times (K,), in or around 0 .. T-1, from ``observed`` frames (T,): (N, K, D)."""

    @abstractmethod
    def draw(self, seen: Encoded, horizon: int, count: int, noise: float, generator: torch.Generator) -> Tensor:
        """Draws of the embeddings after those seen, at most ``reach`` of them: (count, N, horizon, D).

        ``noise`` is the size of the observation noise that is added to the draws.
        """

    def share(self, gap: float) -> float:
        """Weight of the dynamics between two seen frames that are ``gap`` apart; the rest is interpolation."""
        return 1.0

    def spectrum(self, seen: Encoded | None) -> Spectrum | None:
        """Eigenvalues of the transition, or of its mean over the frames seen; None for a form without modes."""
        return None

    def forgotten(self, frames: float) -> Tensor:
        """Which modes cannot be traced back this number of frames: bool (modes,)."""
        return torch.zeros(0, dtype=torch.bool)

    def mode_energy(self, seen: Encoded) -> Tensor:
        """Mean energy of each mode in the frames seen, for a form with modes: (N, modes)."""
        raise ValueError("these dynamics have no modes; train with dynamics modal for some.")

    def mode_parts(self, seen: Encoded, modes: list[int]) -> tuple[Tensor, list[Tensor]]:
        """The model's fit of the embeddings seen, (N, T, D), and the part of each mode in it."""
        raise ValueError("these dynamics have no modes; train with dynamics modal for some.")

    def begin(self, frames: Tensor, noise: float) -> None:
        """Called before the first step with some training clips (N, T, C, H, W), as the untrained flow encodes them."""

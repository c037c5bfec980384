"""What every form of linear dynamics knows of sequences of embeddings: one contract, three forms.

``dense`` (the paper's: one transition for all motions), ``modal`` (the past turns the modes) and ``warp`` (the past
moves the picture). The flow, the training and the tasks are written once, and ask no more than this.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from linear_video.models.base import Spectrum


class Encoded(NamedTuple):
    """Frames that were seen, what the flow makes of them, and the actions on them."""

    frames: Tensor  # (N, T, C, H, W)
    embeddings: Tensor  # (N, T, D)
    actions: Tensor | None = None  # (N, T, m), or of further frames too

    def first(self, frames: int) -> "Encoded":
        """Of the first frames alone, with all actions."""
        return self._replace(frames=self.frames[:, :frames], embeddings=self.embeddings[:, :frames])

    def from_frame(self, frame: int) -> "Encoded":
        """Of the frames from one on."""
        actions = None if self.actions is None else self.actions[:, frame:]
        return Encoded(self.frames[:, frame:], self.embeddings[:, frame:], actions)

    def followed_by(self, later: "Encoded") -> "Encoded":
        """Of these frames and the later ones."""
        frames = torch.cat((self.frames, later.frames), 1)
        return self._replace(frames=frames, embeddings=torch.cat((self.embeddings, later.embeddings), 1))

    def windows(self, frames: int) -> "Encoded":
        """Of all windows of so many consecutive frames: (N, T) -> (N · (T - frames + 1), frames)."""
        parts = (self.frames, self.embeddings)
        return Encoded(*(part.unfold(1, frames, 1).movedim(-1, 2).flatten(0, 1) for part in parts))

    def reversed(self) -> "Encoded":
        """The other way round in time, as if nothing had acted."""
        return Encoded(self.frames.flip(1), self.embeddings.flip(1))


class Learned(NamedTuple):
    """What the objective needs of a batch of clips."""

    log_likelihoods: dict[str, Tensor]  # by name, each (N,): of all embeddings, in nats
    weights: dict[str, float]  # of those in the objective
    forecasts: Tensor  # (N, K, D): embeddings forecast from frames before; K may be 0
    times: Tensor  # (N, K): the frames that they are of


class Prior(nn.Module, ABC):
    """A density of sequences of embeddings (N, T, D), and what follows from it.

    Attributes:
        pictures: whether it wants embeddings in the order of a picture's pixels, ``Flow.as_pictures``.
        reach: steps that one forecast goes at most; None for any number.
    """

    pictures: ClassVar[bool] = True
    reach: int | None = None

    @abstractmethod
    def learn(self, seen: Encoded, generator: torch.Generator | None) -> Learned:
        """All that the objective is made of; ``generator`` draws the moments from which it forecasts."""

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
        """What ``forecast`` gives after each window of ``context`` frames: (N, windows, horizon, D)."""
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
        """Embeddings expected at real times (K,), of 0 .. T-1 and around, from ``observed`` frames (T,): (N, K, D)."""

    @abstractmethod
    def draw(self, seen: Encoded, horizon: int, count: int, noise: float, generator: torch.Generator) -> Tensor:
        """Embeddings after those seen, at most ``reach``, drawn: (count, N, horizon, D).

        ``noise`` is the size of the observation noise that is added to what was drawn.
        """

    def share(self, gap: float) -> float:
        """How far to believe it between two frames that were seen, ``gap`` apart; the rest is interpolation."""
        return 1.0

    def spectrum(self, seen: Encoded | None) -> Spectrum | None:
        """Eigenvalues of the mean transition of what was seen, or of any; None for a form without modes."""
        return None

    def forgotten(self, frames: float) -> Tensor:
        """Which modes cannot be traced back so many frames: bool (modes,)."""
        return torch.zeros(0, dtype=torch.bool)

    def mode_energy(self, seen: Encoded) -> Tensor:
        """Mean energy of each mode in what was seen, of a form with modes: (N, modes)."""
        raise ValueError("these dynamics have no modes; train with dynamics modal for some.")

    def mode_parts(self, seen: Encoded, modes: list[int]) -> tuple[Tensor, list[Tensor]]:
        """What was seen as the model has it, (N, T, D), and the part of it that is each mode's."""
        raise ValueError("these dynamics have no modes; train with dynamics modal for some.")

    def begin(self, frames: Tensor, noise: float) -> None:
        """Before the first step, look at some training clips (N, T, C, H, W), as the flow leaves them at first."""

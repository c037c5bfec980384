"""Models whose states evolve linearly, with noise, and are decoded to frames: h_{t+1} = A h_t + B v_t, y_t = f(h_t)."""

from abc import abstractmethod

import torch
from torch import Tensor

from linear_video.models.base import DrawsFutures, HasSpectrum, Spectrum, Synthesises
from linear_video.models.spectrum import mode_parts, spectrum_of


class StateSpaceModel(Synthesises, DrawsFutures, HasSpectrum):
    """The methods that follow from A, B, f and the states of frames."""

    @abstractmethod
    def system(self) -> tuple[Tensor, Tensor]:
        """A and B, both (n, n)."""

    @abstractmethod
    def decode(self, states: Tensor) -> Tensor:
        """States (N, n) -> frames (N, C, H, W)."""

    def shown(self, states: Tensor) -> Tensor:
        """Decoded frames, clamped to [0, 1]."""
        return self.decode(states).clamp(0, 1)

    @abstractmethod
    def first_state(self, start: Tensor) -> Tensor:
        """States of the first frames of clips (N, T, C, H, W): (N, n)."""

    @abstractmethod
    def last_state(self, context: Tensor, noise: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """States of the last frames of clips (N, T, C, H, W), drawn with noise of the given size: (N, n)."""

    @abstractmethod
    def states(self, clips: Tensor) -> Tensor:
        """States of clips (N, T, C, H, W), for all frames or all but the last: (N, T or T - 1, n)."""

    def evolve(
        self, state: Tensor, steps: int, noise: float = 0.0, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Frames (N, C, H, W) of the steps after a state (N, n), without noise if there is no generator."""
        transition, matrix = self.system()
        frames = []
        for _ in range(steps):
            before, state = state, state @ transition.T
            if generator is not None:
                state = state + noise * torch.empty_like(before).normal_(generator=generator) @ matrix.T
            frames.append(self.shown(state))
        return frames

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Frames after the context (N, T, C, H, W), from its last ones, without noise: (N, horizon, C, H, W)."""
        return torch.stack(self.evolve(self.last_state(self.newest(context)), horizon), dim=1)

    @torch.no_grad()
    def synthesise(self, start: Tensor, frames: int, seed: int = 0, noise_scale: float = 1.0) -> Tensor:
        """Endless sequences from the first frames of ``start`` (N, T, C, H, W): (N, frames, C, H, W)."""
        generator, state = torch.Generator(start.device).manual_seed(seed), self.first_state(start)
        return torch.stack([self.shown(state), *self.evolve(state, frames - 1, noise_scale, generator)], dim=1)

    @torch.no_grad()
    def futures(self, context: Tensor, horizon: int, count: int, seed: int, noise: float = 1.0) -> Tensor:
        """Draws of the frames after the context (N, T, C, H, W): (count, N, horizon, C, H, W).

        The last state is drawn, if the model can, and every step has process noise B v; both have the given size.
        """
        generator = torch.Generator(context.device).manual_seed(seed)
        state = self.last_state(self.newest(context).repeat(count, 1, 1, 1, 1), noise, generator)
        frames: Tensor = torch.stack(self.evolve(state, horizon, noise, generator), dim=1)
        return frames.reshape(count, len(context), *frames.shape[1:])

    def steadiness(self) -> dict[str, float]:
        """The spectral radius of A."""
        return {"spectral_radius": float(self.spectrum().eigenvalues.abs().max())}

    @torch.no_grad()
    def spectrum(self, clips: Tensor | None = None) -> Spectrum:
        """Eigenvalues of A with period and half-life in frames."""
        return spectrum_of(torch.linalg.eig(self.system()[0].double()).eigenvalues)

    @torch.no_grad()
    def mode_energy(self, clips: Tensor) -> Tensor:
        """Mean energy of each mode's part of the states: clips (N, T, C, H, W) -> float64 (N, modes)."""
        return mode_parts(self.states(clips), self.system()[0]).square().sum(-1).mean(1)

    @torch.no_grad()
    def mode_response(self, clips: Tensor, modes: list[int]) -> Tensor:
        """What frames (N, T, C, H, W) would lose without each mode: (len(modes), N, T or T - 1, C, H, W)."""
        states = self.states(clips)
        parts = mode_parts(states, self.system()[0]).to(states)
        whole, *without = (
            self.shown(of.flatten(0, 1)).unflatten(0, of.shape[:2])
            for of in (states, *(states - parts[:, :, mode] for mode in modes))
        )
        return torch.stack([whole - frames for frames in without])

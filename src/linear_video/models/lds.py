"""The linear dynamical system of Doretto et al. 2003 ("Dynamic textures"), fitted in closed form.

    x_{t+1} = A x_t + B v_t,    y_t = C x_t + mean,    v_t ~ N(0, I)

C holds the leading principal components of the frames, A is the least squares fit of each state to the next, and B is a
square root of the residuals' covariance. Clips are separate series: no transition is fitted from one clip to the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linear_video.common.checks import check_least, check_most
from linear_video.common.errors import InputError
from linear_video.models.base import FittedInClosedForm
from linear_video.models.state_space import StateSpaceModel

CHUNK = 2**27  # bytes of float64 frames in memory at once
OVERSAMPLING = 10  # additional directions of the randomised decomposition


@dataclass(frozen=True)
class LdsSettings:
    """Settings of Doretto's linear dynamical system.

    Attributes:
        state_dimension: n, the dimension of the state.
        stable: whether singular values of A above 1 are set to 1.
        exact_up_to: largest number of values in a frame for which principal components are computed exactly.
    """

    state_dimension: int = 20
    stable: bool = True
    exact_up_to: int = 3000

    def __post_init__(self) -> None:
        check_least(self, 1, "state_dimension", "exact_up_to")
        check_most(self, 2**14, "state_dimension")


class LinearDynamicSystem(FittedInClosedForm, StateSpaceModel):
    """Doretto's linear dynamical system for frames (C, H, W)."""

    settings_class = LdsSettings

    mean: Tensor
    observation: Tensor
    transition: Tensor
    noise: Tensor

    def __init__(self, frame_shape: tuple[int, int, int], settings: LdsSettings) -> None:
        super().__init__(frame_shape, settings)
        dimensions, state = int(np.prod(frame_shape)), settings.state_dimension
        if state > dimensions:
            raise ValueError(f"state_dimension {state} is more than the frame's {dimensions} values.")
        self.register_buffer("mean", torch.zeros(dimensions, dtype=torch.float64))
        self.register_buffer("observation", torch.zeros(dimensions, state, dtype=torch.float64))  # C
        self.register_buffer("transition", torch.zeros(state, state, dtype=torch.float64))  # A
        self.register_buffer("noise", torch.zeros(state, state, dtype=torch.float64))  # B

    def fit_closed_form(self, frames: NDArray[np.uint8]) -> None:
        """Fit to clips uint8 (N, T, C, H, W), which may be memory-mapped: only a few are in memory at once.

        Raises:
            InputError: if the clips together have fewer frames than the state has dimensions, or only one frame each.
        """
        clips, length = frames.shape[:2]
        if length < 2 or clips * length <= self.settings.state_dimension:
            raise InputError(
                f"{clips} clips of {length} frames are too few for state_dimension {self.settings.state_dimension}."
            )
        mean = frames.mean(axis=(0, 1), dtype=np.float64).ravel() / 255
        observation = self._principal_components(frames, mean)
        before, after, total = (np.zeros((self.settings.state_dimension,) * 2) for _ in range(3))
        for piece in self._pieces(frames, mean):  # (n, T, D)
            states = piece @ observation
            first, second = (s.reshape(-1, s.shape[-1]) for s in (states[:, :-1], states[:, 1:]))
            before += first.T @ first
            after += second.T @ first
            total += second.T @ second
        steps = clips * (length - 1)
        transition = np.asarray(np.linalg.lstsq(before, after.T, rcond=None)[0].T, np.float64)
        if self.settings.stable:
            left, values, right = np.linalg.svd(transition)
            transition = np.asarray(left * np.minimum(values, 1) @ right)
        # Covariance of x_{t+1} - A x_t.
        cross = transition @ after.T
        residual = (total - cross - cross.T + transition @ before @ transition.T) / steps
        values, vectors = np.linalg.eigh((residual + residual.T) / 2)
        noise = vectors * np.sqrt(np.maximum(values, 0))
        for name, value in (("mean", mean), ("observation", observation), ("transition", transition), ("noise", noise)):
            getattr(self, name).copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def _pieces(self, frames: NDArray[np.uint8], mean: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Centred clips as float64 (n, T, D)."""
        size = max(1, CHUNK // (8 * frames[0].size))
        for start in range(0, len(frames), size):
            piece = np.asarray(frames[start : start + size])
            yield piece.reshape(*piece.shape[:2], -1) / 255 - mean

    def _principal_components(self, frames: NDArray[np.uint8], mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Leading left singular vectors of the centred frames: (D, n), exact for small frames, otherwise randomised."""
        dimensions, state = len(mean), self.settings.state_dimension

        def pieces() -> Iterator[NDArray[np.float64]]:
            return (piece.reshape(-1, dimensions) for piece in self._pieces(frames, mean))

        if dimensions <= self.settings.exact_up_to:
            scatter = np.zeros((dimensions, dimensions))
            for flat in pieces():
                scatter += flat.T @ flat
            return np.linalg.eigh(scatter)[1][:, ::-1][:, :state]
        # Halko, Martinsson, Tropp 2011: a random range, sharpened by two power iterations.
        random = np.random.default_rng(0)
        basis = random.standard_normal((dimensions, min(state + OVERSAMPLING, dimensions)))
        for _ in range(3):
            basis = np.linalg.qr(basis)[0]
            image = np.zeros_like(basis)
            for flat in pieces():
                image += flat.T @ (flat @ basis)
            basis = image
        basis = np.linalg.qr(basis)[0]
        small = np.zeros((basis.shape[1],) * 2)
        for piece in self._pieces(frames, mean):
            projected = piece.reshape(-1, dimensions) @ basis
            small += projected.T @ projected
        return np.asarray(basis @ np.linalg.eigh(small)[1][:, ::-1][:, :state])

    def encode(self, frames: Tensor) -> Tensor:
        """States of frames (..., C, H, W): (..., n), float64."""
        flat = frames.flatten(-3).to(torch.float64)
        states: Tensor = (flat - self.mean) @ self.observation
        return states

    def decode(self, states: Tensor) -> Tensor:
        """Frames (..., C, H, W) of states (..., n), float32 in [0, 1]."""
        flat = states @ self.observation.T + self.mean
        frames: Tensor = flat.unflatten(-1, self.frame_shape).clamp(0, 1).float()
        return frames

    # --- what a state space model is asked for ---------------------------------------------------------------------

    def system(self) -> tuple[Tensor, Tensor]:
        """A and B, both (n, n), float64."""
        return self.transition, self.noise

    def first_state(self, start: Tensor) -> Tensor:
        """The state of the first frame."""
        return self.encode(start[:, 0])

    def last_state(self, context: Tensor, noise: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """The state of the last frame, which determines it."""
        return self.encode(context[:, -1])

    def states(self, clips: Tensor) -> Tensor:
        """The states of all frames: (N, T, n)."""
        return self.encode(clips)

"""Modal dynamics: every mode has a scalar Kalman filter, and the past decides how far it turns.

    y_t = F (z_t - m),   F: the real Fourier transform, orthonormal
    x_{t,i} = λ_{t,i} x_{t-1,i} + exp(d_t / 2) sqrt(q_i) ε,   y_{t,i} = x_{t,i} + sqrt(r_i) η,   x_{0,i} ~ N(0, p_i)
    λ_{t,i} = ρ_i exp(i ω_i) Σ_j w_{t,j} exp(i u_{t,j}·S_i),   w_t, u_t, d_t = motion(the last frames before frame t)

ε and η are standard normal in each real coordinate. A thing that moves with velocity u turns the mode of spatial
frequency k by -k·u a frame, so that S starts as minus the frequencies. A picture whose things have several velocities
has one mode of each frequency for all of them. Its expected next value is the mean over the velocities, weighted by how
much of the picture follows each: Σ_j w_{t,j} = 1. The doubt d_t says how much of the next frame is not known, such as
before a wall. w_t, u_t and d_t depend on the past alone, so the product of the filter's predictive densities is an
exact density, which integrates to one.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from linear_video.models.base import FrameShape, Spectrum
from linear_video.models.ile.fourier import FourierModes
from linear_video.models.ile.linear_prior import LOG_TWO_PI
from linear_video.models.ile.motion import TurningNetwork
from linear_video.models.ile.moving import MovingPrior
from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings
from linear_video.models.spectrum import spectrum_of

FIRST_RADIUS = 0.995  # of the eigenvalues, before training


class Filtered(NamedTuple):
    """The results of the Kalman filter for sequences."""

    states: Tensor  # complex (N, T, C, M), means of x_t given y_0 .. y_t
    variances: Tensor  # (N, T, C, M)
    motion: Tensor  # (N, T, reach, 3 velocities), u, w and d of the next steps
    log_density: Tensor  # (N, T), of y_t given the frames before; 0 where y_t is missing


class Turn(NamedTuple):
    """How modes turn over some steps, without ω."""

    angles: Tensor  # (..., velocities, M)
    weights: Tensor  # (..., velocities), which add up to one

    def times(self, share: float) -> "Turn":
        """A share of it."""
        return self._replace(angles=share * self.angles)


class ModalPrior(MovingPrior):
    """Modal dynamics of embeddings that are pictures, see above.

    If frames are missing, the likelihood is the exact marginal, given the motion.
    """

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        super().__init__(frame_shape, settings)
        s, (channels, height, width) = settings, frame_shape
        self.motion = TurningNetwork(frame_shape, s.look_back, s.reach, s.actions, s.velocities, s.motion_channels)
        self.modes = FourierModes(height, width)
        shape = (channels, len(self.modes.real))
        self.mean = nn.Parameter(torch.zeros(frame_shape))
        self.turning = nn.Parameter(-self.modes.frequencies.to(self.mean))  # S, (2, M)
        self.angle = nn.Parameter(torch.zeros(shape))  # ω
        self.radius = nn.Parameter(torch.full(shape, math.log(FIRST_RADIUS / (1 - FIRST_RADIUS))))  # ρ, by its logit
        self.log_process = nn.Parameter(torch.full(shape, -6.0))  # log q
        self.log_observation = nn.Parameter(torch.full(shape, -7.0))  # log r
        self.log_initial = nn.Parameter(torch.full(shape, -2.0))  # log p

    @torch.no_grad()
    def begin(self, frames: Tensor, noise: float) -> None:
        """Take the mean and the variances of first states from the clips, and guess the other variances from them."""
        self.mean.copy_(frames.mean((0, 1)))
        modes = self.to_modes(frames)
        first = modes.abs().square().mean((0, 1)) / self.modes.coordinates
        changes = modes.diff(dim=1).abs().square().mean((0, 1)) / self.modes.coordinates
        floor = max(noise, 1 / 255) ** 2
        self.log_initial.copy_((first + floor).log())
        self.log_process.copy_((0.1 * changes + floor).log())
        self.log_observation.fill_(math.log(0.5 * floor))

    # --- modes and their transition -----------------------------------------------------------------------------------

    def to_modes(self, pictures: Tensor) -> Tensor:
        """Pictures (..., C, H, W) -> y, complex (..., C, M)."""
        modes: Tensor = self.modes(pictures - self.mean)
        return modes

    def to_embeddings(self, modes: Tensor) -> Tensor:
        """Complex (..., C, M) -> embeddings (..., D)."""
        return (self.modes.inverse(modes) + self.mean).flatten(-3)

    def turn(self, motion: Tensor) -> Turn:
        """Of one step: its motion (..., 3 velocities)."""
        velocities, weights = parted(motion)
        return Turn(velocities @ self.turning, weights)

    def turns(self, motion: Tensor) -> Turn:
        """From a frame to each later one: motion (..., reach, 3 velocities)."""
        velocities, weights = parted(motion)
        return Turn(velocities.cumsum(-3) @ self.turning, weights)

    def factors(self, turn: Turn, steps: float | Tensor) -> Tensor:
        """Factors (..., C, M) of the modes over some steps, which turn by ω each, and by ``turn`` in all."""
        steps = torch.as_tensor(steps, dtype=self.angle.dtype, device=self.angle.device)[..., None, None]
        angles = (steps * self.angle)[..., None, :, :] + turn.angles[..., None, :]  # (..., velocities, C, M)
        # A real mode can only change its sign; it does so if that is nearer than no change.
        angles = torch.where(self.modes.real, torch.pi * (angles.cos() < 0), angles)
        radius = (self.radius.sigmoid() ** steps)[..., None, :, :]
        return torch.polar(radius * turn.weights[..., None, None], angles).sum(-3)

    def turned(self, states: Tensor, turn: Turn, steps: float | Tensor) -> Tensor:
        """Complex states (..., C, M) after a number of steps."""
        return states * self.factors(turn, steps)

    def spread(self, variances: Tensor, factors: Tensor, doubt: Tensor, steps: float) -> Tensor:
        """Variances of states (..., C, M) after a real number of steps with these factors and the same doubt (...)."""
        radius = self.radius.sigmoid()
        process = (self.log_process + doubt[..., None, None]).exp()
        if steps != 1:
            lost = 1 - radius**2  # 0 in float32 for a mode that hardly decays; each step then adds as much
            process = process * torch.where(lost > 0, (1 - radius ** (2 * steps)) / lost, steps)
        return _squared(factors) * variances + process

    def carried(self, pictures: Tensor, motion: Tensor) -> Tensor:
        """See ``MovingPrior``; the pictures are shifted by the velocities alone."""
        velocities, weights = parted(motion)
        angles = velocities.cumsum(-3) @ -self.modes.frequencies.to(motion)  # (B, reach, velocities, M)
        shifts = torch.polar(weights[..., None].expand_as(angles), angles).sum(-2)
        moved: Tensor = self.modes.inverse(self.modes(pictures)[:, None] * shifts[:, :, None])
        return moved

    def roughness(self, motion: Tensor) -> Tensor:
        """None: a velocity has nothing to be smoothed."""
        return motion.new_zeros(())

    # --- the filter -------------------------------------------------------------------------------------------------

    def filter(self, seen: Encoded, observed: Tensor | None = None) -> Filtered:
        """Kalman filter over embeddings (N, T, D), of which the ``observed`` (N, T) ones are known."""
        motion = self.motion(seen.frames, seen.actions)  # (N, T, reach, 3 velocities)
        # All transitions at once, and steps with unbind, since the gradient of an index would fill all steps each time.
        factors = self.factors(self.turn(motion[:, :-1, 0]), 1.0).unbind(1)
        doubts = motion[:, :, 0, -1].unbind(1)
        values = self.to_modes(self.pictures_of(seen.embeddings)).unbind(1)
        observation = self.log_observation.exp()
        mean, variance = torch.zeros_like(values[0]), self.log_initial.exp().expand_as(values[0])
        means, variances, densities = [], [], []
        for t, value in enumerate(values):
            if t:
                mean = mean * factors[t - 1]
                variance = self.spread(variance, factors[t - 1], doubts[t - 1], 1.0)
            innovation, expected = value - mean, variance + observation
            each = _squared(innovation) / expected + self.modes.coordinates * (expected.log() + LOG_TWO_PI)
            density, gain = -0.5 * each.sum((1, 2)), variance / expected
            if observed is not None:
                there = observed[:, t].to(gain)
                density, gain = density * there, gain * there[:, None, None]
            mean, variance = mean + gain * innovation, (1 - gain) * variance
            means.append(mean)
            variances.append(variance)
            densities.append(density)
        return Filtered(torch.stack(means, 1), torch.stack(variances, 1), motion, torch.stack(densities, 1))

    def forecast_from(self, states: Tensor, motion: Tensor) -> Tensor:
        """See ``MovingPrior``."""
        steps = torch.arange(1, motion.shape[1] + 1, device=states.device)
        return self.to_embeddings(self.turned(states[:, None], self.turns(motion), steps))

    # --- between and before -----------------------------------------------------------------------------------------

    def smooth(self, filtered: Filtered) -> Tensor:
        """Means of x_t given all frames (the smoother of Rauch, Tung and Striebel): complex (N, T, C, M)."""
        means = [filtered.states[:, -1]]
        for t in range(filtered.states.shape[1] - 2, -1, -1):
            means.append(
                self._back(filtered.states[:, t], filtered.variances[:, t], filtered.motion[:, t, 0], means[-1], 1.0)
            )
        return torch.stack(means[::-1], 1)

    def _back(self, mean: Tensor, variance: Tensor, motion: Tensor, later: Tensor, steps: float) -> Tensor:
        """A state's mean given the mean of the state ``steps`` later, with the motion (N, 3 velocities) of one step."""
        factors = self.factors(self.turn(motion).times(steps), steps)
        gain = factors.conj() * variance / self.spread(variance, factors, motion[:, -1], steps)
        return mean + gain * (later - factors * mean)

    def at(self, seen: Encoded, observed: Tensor, times: Tensor) -> Tensor:
        """See ``Prior``; before the first frame, the filter runs backwards."""
        length, there = seen.embeddings.shape[1], observed.expand(len(seen.embeddings), -1)
        filtered, found = self.filter(seen, there), []
        smoothed = self.smooth(filtered)
        backwards: Filtered | None = None
        for time in times.tolist():
            if time < 0:
                backwards = backwards or self.filter(seen.reversed(), there.flip(1))
                found.append(self._after(backwards, -time))
            elif time >= length - 1:
                found.append(self._after(filtered, time - (length - 1)))
            else:
                before, part = int(time), time - int(time)
                mean, variance = filtered.states[:, before], filtered.variances[:, before]
                motion = filtered.motion[:, before, 0]
                factors = self.factors(self.turn(motion).times(part), part)
                mean, variance = factors * mean, self.spread(variance, factors, motion[:, -1], part)
                found.append(self._back(mean, variance, motion, smoothed[:, before + 1], 1 - part))
        return self.to_embeddings(torch.stack(found, 1))

    def _after(self, filtered: Filtered, steps: float) -> Tensor:
        """The last state after a real number of steps, at most ``reach``."""
        turns = self.turns(filtered.motion[:, -1])
        angles = nn.functional.pad(turns.angles, (0, 0, 0, 0, 1, 0))  # (N, 1 + reach, velocities, M)
        whole = min(int(steps), angles.shape[1] - 1)
        later = min(whole + 1, angles.shape[1] - 1)
        angles = angles[:, whole].lerp(angles[:, later], steps - whole)
        return self.turned(filtered.states[:, -1], Turn(angles, turns.weights[:, later - 1]), steps)

    def draw(self, seen: Encoded, horizon: int, count: int, noise: float, generator: torch.Generator) -> Tensor:
        """See ``Prior``; the last state, process noise and observation noise are drawn."""
        filtered = self.filter(seen)
        state, variance = filtered.states[None, :, -1], filtered.variances[None, :, -1]
        first = state + variance.sqrt() * self._noise((count, *state.shape[1:]), generator)
        turns, added, drawn = self.turns(filtered.motion[:, -1]), torch.zeros_like(first), []
        for step in range(horizon):
            motion = filtered.motion[:, -1, step]
            process = (0.5 * (self.log_process + motion[:, -1, None, None])).exp()
            added = self.turned(added, self.turn(motion), 1.0) + process * self._noise(first.shape, generator)
            state = self.turned(first, Turn(turns.angles[:, step], turns.weights[:, step]), step + 1.0) + added
            seen_noise = (0.5 * self.log_observation).exp() * self._noise(first.shape, generator)
            drawn.append(state + noise * seen_noise)
        return self.to_embeddings(torch.stack(drawn, 2))

    def _noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise that is standard normal in each real coordinate."""
        drawn = torch.randn((*shape, 2), generator=generator, dtype=self.angle.dtype, device=self.angle.device)
        return self.modes.only_real(torch.view_as_complex(drawn))

    # --- modes ------------------------------------------------------------------------------------------------------

    def spectrum(self, seen: Encoded | None) -> Spectrum:
        """Eigenvalues of all modes, with the average turn of the modes in the frames seen."""
        factors = torch.polar(self.radius.sigmoid(), self.angle)
        if seen is not None:
            factors = self.factors(self.turn(self.motion(seen.frames, seen.actions)[:, :, 0].mean((0, 1))), 1.0)
        eigenvalues = factors.flatten().to(torch.complex128)
        return spectrum_of(torch.complex(eigenvalues.real, eigenvalues.imag.abs()))

    def forgotten(self, frames: float) -> Tensor:
        """See ``Prior``; none, since the filter runs backwards as well as forwards."""
        return torch.zeros(self.angle.numel(), dtype=torch.bool)

    def mode_energy(self, seen: Encoded) -> Tensor:
        """See ``Prior``; |x|² of the smoothed states."""
        return self.smooth(self.filter(seen)).flatten(2).abs().square().mean(1)

    def mode_parts(self, seen: Encoded, modes: list[int]) -> tuple[Tensor, list[Tensor]]:
        """See ``Prior``; computed from the smoothed states."""
        states = self.smooth(self.filter(seen))
        chosen = torch.tensor(modes, dtype=torch.long, device=states.device)
        masks = nn.functional.one_hot(chosen, self.angle.numel()).unflatten(1, self.angle.shape)
        parts = [self.to_embeddings(states * mask) - self.mean.flatten() for mask in masks]
        return self.to_embeddings(states), parts


def parted(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Velocities (..., K, 2) in pixels a frame and their weights (..., K), of a motion (..., 3 K)."""
    count = motion.shape[-1] // 3
    others = motion[..., 2 * count : -1]  # logarithms of the other weights, relative to the first one
    return motion[..., : 2 * count].unflatten(-1, (count, 2)), nn.functional.pad(others, (1, 0)).softmax(-1)


def _squared(values: Tensor) -> Tensor:
    """Squared moduli of complex values."""
    return values.real.square() + values.imag.square()

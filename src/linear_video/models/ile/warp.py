"""Warp dynamics: A_t samples the picture along a field of displacements that depends on the past.

    e_t = z_t - x̂_t,   e_t ~ N(0, S_t)
    x̂_{t+1} = ρ A_t (x̂_t + K e_t) + (1 - ρ) μ

A_t is bicubic interpolation at the places that the field names, a sparse matrix. A network computes the field and the
diagonal S_t from the last frames, so the product of these densities is an exact density, which integrates to one. With
K = 1 and ρ = 1, the last frame is moved on; with K below 1, it is filtered along the motion. The fields of further
steps lead directly from the last frame to each later one.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linear_video.models.base import FrameShape
from linear_video.models.ile.linear_prior import LOG_TWO_PI
from linear_video.models.ile.motion import FieldNetwork
from linear_video.models.ile.moving import MovingPrior
from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings

ROUGHNESS = 0.02  # weight of the field's total variation in pixels
FIRST_GAIN, FIRST_MEMORY = 0.95, 0.998  # K and ρ, before training


class Followed(NamedTuple):
    """The results of the filter for sequences."""

    states: Tensor  # (N, T, C, H, W), x̂_t + K e_t
    expected: Tensor  # (N, T, C, H, W), x̂_t
    variances: Tensor  # (N, T, C, H, W), S_t
    motion: Tensor  # (N, T, reach, 2 + C, H, W), after each frame
    log_density: Tensor  # (N, T), of z_t given the frames before; 0 where it is missing


class WarpPrior(MovingPrior):
    """Warp dynamics of embeddings that are pictures, see above.

    Its likelihood is exact if no frame is missing. If frames are missing, it neglects the additional variance: the
    uncertainty of a frame moves on with the frame, and would no longer be diagonal.
    """

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        super().__init__(frame_shape, settings)
        s, shape = settings, (frame_shape[0], 1, 1)
        self.motion = FieldNetwork(frame_shape, s.look_back, s.reach, s.actions, s.motion_channels, s.field_start)
        self.mean = nn.Parameter(torch.zeros(shape))  # μ; independent of the place, so that frames may have any size
        self.gain = nn.Parameter(torch.full(shape, math.log(FIRST_GAIN / (1 - FIRST_GAIN))))  # K, by its logit
        self.radius = nn.Parameter(torch.full(shape, math.log(FIRST_MEMORY / (1 - FIRST_MEMORY))))  # ρ, by its logit
        self.log_variance = nn.Parameter(torch.full(shape, -6.0))  # of S_t, where the network adds nothing
        self.log_initial = nn.Parameter(torch.full(shape, -2.0))  # of S_0

    @torch.no_grad()
    def begin(self, frames: Tensor, noise: float) -> None:
        """Take mean and variance of first frames from the clips, and a tenth of the changes' energy for innovations."""
        floor = max(noise, 1 / 255) ** 2
        self.mean.copy_(frames.mean((0, 1, 3, 4), keepdim=True)[0, 0])
        self.log_initial.copy_((frames.var((0, 1, 3, 4), keepdim=True)[0, 0] + floor).log())
        changes = frames.diff(dim=1).square().mean((0, 1, 3, 4))
        self.log_variance.copy_((0.1 * changes + floor).log()[:, None, None])

    # --- the transition ---------------------------------------------------------------------------------------------

    def carried(self, pictures: Tensor, motion: Tensor) -> Tensor:
        """See ``MovingPrior``."""
        steps = motion.shape[1]
        repeated = pictures[:, None].expand(-1, steps, -1, -1, -1).flatten(0, 1)
        moved: Tensor = sampled(repeated, motion[:, :, :2].flatten(0, 1)).unflatten(0, (-1, steps))
        return moved

    def roughness(self, motion: Tensor) -> Tensor:
        """The total variation of the field. The network's variances are not penalised, and learn later."""
        field, rest = motion[..., :2, :, :], motion[..., 2:, :, :]
        variation = field.diff(dim=-1).abs().mean() + field.diff(dim=-2).abs().mean()
        return ROUGHNESS * variation + 1e-3 * rest.square().mean()

    def decayed(self, pictures: Tensor, steps: Tensor | float) -> Tensor:
        """Pictures (..., C, H, W) after a number of steps in which they decay towards the mean."""
        kept = self.radius.sigmoid() ** steps
        return kept * pictures + (1 - kept) * self.mean

    # --- the filter -------------------------------------------------------------------------------------------------

    def filter(self, seen: Encoded, observed: Tensor | None = None) -> Followed:
        """Filter over embeddings (N, T, D), of which the ``observed`` (N, T) ones are known."""
        motion = self.motion(seen.frames, seen.actions)
        # With unbind, since the gradient of an index would fill all steps each time.
        values, fields = self.pictures_of(seen.embeddings).unbind(1), motion[:, :, :1].unbind(1)
        gain, expected = self.gain.sigmoid(), self.mean.expand_as(values[0])
        log_variances = torch.cat(
            (self.log_initial.expand(len(motion), 1, *self.frame_shape), self.log_variance + motion[:, :-1, 0, 2:]), 1
        )
        innovations: list[Tensor] = []
        states: list[Tensor] = []
        expectations: list[Tensor] = []
        for t, value in enumerate(values):
            if t:
                expected = self.decayed(self.carried(states[-1], fields[t - 1])[:, 0], 1.0)
            innovation = value - expected
            if observed is not None:
                innovation = innovation * observed[:, t, None, None, None].to(innovation)
            states.append(expected + gain * innovation)
            innovations.append(innovation)
            expectations.append(expected)
        each = torch.stack(innovations, 1).square() * (-log_variances).exp() + log_variances + LOG_TWO_PI
        density = -0.5 * each.sum((2, 3, 4))
        if observed is not None:
            density = density * observed.to(density)
        return Followed(torch.stack(states, 1), torch.stack(expectations, 1), log_variances.exp(), motion, density)

    def forecast_from(self, states: Tensor, motion: Tensor) -> Tensor:
        """See ``MovingPrior``."""
        steps = torch.arange(1, motion.shape[1] + 1, device=states.device)[:, None, None, None]
        return self.decayed(self.carried(states, motion), steps).flatten(2)

    def _forgets(self, frames: int) -> bool:
        """Whether this many frames tell as much as a longer past: after k frames, (1 - K)^k of an older one is left."""
        return frames > self.settings.look_back + 1

    def forecast_windows(self, seen: Encoded, context: int, horizon: int) -> Tensor:
        """See ``Prior``; long enough windows need only one pass over the sequence."""
        if not self._forgets(context):
            return super().forecast_windows(seen, context, horizon)
        filtered = self.filter(seen)
        states = filtered.states[:, context - 1 :].flatten(0, 1)
        motion = filtered.motion[:, context - 1 :, :horizon].flatten(0, 1)
        ahead: Tensor = self.forecast_from(states, motion).unflatten(0, (len(seen.frames), -1))
        return ahead

    def density_windows(self, seen: Encoded, past: int) -> Tensor:
        """See ``Prior``; long enough windows need only one pass over the sequence."""
        return self.log_density(seen) if self._forgets(past) else super().density_windows(seen, past)

    # --- between and before -----------------------------------------------------------------------------------------

    def at(self, seen: Encoded, observed: Tensor, times: Tensor) -> Tensor:
        """See ``Prior``; estimates from before and after are weighted by their variances.

        In the innovations form, K S is the variance of the expected picture, and (1 - K) S the variance of a frame
        about it. Between frames, each variance grows with the time from the seen frame.
        """
        length, there = seen.embeddings.shape[1], observed.expand(len(seen.embeddings), -1)
        numbers = observed.nonzero().flatten().tolist()
        # The forward pass does not need frames after the last time, nor the backward pass frames before the first one.
        end = max([n for n in numbers if n <= float(times.max())], default=numbers[0]) + 1
        start = min([n for n in numbers if n >= float(times.min())], default=numbers[-1])
        forth = self.filter(seen.first(end), there[:, :end])
        back = self.filter(seen.from_frame(start).reversed(), there[:, start:].flip(1))
        found = []
        for time in times.tolist():
            before = max((n for n in numbers if n <= time), default=None)
            after = min((n for n in numbers if n >= time), default=None)
            if before is None:
                found.append(self._after(back, length - 1 - numbers[0], numbers[0] - time))
            elif after is None:
                found.append(self._after(forth, before, time - before))
            elif before == after:
                found.append(self._both(forth, back, before, length))
            else:
                share = (time - before) / (after - before)
                one = self._after(forth, before, time - before)
                found.append(one.lerp(self._after(back, length - 1 - after, after - time), share))
        return torch.stack(found, 1).flatten(2)

    def _after(self, followed: Followed, number: int, steps: float) -> Tensor:
        """The state of a frame after a real number of steps, at most ``reach``."""
        fields = F.pad(followed.motion[:, number, :, :2], (0, 0, 0, 0, 0, 0, 1, 0))  # no motion after zero steps
        whole = min(int(steps), fields.shape[1] - 1)
        field = fields[:, whole].lerp(fields[:, min(whole + 1, fields.shape[1] - 1)], steps - whole)
        return self.decayed(sampled(followed.states[:, number], field), steps)

    def _both(self, forth: Followed, back: Followed, number: int, length: int) -> Tensor:
        """The estimate of a seen frame from itself and the frames before and after it."""
        gain, mirrored = self.gain.sigmoid(), length - 1 - number
        if number == length - 1:
            return forth.states[:, number]
        if not number:
            return back.states[:, mirrored]
        # Each is weighted by the other's variance; both are K S, without the information of the frame itself.
        here, there = (1 - gain) * forth.variances[:, number], back.variances[:, mirrored]
        return (there * forth.states[:, number] + here * back.expected[:, mirrored]) / (here + there)

    def draw(self, seen: Encoded, horizon: int, count: int, noise: float, generator: torch.Generator) -> Tensor:
        """See ``Prior``; given the frames, the last state has the variance K S, and each step adds K² S."""
        followed, gain = self.filter(seen), self.gain.sigmoid()
        state, motion = followed.states[:, -1].expand(count, -1, -1, -1, -1), followed.motion[:, -1]
        variance = (self.log_variance + motion[:, 0, 2:]).exp()  # (N, C, H, W)
        ahead = self.carried(followed.states[:, -1], motion)
        drawn, spread = [], torch.zeros_like(state)
        for step in range(horizon):
            fresh = self._noise(state.shape, generator) * (variance.sqrt() * gain if step else (gain * variance).sqrt())
            spread = spread + fresh
            seen_noise = self._noise(state.shape, generator) * ((1 - gain) * variance).sqrt()
            drawn.append(self.decayed(ahead[:, step], step + 1.0) + spread + noise * seen_noise)
        return torch.stack(drawn, 2).flatten(3)

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)


def sampled(pictures: Tensor, field: Tensor) -> Tensor:
    """Pictures (B, C, H, W) sampled at x + field(x), with field (B, 2, H, W); the edge goes on beyond the frame."""
    height, width = pictures.shape[-2:]
    rows = torch.arange(height, dtype=field.dtype, device=field.device)[:, None]
    columns = torch.arange(width, dtype=field.dtype, device=field.device)
    places = torch.stack(
        ((2 * (columns + field[:, 0]) + 1) / width - 1, (2 * (rows + field[:, 1]) + 1) / height - 1), -1
    )
    return F.grid_sample(pictures, places, mode="bicubic", padding_mode="border", align_corners=False)

"""Warp dynamics: A_t samples the picture along a field of displacements that the past decides.

    e_t = z_t - x̂_t,   e_t ~ N(0, S_t)
    x̂_{t+1} = ρ A_t (x̂_t + K e_t) + (1 - ρ) μ

A_t is bicubic interpolation at the places that the field names, a sparse matrix. The field and the diagonal S_t are
what a network makes of the last frames, so the product of these densities is an exact density, which integrates to
one. K = 1 and ρ = 1 move the last frame on; with K below 1, it is filtered along the motion. The fields of further
steps go straight from the last frame to each of the next.
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

ROUGHNESS = 0.02  # of the field, total variation in pixels
FIRST_GAIN, FIRST_MEMORY = 0.95, 0.998  # K and ρ, before training


class Followed(NamedTuple):
    """What the filter makes of sequences."""

    states: Tensor  # (N, T, C, H, W), x̂_t + K e_t
    expected: Tensor  # (N, T, C, H, W), x̂_t
    variances: Tensor  # (N, T, C, H, W), S_t
    motion: Tensor  # (N, T, reach, 2 + C, H, W), after each frame
    log_density: Tensor  # (N, T), of z_t given those before; 0 where it is missing


class WarpPrior(MovingPrior):
    """Warp dynamics of embeddings that are pictures, see above.

    Its likelihood is exact where all frames are there. Where some are missing, it leaves out what that adds to the
    variances: what is not known of a frame is moved on as the frame is, and would no longer be diagonal.
    """

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        super().__init__(frame_shape, settings)
        s, shape = settings, (frame_shape[0], 1, 1)
        self.motion = FieldNetwork(frame_shape, s.look_back, s.reach, s.actions, s.motion_channels, s.field_start)
        self.mean = nn.Parameter(torch.zeros(shape))  # μ; nothing is of a place, so that frames may have any size
        self.gain = nn.Parameter(torch.full(shape, math.log(FIRST_GAIN / (1 - FIRST_GAIN))))  # K, by its logit
        self.radius = nn.Parameter(torch.full(shape, math.log(FIRST_MEMORY / (1 - FIRST_MEMORY))))  # ρ, by its logit
        self.log_variance = nn.Parameter(torch.full(shape, -6.0))  # of S_t, where the network says nothing
        self.log_initial = nn.Parameter(torch.full(shape, -2.0))  # of S_0

    @torch.no_grad()
    def begin(self, frames: Tensor, noise: float) -> None:
        """Mean and variance of first frames are those of the clips; innovations have a tenth of the changes' energy."""
        floor = max(noise, 1 / 255) ** 2
        self.mean.copy_(frames.mean((0, 1, 3, 4), keepdim=True)[0, 0])
        self.log_initial.copy_((frames.var((0, 1, 3, 4), keepdim=True)[0, 0] + floor).log())
        changes = frames.diff(dim=1).square().mean((0, 1, 3, 4))
        self.log_variance.copy_((0.1 * changes + floor).log()[:, None, None])

    # --- the transition ---------------------------------------------------------------------------------------------

    def carried(self, pictures: Tensor, motion: Tensor) -> Tensor:
        """As of every one."""
        steps = motion.shape[1]
        repeated = pictures[:, None].expand(-1, steps, -1, -1, -1).flatten(0, 1)
        moved: Tensor = sampled(repeated, motion[:, :, :2].flatten(0, 1)).unflatten(0, (-1, steps))
        return moved

    def roughness(self, motion: Tensor) -> Tensor:
        """Total variation of the field; and the network's variances, which learn later, stay as they are."""
        field, rest = motion[..., :2, :, :], motion[..., 2:, :, :]
        variation = field.diff(dim=-1).abs().mean() + field.diff(dim=-2).abs().mean()
        return ROUGHNESS * variation + 1e-3 * rest.square().mean()

    def decayed(self, pictures: Tensor, steps: Tensor | float) -> Tensor:
        """What is left of pictures (..., C, H, W) after so many steps: the rest is the mean."""
        kept = self.radius.sigmoid() ** steps
        return kept * pictures + (1 - kept) * self.mean

    # --- the filter -------------------------------------------------------------------------------------------------

    def filter(self, seen: Encoded, observed: Tensor | None = None) -> Followed:
        """Filter over embeddings (N, T, D), of which ``observed`` (N, T) are there."""
        motion = self.motion(seen.frames, seen.actions)
        # By unbind, since the gradient of an index would fill all steps each time.
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
        """As of every one."""
        steps = torch.arange(1, motion.shape[1] + 1, device=states.device)[:, None, None, None]
        return self.decayed(self.carried(states, motion), steps).flatten(2)

    def _forgets(self, frames: int) -> bool:
        """Whether so many frames tell all that a longer past would: what is left of one after k others is (1 - K)^k."""
        return frames > self.settings.look_back + 1

    def forecast_windows(self, seen: Encoded, context: int, horizon: int) -> Tensor:
        """As of every form; of windows that are long enough, going over the sequence once."""
        if not self._forgets(context):
            return super().forecast_windows(seen, context, horizon)
        filtered = self.filter(seen)
        states = filtered.states[:, context - 1 :].flatten(0, 1)
        motion = filtered.motion[:, context - 1 :, :horizon].flatten(0, 1)
        ahead: Tensor = self.forecast_from(states, motion).unflatten(0, (len(seen.frames), -1))
        return ahead

    def density_windows(self, seen: Encoded, past: int) -> Tensor:
        """As of every form; of windows that are long enough, going over the sequence once."""
        return self.log_density(seen) if self._forgets(past) else super().density_windows(seen, past)

    # --- between and before -----------------------------------------------------------------------------------------

    def at(self, seen: Encoded, observed: Tensor, times: Tensor) -> Tensor:
        """As of every form: what comes from before and what comes from after, weighted by their variances.

        In the innovations form, K S is the variance of what is expected, and (1 - K) S that of a frame about it.
        Between frames, each variance grows with the time from the frame that was seen.
        """
        length, there = seen.embeddings.shape[1], observed.expand(len(seen.embeddings), -1)
        numbers = observed.nonzero().flatten().tolist()
        # What comes after the last moment does not matter on the way forth, nor what comes before the first one back.
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
        """The state of a frame, a real number of steps later, at most ``reach``."""
        fields = F.pad(followed.motion[:, number, :, :2], (0, 0, 0, 0, 0, 0, 1, 0))  # no motion in no time
        whole = min(int(steps), fields.shape[1] - 1)
        field = fields[:, whole].lerp(fields[:, min(whole + 1, fields.shape[1] - 1)], steps - whole)
        return self.decayed(sampled(followed.states[:, number], field), steps)

    def _both(self, forth: Followed, back: Followed, number: int, length: int) -> Tensor:
        """A frame that was seen, as it and those before and after have it."""
        gain, mirrored = self.gain.sigmoid(), length - 1 - number
        if number == length - 1:
            return forth.states[:, number]
        if not number:
            return back.states[:, mirrored]
        # Each counts by the other's variance; both are K S, less what the frame itself has told.
        here, there = (1 - gain) * forth.variances[:, number], back.variances[:, mirrored]
        return (there * forth.states[:, number] + here * back.expected[:, mirrored]) / (here + there)

    def draw(self, seen: Encoded, horizon: int, count: int, noise: float, generator: torch.Generator) -> Tensor:
        """As of every form: the state and each step's innovation are drawn."""
        followed, gain = self.filter(seen), self.gain.sigmoid()
        state, motion = followed.states[:, -1].expand(count, -1, -1, -1, -1), followed.motion[:, -1]
        variance = (self.log_variance + motion[:, 0, 2:]).exp()  # (N, C, H, W)
        ahead = self.carried(followed.states[:, -1], motion)
        drawn, spread = [], torch.zeros_like(state)
        for step in range(horizon):
            fresh = self._noise(state.shape, generator) * (gain * variance).sqrt()
            spread = spread + fresh
            seen_noise = self._noise(state.shape, generator) * ((1 - gain) * variance).sqrt()
            drawn.append(self.decayed(ahead[:, step], step + 1.0) + spread + noise * seen_noise)
        return torch.stack(drawn, 2).flatten(3)

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)


def sampled(pictures: Tensor, field: Tensor) -> Tensor:
    """Pictures (B, C, H, W) taken from where the field (B, 2, H, W) says: x + field(x); beyond the edge, the edge."""
    height, width = pictures.shape[-2:]
    rows = torch.arange(height, dtype=field.dtype, device=field.device)[:, None]
    columns = torch.arange(width, dtype=field.dtype, device=field.device)
    places = torch.stack(
        ((2 * (columns + field[:, 0]) + 1) / width - 1, (2 * (rows + field[:, 1]) + 1) / height - 1), -1
    )
    return F.grid_sample(pictures, places, mode="bicubic", padding_mode="border", align_corners=False)

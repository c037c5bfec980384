"""Dense dynamics, as in the paper: one transition for all motions, a dense observation, closed-form inference."""

from typing import ClassVar

import torch
from torch import Tensor

from linear_video.models.base import FrameShape, Spectrum
from linear_video.models.ile.linear_prior import LinearPrior, Projected
from linear_video.models.ile.prior import Encoded, Learned, Prior
from linear_video.models.ile.settings import IleSettings
from linear_video.models.spectrum import spectrum_of

# Between two seen frames that are ``gap`` apart, the trajectory's share is gap^4 / (gap^4 + this): the error of cubic
# interpolation grows with the fourth power of the gap, and the trajectory's error hardly grows.
HALF_SHARE = 1.5
TRACEABLE = 0.1  # of a mode's amplitude; a mode that has fallen below is not traced back
LEAST_PRECISION = 1e-3  # of a prior to draw from, where predictions have none


class DensePrior(LinearPrior, Prior):
    """Implements ``Prior`` with the closed forms of ``LinearPrior``."""

    pictures: ClassVar[bool] = False

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        channels, height, width = frame_shape
        s = settings
        super().__init__(
            channels * height * width, s.state_dimension, s.eigenvalue_radius, s.eigenvalue_angle, s.actions
        )
        self.settings = settings

    def learn(self, seen: Encoded, generator: torch.Generator | None) -> Learned:
        """See ``Prior``; the forecasts cover all frames after the first ``forecast_context``."""
        s, length = self.settings, seen.embeddings.shape[1]
        powers = self.powers(length)
        projected, forced = self._projected(seen)
        statistics = self.statistics(projected, powers.real.new_ones(length), powers)
        likelihoods = {}
        if s.profile_weight > 0:
            likelihoods["profile"] = self.profile_log_likelihood(statistics)
        if s.profile_weight < 1:
            likelihoods["marginal"] = self.marginal_log_likelihood(statistics)
        weights = {"profile": s.profile_weight, "marginal": 1 - s.profile_weight}
        if not s.forecast_weight:
            empty = seen.embeddings[:, :0]
            return Learned(likelihoods, weights, empty, empty[..., 0].long())
        known = s.forecast_context
        if length <= known:
            raise ValueError(
                f"clips of {length} frames leave none to forecast after forecast_context {known}: make longer clips, "
                "or lower it; or set forecast_weight to 0."
            )
        states = self._state(projected.first(known), powers[:known])
        forecasts = self.observe(states, powers[known:], None if forced is None else forced[:, known:])
        times = torch.arange(known, length, device=forecasts.device).expand(len(forecasts), -1)
        return Learned(likelihoods, weights, forecasts, times)

    def log_density(self, seen: Encoded, first: int = 0) -> Tensor:
        """See ``Prior``; computed as differences of marginal likelihoods."""
        projected, _ = self._projected(seen)
        length = seen.embeddings.shape[1]
        powers = self.powers(length)

        def of(frames: int) -> Tensor:
            if not frames:
                return projected.energy.new_zeros(len(projected.energy))
            ones = powers.real.new_ones(frames)
            return self.marginal_log_likelihood(self.statistics(projected.first(frames), ones, powers[:frames]))

        return torch.stack([of(t) for t in range(first, length + 1)], 1).diff(dim=1)

    def log_likelihood(self, seen: Encoded, observed: Tensor | None = None) -> Tensor:
        """See ``Prior``; this is the marginal likelihood."""
        projected, _ = self._projected(seen)
        weights = torch.ones_like(projected.energy) if observed is None else observed.to(projected.energy)
        return self.marginal_log_likelihood(self.statistics(projected, weights, self.powers(seen.embeddings.shape[1])))

    def forecast(self, seen: Encoded, horizon: int, observed: Tensor | None = None) -> Tensor:
        """See ``Prior``; the newest frame counts most."""
        length = seen.embeddings.shape[1]
        powers = self.powers(length + horizon)
        projected, forced = self._projected(seen)
        states = self._state(projected, powers[:length], observed)
        return self.observe(states, powers[length:], None if forced is None else forced[:, length:])

    def at(self, seen: Encoded, observed: Tensor, times: Tensor) -> Tensor:
        """See ``Prior``; the farther a frame is from the first of the times, the less it counts.

        This is the posterior mean under the prior of the marginal likelihood, x ~ N(0, I) at the earliest of all times.
        Modes that are ``forgotten`` between the earliest time wanted and the first frame seen are left out.
        """
        length = seen.embeddings.shape[1]
        moments = torch.arange(length, dtype=torch.float64, device=seen.embeddings.device)
        away = (moments - times[0]).abs()
        # A seen frame counts in full at its own time; at a time between frames, the frames next to it do.
        free = 0.0 if bool(observed[(away == 0)].any()) else 1.0
        weights = self.settings.fading_memory ** (away - free).clamp_min(0) * observed
        return self.trajectory(self.project(seen.embeddings), weights, moments, times)

    def trajectory(self, projected: Projected, weights: Tensor, times: Tensor, wanted: Tensor) -> Tensor:
        """Embeddings at real times of the trajectory that fits best: (N, K, D).

        Args:
            projected: T frames.
            weights: weights of those frames, (T,).
            times: real times of those frames, (T,).
            wanted: real times of the embeddings to return, (K,).
        """
        first = torch.minimum(times.min(), wanted.min())
        state = self.infer(self.statistics(projected, weights, self.powers_at(times - first)), precision=1)
        back = float(times[weights > 0].min() - wanted.min())
        if back > 0:
            kept = ~self.forgotten(back)
            state = (state.unflatten(-1, (-1, 2)) * kept[:, None]).flatten(-2)
        return self.observe(state, self.powers_at(wanted - first))

    def share(self, gap: float) -> float:
        """See ``Prior``; small between close frames, since one spectrum serves all motions."""
        return gap**4 / (gap**4 + HALF_SHARE) if gap else 1.0

    def forgotten(self, frames: float) -> Tensor:
        """Which modes cannot be traced back, since they fall below a tenth in this number of frames: bool (n/2,)."""
        lost: Tensor = self.eigenvalues().abs() ** frames < TRACEABLE
        return lost

    def draw(self, seen: Encoded, horizon: int, count: int, noise: float, generator: torch.Generator) -> Tensor:
        """See ``Prior``; x0 is drawn from the posterior whose mean a forecast takes; there is no process noise."""
        length = seen.embeddings.shape[1]
        powers = self.powers(length + horizon)
        weights = self._fading(length, powers.device)
        statistics = self.statistics(self.project(seen.embeddings), weights, powers[:length])
        states = self.draw_states(statistics, max(self.settings.prior_precision, LEAST_PRECISION), count, generator)
        embeddings: Tensor = self.observe(states.flatten(0, 1), powers[length:]).unflatten(0, (count, -1))
        return embeddings + noise * self._randn(embeddings.shape, generator)

    def spectrum(self, seen: Encoded | None) -> Spectrum:
        """Eigenvalues of A."""
        return spectrum_of(self.eigenvalues())

    def mode_energy(self, seen: Encoded) -> Tensor:
        """See ``Prior``; for the trajectory that fits best, with equal weights of all frames; float64."""
        evolved, columns = self._evolved(seen), self.observation.double().unflatten(1, (-1, 2))
        gram = torch.einsum("dib,dic->ibc", columns, columns)  # CᵀC of each mode with itself
        energy: Tensor = torch.einsum("ntib,ibc,ntic->ni", evolved, gram, evolved) / evolved.shape[1]
        return energy

    def mode_parts(self, seen: Encoded, modes: list[int]) -> tuple[Tensor, list[Tensor]]:
        """See ``Prior``; for the trajectory that fits best, with equal weights of all frames."""
        evolved, observation = self._evolved(seen), self.observation.double().T
        parts = [evolved[:, :, mode] @ observation[2 * mode : 2 * mode + 2] for mode in modes]
        return evolved.flatten(2) @ observation, parts

    def _evolved(self, seen: Encoded) -> Tensor:
        """States of the trajectory that fits best: float64 (N, T, n/2, 2)."""
        powers = self.powers(seen.embeddings.shape[1])
        statistics = self.statistics(self.project(seen.embeddings), powers.real.new_ones(len(powers)), powers)
        evolved: Tensor = self.evolve(self.infer(statistics, precision=1), powers).unflatten(-1, (-1, 2))
        return evolved

    def _projected(self, seen: Encoded) -> tuple[Projected, Tensor | None]:
        """The projections of the embeddings without the effect of the actions, and the states of that effect."""
        projected = self.project(seen.embeddings)
        if seen.actions is None:
            return projected, None
        forced = self.forced(seen.actions)
        return projected.less(forced[:, : seen.embeddings.shape[1]]), forced

    def _state(self, projected: Projected, powers: Tensor, observed: Tensor | None = None) -> Tensor:
        """Initial states from all projected frames, of which the newest counts most: float64 (N, n)."""
        weights = self._fading(len(powers), powers.device)
        if observed is not None:
            weights = weights * observed
        return self.infer(self.statistics(projected, weights, powers), self.settings.prior_precision)

    def _fading(self, seen: int, device: torch.device) -> Tensor:
        """Weights of context frames in a forecast, 1 for the newest: float64 (seen,)."""
        ages: Tensor = torch.arange(seen - 1, -1, -1, dtype=torch.float64, device=device)
        weights: Tensor = self.settings.fading_memory**ages
        return weights

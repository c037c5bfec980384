"""Invertible Linear Embedding: a flow whose embeddings follow a linear system (Pottorff, Nielsen, Wingate 2019)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from linear_video.models.base import (
    DrawsFutures,
    FrameShape,
    HasExactLikelihood,
    HasSpectrum,
    KnowsActions,
    KnowsAnyTime,
    Spectrum,
)
from linear_video.models.ile.flow import AffineCoupling, Flow
from linear_video.models.ile.forecast_density import forecast_log_density
from linear_video.models.ile.interpolation import check_observed, interpolation_weights
from linear_video.models.ile.linear_prior import LinearPrior, Projected
from linear_video.models.ile.settings import IleSettings
from linear_video.models.spectrum import spectrum_of

# Between two frames that were seen, gap apart, the trajectory's share is gap^4 / (gap^4 + this): the error of cubic
# interpolation grows with the gap's fourth power, the trajectory's hardly.
HALF_SHARE = 1.5
TRACEABLE = 0.1  # of a mode's amplitude; what has fallen below is not traced back
LEAST_PRECISION = 1e-3  # of a prior to draw from, where predictions have none


class InvertibleLinearEmbedding(KnowsActions, DrawsFutures, HasSpectrum, KnowsAnyTime[Projected], HasExactLikelihood):
    """Exact-likelihood model of clips: ``z_t = flow(o_t)``, ``z_t = C A^t x0 + N(0, I)``.

    Frames are float32 in [0, 1], clips (N, T, C, H, W).

    Args:
        frame_shape: (C, H, W).
        settings: see ``IleSettings``.
    """

    settings_class = IleSettings
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 7000,
        "learning_rate": 6e-3,
        # Were the eigenvalues faster, many modes would decay so quickly that they explain the first frame alone.
        "learning_rates": {"prior.observation": 1e-2, "prior.theta": 2e-4},
        "warmup_steps": 200,  # forecasts are decoded from embeddings that nothing bounds at first
        "weight_average": 0.998,
        "validate_every": 500,
        "threads": 1,  # a second one gains under 10 %, and costs much where another program keeps the core busy
    }

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        super().__init__(frame_shape, settings)
        s = settings
        self.flow = Flow(
            frame_shape, s.blocks, s.couplings, s.hidden_channels, s.middle_kernel, s.mix, s.first_squeezes, s.memory
        )
        dimension = self.flow.embedding_dimension
        self.prior = LinearPrior(dimension, s.state_dimension, s.eigenvalue_radius, s.eigenvalue_angle, s.actions)
        # Running mean of the embedding's absolute value, for use outside training.
        self.gamma: Tensor | None
        self.register_buffer("gamma", torch.ones(()) if settings.scale == "batch_mean" else None)

    @classmethod
    def check_clips(cls, settings: IleSettings, frames: int) -> None:
        """Forecasts need frames after their context."""
        if settings.forecast_weight and frames <= settings.forecast_context:
            raise ValueError(
                f"forecast_context is {settings.forecast_context}, which leaves no frame to forecast of clips of "
                f"{frames} frames; lower it, or set forecast_weight to 0.0."
            )

    @property
    def actions(self) -> int:
        """Number of values of u_t."""
        return int(self.settings.actions)

    # --- frames to embeddings and back -----------------------------------------------------------------------------

    def encode(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (N, T, C, H, W) -> embeddings (N, T, D), log|det d embedding / d frame| (N, T)."""
        if clips.ndim != 5:
            raise ValueError(f"clips must be (N, T, C, H, W), not {tuple(clips.shape)}.")
        embeddings, log_abs_det = self.flow(clips.flatten(0, 1))
        if self.gamma is not None:
            gamma = self.gamma
            if self.training:
                gamma = embeddings.abs().mean()
                self.gamma.lerp_(gamma.detach(), 0.01)
            embeddings = embeddings / gamma
            log_abs_det = log_abs_det - embeddings.shape[1] * gamma.log()
        return embeddings.unflatten(0, clips.shape[:2]), log_abs_det.unflatten(0, clips.shape[:2])

    def decode(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, T, D) -> clips (N, T, C, H, W)."""
        if self.gamma is not None:
            embeddings = embeddings * self.gamma
        frames: Tensor = self.flow.inverse(embeddings.flatten(0, 1))[0]
        return frames.reshape(*embeddings.shape[:2], *frames.shape[1:])

    # --- the contract of every model -------------------------------------------------------------------------------

    def loss(
        self, clips: Tensor, generator: torch.Generator | None = None, actions: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood in nats per value, and its parts: of the whole noisy clip, and of forecasts in it.

        ``generator`` draws the dequantisation noise; without one, none is added. ``actions`` (N, T, m) are known.
        """
        clips = noisy = clips[:, : self.settings.loss_frames]
        if generator is not None and self.settings.noise:
            noise = torch.empty_like(clips)
            if self.settings.noise_kind == "gaussian":
                noise.normal_(generator=generator)
            else:
                noise.uniform_(-0.5, 0.5, generator=generator)
            noisy = clips + self.settings.noise * noise
        embeddings, log_abs_det = self.encode(noisy)
        frames, dimensions = embeddings.shape[1], embeddings[0].numel()
        powers = self.prior.powers(frames)
        projected = self.prior.project(embeddings)
        forced = None
        if actions is not None:
            forced = self.prior.forced(actions[:, :frames])
            projected = projected.less(forced)
        statistics = self.prior.statistics(projected, powers.real.new_ones(frames), powers)
        parts = {"log_abs_det": log_abs_det.sum(1).mean() / dimensions}
        objective = -parts["log_abs_det"]
        if self.settings.profile_weight > 0:
            parts["profile"] = self.prior.profile_log_likelihood(statistics).mean() / dimensions
            objective = objective - self.settings.profile_weight * parts["profile"]
        if self.settings.profile_weight < 1:
            parts["marginal"] = self.prior.marginal_log_likelihood(statistics).mean() / dimensions
            objective = objective - (1 - self.settings.profile_weight) * parts["marginal"]
        if self.settings.forecast_weight > 0:
            parts["forecast"] = self._forecast_log_likelihood(projected, powers, forced, clips)
            objective = objective - self.settings.forecast_weight * parts["forecast"]
        return objective, parts

    def _forecast_log_likelihood(
        self, projected: Projected, powers: Tensor, forced: Tensor | None, clips: Tensor
    ) -> Tensor:
        """Log density of the frames after the context, given those that ``predict`` would give; nats per value."""
        seen = self.settings.forecast_context
        if clips.shape[1] <= seen:
            raise ValueError(
                f"clips of {clips.shape[1]} frames leave none to forecast after forecast_context {seen}: make longer "
                "clips, or lower it; or set forecast_weight to 0."
            )
        states = self._state(projected.first(seen), powers[:seen])
        forced = None if forced is None else forced[:, seen:]
        predicted = self.decode(self.prior.observe(states, powers[seen:], forced).to(clips.dtype))
        return forecast_log_density(predicted, clips[:, seen:])

    @torch.no_grad()
    def predict(
        self, context: Tensor, horizon: int, observed: Tensor | None = None, actions: Tensor | None = None
    ) -> Tensor:
        """As that of every model; missing frames may hold anything finite, and no actions are as good as zeros."""
        return self.reconstruct(context, horizon, observed, actions)[:, context.shape[1] :]

    @torch.no_grad()
    def forecasts(self, clips: Tensor, context: int, horizon: int) -> Tensor:
        """As that of every model, with each frame encoded once."""
        windows, powers = self.project(clips).windows(context), self.prior.powers(context + horizon)
        states = self._state(windows, powers[:context])
        frames = self.decode(self.prior.observe(states, powers[context:]).to(clips.dtype)).clamp(0, 1)
        return frames.reshape(len(clips), -1, *frames.shape[1:])

    @torch.no_grad()
    def reconstruct(
        self, context: Tensor, horizon: int = 0, observed: Tensor | None = None, actions: Tensor | None = None
    ) -> Tensor:
        """The fitted trajectory's frames, context (smoothed, filled in) and horizon: (N, T + horizon, C, H, W)."""
        seen = context.shape[1]
        check_observed(observed, context)
        projected, forced = self.prior.project(self.encode(context)[0]), None
        if actions is not None:
            wanted, given = (len(context), seen + horizon), tuple(actions.shape)
            if given[:2] != wanted:
                raise ValueError(f"actions must be {wanted} by m, for context and horizon, not {given}.")
            forced = self.prior.forced(actions)
            projected = projected.less(forced[:, :seen])
        powers = self.prior.powers(seen + horizon)
        state = self._state(projected, powers[:seen], observed)
        return self.decode(self.prior.observe(state, powers, forced).to(context.dtype)).clamp(0, 1)

    def _state(self, projected: Projected, powers: Tensor, observed: Tensor | None = None) -> Tensor:
        """Initial states from all frames projected, the newest of which counts most: float64 (N, n)."""
        weights = self._fading(len(powers), powers.device)
        if observed is not None:
            weights = weights * observed
        return self.prior.infer(self.prior.statistics(projected, weights, powers), self.settings.prior_precision)

    def _fading(self, seen: int, device: torch.device) -> Tensor:
        """Weights of context frames in a prediction, 1 for the newest: float64 (seen,)."""
        ages: Tensor = torch.arange(seen - 1, -1, -1, dtype=torch.float64, device=device)
        weights: Tensor = self.settings.fading_memory**ages
        return weights

    # --- at any time ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def project(self, clips: Tensor) -> Projected:
        """All that inference needs of frames (N, T, C, H, W); slices of it are what it would be of slices of them."""
        return self.prior.project(self.encode(clips)[0])

    @torch.no_grad()
    def trajectory(self, seen: Projected, weights: Tensor, times: Tensor, wanted: Tensor) -> Tensor:
        """Frames at real times of the trajectory that fits the frames seen best: (N, K, C, H, W), in [0, 1].

        Posterior mean under the prior of the marginal likelihood, x ~ N(0, I) at the earliest of all times. Modes that
        are ``forgotten`` from the earliest time wanted to the first frame seen are left out.

        Args:
            seen: T frames, of ``project``.
            weights: of those frames, (T,).
            times: of those frames, real, (T,).
            wanted: times of the frames to give, real, (K,).
        """
        first = torch.minimum(times.min(), wanted.min())
        state = self.prior.infer(self.prior.statistics(seen, weights, self.prior.powers_at(times - first)), precision=1)
        back = float(times[weights > 0].min() - wanted.min())
        if back > 0:
            kept = ~self.forgotten(back)
            state = (state.unflatten(-1, (-1, 2)) * kept[:, None]).flatten(-2)
        frames = self.decode(self.prior.observe(state, self.prior.powers_at(wanted - first)).to(self.prior.observation))
        return frames.clamp(0, 1)

    @torch.no_grad()
    def smooth(self, seen: Projected, wanted: int) -> Tensor:
        """The frame at time ``wanted`` as the trajectory that fits the frames around it best has it: (N, C, H, W)."""
        times = torch.arange(seen.energy.shape[1], dtype=torch.float64, device=seen.energy.device)
        now = times[wanted : wanted + 1]
        return self.trajectory(seen, self.settings.fading_memory ** (times - now).abs(), times, now)[:, 0]

    @torch.no_grad()
    def interpolate(self, seen: Projected, observed: Tensor, wanted: float) -> tuple[Tensor, Tensor]:
        """As that of every model; outside of the frames seen, and where one was seen, one of the two returned is zero.

        Frames count less by ``fading_memory`` for each frame's time that they are farther than one away. Between frames
        that were seen, it is the mean of two estimates, weighted by how their errors grow with the gap between those
        frames: the frames' own interpolation; and the trajectory, with its errors at the frames interpolated.

        Raises:
            ValueError: if no frame was observed.
        """
        length = seen.energy.shape[1]
        if observed.shape != (length,) or not observed.any():
            raise ValueError(f"observed must be ({length},) with at least one frame, not {tuple(observed.shape)}.")
        weights, gap = interpolation_weights(observed, wanted)
        if weights.any() and not gap:  # a frame that was seen
            return weights, seen.energy.new_zeros(())
        times = torch.arange(length, dtype=torch.float64, device=seen.energy.device)
        fading = self.settings.fading_memory ** ((times - wanted).abs() - 1).clamp_min(0)
        share = gap**4 / (gap**4 + HALF_SHARE) if gap else 1.0
        around = weights.nonzero().flatten()
        moments = torch.cat((times.new_tensor([wanted]), times[around]))
        frames = self.trajectory(seen, fading * observed, times, moments)
        errors = (frames[:, 1:] * weights[around].to(frames)[:, None, None, None]).sum(1)
        return weights, share * (frames[:, 0] - errors)

    @torch.no_grad()
    def forgotten(self, frames: float) -> Tensor:
        """Which modes cannot be traced back so many frames, having fallen below a tenth by then: bool (n/2,)."""
        return self.prior.eigenvalues().abs() ** frames < TRACEABLE

    @torch.no_grad()
    def surprise(self, clips: Tensor, past: int) -> Tensor:
        """Exact, of all frames.

        The predictive density of the Kalman filter, whose covariance follows from the frames' number alone, and the
        flow's log-determinant: log p(z_0 .. z_k) - log p(z_0 .. z_{k-1}) + log|det|, both marginal likelihoods.
        """
        embeddings, log_abs_det = self.encode(clips)
        projected, powers = self.prior.project(embeddings), self.prior.powers(past + 1)
        length = clips.shape[1]

        def log_density(frames: int, of: Projected) -> Tensor:
            if not frames:
                return of.energy.new_zeros(len(of.energy))
            ones = powers.real.new_ones(frames)
            return self.prior.marginal_log_likelihood(self.prior.statistics(of.first(frames), ones, powers[:frames]))

        known = torch.stack([log_density(t, projected) for t in range(min(past, length) + 1)], 1).diff(dim=1)
        if length > past:
            windows = projected.windows(past + 1)
            rest = log_density(past + 1, windows) - log_density(past, windows)
            known = torch.cat((known, rest.unflatten(0, (len(clips), -1))), 1)
        return -(known + log_abs_det) / embeddings.shape[2]

    @torch.no_grad()
    def futures(self, context: Tensor, horizon: int, count: int, seed: int, noise: float = 1.0) -> Tensor:
        """As of every model; this one has no process noise.

        x0 is drawn from the posterior that ``predict`` takes the mean of, and observation noise of the given size is
        added to each embedding.
        """
        seen, generator = context.shape[1], torch.Generator(context.device).manual_seed(seed)
        powers = self.prior.powers(seen + horizon)
        weights = self._fading(seen, powers.device)
        statistics = self.prior.statistics(self.project(context), weights, powers[:seen])
        states = self.prior.draw(statistics, max(self.settings.prior_precision, LEAST_PRECISION), count, generator)
        embeddings = self.prior.observe(states.flatten(0, 1), powers[seen:])
        drawn = torch.randn(embeddings.shape, generator=generator, dtype=embeddings.dtype, device=embeddings.device)
        frames = self.decode((embeddings + noise * drawn).to(context.dtype)).clamp(0, 1)
        return frames.reshape(count, len(context), *frames.shape[1:])

    @torch.no_grad()
    def mode_energy(self, clips: Tensor) -> Tensor:
        """Mean energy of each mode's part of the fitted embeddings: clips (N, T, C, H, W) -> float64 (N, n/2)."""
        evolved, columns = self._evolved(clips), self.prior.observation.double().unflatten(1, (-1, 2))
        gram = torch.einsum("dib,dic->ibc", columns, columns)  # CᵀC of each mode with itself
        energy: Tensor = torch.einsum("ntib,ibc,ntic->ni", evolved, gram, evolved) / clips.shape[1]
        return energy

    @torch.no_grad()
    def mode_response(self, clips: Tensor, modes: list[int]) -> Tensor:
        """What the fitted frames (N, T, C, H, W) would lack without each mode: (len(modes), N, T, C, H, W)."""
        evolved = self._evolved(clips)
        observation = self.prior.observation.double().T
        whole = evolved.flatten(2) @ observation
        parts = [evolved[:, :, mode] @ observation[2 * mode : 2 * mode + 2] for mode in modes]
        frames = self.decode(whole.to(clips.dtype))
        return torch.stack([frames - self.decode((whole - part).to(clips.dtype)) for part in parts])

    def _evolved(self, clips: Tensor) -> Tensor:
        """States of the trajectory that fits the clips, all frames alike: float64 (N, T, n/2, 2)."""
        powers = self.prior.powers(clips.shape[1])
        statistics = self.prior.statistics(self.project(clips), powers.real.new_ones(len(powers)), powers)
        evolved = self.prior.evolve(self.prior.infer(statistics, precision=1), powers)
        return evolved.reshape(*evolved.shape[:2], -1, 2)

    def regions(self) -> list[nn.Module]:
        """The couplings' networks, of few shapes and many copies."""
        return [module.network for module in self.flow.modules() if isinstance(module, AffineCoupling)]

    def check_numerics(self) -> None:
        """Warn, once, if the flow's gradients are not to be trusted."""
        self.flow.check_numerics()

    @torch.no_grad()
    def log_likelihood(self, clips: Tensor, observed: Tensor | None = None) -> Tensor:
        """Exact log density of clips under the marginal likelihood, in nats: (N, T, C, H, W) -> (N,)."""
        embeddings, log_abs_det = self.encode(clips)
        weights = torch.ones_like(log_abs_det) if observed is None else observed.to(log_abs_det.dtype)
        projected = self.prior.project(embeddings)
        statistics = self.prior.statistics(projected, weights, self.prior.powers(clips.shape[1]))
        return self.prior.marginal_log_likelihood(statistics) + (log_abs_det * weights).sum(1)

    @torch.no_grad()
    def sample(self, sequences: int, frames: int, noise: float = 0.0, seed: int = 0) -> Tensor:
        """Draw clips from x0 ~ N(0, I), with observation noise of the given size: (sequences, frames, C, H, W)."""
        generator = torch.Generator(self.prior.observation.device).manual_seed(seed)
        embeddings = self.prior.sample(sequences, frames, noise, generator)
        return self.decode(embeddings.to(self.prior.observation.dtype)).clamp(0, 1)

    @torch.no_grad()
    def spectrum(self) -> Spectrum:
        """Eigenvalues of A with period and half-life in frames."""
        return spectrum_of(self.prior.eigenvalues())

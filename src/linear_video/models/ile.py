"""Invertible Linear Embedding: a flow whose embeddings follow a linear system (Pottorff, Nielsen, Wingate 2019)."""

import torch
from torch import Tensor, nn

from linear_video.models.flow import AffineCoupling, Flow
from linear_video.models.linear_prior import LOG_TWO_PI, LinearPrior, Projected
from linear_video.models.settings import IleSettings
from linear_video.models.spectrum import Spectrum, spectrum_of

# Of forecasts: what is predicted exactly would have an infinite density.
LEAST_FRAME_VARIANCE, LEAST_PIXEL_VARIANCE = 1e-5, 4e-4


class InvertibleLinearEmbedding(nn.Module):
    """Exact-likelihood model of clips: ``z_t = flow(o_t)``, ``z_t = C A^t x0 + N(0, I)``.

    Frames are float32 in [0, 1], clips (N, T, C, H, W).

    Args:
        frame_shape: (C, H, W).
        settings: see ``IleSettings``.
    """

    def __init__(self, frame_shape: tuple[int, int, int], settings: IleSettings) -> None:
        super().__init__()
        self.settings = settings
        self.flow = Flow(
            frame_shape,
            settings.blocks,
            settings.couplings,
            settings.hidden_channels,
            settings.middle_kernel,
            settings.mix,
            settings.first_squeezes,
            settings.memory,
        )
        self.prior = LinearPrior(
            self.flow.embedding_dimension,
            settings.state_dimension,
            settings.eigenvalue_radius,
            settings.eigenvalue_angle,
        )
        # Running mean of the embedding's absolute value, for use outside training.
        self.gamma: Tensor | None
        self.register_buffer("gamma", torch.ones(()) if settings.scale == "batch_mean" else None)

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

    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood in nats per value, and its parts: of the whole noisy clip, and of forecasts in it.

        ``generator`` draws the dequantisation noise; without one, none is added.
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
            parts["forecast"] = self._forecast_log_likelihood(projected, powers, clips)
            objective = objective - self.settings.forecast_weight * parts["forecast"]
        return objective, parts

    def _forecast_log_likelihood(self, projected: Projected, powers: Tensor, clips: Tensor) -> Tensor:
        """Log density of the frames after the context, in nats per value.

        Gaussian, about the frames that ``predict`` would give, with the variance that suits best: log N = -1/2 log(2
        pi e MSE), where MSE is the squared error of each frame, or of each pixel; the mean of both. A variance for
        each frame rewards PSNR; one for each pixel is heavy-tailed, and keeps faint noise off the background.
        """
        seen = self.settings.forecast_context
        if clips.shape[1] <= seen:
            raise ValueError(
                f"clips of {clips.shape[1]} frames leave none to forecast after forecast_context {seen}: make longer "
                "clips, or lower it; or set forecast_weight to 0."
            )
        states = self._state(projected.first(seen), powers[:seen], None)
        predicted = self.decode(self.prior.observe(states, powers[seen:]).to(clips.dtype))
        truth = clips[:, seen:]
        error = predicted - truth
        # What is black or white may have been predicted beyond, since predictions are clipped.
        error = torch.where(truth <= 0, error.clamp_min(0), torch.where(truth >= 1, error.clamp_max(0), error))
        squared_error = error.square()
        of_frames = (squared_error.mean((2, 3, 4)) + LEAST_FRAME_VARIANCE).log().mean()
        of_pixels = (squared_error + LEAST_PIXEL_VARIANCE).log().mean()
        return -0.5 * (LOG_TWO_PI + 1 + (of_frames + of_pixels) / 2)

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int, observed: Tensor | None = None) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W), clipped to [0, 1].

        ``observed`` (N, T) tells which context frames count; missing ones may hold anything finite.
        """
        return self.reconstruct(context, horizon, observed)[:, context.shape[1] :]

    @torch.no_grad()
    def reconstruct(self, context: Tensor, horizon: int = 0, observed: Tensor | None = None) -> Tensor:
        """The fitted trajectory's frames, context (smoothed, filled in) and horizon: (N, T + horizon, C, H, W)."""
        state, powers = self._infer(context, horizon, observed)
        frames = self.decode(self.prior.observe(state, powers).to(context.dtype))
        return frames.clamp(0, 1)

    def _infer(self, context: Tensor, horizon: int, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        embeddings, _ = self.encode(context)
        seen = context.shape[1]
        if observed is not None:
            if observed.shape != context.shape[:2]:
                raise ValueError(f"observed must be {tuple(context.shape[:2])}, not {tuple(observed.shape)}.")
            if not observed.any(dim=1).all():
                raise ValueError("every sequence needs at least one observed frame.")
        powers = self.prior.powers(seen + horizon)
        return self._state(self.prior.project(embeddings), powers[:seen], observed), powers

    def _state(self, projected: Projected, powers: Tensor, observed: Tensor | None) -> Tensor:
        """Initial states from all frames projected, the newest of which counts most: float64 (N, n)."""
        seen = len(powers)
        ages = torch.arange(seen - 1, -1, -1, dtype=torch.float64, device=powers.device)
        weights = self.settings.fading_memory**ages
        if observed is not None:
            weights = weights * observed
        return self.prior.infer(self.prior.statistics(projected, weights, powers), self.settings.prior_precision)

    def regions(self) -> list[nn.Module]:
        """Parts that are worth compiling one by one: the couplings' networks, of few shapes and many copies."""
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
        device = self.prior.observation.device
        generator = torch.Generator(device).manual_seed(seed)
        embeddings = self.prior.sample(sequences, frames, noise, generator)
        return self.decode(embeddings.to(self.prior.observation.dtype)).clamp(0, 1)

    @torch.no_grad()
    def spectrum(self) -> Spectrum:
        """Eigenvalues of A with period and half-life in frames."""
        return spectrum_of(self.prior.eigenvalues())

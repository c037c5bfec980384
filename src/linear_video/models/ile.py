"""Invertible Linear Embedding: a flow whose embeddings follow a linear system (Pottorff, Nielsen, Wingate 2019)."""

import torch
from torch import Tensor, nn

from linear_video.models.flow import AffineCoupling, Flow
from linear_video.models.linear_prior import LinearPrior
from linear_video.models.settings import IleSettings
from linear_video.models.spectrum import Spectrum, spectrum_of


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
        """Negative log-likelihood in nats per dimension of a noisy clip, and its parts.

        ``generator`` draws the dequantisation noise; without one, none is added.
        """
        clips = clips[:, : self.settings.loss_frames]
        if generator is not None and self.settings.noise:
            noise = torch.empty_like(clips)
            if self.settings.noise_kind == "gaussian":
                noise.normal_(generator=generator)
            else:
                noise.uniform_(-0.5, 0.5, generator=generator)
            clips = clips + self.settings.noise * noise
        embeddings, log_abs_det = self.encode(clips)
        frames, dimensions = embeddings.shape[1], embeddings[0].numel()
        powers = self.prior.powers(frames)
        weights = torch.ones(frames, dtype=torch.float64, device=clips.device)
        statistics = self.prior.statistics(embeddings, weights, powers)
        parts = {"log_abs_det": log_abs_det.sum(1).mean() / dimensions}
        objective = -parts["log_abs_det"]
        if self.settings.profile_weight > 0:
            context, seen = None, self.settings.profile_context
            if seen is not None and seen < frames:
                context = self.prior.statistics(embeddings[:, :seen], weights[:seen], powers[:seen])
            parts["profile"] = self.prior.profile_log_likelihood(statistics, context).mean() / dimensions
            objective = objective - self.settings.profile_weight * parts["profile"]
        if self.settings.profile_weight < 1:
            parts["marginal"] = self.prior.marginal_log_likelihood(statistics).mean() / dimensions
            objective = objective - (1 - self.settings.profile_weight) * parts["marginal"]
        return objective, parts

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
        seen = embeddings.shape[1]
        ages = torch.arange(seen - 1, -1, -1, dtype=torch.float64, device=context.device)
        weights = self.settings.fading_memory**ages
        if observed is not None:
            if observed.shape != context.shape[:2]:
                raise ValueError(f"observed must be {tuple(context.shape[:2])}, not {tuple(observed.shape)}.")
            if not observed.any(dim=1).all():
                raise ValueError("every sequence needs at least one observed frame.")
            weights = weights * observed
        powers = self.prior.powers(seen + horizon)
        statistics = self.prior.statistics(embeddings, weights, powers[:seen])
        return self.prior.infer(statistics, self.settings.prior_precision), powers

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
        statistics = self.prior.statistics(embeddings, weights, self.prior.powers(clips.shape[1]))
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

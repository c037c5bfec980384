"""Invertible Linear Embedding: a flow whose embeddings follow a linear system (Pottorff, Nielsen, Wingate 2019)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linear_video.common.spread import spread
from linear_video.models.base import (
    DrawsFutures,
    FrameShape,
    HasExactLikelihood,
    HasSpectrum,
    KnowsActions,
    KnowsAnyTime,
    Spectrum,
    TakesAnySize,
    VideoModel,
)
from linear_video.models.ile.dense import DensePrior
from linear_video.models.ile.flow import AffineCoupling, Flow
from linear_video.models.ile.forecast_density import forecast_log_density
from linear_video.models.ile.interpolation import check_observed, facing, interpolation_weights
from linear_video.models.ile.modal import ModalPrior
from linear_video.models.ile.moving import MovingPrior
from linear_video.models.ile.prior import Encoded, Prior
from linear_video.models.ile.settings import TRAINING, IleSettings
from linear_video.models.ile.warp import WarpPrior

FORMS: dict[str, type[DensePrior] | type[ModalPrior] | type[WarpPrior]] = {
    "dense": DensePrior,
    "modal": ModalPrior,
    "warp": WarpPrior,
}
CLIPS_LOOKED_AT = 500  # before the first step


class InvertibleLinearEmbedding(
    KnowsActions, DrawsFutures, HasSpectrum, KnowsAnyTime[Encoded], HasExactLikelihood, TakesAnySize
):
    """Model of clips with an exact likelihood: embeddings ``z_t = flow(o_t)`` follow a linear system of three forms.

    Frames are float32 in [0, 1], clips (N, T, C, H, W).

    Args:
        frame_shape: (C, H, W).
        settings: see ``IleSettings``.
    """

    settings_class = IleSettings
    training_defaults: ClassVar[dict[str, Any]] = TRAINING["modal"]

    def __init__(self, frame_shape: FrameShape, settings: IleSettings) -> None:
        super().__init__(frame_shape, settings)
        s = settings
        self.flow = Flow(
            frame_shape, s.blocks, s.couplings, s.hidden_channels, s.middle_kernel, s.mix, s.first_squeezes, s.memory
        )
        self.prior: Prior = FORMS[s.dynamics](frame_shape, s)
        # Running mean of the absolute value of the embedding, for use outside training.
        self.gamma: Tensor | None
        self.register_buffer("gamma", torch.ones(()) if settings.scale == "batch_mean" else None)
        self.done = 1.0  # how much of the training is over

    @classmethod
    def settings_of_before(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """See ``VideoModel``; before there were several forms, all models were dense.

        Two values turned the modes unless ``motion_values`` said otherwise, and they are one velocity.
        """
        now = {"dynamics": "dense", **settings}
        return {name: value for name, value in now.items() if (name, value) != ("motion_values", 2)}

    @classmethod
    def training_for(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Training settings that suit model settings."""
        dynamics = model.get("dynamics") if isinstance(model, Mapping) else None
        return TRAINING.get(str(dynamics), TRAINING["modal"])  # whether the form exists is checked later

    @classmethod
    def check_clips(cls, settings: IleSettings, frames: int) -> None:
        """Check that clips have frames after the context of the forecasts."""
        if settings.dynamics == "dense":
            if settings.forecast_weight and frames <= settings.forecast_context:
                raise ValueError(
                    f"forecast_context is {settings.forecast_context}, which leaves no frame to forecast in clips of "
                    f"{frames} frames; lower it, or set forecast_weight to 0.0."
                )
        elif frames <= settings.reach:
            raise ValueError(
                f"reach is {settings.reach}, which leaves no frame to look from in clips of {frames} frames; lower it."
            )

    def offers(self, capability: type[VideoModel]) -> bool:
        """See ``VideoModel``; actions depend on the settings, a spectrum and any size on the form of the dynamics."""
        warped = self.settings.dynamics == "warp"
        lacks = {KnowsActions: not self.actions, HasSpectrum: warped, TakesAnySize: not warped}
        return not lacks.get(capability) and super().offers(capability)

    @property
    def size_step(self) -> int:
        """See ``TakesAnySize``; it follows from how often the flow halves frames."""
        return int(2 ** (self.settings.first_squeezes + self.settings.blocks - 1))

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
        if self.prior.pictures:
            embeddings = self.flow.as_pictures(embeddings)
        return embeddings.unflatten(0, clips.shape[:2]), log_abs_det.unflatten(0, clips.shape[:2])

    def decode(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, T, D) -> clips (N, T, C, H, W)."""
        flat = embeddings.flatten(0, 1)
        if self.prior.pictures:
            flat = self.flow.from_pictures(flat)
        if self.gamma is not None:
            flat = flat * self.gamma
        frames: Tensor = self.flow.inverse(flat)[0]
        return frames.reshape(*embeddings.shape[:2], *frames.shape[1:])

    # --- learning ---------------------------------------------------------------------------------------------------

    @property
    def stages(self) -> tuple[float, ...]:
        """See ``TrainedBySteps``; first the motion alone, then everything."""
        moving = isinstance(self.prior, MovingPrior) and self.settings.motion_share
        return (self.settings.motion_share,) if moving else ()

    def paces(self, name: str) -> tuple[float, ...]:
        """See ``TrainedBySteps``; the second stage only refines the motion, and learns how uncertain it is."""
        if self.stages and name.startswith("prior.motion.") and not name.startswith("prior.motion.doubt."):
            return (1.0, self.settings.motion_refinement)
        return super().paces(name)

    def at_step(self, done: float) -> None:
        """See ``TrainedBySteps``."""
        self.done = done

    @torch.no_grad()
    def initialise(self, frames: NDArray[np.uint8]) -> None:
        """Guess means and variances from the clips' first embeddings."""
        if not self.prior.pictures:
            return
        chosen = spread(CLIPS_LOOKED_AT, len(frames))
        clips = torch.from_numpy(np.array(frames[chosen])).float() / 255
        learning = self.training
        self.eval()  # otherwise it would already learn the embedding's scale
        embeddings = torch.cat([self.encode(some)[0] for some in clips.split(50)])
        self.train(learning)
        self.prior.begin(embeddings.unflatten(2, self.frame_shape), self.settings.noise)

    def loss(
        self, clips: Tensor, generator: torch.Generator | None = None, actions: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood in nats per value, and its parts: of the whole noisy clip, and of forecasts in it.

        ``generator`` draws the dequantisation noise; without one, no noise is added. ``actions`` (N, T, m) are known.
        In the first stage of a training, the loss is the error of the motion alone.
        """
        s = self.settings
        clips = noisy = clips[:, : s.loss_frames]
        actions = None if actions is None else actions[:, : s.loss_frames]
        if self.training and self.stages and self.done < self.stages[0]:
            assert isinstance(self.prior, MovingPrior)
            error = self.prior.motion_error(clips, actions, generator, self.done / self.stages[0])
            return error + self._nothing(), {"motion": error}
        if generator is not None and s.noise:
            noise = torch.empty_like(clips)
            if s.noise_kind == "gaussian":
                noise.normal_(generator=generator)
            else:
                noise.uniform_(-0.5, 0.5, generator=generator)
            noisy = clips + s.noise * noise
        embeddings, log_abs_det = self.encode(noisy)
        dimensions = embeddings[0].numel()
        learned = self.prior.learn(Encoded(noisy, embeddings, actions), generator)
        parts = {"log_abs_det": log_abs_det.sum(1).mean() / dimensions}
        objective = -parts["log_abs_det"]
        for name, log_likelihood in learned.log_likelihoods.items():
            parts[name] = log_likelihood.mean() / dimensions
            objective = objective - learned.weights[name] * parts[name]
        if s.forecast_weight > 0:
            predicted = self.decode(learned.forecasts.to(clips.dtype))
            truth = clips[torch.arange(len(clips), device=clips.device)[:, None], learned.times]
            parts["forecast"] = forecast_log_density(predicted, truth)
            objective = objective - s.forecast_weight * parts["forecast"]
        return objective, parts

    def _nothing(self) -> Tensor:
        """Zero, with a zero gradient for every parameter, since processes that share a step wait for all gradients."""
        return 0.0 * torch.stack([parameter.float().sum() for parameter in self.parameters()]).sum()

    def regions(self) -> list[nn.Module]:
        """The couplings' networks: many copies with few shapes."""
        return [module.network for module in self.flow.modules() if isinstance(module, AffineCoupling)]

    def check_numerics(self) -> None:
        """Warn, once, if the flow's gradients cannot be trusted."""
        self.flow.check_numerics()

    # --- the future -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(
        self, context: Tensor, horizon: int, observed: Tensor | None = None, actions: Tensor | None = None
    ) -> Tensor:
        """See ``KnowsActions``; missing frames may hold any finite values, and no actions mean the same as zeros."""
        check_observed(observed, context)
        if actions is not None:
            wanted, given = (len(context), context.shape[1] + horizon), tuple(actions.shape)
            if given[:2] != wanted:
                raise ValueError(f"actions must be {wanted} by m, for context and horizon, not {given}.")
        return self._ahead(self._seen(context, observed, actions), horizon, observed)

    @torch.no_grad()
    def forecasts(self, clips: Tensor, context: int, horizon: int) -> Tensor:
        """See ``VideoModel``; each frame is encoded only once."""
        seen = self.project(clips)
        if horizon > (self.prior.reach or horizon):
            frames = self._ahead(seen.windows(context), horizon)
            return frames.reshape(len(clips), -1, *frames.shape[1:])
        ahead = self.prior.forecast_windows(seen, context, horizon)  # (N, windows, horizon, D)
        found: Tensor = self.decode(ahead.flatten(0, 1).to(clips.dtype)).clamp(0, 1).unflatten(0, ahead.shape[:2])
        return found

    def _seen(self, clips: Tensor, observed: Tensor | None, actions: Tensor | None = None) -> Encoded:
        """Encoded frames for the prior; missing frames are replaced by forecasts from the frames before them."""
        seen = Encoded(clips, self.encode(clips)[0], actions)
        return seen if observed is None else self._filled(seen, observed)

    def _filled(self, seen: Encoded, observed: Tensor) -> Encoded:
        """Replace frames not ``observed`` (N, T): early ones by the first observed frame, others by forecasts."""
        if not self.prior.pictures or observed.all():
            return seen
        frames, known = seen.frames.clone(), observed.clone()
        first = observed.int().argmax(1)
        for row, number in enumerate(first.tolist()):
            frames[row, :number], known[row, :number] = frames[row, number], True
        for t in range(1, frames.shape[1]):
            rows = ~known[:, t]
            if not rows.any():
                continue
            before = seen._replace(frames=frames).first(t)
            steps = min(self.prior.reach or 1, frames.shape[1] - t)
            ahead = self.decode(self.prior.forecast(before, steps, observed[:, :t])).clamp(0, 1)
            for step in range(steps):
                rows = rows & ~known[:, t + step]
                frames[rows, t + step], known[rows, t + step] = ahead[rows, step], True
        return seen._replace(frames=frames)

    def _ahead(self, seen: Encoded, horizon: int, observed: Tensor | None = None) -> Tensor:
        """Frames after those seen, in [0, 1]; beyond the reach of one forecast, they continue from forecast frames."""
        predicted = [seen.frames[:, :0]]
        while (left := horizon - sum(frames.shape[1] for frames in predicted)) > 0:
            embeddings = self.prior.forecast(seen, min(left, self.prior.reach or left), observed)
            frames = self.decode(embeddings.to(seen.frames.dtype)).clamp(0, 1)
            predicted.append(frames)
            seen = seen.followed_by(Encoded(frames, embeddings))
            if observed is not None:
                observed = torch.cat((observed, observed.new_ones(frames.shape[:2])), 1)
        return torch.cat(predicted, 1)

    @torch.no_grad()
    def futures(self, context: Tensor, horizon: int, count: int, seed: int, noise: float = 1.0) -> Tensor:
        """See ``DrawsFutures``; ``noise`` is the size of the observation noise that is added to each embedding."""
        generator = torch.Generator(context.device).manual_seed(seed)
        seen, predicted = self.project(context), list[Tensor]()
        draws = count  # at first, one for each clip; then, one for each draw
        while (left := horizon - sum(frames.shape[1] for frames in predicted)) > 0:
            embeddings = self.prior.draw(seen, min(left, self.prior.reach or left), draws, noise, generator).flatten(
                0, 1
            )
            predicted.append(self.decode(embeddings.to(context.dtype)).clamp(0, 1))
            if left == embeddings.shape[1]:
                break
            if draws == count:
                seen = Encoded(seen.frames.repeat(count, 1, 1, 1, 1), seen.embeddings.repeat(count, 1, 1))
            seen, draws = seen.followed_by(Encoded(predicted[-1], embeddings)), 1
        frames = torch.cat(predicted, 1)
        return frames.reshape(count, -1, *frames.shape[1:])

    # --- at any time ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def project(self, clips: Tensor) -> Encoded:
        """Everything that inference needs from frames (N, T, C, H, W)."""
        return self._seen(clips, None)

    @torch.no_grad()
    def smooth(self, seen: Encoded, wanted: int) -> Tensor:
        """The frame at time ``wanted``, estimated from the frames around it: (N, C, H, W)."""
        observed = torch.ones(seen.frames.shape[1], dtype=torch.bool, device=seen.frames.device)
        return self._at(seen, observed, [wanted])[:, 0]

    @torch.no_grad()
    def interpolate(self, seen: Encoded, observed: Tensor, wanted: float) -> tuple[Tensor, Tensor]:
        """See ``KnowsAnyTime``; outside the frames seen, and at the time of a seen frame, one of the results is zero.

        Between seen frames, the result is their own interpolation and a correction from the dynamics: their estimate of
        the frame at that time, minus the same interpolation of their estimates of the interpolated frames.

        Raises:
            ValueError: if no frame was observed.
        """
        length = seen.frames.shape[1]
        if observed.shape != (length,) or not observed.any():
            raise ValueError(f"observed must be ({length},) with at least one frame, not {tuple(observed.shape)}.")
        weights, gap = interpolation_weights(observed, wanted)
        if weights.any() and not gap:  # a frame that was seen
            return weights, seen.frames.new_zeros(())
        around = weights.nonzero().flatten()
        if not len(around):
            known, there, steps = facing(seen, observed, wanted)
            if steps > (self.prior.reach or steps):
                return weights, self._beyond(known, there, steps)
        filled = self._filled(seen, observed.expand(len(seen.frames), -1))
        frames = self._at(filled, observed, [wanted, *around.tolist()])
        errors = (frames[:, 1:] * weights[around].to(frames)[:, None, None, None]).sum(1)
        return weights, self.prior.share(gap) * (frames[:, 0] - errors)

    def _beyond(self, seen: Encoded, observed: Tensor, steps: float) -> Tensor:
        """The frame a real number of steps after those seen, continued from forecast frames as a prediction is."""
        rows = observed.expand(len(seen.frames), -1)
        ahead = self._ahead(self._filled(seen, rows), math.ceil(steps), rows)
        return ahead[:, math.floor(steps) - 1].lerp(ahead[:, -1], steps % 1)

    def _at(self, seen: Encoded, observed: Tensor, times: list[float]) -> Tensor:
        """Frames at real times, in [0, 1]: (N, K, C, H, W)."""
        wanted = torch.tensor(times, dtype=torch.float64, device=seen.frames.device)
        return self.decode(self.prior.at(seen, observed, wanted).to(seen.frames.dtype)).clamp(0, 1)

    @torch.no_grad()
    def forgotten(self, frames: float) -> Tensor:
        """See ``KnowsAnyTime``."""
        return self.prior.forgotten(frames)

    # --- densities --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def surprise(self, clips: Tensor, past: int) -> Tensor:
        """Exact for all frames: the predictive density of the filter, and the flow's log-determinant."""
        embeddings, log_abs_det = self.encode(clips)
        known = self.prior.density_windows(Encoded(clips, embeddings), past)
        return -(known + log_abs_det) / embeddings.shape[2]

    @torch.no_grad()
    def log_likelihood(self, clips: Tensor, observed: Tensor | None = None) -> Tensor:
        """Exact log density of clips, in nats: (N, T, C, H, W) -> (N,)."""
        embeddings, log_abs_det = self.encode(clips)
        seen = Encoded(clips, embeddings)
        if observed is None:
            return self.prior.log_likelihood(seen) + log_abs_det.sum(1)
        return self.prior.log_likelihood(self._filled(seen, observed), observed) + (log_abs_det * observed).sum(1)

    # --- modes ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def spectrum(self, clips: Tensor | None = None) -> Spectrum:
        """Eigenvalues of the transition, which may depend on the clips (N, T, C, H, W)."""
        found = self.prior.spectrum(None if clips is None else self.project(clips))
        if found is None:
            raise ValueError("warp dynamics have no modes; train with dynamics modal for a spectrum.")
        return found

    @torch.no_grad()
    def mode_energy(self, clips: Tensor) -> Tensor:
        """Mean energy of each mode's part of the fitted embeddings: clips (N, T, C, H, W) -> float64 (N, modes)."""
        return self.prior.mode_energy(self.project(clips)).double()

    @torch.no_grad()
    def mode_response(self, clips: Tensor, modes: list[int]) -> Tensor:
        """What the fitted frames (N, T, C, H, W) would lose without each mode: (len(modes), N, T, C, H, W)."""
        whole, parts = self.prior.mode_parts(self.project(clips), modes)
        frames = self.decode(whole.to(clips.dtype))
        return torch.stack([frames - self.decode((whole - part).to(clips.dtype)) for part in parts])

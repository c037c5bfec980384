"""Dynamic VAE: observation and linear transition learned together (Sagel, Shen 2018).

    h_{t+1} = A h_t + B v_t,   y_t = f(h_t) + w_t,   h, v ~ N(0, I),   A Aᵀ + B Bᵀ = I

A pair of frames is a sample of a variational autoencoder with latent variables (h_t, v_t) and, between them and the
decoder f of either frame, the dynamic layer F = [[I, 0], [A, B]] (equation 33).
"""

import cmath
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor, nn

from linear_video.models.base import FrameShape, HasLikelihood, TrainedBySteps
from linear_video.models.dynamic_vae.networks import Decoder, LinearPart, make_encoder
from linear_video.models.dynamic_vae.settings import DynamicVaeSettings
from linear_video.models.lds import LdsSettings, LinearDynamicSystem
from linear_video.models.state_space import StateSpaceModel
from linear_video.models.subspace import lasting_modes

EXACT_UP_TO = 3000  # values of a frame, up to which the linear part starts with exact principal components
SMALL = 1e-6  # smallest deviation relative to the greatest one, as a floor for a divisor
BOUND_DRAWS = 8
GREATEST_FIRST = 0.9999  # modulus of a mode found in clips; one below 1, so that B can learn
GREATEST_NORM = 0.9999  # of A in the hard form, so that I - A Aᵀ can be factorised


class DynamicVae(TrainedBySteps, StateSpaceModel, HasLikelihood):
    """Generative model of frames (C, H, W), float in [0, 1], whose latent state evolves linearly.

    Args:
        frame_shape: (C, H, W).
        settings: see ``DynamicVaeSettings``.
    """

    settings_class = DynamicVaeSettings
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 12_000,
        "clips_per_step": 1,  # of 33 frames: up to 32 pairs
        "learning_rate": 1e-3,
        "learning_rates": {"transition": 4e-3},  # A and B
        "warmup_steps": 0,
        "gradient_norm": 1000.0,
        "validate_every": 1000,
        "threads": 1,
    }
    steps_seen: Tensor

    def __init__(self, frame_shape: FrameShape, settings: DynamicVaeSettings) -> None:
        super().__init__(frame_shape, settings)
        state = settings.state_dimension
        if settings.linear_part and state > math.prod(frame_shape):
            raise ValueError(f"state_dimension {state} is more than the frame's {math.prod(frame_shape)} values.")
        self.encoder = make_encoder(frame_shape, settings)
        self.decoder = Decoder(frame_shape, settings)
        self.linear = LinearPart(frame_shape, state) if settings.linear_part else None
        with torch.device("cpu"):  # the values are read
            transition, noise = _turning(state, _first_modes(settings))
        learned = settings.transition != "two_stage"
        if not learned:  # independent frames, until A and B are fitted
            transition, noise = torch.zeros(state, state), torch.eye(state)
        self.transition = nn.Parameter(transition, requires_grad=learned)
        self.transition_noise = None if settings.transition == "hard" else nn.Parameter(noise, requires_grad=learned)
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.float64))
        self.done = 1.0  # share of the training
        # A training step takes half the time on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def least_context(self) -> int:
        """A pair of frames."""
        return 2

    def system(self) -> tuple[Tensor, Tensor]:
        """A and B, both (n, n)."""
        if self.transition_noise is not None:
            return self.transition, self.transition_noise
        free = self.transition.double()
        transition = free * GREATEST_NORM / torch.linalg.matrix_norm(free, 2).clamp(min=GREATEST_NORM)
        rest = torch.eye(len(free), dtype=free.dtype, device=free.device) - transition @ transition.T
        return transition.to(self.transition.dtype), torch.linalg.cholesky(rest).to(self.transition.dtype)

    def encode(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of frames (N, 2, C, H, W) -> mean and log-variance of (h, v): (N, 2n) each."""
        if pairs.ndim != 5 or pairs.shape[1:] != (2, *self.frame_shape):
            raise ValueError(
                f"pairs must be (N, 2, {', '.join(map(str, self.frame_shape))}), not {tuple(pairs.shape)}."
            )
        mean, log_variance = self.encoder(pairs.flatten(1, 2)).chunk(2, dim=1)
        return (mean if self.linear is None else mean + self.linear.encoder(pairs.flatten(1))), log_variance

    def decode(self, states: Tensor) -> Tensor:
        """States (N, n) -> mean of the frames (N, C, H, W), not clamped to [0, 1]."""
        frames: Tensor = self.decoder(states)
        return frames if self.linear is None else frames + self.linear.decoder(states).unflatten(1, self.frame_shape)

    def dynamic_layer(
        self, first: Tensor, innovations: Tensor, lags: Sequence[int] = (1,), generator: torch.Generator | None = None
    ) -> Tensor:
        """States h_t (N, n), and those after it by the lags, which rise: (N, 1 + lags, n), equation 33.

        ``innovations`` (N, lags, n) are those of the last step to each of the later states. The innovations of the
        steps in between are drawn from their prior.
        """
        transition, noise = self.system()
        states, state = [first], first
        for steps, innovation in zip(np.diff((0, *lags)), innovations.unbind(1), strict=True):
            for _ in range(steps - 1):
                drawn = torch.empty_like(state).normal_(generator=generator)
                state = state @ transition.T + drawn @ noise.T
            state = state @ transition.T + innovation @ noise.T
            states.append(state)
        return torch.stack(states, dim=1)

    def pair_of_states(self, latent: Tensor) -> Tensor:
        """States of both frames of pairs (N, 2, n). With ``"two_stage"``, the second half is the state itself."""
        if self.settings.transition == "two_stage":
            states: Tensor = latent.unflatten(1, (2, -1))
            return states
        first, innovation = latent.chunk(2, dim=1)
        return self.dynamic_layer(first, innovation[:, None])

    def at_step(self, done: float) -> None:
        """See ``TrainedBySteps``."""
        self.done = done

    # --- the contract of every model -------------------------------------------------------------------------------

    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 34, the mean over all pairs of frames of clips (N, T, C, H, W), and its terms.

        The second frame may be further away than one step, and there may be several. The encoder always sees
        neighbours, as in a synthesis: two of them for the first state, and two for the last step to each later frame.

        At the start of the training, innovations are drawn from their prior (``innovations_from``), and the weight of
        the divergence grows to 1 (``kl_warmup``).

        ``generator`` draws the latent variables and the lags; without one, the means are taken and the lag is 1.
        """
        if clips.shape[1] < 2:
            raise ValueError(f"clips need at least 2 frames, not {clips.shape[1]}.")
        done = self.done if self.training and generator is not None else 1.0
        lags = self._draw_lags(clips.shape[1] - 1, generator)
        length = clips.shape[1] - lags[-1]
        mean, log_variance = self.encode(_pairs(clips))
        latent = mean if generator is None else _drawn(mean, log_variance, generator)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1) / 2
        if done < self.settings.innovations_from and self.settings.transition != "two_stage":
            state = self.settings.state_dimension
            drawn = torch.empty_like(latent[:, state:]).normal_(generator=generator)
            latent = torch.cat((latent[:, :state], drawn), dim=1)
            divergence = torch.cat((divergence[:, :state], torch.zeros_like(drawn)), dim=1)

        def of_sample(latent: Tensor) -> tuple[Tensor, Tensor]:
            """The first states (N length, n), and innovations (N length, lags, n)."""
            first, innovations = latent.unflatten(0, (len(clips), -1)).chunk(2, dim=2)
            later = torch.stack([innovations[:, lag - 1 : lag - 1 + length] for lag in lags], dim=2)
            return first[:, :length].flatten(0, 1), later.flatten(0, 1)

        states = self.dynamic_layer(*of_sample(latent), lags, generator)  # (N length, 1 + lags, n)
        frames = torch.stack([clips[:, lag : lag + length] for lag in (0, *lags)], dim=2)
        error = (self.decode(states.flatten(0, 1)) - frames.flatten(0, 2)).square().sum() / len(states)
        parts = {
            "reconstruction": error / (2 * self.settings.observation_variance),
            "kl": sum(part.sum() for part in of_sample(divergence)) / len(states),
            "stationarity": self.stationarity_error(),
        }
        weight, warmup = self.settings.stationarity_weight, self.settings.kl_warmup
        of_kl = done / warmup if done < warmup else 1.0
        return parts["reconstruction"] + of_kl * parts["kl"] + weight * parts["stationarity"], parts

    def _draw_lags(self, limit: int, generator: torch.Generator | None) -> list[int]:
        """How many steps later the later frames are: 1, or 2 to 3, or 4 to 7, and so on, all equally often.

        Training begins with near ones. Validation has them from the start, and so prefers models that last.
        """
        greatest = min(limit, self.settings.greatest_lag)
        if generator is None or greatest == 1 or self.settings.transition == "two_stage":
            return [1]
        if self.training:
            doublings = int(self.steps_seen) // self.settings.lag_doubling
            self.steps_seen += 1
            greatest = min(greatest, 2 ** min(doublings, 30))
        drawn = torch.rand(self.settings.later_frames, generator=generator, device=generator.device)
        return sorted({int(min(greatest, (greatest + 1) ** share)) for share in drawn.tolist()})

    def stationarity_error(self) -> Tensor:
        """||A Aᵀ + B Bᵀ - I||²_F, which is 0 if the states stay N(0, I)."""
        transition, noise = self.system()
        identity = torch.eye(len(transition), dtype=transition.dtype, device=transition.device)
        return (transition @ transition.T + noise @ noise.T - identity).square().sum()

    @torch.no_grad()
    def long_run_covariance(self) -> NDArray[np.float64]:
        """Covariance (n, n) of the states after many steps, P = A P Aᵀ + B Bᵀ; I, if the system is stationary."""
        transition, noise = (matrix.double().cpu().numpy() for matrix in self.system())
        return np.asarray(solve_discrete_lyapunov(transition, noise @ noise.T))

    @torch.no_grad()
    def initialise(self, frames: NDArray[np.uint8]) -> None:
        """Start from clips uint8 (N, T, C, H, W): with the angles by which they turn, or as a linear system.

        ``angles_from_clips`` takes the angles of the modes that last in their principal components. With a linear part,
        the model starts as Doretto's linear system of the clips, made stationary.

        Its principal components, scaled to states N(0, I), are the linear decoder. The exact posterior mean of (h, v)
        given a pair of frames is the linear encoder. At first, the networks add nothing.

        Mean and covariance are those of the first frames of all pairs. So a clip that ends where it began, as a turn
        does, gets a transition without damping.
        """
        if self.linear is None and not self.settings.angles_from_clips:
            return
        system = LinearDynamicSystem(self.frame_shape, LdsSettings(self.settings.state_dimension, False, EXACT_UP_TO))
        system.fit_closed_form(frames)
        if self.linear is None:
            states = torch.cat([system.encode(clips) for clips in _pieces(frames, system.mean.device)])
            lasting = lasting_modes(states.cpu().numpy())
            if len(lasting) and self.settings.transition != "two_stage":
                turning = _turning_modes(self.settings)
                modes = np.resize(lasting * GREATEST_FIRST / np.abs(lasting), turning)
                transition, noise = _turning(self.settings.state_dimension, modes.tolist())
                self.transition.copy_(transition)
                if self.transition_noise is not None:
                    self.transition_noise.copy_(noise)
            return
        state, pairs = self.settings.state_dimension, frames.shape[0] * (frames.shape[1] - 1)
        mean, mean_after = torch.zeros(2, state, dtype=torch.float64, device=system.mean.device)
        covariance, cross = torch.zeros(2, state, state, dtype=torch.float64, device=system.mean.device)
        for clips in _pieces(frames, system.mean.device):
            states = system.encode(clips)
            before, after = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
            mean += before.sum(0) / pairs
            mean_after += after.sum(0) / pairs
            covariance += before.T @ before / pairs
            cross += after.T @ before / pairs
        variances, axes = torch.linalg.eigh(covariance - mean.outer(mean))
        deviation = variances.clamp(min=0).sqrt()
        deviation = deviation.clamp(min=SMALL * float(deviation.max()) + SMALL)
        scaled = axes / deviation  # (n, n), states of the system times this are N(0, I)
        if self.settings.transition != "two_stage":
            self._make_stationary(scaled.T @ (cross - mean_after.outer(mean)) @ scaled, scaled.T @ system.noise)
        observation = system.observation @ (axes * deviation)  # (D, n)
        centre = system.mean + system.observation @ mean  # (D,)
        latent = torch.eye(2 * len(deviation), dtype=self.transition.dtype)
        states = self.pair_of_states(latent).double()
        loading = (states @ observation.T).flatten(1)  # (2n, 2D), one row for each latent variable
        precision = loading @ loading.T / self.settings.observation_variance
        precision += torch.eye(len(precision), dtype=precision.dtype)
        gain = torch.linalg.solve(precision, loading) / self.settings.observation_variance
        self.linear.decoder.weight.copy_(observation)
        self.linear.decoder.bias.copy_(centre)
        self.linear.encoder.weight.copy_(gain)
        self.linear.encoder.bias.copy_(-gain @ centre.repeat(2))
        last, last_of_decoder = self.encoder[-1], self.decoder.convolutions[-1]
        assert isinstance(last, nn.Linear)
        for parameter in (*last.parameters(), *last_of_decoder.parameters()):
            parameter.zero_()
        last.bias[len(latent) :] = -precision.diagonal().log()  # the best variance of a factorised posterior

    @torch.no_grad()
    def finish(self, frames: NDArray[np.uint8]) -> None:
        """Make the states exactly stationary, N(0, I), after the training; the hard form is so already.

        Singular values of A are cut to 1 (or just below), and B becomes the nearest root of I - A Aᵀ. With
        ``"two_stage"``, A is first fitted by least squares between encoded states (equation 29) of clips uint8 (N, T,
        C, H, W), of which few are in memory at once. If A is learned together with the rest, the penalty leaves only a
        small error, but modes near the unit circle would amplify it over a thousand frames.
        """
        if self.transition_noise is None:
            return
        transition, noise = self.transition.double(), self.transition_noise.double()
        if self.settings.transition == "two_stage":
            before, after = torch.zeros_like(transition), torch.zeros_like(transition)
            for clips in _pieces(frames, self.transition.device):
                first, second = self.encode(_pairs(clips))[0].double().chunk(2, dim=1)
                before += first.T @ first
                after += second.T @ first
            transition = torch.linalg.lstsq(before, after.T).solution.T
        self._make_stationary(transition, noise)

    def _make_stationary(self, transition: Tensor, noise: Tensor) -> None:
        """Set A with its singular values cut, and the B nearest to ``noise`` with A Aᵀ + B Bᵀ = I; float64."""
        left, values, right = torch.linalg.svd(transition)
        values = values.clamp(max=GREATEST_NORM)
        self.transition.copy_(left @ torch.diag(values) @ right)
        if self.transition_noise is None:
            return
        root = left @ torch.diag((1 - values**2).sqrt()) @ left.T
        # Among all roots, root @ orthogonal, the one nearest to B (orthogonal Procrustes).
        one, _, two = torch.linalg.svd(root.T @ noise)
        self.transition_noise.copy_(root @ one @ two)

    def first_state(self, start: Tensor) -> Tensor:
        """The state of the first frame of the first pair (N, 2, C, H, W)."""
        return self.encode(start[:, :2])[0].chunk(2, dim=1)[0]

    def last_state(self, context: Tensor, noise: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """The state of the second frame of the last pair, drawn from the posterior with noise of the given size."""
        mean, log_variance = self.encode(context[:, -2:])
        latent = mean if generator is None else _drawn(mean, log_variance, generator, noise)
        return self.pair_of_states(latent)[:, 1]

    def states(self, clips: Tensor) -> Tensor:
        """Encoded means of all frames but the last: (N, T - 1, n)."""
        states: Tensor = self.encode(_pairs(clips))[0].chunk(2, dim=1)[0]
        return states.reshape(len(clips), -1, states.shape[1])

    def steadiness(self) -> dict[str, float]:
        """Spectral radius of A, norm of A Aᵀ + B Bᵀ - I, and greatest deviation of the long-run covariance from I."""
        covariance = self.long_run_covariance()
        return {
            **super().steadiness(),
            "stationarity_norm": float(self.stationarity_error().detach()) ** 0.5,
            "long_run_covariance_error": float(np.abs(covariance - np.eye(len(covariance))).max()),
        }

    @torch.no_grad()
    def surprise(self, clips: Tensor, past: int) -> Tensor:
        """Upper bound of -log p(frame before, frame) in nats per value, of each frame: (N, T, ...) -> (N, T).

        The bound is minus the evidence lower bound of the pair (equation 34 with its constants). Its expectation over
        the latent variables is estimated from ``BOUND_DRAWS`` draws, always the same ones. It is NaN for the first
        frame. ``past`` is not used, since this model looks one frame back.
        """
        unknown = torch.full((len(clips), 1), torch.nan, dtype=torch.float64, device=clips.device)
        if clips.shape[1] < 2:
            return unknown
        pairs = _pairs(clips)
        mean, log_variance = self.encode(pairs)
        generator = torch.Generator(clips.device).manual_seed(0)
        error = torch.zeros(len(pairs), device=clips.device)
        for _ in range(BOUND_DRAWS):
            deviation = torch.empty_like(mean[:1]).normal_(generator=generator)
            latent = mean + (log_variance / 2).exp() * deviation
            decoded = self.decode(self.pair_of_states(latent).flatten(0, 1)).reshape(pairs.shape)
            error += (decoded - pairs).square().flatten(1).sum(1) / BOUND_DRAWS
        variance, values = self.settings.observation_variance, pairs[0].numel()
        divergence = self._divergence(mean.double(), log_variance.double())
        bound = (error.double() / (2 * variance) + divergence) / values + math.log(2 * math.pi * variance) / 2
        return torch.cat((unknown, bound.reshape(len(clips), -1)), dim=1)

    def _divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """KL divergence (N,) of a factorised posterior from the prior N(0, I) of (h, v), or of (h_t, h_{t+1})."""
        covariance = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
        if self.settings.transition == "two_stage":
            state = mean.shape[1] // 2
            transition = self.system()[0].to(mean)
            covariance[state:, :state], covariance[:state, state:] = transition, transition.T
        precision = torch.linalg.inv(covariance)
        quadratic = ((mean @ precision) * mean).sum(1) + log_variance.exp() @ precision.diagonal()
        volume: Tensor = torch.linalg.slogdet(covariance).logabsdet - log_variance.sum(1)
        divergence: Tensor = (quadratic - mean.shape[1] + volume) / 2
        return divergence


def _first_modes(settings: DynamicVaeSettings) -> list[complex]:
    """Modes that turn by angles between the first ones, for the share of the state that turns."""
    turning = _turning_modes(settings)
    least, greatest = (math.radians(angle) for angle in settings.first_angles)
    angles = torch.linspace(least, greatest, turning + 2)[1:-1].tolist()
    return [cmath.rect(settings.first_radius, angle) for angle in angles]


def _turning_modes(settings: DynamicVaeSettings) -> int:
    return max(1, round(settings.turning_share * settings.state_dimension / 2))


def _turning(state: int, modes: list[complex]) -> tuple[Tensor, Tensor]:
    """A first A (n, n) with these modes, and others that decay at once; and its B."""
    transition, kept = torch.zeros(state, state), torch.zeros(state)
    for k, mode in enumerate(modes[: state // 2]):
        block = slice(2 * k, 2 * k + 2)
        transition[block, block] = torch.tensor([[mode.real, mode.imag], [-mode.imag, mode.real]])
        kept[block] = abs(mode)
    return transition, torch.diag((1 - kept**2).sqrt())


def _drawn(mean: Tensor, log_variance: Tensor, generator: torch.Generator, noise: float = 1.0) -> Tensor:
    """Latent variables with noise of the given size."""
    return mean + noise * (log_variance / 2).exp() * torch.empty_like(mean).normal_(generator=generator)


def _pairs(clips: Tensor) -> Tensor:
    """Frames of clips (N, T, C, H, W) with the next ones: (N (T - 1), 2, C, H, W)."""
    return torch.stack((clips[:, :-1], clips[:, 1:]), dim=2).flatten(0, 1)


def _pieces(frames: NDArray[np.uint8], device: torch.device) -> Iterator[Tensor]:
    """Clips as float in [0, 1], a few at a time, since the array may be memory-mapped."""
    for start in range(0, len(frames), 64):
        yield torch.from_numpy(np.array(frames[start : start + 64])).to(device).float() / 255

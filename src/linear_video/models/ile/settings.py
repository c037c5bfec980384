"""Settings of the Invertible Linear Embedding."""

from dataclasses import dataclass
from typing import Any, Literal

from linear_video.common.checks import check_least, check_literals, check_most, check_pair, check_within


@dataclass(frozen=True)
class IleSettings:
    """Settings of the Invertible Linear Embedding.

    Attributes:
        dynamics: form of A_t: ``"modal"``, Fourier modes that turn with the motion; ``"warp"``, a picture that moves
            along a field; ``"dense"``, one transition for all motions, as in the paper.
        look_back: modal and warp: number of frames from which the motion is found.
        reach: modal and warp: number of steps ahead for which the network gives a motion. Longer forecasts continue
            from there.
        field_start: warp: the field before training: ``"still"`` (nothing moves), or ``"optical_flow"`` (everything
            keeps its last motion, which OpenCV's optical flow finds on the CPU). The network corrects it.
        velocities: modal: number of velocities in a picture; the modes turn by a weighted mean over them.
        motion_channels: modal and warp: channels of the network that finds the motion.
        motion_share: modal and warp: share of the training that learns the motion alone, coarse to fine.
        motion_refinement: modal and warp: learning rate of the motion network in the rest of the training, relative to
            that first part.
        forecasts_per_clip: modal and warp: number of moments in a clip from which each training step forecasts.
        state_dimension: dense: dimension n of the state, even.
        blocks: number of blocks. Each squeezes pixels into channels, applies couplings, and sends half of the channels
            to the embedding.
        couplings: number of affine couplings in a block; 0 makes the flow the identity, for comparison.
        hidden_channels: channels in the middle of a coupling's network.
        middle_kernel: size of the middle convolution, 1 (authors' code) or 3 (paper).
        mix: transform of the 2x2 pixels that a squeeze moves into channels: ``"haar"`` (wavelet) or ``"none"``.
        first_squeezes: number of squeezes before the first coupling.
        eigenvalue_radius: dense: (least, greatest) modulus of the eigenvalues before training, within [0, 1].
        eigenvalue_angle: dense: (least, greatest) angle of the eigenvalues before training, degrees a frame in [0, 90].
        noise: size of the dequantisation noise in training, for grey values in [0, 1].
        noise_kind: ``"gaussian"`` (standard deviation ``noise``) or ``"uniform"`` (width ``noise``).
        scale: ``"learned"`` leaves the embedding's scale to the flow; ``"batch_mean"`` divides it by the batch's mean
            absolute value (paper, section 2.6).
        profile_weight: dense: share of the profile likelihood in the objective, in [0, 1]; the rest is the marginal
            likelihood. 1 is the paper's equation 2.
        loss_frames: number of frames, from the first one on, that the objective sees; None for all.
        forecast_weight: weight in the objective of the log density of true frames under the forecasts; 0 leaves it out
            (paper).
        forecast_context: dense: number of frames that those forecasts see. They predict all other frames of a clip.
        prior_precision: dense: x0 of a prediction is the posterior mean under x0 ~ N(0, I / prior_precision); 1 is the
            prior of the marginal likelihood, and 0 is least squares (paper).
        fading_memory: dense: weight of a context frame relative to the frame after it in a prediction, in (0, 1].
        memory: what the flow keeps for the gradient: ``"none"`` saves no memory; ``"checkpoint"`` and ``"reversible"``
            recompute the couplings' networks from kept inputs or from their outputs (``models.recompute``).
        actions: number of values of the actions u_t in x_t = A x_{t-1} + B u_t (paper, section 4); 0 for a model
            without actions.
    """

    dynamics: Literal["modal", "warp", "dense"] = "modal"
    look_back: int = 8
    reach: int = 5
    field_start: Literal["still", "optical_flow"] = "still"
    velocities: int = 1
    motion_channels: int = 32
    motion_share: float = 0.8
    motion_refinement: float = 0.1
    forecasts_per_clip: int = 1
    state_dimension: int = 256
    blocks: int = 2
    couplings: int = 5
    hidden_channels: int = 48
    middle_kernel: int = 1
    mix: Literal["haar", "none"] = "haar"
    first_squeezes: int = 3
    eigenvalue_radius: tuple[float, float] = (0.95, 1.0)
    eigenvalue_angle: tuple[float, float] = (0.0, 60.0)
    noise: float = 0.01
    noise_kind: Literal["gaussian", "uniform"] = "gaussian"
    scale: Literal["learned", "batch_mean"] = "learned"
    profile_weight: float = 0.0
    loss_frames: int | None = None
    forecast_weight: float = 1.0
    forecast_context: int = 10
    prior_precision: float = 0.2
    fading_memory: float = 0.7
    memory: Literal["none", "checkpoint", "reversible"] = "none"
    actions: int = 0

    def __post_init__(self) -> None:
        check_literals(self)
        if self.state_dimension < 2 or self.state_dimension % 2:
            raise ValueError(f"state_dimension must be even and positive, not {self.state_dimension}.")
        if self.middle_kernel < 1 or self.middle_kernel % 2 != 1:
            raise ValueError(f"middle_kernel must be odd and positive, not {self.middle_kernel}.")
        check_least(self, 1, "blocks", "hidden_channels", "first_squeezes", "forecast_context")
        check_least(self, 1, "look_back", "reach", "velocities", "motion_channels", "forecasts_per_clip")
        check_least(self, 0, "couplings")
        check_within(self, "[0, 1)", "motion_share", "motion_refinement")
        check_least(self, 1, "loss_frames")
        check_least(self, 0, "actions")
        check_most(self, 12, "blocks", "first_squeezes")
        check_most(self, 31, "middle_kernel")
        check_most(self, 100, "couplings")
        check_most(self, 1000, "look_back", "reach", "velocities", "forecasts_per_clip", "actions")
        check_most(self, 4096, "hidden_channels", "motion_channels")
        check_most(self, 2**14, "state_dimension")
        check_pair(self, "[0, 1]", "eigenvalue_radius")
        check_pair(self, "[0, 90]", "eigenvalue_angle")
        check_within(self, "[0, inf)", "noise", "forecast_weight", "prior_precision")
        check_within(self, "[0, 1]", "profile_weight")
        check_within(self, "(0, 1]", "fading_memory")
        if self.dynamics != "dense" and self.loss_frames is not None and self.loss_frames <= self.reach:
            raise ValueError(f"loss_frames {self.loss_frames} leaves no frame to look from; lower reach, {self.reach}.")
        known = self.forecast_context if self.dynamics == "dense" else 0
        if self.forecast_weight and self.loss_frames is not None and self.loss_frames <= known:
            raise ValueError(
                f"loss_frames {self.loss_frames} leaves none to forecast after forecast_context "
                f"{self.forecast_context}; set forecast_weight to 0.0, or raise loss_frames."
            )


MODAL: dict[str, Any] = {
    "steps": 3600,
    "learning_rate": 4e-3,
    "learning_rates": {"prior.motion": 3e-3, "prior": 3e-3, "prior.log": 1e-2},
    "warmup_steps": 200,  # at first, forecasts are decoded from unbounded embeddings
    "weight_average": 0.99,
    "validate_every": 500,
    "threads": 1,  # a second thread gains under 10 %, and costs much if another program keeps the core busy
}
# Training settings that suit each form of dynamics.
TRAINING: dict[str, dict[str, Any]] = {
    "modal": MODAL,
    "warp": {
        **MODAL,
        "steps": 10_000,
        "clips_per_step": 4,  # each with a field at every frame
        "learning_rates": {**MODAL["learning_rates"], "prior.motion": 1.5e-3},
    },
    "dense": {
        **MODAL,
        "steps": 7000,
        "learning_rate": 6e-3,
        "weight_average": 0.998,
        # With a higher rate, many modes decay so quickly that they explain only the first frame.
        "learning_rates": {"prior.observation": 1e-2, "prior.theta": 2e-4},
    },
}

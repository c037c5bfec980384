"""Settings of the Invertible Linear Embedding."""

from dataclasses import dataclass
from typing import Literal

from linear_video.common.checks import check_least, check_literals, check_pair, check_within


@dataclass(frozen=True)
class IleSettings:
    """Settings of the Invertible Linear Embedding.

    Attributes:
        state_dimension: n, even.
        blocks: squeeze, couplings, and half of the channels to the embedding; that many times.
        couplings: affine couplings of a block.
        hidden_channels: channels in the middle of a coupling's network.
        middle_kernel: size of the middle convolution, 1 (authors' code) or 3 (paper).
        mix: what becomes of the 2x2 pixels that a squeeze moves into channels: ``"haar"`` wavelet or ``"none"``.
        first_squeezes: squeezes before the first coupling.
        eigenvalue_radius: (least, greatest) modulus of the eigenvalues before training, within [0, 1].
        eigenvalue_angle: (least, greatest) angle of the eigenvalues before training, degrees per frame in [0, 90].
        noise: size of the dequantisation noise in training, in grey values of [0, 1].
        noise_kind: ``"gaussian"`` (standard deviation ``noise``) or ``"uniform"`` (width ``noise``).
        scale: ``"learned"`` leaves the embedding's scale to the flow; ``"batch_mean"`` divides it by the batch's mean
            absolute value (paper, section 2.6).
        profile_weight: share of the profile likelihood in the objective, in [0, 1]; the rest is the marginal
            likelihood. 1 is the paper's equation 2.
        loss_frames: the objective sees that many first frames of a clip; all, if None.
        forecast_weight: of the log density of forecasts, predicted frames against true ones, in the objective; 0 leaves
            it out (paper).
        forecast_context: frames that those forecasts see; they are of all further frames of a clip.
        prior_precision: x0 of a prediction is the posterior mean under x0 ~ N(0, I / prior_precision); 1 is the prior
            of the marginal likelihood, 0 least squares (paper).
        fading_memory: weight of a context frame against the next newer one in a prediction, in (0, 1].
        memory: what the flow keeps for the gradient: ``"none"`` saves no memory; ``"checkpoint"`` and ``"reversible"``
            compute the couplings' networks again, from kept inputs or from their outputs (``models.recompute``).
        actions: number of values of the actions u_t in x_t = A x_{t-1} + B u_t (paper, section 4); 0 for a model
            without.
    """

    state_dimension: int = 256
    blocks: int = 2
    couplings: int = 5
    hidden_channels: int = 48
    middle_kernel: int = 1
    mix: Literal["haar", "none"] = "haar"
    first_squeezes: int = 2
    eigenvalue_radius: tuple[float, float] = (0.95, 1.0)
    eigenvalue_angle: tuple[float, float] = (0.0, 60.0)
    noise: float = 0.02
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
        check_least(self, 1, "blocks", "couplings", "hidden_channels", "first_squeezes", "forecast_context")
        check_least(self, 1, "loss_frames")
        check_least(self, 0, "actions")
        check_pair(self, "[0, 1]", "eigenvalue_radius")
        check_pair(self, "[0, 90]", "eigenvalue_angle")
        check_within(self, "[0, inf)", "noise", "forecast_weight", "prior_precision")
        check_within(self, "[0, 1]", "profile_weight")
        check_within(self, "(0, 1]", "fading_memory")
        if self.forecast_weight and self.loss_frames is not None and self.loss_frames <= self.forecast_context:
            raise ValueError(
                f"loss_frames {self.loss_frames} leave none to forecast after forecast_context "
                f"{self.forecast_context}; set forecast_weight to 0.0, or raise loss_frames."
            )

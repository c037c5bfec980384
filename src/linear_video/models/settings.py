"""Settings of every model: what a parameters file may say. Free of PyTorch, so that reading them is quick."""

from dataclasses import dataclass
from typing import Literal


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


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
    blocks: int = 3
    couplings: int = 4
    hidden_channels: int = 32
    middle_kernel: int = 1
    mix: Literal["haar", "none"] = "haar"
    first_squeezes: int = 1
    eigenvalue_radius: tuple[float, float] = (0.95, 1.0)
    eigenvalue_angle: tuple[float, float] = (0.0, 90.0)
    noise: float = 0.03
    noise_kind: Literal["gaussian", "uniform"] = "gaussian"
    scale: Literal["learned", "batch_mean"] = "learned"
    profile_weight: float = 0.7
    loss_frames: int | None = None
    forecast_weight: float = 0.0
    forecast_context: int = 10
    prior_precision: float = 1.0
    fading_memory: float = 1.0
    memory: Literal["none", "checkpoint", "reversible"] = "none"
    actions: int = 0

    def __post_init__(self) -> None:
        if self.state_dimension < 2 or self.state_dimension % 2:
            raise ValueError(f"state_dimension must be even and positive, not {self.state_dimension}.")
        for name in ("blocks", "couplings", "hidden_channels", "first_squeezes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.middle_kernel < 1 or self.middle_kernel % 2 != 1:
            raise ValueError(f"middle_kernel must be odd and positive, not {self.middle_kernel}.")
        for name, limit in (("eigenvalue_radius", 1), ("eigenvalue_angle", 90)):
            least, greatest = getattr(self, name)
            if not 0 <= least <= greatest <= limit:
                raise ValueError(f"{name} must be [least, greatest] within [0, {limit}], not [{least}, {greatest}].")
        if self.actions < 0:
            raise ValueError(f"actions must be at least 0, not {self.actions}.")
        if self.noise < 0:
            raise ValueError(f"noise must not be below zero, but is {self.noise}.")
        if not 0 <= self.profile_weight <= 1:
            raise ValueError(f"profile_weight must be within [0, 1], not {self.profile_weight}.")
        if self.loss_frames is not None and self.loss_frames < 1:
            raise ValueError(f"loss_frames must be at least 1 or null, not {self.loss_frames}.")
        if not 0 <= self.forecast_weight < float("inf"):
            raise ValueError(f"forecast_weight must be finite and at least 0, not {self.forecast_weight}.")
        if self.forecast_context < 1:
            raise ValueError(f"forecast_context must be at least 1, not {self.forecast_context}.")
        if self.forecast_weight and self.loss_frames is not None and self.loss_frames <= self.forecast_context:
            raise ValueError(
                f"loss_frames {self.loss_frames} leave none to forecast after forecast_context "
                f"{self.forecast_context}; set forecast_weight to 0.0, or raise loss_frames."
            )
        if not 0 <= self.prior_precision < float("inf"):
            raise ValueError(f"prior_precision must be at least 0 and finite, not {self.prior_precision}.")
        if not 0 < self.fading_memory <= 1:
            raise ValueError(f"fading_memory must be within (0, 1], not {self.fading_memory}.")
        check_choice("mix", self.mix, ("haar", "none"))
        check_choice("noise_kind", self.noise_kind, ("gaussian", "uniform"))
        check_choice("scale", self.scale, ("learned", "batch_mean"))
        check_choice("memory", self.memory, ("none", "checkpoint", "reversible"))


@dataclass(frozen=True)
class LastFrameSettings:
    """The last frame has none."""


@dataclass(frozen=True)
class DynamicVaeSettings:
    """Settings of the Dynamic VAE.

    Attributes:
        state_dimension: n, of the state h and of the innovation v.
        filter_size: of every convolution, odd.
        channels: of the deepest hidden map, which has an eighth of the frame's height and width.
        channel_factor: channels of a map are those of the next deeper one divided by this; paper: 4.
        hidden_units: of one more fully connected layer on either side of the latent variables; 0 for none (paper).
        observation_variance: sigma² of frames of [0, 1]. High: few, simple traits of the frames are kept, which
            follow each other for long; low: sharp frames.
        transition: ``"soft"``, A and B with a penalty for instability (paper); ``"hard"``, A of a norm below 1 and B
            the Cholesky factor of I - A Aᵀ; ``"two_stage"``, both fitted after the training (equation 29).
        stationarity_weight: lambda of the penalty.
        greatest_lag: frames of a pair may be that far apart in time. 1 is the paper; farther ones show whether what
            ought to last does last.
        lag_doubling: training steps until the lag may be twice as large; it starts with 1.
        first_angles: between these degrees, evenly spread, modes turn before training; at [0, 0] none does (the
            authors' code).
        first_radius: modulus of the turning modes before training, in [0, 1).
        turning_share: share of the state in modes that turn before training; the rest forgets at once.
        linear_part: whether encoder and decoder have a fixed linear part beside their networks. Training then starts
            as Doretto's linear system made stationary, in place of the first angles and radius.
    """

    state_dimension: int
    filter_size: int
    channels: int
    channel_factor: int
    hidden_units: int
    observation_variance: float
    transition: Literal["soft", "hard", "two_stage"]
    stationarity_weight: float
    greatest_lag: int
    lag_doubling: int
    first_angles: tuple[float, float]
    first_radius: float
    turning_share: float
    linear_part: bool

    def __post_init__(self) -> None:
        for name in ("state_dimension", "channels", "channel_factor", "greatest_lag", "lag_doubling"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.state_dimension % 2:
            raise ValueError(f"state_dimension must be even, not {self.state_dimension}.")
        if self.filter_size < 1 or self.filter_size % 2 != 1:
            raise ValueError(f"filter_size must be odd and positive, not {self.filter_size}.")
        if self.hidden_units < 0:
            raise ValueError(f"hidden_units must not be below 0, but is {self.hidden_units}.")
        if not 0 < self.observation_variance < float("inf"):
            raise ValueError(f"observation_variance must be finite and above 0, not {self.observation_variance}.")
        if not 0 <= self.stationarity_weight < float("inf"):
            raise ValueError(f"stationarity_weight must be finite and at least 0, not {self.stationarity_weight}.")
        if not 0 <= self.first_radius < 1:
            raise ValueError(f"first_radius must be within [0, 1), not {self.first_radius}.")
        if not 0 < self.turning_share <= 1:
            raise ValueError(f"turning_share must be within (0, 1], not {self.turning_share}.")
        check_choice("transition", self.transition, ("soft", "hard", "two_stage"))
        least, greatest = self.first_angles
        if not 0 <= least <= greatest <= 180:
            raise ValueError(f"first_angles must be [least, greatest] within [0, 180], not [{least}, {greatest}].")


@dataclass(frozen=True)
class AdversarialSettings:
    """Settings of the adversarial multi-scale network.

    Attributes:
        input_frames: that the next one is predicted from.
        size: ``"paper"``, or ``"small"``, close to the authors' training script.
        lp_weight: of the L_p loss.
        lp_power: p, 1 or 2.
        gradient_difference_weight: of the gradient difference loss; 0 leaves it out.
        gradient_difference_power: alpha, at least 1.
        adversarial_weight: of the adversarial loss at every scale; 0 leaves out the discriminators.
    """

    input_frames: int
    size: Literal["paper", "small"]
    lp_weight: float
    lp_power: int
    gradient_difference_weight: float
    gradient_difference_power: float
    adversarial_weight: float

    def __post_init__(self) -> None:
        if self.input_frames < 1:
            raise ValueError(f"input_frames must be at least 1, not {self.input_frames}.")
        check_choice("size", self.size, ("paper", "small"))
        for name in ("lp_weight", "gradient_difference_weight", "adversarial_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and at least 0, not {getattr(self, name)}.")
        if not self.lp_weight and not self.gradient_difference_weight:
            raise ValueError("lp_weight and gradient_difference_weight must not both be 0.")
        if self.lp_power not in (1, 2):
            raise ValueError(f"lp_power must be 1 or 2, not {self.lp_power}.")
        if not 1 <= self.gradient_difference_power < float("inf"):
            raise ValueError(f"gradient_difference_power must be at least 1, not {self.gradient_difference_power}.")


@dataclass(frozen=True)
class LdsSettings:
    """Settings of Doretto's linear dynamic system.

    Attributes:
        state_dimension: n.
        stable: whether singular values of A above 1 are set to 1.
        exact_up_to: largest number of values of a frame for which principal components are computed exactly.
    """

    state_dimension: int
    stable: bool
    exact_up_to: int

    def __post_init__(self) -> None:
        for name in ("state_dimension", "exact_up_to"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")

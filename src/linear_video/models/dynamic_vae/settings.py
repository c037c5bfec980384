"""Settings of the Dynamic VAE."""

from dataclasses import dataclass
from typing import Literal

from linear_video.common.checks import check_least, check_literals, check_most, check_pair, check_within


@dataclass(frozen=True)
class DynamicVaeSettings:
    """Settings of the Dynamic VAE.

    Attributes:
        state_dimension: n, the dimension of the state h and of the innovation v.
        filter_size: size of every convolution, odd.
        channels: channels of the deepest hidden map, which has an eighth of the frame's height and width.
        channel_factor: a map has as many channels as the next deeper one, divided by this factor; paper: 4.
        hidden_units: units of an additional fully connected layer on either side of the latent variables; 0 for none
            (paper).
        observation_variance: sigma² for frames in [0, 1]. A high value keeps few features of the frames, and long
            sequences stay in order; a low value gives sharp frames.
        transition: ``"soft"``, A and B with a penalty for instability (paper); ``"hard"``, A of a norm below 1 and B
            the Cholesky factor of I - A Aᵀ; ``"two_stage"``, both fitted after the training (equation 29).
        stationarity_weight: lambda of the penalty.
        greatest_lag: greatest distance in time of the two frames of a training pair; paper: 1. Distant frames teach
            the model what lasts for many steps.
        lag_doubling: training steps after which the greatest lag doubles. It starts at 1.
        later_frames: number of later frames that a state has to explain in training; paper: 1. The more there are, the
            more the state keeps of what lasts, and the less of how one frame looks. Equal lags are drawn once.
        innovations_from: share of the training after which the innovations of the last steps are encoded; paper: 0.
            Before, they are drawn from their prior, so that the state alone has to say what lasts.
        kl_warmup: share of the training in which the weight of the Kullback-Leibler divergence grows from 0 to 1, which
            keeps the code from saying nothing; paper: 0.
        first_angles: (least, greatest) angle in degrees per step by which modes turn before training, spread evenly;
            [0, 0] for none (the authors' code).
        angles_from_clips: whether modes turn by the angles of the modes that last in the clips, if there are any,
            in place of the first angles.
        first_radius: modulus of the turning modes before training, in [0, 1).
        turning_share: share of the state that is in turning modes before training; the rest decays immediately.
        linear_part: whether encoder and decoder have a fixed linear part beside their networks. Training then starts
            from Doretto's linear system, made stationary, instead of the first angles and radius.
    """

    state_dimension: int = 12
    filter_size: int = 3
    channels: int = 64
    channel_factor: int = 2
    hidden_units: int = 256
    observation_variance: float = 1.0
    transition: Literal["soft", "hard", "two_stage"] = "soft"
    stationarity_weight: float = 10_000.0
    greatest_lag: int = 32
    lag_doubling: int = 1000
    later_frames: int = 1
    innovations_from: float = 0.0
    kl_warmup: float = 0.0
    first_angles: tuple[float, float] = (0.0, 180.0)
    angles_from_clips: bool = False
    first_radius: float = 0.95
    turning_share: float = 1.0
    linear_part: bool = False

    def __post_init__(self) -> None:
        check_literals(self)
        check_least(
            self, 1, "state_dimension", "channels", "channel_factor", "greatest_lag", "lag_doubling", "later_frames"
        )
        check_least(self, 0, "hidden_units")
        check_most(self, 31, "filter_size", "later_frames")
        check_most(self, 4096, "state_dimension", "channels", "channel_factor")
        check_most(self, 2**16, "hidden_units")
        if self.state_dimension % 2:
            raise ValueError(f"state_dimension must be even, not {self.state_dimension}.")
        if self.filter_size < 1 or self.filter_size % 2 != 1:
            raise ValueError(f"filter_size must be odd and positive, not {self.filter_size}.")
        check_within(self, "(0, inf)", "observation_variance")
        check_within(self, "[0, inf)", "stationarity_weight")
        check_within(self, "[0, 1)", "first_radius")
        check_within(self, "(0, 1]", "turning_share")
        check_within(self, "[0, 1)", "innovations_from", "kl_warmup")
        check_pair(self, "[0, 180]", "first_angles")

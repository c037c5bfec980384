"""What a model is, and what else it may offer: its capabilities, each a class.

Every model is a subclass of ``VideoModel`` and of the capabilities that it has. Whoever uses a model asks its class
(``isinstance(model, HasSpectrum)``), never its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linear_video.common.errors import InputError

FrameShape = tuple[int, int, int]  # (C, H, W)


class VideoModel(nn.Module, ABC):
    """Predicts frames (C, H, W), float in [0, 1].

    Args:
        frame_shape: (C, H, W).
        settings: an instance of ``settings_class``.

    A constructor must not look at the values of its tensors, or only at those that it makes within
    ``torch.device("cpu")``: checkpoints are built on the device ``meta`` first, where tensors have no memory.

    Attributes:
        settings_class: a frozen dataclass with complete defaults; raises ValueError where a value is impossible, or
            where one could only have been forged (``common.checks.check_most``).
    """

    settings_class: ClassVar[type]

    def __init__(self, frame_shape: FrameShape, settings: Any) -> None:
        super().__init__()
        self.frame_shape, self.settings = frame_shape, settings

    @classmethod
    def check_clips(cls, settings: Any, frames: int) -> None:
        """Raise ValueError if settings do not go with clips of so many frames; before anything is made of either."""

    @classmethod
    def settings_of_before(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of a checkpoint of any earlier version, as this version would have written them."""
        return settings

    def offers(self, capability: "type[VideoModel]") -> bool:
        """Whether it has a capability, as its class says, and its settings may deny."""
        return isinstance(self, capability)

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU for a model that has none."""
        return next(self.parameters(), torch.empty(0)).device

    @property
    def least_context(self) -> int:
        """Fewest frames from which it can predict."""
        return 1

    def newest(self, context: Tensor) -> Tensor:
        """The last ``least_context`` frames of a context (N, T, C, H, W).

        Raises:
            InputError: if the context is shorter.
        """
        length = self.least_context
        if context.shape[1] < length:
            raise InputError(f"the context has {context.shape[1]} frames, but the model was trained to see {length}.")
        return context[:, -length:]

    @property
    def actions(self) -> int:
        """Number of values of the actions that it knows; 0 for a model without."""
        return 0

    @abstractmethod
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W), in [0, 1]."""

    @torch.no_grad()
    def forecasts(self, clips: Tensor, context: int, horizon: int) -> Tensor:
        """What ``predict`` gives after each window of ``context`` frames.

        Clips (N, T, C, H, W) -> (N, T - context + 1, horizon, C, H, W).
        """
        windows = clips.unfold(1, context, 1).movedim(-1, 2)  # (N, T - context + 1, context, C, H, W)
        predicted = self.predict(windows.flatten(0, 1), horizon)
        return predicted.reshape(*windows.shape[:2], *predicted.shape[1:])


class TrainedBySteps(VideoModel):
    """Learns from clips by gradient steps, see ``training.fit``.

    Attributes:
        training_defaults: settings of ``training.fit.TrainingSettings`` that suit it, where the general ones do not.
    """

    training_defaults: ClassVar[dict[str, Any]] = {}

    @classmethod
    def training_for(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Training settings that suit model settings, of which only those that differ from the defaults are given."""
        return cls.training_defaults

    @property
    def stages(self) -> tuple[float, ...]:
        """Shares of the training after which it learns something else; each stage has a schedule of its own."""
        return ()

    def paces(self, name: str) -> tuple[float, ...]:
        """How fast a parameter learns in each stage, relative to its rate."""
        return (1.0,) * (1 + len(self.stages))

    def at_step(self, done: float) -> None:
        """Told before each step how much of the training is over, in [0, 1)."""

    @abstractmethod
    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Objective of clips (N, T, C, H, W), a scalar to minimise, and its named parts.

        ``generator`` draws whatever is random; without one, nothing is.
        """

    def initialise(self, frames: NDArray[np.uint8]) -> None:
        """Before the first step, look at all training clips uint8 (N, T, C, H, W)."""

    def finish(self, frames: NDArray[np.uint8]) -> None:
        """After the last step, settle what is left in closed form, from all training clips uint8 (N, T, C, H, W)."""

    def regions(self) -> list[nn.Module]:
        """Parts that are worth compiling one by one."""
        return []

    def check_numerics(self) -> None:
        """Called now and then in the training: warn if something is about to go wrong."""


class FittedInClosedForm(VideoModel):
    """Learns from clips at once."""

    @abstractmethod
    def fit_closed_form(self, frames: NDArray[np.uint8]) -> None:
        """Fit to all training clips uint8 (N, T, C, H, W), which may be memory-mapped.

        Raises:
            InputError: if the clips do not suffice.
        """


class TakesAnySize(VideoModel):
    """Has nothing that is of a place in the frame, and sees no farther than its networks reach."""

    @property
    def size_step(self) -> int:
        """Height and width of frames must be multiples of it."""
        return 1

    def sized(self, height: int, width: int) -> Self:
        """The same model for frames of another size, with copies of the weights."""
        other = type(self)((self.frame_shape[0], height, width), self.settings)
        other.load_state_dict(self.state_dict())
        return other.to(self.device).eval()


class KnowsActions(TrainedBySteps):
    """Knows what acts on the scene, where its settings say of how many values an action is (``actions``)."""

    @abstractmethod
    def loss(
        self, clips: Tensor, generator: torch.Generator | None = None, actions: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As that of every model, with the ``actions`` (N, T, m) of the clips."""

    @abstractmethod
    def predict(
        self, context: Tensor, horizon: int, observed: Tensor | None = None, actions: Tensor | None = None
    ) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W).

        ``observed`` (N, T) tells which context frames count; ``actions`` (N, T + horizon, m) are those of context and
        horizon, None for none at all.
        """


class Synthesises(VideoModel):
    """Makes sequences without end, with noise."""

    @abstractmethod
    def synthesise(self, start: Tensor, frames: int, seed: int = 0, noise_scale: float = 1.0) -> Tensor:
        """Sequences from the first frames of ``start`` (N, T, C, H, W), T at least 2: (N, frames, C, H, W)."""

    @abstractmethod
    def steadiness(self) -> dict[str, float]:
        """Whether sequences last: numbers that tell if they fade out or blow up, by name."""


class DrawsFutures(VideoModel):
    """Knows how uncertain its predictions are."""

    @abstractmethod
    def futures(self, context: Tensor, horizon: int, count: int, seed: int, noise: float = 1.0) -> Tensor:
        """Draws of the frames after the context (N, T, C, H, W): (count, N, horizon, C, H, W)."""


class Spectrum(NamedTuple):
    """Eigenvalues of a transition, one of each conjugate pair, with what they mean."""

    eigenvalues: Tensor  # complex128
    period: Tensor  # frames per turn, inf for a mode that does not turn
    half_life: Tensor  # frames until the amplitude has halved, inf for modulus 1 and above


class HasSpectrum(VideoModel):
    """Has linear dynamics, whose modes turn and decay."""

    @abstractmethod
    def spectrum(self, clips: Tensor | None = None) -> Spectrum:
        """Eigenvalues of the transition, in clips (N, T, C, H, W) where it depends on them."""

    @abstractmethod
    def mode_energy(self, clips: Tensor) -> Tensor:
        """Mean energy of each mode of ``spectrum`` in clips (N, T, C, H, W): float64 (N, modes)."""

    @abstractmethod
    def mode_response(self, clips: Tensor, modes: list[int]) -> Tensor:
        """What frames (N, T, C, H, W) would lack without each mode: (len(modes), N, T or T - 1, C, H, W)."""


class Seen(Protocol):
    """What a model has made of frames, and needs of them to know other moments: see ``KnowsAnyTime.project``."""

    def first(self, frames: int) -> Self:
        """Of the first frames alone."""

    def from_frame(self, frame: int) -> Self:
        """Of the frames from one on."""

    def followed_by(self, later: Self) -> Self:
        """Of these frames and the later ones."""


S = TypeVar("S", bound=Seen)


class KnowsAnyTime(VideoModel, Generic[S]):
    """Knows frames at any real time: between those seen, before, and after them."""

    @abstractmethod
    def project(self, clips: Tensor) -> S:
        """All that the other methods need of frames (N, T, C, H, W)."""

    @abstractmethod
    def interpolate(self, seen: S, observed: Tensor, wanted: float) -> tuple[Tensor, Tensor]:
        """A frame at a real time, from frames at times 0 .. T-1 of which ``observed`` (T,) tells which were seen.

        Returns:
            weights (T,) of the frames themselves, and what to add to their sum, (N, C, H, W).
        """

    @abstractmethod
    def smooth(self, seen: S, wanted: int) -> Tensor:
        """The frame at time ``wanted`` of 0 .. T-1 as the frames around it have it: (N, C, H, W), in [0, 1]."""

    @abstractmethod
    def forgotten(self, frames: float) -> Tensor:
        """Which modes cannot be traced back so many frames: bool (modes,)."""


class HasLikelihood(VideoModel):
    """Says how likely frames are, by a density or a bound of it."""

    @abstractmethod
    def surprise(self, clips: Tensor, past: int) -> Tensor:
        """-log p(frame | the frames before it, at most ``past``) in nats per value: (N, T, C, H, W) -> (N, T).

        A bound is from above, and may be NaN for the first frame.
        """


class HasExactLikelihood(HasLikelihood):
    """Has a density of clips: ``surprise`` is exact, and adds up to it."""

    @abstractmethod
    def log_likelihood(self, clips: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log density in nats of clips, of the ``observed`` frames (N, T) alone: (N, T, C, H, W) -> (N,)."""

"""The base class of all models, and the classes for what a model may offer beyond it: its capabilities.

Every model is a subclass of ``VideoModel`` and of the capabilities that it has. Code that uses a model asks its class
(``isinstance(model, HasSpectrum)``), never its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import chain
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linear_video.common.errors import InputError

FrameShape = tuple[int, int, int]  # (C, H, W)


def usual_device() -> torch.device:
    """Where models predict, unless something else is asked for: a GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class VideoModel(nn.Module, ABC):
    """Predicts frames (C, H, W), float in [0, 1].

    Args:
        frame_shape: (C, H, W).
        settings: an instance of ``settings_class``.

    A constructor must not read the values of its tensors, except tensors that it makes within ``torch.device("cpu")``:
    checkpoints are first built on the device ``meta``, where tensors have no memory.

    Attributes:
        settings_class: a frozen dataclass with complete defaults. It raises ValueError if a value is impossible, or if
            it can only have been forged (``common.checks.check_most``).
    """

    settings_class: ClassVar[type]

    def __init__(self, frame_shape: FrameShape, settings: Any) -> None:
        super().__init__()
        self.frame_shape, self.settings = frame_shape, settings

    @classmethod
    def check_clips(cls, settings: Any, frames: int) -> None:
        """Raise ValueError if the settings do not suit clips of this length. Called before any work is done."""

    @classmethod
    def settings_of_before(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Convert the settings of a checkpoint of any earlier version to those of this version."""
        return settings

    def offers(self, capability: "type[VideoModel]") -> bool:
        """Whether the model has a capability: its class says so, and its settings do not rule it out."""
        return isinstance(self, capability)

    @property
    def device(self) -> torch.device:
        """The device of its weights, or of what was fitted in closed form; the CPU for a model with neither."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def least_context(self) -> int:
        """The smallest number of frames from which it can predict."""
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
        """Number of values of an action that it knows; 0 for a model without actions."""
        return 0

    @abstractmethod
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W), in [0, 1]."""

    @torch.no_grad()
    def forecasts(self, clips: Tensor, context: int, horizon: int) -> Tensor:
        """The result of ``predict`` after each window of ``context`` frames.

        Clips (N, T, C, H, W) -> (N, T - context + 1, horizon, C, H, W).
        """
        windows = clips.unfold(1, context, 1).movedim(-1, 2)  # (N, T - context + 1, context, C, H, W)
        predicted = self.predict(windows.flatten(0, 1), horizon)
        return predicted.reshape(*windows.shape[:2], *predicted.shape[1:])


class TrainedBySteps(VideoModel):
    """A model that learns from clips by gradient steps, see ``training.fit``.

    Attributes:
        training_defaults: settings of ``training.fit.TrainingSettings`` that suit the model, where the general
            defaults do not.
        skips_parameters: whether a step may leave some parameters without a gradient.
    """

    training_defaults: ClassVar[dict[str, Any]] = {}
    skips_parameters: ClassVar[bool] = False

    @classmethod
    def training_for(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Training settings that suit a model, given those of its settings that differ from the defaults."""
        return cls.training_defaults

    @property
    def stages(self) -> tuple[float, ...]:
        """Shares of the training at which a new stage starts; each stage has its own schedule."""
        return ()

    def paces(self, name: str) -> tuple[float, ...]:
        """The learning rate of a parameter in each stage, relative to its usual rate."""
        return (1.0,) * (1 + len(self.stages))

    def at_step(self, done: float) -> None:
        """Called before each step with the share of the training that is done, in [0, 1)."""

    @abstractmethod
    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Objective of clips (N, T, C, H, W), a scalar to minimise, and its named parts.

        ``generator`` draws everything random; without one, nothing is random.
        """

    def initialise(self, frames: NDArray[np.uint8]) -> None:
        """Called before the first step with all training clips, uint8 (N, T, C, H, W)."""

    def finish(self, frames: NDArray[np.uint8]) -> None:
        """Called after the last step with all training clips, uint8 (N, T, C, H, W), for a fit in closed form."""

    def regions(self) -> list[nn.Module]:
        """Modules that are worth compiling separately."""
        return []

    def check_numerics(self) -> None:
        """Called from time to time in the training, to warn of numerical problems."""


class FittedInClosedForm(VideoModel):
    """A model that learns from all clips at once, in closed form."""

    @abstractmethod
    def fit_closed_form(self, frames: NDArray[np.uint8]) -> None:
        """Fit to all training clips uint8 (N, T, C, H, W), which may be memory-mapped.

        Raises:
            InputError: if there are too few clips.
        """


class TakesAnySize(VideoModel):
    """A model that takes frames of any size: nothing in it depends on the place in the frame."""

    @property
    def size_step(self) -> int:
        """Height and width of frames must be multiples of this number."""
        return 1

    def sized(self, height: int, width: int) -> Self:
        """The same model for frames of another size, with a copy of the weights."""
        other = type(self)((self.frame_shape[0], height, width), self.settings)
        other.load_state_dict(self.state_dict())
        return other.to(self.device).eval()


class KnowsActions(TrainedBySteps):
    """A model that may know what acts on the scene; the setting ``actions`` is the number of values of an action."""

    @abstractmethod
    def loss(
        self, clips: Tensor, generator: torch.Generator | None = None, actions: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of ``TrainedBySteps``, with the ``actions`` (N, T, m) of the clips."""

    @abstractmethod
    def predict(
        self, context: Tensor, horizon: int, observed: Tensor | None = None, actions: Tensor | None = None
    ) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W).

        ``observed`` (N, T) tells which context frames count; ``actions`` (N, T + horizon, m) are the actions in context
        and horizon, or None for no actions.
        """


class Synthesises(VideoModel):
    """A model that makes endless sequences, with noise."""

    @abstractmethod
    def synthesise(self, start: Tensor, frames: int, seed: int = 0, noise_scale: float = 1.0) -> Tensor:
        """Sequences from the first frames of ``start`` (N, T, C, H, W), T at least 2: (N, frames, C, H, W)."""

    @abstractmethod
    def steadiness(self) -> dict[str, float]:
        """Numbers that tell whether sequences last, or fade out or blow up, by name."""


class DrawsFutures(VideoModel):
    """A model that knows how uncertain its predictions are."""

    @abstractmethod
    def futures(self, context: Tensor, horizon: int, count: int, seed: int, noise: float = 1.0) -> Tensor:
        """Draws of the frames after the context (N, T, C, H, W): (count, N, horizon, C, H, W)."""


class Spectrum(NamedTuple):
    """Eigenvalues of a transition, one of each conjugate pair, with their meaning."""

    eigenvalues: Tensor  # complex128
    period: Tensor  # frames per turn, inf for a mode that does not turn
    half_life: Tensor  # frames until the amplitude has halved, inf for modulus 1 and above


class HasSpectrum(VideoModel):
    """A model with linear dynamics, whose modes turn and decay."""

    @abstractmethod
    def spectrum(self, clips: Tensor | None = None) -> Spectrum:
        """Eigenvalues of the transition, which may depend on the clips (N, T, C, H, W)."""

    @abstractmethod
    def mode_energy(self, clips: Tensor) -> Tensor:
        """Mean energy of each mode of ``spectrum`` in clips (N, T, C, H, W): float64 (N, modes)."""

    @abstractmethod
    def mode_response(self, clips: Tensor, modes: list[int]) -> Tensor:
        """What frames (N, T, C, H, W) would lose without each mode: (len(modes), N, T or T - 1, C, H, W)."""


class Seen(Protocol):
    """The encoding of frames that a model needs to know other moments: see ``KnowsAnyTime.project``."""

    def first(self, frames: int) -> Self:
        """The same for the first frames alone."""

    def from_frame(self, frame: int) -> Self:
        """The same for the frames from ``frame`` on."""

    def followed_by(self, later: Self) -> Self:
        """The same for these frames and then the ``later`` ones."""


S = TypeVar("S", bound=Seen)


class KnowsAnyTime(VideoModel, Generic[S]):
    """A model that knows frames at any real time: before, between and after those that it has seen."""

    @abstractmethod
    def project(self, clips: Tensor) -> S:
        """Everything that the other methods need from frames (N, T, C, H, W)."""

    @abstractmethod
    def interpolate(self, seen: S, observed: Tensor, wanted: float) -> tuple[Tensor, Tensor]:
        """A frame at a real time, from frames at times 0 .. T-1 of which ``observed`` (T,) tells which were seen.

        Returns:
            weights (T,) of the frames themselves, and a correction to add to their weighted sum, (N, C, H, W).
        """

    @abstractmethod
    def smooth(self, seen: S, wanted: int) -> Tensor:
        """The frame at time ``wanted`` in 0 .. T-1, estimated from the frames around it: (N, C, H, W), in [0, 1]."""

    @abstractmethod
    def forgotten(self, frames: float) -> Tensor:
        """Which modes cannot be traced back this number of frames: bool (modes,)."""


class HasLikelihood(VideoModel):
    """A model that says how likely frames are, by a density or a bound on it."""

    @abstractmethod
    def surprise(self, clips: Tensor, past: int) -> Tensor:
        """-log p(frame | the frames before it, at most ``past``) in nats per value: (N, T, C, H, W) -> (N, T).

        If it is a bound, it is an upper one, and it may be NaN for the first frame.
        """


class HasExactLikelihood(HasLikelihood):
    """A model with a density of clips: ``surprise`` is exact, and adds up to this density."""

    @abstractmethod
    def log_likelihood(self, clips: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log density of clips in nats, of only the ``observed`` frames (N, T): (N, T, C, H, W) -> (N,)."""

"""The contract that every model meets, and the table of models by name."""

from dataclasses import asdict
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from linear_video.errors import InputError
from linear_video.models.adversarial import Adversarial
from linear_video.models.dynamic_vae import DynamicVae
from linear_video.models.ile import InvertibleLinearEmbedding
from linear_video.models.last_frame import LastFrame
from linear_video.models.lds import LinearDynamicSystem
from linear_video.models.settings import (
    AdversarialSettings,
    DynamicVaeSettings,
    IleSettings,
    LastFrameSettings,
    LdsSettings,
)


class VideoModel(Protocol):
    """What training, evaluation and prediction ask of a model (a ``torch.nn.Module``).

    Frames are float in [0, 1]. Models may offer more: ``log_likelihood(clips)``, ``sample(...)``, ``spectrum()``;
    ``synthesise(start, frames, seed)``, endless sequences with noise; ``futures(context, horizon, count, seed,
    noise)``, draws of what comes; ``forecasts(clips, context, horizon)``, predictions after every window at once;
    ``surprise(clips, past)``, nats per value of each frame; ``mode_energy(clips)`` and ``mode_response(clips, modes)``,
    what the modes of ``spectrum()`` do in clips; ``project``, ``trajectory`` and ``interpolate``, frames at any time.

    For their training: ``initialise(frames)``, which is called with all training clips before it;
    ``fit_closed_form(frames)``, which is called with them after it, or instead of it where there is no ``loss``;
    ``regions()``, modules that are worth compiling; and ``check_numerics()``, which is called now and then in the
    training, and warns. A model whose settings have ``actions`` takes them in ``loss`` and ``predict``.
    """

    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Objective of clips (N, T, C, H, W), a scalar to minimise, and its named parts."""
        ...

    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W)."""
        ...


MODELS: dict[str, tuple[type[nn.Module], type]] = {
    "ile": (InvertibleLinearEmbedding, IleSettings),
    "dynamic_vae": (DynamicVae, DynamicVaeSettings),
    "adversarial": (Adversarial, AdversarialSettings),
    "lds": (LinearDynamicSystem, LdsSettings),
    "last_frame": (LastFrame, LastFrameSettings),
}


def build(name: str, frame_shape: tuple[int, int, int], settings: dict[str, Any]) -> nn.Module:
    """Make an untrained model for frames (C, H, W).

    Raises:
        InputError: if the name is unknown, or the settings do not fit the model or the frames.
    """
    if name not in MODELS:
        raise InputError(f"there is no model {name!r}; choose one of {', '.join(MODELS)}.")
    model_class, settings_class = MODELS[name]
    try:
        return model_class(tuple(frame_shape), settings_class(**settings))
    except (TypeError, ValueError) as error:
        raise InputError(f"the settings do not fit the model {name}: {error}") from error


def describe(name: str, frame_shape: tuple[int, int, int], model: nn.Module) -> dict[str, Any]:
    """What ``build`` needs to make the same model again, ready for JSON."""
    return {"model": name, "frame_shape": list(frame_shape), "settings": asdict(cast("Any", model.settings))}

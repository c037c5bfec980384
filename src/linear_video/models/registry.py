"""The models by name, and how to make one.

To add one, write a subclass of ``VideoModel`` in a new file, and add a line here.
"""

import pkgutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from linear_video.common.errors import InputError

if TYPE_CHECKING:
    from linear_video.models.base import VideoModel


class Entry(NamedTuple):
    """A line of the table.

    Attributes:
        place: module and class; imported only when the model is needed, since importing PyTorch takes long.
        synthesises: whether the class has the capability ``Synthesises``. Pipelines depend on it, and they are listed
            without importing the class.
    """

    place: str
    synthesises: bool = False


MODELS = {
    "ile": Entry("linear_video.models.ile.model:InvertibleLinearEmbedding"),
    "dynamic_vae": Entry("linear_video.models.dynamic_vae.model:DynamicVae", synthesises=True),
    "adversarial": Entry("linear_video.models.adversarial:Adversarial"),
    "lds": Entry("linear_video.models.lds:LinearDynamicSystem", synthesises=True),
    "last_frame": Entry("linear_video.models.last_frame:LastFrame"),
    "optical_flow": Entry("linear_video.models.optical_flow:OpticalFlow"),
    "convolutional": Entry("linear_video.models.convolutional:Convolutional"),
}


def model_class(name: str) -> "type[VideoModel]":
    """The class of a model.

    Raises:
        InputError: if the name is unknown.
    """
    if name not in MODELS:
        raise InputError(f"there is no model {name!r}; choose one of {', '.join(MODELS)}.")
    found: type[VideoModel] = pkgutil.resolve_name(MODELS[name].place)
    return found


def build(name: str, frame_shape: tuple[int, int, int], settings: Any) -> "VideoModel":
    """Make an untrained model for frames (C, H, W), from a settings object or a mapping.

    Raises:
        InputError: if the name is unknown, or the settings do not fit the model or the frames.
    """
    found = model_class(name)
    try:
        known = found.settings_class(**settings) if isinstance(settings, dict) else settings
        channels, height, width = frame_shape
        return found((channels, height, width), known)
    except (TypeError, ValueError) as error:
        raise InputError(f"the settings do not fit the model {name}: {error}") from error


def describe(name: str, model: "VideoModel") -> dict[str, Any]:
    """Everything that ``build`` needs to make the same model again, ready for JSON."""
    return {"model": name, "frame_shape": list(model.frame_shape), "settings": asdict(model.settings)}

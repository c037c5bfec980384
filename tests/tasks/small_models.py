"""Tiny models of every kind that know waves, and footage of waves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import linear_video
from linear_video.models.base import FittedInClosedForm, TrainedBySteps
from linear_video.models.checkpoint import save_checkpoint
from linear_video.models.registry import build, describe
from linear_video.tasks.trained import TrainedModel

SIDE = 8
SETTINGS: dict[str, dict[str, Any]] = {
    "ile": {
        "dynamics": "dense",
        "state_dimension": 8,
        "blocks": 1,
        "couplings": 2,
        "hidden_channels": 4,
        "first_squeezes": 1,
        "eigenvalue_radius": (0.9, 1.0),
        "prior_precision": 0.2,
        "fading_memory": 0.8,
    },
    "dynamic_vae": {
        "state_dimension": 4,
        "filter_size": 3,
        "channels": 4,
        "channel_factor": 2,
        "hidden_units": 0,
        "observation_variance": 0.3,
        "transition": "hard",
        "stationarity_weight": 0.0,
        "greatest_lag": 1,
        "lag_doubling": 1,
        "first_angles": (0.0, 90.0),
        "first_radius": 0.9,
        "turning_share": 1.0,
        "linear_part": True,
    },
    "lds": {"state_dimension": 4, "stable": True, "exact_up_to": 1000},
    "last_frame": {},
}


def save_model(folder: Path, name: str = "ile", channels: int = 1, **changes: Any) -> Path:
    """Save a model that fits waves; the flow of an ILE is not the identity, so it fits them only roughly."""
    torch.manual_seed(0)
    shape = (channels, SIDE, SIDE)
    model: Any = build(name, shape, {**SETTINGS[name], **changes})
    clips = np.stack([waves(20, SIDE, SIDE, channels, phase) for phase in range(4)]).transpose(0, 1, 4, 2, 3)
    if name == "ile":
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.flow.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
            _know_waves(model.eval(), clips)
            if model.prior.control is not None:
                model.prior.control.normal_(std=0.3, generator=generator)
    if isinstance(model, TrainedBySteps):
        model.initialise(clips)
        model.finish(clips)
    if isinstance(model, FittedInClosedForm):
        model.fit_closed_form(clips)
    save_checkpoint(folder, model, describe(name, model))
    return folder


def _know_waves(model: Any, clips: NDArray[np.uint8]) -> None:
    """Modes that stand and turn as the waves do, one that fades, and C by least squares of a clip's embeddings."""
    modes = np.array([1.0, np.exp(0.23j), 0.99 * np.exp(0.7j), 0.85 * np.exp(1.2j)])
    alpha = torch.from_numpy(modes.real)
    model.prior.theta_alpha.copy_(1 - alpha)
    turning = torch.from_numpy(modes.imag) / (1 - alpha**2).sqrt().clamp_min(1e-12)
    model.prior.theta_beta.copy_(1 - turning)
    # (The waves stand in both of the first two, so that there is more than one C; "gelsy" would find a wrong one.)
    states = 0.05 * model.prior.evolve(torch.ones(1, 8).double(), model.prior.powers(clips.shape[1]))[0]
    embeddings = model.encode(torch.from_numpy(clips[:1]).float() / 255)[0][0].double()
    model.prior.observation.copy_(torch.linalg.lstsq(states, embeddings, driver="gelsd").solution.T)


def load_small(
    folder: Path, name: str = "ile", fit: Any = "resize", context: int = 4, method: str = "model", **changes: Any
) -> TrainedModel:
    return linear_video.load(save_model(folder, name, **changes), fit, context, "cpu", method)


def waves(frames: int, height: int, width: int, planes: int = 3, phase: float = 0.0) -> NDArray[np.uint8]:
    """Travelling waves with a different phase in each colour: uint8 (T, h, w, planes)."""
    t, y, x, c = np.meshgrid(*(np.arange(n) for n in (frames, height, width, planes)), indexing="ij")
    values = 127 + 70 * np.sin(0.7 * (x + t) + 0.4 * y + 1.5 * c + phase) + 30 * np.sin(0.23 * t + y)
    return np.asarray(np.rint(values), np.uint8)


class Reading:
    """Frames one by one, and how many have been read, or are still in memory."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self.frames, self.count = frames, 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame in self.frames:
            self.count += 1
            yield frame.copy()

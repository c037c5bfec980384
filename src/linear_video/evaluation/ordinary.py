"""What is ordinary for a model: how well it does on clips that were not in its training."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linear_video.common.spread import spread
from linear_video.evaluation.likelihood import LEVELS
from linear_video.models.base import HasLikelihood, VideoModel

CLIPS = 32  # at most


@torch.no_grad()
def ordinary(model: VideoModel, frames: NDArray[np.uint8]) -> dict[str, Any]:
    """How well a model does on some clips (N, T, C, H, W): on their last frame, given the others.

    Returns:
        Least and greatest ``psnr`` in dB, and ``bits_per_value`` as in ``TrainedModel.surprise``; and ``mean_psnr``,
        which compares trainings on the same clips, whatever their settings and losses. A value is None if it is not
        finite, or if the model does not have it.
    """
    chosen = frames[spread(CLIPS, len(frames))]
    errors, nats = [], []
    if frames.shape[1] <= model.least_context:
        chosen = chosen[:0]
    for clip in chosen:
        values = torch.from_numpy(np.array(clip)[None]).to(model.device).float() / LEVELS  # (1, T, C, H, W)
        guess = model.predict(values[:, :-1], 1)[:, 0]
        errors.append(float((guess.clamp(0, 1) - values[:, -1]).square().mean()))
        if isinstance(model, HasLikelihood):
            nats.append(float(model.surprise(values, values.shape[1] - 1)[0, -1]))
    psnr = -10 * np.log10(np.maximum(errors, 1e-10))
    mean = float(psnr.mean()) if _range(psnr) else None
    return {
        "psnr": _range(psnr),
        "mean_psnr": mean,
        "bits_per_value": _range(np.array(nats) / math.log(2) + math.log2(LEVELS)),
    }


def _range(values: NDArray[Any]) -> list[float] | None:
    return [float(values.min()), float(values.max())] if len(values) and np.isfinite(values).all() else None

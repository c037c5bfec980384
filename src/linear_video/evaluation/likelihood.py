"""Bits per value of held-out clips: what a model would need to store them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.models.base import HasExactLikelihood, HasLikelihood, VideoModel

LEVELS = 255  # grey values of a frame are multiples of 1 / 255


def bits_per_value(model: VideoModel, frames: NDArray[np.uint8], settings: EvaluationSettings) -> float | None:
    """Mean -log2 of the probability of an 8-bit value in the scored clips' context and horizon (N, T, C, H, W).

    The values are spread uniformly over their grey level (one draw each, always the same), which turns the density
    into a lower bound of the probability (Theis, van den Oord, Bethge 2016, arXiv 1511.01844). For a model with a bound
    of its likelihood, the result is a bound, without the first frame. For a model with neither, it is None.
    """
    if not isinstance(model, HasLikelihood):
        return None
    chosen = frames[settings.scored(len(frames)), : settings.context + settings.horizon]
    generator = torch.Generator().manual_seed(0)
    nats = []
    for start in tqdm(range(0, len(chosen), settings.clips_per_batch), "likelihood", unit="batch", mininterval=1):
        clips = torch.from_numpy(np.array(chosen[start : start + settings.clips_per_batch])).float()
        clips = ((clips + torch.rand(clips.shape, generator=generator) - 0.5) / LEVELS).to(model.device)
        if isinstance(model, HasExactLikelihood):
            nats.append(-model.log_likelihood(clips).double() / clips[0].numel())
        else:
            nats.append(model.surprise(clips, clips.shape[1]).double().nanmean(1))
    return float(torch.cat(nats).mean()) / math.log(2) + math.log2(LEVELS)

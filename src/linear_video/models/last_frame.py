"""The baseline that every model should beat: the future looks like the last frame seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from linear_video.models.base import TakesAnySize


@dataclass(frozen=True)
class LastFrameSettings:
    """The last frame has no settings."""


class LastFrame(TakesAnySize):
    """Repeats the last frame of the context. It has nothing to learn."""

    settings_class = LastFrameSettings

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Context (N, T, C, H, W) -> (N, horizon, C, H, W)."""
        return context[:, -1:].expand(-1, horizon, *context.shape[2:])

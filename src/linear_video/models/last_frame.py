"""The baseline that everybody should beat: the future looks like the last frame seen."""

import torch
from torch import Tensor, nn

from linear_video.models.settings import LastFrameSettings


class LastFrame(nn.Module):
    """Repeats the last frame of the context; has nothing to learn."""

    def __init__(self, frame_shape: tuple[int, int, int], settings: LastFrameSettings) -> None:
        super().__init__()
        self.settings = settings

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Context (N, T, C, H, W) -> (N, horizon, C, H, W)."""
        return context[:, -1:].expand(-1, horizon, *context.shape[2:])

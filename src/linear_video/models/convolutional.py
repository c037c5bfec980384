"""A plain convolutional predictor in the manner of SimVP (Gao et al. 2022, arXiv 2206.05099): all frames at once.

Each frame is encoded by itself, residual blocks mix the channels of all frames at once, and each future frame is
decoded by itself, as a change of the last frame seen. The loss is the squared error. The model is neither linear nor
probabilistic.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_video.common.checks import check_least, check_most
from linear_video.models.base import FrameShape, TrainedBySteps


@dataclass(frozen=True)
class ConvolutionalSettings:
    """Settings of the convolutional predictor.

    Attributes:
        input_frames: number of frames that the model sees.
        output_frames: number of frames that it predicts at once; further frames are predicted from predicted ones.
        channels: channels of each frame's maps, which have half its height and width.
        hidden_channels: channels of the maps of all frames together.
        blocks: number of residual blocks that mix the channels.
    """

    input_frames: int = 10
    output_frames: int = 5
    channels: int = 16
    hidden_channels: int = 96
    blocks: int = 4

    def __post_init__(self) -> None:
        check_least(self, 1, "input_frames", "output_frames", "channels", "hidden_channels", "blocks")
        check_most(self, 1000, "input_frames", "output_frames", "blocks")
        check_most(self, 4096, "channels", "hidden_channels")


class Convolutional(TrainedBySteps):
    """Predicts ``output_frames`` frames (C, H, W), float in [0, 1], from the last ``input_frames``."""

    settings_class = ConvolutionalSettings
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 6000,
        "learning_rate": 2e-3,
        "weight_average": 0.998,
        "gradient_norm": 1.0,
        "validate_every": 500,
        "threads": 1,
    }

    def __init__(self, frame_shape: FrameShape, settings: ConvolutionalSettings) -> None:
        super().__init__(frame_shape, settings)
        width, hidden = settings.channels, settings.hidden_channels
        self.encoder = nn.Sequential(
            nn.Conv2d(frame_shape[0], width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1), nn.SiLU()
        )
        self.into = nn.Conv2d(settings.input_frames * width, hidden, 1)
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(settings.blocks))
        self.out_of = nn.Conv2d(hidden, settings.output_frames * width, 1)
        self.decoder = nn.Sequential(
            nn.Conv2d(width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(width, frame_shape[0], 3, padding=1),
        )

    @property
    def least_context(self) -> int:
        """The number of frames that it sees."""
        length: int = self.settings.input_frames
        return length

    @classmethod
    def check_clips(cls, settings: ConvolutionalSettings, frames: int) -> None:
        """Check that clips are long enough for input and output frames."""
        if frames < settings.input_frames + settings.output_frames:
            raise ValueError(
                f"input_frames {settings.input_frames} and output_frames {settings.output_frames} are more than the "
                f"{frames} frames of a clip; lower them."
            )

    def forward(self, seen: Tensor) -> Tensor:
        """Frames (N, input_frames, C, H, W) -> (N, output_frames, C, H, W), not clamped to [0, 1]."""
        count, (height, width) = len(seen), self.frame_shape[1:]
        even = F.pad(seen, (0, width % 2, 0, height % 2))
        maps = self.encoder(even.flatten(0, 1)).unflatten(0, (count, -1))  # (N, T, c, H/2, W/2)
        mixed = self.into(maps.flatten(1, 2))
        for block in self.blocks:
            mixed = block(mixed)
        shown = self.decoder(self.out_of(mixed).unflatten(1, (self.settings.output_frames, -1)).flatten(0, 1))
        frames: Tensor = seen[:, -1:] + shown.unflatten(0, (count, -1))[..., :height, :width]
        return frames

    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error over all windows of clips (N, T, C, H, W); nothing is random."""
        seen, ahead = self.settings.input_frames, self.settings.output_frames
        windows = clips.unfold(1, seen + ahead, 1).movedim(-1, 2).flatten(0, 1)  # (N windows, seen + ahead, C, H, W)
        error = F.mse_loss(self(windows[:, :seen]), windows[:, seen:])
        return error, {"squared_error": error}

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Frames after the context (N, T, C, H, W): (N, horizon, C, H, W).

        Raises:
            InputError: if the context is shorter than ``input_frames``.
        """
        length = self.settings.input_frames
        shown = self.newest(context)
        while shown.shape[1] < length + horizon:
            shown = torch.cat((shown, self(shown[:, -length:]).clamp(0, 1)), dim=1)
        return shown[:, length : length + horizon]


class _Block(nn.Module):
    """A residual block: a wide depthwise convolution, then two dense layers over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.SiLU(),
            nn.Conv2d(4 * channels, channels, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, h, w) -> the same."""
        changed: Tensor = maps + self.layers(maps)
        return changed

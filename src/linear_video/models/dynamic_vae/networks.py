"""Encoder and decoder of the Dynamic VAE, as the paper draws them."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from linear_video.models.base import FrameShape
from linear_video.models.dynamic_vae.settings import DynamicVaeSettings

HALVINGS = 3  # of the frame in the encoder; the decoder reverses them


def _widths(settings: DynamicVaeSettings) -> list[int]:
    """Channels of the hidden maps, from the deepest to the one before the frame."""
    return [max(1, settings.channels // settings.channel_factor**k) for k in range(HALVINGS)]


def _deepest(frame_shape: FrameShape) -> tuple[int, int]:
    return math.ceil(frame_shape[1] / 2**HALVINGS), math.ceil(frame_shape[2] / 2**HALVINGS)


def make_encoder(frame_shape: FrameShape, settings: DynamicVaeSettings) -> nn.Sequential:
    """Two stacked frames (N, 2C, H, W) -> mean and log-variance (N, 4n)."""
    kernel, (high, wide) = settings.filter_size, _deepest(frame_shape)
    layers: list[nn.Module] = []
    before = 2 * frame_shape[0]
    for width in reversed(_widths(settings)):
        layers += [nn.Conv2d(before, width, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        before = width
    layers += [nn.Flatten(), *_dense(before * high * wide, 4 * settings.state_dimension, settings)]
    return nn.Sequential(*layers)


def _dense(inputs: int, outputs: int, settings: DynamicVaeSettings) -> list[nn.Module]:
    if not settings.hidden_units:
        return [nn.Linear(inputs, outputs)]
    return [nn.Linear(inputs, settings.hidden_units), nn.ReLU(), nn.Linear(settings.hidden_units, outputs)]


class LinearPart(nn.Module):
    """Frames linear in the state, and the mean of (h, v) linear in the pair of frames: fitted once, then left alone."""

    def __init__(self, frame_shape: FrameShape, state: int) -> None:
        super().__init__()
        values = math.prod(frame_shape)
        self.encoder, self.decoder = nn.Linear(2 * values, 2 * state), nn.Linear(state, values)
        self.requires_grad_(False)


class Decoder(nn.Module):
    """States (N, n) -> frames (N, C, H, W): fully connected, then upsampling and convolution in turn."""

    def __init__(self, frame_shape: FrameShape, settings: DynamicVaeSettings) -> None:
        super().__init__()
        widths, kernel = _widths(settings), settings.filter_size
        self.frame_shape, self.deepest = frame_shape, (widths[0], *_deepest(frame_shape))
        self.dense = nn.Sequential(*_dense(settings.state_dimension, math.prod(self.deepest), settings), nn.ReLU())
        pairs = zip(widths, [*widths[1:], frame_shape[0]], strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, kernel, padding=kernel // 2) for a, b in pairs)

    def forward(self, states: Tensor) -> Tensor:
        """Frames, not clamped to [0, 1]."""
        maps: Tensor = self.dense(states).unflatten(1, self.deepest)
        for k, convolution in enumerate(self.convolutions):
            maps = convolution(F.interpolate(maps, scale_factor=2, mode="nearest"))
            if k < len(self.convolutions) - 1:
                maps = maps.relu()
        return maps[..., : self.frame_shape[1], : self.frame_shape[2]]  # 28 pixels come out as 32

"""Networks that find the coming motion from the last frames; they see frames, not embeddings."""

import itertools
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linear_video.models.base import FrameShape
from linear_video.models.optical_flow import grid, origins

LEAST_ERROR = 1e-6  # mean squared; below this, nothing is left to learn
FIELD_SIDE = 288  # pixels of the shorter side; the field of larger frames is found on smaller copies


def last_frames(frames: Tensor, length: int) -> Tensor:
    """For each frame, the frame itself and those before it; the first frame also stands for frames before it.

    (N, T, ...) -> (N, T, length, ...)
    """
    before = frames[:, :1].expand(-1, length - 1, *frames.shape[2:])
    return torch.cat((before, frames), 1).unfold(1, length, 1).movedim(-1, 2)


def actions_around(actions: Tensor | None, frames: int, before: int, after: int, values: int) -> Tensor | None:
    """For each frame, the actions on the way to it and to ``before - 1`` earlier and ``after`` later frames.

    Actions (N, T', m), with zeros for missing ones -> (N, T, (before + after) · m); None if m is 0.
    """
    if not values:
        return None
    if actions is None:
        return torch.zeros(())  # the caller expands it
    wanted = frames + after
    known = F.pad(actions[:, :wanted], (0, 0, before - 1, max(0, wanted - actions.shape[1])))
    return known.unfold(1, before + after, 1).flatten(2)


class MotionNetwork(nn.Module):
    """Motion after each frame of clips, from it and the few frames before it, for each of the next ``reach`` steps.

    The module ``doubt`` tells how uncertain the motion is. Only a likelihood can train it.

    Args:
        frame_shape: (C, H, W).
        look_back: number of frames that it sees.
        reach: number of steps that it looks ahead.
        actions: number of values of an action; 0 for no actions.
    """

    def __init__(self, frame_shape: FrameShape, look_back: int, reach: int, actions: int) -> None:
        super().__init__()
        self.frame_shape, self.look_back, self.reach, self.actions = frame_shape, look_back, reach, actions

    def forward(self, frames: Tensor, actions: Tensor | None = None, moments: Tensor | None = None) -> Tensor:
        """Motion after every frame, or after some of them.

        Frames (N, T, C, H, W), actions (N, T or more, m), numbers of frames (K,) -> (N, T or K, reach, ...).

        Raises:
            ValueError: if the model knows no actions, or actions of another size.
        """
        if actions is not None and (actions.ndim != 3 or actions.shape[2] != self.actions):
            raise ValueError(f"actions must be (N, T, {self.actions}) for this model, not {tuple(actions.shape)}.")
        seen = last_frames(frames, self.look_back)
        known = actions_around(actions, frames.shape[1], self.look_back, self.reach, self.actions)
        if known is not None:
            known = known.to(frames).expand(*seen.shape[:2], (self.look_back + self.reach) * self.actions)
        if moments is not None:
            seen, known = seen[:, moments], None if known is None else known[:, moments]
        count, length = seen.shape[:2]
        seen = seen.flatten(0, 1).flatten(1, 2)  # (N T, look_back C, H, W)
        known = None if known is None else known.flatten(0, 1)
        # Out of autocast's bf16 again.
        found: Tensor = self.motion(seen, known).to(frames.dtype).unflatten(0, (count, length))
        return found

    @abstractmethod
    def motion(self, seen: Tensor, actions: Tensor | None) -> Tensor:
        """Motion after the last frame: (B, look_back C, H, W), (B, (look_back + reach) m) -> (B, reach, ...)."""


class TurningNetwork(MotionNetwork):
    """How much the modes turn, and how much of the next frame is not known.

    (N, T, reach, 3 velocities): the velocities in pixels per frame, (x, y) each; the logarithms of the weights of all
    of them but the first, relative to its weight; and the logarithm of a factor of the process noise variances.
    """

    def __init__(
        self, frame_shape: FrameShape, look_back: int, reach: int, actions: int, velocities: int, channels: int
    ) -> None:
        super().__init__(frame_shape, look_back, reach, actions)
        self.values = 3 * velocities - 1
        self.convolutions = nn.Sequential(
            nn.Conv2d(look_back * frame_shape[0], channels, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(channels, 2 * channels, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
        )
        size = 2 * channels * -(-frame_shape[1] // 8) * -(-frame_shape[2] // 8)  # halved three times, rounded up
        self.dense = nn.Linear(size + (look_back + reach) * actions, 4 * channels)
        self.last = nn.Linear(4 * channels, reach * self.values)
        self.doubt = nn.Linear(4 * channels, reach)
        nn.init.zeros_(self.doubt.weight)
        nn.init.zeros_(self.doubt.bias)
        with torch.no_grad():  # hardly any motion at first
            self.last.weight.mul_(0.1)
            self.last.bias.zero_()

    def motion(self, seen: Tensor, actions: Tensor | None) -> Tensor:
        """See ``MotionNetwork``: (B, reach, 3 velocities)."""
        maps = self.convolutions(seen)
        hidden = F.silu(self.dense(maps if actions is None else torch.cat((maps, actions), 1)))
        turned = self.last(hidden).unflatten(1, (self.reach, self.values))
        return torch.cat((turned, self.doubt(hidden)[..., None]), 2)


class FieldNetwork(MotionNetwork):
    """Where each pixel of the next frames comes from in this one, and how uncertain the next frame is.

    (N, T, reach, 2 + C, H, W): displacements along x and y in pixels, directly from this frame to each of the next
    ones, and the logarithm of a variance (the same for all steps). It is a small U-shaped network with three scales, of
    which the first is half the size. It corrects the field that ``start`` gives, see ``IleSettings.field_start``. For
    large frames, it works on smaller copies, so that motions have as many pixels as in its training.
    """

    def __init__(
        self, frame_shape: FrameShape, look_back: int, reach: int, actions: int, channels: int, start: str
    ) -> None:
        super().__init__(frame_shape, look_back, reach, actions)
        self.start = start
        inputs, c = 4 * look_back * frame_shape[0] + (look_back + reach) * actions, channels
        inputs += 8 if start == "optical_flow" else 0
        self.fine = _convolutions((inputs, c, c))
        self.middle = _convolutions((c, 2 * c, 2 * c), stride=2)
        self.coarse = nn.Sequential(
            _convolutions((2 * c, 3 * c), stride=2),
            _convolutions((3 * c, 3 * c), 2),
            _convolutions((3 * c, 3 * c, 2 * c)),
        )
        self.up_middle = _convolutions((4 * c, 2 * c, c))
        self.up_fine = _convolutions((2 * c, 2 * c))
        self.last, self.doubt = (nn.Conv2d(2 * c, maps, 3, padding=1) for maps in (2 * reach, frame_shape[0]))
        with torch.no_grad():
            for head in (self.last, self.doubt):
                head.weight.mul_(0.1)
                assert head.bias is not None
                head.bias.zero_()

    def motion(self, seen: Tensor, actions: Tensor | None) -> Tensor:
        """See ``MotionNetwork``: (B, reach, 2 + C, H, W)."""
        height, width = seen.shape[2:]
        smaller = min(1.0, FIELD_SIDE / min(height, width))
        flowing = self._optical_flow(seen) if self.start == "optical_flow" else None  # (B, reach, 2, H, W)
        inputs = seen if flowing is None else torch.cat((seen, smaller * flowing[:, 0]), 1)
        if smaller < 1:
            size = [round(smaller * side / 8) * 8 for side in (height, width)]
            inputs = F.interpolate(inputs, size=size, mode="area")
        halved = F.pixel_unshuffle(inputs, 2)
        if actions is not None:
            halved = torch.cat((halved, actions[..., None, None].expand(-1, -1, *halved.shape[2:])), 1)
        fine = self.fine(halved)
        middle = self.middle(fine)
        middle = self.up_middle(torch.cat((middle, _enlarged(self.coarse(middle), middle)), 1))
        features = self.up_fine(torch.cat((fine, _enlarged(middle, fine)), 1))
        maps = torch.cat((self.last(features), self.doubt(features)), 1)
        maps = F.interpolate(maps.to(seen.dtype), size=(height, width), mode="bilinear", align_corners=False)
        moved = 2 / smaller * maps[:, : 2 * self.reach].unflatten(1, (self.reach, 2))  # since its pixels are wider
        moved = moved if flowing is None else moved + flowing
        uncertain = maps[:, None, 2 * self.reach :].expand(-1, self.reach, -1, -1, -1)
        return torch.cat((moved, uncertain), 2)

    @torch.no_grad()
    def _optical_flow(self, seen: Tensor) -> Tensor:
        """Displacements if the last optical flow continues: (B, reach, 2, H, W); zero after a first frame."""
        channels, (height, width) = self.frame_shape[0], seen.shape[2:]
        frames = seen.float().unflatten(1, (-1, channels)).permute(0, 1, 3, 4, 2).cpu().numpy()  # (B, T, H, W, C)
        if frames.shape[1] < 2:
            return seen.new_zeros(len(seen), self.reach, 2, height, width)
        enlargement = max(1, min(4, 128 // min(height, width)))
        places = np.stack([origins(clip[-2], clip[-1], self.reach, enlargement) for clip in frames])
        return torch.from_numpy(places - grid(height, width)).movedim(-1, 2).to(seen)


def _convolutions(channels: tuple[int, ...], dilation: int = 1, stride: int = 1) -> nn.Sequential:
    """3x3 convolutions; the first one may have a stride or a dilation."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        first = (stride, dilation) if not number else (1, 1)
        layers += [nn.Conv2d(inputs, outputs, 3, first[0], first[1], first[1]), nn.SiLU()]
    return nn.Sequential(*layers)


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps enlarged to the size of others."""
    return F.interpolate(maps, size=like.shape[2:], mode="nearest")


def coarse_error(moved: Tensor, truth: Tensor, before: Tensor, width: float, tolerance: float) -> Tensor:
    """The error of pictures seen through a Gaussian low-pass filter: a scalar to minimise.

    This is the mean logarithm of the squared error of ``moved`` (B, K, C, H, W) against ``truth``, relative to the
    error of the unmoved ``before`` (B, 1, C, H, W), plus ``tolerance``. ``width`` is the standard deviation of the
    Gaussian in pixels. It is large at first, since the error has many minima where an object moves by more than its
    own width.
    """
    height, wide = truth.shape[-2:]
    squared = torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(wide)[None] ** 2
    kept = torch.exp(-2 * (torch.pi * width) ** 2 * squared).to(truth)

    def error(pictures: Tensor) -> Tensor:
        seen: Tensor = torch.fft.irfft2(torch.fft.rfft2(pictures - truth) * kept, s=(height, wide))
        return seen.square().mean((2, 3, 4)) + LEAST_ERROR

    return (error(moved) / error(before) + tolerance).log().mean()

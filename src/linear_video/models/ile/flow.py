"""Invertible multi-scale network between frames and embeddings (paper sections 2.2 and 3.2).

Every piece maps ``(inputs) -> (outputs, log_abs_det)`` in both directions, with one log-determinant (natural
logarithm) for each frame of the batch. The log-determinant of ``inverse`` is minus that of ``forward``.
"""

import logging
import math
from typing import Literal

import torch
from torch import Tensor, nn

from linear_video.models.ile.recompute import Memory, couple

logger = logging.getLogger(__name__)

Mix = Literal["haar", "none"]

SCALE_MINIMUM, SCALE_MAXIMUM = 0.001, 2.0  # bounds of a coupling's scale in the authors' code
# Raw network output 0 must mean scale 1, so that the flow starts as the identity.
_SCALE_OFFSET = math.log((1 - SCALE_MINIMUM) / (SCALE_MAXIMUM - 1))
# Relative; beyond this error, gradients of the memory mode "reversible" cannot be trusted.
INVERSION_ERROR_LIMIT = 1e-3


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4:
        raise ValueError(f"frames must have the shape (N, C, H, W), but have {tuple(frames.shape)}.")


class Squeeze(nn.Module):
    """Move each 2x2 square of pixels into channels: (N, C, H, W) -> (N, 4C, H/2, W/2), without changing volume.

    With ``mix="haar"`` the four values become the orthonormal Haar wavelet's mean, horizontal, vertical and diagonal
    detail (all means first), so that the channels that leave the flow early are detail; with ``"none"`` they stay raw
    pixels.
    """

    def __init__(self, mix: Mix = "haar") -> None:
        super().__init__()
        if mix not in ("haar", "none"):
            raise ValueError(f"mix must be 'haar' or 'none', not {mix!r}.")
        self.mix = mix

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Squeeze: (N, C, H, W) -> (N, 4C, H/2, W/2), zeros (N,)."""
        _check_frames(inputs)
        n, c, h, w = inputs.shape
        squares = inputs.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)  # (N, 2, 2, C, H/2, W/2)
        if self.mix == "haar":
            squares = _haar(squares)
        return squares.reshape(n, 4 * c, h // 2, w // 2), inputs.new_zeros(n)

    def inverse(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Spread out again: (N, 4C, H/2, W/2) -> (N, C, H, W), zeros (N,)."""
        _check_frames(outputs)
        n, c, h, w = outputs.shape
        squares = outputs.reshape(n, 2, 2, c // 4, h, w)
        if self.mix == "haar":
            squares = _haar(squares)
        return squares.permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w), outputs.new_zeros(n)


def _haar(squares: Tensor) -> Tensor:
    """Orthonormal Haar transform of dimensions 1 and 2, of two values each; its own inverse.

    It uses sums and differences, since autocast would run a matrix product in bf16, which would make the flow inexact.
    """
    top, bottom = squares.unbind(1)
    first, second = torch.stack((top + bottom, top - bottom), 1).unbind(2)
    return torch.stack((first + second, first - second), 2) / 2


class AffineCoupling(nn.Module):
    """One half of the channels scales and shifts the other: ``right' = right * s(left) + b(left)``.

    ``log|det| = sum log s``. The scale lies in (0.001, 2) and the coupling starts as the identity. The network has
    three convolutions, 3x3, ``middle_kernel``, 3x3. ``swap`` tells which half is scaled; it alternates between
    couplings, as in the paper.
    """

    def __init__(self, channels: int, hidden_channels: int, middle_kernel: int = 1, swap: bool = False) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f"a coupling needs at least 2 channels, not {channels}.")
        if middle_kernel % 2 != 1:
            raise ValueError(f"middle_kernel must be odd, not {middle_kernel}.")
        self.swap = swap
        self.sizes = (channels // 2, channels - channels // 2)
        conditioning, scaled = self.sizes[::-1] if swap else self.sizes
        self.network = nn.Sequential(
            nn.Conv2d(conditioning, hidden_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden_channels, hidden_channels, middle_kernel, padding=middle_kernel // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden_channels, 2 * scaled, 3, padding=1),
        )
        last = self.network[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The half that the network sees, and the half that is scaled and shifted."""
        first, second = values.split(self.sizes, dim=1)
        return (second, first) if self.swap else (first, second)

    def join(self, left: Tensor, right: Tensor) -> Tensor:
        """Undo ``split``."""
        return torch.cat((right, left) if self.swap else (left, right), dim=1)

    def scale_and_shift(self, left: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift from the half that the network sees, in the type of that half."""
        raw, shift = self.network(left).to(left.dtype).chunk(2, dim=1)  # back from autocast's bf16
        return SCALE_MINIMUM + (SCALE_MAXIMUM - SCALE_MINIMUM) * torch.sigmoid(raw + _SCALE_OFFSET), shift

    @staticmethod
    def transform(right: Tensor, scale: Tensor, shift: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Scale and shift one half, or undo it: the half, and log|det| (N,)."""
        log_abs_det = scale.log().sum(dim=(1, 2, 3))
        return ((right - shift) / scale, -log_abs_det) if inverse else (right * scale + shift, log_abs_det)

    def forward(self, inputs: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Scale and shift, or undo it: (N, C, H, W) -> (N, C, H, W), log|det| (N,)."""
        left, right = self.split(inputs)
        right, log_abs_det = self.transform(right, *self.scale_and_shift(left), inverse)
        return self.join(left, right), log_abs_det

    def inverse(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo it: (N, C, H, W) -> (N, C, H, W), log|det| (N,)."""
        return self.forward(outputs, inverse=True)


class Flow(nn.Module):
    """Frames (N, C, H, W) to embeddings (N, D = C·H·W) and back, through blocks of squeezes and couplings.

    Each block squeezes, applies its couplings and sends half of the channels to the embedding; the last block sends all
    of them. ``first_squeezes`` may be more than one: couplings then see fewer pixels with more channels, and cost less.

    ``memory`` says what a forward pass keeps for the gradient: everything (``"none"``), each coupling's input
    (``"checkpoint"``), or one map of values for each block (``"reversible"``); see ``models.recompute``.

    Raises:
        ValueError: if the frame's height or width is not divisible by 2 to the number of squeezes.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        blocks: int,
        couplings: int,
        hidden_channels: int,
        middle_kernel: int = 1,
        mix: Mix = "haar",
        first_squeezes: int = 1,
        memory: Memory = "none",
    ) -> None:
        super().__init__()
        self.memory = memory
        self.inversion_error: Tensor  # largest relative error so far of a recomputed input
        self.register_buffer("inversion_error", torch.zeros(()), persistent=False)
        self._warned = False
        channels, height, width = frame_shape
        divisor = 2 ** (blocks - 1 + first_squeezes)
        if height % divisor or width % divisor or not height or not width:
            raise ValueError(
                f"frames of {height}x{width} do not fit a flow of {blocks} blocks with {first_squeezes} squeeze(s) in "
                f"the first: height and width must be multiples of {divisor} "
                f"(for example {divisor}, {2 * divisor}, {3 * divisor})."
            )
        self.frame_shape = (channels, height, width)
        self.blocks = nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []  # what each block sends to the embedding
        for block in range(blocks):
            squeezes = first_squeezes if block == 0 else 1
            channels, height, width = channels * 4**squeezes, height >> squeezes, width >> squeezes
            swaps = (bool(i % 2) for i in range(couplings))
            chain = (AffineCoupling(channels, hidden_channels, middle_kernel, swap) for swap in swaps)
            self.blocks.append(nn.ModuleList([*(Squeeze(mix) for _ in range(squeezes)), *chain]))
            leaving = channels if block == blocks - 1 else channels // 2
            self.shapes.append((leaving, height, width))
            channels -= leaving
        # No copies into the memory layout that convolutions prefer: that takes less memory, and is nowhere slower.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def embedding_dimension(self) -> int:
        """D, the number of pixel values of a frame."""
        return math.prod(self.frame_shape)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Encode frames: (N, C, H, W) -> embedding (N, D), log|det d embedding / d frame| (N,)."""
        _check_frames(frames)
        if tuple(frames.shape[1:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, {', '.join(map(str, self.frame_shape))}), not {tuple(frames.shape)}.")
        log_abs_det = frames.new_zeros(len(frames))
        leaving = []
        for layers, (channels, _, _) in zip(self.blocks, self.shapes, strict=True):
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                frames = layer(frames)[0] if isinstance(layer, Squeeze) else frames
            frames, log_abs_det_block = self._couple(layers, frames, inverse=False)
            log_abs_det = log_abs_det + log_abs_det_block
            leaving.append(frames[:, frames.shape[1] - channels :].flatten(1))
            frames = frames[:, : frames.shape[1] - channels]
        return torch.cat(leaving, dim=1), log_abs_det

    def inverse(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Decode embeddings: (N, D) -> frames (N, C, H, W), log|det d frame / d embedding| (N,)."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_dimension:
            raise ValueError(f"embeddings must be (N, {self.embedding_dimension}), not {tuple(embeddings.shape)}.")
        log_abs_det = embeddings.new_zeros(len(embeddings))
        parts = embeddings.split([math.prod(shape) for shape in self.shapes], dim=1)
        frames: Tensor | None = None
        for layers, shape, part in zip(reversed(self.blocks), reversed(self.shapes), reversed(parts), strict=True):
            assert isinstance(layers, nn.ModuleList)
            left = part.unflatten(1, shape)
            frames = left if frames is None else torch.cat((frames, left), dim=1)
            frames, log_abs_det_block = self._couple(layers, frames, inverse=True)
            log_abs_det = log_abs_det + log_abs_det_block
            for layer in layers:
                frames = layer.inverse(frames)[0] if isinstance(layer, Squeeze) else frames
        assert frames is not None
        return frames, log_abs_det

    def as_pictures(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) in the order of a picture's pixels: the inverse of the flow without couplings, orthonormal.

        With it, a flow that starts as the identity gives the frame itself. (N, D) -> (N, D), each (C, H, W) in rows.
        """
        frames: Tensor | None = None
        parts = embeddings.split([math.prod(shape) for shape in self.shapes], dim=1)
        for layers, shape, part in zip(reversed(self.blocks), reversed(self.shapes), reversed(parts), strict=True):
            left = part.unflatten(1, shape)
            frames = left if frames is None else torch.cat((frames, left), dim=1)
            for layer in self._squeezes(layers):
                frames = layer.inverse(frames)[0]
        assert frames is not None
        return frames.flatten(1)

    def from_pictures(self, pictures: Tensor) -> Tensor:
        """Undo ``as_pictures``: (N, D) -> (N, D)."""
        frames, leaving = pictures.unflatten(1, self.frame_shape), []
        for layers, (channels, _, _) in zip(self.blocks, self.shapes, strict=True):
            for layer in self._squeezes(layers):
                frames = layer(frames)[0]
            leaving.append(frames[:, frames.shape[1] - channels :].flatten(1))
            frames = frames[:, : frames.shape[1] - channels]
        return torch.cat(leaving, dim=1)

    @staticmethod
    def _squeezes(layers: nn.Module) -> list[Squeeze]:
        return [layer for layer in layers.children() if isinstance(layer, Squeeze)]

    def _couple(self, layers: nn.ModuleList, values: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        couplings = [layer for layer in layers if isinstance(layer, AffineCoupling)]
        return couple(couplings[::-1] if inverse else couplings, values, inverse, self.memory, self.inversion_error)

    def check_numerics(self) -> None:
        """Warn, once, if gradients of the memory mode ``"reversible"`` cannot be trusted. This waits for the GPU."""
        error = float(self.inversion_error)
        if error > INVERSION_ERROR_LIMIT and not self._warned:
            self._warned = True
            logger.warning(
                "Inputs of couplings were recomputed from their outputs with a relative error of %.1e: gradients "
                "may be wrong. Set memory to checkpoint.",
                error,
            )

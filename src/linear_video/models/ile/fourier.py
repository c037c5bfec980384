"""The real, orthonormal Fourier transform of pictures, as independent complex coordinates."""

import math

import torch
from torch import Tensor, nn


class FourierModes(nn.Module):
    """Pictures (..., C, H, W) as modes (..., C, M), and back; M = HW/2 + 2, where H and W are even.

    Two modes of opposite frequencies are conjugates of each other: one of them is kept, times sqrt(2). Four modes are
    their own conjugates (fewer, if a side is odd), and real. The real and imaginary parts of the modes are thus the
    picture's coordinates in an orthonormal basis, with log-determinant zero.

    Attributes:
        frequencies: (2, M) radians per pixel, along x and y.
        real: (M,), which modes are real.
        coordinates: (M,), number of real coordinates of each mode, 1 or 2.
    """

    frequencies: Tensor
    real: Tensor
    coordinates: Tensor
    _kept: Tensor
    _source: Tensor
    _conjugate: Tensor
    _scale: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        with torch.device("cpu"):  # the values are read, and follow from the size alone
            for name, value in self._layout(height, width).items():
                self.register_buffer(name, value, persistent=False)

    @staticmethod
    def _layout(height: int, width: int) -> dict[str, Tensor]:
        columns = width // 2 + 1
        row, column = (
            grid.flatten() for grid in torch.meshgrid(torch.arange(height), torch.arange(columns), indexing="ij")
        )
        edge = (column == 0) | (2 * column == width)  # columns that hold both modes of each conjugate pair
        redundant = edge & (2 * row > height)
        kept = (~redundant).nonzero().flatten()
        place = torch.zeros(height * columns, dtype=torch.long)
        place[kept] = torch.arange(len(kept))
        partner = (-row % height) * columns + column
        real = (edge & ((row == 0) | (2 * row == height)))[kept]
        frequencies = (
            torch.stack((column.double() / width, torch.fft.fftfreq(height, dtype=torch.float64)[row]))[:, kept]
            * 2
            * math.pi
        )
        return {
            "_kept": kept,
            "_source": torch.where(redundant, place[partner], place),
            "_conjugate": redundant,
            "_scale": torch.where(real, 1.0, torch.tensor(2.0, dtype=torch.float64).sqrt()),
            "real": real,
            "coordinates": torch.where(real, 1.0, 2.0),
            "frequencies": frequencies,
        }

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (..., H, W) -> modes, complex (..., M)."""
        plane = torch.fft.rfft2(pictures, norm="ortho").flatten(-2)
        modes: Tensor = plane[..., self._kept] * self._scale.to(pictures.dtype)
        return modes

    def inverse(self, modes: Tensor) -> Tensor:
        """Modes (..., M) -> pictures (..., H, W)."""
        plane = (self.only_real(modes) / self._scale.to(modes.real.dtype))[..., self._source]
        plane = torch.where(self._conjugate, plane.conj(), plane).unflatten(-1, (self.size[0], -1))
        pictures: Tensor = torch.fft.irfft2(plane, s=self.size, norm="ortho")
        return pictures

    def only_real(self, modes: Tensor) -> Tensor:
        """The same modes, without imaginary parts of the real ones."""
        return torch.where(self.real, torch.complex(modes.real, torch.zeros_like(modes.real)), modes)

"""The Fourier modes of pictures, against NumPy's transform and plain linear algebra."""

import numpy as np
import pytest
import torch
from torch import Tensor

from linear_video.models.ile.fourier import FourierModes

SIZES = [(4, 4), (2, 6), (6, 2), (1, 2), (5, 7), (8, 3)]


def coordinates(modes: FourierModes, pictures: Tensor) -> Tensor:
    """Real coordinates of pictures (..., H, W): (..., H W)."""
    found = modes(pictures)
    return torch.cat((found.real, found.imag[..., ~modes.real]), -1)


@pytest.mark.parametrize("size", SIZES)
def test_modes_are_coordinates_in_an_orthonormal_basis(size: tuple[int, int]) -> None:
    modes, values = FourierModes(*size).double(), size[0] * size[1]
    basis = coordinates(modes, torch.eye(values, dtype=torch.float64).unflatten(1, size))
    torch.testing.assert_close(basis @ basis.T, torch.eye(values, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(torch.linalg.slogdet(basis).logabsdet) == pytest.approx(0, abs=1e-12)
    assert int(modes.coordinates.sum()) == values
    assert not modes(torch.rand(3, *size, dtype=torch.float64)).imag[:, modes.real].any()


@pytest.mark.parametrize("size", SIZES)
def test_the_inverse_gives_the_picture_back(size: tuple[int, int]) -> None:
    modes, pictures = FourierModes(*size).double(), torch.rand(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(modes.inverse(modes(pictures)), pictures, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_energies_are_those_of_numpy_at_the_frequencies_named(size: tuple[int, int]) -> None:
    modes, picture = FourierModes(*size).double(), np.random.default_rng(0).random(size)
    plane = np.abs(np.fft.fft2(picture, norm="ortho")) ** 2
    columns, rows = (
        np.rint(f.numpy() / (2 * np.pi) * n).astype(int) % n for f, n in zip(modes.frequencies, size[::-1], strict=True)
    )
    both = np.where(modes.real, 1, 2)  # a conjugate pair has its energy twice
    np.testing.assert_allclose(modes(torch.from_numpy(picture)).abs() ** 2, both * plane[rows, columns], atol=1e-12)

"""Period, half-life and modes of a linear transition, from its eigenvalues."""

import torch
from torch import Tensor

from linear_video.models.base import Spectrum


def spectrum_of(eigenvalues: Tensor) -> Spectrum:
    """Period and half-life of eigenvalues; eigenvalues below the real axis are left out."""
    eigenvalues = eigenvalues[eigenvalues.imag >= 0].to(torch.complex128)
    period = 2 * torch.pi / eigenvalues.angle()
    half_life = -torch.log(torch.tensor(2.0, dtype=torch.float64)) / eigenvalues.abs().clamp(max=1).log()
    return Spectrum(eigenvalues, period.abs(), half_life.abs())


def mode_parts(states: Tensor, transition: Tensor) -> Tensor:
    """The contribution of each mode of a transition A (n, n) to states (N, T, n): float64 (N, T, modes, n).

    Modes are as in ``spectrum_of``, where a conjugate pair counts as one. Their parts add up to the states if A has a
    full set of eigenvectors.
    """
    eigenvalues, vectors = torch.linalg.eig(transition.double())
    kept = eigenvalues.imag >= 0
    coordinates = states.to(vectors) @ torch.linalg.pinv(vectors).mT  # (N, T, n)
    parts: Tensor = (coordinates[..., None] * vectors.mT)[..., kept, :].real  # (N, T, modes, n)
    pair: Tensor = torch.where(eigenvalues[kept].imag > 0, 2, 1)[:, None]
    return parts * pair

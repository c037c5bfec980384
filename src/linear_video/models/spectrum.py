"""What the eigenvalues of a linear transition mean."""

from typing import NamedTuple

import torch
from torch import Tensor


class Spectrum(NamedTuple):
    """Eigenvalues of a transition, one of each conjugate pair, with what they mean."""

    eigenvalues: Tensor  # complex128
    period: Tensor  # frames per turn, inf for a mode that does not turn
    half_life: Tensor  # frames until the amplitude has halved, inf for modulus 1 and above


def spectrum_of(eigenvalues: Tensor) -> Spectrum:
    """Period and half-life of eigenvalues, of which those below the real axis are left out."""
    eigenvalues = eigenvalues[eigenvalues.imag >= 0].to(torch.complex128)
    period = 2 * torch.pi / eigenvalues.angle()
    half_life = -torch.log(torch.tensor(2.0, dtype=torch.float64)) / eigenvalues.abs().clamp(max=1).log()
    return Spectrum(eigenvalues, period.abs(), half_life.abs())

"""One check for every invertible piece: round trip, log-determinant against a numeric Jacobian, cancelling log-dets."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Make a module float64, with random weights far from the identity at which it starts."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def check_invertible(piece: Any, inputs: Tensor) -> None:
    outputs, log_abs_det = piece(inputs)
    returned, log_abs_det_back = piece.inverse(outputs)
    torch.testing.assert_close(returned, inputs, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_abs_det + log_abs_det_back, torch.zeros(len(inputs)).double(), rtol=0, atol=1e-10)
    assert log_abs_det.shape == (len(inputs),)
    for one, expected in zip(inputs, log_abs_det, strict=True):
        numeric = numeric_log_abs_det(piece, one)
        torch.testing.assert_close(expected.detach(), numeric, rtol=1e-6, atol=1e-6)


def numeric_log_abs_det(piece: Callable[[Tensor], tuple[Tensor, ...]], one: Tensor, step: float = 1e-5) -> Tensor:
    """The log-determinant by central differences, independent of autograd."""
    columns = []
    with torch.no_grad():
        for direction in torch.eye(one.numel(), dtype=torch.float64):
            shift = step * direction.reshape(one.shape)
            ahead, behind = piece((one + shift)[None])[0], piece((one - shift)[None])[0]
            columns.append((ahead - behind).flatten() / (2 * step))
    log_abs_det: Tensor = torch.linalg.slogdet(torch.stack(columns, dim=1)).logabsdet
    return log_abs_det

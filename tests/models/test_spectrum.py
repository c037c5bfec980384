from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linear_video.models.spectrum import mode_parts, spectrum_of

N = 5


def transition(seed: int = 0) -> torch.Tensor:
    """A transition with two turning modes and one that does not turn, in a random basis."""
    random = np.random.default_rng(seed)
    blocks = np.zeros((N, N))
    for k, (radius, angle) in enumerate([(0.9, 0.4), (0.7, 1.9)]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        blocks[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = radius * turn
    blocks[4, 4] = -0.5
    basis = random.standard_normal((N, N))
    return torch.from_numpy(basis @ blocks @ np.linalg.inv(basis))


def states(seed: int = 1) -> torch.Tensor:
    return torch.randn(2, 3, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_parts_are_the_projections_on_numpys_eigenvectors() -> None:
    A, x = transition().numpy(), states().numpy()
    values, vectors = np.linalg.eig(A)
    dual = np.linalg.inv(vectors)
    parts = mode_parts(states(), transition())
    found = spectrum_of(torch.linalg.eig(transition()).eigenvalues).eigenvalues.numpy()
    assert parts.shape == (2, 3, 3, N)
    for mode, value in enumerate(found):
        same = np.minimum(np.abs(values - value), np.abs(values - value.conj())) < 1e-9
        assert same.sum() == (2 if value.imag > 1e-9 else 1)
        projector = (vectors[:, same] @ dual[same]).real
        np.testing.assert_allclose(parts[:, :, mode].numpy(), x @ projector.T, atol=1e-10)


@given(st.integers(0, 2**16), st.integers(1, 6))
def test_parts_add_up_and_move_on_their_own(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    A = torch.from_numpy(random.standard_normal((n, n)) / np.sqrt(n))
    x = torch.from_numpy(random.standard_normal((2, 2, n)))
    condition = float(torch.linalg.cond(torch.linalg.eig(A).eigenvectors))
    tolerance: Any = {"rtol": 0, "atol": 1e-11 * condition**2}
    torch.testing.assert_close(mode_parts(x, A).sum(2), x, **tolerance)
    torch.testing.assert_close(mode_parts(x @ A.T, A), mode_parts(x, A) @ A.T, **tolerance)


def test_parts_of_float32_states_are_float64() -> None:
    parts = mode_parts(states().float(), transition().float())
    assert parts.dtype == torch.float64
    torch.testing.assert_close(parts, mode_parts(states(), transition()), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("value", "period"), [(1.0, np.inf), (-0.5, 2.0), (0.5j, 4.0)])
def test_periods_of_modes(value: complex, period: float) -> None:
    spectrum = spectrum_of(torch.tensor([value, np.conj(value)][: 2 if np.imag(value) else 1], dtype=torch.complex128))
    assert len(spectrum.eigenvalues) == 1
    assert spectrum.period.item() == pytest.approx(period)
    assert spectrum.half_life.item() == (np.inf if value == 1 else pytest.approx(1))

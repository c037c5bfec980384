"""The modes of clips that last, by subspace identification.

A linear system x_{t+1} = A x_t + noise, seen as y_t = C x_t + noise, has the autocovariances C Aᵏ⁻¹ G at the lags
k = 1, 2, ..., whatever the noise of y. So a block Hankel matrix of them has the rank of A, and A follows from the same
matrix one lag later (the realisation of Ho and Kalman 1966, from autocovariances as in Akaike 1975). Least squares on
successive states would take the noise of y for damping, and turn the modes of different noise by wrong angles.
"""

import numpy as np
from numpy.typing import NDArray

BLOCKS = 12  # rows and columns of blocks in the Hankel matrix, if clips are long enough
STRONG = 0.05  # least singular value of a mode, relative to that of the strongest one; the others are noise
LASTING = 0.95  # least modulus of a mode that lasts: it loses half of its amplitude in 13 frames


def lasting_modes(states: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Eigenvalues of A in the upper half plane, of modes that last, the most lasting first.

    Args:
        states: (N, T, n), for example principal components. As many modes are looked for as there are dimensions.

    Returns:
        Complex eigenvalues of a modulus of at least ``LASTING``; none if clips have fewer than three frames.
    """
    length, dimensions = states.shape[1:]
    blocks = min(BLOCKS, (length - 1) // 2)
    if not blocks:
        return np.empty(0, np.complex128)
    states = states - states.mean((0, 1))
    deviation = states.std((0, 1))
    moving = deviation > 1e-9
    if not moving.any():
        return np.empty(0, np.complex128)
    states = states[..., moving] / deviation[moving]
    lags = [_autocovariance(states, lag) for lag in range(1, 2 * blocks + 1)]
    now, later = (np.block([[lags[i + j + one] for j in range(blocks)] for i in range(blocks)]) for one in (0, 1))
    left, values, right = np.linalg.svd(now)
    kept = (np.arange(len(values)) < dimensions) & (values > STRONG * values[0])
    scale = 1 / np.sqrt(values[kept])
    found = np.linalg.eigvals((scale[:, None] * left[:, kept].T) @ later @ (right[kept].T * scale))
    lasting = found[(np.abs(found) >= LASTING) & (found.imag >= 0)]
    return np.asarray(lasting[np.argsort(-np.abs(lasting))], np.complex128)


def _autocovariance(states: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """Mean of y_{t+lag} y_tᵀ: (n, n)."""
    later, now = (part.reshape(-1, states.shape[2]) for part in (states[:, lag:], states[:, :-lag]))
    return np.asarray(later.T @ now / len(now))

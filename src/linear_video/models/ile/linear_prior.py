"""Linear time-invariant prior on sequences of embeddings, with a rotation-scaling transition (paper 2.3 to 2.5).

    x_t = A x_{t-1},    z_t = C x_t + noise,    noise ~ N(0, I)

A is block-diagonal with n/2 blocks [[a, b], [-b, a]]: the real Jordan form with the conjugate eigenvalues a ± ib.
The (T·D x n) observability matrix O = [C; CA; CA²; ...] is never formed: inference only needs
G = OᵀWO and b = OᵀWZ, with W the weights of the frames (0 for a missing one), and both have closed forms.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

ALPHA_EPSILON = 1e-14  # paper, section 2.5: keeps sqrt(1 - alpha²) above zero in float64
RIDGE = 1e-12  # relative to the mean diagonal of G; makes least squares solvable where O is rank deficient
LOG_TWO_PI = 1.8378770664093453


class Projected(NamedTuple):
    """The costly part of the statistics of sequences of embeddings, independent of weights and times, in float64."""

    energy: Tensor  # (N, T), ||z_t||²
    values: Tensor  # (N, T, n), Cᵀ z_t
    observation_gram: Tensor  # (n, n), CᵀC
    dimension: int  # D

    def first(self, frames: int) -> "Projected":
        """The same for the first frames alone."""
        return self._replace(energy=self.energy[:, :frames], values=self.values[:, :frames])

    def less(self, states: Tensor) -> "Projected":
        """The same for the sequences minus C f_t, for states f (N, T, n)."""
        observed = states @ self.observation_gram
        energy = self.energy - 2 * (states * self.values).sum(-1) + (states * observed).sum(-1)
        return self._replace(energy=energy, values=self.values - observed)


class Statistics(NamedTuple):
    """Everything that inference and likelihood need from a batch of weighted sequences of embeddings, in float64."""

    energy: Tensor  # (N,), sum_t w_t ||z_t||²
    projection: Tensor  # (N, n), b = OᵀWZ
    gram: Tensor  # (n, n), or (N, n, n) if each sequence has its own weights: G = OᵀWO
    dimensions: Tensor  # () or (N,), weighted number of values, sum_t w_t D


class LinearPrior(nn.Module):
    """The linear system's parameters (A through its eigenvalues, C) and everything that follows from them.

    Args:
        embedding_dimension: D.
        state_dimension: n, even.
        radius: (least, greatest) modulus of the eigenvalues at the start.
        angle: (least, greatest) angle of the eigenvalues at the start, in degrees per frame, within [0, 90].
        actions: m, the number of values of an action u_t; with it, x_t = A x_{t-1} + B u_t (paper, section 4).
    """

    def __init__(
        self,
        embedding_dimension: int,
        state_dimension: int,
        radius: tuple[float, float] = (0.95, 1.0),
        angle: tuple[float, float] = (0.0, 90.0),
        actions: int = 0,
    ) -> None:
        super().__init__()
        if state_dimension < 2 or state_dimension % 2:
            raise ValueError(f"state_dimension must be even and positive, not {state_dimension}.")
        self.embedding_dimension, self.state_dimension = embedding_dimension, state_dimension
        blocks = state_dimension // 2
        radii = torch.empty(blocks, dtype=torch.float64).uniform_(*radius)
        angles = torch.deg2rad(torch.linspace(*angle, blocks, dtype=torch.float64))
        alpha, beta = radii * angles.cos(), radii * angles.sin()
        # Parameters are float64: near the unit circle, float32 would be too coarse for 1 - |theta|.
        self.theta_alpha = nn.Parameter(1 - ALPHA_EPSILON - alpha)
        self.theta_beta = nn.Parameter(1 - beta / (1 - alpha**2).sqrt().clamp_min(1e-12))
        self.observation = nn.Parameter(nn.init.orthogonal_(torch.empty(embedding_dimension, state_dimension)))
        # B; it starts at zero, as if actions did nothing.
        self.control = nn.Parameter(torch.zeros(state_dimension, actions)) if actions else None

    # --- the transition -------------------------------------------------------------------------------------------

    def eigenvalues(self) -> Tensor:
        """One of each conjugate pair, a + ib with a, b >= 0: complex128 (n/2,). The modulus never exceeds 1."""
        alpha = (1 - ALPHA_EPSILON - self.theta_alpha.double().abs()).clamp_min(0)
        beta = (1 - self.theta_beta.double().abs()).clamp_min(0) * (1 - alpha**2).sqrt()
        return torch.complex(alpha, beta)

    def transition_matrix(self) -> Tensor:
        """A: float64 (n, n)."""
        eigenvalues = self.eigenvalues()
        real, imaginary = eigenvalues.real, eigenvalues.imag
        blocks = torch.stack((torch.stack((real, imaginary), -1), torch.stack((-imaginary, real), -1)), -2)
        matrix: Tensor = torch.block_diag(*blocks)
        return matrix

    def powers_at(self, times: Tensor) -> Tensor:
        """lambda^t for real t >= 0, by the principal branch: times (K,) -> complex128 (K, n/2).

        Angles lie within [0, 90] degrees, so the branch is the slowest motion that agrees with the frames.
        """
        eigenvalues = self.eigenvalues()
        times = times.to(eigenvalues.real)[:, None]
        return torch.polar(eigenvalues.abs() ** times, eigenvalues.angle() * times)

    def powers(self, frames: int) -> Tensor:
        """lambda^t for t = 0 .. frames-1: complex128 (frames, n/2)."""
        eigenvalues = self.eigenvalues()
        powers = [torch.ones_like(eigenvalues)]
        for _ in range(frames - 1):
            powers.append(powers[-1] * eigenvalues)
        return torch.stack(powers)

    def forced(self, actions: Tensor) -> Tensor:
        """States that result from the actions alone, f_t = A f_{t-1} + B u_t with f_0 = 0: float64 (N, T, n).

        ``actions`` are (N, T, m); u_t acts on the way from frame t-1 to frame t. The first action, on the way to frame
        0, is not used, since its effect is part of x_0.

        Raises:
            ValueError: if the model knows no actions, or actions of another size.
        """
        if self.control is None or actions.ndim != 3 or actions.shape[2] != self.control.shape[1]:
            known = 0 if self.control is None else self.control.shape[1]
            raise ValueError(f"actions must be (N, T, {known}) for this model, not {tuple(actions.shape)}.")
        inputs = (actions.double() @ self.control.double().T).unflatten(-1, (-1, 2))  # (N, T, n/2, 2)
        eigenvalues = self.eigenvalues().conj()  # a block [[a, b], [-b, a]] turns first + i second by a - ib
        state = torch.zeros_like(torch.view_as_complex(inputs[:, 0].contiguous()))
        states = [state]
        for t in range(1, actions.shape[1]):
            state = state * eigenvalues + torch.complex(inputs[:, t, :, 0], inputs[:, t, :, 1])
            states.append(state)
        return torch.view_as_real(torch.stack(states, 1)).flatten(-2)

    # --- the closed forms -----------------------------------------------------------------------------------------

    def project(self, embeddings: Tensor) -> Projected:
        """Projections of embeddings (N, T, D) on the columns of C.

        Raises:
            ValueError: if shapes disagree.
        """
        if embeddings.ndim != 3 or embeddings.shape[2] != self.embedding_dimension:
            raise ValueError(f"embeddings must be (N, T, {self.embedding_dimension}), not {tuple(embeddings.shape)}.")
        embeddings, observation = embeddings.double(), self.observation.double()
        energy, values, gram = embeddings.square().sum(-1), embeddings @ observation, observation.T @ observation
        return Projected(energy, values, gram, self.embedding_dimension)

    @staticmethod
    def gram(observation_gram: Tensor, weights: Tensor, powers: Tensor) -> Tensor:
        """G = sum_t w_t (A^t)ᵀ CᵀC A^t: CᵀC (n, n), weights (T,) or (N, T) -> float64 (n, n) or (N, n, n).

        A^t is block-diagonal, so each 2x2 block of G is the same block of CᵀC times sums over t of products of
        Re and Im of lambda^t: four (n/2 x T)(T x n/2) products instead of one with T·D rows.
        """
        n = len(observation_gram)
        blocks = observation_gram.reshape(n // 2, 2, n // 2, 2)
        m11, m12, m21, m22 = blocks[:, 0, :, 0], blocks[:, 0, :, 1], blocks[:, 1, :, 0], blocks[:, 1, :, 1]
        real, imaginary = powers.real, powers.imag  # (T, n/2)
        weighted = weights.double().unsqueeze(-1)  # (..., T, 1)
        rr = (weighted * real).mT @ real
        ri = (weighted * real).mT @ imaginary
        ir = ri.mT
        ii = (weighted * imaginary).mT @ imaginary
        g11 = rr * m11 - ri * m12 - ir * m21 + ii * m22
        g12 = ri * m11 + rr * m12 - ii * m21 - ir * m22
        g21 = ir * m11 - ii * m12 + rr * m21 - ri * m22
        g22 = ii * m11 + ir * m12 + ri * m21 + rr * m22
        gram = torch.stack((torch.stack((g11, g12), -1), torch.stack((g21, g22), -1)), -3)  # (..., n/2, 2, n/2, 2)
        return gram.flatten(-4, -3).flatten(-2, -1)

    @staticmethod
    def gather(values: Tensor, weights: Tensor, powers: Tensor) -> Tensor:
        """Sum b = sum_t w_t (A^t)ᵀ Cᵀ z_t: Cᵀ z_t (N, T, n), weights (T,) or (N, T) -> float64 (N, n)."""
        weighted = values * weights.double().unsqueeze(-1)  # (N, T, n)
        first, second = weighted.unflatten(-1, (-1, 2)).unbind(-1)  # (N, T, n/2) each
        real, imaginary = powers.real, powers.imag
        b1 = (real * first - imaginary * second).sum(1)
        b2 = (imaginary * first + real * second).sum(1)
        return torch.stack((b1, b2), -1).flatten(-2)

    def evolve(self, states: Tensor, powers: Tensor) -> Tensor:
        """A^t x0 for each row of powers: states (N, n), powers (T, n/2) -> float64 (N, T, n)."""
        first, second = states.unflatten(-1, (-1, 2)).unsqueeze(1).unbind(-1)  # (N, 1, n/2) each
        real, imaginary = powers.real, powers.imag
        evolved = torch.stack((real * first + imaginary * second, real * second - imaginary * first), -1)
        return evolved.flatten(-2)

    def observe(self, states: Tensor, powers: Tensor, forced: Tensor | None = None) -> Tensor:
        """C A^t x0 for each row of powers, and what actions add to it.

        States (N, n), powers (T, n/2), ``forced`` states (N, T, n) -> float64 (N, T, D).
        """
        evolved = self.evolve(states, powers)
        return (evolved if forced is None else evolved + forced) @ self.observation.double().T

    # --- inference and likelihoods ---------------------------------------------------------------------------------

    def statistics(self, projected: Projected, weights: Tensor, powers: Tensor) -> Statistics:
        """Statistics of projected sequences (N, T) whose frames have weights (T,) or (N, T).

        Raises:
            ValueError: if shapes disagree.
        """
        if weights.shape not in (projected.energy.shape, projected.energy.shape[1:]):
            raise ValueError(f"weights must be (T,) or (N, T), not {tuple(weights.shape)}.")
        weights = weights.double()
        return Statistics(
            (projected.energy * weights).sum(-1),
            self.gather(projected.values, weights, powers),
            self.gram(projected.observation_gram, weights, powers),
            weights.sum(-1) * projected.dimension,
        )

    @staticmethod
    def factorise(statistics: Statistics, precision: float) -> Tensor:
        """Lower Cholesky factor of G + precision I, and a ridge at rounding level.

        Raises:
            torch.linalg.LinAlgError: on a CPU, if there is no such factor. On a GPU, where the check would cause a
                wait, the factor is NaN instead.
        """
        diagonal = statistics.gram.diagonal(dim1=-2, dim2=-1)
        ridge = (precision + RIDGE * diagonal.mean(-1, keepdim=True)).expand_as(diagonal)
        matrix = statistics.gram + torch.diag_embed(ridge)
        factor, failed = torch.linalg.cholesky_ex(matrix, check_errors=matrix.device.type == "cpu")
        return torch.where(failed[..., None, None] == 0, factor, torch.nan)

    @staticmethod
    def solve(statistics: Statistics, cholesky: Tensor) -> Tensor:
        """Initial states from the factor of ``factorise``: float64 (N, n)."""
        if cholesky.ndim == 2:
            return torch.cholesky_solve(statistics.projection.T, cholesky).T
        return torch.cholesky_solve(statistics.projection.unsqueeze(-1), cholesky).squeeze(-1)

    def infer(self, statistics: Statistics, precision: float) -> Tensor:
        """Best initial state of each sequence, float64 (N, n).

        This is the posterior mean under x0 ~ N(0, I / precision), (G + precision I)^-1 b; with precision 0, it is the
        least squares solution O^+ Z.
        """
        return self.solve(statistics, self.factorise(statistics, precision))

    @staticmethod
    def misfit(statistics: Statistics, states: Tensor) -> Tensor:
        """sum_t w_t ||z_t - C A^t x0||² for states (N, n): float64 (N,), without forming the residual."""
        quadratic = ((states.unsqueeze(-2) @ statistics.gram).squeeze(-2) * states).sum(-1)
        return statistics.energy - 2 * (statistics.projection * states).sum(-1) + quadratic

    def profile_log_likelihood(self, statistics: Statistics) -> Tensor:
        """Log density N(Z; O x0*, I) at the least-squares x0* (paper, eq. 2 with its constant), in nats: float64 (N,).

        x0* minimises the misfit, so its derivative contributes nothing (envelope theorem) and x0* is computed without
        gradient.
        """
        with torch.no_grad():
            states = self.infer(statistics, precision=0)
        return -0.5 * (self.misfit(statistics, states) + statistics.dimensions * LOG_TWO_PI)

    def marginal_log_likelihood(self, statistics: Statistics) -> Tensor:
        """Log density of Z with x0 ~ N(0, I) integrated out, in nats: float64 (N,).

        -log p(Z) = 1/2 [ min_x0 (||Z - O x0||² + ||x0||²) + log det(I + G) + (number of values) log 2 pi ].
        """
        cholesky = self.factorise(statistics, precision=1)
        log_determinant = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        with torch.no_grad():  # the minimiser needs no gradient (envelope theorem)
            states = self.solve(statistics, cholesky)
        energy = self.misfit(statistics, states) + states.square().sum(-1)
        return -0.5 * (energy + log_determinant + statistics.dimensions * LOG_TWO_PI)

    def draw_states(self, statistics: Statistics, precision: float, count: int, generator: torch.Generator) -> Tensor:
        """Draws from the posterior of x0 under x0 ~ N(0, I / precision): float64 (count, N, n)."""
        cholesky = self.factorise(statistics, precision)
        mean = self.solve(statistics, cholesky)
        noise = self._randn((count, *mean.shape), generator)
        # cov = (L Lᵀ)^-1, so that L^-ᵀ noise has it.
        drawn: Tensor = torch.linalg.solve_triangular(cholesky.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)
        return mean + drawn

    def _randn(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=self.observation.device)

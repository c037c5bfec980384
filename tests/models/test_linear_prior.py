from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm, fractional_matrix_power, logm
from scipy.stats import multivariate_normal
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother
from torch import Tensor

from linear_video.models.ile import linear_prior
from linear_video.models.ile.linear_prior import LinearPrior

D, N, T = 7, 6, 5  # embedding and state dimensions, frames


@pytest.fixture
def prior() -> LinearPrior:
    torch.manual_seed(3)
    return LinearPrior(D, N, radius=(0.7, 0.99), angle=(5, 80)).double()


@pytest.fixture
def embeddings() -> Tensor:
    return torch.randn(4, T, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def observability(prior: LinearPrior, frames: int) -> Tensor:
    """O by its definition, one matrix power after another."""
    a, c = prior.transition_matrix(), prior.observation.double()
    return torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(frames)])


def statistics(prior: LinearPrior, embeddings: Tensor, weights: Tensor | None = None) -> linear_prior.Statistics:
    weights = torch.ones(embeddings.shape[1]) if weights is None else weights
    return prior.statistics(prior.project(embeddings), weights, prior.powers(embeddings.shape[1]))


def kalman_smoother(prior: LinearPrior, series: NDArray[np.float64]) -> Any:
    """Statsmodels' Kalman filter and smoother of our system: no state noise, x0 ~ N(0, I)."""
    kalman = KalmanSmoother(k_endog=D, k_states=N, k_posdef=N)
    kalman.bind(np.ascontiguousarray(series))
    kalman["design"] = prior.observation.detach().numpy()
    kalman["transition"] = prior.transition_matrix().detach().numpy()
    kalman["obs_cov"] = np.eye(D)
    kalman["selection"] = np.eye(N)  # times state_cov, which stays zero
    kalman.initialize_known(np.zeros(N), np.eye(N))
    return kalman


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8))
def test_eigenvalues_never_leave_the_unit_disc(values: list[float]) -> None:
    prior = LinearPrior(3, 8)
    with torch.no_grad():
        prior.theta_alpha.copy_(torch.tensor(values[:4], dtype=torch.float64))
        prior.theta_beta.copy_(torch.tensor(values[4:], dtype=torch.float64))
    assert prior.eigenvalues().abs().max() <= 1 + 1e-15
    assert prior.eigenvalues().real.min() >= 0
    assert prior.powers(200).isfinite().all()


@pytest.mark.parametrize("radius", [(0.0, 1.0), (1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("angle", [(0.0, 90.0), (0.0, 0.0), (30.0, 60.0)])
def test_eigenvalues_start_where_asked(radius: tuple[float, float], angle: tuple[float, float]) -> None:
    eigenvalues = LinearPrior(4, 20, radius, angle).eigenvalues().detach()
    assert radius[0] - 1e-9 <= eigenvalues.abs().min()
    assert eigenvalues.abs().max() <= radius[1] + 1e-9
    turning = torch.rad2deg(eigenvalues.angle())[eigenvalues.abs() > 1e-9]
    assert angle[0] - 1e-5 <= turning.min()
    assert turning.max() <= angle[1] + 1e-5
    assert gradients_are_finite(LinearPrior(4, 20, radius, angle))


def gradients_are_finite(prior: LinearPrior) -> bool:
    """Also at alpha = 1, where sqrt(1 - alpha²) has none."""
    eigenvalues = prior.eigenvalues()
    (eigenvalues.real.sum() + eigenvalues.imag.sum()).backward()
    gradients = [parameter.grad for parameter in (prior.theta_alpha, prior.theta_beta)]
    return all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


def test_eigenvalues_are_those_of_the_transition_matrix(prior: LinearPrior) -> None:
    expected = np.linalg.eigvals(prior.transition_matrix().detach().numpy())
    ours = prior.eigenvalues().detach().numpy()
    np.testing.assert_allclose(np.sort_complex(np.r_[ours, ours.conj()]), np.sort_complex(expected), atol=1e-12)


def test_odd_state_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        LinearPrior(4, 5)


@pytest.mark.parametrize("weights", [torch.ones(T), torch.tensor([0.2, 0.0, 1.0, 0.5, 3.0])])
def test_gram_and_projection_match_the_observability_matrix(
    prior: LinearPrior, embeddings: Tensor, weights: Tensor
) -> None:
    o, w = observability(prior, T), weights.double().repeat_interleave(D)
    ours = statistics(prior, embeddings, weights)
    torch.testing.assert_close(ours.gram, o.T @ (w[:, None] * o))
    torch.testing.assert_close(ours.projection, embeddings.flatten(1) @ (w[:, None] * o))
    torch.testing.assert_close(ours.energy, (embeddings.flatten(1).square() * w).sum(1))


def test_weights_of_each_sequence_match_each_sequence_alone(prior: LinearPrior, embeddings: Tensor) -> None:
    weights = torch.rand(4, T, generator=torch.Generator().manual_seed(0))
    together = statistics(prior, embeddings, weights)
    for i in range(4):
        alone = statistics(prior, embeddings[i : i + 1], weights[i])
        torch.testing.assert_close(together.gram[i], alone.gram)
        torch.testing.assert_close(prior.infer(together, precision=1)[i], prior.infer(alone, precision=1)[0])


def test_observe_evolves_by_the_transition_matrix(prior: LinearPrior) -> None:
    states = torch.randn(3, N, dtype=torch.float64)
    expected = (states @ observability(prior, T).T).reshape(3, T, D)
    torch.testing.assert_close(prior.observe(states, prior.powers(T)), expected)


def test_least_squares_equals_qr_of_the_observability_matrix(prior: LinearPrior, embeddings: Tensor) -> None:
    q, r = torch.linalg.qr(observability(prior, T))
    expected = torch.linalg.solve_triangular(r, q.T @ embeddings.flatten(1).T, upper=True).T
    states = prior.infer(statistics(prior, embeddings), precision=0)
    torch.testing.assert_close(states, expected, rtol=1e-8, atol=1e-8)


def test_misfit_is_the_squared_residual(prior: LinearPrior, embeddings: Tensor) -> None:
    states = torch.randn(4, N, dtype=torch.float64)
    expected = (embeddings - prior.observe(states, prior.powers(T))).square().sum((1, 2))
    torch.testing.assert_close(prior.misfit(statistics(prior, embeddings), states), expected)


@pytest.mark.parametrize("missing", [[], [2], [0, 4], [1, 2, 3]])
def test_inference_and_likelihood_agree_with_an_independent_kalman_smoother(
    prior: LinearPrior, embeddings: Tensor, missing: list[int]
) -> None:
    series = embeddings[0].numpy().copy()
    series[missing] = np.nan
    result = kalman_smoother(prior, series).smooth()

    weights = torch.ones(T)
    weights[missing] = 0
    ours = statistics(prior, embeddings[:1], weights)
    states = prior.infer(ours, precision=1)
    np.testing.assert_allclose(states[0].detach().numpy(), result.smoothed_state[:, 0], atol=1e-9)
    likelihood = prior.marginal_log_likelihood(ours).item()
    np.testing.assert_allclose(likelihood, result.llf_obs.sum(), rtol=1e-10)


def test_prediction_equals_the_kalman_filter_run_past_the_data(prior: LinearPrior, embeddings: Tensor) -> None:
    series = np.vstack((embeddings[0].numpy(), np.full((3, D), np.nan)))
    expected = kalman_smoother(prior, series).filter().forecasts.T[T:]
    states = prior.infer(statistics(prior, embeddings[:1]), precision=1)
    ours = prior.observe(states, prior.powers(T + 3))[0, T:]
    np.testing.assert_allclose(ours.detach().numpy(), expected, atol=1e-9)


def test_marginal_likelihood_is_that_of_the_joint_gaussian(prior: LinearPrior, embeddings: Tensor) -> None:
    o = observability(prior, T).detach().numpy()
    expected = multivariate_normal(np.zeros(T * D), np.eye(T * D) + o @ o.T).logpdf(embeddings.flatten(1).numpy())
    ours = prior.marginal_log_likelihood(statistics(prior, embeddings))
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-10)


def test_profile_likelihood_is_that_of_the_best_initial_state(prior: LinearPrior, embeddings: Tensor) -> None:
    o = observability(prior, T)
    fitted = (o @ torch.linalg.lstsq(o, embeddings.flatten(1).T).solution).T
    expected = -0.5 * ((embeddings.flatten(1) - fitted).square().sum(1) + T * D * np.log(2 * np.pi))
    torch.testing.assert_close(prior.profile_log_likelihood(statistics(prior, embeddings)), expected)


@pytest.mark.parametrize("kind", ["profile", "marginal"])
def test_envelope_gradient_equals_the_full_one(prior: LinearPrior, embeddings: Tensor, kind: str) -> None:
    """Against autograd through a dense pseudo-inverse or covariance, with nothing held fixed."""

    def gradients(value: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(value.sum(), [*prior.parameters(), embeddings])

    embeddings.requires_grad_()
    o = observability(prior, T)
    z = embeddings.flatten(1)
    if kind == "profile":
        full = -0.5 * (z - z @ torch.linalg.pinv(o).T @ o.T).square().sum()
        ours = prior.profile_log_likelihood(statistics(prior, embeddings))
    else:
        covariance = torch.eye(T * D, dtype=torch.float64) + o @ o.T
        full = torch.distributions.MultivariateNormal(torch.zeros(T * D).double(), covariance).log_prob(z)
        ours = prior.marginal_log_likelihood(statistics(prior, embeddings))
    for got, expected in zip(gradients(ours), gradients(full), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-8)


def test_states_from_the_first_frames_carry_their_gradient(prior: LinearPrior, embeddings: Tensor) -> None:
    embeddings.requires_grad_()
    context = prior.project(embeddings).first(3)
    ours = prior.infer(prior.statistics(context, torch.ones(3), prior.powers(3)), precision=0)
    o = observability(prior, T)
    full = embeddings[:, :3].flatten(1) @ torch.linalg.pinv(o[: 3 * D]).T
    torch.testing.assert_close(ours, full)
    ours, full = ours.sin().sum(), full.sin().sum()
    for got, expected in zip(
        torch.autograd.grad(ours, [embeddings, prior.observation]),
        torch.autograd.grad(full, [embeddings, prior.observation]),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_rank_deficient_systems_are_still_solved(embeddings: Tensor) -> None:
    """More state than the frames can tell apart: the fit must be exact, and finite."""
    torch.manual_seed(0)
    prior = LinearPrior(D, 2 * T * D)
    states = prior.infer(statistics(prior, embeddings), precision=0)
    assert states.isfinite().all()
    assert prior.misfit(statistics(prior, embeddings), states).max() < 1e-6


def test_shapes_that_disagree_are_refused(prior: LinearPrior, embeddings: Tensor) -> None:
    with pytest.raises(ValueError, match=f"N, T, {D}"):
        statistics(prior, embeddings[..., :-1])
    with pytest.raises(ValueError, match="weights"):
        prior.statistics(prior.project(embeddings), torch.ones(T + 1), prior.powers(T))


# --- parts of sequences ----------------------------------------------------------------------------------------------


def check_projected(ours: linear_prior.Projected, expected: linear_prior.Projected) -> None:
    for one, other in zip(ours[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert ours.dimension == expected.dimension


@pytest.mark.parametrize("cut", [0, 2, T])
def test_projections_are_cut_as_sequences_are(prior: LinearPrior, embeddings: Tensor, cut: int) -> None:
    check_projected(prior.project(embeddings).first(cut), prior.project(embeddings[:, :cut]))


def test_less_is_the_projection_of_what_is_left(prior: LinearPrior, embeddings: Tensor) -> None:
    states = torch.randn(4, T, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left = embeddings - states @ prior.observation.double().T
    check_projected(prior.project(embeddings).less(states), prior.project(left))


# --- at any time -----------------------------------------------------------------------------------------------------


def test_powers_at_whole_times_are_the_powers(prior: LinearPrior) -> None:
    torch.testing.assert_close(prior.powers_at(torch.arange(20)), prior.powers(20), rtol=0, atol=1e-14)


def test_powers_at_real_times_are_fractional_powers_of_the_transition(prior: LinearPrior) -> None:
    times = np.array([0.0, 0.3, 1.0, 2.5, 17.25])
    states = torch.randn(2, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        A, C = prior.transition_matrix().numpy(), prior.observation.numpy()
        powers = prior.powers_at(torch.from_numpy(times))
        evolved, observed = prior.evolve(states, powers), prior.observe(states, powers)
    exponentials = expm(times[:, None, None] * np.real(logm(A)))
    np.testing.assert_allclose(exponentials[3], np.real(fractional_matrix_power(A, 2.5)), atol=1e-9)
    expected = np.einsum("tij,nj->nti", exponentials, states.numpy())
    np.testing.assert_allclose(evolved.numpy(), expected, atol=1e-11)
    np.testing.assert_allclose(observed.numpy(), expected @ C.T, atol=1e-11)


def test_real_times_add_up(prior: LinearPrior) -> None:
    halves = prior.powers_at(torch.tensor([0.3, 1.45, 1.75], dtype=torch.float64))
    torch.testing.assert_close(halves[0] * halves[1], halves[2], rtol=0, atol=1e-14)


def test_gram_and_projection_at_real_times_match_the_observability_matrix(
    prior: LinearPrior, embeddings: Tensor
) -> None:
    times, w = np.array([0.0, 0.4, 1.7, 2.0, 5.5]), torch.tensor([0.2, 0.0, 1.0, 0.5, 3.0]).double()
    generator = logm(prior.transition_matrix().detach().numpy())
    o = prior.observation.detach() @ torch.from_numpy(np.real(expm(times[:, None, None] * generator)))  # (T, D, N)
    o, weights = o.reshape(-1, N), w.repeat_interleave(D)
    ours = prior.statistics(prior.project(embeddings), w, prior.powers_at(torch.from_numpy(times)))
    tolerance: Any = {"rtol": 0, "atol": 1e-11}
    torch.testing.assert_close(ours.gram.detach(), o.T @ (weights[:, None] * o), **tolerance)
    torch.testing.assert_close(ours.projection.detach(), embeddings.flatten(1) @ (weights[:, None] * o), **tolerance)


# --- actions ---------------------------------------------------------------------------------------------------------

M = 3  # values of an action


@pytest.fixture
def pushed() -> Any:
    torch.manual_seed(3)
    prior: Any = LinearPrior(D, N, radius=(0.7, 0.99), angle=(5, 80), actions=M).double()
    with torch.no_grad():
        prior.control.normal_(generator=torch.Generator().manual_seed(4))
    return prior


@pytest.fixture
def actions() -> Tensor:
    return torch.randn(4, T, M, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def forced_by_powers(prior: Any, actions: Tensor) -> Tensor:
    """f_t = sum_{k=1..t} A^(t-k) B u_k, one matrix power after another."""
    a, b = prior.transition_matrix(), prior.control
    states = [torch.zeros(len(actions), N).double()]
    for t in range(1, actions.shape[1]):
        terms = [actions[:, k] @ b.T @ torch.linalg.matrix_power(a, t - k).T for k in range(1, t + 1)]
        states.append(torch.stack(terms).sum(0))
    return torch.stack(states, 1)


def test_forced_states_are_sums_of_matrix_powers(pushed: Any, actions: Tensor) -> None:
    torch.testing.assert_close(pushed.forced(actions), forced_by_powers(pushed, actions), rtol=0, atol=1e-12)


def test_the_first_action_has_no_effect(pushed: Any, actions: Tensor) -> None:
    changed = actions.clone()
    changed[:, 0] = 99
    assert torch.equal(pushed.forced(changed), pushed.forced(actions))


def test_states_under_actions_follow_the_equation_of_motion(pushed: Any, actions: Tensor) -> None:
    """x_t = A x_(t-1) + B u_t and z_t = C x_t, step by step."""
    state = torch.randn(4, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = pushed.observe(state, pushed.powers(T), pushed.forced(actions))
    for t in range(T):
        if t:
            state = state @ pushed.transition_matrix().T + actions[:, t] @ pushed.control.T
        torch.testing.assert_close(ours[:, t], state @ pushed.observation.T, rtol=0, atol=1e-12)


def test_likelihood_under_actions_is_that_of_a_shifted_gaussian(
    pushed: Any, actions: Tensor, embeddings: Tensor
) -> None:
    o = observability(pushed, T).detach().numpy()
    mean = (forced_by_powers(pushed, actions) @ pushed.observation.T).flatten(1).detach().numpy()
    projected = pushed.project(embeddings).less(pushed.forced(actions))
    ours = pushed.marginal_log_likelihood(pushed.statistics(projected, torch.ones(T), pushed.powers(T)))
    for n, z in enumerate(embeddings.flatten(1).numpy()):
        expected = multivariate_normal(mean[n], np.eye(T * D) + o @ o.T).logpdf(z)
        assert ours[n].item() == pytest.approx(expected, rel=1e-10)


def test_likelihood_under_actions_agrees_with_an_independent_kalman_filter(
    pushed: Any, actions: Tensor, embeddings: Tensor
) -> None:
    kalman = kalman_smoother(pushed, embeddings[0].numpy())
    inputs = (actions[0] @ pushed.control.T).detach().numpy()
    kalman["state_intercept"] = np.vstack((inputs[1:], np.zeros((1, N)))).T  # on the way from t to t + 1
    projected = pushed.project(embeddings[:1]).less(pushed.forced(actions[:1]))
    ours = pushed.marginal_log_likelihood(pushed.statistics(projected, torch.ones(T), pushed.powers(T)))
    assert ours.item() == pytest.approx(kalman.filter().llf_obs.sum(), rel=1e-10)


def test_gradient_of_forced_states_is_that_of_the_matrix_powers(pushed: Any, actions: Tensor) -> None:
    actions.requires_grad_()
    wanted = [pushed.theta_alpha, pushed.theta_beta, pushed.control, actions]
    ours = torch.autograd.grad(pushed.forced(actions).sin().sum(), wanted)
    dense = torch.autograd.grad(forced_by_powers(pushed, actions).sin().sum(), wanted)
    for got, expected in zip(ours, dense, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_actions_do_nothing_before_training(actions: Tensor) -> None:
    torch.manual_seed(3)
    prior = LinearPrior(D, N, actions=M)
    assert not prior.forced(actions).any()
    torch.manual_seed(3)
    without = LinearPrior(D, N)
    assert torch.equal(prior.observation, without.observation)  # nothing more is drawn
    assert "control" not in without.state_dict()


@pytest.mark.parametrize("shape", [(4, T, M - 1), (T, M), (4, T, M, 1)])
def test_actions_of_another_shape_are_refused(pushed: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"actions must be \(N, T, {M}\)"):
        pushed.forced(torch.zeros(shape))


def test_a_model_without_actions_refuses_them(prior: LinearPrior, actions: Tensor) -> None:
    with pytest.raises(ValueError, match=r"actions must be \(N, T, 0\) for this model"):
        prior.forced(actions)


# --- draws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_weights", [False, True])
def test_draws_have_mean_and_covariance_of_the_posterior(
    prior: LinearPrior, embeddings: Tensor, own_weights: bool
) -> None:
    weights = torch.tensor([0.2, 0.0, 1.0, 0.5, 3.0]).double()
    if own_weights:
        weights = torch.stack((weights, weights.flip(0)))
    with torch.no_grad():  # columns that are not orthogonal, so that the posterior is correlated
        prior.observation.copy_(torch.randn(D, N, generator=torch.Generator().manual_seed(7), dtype=torch.float64))
    ours, count = statistics(prior, embeddings[:2], weights), 40_000
    with torch.no_grad():
        drawn = prior.draw_states(ours, 0.3, count, torch.Generator().manual_seed(0))
    assert drawn.shape == (count, 2, N)
    o = observability(prior, T).detach()
    for n in range(2):
        w = (weights[n] if own_weights else weights).repeat_interleave(D)
        covariance = torch.linalg.inv(o.T @ (w[:, None] * o) + 0.3 * torch.eye(N).double())
        mean = covariance @ o.T @ (w * embeddings[n].flatten())
        whitened = torch.linalg.solve(torch.linalg.cholesky(covariance), (drawn[:, n] - mean).T).T
        torch.testing.assert_close(whitened.mean(0), torch.zeros(N).double(), rtol=0, atol=5 / count**0.5)
        torch.testing.assert_close(torch.cov(whitened.T), torch.eye(N).double(), rtol=0, atol=8 / count**0.5)
    across = (drawn[:, 0] - drawn[:, 0].mean(0)).T @ (drawn[:, 1] - drawn[:, 1].mean(0)) / count
    spread = drawn.std(0)
    assert (across / (spread[0][:, None] * spread[1])).abs().max() < 5 / count**0.5  # sequences are independent


def test_draws_are_reproducible_by_their_generator(prior: LinearPrior, embeddings: Tensor) -> None:
    ours = statistics(prior, embeddings)
    one, two, three = (prior.draw_states(ours, 1.0, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

from linear_video.models.linear_prior import LinearPrior

D, N, T = 7, 6, 5  # embedding and state dimensions, frames


@pytest.fixture
def prior():
    torch.manual_seed(3)
    return LinearPrior(D, N, radius=(0.7, 0.99), angle=(5, 80)).double()


@pytest.fixture
def embeddings():
    return torch.randn(4, T, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def observability(prior, frames):
    """O by its definition, one matrix power after another."""
    a, c = prior.transition_matrix(), prior.observation.double()
    return torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(frames)])


def statistics(prior, embeddings, weights=None):
    weights = torch.ones(embeddings.shape[1]) if weights is None else weights
    return prior.statistics(prior.project(embeddings), weights, prior.powers(embeddings.shape[1]))


def kalman_smoother(prior, series):
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
def test_eigenvalues_never_leave_the_unit_disc(values):
    prior = LinearPrior(3, 8)
    with torch.no_grad():
        prior.theta_alpha.copy_(torch.tensor(values[:4], dtype=torch.float64))
        prior.theta_beta.copy_(torch.tensor(values[4:], dtype=torch.float64))
    assert prior.eigenvalues().abs().max() <= 1 + 1e-15
    assert prior.eigenvalues().real.min() >= 0
    assert prior.powers(200).isfinite().all()


@pytest.mark.parametrize("radius", [(0.0, 1.0), (1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("angle", [(0.0, 90.0), (0.0, 0.0), (30.0, 60.0)])
def test_eigenvalues_start_where_asked(radius, angle):
    eigenvalues = LinearPrior(4, 20, radius, angle).eigenvalues().detach()
    assert radius[0] - 1e-9 <= eigenvalues.abs().min()
    assert eigenvalues.abs().max() <= radius[1] + 1e-9
    turning = torch.rad2deg(eigenvalues.angle())[eigenvalues.abs() > 1e-9]
    assert angle[0] - 1e-5 <= turning.min()
    assert turning.max() <= angle[1] + 1e-5
    assert gradients_are_finite(LinearPrior(4, 20, radius, angle))


def gradients_are_finite(prior):
    """Also at alpha = 1, where sqrt(1 - alpha²) has none."""
    eigenvalues = prior.eigenvalues()
    (eigenvalues.real.sum() + eigenvalues.imag.sum()).backward()
    return prior.theta_alpha.grad.isfinite().all() and prior.theta_beta.grad.isfinite().all()


def test_eigenvalues_are_those_of_the_transition_matrix(prior):
    expected = np.linalg.eigvals(prior.transition_matrix().detach().numpy())
    ours = prior.eigenvalues().detach().numpy()
    np.testing.assert_allclose(np.sort_complex(np.r_[ours, ours.conj()]), np.sort_complex(expected), atol=1e-12)


def test_odd_state_dimension_is_refused():
    with pytest.raises(ValueError, match="even"):
        LinearPrior(4, 5)


@pytest.mark.parametrize("weights", [torch.ones(T), torch.tensor([0.2, 0.0, 1.0, 0.5, 3.0])])
def test_gram_and_projection_match_the_observability_matrix(prior, embeddings, weights):
    o, w = observability(prior, T), weights.double().repeat_interleave(D)
    ours = statistics(prior, embeddings, weights)
    torch.testing.assert_close(ours.gram, o.T @ (w[:, None] * o))
    torch.testing.assert_close(ours.projection, embeddings.flatten(1) @ (w[:, None] * o))
    torch.testing.assert_close(ours.energy, (embeddings.flatten(1).square() * w).sum(1))


def test_weights_of_each_sequence_match_each_sequence_alone(prior, embeddings):
    weights = torch.rand(4, T, generator=torch.Generator().manual_seed(0))
    together = statistics(prior, embeddings, weights)
    for i in range(4):
        alone = statistics(prior, embeddings[i : i + 1], weights[i])
        torch.testing.assert_close(together.gram[i], alone.gram)
        torch.testing.assert_close(prior.infer(together, precision=1)[i], prior.infer(alone, precision=1)[0])


def test_observe_evolves_by_the_transition_matrix(prior):
    states = torch.randn(3, N, dtype=torch.float64)
    expected = (states @ observability(prior, T).T).reshape(3, T, D)
    torch.testing.assert_close(prior.observe(states, prior.powers(T)), expected)


def test_least_squares_equals_qr_of_the_observability_matrix(prior, embeddings):
    q, r = torch.linalg.qr(observability(prior, T))
    expected = torch.linalg.solve_triangular(r, q.T @ embeddings.flatten(1).T, upper=True).T
    states = prior.infer(statistics(prior, embeddings), precision=0)
    torch.testing.assert_close(states, expected, rtol=1e-8, atol=1e-8)


def test_misfit_is_the_squared_residual(prior, embeddings):
    states = torch.randn(4, N, dtype=torch.float64)
    expected = (embeddings - prior.observe(states, prior.powers(T))).square().sum((1, 2))
    torch.testing.assert_close(prior.misfit(statistics(prior, embeddings), states), expected)


@pytest.mark.parametrize("missing", [[], [2], [0, 4], [1, 2, 3]])
def test_inference_and_likelihood_agree_with_an_independent_kalman_smoother(prior, embeddings, missing):
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


def test_prediction_equals_the_kalman_filter_run_past_the_data(prior, embeddings):
    series = np.vstack((embeddings[0].numpy(), np.full((3, D), np.nan)))
    expected = kalman_smoother(prior, series).filter().forecasts.T[T:]
    states = prior.infer(statistics(prior, embeddings[:1]), precision=1)
    ours = prior.observe(states, prior.powers(T + 3))[0, T:]
    np.testing.assert_allclose(ours.detach().numpy(), expected, atol=1e-9)


def test_marginal_likelihood_is_that_of_the_joint_gaussian(prior, embeddings):
    o = observability(prior, T).detach().numpy()
    expected = multivariate_normal(np.zeros(T * D), np.eye(T * D) + o @ o.T).logpdf(embeddings.flatten(1).numpy())
    ours = prior.marginal_log_likelihood(statistics(prior, embeddings))
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-10)


def test_profile_likelihood_is_that_of_the_best_initial_state(prior, embeddings):
    o = observability(prior, T)
    fitted = (o @ torch.linalg.lstsq(o, embeddings.flatten(1).T).solution).T
    expected = -0.5 * ((embeddings.flatten(1) - fitted).square().sum(1) + T * D * np.log(2 * np.pi))
    torch.testing.assert_close(prior.profile_log_likelihood(statistics(prior, embeddings)), expected)


@pytest.mark.parametrize("kind", ["profile", "marginal"])
def test_envelope_gradient_equals_the_full_one(prior, embeddings, kind):
    """Against autograd through a dense pseudo-inverse or covariance, with nothing held fixed."""

    def gradients(value):
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


def test_states_from_the_first_frames_carry_their_gradient(prior, embeddings):
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


def test_rank_deficient_systems_are_still_solved(embeddings):
    """More state than the frames can tell apart: the fit must be exact, and finite."""
    torch.manual_seed(0)
    prior = LinearPrior(D, 2 * T * D)
    states = prior.infer(statistics(prior, embeddings), precision=0)
    assert states.isfinite().all()
    assert prior.misfit(statistics(prior, embeddings), states).max() < 1e-6


def test_samples_have_the_prior_covariance(prior):
    samples = prior.sample(20_000, 2, noise=1.0, generator=torch.Generator().manual_seed(0)).detach().flatten(1)
    o = observability(prior, 2).detach()
    expected = torch.eye(2 * D, dtype=torch.float64) + o @ o.T
    torch.testing.assert_close(torch.cov(samples.T), expected, rtol=0.1, atol=0.1)


def test_shapes_that_disagree_are_refused(prior, embeddings):
    with pytest.raises(ValueError, match=f"N, T, {D}"):
        statistics(prior, embeddings[..., :-1])
    with pytest.raises(ValueError, match="weights"):
        prior.statistics(prior.project(embeddings), torch.ones(T + 1), prior.powers(T))

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.linalg import expm, logm
from scipy.stats import multivariate_normal
from torch import Tensor

from linear_video.common.errors import InputError
from linear_video.models.ile.dense import DensePrior
from linear_video.models.ile.interpolation import interpolation_weights
from linear_video.models.ile.linear_prior import LinearPrior, Projected
from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings
from linear_video.models.registry import build
from tests.models.invertible import numeric_log_abs_det, randomise

SHAPE = (1, 4, 4)
SMALL = IleSettings(
    dynamics="dense",
    state_dimension=6,
    blocks=1,
    couplings=2,
    hidden_channels=4,
    first_squeezes=1,
    eigenvalue_angle=(0.0, 90.0),
    noise=0.0,
    profile_weight=0.7,
    forecast_weight=0.0,
    prior_precision=1.0,
    fading_memory=1.0,
)


class Dense(InvertibleLinearEmbedding):
    """A model with the dynamics of the paper."""

    prior: DensePrior


def make(shape: tuple[int, int, int] = SHAPE, **changes: Any) -> Dense:
    torch.manual_seed(0)
    model = Dense(shape, dataclasses.replace(SMALL, **changes))
    randomise(model.flow)
    return model.double().eval()


def clips(n: int = 3, t: int = 5, shape: tuple[int, ...] = SHAPE, seed: int = 2) -> Tensor:
    return torch.rand(n, t, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def project(model: Dense, batch: Tensor) -> Projected:
    return model.prior.project(model.project(batch).embeddings)


def observability(prior: LinearPrior, frames: int) -> Tensor:
    a, c = prior.transition_matrix(), prior.observation.double()
    return torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(frames)])


@pytest.mark.parametrize("scale", ["learned", "batch_mean"])
def test_log_likelihood_is_a_density_of_frames(scale: Literal["learned", "batch_mean"]) -> None:
    """Change of variables with a numeric Jacobian of the whole clip's map, and a dense Gaussian."""
    model = make(scale=scale)
    if model.gamma is not None:
        model.gamma.fill_(0.37)
    one = clips(1, 2)

    def embed(batch: Tensor) -> tuple[Tensor]:  # (1, T·D) -> (1, T·D)
        return (model.encode(batch.reshape(1, 2, *SHAPE))[0].flatten(1),)

    o = observability(model.prior, 2)
    covariance = torch.eye(32, dtype=torch.float64) + o @ o.T
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(32).double(), covariance)
    expected = gaussian.log_prob(embed(one)[0]) + numeric_log_abs_det(embed, one.flatten())
    torch.testing.assert_close(model.log_likelihood(one), expected.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("profile_weight", [0.0, 0.3, 1.0])
def test_objective_weighs_the_two_likelihoods(profile_weight: float) -> None:
    model, batch = make(profile_weight=profile_weight), clips()
    objective, parts = model.loss(batch)
    embeddings, log_abs_det = model.encode(batch)
    o = observability(model.prior, 5)
    z = embeddings.flatten(1)
    fitted = z @ torch.linalg.pinv(o).T @ o.T
    profile = -0.5 * ((z - fitted).square().sum(1) + z.shape[1] * np.log(2 * np.pi))
    covariance = torch.eye(z.shape[1], dtype=torch.float64) + o @ o.T
    marginal = torch.distributions.MultivariateNormal(torch.zeros(z.shape[1]).double(), covariance).log_prob(z)
    mixed = profile_weight * profile + (1 - profile_weight) * marginal + log_abs_det.sum(1)
    torch.testing.assert_close(objective, -mixed.mean() / z.shape[1])
    assert set(parts) - {"log_abs_det"} == {
        name for name, used in (("profile", profile_weight > 0), ("marginal", profile_weight < 1)) if used
    }


def test_forecasts_are_the_gaussian_log_density_of_what_is_predicted() -> None:
    """Least squares by a dense solver, and each predicted frame's density with the variance of its errors."""
    settings: dict[str, Any] = {
        "forecast_weight": 0.5,
        "forecast_context": 3,
        "fading_memory": 0.8,
        "prior_precision": 0.1,
    }
    model, batch = make(**settings), clips()
    objective, parts = model.loss(batch)
    without, _ = make().loss(batch)
    torch.testing.assert_close(objective, without - 0.5 * parts["forecast"])

    weights = (0.8 ** torch.arange(2, -1, -1).double()).sqrt().repeat_interleave(16)
    o = observability(model.prior, 5)
    rows = torch.cat([weights[:, None] * o[: 3 * 16], 0.1**0.5 * torch.eye(6).double()])
    z = model.encode(batch)[0][:, :3].flatten(1)
    seen = torch.cat([weights * z, torch.zeros(3, 6).double()], dim=1)
    states = torch.linalg.lstsq(rows, seen.T).solution
    predicted = model.decode((o[3 * 16 :] @ states).T.unflatten(1, (2, 16)))
    error = (predicted - batch[:, 3:]).square()
    floors = {"frame": 1e-5, "pixel": 4e-4}
    variances = {"frame": error.mean((2, 3, 4), keepdim=True), "pixel": error}
    expected = torch.zeros(()).double()
    for kind, variance in variances.items():
        normal = torch.distributions.Normal(0.0, (variance + floors[kind]).sqrt())
        expected = expected + 0.5 * normal.log_prob(normal.stddev).mean()  # as far off as the variance says
    torch.testing.assert_close(parts["forecast"], expected)
    found = torch.autograd.grad(parts["forecast"], list(model.parameters()), allow_unused=True)
    dense = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    for got, wanted in zip(found, dense, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_forecasts_beyond_black_and_white_count_as_right() -> None:
    """A clipped value in a prediction is not an error if the truth lies at that end."""
    model, batch = make(forecast_weight=1.0, forecast_context=3), 20 * clips() - 4
    with torch.no_grad():
        projected, powers = project(model, batch[:, :3]), model.prior.powers(5)
        statistics = model.prior.statistics(projected, torch.ones(3), powers[:3])
        states = model.prior.infer(statistics, model.settings.prior_precision)
        raw = model.decode(model.prior.observe(states, powers[3:]))
    assert raw.min() < 0
    assert raw.max() > 1
    batch[:, 3:] = torch.where(raw < 0, 0, torch.where(raw > 1, 1, raw))
    perfect = -0.5 * (np.log(2 * np.pi) + 1 + (np.log(1e-5) + np.log(4e-4)) / 2)
    assert model.loss(batch)[1]["forecast"].item() == pytest.approx(perfect)
    torch.testing.assert_close(model.predict(batch[:, :3], 2), batch[:, 3:])
    batch[:, 3:] = torch.where(raw < 0, 0.1, batch[:, 3:])  # a wrong sign is an error all the same
    assert model.loss(batch)[1]["forecast"].item() < perfect - 0.1


def test_clips_without_frames_to_forecast_are_refused() -> None:
    with pytest.raises(ValueError, match="clips of 5 frames leave none to forecast after forecast_context 5"):
        make(forecast_weight=1.0, forecast_context=5).loss(clips())


def test_loss_sees_only_its_first_frames() -> None:
    model, batch = make(loss_frames=3), clips()
    changed = batch.clone()
    changed[:, 3:] = 0.5
    assert model.loss(batch)[0] == model.loss(changed)[0]


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_noise_has_the_given_size_and_is_drawn_by_the_generator(kind: Literal["gaussian", "uniform"]) -> None:
    model: Any = make(noise=0.2, noise_kind=kind)
    seen: list[Tensor] = []

    def watched(noisy: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(noisy)
        return InvertibleLinearEmbedding.encode(model, noisy)

    model.encode = watched
    batch = clips(50, 5)
    losses = [model.loss(batch, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    noise = seen[0] - batch
    expected = 0.2 if kind == "gaussian" else 0.2 / np.sqrt(12)
    assert noise.std().item() == pytest.approx(expected, rel=0.05)
    if kind == "uniform":
        assert noise.abs().max() <= 0.1
    model.loss(batch)
    assert torch.equal(seen[-1], batch)


def test_clips_of_its_own_kind_are_predicted_exactly() -> None:
    model = make(prior_precision=0.0)
    states = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        future = model.decode(model.prior.observe(states, model.prior.powers(8)))
    predicted = model.predict(future[:, :5], 3)
    torch.testing.assert_close(predicted, future[:, 5:].clamp(0, 1), rtol=0, atol=1e-7)


def test_missing_frames_are_ignored() -> None:
    model = make(prior_precision=0.0)
    states = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        whole = model.decode(model.prior.observe(states, model.prior.powers(8)))
    context, future = whole[:, :6], whole[:, 6:]
    observed = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 0]], dtype=torch.bool)
    broken = torch.where(observed[:, :, None, None, None], context, torch.full_like(context, 0.77))
    torch.testing.assert_close(model.predict(broken, 2, observed), future.clamp(0, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.predict(broken, 2, observed), model.predict(context, 2), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="at least one observed"):
        model.predict(broken, 2, torch.zeros_like(observed))


@pytest.mark.parametrize(
    ("observed", "shares"),
    [([1, 1, 0, 1, 0, 1], {2: 16 / 17.5, 4: 16 / 17.5}), ([0, 1, 1, 1, 1, 0], {0: 1.0, 5: 1.0})],
    ids=["inside", "ends"],
)
def test_missing_frames_are_filled_in(observed: list[int], shares: dict[int, float]) -> None:
    """The trajectory is exact except for its prior, which has little weight here, since C is large."""
    model, there = make(), torch.tensor(observed, dtype=torch.bool)
    states = 1e-4 * torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        model.prior.observation.mul_(1e4)
        whole = model.decode(model.prior.observe(states, model.prior.powers(6)))
    broken = torch.where(there[:, None, None, None], whole, torch.full_like(whole, 0.77))
    frames = whole.clamp(0, 1)
    for missing, share in shares.items():
        weights, correction = model.interpolate(model.project(broken), there, float(missing))
        between = torch.einsum("t,btchw->bchw", weights, frames)
        assert bool(weights.any()) == (share < 1)
        torch.testing.assert_close(correction, share * (frames[:, missing] - between), rtol=0, atol=1e-6)


def test_likelihood_of_clips_with_missing_frames_leaves_them_out() -> None:
    model, batch = make(), clips()
    observed = torch.tensor([True, True, False, True, False]).expand(3, 5)
    changed = torch.where(observed[:, :, None, None, None], batch, torch.zeros_like(batch))
    torch.testing.assert_close(model.log_likelihood(batch, observed), model.log_likelihood(changed, observed))
    assert (model.log_likelihood(batch, observed) != model.log_likelihood(batch)).all()


def test_fading_memory_is_weighted_least_squares() -> None:
    model, context = make(prior_precision=0.0, fading_memory=0.6), clips(1)
    weights = 0.6 ** torch.arange(4, -1, -1).double().repeat_interleave(16)
    root = weights.sqrt()[:, None]
    with torch.no_grad():
        o = observability(model.prior, 6)
        z = model.encode(context)[0].flatten(1).T
        state = torch.linalg.lstsq(root * o[: 5 * 16], root * z).solution
        expected = model.decode((o[5 * 16 :] @ state).T[:, None]).clamp(0, 1)
    torch.testing.assert_close(model.predict(context, 1), expected, rtol=0, atol=1e-7)


def test_spectrum_gives_periods_and_half_lives() -> None:
    model = make(eigenvalue_radius=(0.5, 0.5), eigenvalue_angle=(0.0, 90.0))
    spectrum = model.spectrum()
    torch.testing.assert_close(spectrum.half_life, torch.ones(3).double())
    assert torch.isinf(spectrum.period[0])
    torch.testing.assert_close(spectrum.period[1:], torch.tensor([8.0, 4.0]).double())


def test_rgb_and_batch_mean_scale_train() -> None:
    model = InvertibleLinearEmbedding((3, 4, 4), dataclasses.replace(SMALL, scale="batch_mean")).train()
    batch = clips(shape=(3, 4, 4)).float()
    assert model.gamma is not None
    before = model.gamma.clone()
    objective, _ = model.loss(batch, torch.Generator().manual_seed(0))
    objective.backward()
    assert objective.isfinite()
    assert model.gamma != before
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_batch_mean_scale_adds_its_log_to_the_loss() -> None:
    """Dividing by gamma changes the volume by gamma^-D (paper 2.6, with its signs put right)."""
    model, batch = make(scale="batch_mean").train(), clips()
    embeddings, log_abs_det = model.encode(batch)
    raw, raw_log_abs_det = model.flow(batch.flatten(0, 1))
    gamma = raw.abs().mean()
    torch.testing.assert_close(embeddings.flatten(0, 1), raw / gamma)
    torch.testing.assert_close(log_abs_det.flatten(), raw_log_abs_det - 16 * gamma.log())
    torch.testing.assert_close(embeddings.abs().mean(), torch.ones(()).double())


@given(st.integers(0, 2**16))
@hypothesis_settings(max_examples=25)
def test_predictions_are_frames(seed: int) -> None:
    predicted = make().predict(5 * clips(1, seed=seed) - 2, 4)
    assert predicted.shape == (1, 4, *SHAPE)
    assert predicted.min() >= 0
    assert predicted.max() <= 1


def test_unknown_models_and_settings_are_named() -> None:
    with pytest.raises(InputError, match="there is no model 'iel'; choose one of ile"):
        build("iel", SHAPE, {})
    with pytest.raises(InputError, match=r"do not fit the model ile.*coupling"):
        build("ile", SHAPE, {"coupling": 3})


def test_last_frame_repeats_the_last_frame() -> None:
    context = clips().float()
    model: Any = build("last_frame", SHAPE, {})
    predicted = model.predict(context, 3)
    assert torch.equal(predicted, torch.stack([context[:, -1]] * 3, dim=1))


# --- actions ---------------------------------------------------------------------------------------------------------


def pushed(**changes: Any) -> Any:
    model: Any = make(actions=2, **changes)
    with torch.no_grad():
        model.prior.control.normal_(generator=torch.Generator().manual_seed(8))
    return model


def pushes(n: int = 3, t: int = 5, seed: int = 9) -> Tensor:
    return torch.randn(n, t, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def forced_embeddings(model: Any, actions: Tensor) -> Tensor:
    """C f_t with f_t = A f_(t-1) + B u_t from f_0 = 0, step by step."""
    a, b, c = model.prior.transition_matrix(), model.prior.control, model.prior.observation
    state, embeddings = torch.zeros(len(actions), 6).double(), []
    for t in range(actions.shape[1]):
        if t:
            state = state @ a.T + actions[:, t] @ b.T
        embeddings.append(state @ c.T)
    return torch.stack(embeddings, 1)


def test_objective_under_actions_is_that_of_a_shifted_gaussian() -> None:
    model, batch, actions = pushed(profile_weight=0.3), clips(), pushes()
    embeddings, log_abs_det = model.encode(batch)
    o = observability(model.prior, 5)
    z = (embeddings - forced_embeddings(model, actions)).flatten(1)
    fitted = z @ torch.linalg.pinv(o).T @ o.T
    profile = -0.5 * ((z - fitted).square().sum(1) + z.shape[1] * np.log(2 * np.pi))
    covariance = torch.eye(z.shape[1], dtype=torch.float64) + o @ o.T
    marginal = torch.distributions.MultivariateNormal(torch.zeros(z.shape[1]).double(), covariance).log_prob(z)
    expected = -(0.3 * profile + 0.7 * marginal + log_abs_det.sum(1)).mean() / z.shape[1]
    objective, _ = model.loss(batch, actions=actions)
    torch.testing.assert_close(objective, expected)
    assert abs(objective - model.loss(batch)[0]) > 1e-3
    parameters = [model.prior.control, model.prior.theta_alpha, model.prior.observation]
    dense = torch.autograd.grad(expected, parameters)
    for got, wanted in zip(torch.autograd.grad(objective, parameters), dense, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_loss_sees_only_the_actions_of_its_first_frames() -> None:
    model, actions = pushed(loss_frames=3), pushes()
    changed = actions.clone()
    changed[:, 3:] = 7
    assert model.loss(clips(), actions=actions)[0] == model.loss(clips(), actions=changed)[0]


def test_forecasts_in_the_objective_are_those_of_predict_under_actions() -> None:
    """Values stay within black and white, so nothing is clipped."""
    model, actions = pushed(forecast_weight=1.0, forecast_context=3, fading_memory=0.8), pushes()
    model.decode = lambda z: 0.5 + 1e-3 * z.reshape(*z.shape[:2], *SHAPE)
    batch = clips()
    error = (model.predict(batch[:, :3], 2, actions=actions) - batch[:, 3:]).square()
    assert model.predict(batch[:, :3], 2, actions=actions).min() > 0.1
    expected = torch.zeros(()).double()
    for variance in (error.mean((2, 3, 4), keepdim=True) + 1e-5, error + 4e-4):
        expected = expected - 0.25 * ((2 * np.pi * variance).log() + 1).mean()
    torch.testing.assert_close(model.loss(batch, actions=actions)[1]["forecast"], expected)
    assert model.loss(batch)[1]["forecast"] != expected


@torch.no_grad()
def of_its_own_kind(model: Dense, actions: Tensor) -> Tensor:
    """Clips that follow the model exactly, from states drawn at random."""
    count, frames = actions.shape[:2]
    states = torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    embeddings = (states @ observability(model.prior, frames).T).unflatten(1, (frames, 16))
    return model.decode(embeddings + forced_embeddings(model, actions))


def test_clips_of_its_own_kind_under_actions_are_predicted_exactly() -> None:
    model, actions = pushed(prior_precision=0.0), pushes(2, 8)
    future = of_its_own_kind(model, actions)
    predicted = model.predict(future[:, :5], 3, actions=actions)
    torch.testing.assert_close(predicted, future[:, 5:].clamp(0, 1), rtol=0, atol=1e-7)
    assert (model.predict(future[:, :5], 3) - future[:, 5:].clamp(0, 1)).abs().max() > 1e-3


def test_missing_frames_are_ignored_under_actions() -> None:
    model, actions = pushed(prior_precision=0.0), pushes(1, 8)
    whole = of_its_own_kind(model, actions)
    observed = torch.tensor([[1, 1, 0, 1, 0, 1]], dtype=torch.bool)
    context = whole[:, :6]
    broken = torch.where(observed[:, :, None, None, None], context, torch.full_like(context, 0.77))
    predicted = model.predict(broken, 2, observed, actions)
    torch.testing.assert_close(predicted, whole[:, 6:].clamp(0, 1), rtol=0, atol=1e-6)


def test_no_actions_are_as_good_as_zeros() -> None:
    model, batch = pushed(), clips()
    torch.testing.assert_close(model.predict(batch, 2, actions=torch.zeros(3, 7, 2)), model.predict(batch, 2))
    torch.testing.assert_close(model.loss(batch, actions=torch.zeros(3, 5, 2))[0], model.loss(batch)[0])


@pytest.mark.parametrize("shape", [(3, 5, 2), (3, 8, 2), (2, 7, 2)])
def test_actions_must_be_those_of_context_and_horizon(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"actions must be \(3, 7\) by m, for context and horizon"):
        pushed().predict(clips(), 2, actions=torch.zeros(shape))


def test_actions_of_another_number_of_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"actions must be \(N, T, 2\) for this model"):
        pushed().predict(clips(), 2, actions=torch.zeros(3, 7, 3))
    with pytest.raises(ValueError, match=r"actions must be \(N, T, 0\) for this model"):
        make().loss(clips(), actions=pushes())


# --- at any time -----------------------------------------------------------------------------------------------------


def at_times(prior: LinearPrior, times: Any) -> Tensor:
    """C A^t by matrix exponentials, for real t: (T, D, n)."""
    generator = np.real(logm(prior.transition_matrix().detach().numpy()))
    return prior.observation.detach() @ torch.from_numpy(expm(np.asarray(times)[:, None, None] * generator))


def fitted_embeddings(model: Dense, z: Tensor, weights: Any, times: Any, wanted: Any) -> Tensor:
    """Posterior mean under x ~ N(0, I) at the earliest time, by a dense solver: z (N, T, D) -> (N, K, D)."""
    first = min(*times, *wanted)
    o = at_times(model.prior, [t - first for t in times]).flatten(0, 1)
    w = torch.as_tensor(weights, dtype=torch.float64).repeat_interleave(16)
    posterior = torch.linalg.inv(o.T @ (w[:, None] * o) + torch.eye(6).double()) @ o.T * w
    states = z.flatten(1) @ posterior.T
    return torch.einsum("kdn,bn->bkd", at_times(model.prior, [t - first for t in wanted]), states)


def damped(**changes: Any) -> Dense:
    """A model without eigenvalues 0 and 1, which have no logarithm or no decay."""
    return make(eigenvalue_radius=(0.7, 0.97), eigenvalue_angle=(5.0, 70.0), **changes)


def within_range(model: Any) -> Any:
    """Frames are embeddings made small about grey, so that nothing is clipped."""
    model.decode = lambda z: 0.5 + 1e-3 * z.reshape(*z.shape[:2], *SHAPE)
    return model


@pytest.mark.parametrize("wanted", [[0.0, 2.5, 3.0], [-2.0, 1.25], [7.5], [-1.0, 9.0]])
def test_trajectory_is_the_dense_posterior_mean_at_any_time(wanted: list[float]) -> None:
    model, times, weights = damped(), [0.0, 1.0, 2.5, 3.0, 4.75], [1.0, 0.3, 0.0, 0.8, 2.0]
    with torch.no_grad():
        z = model.encode(clips())[0]
        expected = model.decode(fitted_embeddings(model, z, weights, times, wanted)).clamp(0, 1)
        numbers = (torch.tensor(values, dtype=torch.float64) for values in (weights, times, wanted))
        found = model.decode(model.prior.trajectory(project(model, clips()), *numbers)).clamp(0, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    assert expected.std() > 0.01


@pytest.mark.parametrize("later", [0, 2])
def test_a_trajectory_traced_back_leaves_out_the_modes_that_are_forgotten(later: int) -> None:
    """From the first frame that has a weight to the earliest time wanted."""
    model, times = within_range(damped()), torch.arange(5).double()
    moduli = model.prior.eigenvalues().abs().detach()
    weights = torch.where(times < later, 0, 1.0)
    for back in (1.5, 6.0, 12.5, 40.0):
        wanted = torch.tensor([-back + later, 1.0]).double()
        lost = moduli**back < 0.1
        first = min(0.0, float(wanted.min()))
        o = at_times(model.prior, times - first).flatten(0, 1)
        w = weights.repeat_interleave(16)
        with torch.no_grad():
            z = model.encode(clips())[0].flatten(1)
        states = z * w @ o @ torch.linalg.inv(o.T @ (w[:, None] * o) + torch.eye(6).double())
        states = torch.where(lost.repeat_interleave(2), 0, states)
        embeddings = torch.einsum("kdn,bn->bkd", at_times(model.prior, wanted - first), states)
        with torch.no_grad():
            found = model.decode(model.prior.trajectory(project(model, clips()), weights, times, wanted)).clamp(0, 1)
        torch.testing.assert_close(found, model.decode(embeddings), rtol=0, atol=1e-9)
    assert lost.any()
    assert not lost.all()


def test_projections_of_slices_are_slices_of_projections() -> None:
    model, batch = make(), clips()
    ours, theirs = model.project(batch).from_frame(2).first(2), model.project(batch[:, 2:4])
    assert torch.equal(ours.frames, theirs.frames)
    torch.testing.assert_close(ours.embeddings, theirs.embeddings, rtol=0, atol=1e-12)


observed_frames = st.lists(st.booleans(), min_size=1, max_size=9).filter(any)


@given(observed_frames, st.floats(-3, 11))
def test_interpolation_weights_reproduce_straight_lines(observed: list[bool], wanted: float) -> None:
    weights, gap = interpolation_weights(torch.tensor(observed), wanted)
    moments = np.flatnonzero(observed)
    if not moments[0] <= wanted <= moments[-1]:
        assert not weights.any()
        assert gap == 0
        return
    assert not weights[~torch.tensor(observed)].any()
    assert weights.sum().item() == pytest.approx(1)
    assert float(weights @ torch.arange(len(observed)).double()) == pytest.approx(wanted, abs=1e-9)
    if wanted in moments:
        assert gap == 0
        assert weights[int(wanted)] == 1
    else:
        assert gap == moments[moments > wanted][0] - moments[moments < wanted][-1]


@given(st.integers(1, 3), st.floats(0.01, 0.99), st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_four_evenly_spaced_neighbours_reproduce_cubics(step: int, share: float, coefficients: list[float]) -> None:
    observed = torch.zeros(3 * step + 5, dtype=torch.bool)
    observed[1::step][:4] = True
    wanted = 1 + step + share * step
    weights, gap = interpolation_weights(observed, wanted)
    assert gap == step
    cubic = np.polynomial.Polynomial(coefficients)
    assert float(weights @ torch.from_numpy(cubic(np.arange(len(observed))))) == pytest.approx(cubic(wanted), abs=1e-7)


def test_unevenly_spaced_neighbours_are_joined_by_lines() -> None:
    weights, gap = interpolation_weights(torch.tensor([True, True, False, True, True]), 2.5)
    torch.testing.assert_close(weights, torch.tensor([0, 0.25, 0, 0.75, 0]).double())
    assert gap == 2


@pytest.mark.parametrize("wanted", [2.0, 4.3, 1.5])
@pytest.mark.parametrize("fading_memory", [1.0, 0.7])
def test_interpolation_mixes_the_frames_own_and_the_trajectory_by_the_gap(wanted: float, fading_memory: float) -> None:
    """Frame 2 is missing; the trajectory is corrected by its errors at the frames that are interpolated."""
    model = within_range(damped(fading_memory=fading_memory))
    observed = torch.tensor([True, True, False, True, True, True, True])
    batch = clips(2, 7)
    weights, correction = model.interpolate(model.project(batch), observed, wanted)
    expected_weights = {
        2.0: [0, 0.5, 0, 0.5, 0, 0, 0],  # linear: 0 and 4 are not as far away from 1 and 3 as these from each other
        1.5: [0, 0.75, 0, 0.25, 0, 0, 0],
        4.3: [0, 0, 0, -0.0595, 0.7735, 0.3315, -0.0455],  # Lagrange's cubic through 3, 4, 5, 6 at 4.3
    }[wanted]
    lagrange = torch.tensor(expected_weights, dtype=torch.float64)
    torch.testing.assert_close(weights, lagrange)
    times = np.arange(7.0)
    fading = fading_memory ** np.maximum(np.abs(times - wanted) - 1, 0) * observed.numpy()
    around = np.flatnonzero(expected_weights)
    with torch.no_grad():
        z = model.encode(batch)[0]
        fitted = model.decode(fitted_embeddings(model, z, fading, times, [wanted, *times[around]]))
    gap = 1 if wanted == 4.3 else 2
    detail = torch.einsum("k,bkchw->bchw", lagrange[around], fitted[:, 1:])
    expected = gap**4 / (gap**4 + 1.5) * (fitted[:, 0] - detail)
    torch.testing.assert_close(correction, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-6


def test_a_frame_that_was_seen_is_itself() -> None:
    model = damped()
    weights, correction = model.interpolate(model.project(clips()), torch.tensor([1, 1, 0, 1, 1]).bool(), 3.0)
    assert weights.tolist() == [0, 0, 0, 1, 0]
    assert not correction.any()


@pytest.mark.parametrize("wanted", [-2.0, -0.5, 4.5, 7.0])
def test_outside_of_the_frames_seen_is_the_trajectory_alone(wanted: float) -> None:
    model, batch = damped(fading_memory=0.8), clips()
    weights, correction = model.interpolate(model.project(batch), torch.ones(5, dtype=torch.bool), wanted)
    assert not weights.any()
    times = np.arange(5.0)
    fading = 0.8 ** np.maximum(np.abs(times - wanted) - 1, 0)
    with torch.no_grad():
        embeddings = fitted_embeddings(model, model.encode(batch)[0], fading, times, [wanted])
        expected = model.decode(embeddings)[:, 0].clamp(0, 1)
    torch.testing.assert_close(correction, expected, rtol=0, atol=1e-8)


def test_interpolation_does_not_depend_on_what_missing_frames_hold() -> None:
    model, batch = damped(), clips()
    observed = torch.tensor([True, False, False, True, True])
    changed = torch.where(observed[:, None, None, None], batch, torch.zeros(()).double())
    first, second = (model.interpolate(model.project(c), observed, 1.5)[1] for c in (batch, changed))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)
    assert (project(model, changed).values - project(model, batch).values).abs().max() > 1e-3


def test_clips_of_its_own_kind_are_interpolated_better_than_by_a_cubic() -> None:
    """The trajectory is exact but for its prior, which is outweighed here: C is large. Its share of one is 0.4."""
    model = within_range(damped())
    states = 1e-4 * torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        model.prior.observation.mul_(1e4)
        z = torch.einsum("tdn,bn->btd", at_times(model.prior, np.arange(0, 8, 0.5)), states)
    frames = model.decode(z)
    seen = Encoded(frames[:, ::2], z[:, ::2])
    weights, correction = model.interpolate(seen, torch.ones(8, dtype=torch.bool), 3.5)
    cubic = torch.einsum("t,btchw->bchw", weights, frames[:, ::2])
    torch.testing.assert_close(correction, 0.4 * (frames[:, 7] - cubic), rtol=0, atol=1e-9)
    assert (frames[:, 7] - cubic).abs().max() > 1e-6


@pytest.mark.parametrize("observed", [torch.zeros(5, dtype=torch.bool), torch.ones(4, dtype=torch.bool)])
def test_interpolation_needs_frames_that_were_seen(observed: Tensor) -> None:
    model = make()
    with pytest.raises(ValueError, match=r"observed must be \(5,\) with at least one frame"):
        model.interpolate(model.project(clips()), observed, 1.5)


def test_modes_are_forgotten_once_they_have_fallen_below_a_tenth() -> None:
    model = make(eigenvalue_radius=(0.8, 0.8), eigenvalue_angle=(0.0, 80.0))
    assert not model.forgotten(10).any()  # 0.8^10 = 0.107
    assert model.forgotten(11).all()
    assert model.forgotten(10.5).all()  # 0.096
    assert not make(eigenvalue_radius=(1.0, 1.0)).forgotten(1000).any()


# --- surprise --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("past", [0, 1, 3, 10])
def test_surprise_is_the_conditional_density_of_each_frame(past: int) -> None:
    """By conditioning the dense joint Gaussian of a window on its first frames."""
    model, batch = make(scale="batch_mean"), clips(2, 6)
    assert model.gamma is not None
    model.gamma.fill_(0.6)
    embeddings, log_abs_det = (values.detach().numpy() for values in model.encode(batch))
    found = model.surprise(batch, past)
    assert found.shape == (2, 6)
    assert found.dtype == torch.float64
    for n, t in np.ndindex(2, 6):
        before = min(t, past)
        o = observability(model.prior, before + 1).detach().numpy()
        joint = np.eye(len(o)) + o @ o.T
        seen, new = slice(0, 16 * before), slice(16 * before, None)
        gain = joint[new, seen] @ np.linalg.inv(joint[seen, seen])
        mean = gain @ embeddings[n, t - before : t].ravel()
        covariance = joint[new, new] - gain @ joint[seen, new]
        log_density = multivariate_normal(mean, covariance).logpdf(embeddings[n, t]) + log_abs_det[n, t]
        assert found[n, t].item() == pytest.approx(-log_density / 16, rel=1e-9)


def test_surprises_of_all_frames_add_up_to_the_likelihood() -> None:
    model, batch = make(), clips()
    torch.testing.assert_close(-16 * model.surprise(batch, 4).sum(1), model.log_likelihood(batch))


# --- futures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("precision", [0.3, 0.0])
def test_futures_have_mean_and_covariance_of_the_posterior_predictive(noise: float, precision: float) -> None:
    model = within_range(make(prior_precision=precision, fading_memory=0.8))
    context, count = clips(2, 6), 20_000
    with torch.no_grad():  # columns that are not orthogonal, so that the posterior is correlated
        model.prior.observation[:, 1::2] += 0.7 * model.prior.observation[:, ::2]
    drawn = model.futures(context, 2, count, seed=3, noise=noise)
    assert drawn.shape == (count, 2, 2, *SHAPE)
    z = 1e3 * (drawn.flatten(3) - 0.5)  # (count, N, horizon, D)
    weights = (0.8 ** torch.arange(5, -1, -1).double()).repeat_interleave(16)
    o = observability(model.prior, 8).detach()
    seen, future = o[: 6 * 16], o[6 * 16 :]
    posterior = torch.linalg.inv(seen.T @ (weights[:, None] * seen) + max(precision, 1e-3) * torch.eye(6).double())
    covariance = future @ posterior @ future.T + noise**2 * torch.eye(32).double()
    with torch.no_grad():
        states = (weights * model.encode(context)[0].flatten(1)) @ seen @ posterior
    scale = covariance.diagonal().max().item()
    for n in range(2):
        of_one = z[:, n].flatten(1)
        deviation = covariance.diagonal().sqrt().clamp_min(1e-9)
        assert ((of_one.mean(0) - future @ states[n]).abs() < 5.5 * deviation / count**0.5 + 1e-9).all()
        torch.testing.assert_close(torch.cov(of_one.T), covariance, rtol=0, atol=8 * scale / count**0.5)


def test_futures_are_reproducible_by_seed_and_differ() -> None:
    model, context = make(), clips()
    first = model.futures(context, 3, 4, seed=1)
    torch.manual_seed(99)
    assert torch.equal(first, model.futures(context, 3, 4, seed=1))
    assert not torch.equal(first, model.futures(context, 3, 4, seed=2))
    assert not torch.equal(first[0], first[1])
    assert first.min() >= 0
    assert first.max() <= 1


# --- modes -----------------------------------------------------------------------------------------------------------


def parts_of_modes(model: Dense, batch: Tensor) -> Tensor:
    """Embeddings of each mode's part of the fitted trajectory, by a dense observability matrix: (n/2, N, T, D)."""
    o = observability(model.prior, batch.shape[1]).detach()
    z = model.encode(batch)[0].detach().flatten(1)
    states = z @ o @ torch.linalg.inv(o.T @ o + torch.eye(6).double())
    keep = [torch.diag(torch.tensor([k // 2 == mode for k in range(6)]).double()) for mode in range(3)]
    return torch.stack([(states @ one @ o.T).unflatten(1, (-1, 16)) for one in keep])


def test_energy_of_modes_is_that_of_their_embeddings() -> None:
    model, batch = make(), clips()
    expected = parts_of_modes(model, batch).square().sum(3).mean(2).T
    torch.testing.assert_close(model.mode_energy(batch), expected, rtol=1e-8, atol=1e-10)


def test_response_of_modes_is_what_frames_would_lack() -> None:
    model, batch = make(), clips()
    parts = parts_of_modes(model, batch)
    whole = parts.sum(0)
    found = model.mode_response(batch, [2, 0])
    assert found.shape == (2, 3, 5, *SHAPE)
    with torch.no_grad():
        for response, mode in zip(found, (2, 0), strict=True):
            expected = model.decode(whole) - model.decode(whole - parts[mode])
            torch.testing.assert_close(response, expected, rtol=0, atol=1e-8)
            assert response.abs().max() > 1e-3


def test_energy_is_found_in_the_mode_that_moves() -> None:
    model = make(eigenvalue_radius=(1.0, 1.0), eigenvalue_angle=(10.0, 80.0))
    state = torch.tensor([[0, 0, 3.0, 1.0, 0, 0]]).double()
    with torch.no_grad():
        moving = model.decode(model.prior.observe(state, model.prior.powers(40)))
    energy = model.mode_energy(moving)[0]
    assert energy[1] > 100 * (energy[0] + energy[2])


def test_forecasts_are_the_predictions_after_every_window() -> None:
    model, batch = make(fading_memory=0.8, prior_precision=0.1), clips(2, 7)
    found = model.forecasts(batch, 3, 2)
    assert found.shape == (2, 5, 2, *SHAPE)
    for first in range(5):
        torch.testing.assert_close(found[:, first], model.predict(batch[:, first : first + 3], 2))

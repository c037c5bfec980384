import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linear_video.errors import InputError
from linear_video.models.checkpoint import load_checkpoint, save_checkpoint
from linear_video.models.contract import build, describe
from linear_video.models.ile import InvertibleLinearEmbedding
from linear_video.models.settings import IleSettings
from tests.models.invertible import numeric_log_abs_det, randomise

SHAPE = (1, 4, 4)
SMALL = IleSettings(state_dimension=6, blocks=1, couplings=2, hidden_channels=4, noise=0.0)


def make(shape=SHAPE, **changes):
    torch.manual_seed(0)
    model = InvertibleLinearEmbedding(shape, dataclasses.replace(SMALL, **changes))
    randomise(model.flow)
    return model.double().eval()


def clips(n=3, t=5, shape=SHAPE, seed=2):
    return torch.rand(n, t, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def observability(prior, frames):
    a, c = prior.transition_matrix(), prior.observation.double()
    return torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(frames)])


@pytest.mark.parametrize("scale", ["learned", "batch_mean"])
def test_log_likelihood_is_a_density_of_frames(scale):
    """Change of variables with a numeric Jacobian of the whole clip's map, and a dense Gaussian."""
    model = make(scale=scale)
    if model.gamma is not None:
        model.gamma.fill_(0.37)
    one = clips(1, 2)

    def embed(batch):  # (1, T·D) -> (1, T·D)
        return (model.encode(batch.reshape(1, 2, *SHAPE))[0].flatten(1),)

    o = observability(model.prior, 2)
    covariance = torch.eye(32, dtype=torch.float64) + o @ o.T
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(32).double(), covariance)
    expected = gaussian.log_prob(embed(one)[0]) + numeric_log_abs_det(embed, one.flatten())
    torch.testing.assert_close(model.log_likelihood(one), expected.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("profile_weight", [0.0, 0.3, 1.0])
def test_objective_weighs_the_two_likelihoods(profile_weight):
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


def test_forecasts_are_the_gaussian_log_density_of_what_is_predicted():
    """Least squares by a dense solver, and each predicted frame's density with the variance of its errors."""
    settings = {"forecast_weight": 0.5, "forecast_context": 3, "fading_memory": 0.8, "prior_precision": 0.1}
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
    expected = 0
    for kind, variance in variances.items():
        normal = torch.distributions.Normal(0.0, (variance + floors[kind]).sqrt())
        expected = expected + 0.5 * normal.log_prob(normal.stddev).mean()  # as far off as the variance says
    torch.testing.assert_close(parts["forecast"], expected)
    found = torch.autograd.grad(parts["forecast"], list(model.parameters()), allow_unused=True)
    dense = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    for got, wanted in zip(found, dense, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_forecasts_beyond_black_and_white_count_as_right():
    """What is clipped in a prediction is no error, as long as the truth lies at that end."""
    model, batch = make(forecast_weight=1.0, forecast_context=3), 20 * clips() - 4
    with torch.no_grad():
        states, powers = model._infer(batch[:, :3], 2, None)
        raw = model.decode(model.prior.observe(states, powers[3:]))
    assert raw.min() < 0
    assert raw.max() > 1
    batch[:, 3:] = torch.where(raw < 0, 0, torch.where(raw > 1, 1, raw))
    perfect = -0.5 * (np.log(2 * np.pi) + 1 + (np.log(1e-5) + np.log(4e-4)) / 2)
    assert model.loss(batch)[1]["forecast"].item() == pytest.approx(perfect)
    torch.testing.assert_close(model.predict(batch[:, :3], 2), batch[:, 3:])
    batch[:, 3:] = torch.where(raw < 0, 0.1, batch[:, 3:])  # a wrong sign is an error all the same
    assert model.loss(batch)[1]["forecast"].item() < perfect - 0.1


def test_clips_without_frames_to_forecast_are_refused():
    with pytest.raises(ValueError, match="clips of 5 frames leave none to forecast after forecast_context 5"):
        make(forecast_weight=1.0, forecast_context=5).loss(clips())


def test_loss_sees_only_its_first_frames():
    model, batch = make(loss_frames=3), clips()
    changed = batch.clone()
    changed[:, 3:] = 0.5
    assert model.loss(batch)[0] == model.loss(changed)[0]


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_noise_has_the_given_size_and_is_drawn_by_the_generator(kind):
    model, seen = make(noise=0.2, noise_kind=kind), []
    model.encode = lambda noisy: seen.append(noisy) or InvertibleLinearEmbedding.encode(model, noisy)
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


def test_clips_of_its_own_kind_are_predicted_exactly():
    model = make(prior_precision=0.0)
    states = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        future = model.decode(model.prior.observe(states, model.prior.powers(8)))
    predicted = model.predict(future[:, :5], 3)
    torch.testing.assert_close(predicted, future[:, 5:].clamp(0, 1), rtol=0, atol=1e-7)


def test_missing_frames_are_ignored_and_filled_in():
    model = make(prior_precision=0.0)
    states = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        whole = model.decode(model.prior.observe(states, model.prior.powers(6)))
    observed = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 0]], dtype=torch.bool)
    broken = torch.where(observed[:, :, None, None, None], whole, torch.full_like(whole, 0.77))
    torch.testing.assert_close(model.reconstruct(broken, observed=observed), whole.clamp(0, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.predict(broken, 2, observed), model.predict(whole, 2), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="at least one observed"):
        model.predict(broken, 2, torch.zeros_like(observed))


def test_likelihood_of_clips_with_missing_frames_leaves_them_out():
    model, batch = make(), clips()
    observed = torch.tensor([True, True, False, True, False]).expand(3, 5)
    changed = torch.where(observed[:, :, None, None, None], batch, torch.zeros_like(batch))
    torch.testing.assert_close(model.log_likelihood(batch, observed), model.log_likelihood(changed, observed))
    assert (model.log_likelihood(batch, observed) != model.log_likelihood(batch)).all()


def test_fading_memory_is_weighted_least_squares():
    model, context = make(prior_precision=0.0, fading_memory=0.6), clips(1)
    weights = 0.6 ** torch.arange(4, -1, -1).double().repeat_interleave(16)
    root = weights.sqrt()[:, None]
    with torch.no_grad():
        o = observability(model.prior, 6)
        z = model.encode(context)[0].flatten(1).T
        state = torch.linalg.lstsq(root * o[: 5 * 16], root * z).solution
        expected = model.decode((o[5 * 16 :] @ state).T[:, None]).clamp(0, 1)
    torch.testing.assert_close(model.predict(context, 1), expected, rtol=0, atol=1e-7)


def test_sampling_is_reproducible_by_seed():
    model = make()
    first = model.sample(2, 4, noise=1.0, seed=1)
    assert first.shape == (2, 4, *SHAPE)
    assert torch.equal(first, model.sample(2, 4, noise=1.0, seed=1))
    assert not torch.equal(first, model.sample(2, 4, noise=1.0, seed=2))


def test_spectrum_gives_periods_and_half_lives():
    model = make(eigenvalue_radius=(0.5, 0.5), eigenvalue_angle=(0.0, 90.0))
    spectrum = model.spectrum()
    torch.testing.assert_close(spectrum.half_life, torch.ones(3).double())
    assert torch.isinf(spectrum.period[0])
    torch.testing.assert_close(spectrum.period[1:], torch.tensor([8.0, 4.0]).double())


def test_rgb_and_batch_mean_scale_train():
    model = InvertibleLinearEmbedding((3, 4, 4), dataclasses.replace(SMALL, scale="batch_mean")).train()
    batch = clips(shape=(3, 4, 4)).float()
    before = model.gamma.clone()
    objective, _ = model.loss(batch, torch.Generator().manual_seed(0))
    objective.backward()
    assert objective.isfinite()
    assert model.gamma != before
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_batch_mean_scale_adds_its_log_to_the_loss():
    """Dividing by gamma changes the volume by gamma^-D (paper 2.6, with its signs put right)."""
    model, batch = make(scale="batch_mean").train(), clips()
    embeddings, log_abs_det = model.encode(batch)
    raw, raw_log_abs_det = model.flow(batch.flatten(0, 1))
    gamma = raw.abs().mean()
    torch.testing.assert_close(embeddings.flatten(0, 1), raw / gamma)
    torch.testing.assert_close(log_abs_det.flatten(), raw_log_abs_det - 16 * gamma.log())
    torch.testing.assert_close(embeddings.abs().mean(), torch.ones(()).double())


@given(st.integers(0, 2**16))
def test_predictions_are_frames(seed):
    predicted = make().predict(5 * clips(1, seed=seed) - 2, 4)
    assert predicted.shape == (1, 4, *SHAPE)
    assert predicted.min() >= 0
    assert predicted.max() <= 1


def test_checkpoint_round_trip(tmp_path):
    model = InvertibleLinearEmbedding(SHAPE, dataclasses.replace(SMALL, scale="batch_mean"))
    config = {**describe("ile", SHAPE, model), "training": {"steps": 3}}
    save_checkpoint(tmp_path / "new", model, config)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_checkpoint(tmp_path / "new")
    context = clips().float()
    assert torch.equal(loaded.predict(context, 2), model.eval().predict(context, 2))


def test_damaged_checkpoints_are_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing.*train one first"):
        load_checkpoint(tmp_path)
    model = InvertibleLinearEmbedding(SHAPE, SMALL)
    save_checkpoint(tmp_path, model, describe("ile", SHAPE, model))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_checkpoint(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="no valid JSON"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="must name model"):
        load_checkpoint(tmp_path)


def test_checkpoint_of_another_shape_is_named(tmp_path):
    model = InvertibleLinearEmbedding(SHAPE, SMALL)
    save_checkpoint(tmp_path, model, describe("ile", (1, 8, 8), model))
    with pytest.raises(InputError, match="another shape"):
        load_checkpoint(tmp_path)


def test_unknown_models_and_settings_are_named():
    with pytest.raises(InputError, match="there is no model 'iel'; choose one of ile"):
        build("iel", SHAPE, {})
    with pytest.raises(InputError, match=r"do not fit the model ile.*coupling"):
        build("ile", SHAPE, {"coupling": 3})


def test_last_frame_repeats_the_last_frame():
    context = clips().float()
    predicted = build("last_frame", SHAPE, {}).predict(context, 3)
    assert torch.equal(predicted, torch.stack([context[:, -1]] * 3, dim=1))

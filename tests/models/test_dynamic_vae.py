import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from linear_video.common.errors import InputError
from linear_video.evaluation.synthesis import score_rotation
from linear_video.models.checkpoint import load_checkpoint, save_checkpoint
from linear_video.models.dynamic_vae import model as module
from linear_video.models.dynamic_vae.model import DynamicVae
from linear_video.models.dynamic_vae.settings import DynamicVaeSettings
from linear_video.models.registry import build, describe
from linear_video.models.spectrum import spectrum_of

STATE = 4
SHAPE = (1, 9, 8)
TINY = (1, 1, 1)
SMALL = DynamicVaeSettings(
    state_dimension=STATE,
    filter_size=3,
    channels=8,
    channel_factor=2,
    hidden_units=0,
    observation_variance=0.3,
    transition="soft",
    stationarity_weight=7.0,
    greatest_lag=1,
    lag_doubling=1,
    later_frames=1,
    first_angles=(0.0, 180.0),
    first_radius=0.9,
    turning_share=0.5,
    linear_part=False,
)
KINDS = ["soft", "hard", "two_stage"]


def make(shape: tuple[int, int, int] = SHAPE, **changes: Any) -> DynamicVae:
    torch.manual_seed(0)
    return DynamicVae(shape, dataclasses.replace(SMALL, **changes)).eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(n: int = 3, t: int = 5, shape: tuple[int, ...] = SHAPE, seed: int = 2) -> Tensor:
    return torch.rand(n, t, *shape, generator=seeded(seed))


def root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    symmetric: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return symmetric


def stationary(kind: str) -> DynamicVae:
    """A model in double precision with a transition of no particular structure and A Aᵀ + B Bᵀ = I."""
    model = make(transition=kind).double()
    free = torch.randn(STATE, STATE, generator=seeded(5), dtype=torch.float64)
    with torch.no_grad():
        model.transition.copy_(0.8 * free / torch.linalg.matrix_norm(free, 2))
        if model.transition_noise is not None:
            model.transition_noise.copy_(root(torch.eye(STATE).double() - model.transition @ model.transition.T))
    return model


class PixelEncoder(nn.Module):
    """Frames (1, 1, n) are their own states: mean (first frame, second frame), and a constant log-variance."""

    def __init__(self, scale: float = 1.0, log_variance: float = 0.0) -> None:
        super().__init__()
        self.scale, self.log_variance = scale, log_variance

    def forward(self, stacked: Tensor) -> Tensor:
        mean = self.scale * stacked.flatten(1)
        return torch.cat((mean, torch.full_like(mean, self.log_variance)), dim=1)


class PixelDecoder(nn.Module):
    """The inverse of PixelEncoder, for states within ±1 / (2 scale) after a shift to grey."""

    def __init__(self, scale: float = 1.0, grey: float = 0.0) -> None:
        super().__init__()
        self.scale, self.grey = scale, grey

    def forward(self, states: Tensor) -> Tensor:
        return (self.scale * states + self.grey)[:, None, None]


def exchange(model: Any, encoder: nn.Module, decoder: nn.Module) -> None:
    """Give a model other networks, of frames (1, 1, n)."""
    model.encoder, model.decoder, model.frame_shape = encoder, decoder, (1, 1, STATE)


# --- the dynamic layer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_dynamic_layer_gives_two_states_the_joint_covariance_of_a_stationary_process(kind: str) -> None:
    model = stationary(kind)
    with torch.no_grad():
        unit = torch.eye(2 * STATE).double()[:, None]
        F = model.dynamic_layer(unit[:, 0, :STATE], unit[..., STATE:]).flatten(1).T  # a unit vector gives a column
        A = model.system()[0]
    identity = torch.eye(STATE).double()
    joint = torch.cat((torch.cat((identity, A.T), 1), torch.cat((A, identity), 1)))  # equation 32
    torch.testing.assert_close(F @ F.T, joint, rtol=0, atol=1e-12)
    assert A.abs().max() > 0.1
    torch.testing.assert_close(A, model.transition.detach())


@pytest.mark.parametrize("lag", [2, 5])
def test_states_some_frames_apart_have_a_power_of_a_as_covariance(lag: int) -> None:
    model, samples = stationary("hard"), 200_000
    first, innovation = torch.randn(2, samples, STATE, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        pairs = model.dynamic_layer(first, innovation[:, None], [lag], seeded(1))
        power = torch.linalg.matrix_power(model.system()[0], lag)
    found = torch.cov(pairs.flatten(1).T)
    torch.testing.assert_close(found[:STATE, :STATE], torch.eye(STATE).double(), rtol=0, atol=0.015)
    torch.testing.assert_close(found[STATE:, STATE:], torch.eye(STATE).double(), rtol=0, atol=0.015)
    torch.testing.assert_close(found[STATE:, :STATE], power, rtol=0, atol=0.015)
    assert power.abs().max() > 0.05


def test_innovations_are_those_of_the_last_step_to_each_state() -> None:
    model = stationary("soft")
    first, drawn = torch.zeros(1, STATE).double(), torch.randn(1, 2, STATE, generator=seeded(), dtype=torch.float64)
    change = torch.arange(1.0, STATE + 1).double()
    changed = drawn.clone()
    changed[:, 0] += change
    with torch.no_grad():
        states, others = (model.dynamic_layer(first, given, [3, 5], seeded(1)) for given in (drawn, changed))
        A, B = model.system()
    expected = torch.stack((torch.zeros(STATE).double(), B @ change, A @ A @ B @ change))
    torch.testing.assert_close((others - states)[0], expected)


# --- the transition ------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float32, (STATE, STATE), elements=st.floats(-(2**20), 2**20, width=32)))
@hypothesis_settings(max_examples=60)
def test_hard_form_is_stable_and_stationary_whatever_its_parameters(free: NDArray[np.float32]) -> None:
    model = make(transition="hard")
    with torch.no_grad():
        model.transition.copy_(torch.from_numpy(free))
        A, B = model.system()
        assert np.linalg.norm(A.double().numpy(), 2) < 1
        assert model.stationarity_error() < 1e-10
    np.testing.assert_allclose((A @ A.T + B @ B.T).numpy(), np.eye(STATE), atol=1e-5)


def test_hard_form_keeps_the_direction_of_its_parameters() -> None:
    free = torch.randn(STATE, STATE, generator=seeded())
    found = []
    for size in (0.5, 3.0, 300.0):
        model = make(transition="hard")
        with torch.no_grad():
            model.transition.copy_(size * free / torch.linalg.matrix_norm(free, 2))
            found.append(model.system()[0])
    torch.testing.assert_close(found[0], 0.5 * free / torch.linalg.matrix_norm(free, 2))
    torch.testing.assert_close(found[1], 2 * found[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[2], found[1])


@pytest.mark.parametrize("size", [0.7, 2.5])
def test_gradient_through_the_hard_form_is_the_numeric_one(size: float) -> None:
    model = make(transition="hard").double()
    free = torch.randn(STATE, STATE, generator=seeded(3), dtype=torch.float64)
    free *= size / torch.linalg.matrix_norm(free, 2)
    weights = torch.randn(2, STATE, STATE, generator=seeded(4), dtype=torch.float64)

    def value(parameters: Tensor) -> Tensor:
        model.transition.data.copy_(parameters)
        A, B = model.system()
        return (weights[0] * A + weights[1] * B).sum()

    value(free).backward()
    numeric, step = torch.zeros_like(free), 1e-6
    for i, j in np.ndindex(STATE, STATE):
        moved = torch.zeros_like(free)
        moved[i, j] = step
        numeric[i, j] = (value(free + moved) - value(free - moved)).detach() / (2 * step)
    torch.testing.assert_close(model.transition.grad, numeric, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("angles", [(0.0, 180.0), (0.0, 0.0), (10.0, 40.0)])
@pytest.mark.parametrize("radius", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_states_are_stationary_before_training(angles: tuple[float, float], radius: float, kind: str) -> None:
    model = make(transition=kind, first_angles=angles, first_radius=radius)
    assert model.stationarity_error().item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(("state", "share", "turning"), [(8, 0.5, 4), (8, 1.0, 8), (8, 0.01, 2), (2, 1.0, 2)])
def test_spread_modes_turn_by_different_angles_and_the_others_forget(state: int, share: float, turning: int) -> None:
    model = make(state_dimension=state, turning_share=share, first_radius=0.8)
    values = np.linalg.eigvals(model.transition.detach().double().numpy())
    moduli = np.sort(np.abs(values))
    np.testing.assert_allclose(moduli, [0.0] * (state - turning) + [0.8] * turning, atol=1e-6)
    angles = np.sort(np.angle(values[(np.abs(values) > 0.1) & (values.imag > 0)]))
    assert len(angles) == turning // 2
    np.testing.assert_allclose(angles, np.pi * np.arange(1, len(angles) + 1) / (len(angles) + 1), atol=1e-6)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize(("length", "share", "angles"), [(3, 1, [120] * 3), (3, 0.5, [120] * 2), (4, 1, [90, 90, 180])])
def test_modes_of_a_cycle_of_pictures_turn_by_its_angles(
    kind: str, length: int, share: float, angles: list[int]
) -> None:
    """As many as the share of the state holds, so that some come twice. The rest decays at once."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 200, (length, *SHAPE))
    cycle = pictures[(np.arange(60)[:, None] + np.arange(25)) % length] + random.integers(0, 50, (60, 25, *SHAPE))
    model = make(transition=kind, state_dimension=6, angles_from_clips=True, turning_share=share)
    model.initialise(cycle.astype(np.uint8))
    values = np.linalg.eigvals(model.system()[0].detach().double().numpy())
    assert np.sum(np.abs(values) < 1e-6) == 6 - 2 * len(angles)
    values = values[np.abs(values) > 1e-6]
    np.testing.assert_allclose(np.abs(values), 0.9999, atol=1e-4)
    np.testing.assert_allclose(np.sort(np.degrees(np.abs(np.angle(values))))[::2], angles, atol=1)
    assert model.stationarity_error().item() == pytest.approx(0, abs=1e-9)


def test_clips_without_lasting_modes_leave_the_first_angles_as_they_are() -> None:
    model, noise = make(angles_from_clips=True), np.random.default_rng(0).integers(0, 256, (60, 25, *SHAPE))
    before = model.transition.clone()
    model.initialise(noise.astype(np.uint8))
    assert torch.equal(model.transition, before)


def test_equal_modes_do_not_turn() -> None:
    A, B = make(first_angles=(0.0, 0.0), first_radius=0.6, turning_share=1.0).system()
    torch.testing.assert_close(A, 0.6 * torch.eye(STATE))
    torch.testing.assert_close(B, 0.8 * torch.eye(STATE))


# --- the objective -------------------------------------------------------------------------------------------------


def pairs_of(batch: Tensor) -> list[Tensor]:
    return [batch[n : n + 1, t : t + 2] for n in range(len(batch)) for t in range(batch.shape[1] - 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_objective_are_those_of_the_paper(kind: str) -> None:
    model, batch = make(transition=kind), clips()
    if kind == "soft":
        with torch.no_grad():
            model.transition.mul_(1.1)  # not stationary
    objective, parts = model.loss(batch)
    A, B = model.system()
    kl, error = [], []
    for pair in pairs_of(batch):
        mean, log_variance = model.encode(pair)
        posterior = torch.distributions.Normal(mean, log_variance.exp().sqrt())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        kl.append(torch.distributions.kl_divergence(posterior, prior).sum().item())
        h, v = mean[0, :STATE], mean[0, STATE:]
        shown = model.decoder(torch.stack((h, A @ h + B @ v)))
        error.append(float(np.sum((shown - pair[0]).detach().double().numpy() ** 2)))
    stationarity = np.sum((A @ A.T + B @ B.T - torch.eye(STATE)).detach().numpy() ** 2)
    expected = {
        "kl": np.mean(kl),
        "reconstruction": np.mean(error) / (2 * 0.3),
        "stationarity": stationarity,
    }
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-4, abs=1e-9)
    weighted = expected["kl"] + expected["reconstruction"] + 7 * expected["stationarity"]
    assert objective.item() == pytest.approx(weighted, rel=1e-4)
    assert (stationarity > 0.01) == (kind == "soft")


def test_objective_of_several_later_frames_has_the_innovation_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the lags 1, 2 and 4, where the innovation of step 3 is drawn from the prior: here from one without noise."""
    model, batch = make(), clips(2, 7)
    monkeypatch.setattr(model, "_draw_lags", lambda limit, generator: [1, 2, 4])
    monkeypatch.setattr(Tensor, "normal_", lambda self, generator=None: self.zero_())
    _, parts = model.loss(batch, seeded())
    A, B = model.system()
    kl, error = [], []
    for clip in batch:
        means, log_variances = model.encode(torch.stack((clip[:-1], clip[1:]), 1))
        prior = torch.distributions.Normal(torch.zeros(STATE), torch.ones(STATE))
        for t in range(7 - 4):
            state, place = means[t, :STATE], slice(0, STATE)
            states, used = [state], [(t, place)]
            for step in range(4):
                state = A @ state
                if step != 2:
                    place = slice(STATE, 2 * STATE)
                    state = state + B @ means[t + step, place]
                    states.append(state)
                    used.append((t + step, place))
            truth = clip[[t, t + 1, t + 2, t + 4]]
            error.append((model.decode(torch.stack(states)) - truth).square().sum().item())
            posteriors = [torch.distributions.Normal(means[n, k], (log_variances[n, k] / 2).exp()) for n, k in used]
            kl.append(sum(torch.distributions.kl_divergence(one, prior).sum().item() for one in posteriors))
    assert parts["reconstruction"].item() == pytest.approx(np.mean(error) / (2 * 0.3), rel=1e-4)
    assert parts["kl"].item() == pytest.approx(np.mean(kl), rel=1e-4)


def test_latent_variables_are_drawn_with_the_encoders_variance() -> None:
    """Frames are states: with mean 0 and variance s the expected error is ||x||² + s tr(F Fᵀ) = ||x||² + 2 n s."""
    model = stationary("soft").float()
    exchange(model, PixelEncoder(scale=0.0, log_variance=np.log(0.2)), PixelDecoder())
    batch = torch.full((4000, 6, 1, 1, STATE), 0.5)
    _, parts = model.loss(batch, seeded())
    expected = (2 * STATE * 0.25 + 0.2 * 2 * STATE) / (2 * 0.3)
    assert parts["reconstruction"].item() == pytest.approx(expected, rel=0.02)


def test_loss_is_reproducible_by_its_generator() -> None:
    model, batch = make(), clips()
    losses = [model.loss(batch, seeded(seed))[0].item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert model.loss(batch)[0].item() == model.loss(batch)[0].item()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    model = make(transition=kind).train()
    model.loss(clips(), seeded())[0].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert ("transition" in gradients, "transition_noise" in gradients) == (kind != "two_stage", kind == "soft")
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("angles", [(0.0, 180.0), (0.0, 0.0), (10.0, 40.0)])
@pytest.mark.parametrize("radius", [0.0, 0.9])
def test_gradient_of_the_hard_form_is_finite_at_the_start(angles: tuple[float, float], radius: float) -> None:
    model = make(transition="hard", first_angles=angles, first_radius=radius)
    model.loss(clips(), seeded())[0].backward()
    assert model.transition.grad is not None
    assert model.transition.grad.isfinite().all()


def test_descent_lowers_the_objective() -> None:
    model = make(transition="hard", observation_variance=0.01)
    batch = torch.linspace(0.2, 0.9, 4)[:, None, None, None, None].expand(4, 4, *SHAPE)  # a grey of each clip's own
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    before = model.loss(batch)[0].item()
    for _ in range(50):
        optimizer.zero_grad()
        model.loss(batch, seeded())[0].backward()
        optimizer.step()
    assert model.loss(batch)[0].item() < 0.8 * before


# --- the lag -------------------------------------------------------------------------------------------------------


def lags_of(model: DynamicVae, batch: Tensor, steps: int, generator: torch.Generator | None) -> list[int]:
    """How far apart the frames of the pairs are at each step, read off the number of decoded states.

    Frame t is everywhere t, and the encoder sees each two neighbours once.
    """
    lags: list[int] = []

    def check(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert (inputs[0][:, 1] - inputs[0][:, 0]).unique().tolist() == [1]
        assert len(inputs[0]) == len(batch) * (batch.shape[1] - 1)

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        length, rest = divmod(len(inputs[0]), 2 * len(batch))
        assert rest == 0
        lags.append(batch.shape[1] - length)

    hooks = model.encoder.register_forward_pre_hook(check), model.decoder.register_forward_pre_hook(note)
    with torch.no_grad():
        for _ in range(steps):
            model.loss(batch, generator)
    for hook in hooks:
        hook.remove()
    return lags


def numbered(length: int) -> Tensor:
    return torch.arange(float(length))[None, :, None, None, None].expand(2, length, *TINY)


@pytest.mark.parametrize("later", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_some_steps_later_is_compared_with_the_frame_as_many_steps_later(reverse: bool, later: int) -> None:
    """Frames are states, and the next is A times the last: without noise nothing is left over, in this order."""
    model = stationary("soft").train()
    model.settings = dataclasses.replace(SMALL, greatest_lag=4, later_frames=later)
    exchange(model, PixelEncoder(log_variance=-60.0), PixelDecoder())
    assert model.transition_noise is not None
    with torch.no_grad():
        model.transition_noise.zero_()
        frames = [torch.rand(3, STATE, generator=seeded(3), dtype=torch.float64)]
        for _ in range(8):
            frames.append(frames[-1] @ model.transition.T)
        batch = torch.stack(frames[::-1] if reverse else frames, 1)[:, :, None, None]
        drawn = [model._draw_lags(8, seeded(n)) for n in range(30)]
        errors = [model.loss(batch, seeded(n))[1]["reconstruction"].item() for n in range(30)]
    assert {lag for lags in drawn for lag in lags} == {1, 2, 3, 4}
    assert max(map(len, drawn)) == later
    assert (max(errors) < 1e-12) != reverse


@pytest.mark.parametrize(("greatest_lag", "length", "limit"), [(5, 20, 5), (50, 4, 3), (1, 20, 1), (100, 2, 1)])
def test_lag_is_never_above_its_limits_and_reaches_them(greatest_lag: int, length: int, limit: int) -> None:
    model = make(TINY, greatest_lag=greatest_lag, lag_doubling=1).train()
    lags = lags_of(model, numbered(length), 150, seeded())
    assert set(lags) == set(range(1, limit + 1))


def test_lag_may_double_every_so_many_training_steps() -> None:
    model = make(TINY, greatest_lag=100, lag_doubling=80).train()
    lags = lags_of(model, numbered(12), 320, seeded())
    for stage in range(4):
        allowed = min(2**stage, 11)
        assert set(lags[80 * stage : 80 * (stage + 1)]) == set(range(1, allowed + 1))


def test_lag_is_as_often_one_as_two_or_three_or_four_to_seven() -> None:
    model = make(greatest_lag=7).train()
    model.steps_seen.fill_(1000)
    lags = np.array([model._draw_lags(100, generator)[0] for generator in [seeded()] for _ in range(3000)])
    shares = [np.mean((lags >= least) & (lags <= greatest)) for least, greatest in ((1, 1), (2, 3), (4, 7))]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.04)


def test_validation_has_far_pairs_from_the_start() -> None:
    model = make(TINY, greatest_lag=5, lag_doubling=1000)
    assert set(lags_of(model, numbered(10), 150, seeded())) == set(range(1, 6))
    assert set(lags_of(model.train(), numbered(10), 150, seeded())) == {1}


def test_only_training_steps_count_and_the_lag_is_one_without_a_generator() -> None:
    model, batch = make(TINY, greatest_lag=8), numbered(10)
    model.steps_seen.fill_(500)
    assert set(lags_of(model, batch, 30, None)) == {1}
    lags_of(model, batch, 30, seeded())
    assert set(lags_of(model.train(), batch, 30, None)) == {1}
    assert model.steps_seen == 500
    lags_of(model, batch, 3, seeded())
    assert model.steps_seen == 503


@pytest.mark.parametrize("lag", [1, 4])
def test_at_first_innovations_are_drawn_and_only_then_encoded(lag: int) -> None:
    """While they are drawn, the loss does not depend on what the encoder says of them, and they cost nothing."""
    model, batch = make(greatest_lag=lag, later_frames=2, innovations_from=0.5).train(), clips()
    last = model.encoder[-1]
    assert isinstance(last, nn.Linear)
    of_innovation = torch.arange(4 * STATE) // STATE % 2 == 1  # mean of h, mean of v, log-variance of h, that of v
    gradients = []
    for done in (0.0, 0.2, 0.4, 0.5, 0.9):
        model.at_step(done)
        model.zero_grad()
        model.loss(batch, seeded())[0].backward()
        assert last.bias.grad is not None
        gradients.append((last.bias.grad[of_innovation].abs().max(), last.bias.grad[~of_innovation].abs().min()))
    of_innovations, of_states = (torch.stack(values) for values in zip(*gradients, strict=True))
    assert (of_innovations == 0).tolist() == [True, True, True, False, False]
    assert (of_states > 0).all()


def test_the_weight_of_the_divergence_grows_to_one_in_training_and_is_one_in_validation() -> None:
    model = make(kl_warmup=0.4)
    weights = []
    for done, training in ((0.0, False), (0.0, True), (0.1, True), (0.3, True), (0.4, True), (0.9, True)):
        model.at_step(done)
        objective, parts = model.train(training).loss(clips(), seeded())
        rest = objective - parts["reconstruction"] - 7 * parts["stationarity"]
        weights.append((rest / parts["kl"]).item())
    assert weights == pytest.approx([1, 0, 0.25, 0.75, 1, 1], abs=1e-3)


def test_innovations_are_encoded_from_the_start_in_validation_and_in_two_stages() -> None:
    for kind, training in (("soft", False), ("two_stage", True)):
        model = make(transition=kind, innovations_from=0.5).train(training)
        model.at_step(0.0)
        plain = make(transition=kind).train(training)
        assert torch.equal(model.loss(clips(), seeded())[0], plain.loss(clips(), seeded())[0])


# --- shapes and mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        *((channels, side, side) for side in (28, 32, 48) for channels in (1, 3)),
        (1, 28, 50),
        (3, 17, 9),
        (1, 5, 3),
    ],
)
@pytest.mark.parametrize("hidden", [0, 6])
def test_frames_of_any_size_come_out_as_they_went_in(shape: tuple[int, int, int], hidden: int) -> None:
    model, batch = make(shape, hidden_units=hidden, filter_size=5), clips(2, 4, shape)
    objective, parts = model.loss(batch)
    assert objective.shape == ()
    assert objective.isfinite()
    assert all(part.shape == () for part in parts.values())
    for frames in (model.predict(batch, 4), model.synthesise(batch, 4)):
        assert frames.shape == (2, 4, *shape)
        assert frames.min() >= 0
        assert frames.max() <= 1


@pytest.mark.parametrize("call", ["loss", "predict", "synthesise"])
@pytest.mark.parametrize("shape", [(3, 5, 3, 9, 8), (3, 5, 1, 8, 9), (3, 1, 1, 9, 8), (5, 1, 9, 8)])
def test_clips_of_another_shape_are_refused(call: str, shape: tuple[int, ...]) -> None:
    model, batch = make(), torch.rand(shape, generator=seeded())
    calls: dict[str, Callable[[Tensor], object]] = {
        "loss": model.loss,
        "predict": lambda x: model.predict(x, 2),
        "synthesise": lambda x: model.synthesise(x, 2),
    }
    known = [
        r"pairs must be \(N, 2, 1, 9, 8\)",
        "clips need at least 2 frames, not 1",
        "context has 1 frames, but .* 2",
    ]
    with pytest.raises(ValueError, match="|".join(known)):
        calls[call](batch)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state_dimension": 0},
        {"state_dimension": 3},
        {"channels": 0},
        {"channel_factor": 0},
        {"greatest_lag": 0},
        {"lag_doubling": 0},
        {"later_frames": 0},
        {"later_frames": 32},
        {"filter_size": 4},
        {"filter_size": -1},
        {"hidden_units": -1},
        {"observation_variance": 0.0},
        {"observation_variance": float("inf")},
        {"observation_variance": float("nan")},
        {"stationarity_weight": -1.0},
        {"stationarity_weight": float("nan")},
        {"first_radius": 1.0},
        {"first_radius": -0.1},
        {"turning_share": 0.0},
        {"turning_share": 1.1},
        {"transition": "stable"},
        {"first_angles": (40.0, 10.0)},
        {"first_angles": (0.0, 181.0)},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(SMALL, **wrong)
    with pytest.raises(InputError, match=name):
        build("dynamic_vae", SHAPE, dataclasses.asdict(SMALL) | wrong)


# --- prediction and synthesis --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_prediction_follows_powers_of_a_from_the_last_pair(kind: str) -> None:
    model, context = stationary(kind), clips().double()
    frames = model.predict(context, 3)
    A, B = (matrix.detach().numpy() for matrix in model.system())
    for n in range(len(context)):
        mean = model.encode(context[n : n + 1, -2:])[0].detach().numpy()[0]
        state = A @ mean[:STATE] + B @ mean[STATE:]
        for k in range(3):
            ahead = torch.from_numpy(np.linalg.matrix_power(A, k + 1) @ state)
            expected = model.decoder(ahead[None])[0].detach().clamp(0, 1)
            torch.testing.assert_close(frames[n, k], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(model.predict(context[:, -2:], 3), frames)


def test_synthesis_is_reproducible_by_seed() -> None:
    model, batch = make(), clips()
    first = model.synthesise(batch, 5, seed=1)
    torch.manual_seed(99)
    assert torch.equal(first, model.synthesise(batch, 5, seed=1))
    other = model.synthesise(batch, 5, seed=2)
    assert torch.equal(first[:, 0], other[:, 0])
    assert not torch.equal(first[:, 1], other[:, 1])


def test_synthesis_without_noise_follows_powers_of_a_from_the_first_pair() -> None:
    model, batch = stationary("hard"), clips().double()
    frames = model.synthesise(batch, 4, seed=1, noise_scale=0.0)
    assert torch.equal(frames, model.synthesise(batch, 4, seed=2, noise_scale=0.0))
    A = model.system()[0].detach()
    start = model.encode(batch[:, :2])[0].detach()[:, :STATE]
    for t in range(4):
        expected = model.decoder(start @ torch.linalg.matrix_power(A, t).T).detach().clamp(0, 1)
        torch.testing.assert_close(frames[:, t], expected, rtol=0, atol=1e-10)
    changed = batch.clone()
    changed[:, 2:] = 0
    assert torch.equal(frames, model.synthesise(changed, 4, noise_scale=0.0))


def test_states_of_endless_synthesis_stay_standard_normal() -> None:
    model = stationary("hard")
    exchange(model, PixelEncoder(), PixelDecoder(0.05, 0.5))  # frames tell states within ±10
    frames = model.synthesise(torch.zeros(400, 2, 1, 1, STATE).double(), 250)
    states = ((frames - 0.5) / 0.05).flatten(2)
    settled = states[:, 50:].flatten(0, 1)
    assert np.linalg.norm(np.cov(settled.numpy().T) - np.eye(STATE), 2) < 0.1
    assert settled.mean(0).abs().max() < 0.05
    step = (states[:, 51:] - states[:, 50:-1] @ model.system()[0].detach().T).flatten(0, 1)
    B = model.system()[1].detach().numpy()
    np.testing.assert_allclose(np.cov(step.numpy().T), B @ B.T, atol=0.05)


def test_scale_of_the_noise_scales_the_departure_from_the_mean() -> None:
    model = stationary("soft")
    exchange(model, PixelEncoder(), PixelDecoder(0.02, 0.5))
    start = clips(3, 2, (1, 1, STATE)).double()
    calm, half, full = (model.synthesise(start, 6, seed=3, noise_scale=scale) for scale in (0.0, 0.5, 1.0))
    torch.testing.assert_close(2 * (half - calm), full - calm)
    assert (full - calm)[:, 1:].abs().max() > 0.01


def test_the_long_run_covariance_is_that_of_long_runs() -> None:
    model = make(transition="soft")
    with torch.no_grad():
        model.transition.copy_(0.8 * torch.linalg.qr(torch.randn(STATE, STATE, generator=seeded(3)))[0])
        assert model.transition_noise is not None
        model.transition_noise.copy_(torch.randn(STATE, STATE, generator=seeded(4)))
        A, B = model.system()
        state, generator = torch.zeros(100_000, STATE), seeded(5)
        for _ in range(60):
            state = state @ A.T + torch.randn(state.shape, generator=generator) @ B.T
    np.testing.assert_allclose(model.long_run_covariance(), torch.cov(state.T), atol=0.3, rtol=0.03)


# --- two stages ----------------------------------------------------------------------------------------------------


class MixingEncoder(nn.Module):
    """Means are a fixed linear map of the stacked frames (1, 1, n); later frames reach further."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.randn(2 * STATE, 2 * STATE, generator=seeded(8))
        self.mix[STATE:] *= 0.3
        self.mix[STATE] *= 20

    def forward(self, stacked: Tensor) -> Tensor:
        mean = stacked.flatten(1) @ self.mix.T
        return torch.cat((mean, torch.zeros_like(mean)), dim=1)


def two_stage(encoder: nn.Module) -> DynamicVae:
    model = make((1, 1, STATE), transition="two_stage")
    exchange(model, encoder, PixelDecoder())
    return model


def test_second_stage_is_least_squares_between_encoded_states_with_clipped_singular_values() -> None:
    model = two_stage(MixingEncoder())
    frames = np.random.default_rng(0).integers(0, 256, (150, 4, 1, 1, STATE), dtype=np.uint8)  # several pieces
    model.finish(frames)
    pairs = torch.cat(pairs_of(torch.from_numpy(frames).float() / 255))
    mean = model.encode(pairs)[0].double().numpy()
    fitted = np.linalg.lstsq(mean[:, :STATE], mean[:, STATE:], rcond=None)[0].T
    left, values, right = np.linalg.svd(fitted)
    assert values[0] > 1.01
    assert values[-1] < 0.99
    A, B = (matrix.double().numpy() for matrix in model.system())
    np.testing.assert_allclose(A, left @ np.diag(np.minimum(values, 0.9999)) @ right, atol=1e-5)
    np.testing.assert_allclose(A @ A.T + B @ B.T, np.eye(STATE), atol=1e-5)
    assert model.stationarity_error() < 1e-10


def test_frames_are_independent_before_the_second_stage() -> None:
    A, B = make(transition="two_stage").system()
    assert torch.equal(A, torch.zeros(STATE, STATE))
    assert torch.equal(B, torch.eye(STATE))


def test_the_hard_form_is_left_as_it_was_learned() -> None:
    model = make(transition="hard")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.finish(np.zeros((3, 4, *SHAPE), np.uint8))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_what_the_penalty_leaves_open_is_closed_by_the_nearest_stationary_system() -> None:
    model = make(transition="soft")
    with torch.no_grad():
        model.transition.copy_(torch.diag(torch.tensor([1.02, 0.5, -0.9, 0.0])))
        turn = torch.linalg.qr(torch.randn(STATE, STATE, generator=seeded(3)))[0]
        assert model.transition_noise is not None
        model.transition_noise.copy_(torch.diag((1 - model.transition.diagonal().clamp(max=1) ** 2).sqrt()) @ turn)
    before_A, before_B = (matrix.detach().clone() for matrix in model.system())
    assert model.stationarity_error() > 1e-3
    model.finish(np.zeros((3, 4, *SHAPE), np.uint8))
    A, B = (matrix.detach().double().numpy() for matrix in model.system())
    np.testing.assert_allclose(A @ A.T + B @ B.T, np.eye(STATE), atol=1e-6)
    np.testing.assert_allclose(solve_discrete_lyapunov(A, B @ B.T), np.eye(STATE), atol=1e-2)
    np.testing.assert_allclose(A, before_A.clamp(max=0.9999), atol=1e-6)
    np.testing.assert_allclose(B, before_B, atol=0.02)  # the root that is nearest to what was learned, not any


def test_two_stage_prediction_starts_from_the_encoded_last_frame() -> None:

    # still takes it for the innovation and starts from A h(t) + B h(t+1).
    model = two_stage(PixelEncoder())
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (100, 2, 1, 1, STATE), dtype=np.uint8)
    frames[:, 1] = (0.5 * frames[:, 0] + 0.5 * frames[:, 1]).astype(np.uint8)
    model.finish(frames)
    context = torch.from_numpy(frames[:5]).float() / 255
    expected = context[:, -1, 0, 0] @ model.system()[0].T
    torch.testing.assert_close(model.predict(context, 1)[:, 0, 0, 0], expected.clamp(0, 1))


# --- the linear part -----------------------------------------------------------------------------------------------


def turning_frames(clips: int = 60, length: int = 30) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Frames of a linear system with states N(0, I), and its transition."""
    random = np.random.default_rng(4)
    A = np.zeros((STATE, STATE))
    for k, (radius, angle) in enumerate([(0.97, 0.4), (0.9, 1.3)]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        A[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = radius * turn
    B = np.linalg.cholesky(np.eye(STATE) - A @ A.T)
    loading = random.standard_normal((np.prod(SHAPE), STATE)) * [14, 11, 8, 5]
    state, states = random.standard_normal((clips, STATE)), []
    for _ in range(length):
        states.append(state)
        state = state @ A.T + random.standard_normal((clips, STATE)) @ B.T
    flat = 128 + np.stack(states, 1) @ loading.T + random.standard_normal((clips, length, np.prod(SHAPE)))
    return np.clip(np.rint(flat), 0, 255).astype(np.uint8).reshape(clips, length, *SHAPE), A


def started(kind: str, variance: float = 1e-3) -> tuple[DynamicVae, NDArray[np.uint8], NDArray[np.float64]]:
    frames, A = turning_frames()
    model = make(transition=kind, linear_part=True, observation_variance=variance)
    model.initialise(frames)
    return model, frames, A


@pytest.mark.parametrize("kind", KINDS)
def test_the_linear_part_starts_with_the_leading_covariance_of_the_frames(kind: str) -> None:
    """That of the first frames of all pairs, within the principal components of all frames."""
    model, frames, _ = started(kind)
    flat, first = (some.reshape(-1, np.prod(SHAPE)) / 255 for some in (frames, frames[:, :-1]))
    _, vectors = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True))
    within = vectors[:, -STATE:] @ vectors[:, -STATE:].T
    leading = within @ np.cov(first, rowvar=False, bias=True) @ within
    assert model.linear is not None
    weight = model.linear.decoder.weight.detach().double().numpy()
    np.testing.assert_allclose(weight @ weight.T, leading, atol=1e-7)
    nothing = model.decode(torch.zeros(1, STATE)).detach().numpy()  # the networks add nothing yet
    mean = flat.mean(axis=0) + within @ (first.mean(axis=0) - flat.mean(axis=0))
    np.testing.assert_allclose(nothing.ravel(), mean, atol=1e-6)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_linear_part_starts_stationary_with_the_eigenvalues_of_the_frames(kind: str) -> None:
    model, _, true = started(kind)
    A, B = (matrix.detach().double().numpy() for matrix in model.system())
    np.testing.assert_allclose(A @ A.T + B @ B.T, np.eye(STATE), atol=1e-5)
    found = np.linalg.eigvals(A)
    for value in np.linalg.eigvals(true):
        assert np.abs(found - value).min() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_the_linear_part_starts_with_the_exact_posterior(kind: str) -> None:
    """Against conditioning of the joint normal distribution of latent variables and frames."""
    variance = 2e-3
    model, frames, _ = started(kind, variance)
    assert model.linear is not None
    C, mean = (p.detach().double().numpy() for p in (model.linear.decoder.weight, model.linear.decoder.bias))
    A, B = (matrix.detach().double().numpy() for matrix in model.system())
    second = [np.zeros_like(A), np.eye(STATE)] if kind == "two_stage" else [A, B]
    loading = np.block([[C, np.zeros_like(C)], [C @ second[0], C @ second[1]]])  # (2D, 2n)
    covariance = loading @ loading.T + variance * np.eye(len(loading))
    pairs = frames[:3, :2].reshape(3, -1) / 255 - np.tile(mean, 2)
    expected = pairs @ np.linalg.solve(covariance, loading)
    encoded, log_variance = model.encode(torch.from_numpy(frames[:3, :2]).float() / 255)
    np.testing.assert_allclose(encoded.detach().numpy(), expected, atol=2e-4)
    precision = np.linalg.inv(np.eye(2 * STATE) - loading.T @ np.linalg.solve(covariance, loading))
    for row in log_variance.detach().numpy():
        np.testing.assert_allclose(row, -np.log(np.diag(precision)), rtol=1e-3)


def nearly_symmetric_turn(offset: int, odd: float = 2) -> NDArray[np.uint8]:
    """A turn of 18 views and the first again (1, 19, 1, 9, 8); only odd harmonics tell the front from the back."""
    random = np.random.default_rng(6)
    angles = np.radians(20 * np.arange(19) + offset)
    flat = np.full((19, np.prod(SHAPE)), 128.0)
    for harmonic in range(1, 9):
        amplitude = odd if harmonic % 2 else 20
        for wave in (np.cos(harmonic * angles), np.sin(harmonic * angles)):
            flat += amplitude * wave[:, None] * random.standard_normal(np.prod(SHAPE))
    frames: NDArray[np.uint8] = np.clip(np.rint(flat), 0, 255).astype(np.uint8).reshape(1, 19, *SHAPE)
    return frames


def test_the_linear_part_starts_a_closed_turn_without_damping() -> None:
    """Each of the eight harmonics turns by its own multiple of 20 degrees, and keeps its size."""
    model = make(linear_part=True, state_dimension=16)
    model.initialise(np.concatenate([nearly_symmetric_turn(0, odd=4), nearly_symmetric_turn(10, odd=4)]))
    found = np.linalg.eigvals(model.system()[0].detach().double().numpy())
    for angle in np.radians(20 * np.arange(1, 9)):
        assert np.abs(found - np.exp(1j * angle)).min() < 0.01


@pytest.mark.parametrize(("state", "confused"), [(16, 0), (8, 0.5)])
def test_the_linear_part_tells_front_from_back_if_the_state_has_room_for_odd_harmonics(
    state: int, confused: float
) -> None:
    """Shown from views between those of the training, against the true views."""
    model = make(linear_part=True, state_dimension=state, observation_variance=0.01)
    model.initialise(np.concatenate([nearly_symmetric_turn(0), nearly_symmetric_turn(10)]))
    held_out = nearly_symmetric_turn(5)[0]
    start = torch.from_numpy(np.stack([held_out[k : k + 2] for k in range(18)])).float() / 255
    shown = (255 * model.synthesise(start, 18, noise_scale=0.0)).round().byte().numpy()
    views = np.stack([np.roll(held_out[:18], -k, axis=0) for k in range(18)])
    scores = score_rotation(shown, views)
    assert scores["confused"] == pytest.approx(confused, abs=0.2 if confused else 0)
    assert (scores["angle_error"] == 0) == (confused == 0)


def test_networks_learn_beside_a_linear_part_that_stays() -> None:
    model, frames, _ = started("soft")
    model.loss(torch.from_numpy(frames[:2]).float() / 255, seeded())[0].backward()
    assert model.linear is not None
    assert all(parameter.grad is None for parameter in model.linear.parameters())
    for layer in (model.encoder[-1], model.decoder.convolutions[-1]):
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_without_a_linear_part_clips_change_nothing_before_the_training() -> None:
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.initialise(turning_frames()[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_linear_part_with_more_dimensions_than_the_frame_has_values_is_refused() -> None:
    with pytest.raises(ValueError, match="more than the frame's 12 values"):
        make((1, 4, 3), linear_part=True, state_dimension=14)


def test_a_linear_part_of_still_frames_is_finite() -> None:
    model = make(linear_part=True)
    model.initialise(np.full((3, 5, *SHAPE), 90, np.uint8))
    shown = model.synthesise(torch.full((2, 2, *SHAPE), 90 / 255), 20)
    torch.testing.assert_close(shown, torch.full_like(shown, 90 / 255))


# --- checkpoints and the spectrum ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_give_equal_predictions(kind: str, tmp_path: Path) -> None:
    model, batch = make(transition=kind, hidden_units=5, greatest_lag=3), clips()
    model.train().loss(batch, seeded())
    model.finish((batch * 255).byte().numpy())
    save_checkpoint(tmp_path, model, describe("dynamic_vae", model))
    loaded = load_checkpoint(tmp_path)
    assert isinstance(loaded, DynamicVae)
    assert dataclasses.replace(loaded.settings, first_angles=model.settings.first_angles) == model.settings
    assert tuple(loaded.settings.first_angles) == model.settings.first_angles  # JSON has no tuples
    assert loaded.steps_seen == (kind != "two_stage")  # which has no distant pairs
    model.eval()
    assert torch.equal(loaded.predict(batch, 3), model.predict(batch, 3))
    assert torch.equal(loaded.synthesise(batch, 3), model.synthesise(batch, 3))
    assert loaded.loss(batch)[0] == model.loss(batch)[0]


@given(st.floats(0.01, 0.999), st.floats(0.01, np.pi - 0.01))
def test_spectrum_of_a_turning_mode_gives_its_period_and_half_life(radius: float, angle: float) -> None:
    value = radius * np.exp(1j * angle)
    spectrum = spectrum_of(torch.tensor([value, value.conjugate()]))
    assert spectrum.eigenvalues.tolist() == [value]
    np.testing.assert_allclose(np.exp(1j * angle * spectrum.period.numpy()), 1, atol=1e-9)  # a whole turn
    assert spectrum.period.item() * angle == pytest.approx(2 * np.pi)
    assert radius ** spectrum.half_life.item() == pytest.approx(0.5)


def test_spectrum_of_modes_that_do_not_turn_or_do_not_fade() -> None:
    spectrum = spectrum_of(torch.tensor([0.5, -0.25, 1.0, 0.0, 1j, -1j, 1.5], dtype=torch.complex128))
    assert spectrum.period.tolist() == pytest.approx([np.inf, 2, np.inf, np.inf, 4, np.inf])
    assert spectrum.half_life.tolist() == pytest.approx([1, 0.5, np.inf, 0, np.inf, np.inf])


def test_models_spectrum_is_that_of_its_transition() -> None:
    spectrum = make(state_dimension=6, turning_share=1.0, first_radius=0.5).spectrum()
    order = spectrum.period.argsort(descending=True)
    torch.testing.assert_close(spectrum.period[order], torch.tensor([8.0, 4.0, 8 / 3]).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(spectrum.half_life, torch.ones(3).double(), rtol=1e-5, atol=0)


# --- how unlikely frames are ---------------------------------------------------------------------------------------


class Linear(NamedTuple):
    """A model whose decoder is linear: frames (first, second) = offset + loading @ (h, v) + noise."""

    model: DynamicVae
    pairs: Tensor  # (P, 2, C, H, W)
    clips: Tensor  # (N, T, C, H, W), of which the pairs are
    residuals: NDArray[np.float64]  # (P, 2D), pairs less the offset
    loading: NDArray[np.float64]  # (2D, 2n)
    variance: float

    def exact(self) -> NDArray[np.float64]:
        """-log p(pair) in nats per value."""
        covariance = self.loading @ self.loading.T + self.variance * np.eye(len(self.loading))
        log_density = multivariate_normal(np.zeros(len(covariance)), covariance).logpdf(self.residuals)
        return np.asarray(-log_density / len(covariance))

    def bound(self) -> NDArray[np.float64]:
        """Minus the evidence lower bound in nats per value, its expectation in closed form."""
        with torch.no_grad():
            mean, log_variance = (values.numpy() for values in self.model.encode(self.pairs))
        spread = np.exp(log_variance) * (self.loading**2).sum(0)
        error = ((self.residuals - mean @ self.loading.T) ** 2).sum(1) + spread.sum(1)
        kl = (mean**2 + np.exp(log_variance) - log_variance - 1).sum(1) / 2
        values = self.residuals.shape[1]
        return np.asarray((error / (2 * self.variance) + kl) / values + np.log(2 * np.pi * self.variance) / 2)


def linear(kind: str, variance: float) -> Linear:
    model, frames, _ = started(kind, variance)
    model.double()
    assert model.linear is not None
    C, offset = (p.detach().numpy() for p in (model.linear.decoder.weight, model.linear.decoder.bias))
    A, B = (matrix.detach().numpy() for matrix in model.system())
    batch = torch.from_numpy(frames[:6, :5]).double() / 255
    batch[-1] = clips(1, 5).double()[0]  # unlikely
    pairs = torch.stack((batch[:, :-1], batch[:, 1:]), dim=2).flatten(0, 1)
    loading = np.block([[C, np.zeros_like(C)], [C @ A, C @ B]])
    return Linear(model, pairs, batch, pairs.flatten(1).numpy() - np.tile(offset, 2), loading, variance)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("variance", [2e-3, 0.1])
def test_surprise_is_the_evidence_bound_which_is_just_above_the_exact_value(
    monkeypatch: pytest.MonkeyPatch, kind: str, variance: float
) -> None:
    """With draws whose mean is the expectation of all that is quadratic: as far either way along each axis."""
    known = linear(kind, variance)
    axes = math.sqrt(2 * STATE) * torch.eye(2 * STATE).double()
    drawn = itertools.cycle([*axes, *-axes])
    monkeypatch.setattr(module, "BOUND_DRAWS", 4 * STATE)
    monkeypatch.setattr(Tensor, "normal_", lambda values, generator: values.copy_(next(drawn)))
    found = known.model.surprise(known.clips, 3)
    assert found.shape == (6, 5)
    assert found.dtype == torch.float64
    assert found[:, 0].isnan().all()
    bound, exact = known.bound(), known.exact()
    np.testing.assert_allclose(found[:, 1:].flatten().numpy(), bound, rtol=0, atol=1e-5)
    assert (bound >= exact - 1e-9).all()
    assert (bound - exact).max() < 0.01
    assert exact[-4:].min() > exact[:-4].max() + 0.05


@pytest.mark.parametrize(("kind", "variance"), [("soft", 2e-3), ("hard", 0.1)])
def test_surprise_is_drawn_by_the_posterior(monkeypatch: pytest.MonkeyPatch, kind: str, variance: float) -> None:
    """So many draws that their mean is nearly the expectation, for a likely and an unlikely clip."""
    known = linear(kind, variance)
    monkeypatch.setattr(module, "BOUND_DRAWS", 1500)
    found = known.model.surprise(known.clips[-2:, :3], 3)[:, 1:].numpy()
    np.testing.assert_allclose(found, known.bound().reshape(6, 4)[-2:, :2], atol=1e-3)


def test_surprise_of_two_stages_is_the_bound_of_what_was_encoded() -> None:
    model = two_stage(PixelEncoder(log_variance=-12.0))
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (100, 2, 1, 1, STATE), dtype=np.uint8)
    frames[:, 1] = (0.5 * frames[:, 0] + 0.5 * frames[:, 1]).astype(np.uint8)
    model.finish(frames)
    batch = torch.from_numpy(frames[:5]).float() / 255
    A = model.system()[0].double().numpy()
    joint = np.block([[np.eye(STATE), A.T], [A, np.eye(STATE)]])  # of two states
    for n, mean in enumerate(batch.double().reshape(5, 2 * STATE).numpy()):
        inverse = np.linalg.inv(joint)
        spread = np.exp(-12.0) * np.eye(2 * STATE)
        kl = mean @ inverse @ mean + np.trace(inverse @ spread) - 2 * STATE
        kl = (kl + np.linalg.slogdet(joint)[1] - np.linalg.slogdet(spread)[1]) / 2
        error = 2 * STATE * np.exp(-12.0)  # frames are decoded as they were encoded
        expected = (error / (2 * 0.3) + kl) / (2 * STATE) + np.log(2 * np.pi * 0.3) / 2
        assert model.surprise(batch, 1)[n, 1].item() == pytest.approx(expected, abs=1e-3)


def test_surprise_of_a_frame_depends_on_the_frame_before_alone() -> None:
    model, batch = make(), clips(2, 6)
    whole = model.surprise(batch, 3)
    for start in range(4):
        part = model.surprise(batch[:, start : start + 3], 10)
        torch.testing.assert_close(part[:, 1:], whole[:, start + 1 : start + 3], rtol=0, atol=1e-5)
    assert torch.equal(model.surprise(batch, 3).nan_to_num(), whole.nan_to_num())  # always the same draws


# --- futures -------------------------------------------------------------------------------------------------------


def drawn_from(kind: str, noise: float, count: int) -> tuple[DynamicVae, Tensor, NDArray[np.float64]]:
    """Model of frames 0.5 + 0.05 h, a context, and futures of it as states (count, N, horizon, n)."""
    model = stationary(kind)
    exchange(model, PixelEncoder(log_variance=-1.0), PixelDecoder(0.05, 0.5))
    context = torch.rand(2, 3, 1, 1, STATE, generator=seeded(), dtype=torch.float64)
    futures = model.futures(context, 3, count, 1, noise)
    assert futures.shape == (count, 2, 3, 1, 1, STATE)
    assert futures.min() > 0
    assert futures.max() < 1
    return model, context, ((futures[..., 0, 0, :] - 0.5) / 0.05).numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [1.0, 0.4])
def test_futures_have_mean_and_covariance_of_the_posterior_and_the_noise(kind: str, noise: float) -> None:
    count = 20_000
    model, context, states = drawn_from(kind, noise, count)
    A, B = (matrix.detach().numpy() for matrix in model.system())
    encoded = context[:, -2:, 0, 0].numpy()  # (N, 2, n)
    spread = noise**2 * np.exp(-1.0) * np.eye(STATE)
    for n in range(2):
        if kind == "two_stage":  # what is encoded second is the state
            mean, covariance = encoded[n, 1], spread
        else:
            mean = A @ encoded[n, 0] + B @ encoded[n, 1]
            covariance = A @ spread @ A.T + B @ spread @ B.T
        for k in range(3):
            mean, covariance = A @ mean, A @ covariance @ A.T + noise**2 * B @ B.T
            scale = np.linalg.norm(covariance, 2)
            np.testing.assert_allclose(states[:, n, k].mean(0), mean, atol=5.5 * np.sqrt(scale / count))
            np.testing.assert_allclose(np.cov(states[:, n, k].T), covariance, atol=8 * scale / np.sqrt(count))


@pytest.mark.parametrize("kind", KINDS)
def test_futures_without_noise_are_the_prediction(kind: str) -> None:
    model, context = make(transition=kind), clips()
    for future in model.futures(context, 3, 2, 0, noise=0.0):
        torch.testing.assert_close(future, model.predict(context, 3), rtol=0, atol=1e-6)


def test_futures_are_reproducible_by_seed_and_differ() -> None:
    model, context = make(), clips()
    first = model.futures(context, 3, 4, 1)
    torch.manual_seed(99)
    assert torch.equal(first, model.futures(context, 3, 4, 1))
    assert not torch.equal(first, model.futures(context, 3, 4, 2))
    assert not torch.equal(first[0], first[1])


# --- modes ---------------------------------------------------------------------------------------------------------


def parts_by_numpy(model: DynamicVae, batch: Tensor) -> list[NDArray[np.float64]]:
    """States of each mode of ``spectrum`` by NumPy's eigenvectors, of all frames but the last: (N, T - 1, n) each."""
    with torch.no_grad():
        encoded = [model.encode(batch[:, t : t + 2])[0][:, :STATE].numpy() for t in range(batch.shape[1] - 1)]
        values, vectors = np.linalg.eig(model.system()[0].double().numpy())
    dual = np.linalg.inv(vectors)
    parts = []
    for value in model.spectrum().eigenvalues.numpy():
        same = np.minimum(np.abs(values - value), np.abs(values - value.conj())) < 1e-9
        parts.append(np.stack(encoded, 1) @ (vectors[:, same] @ dual[same]).real.T)
    return parts


def test_energy_of_modes_is_that_of_their_part_of_the_encoded_states() -> None:
    model, batch = stationary("hard"), clips().double()
    energy, parts = model.mode_energy(batch), parts_by_numpy(model, batch)
    assert energy.shape == (3, len(parts))
    assert len(parts) > 1
    for mode, part in enumerate(parts):
        np.testing.assert_allclose(energy[:, mode].numpy(), (part**2).sum(-1).mean(1), rtol=1e-8)


def test_response_of_modes_is_what_frames_would_lack() -> None:
    model = stationary("hard")
    exchange(model, PixelEncoder(), PixelDecoder(0.6, 0.1))
    batch = torch.rand(3, 5, 1, 1, STATE, generator=seeded(), dtype=torch.float64)
    parts = parts_by_numpy(model, batch)
    found = model.mode_response(batch, [1, 0])
    assert found.shape == (2, 3, 4, 1, 1, STATE)
    for response, mode in zip(found, (1, 0), strict=True):
        whole, without = (np.clip(0.6 * states + 0.1, 0, 1) for states in (sum(parts), sum(parts) - parts[mode]))
        np.testing.assert_allclose(response[..., 0, 0, :].numpy(), whole - without, atol=1e-12)
        assert np.abs(whole - without).max() > 0.1

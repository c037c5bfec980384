"""Modal dynamics against statsmodels' Kalman filter and smoother, dense Gaussians, quadrature and closed forms."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother
from torch import Tensor, nn

from linear_video.models.ile.modal import ModalPrior
from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings
from tests.models.invertible import randomise

SHAPE, REACH, FRAMES = (1, 2, 4), 3, 6
SMALL = IleSettings(dynamics="modal", look_back=2, reach=REACH, motion_channels=4, velocities=2)


class Known(nn.Module):
    """A given motion and doubt, whatever the frames: (T, reach, 3 velocities) for each clip."""

    def __init__(self, motion: Tensor) -> None:
        super().__init__()
        self.known = motion

    def forward(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        return self.known[: frames.shape[1]].expand(len(frames), -1, -1, -1)


def make(shape: tuple[int, int, int] = SHAPE, known: bool = True, **changes: Any) -> ModalPrior:
    """A prior with random parameters and a random motion."""
    torch.manual_seed(1)
    prior = ModalPrior(shape, dataclasses.replace(SMALL, **changes))
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            if not name.startswith("motion.") or name.startswith("motion.doubt."):
                parameter.copy_(torch.randn_like(parameter))
        prior.radius.add_(1.5)
    if known:
        motion = torch.randn(20, prior.reach, 3 * prior.settings.velocities, dtype=torch.float64)
        prior.motion = Known(motion)  # type: ignore[assignment]
    return prior.double().eval()


def encoded(shape: tuple[int, int, int] = SHAPE, clips: int = 2, frames: int = FRAMES) -> Encoded:
    pictures = torch.randn(clips, frames, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Encoded(pictures, pictures.flatten(2))


def basis(prior: ModalPrior) -> Tensor:
    """Rows: the real coordinates of the modes, real and imaginary parts in turn; columns: the values of a picture."""
    modes = prior.modes(torch.eye(prior.mean.numel(), dtype=torch.float64).unflatten(1, prior.frame_shape)).flatten(1)
    pairs = torch.view_as_real(modes).flatten(1).T  # (2 C M, D)
    return pairs[coordinates(prior)]


def coordinates(prior: ModalPrior) -> Tensor:
    """Which of the real and imaginary parts, in turn, are free."""
    return torch.stack((torch.ones_like(prior.modes.real), ~prior.modes.real), -1).repeat(len(prior.angle), 1).flatten()


def spread(prior: ModalPrior, values: Tensor) -> NDArray[np.float64]:
    """A value for each mode, for each of its coordinates."""
    each: NDArray[np.float64] = values.detach().flatten().repeat_interleave(2)[coordinates(prior)].numpy()
    return each


def transition(prior: ModalPrior, motion: Tensor, share: float = 1.0) -> NDArray[np.float64]:
    """The matrix of a step, or of a share of it, from the definition: a block for each mode, of motion (values,)."""
    count = prior.settings.velocities
    velocities, turning = motion[: 2 * count].detach().reshape(count, 2).numpy(), prior.turning.detach().numpy()
    weights = np.exp([0.0, *motion[2 * count : -1].detach().tolist()])
    blocks = []
    for c, i in np.ndindex(*prior.angle.shape):
        radius = 1 / (1 + np.exp(-float(prior.radius[c, i].detach())))
        block = np.zeros((1, 1) if prior.modes.real[i] else (2, 2))
        for velocity, weight in zip(velocities, weights / weights.sum(), strict=True):
            angle = share * (float(prior.angle[c, i].detach()) + velocity @ turning[:, i])
            if prior.modes.real[i]:
                block += weight * radius**share * (-1 if np.cos(angle) < 0 else 1)
            else:
                turned = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
                block += weight * radius**share * np.array(turned)
        blocks.append(block)
    return np.asarray(block_diag(*blocks))


def oracle(prior: ModalPrior, embeddings: Tensor, observed: NDArray[np.bool_], parts: int = 1) -> Any:
    """Statsmodels' smoother of one sequence (T, D), with ``parts`` steps from each frame to the next."""
    steps = parts * (len(embeddings) - 1) + 1
    motion = prior.motion(embeddings[None, :, None, None, :])[0, :, 0].detach()
    matrices = np.stack([transition(prior, motion[step // parts], 1 / parts) for step in range(steps)], -1)
    size = len(matrices)
    smoother = KalmanSmoother(k_endog=size, k_states=size)
    radius = prior.radius.sigmoid()
    noise = prior.log_process.exp() * (1 - radius ** (2 / parts)) / (1 - radius**2)
    values = np.full((size, steps), np.nan)
    shown = (basis(prior) @ (embeddings - prior.mean.flatten()).T).detach().numpy()
    values[:, ::parts] = np.where(observed, shown, np.nan)
    smoother.bind(np.asfortranarray(values))
    smoother["design"] = smoother["selection"] = np.eye(size)
    smoother["transition"] = matrices
    doubts = motion[:, -1].exp().numpy()
    process = np.diag(spread(prior, noise))
    smoother["state_cov"] = np.stack([process * doubts[step // parts] for step in range(steps)], -1)
    smoother["obs_cov"] = np.diag(spread(prior, prior.log_observation.exp()))
    smoother.initialize_known(np.zeros(size), np.diag(spread(prior, prior.log_initial.exp())))
    return smoother.smooth()


def as_embeddings(prior: ModalPrior, states: NDArray[np.float64]) -> Tensor:
    """Real coordinates (size, T) -> embeddings (T, D)."""
    return torch.from_numpy(states.T) @ basis(prior) + prior.mean.flatten()


OBSERVED = [np.ones(FRAMES, bool), np.array([1, 0, 1, 1, 0, 1], bool), np.array([0, 1, 0, 0, 1, 0], bool)]


@pytest.mark.parametrize("observed", OBSERVED, ids=["all", "some", "few"])
@pytest.mark.parametrize("shape", [SHAPE, (3, 2, 2)], ids=["grey", "colour"])
def test_filter_and_smoother_are_those_of_statsmodels(shape: tuple[int, int, int], observed: NDArray[np.bool_]) -> None:
    prior, seen = make(shape), encoded(shape)
    there = torch.from_numpy(observed).expand(2, -1)
    filtered = prior.filter(seen, there)
    smoothed = prior.to_embeddings(prior.smooth(filtered))
    for clip in range(2):
        expected = oracle(prior, seen.embeddings[clip], observed)
        density = filtered.log_density[clip].detach().numpy()
        np.testing.assert_allclose(density[observed], expected.llf_obs[observed], rtol=1e-9)
        assert not density[~observed].any()
        for found, states in (
            (prior.to_embeddings(filtered.states)[clip], expected.filtered_state),
            (smoothed[clip], expected.smoothed_state),
        ):
            torch.testing.assert_close(found, as_embeddings(prior, states), rtol=0, atol=1e-9)


@pytest.mark.parametrize("observed", OBSERVED[:2], ids=["all", "some"])
def test_moments_between_frames_are_those_of_a_filter_of_many_small_steps(observed: NDArray[np.bool_]) -> None:
    prior, seen, parts = make(velocities=1), encoded(clips=1), 8  # the mean over several is none of small steps
    with torch.no_grad():  # real modes turn over or not, and do so at once
        prior.angle[:, prior.modes.real] = 0
        prior.turning[:, prior.modes.real] = 0
    times = torch.arange(parts * (FRAMES - 1) + 1) / parts
    found = prior.at(seen, torch.from_numpy(observed), times)[0]
    expected = oracle(prior, seen.embeddings[0], observed, parts).smoothed_state
    torch.testing.assert_close(found, as_embeddings(prior, expected), rtol=0, atol=1e-9)


def joint(prior: ModalPrior, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the embeddings of a clip, from the definition."""
    motion = prior.motion(torch.zeros(1, frames, 1, 1, 1))[0, :, 0].detach()
    doubts = motion[:, -1].exp().numpy()
    size = prior.mean.numel()
    process, observation = (np.diag(spread(prior, log.exp())) for log in (prior.log_process, prior.log_observation))
    covariance = np.zeros((frames, size, frames, size))
    state = np.diag(spread(prior, prior.log_initial.exp()))
    for t in range(frames):
        across = state
        for later in range(t, frames):
            covariance[later, :, t], covariance[t, :, later] = across, across.T
            across = transition(prior, motion[later]) @ across
        covariance[t, :, t] = state + observation
        state = transition(prior, motion[t]) @ state @ transition(prior, motion[t]).T + doubts[t] * process
    rows = basis(prior).detach().numpy()
    dense = np.einsum("di,tdse,ej->tisj", rows, covariance, rows).reshape(frames * size, -1)
    return np.tile(prior.mean.detach().flatten().numpy(), frames), dense


@pytest.mark.parametrize("observed", OBSERVED, ids=["all", "some", "few"])
def test_likelihood_of_observed_frames_is_the_marginal_of_a_dense_gaussian(observed: NDArray[np.bool_]) -> None:
    prior, seen = make(), encoded()
    mean, covariance = joint(prior, FRAMES)
    kept = np.repeat(observed, prior.mean.numel())
    marginal = multivariate_normal(mean[kept], covariance[np.ix_(kept, kept)])
    found = prior.log_likelihood(seen, torch.from_numpy(observed).expand(2, -1)).detach().numpy()
    np.testing.assert_allclose(found, marginal.logpdf(seen.embeddings.flatten(1).numpy()[:, kept]), rtol=1e-9)


def test_a_shift_is_predicted_to_rounding_before_any_training() -> None:
    """In grey and colour, at any size: what moves by whole pixels, around the edge."""
    for shape in ((1, 6, 8), (3, 5, 4)):
        prior = ModalPrior(shape, dataclasses.replace(SMALL, velocities=1)).double().eval()
        motion = torch.tensor([[2.0, -1, 0], [2, -1, 0], [-1, 0, 0]], dtype=torch.float64)  # it bounces
        prior.motion = Known(motion.expand(20, -1, -1))  # type: ignore[assignment]
        picture = torch.rand(shape, dtype=torch.float64)
        with torch.no_grad():
            prior.radius.fill_(40)
            prior.log_observation.fill_(-80)
        seen = Encoded(picture[None, None], picture.flatten()[None, None])
        found = prior.forecast(seen, REACH)[0].unflatten(1, shape)
        for frame, (right, down) in zip(found, [(2, -1), (4, -2), (3, -2)], strict=True):
            torch.testing.assert_close(frame, picture.roll((down, right), (1, 2)), rtol=0, atol=1e-6)


def test_two_velocities_forecast_the_weighted_mean_of_two_moved_pictures() -> None:
    prior = ModalPrior((1, 6, 8), dataclasses.replace(SMALL, velocities=2)).double().eval()
    odds = float(np.log(3))  # of the second velocity against the first
    motion = torch.tensor([[2, -1, -1, 0, odds, 0], [1, -1, -1, 1, -odds, 0], [1, 0, 0, 1, 0, 0]], dtype=torch.float64)
    prior.motion = Known(motion.expand(20, -1, -1))  # type: ignore[assignment]
    picture = torch.rand(1, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        prior.radius.fill_(40)
        prior.log_observation.fill_(-80)
    found = prior.forecast(Encoded(picture[None, None], picture.flatten()[None, None]), REACH)[0]
    moved = [((2, -1), (-1, 0), 0.75), ((3, -2), (-2, 1), 0.25), ((4, -2), (-2, 2), 0.5)]
    for frame, (first, second, weight) in zip(found.unflatten(1, (1, 6, 8)), moved, strict=True):
        pictures = [picture.roll(velocity[::-1], (1, 2)) for velocity in (first, second)]
        torch.testing.assert_close(frame, (1 - weight) * pictures[0] + weight * pictures[1], rtol=0, atol=1e-6)


def grid(dimensions: int, reach: float, points: int) -> tuple[Tensor, float]:
    """Points of a lattice (points^dimensions, dimensions), and the logarithm of a cell's volume."""
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * dimensions), dimensions * float((axis[1] - axis[0]).log())


def total(log_density: Tensor, log_cell: float) -> float:
    return float((log_density.logsumexp(0) + log_cell).exp())


def calm(prior: ModalPrior) -> ModalPrior:
    """Neither too wide nor too narrow a density for a lattice."""
    with torch.no_grad():
        for log in (prior.log_initial, prior.log_process, prior.log_observation):
            log.mul_(0.2).sub_(1.5)
        prior.mean.mul_(0.2)
    return prior


def test_the_density_of_a_step_integrates_to_one() -> None:
    """Over both values of a frame, given a past that decides how far the modes turn."""
    prior = calm(make((1, 1, 2), known=False))
    past = torch.rand(1, 3, 1, 1, 2, dtype=torch.float64)
    points, log_cell = grid(2, 7, 121)
    clips = torch.cat((past.expand(len(points), -1, -1, -1, -1), points.reshape(-1, 1, 1, 1, 2)), 1)
    found = prior.log_density(Encoded(clips, clips.flatten(2)), first=3)[:, 0]
    assert total(found.detach(), log_cell) == pytest.approx(1, abs=1e-6)


def test_the_density_of_a_clip_integrates_to_one() -> None:
    """Over all values of two frames, the first of which decides what becomes of the second."""
    prior = calm(make((1, 1, 2), known=False))
    points, log_cell = grid(4, 6, 25)
    clips = points.reshape(-1, 2, 1, 1, 2)
    found = prior.log_likelihood(Encoded(clips, clips.flatten(2)))
    assert total(found.detach(), log_cell) == pytest.approx(1, abs=1e-4)


def test_the_density_of_a_frame_through_the_flow_integrates_to_one() -> None:
    settings = dataclasses.replace(SMALL, blocks=1, first_squeezes=1, couplings=2, hidden_channels=4)
    torch.manual_seed(0)
    model = InvertibleLinearEmbedding((1, 2, 2), settings).double().eval()
    randomise(model.flow)
    prior = model.prior
    assert isinstance(prior, ModalPrior)
    with torch.no_grad():
        prior.log_initial.fill_(-1.0)
        prior.log_observation.fill_(-2.0)
    points, log_cell = grid(4, 7, 27)
    found = torch.cat([model.log_likelihood(some.reshape(-1, 1, 1, 2, 2)) for some in points.split(200_000)])
    assert total(found, log_cell) == pytest.approx(1, abs=1e-3)


def test_forecasts_from_frames_missing_at_the_end_go_on_from_the_last_one_seen() -> None:
    prior, seen = make(), encoded()
    observed = torch.ones(2, FRAMES, dtype=torch.bool)
    observed[:, -2:] = False
    early, late = prior.filter(seen.first(FRAMES - 2)), prior.filter(seen, observed)
    state = early.states[:, -1]
    for t in (FRAMES - 3, FRAMES - 2):
        state = prior.turned(state, prior.turn(late.motion[:, t, 0]), 1.0)
    torch.testing.assert_close(late.states[:, -1], state)


def test_draws_have_the_mean_and_the_variances_of_the_filter() -> None:
    prior, seen = make(), encoded(clips=1)
    with torch.no_grad():  # whether a real mode turns over in two steps is no sum of what it does in each
        prior.turning[:, prior.modes.real] = 0
        prior.angle[:, prior.modes.real] = 0
    drawn = prior.draw(seen, 2, 20_000, 1.0, torch.Generator().manual_seed(0))[:, 0].detach()
    errors = (drawn.mean(0) - prior.forecast(seen, 2)[0].detach()) / drawn.std(0) * len(drawn) ** 0.5
    assert errors.abs().max() < 4
    filtered = prior.filter(seen)
    doubts, variance = filtered.motion[0, -1, :2, -1].detach(), filtered.variances[0, -1]
    assert (doubts[1] - doubts[0]).abs() > 0.1
    for motion in filtered.motion[0, -1, :2].detach():
        variance = prior.spread(variance, prior.factors(prior.turn(motion), 1.0), motion[-1], 1.0)
    variance = variance + prior.log_observation.exp()
    coordinate = ((drawn[:, 1] - prior.mean.flatten()) @ basis(prior).T).detach()
    np.testing.assert_allclose(coordinate.var(0), spread(prior, variance), rtol=0.1)


def test_the_spectrum_turns_with_the_motion() -> None:
    """A thing that moves by v a frame turns the mode of frequency k by k·v; a real mode turns over or not."""
    prior = ModalPrior((1, 4, 8), dataclasses.replace(SMALL, velocities=1)).double().eval()
    velocity = torch.tensor([0.7, -0.4], dtype=torch.float64)
    prior.motion = Known(torch.tensor([0.7, -0.4, 0.0]).double().expand(20, REACH, 3))  # type: ignore[assignment]
    spectrum = prior.spectrum(encoded((1, 4, 8)))
    angles = (prior.modes.frequencies.T @ velocity).abs()
    wrapped = torch.minimum(angles, 2 * torch.pi - angles)
    wrapped = torch.where(prior.modes.real, torch.pi * (wrapped > torch.pi / 2), wrapped)
    torch.testing.assert_close(spectrum.eigenvalues.angle(), wrapped, rtol=0, atol=1e-6)
    torch.testing.assert_close(spectrum.period, 2 * torch.pi / wrapped, rtol=1e-5, atol=1e-6)
    assert not prior.spectrum(None).eigenvalues.imag.any()


def test_modes_add_up_to_what_was_seen() -> None:
    prior, seen = make(), encoded()
    whole, parts = prior.mode_parts(seen, list(range(prior.angle.numel())))
    torch.testing.assert_close(torch.stack(parts).sum(0) + prior.mean.flatten(), whole)
    energy = torch.stack([part.square().sum(2).mean(1) for part in parts], 1)
    torch.testing.assert_close(prior.mode_energy(seen), energy)


def test_a_mode_that_does_not_decay_at_all_has_process_noise_in_proportion_to_time() -> None:
    prior = make(known=False).float()
    with torch.no_grad():
        prior.radius.fill_(30.0)  # a modulus of exactly 1 in float32
    variances, doubt = torch.zeros(1, *prior.angle.shape), torch.zeros(1)
    found = prior.spread(variances, torch.ones_like(variances).to(torch.complex64), doubt, 2.5)
    torch.testing.assert_close(found[0], 2.5 * prior.log_process.exp().expand_as(found[0]))

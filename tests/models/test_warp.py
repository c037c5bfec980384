"""Warp dynamics against OpenCV's sampling, a dense Gaussian, quadrature and plain shifts."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings
from linear_video.models.ile.warp import WarpPrior, sampled

SHAPE, REACH, FRAMES = (2, 4, 4), 3, 5
SMALL = IleSettings(dynamics="warp", look_back=2, reach=REACH, motion_channels=4)


class Known(nn.Module):
    """A given motion, whatever the frames: (T, reach, 2 + C, H, W) for each clip."""

    def __init__(self, motion: Tensor) -> None:
        super().__init__()
        self.known = motion

    def forward(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        return self.known[: frames.shape[1]].expand(len(frames), -1, -1, -1, -1, -1)


def make(shape: tuple[int, int, int] = SHAPE, motion: Tensor | None = None, **changes: Any) -> WarpPrior:
    """A prior with random parameters, and with the given motion, if there is one."""
    torch.manual_seed(1)
    prior = WarpPrior(shape, dataclasses.replace(SMALL, **changes))
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            if not name.startswith("motion."):
                parameter.copy_(0.5 * torch.randn_like(parameter))
    if motion is not None:
        prior.motion = Known(motion)  # type: ignore[assignment]
    return prior.double().eval()


def some_motion(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    channels, height, width = shape
    generator = torch.Generator().manual_seed(5)
    return torch.randn(FRAMES + 1, REACH, 2 + channels, height, width, generator=generator, dtype=torch.float64)


def constant(velocity: tuple[float, float], shape: tuple[int, int, int]) -> Tensor:
    """A whole picture that moves by (right, down) a frame, its variances as they are."""
    motion = torch.zeros(20, REACH, 2 + shape[0], *shape[1:], dtype=torch.float64)
    for step in range(REACH):
        motion[:, step, 0], motion[:, step, 1] = (-(step + 1) * part for part in velocity)
    return motion


def encoded(shape: tuple[int, int, int] = SHAPE, clips: int = 2, frames: int = FRAMES) -> Encoded:
    pictures = torch.randn(clips, frames, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Encoded(pictures, pictures.flatten(2))


def test_sampling_is_that_of_opencv() -> None:
    """Inside; beyond the edge, OpenCV and PyTorch go on alike only where the places lie inside."""
    height, width = 12, 10
    picture = np.random.default_rng(0).random((height, width), np.float32)
    shifts = np.random.default_rng(1).uniform(-2, 2, (2, height, width)).astype(np.float32)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    expected = cv2.remap(picture, columns + shifts[0], rows + shifts[1], cv2.INTER_CUBIC)
    found = sampled(torch.from_numpy(picture)[None, None], torch.from_numpy(shifts)[None])[0, 0].numpy()
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.02)  # OpenCV rounds places to 1/32


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-2, 1)])
def test_whole_pixels_are_shifted_and_the_edge_goes_on(shift: tuple[int, int]) -> None:
    picture = torch.rand(1, 2, 5, 6, dtype=torch.float64)
    field = torch.tensor(shift, dtype=torch.float64)[None, :, None, None].expand(1, 2, 5, 6)
    rows = (torch.arange(5) + shift[1]).clamp(0, 4)
    columns = (torch.arange(6) + shift[0]).clamp(0, 5)
    torch.testing.assert_close(sampled(picture, field), picture[:, :, rows][..., columns], rtol=0, atol=1e-12)


def matrix(prior: WarpPrior, motion: Tensor) -> NDArray[np.float64]:
    """A_t of one step: it is linear, so what it does to each picture of one bright pixel."""
    size = math.prod(SHAPE)
    basis = torch.eye(size, dtype=torch.float64).unflatten(1, prior.frame_shape)
    moved = prior.carried(basis, motion[None, :1].expand(size, -1, -1, -1, -1))
    found: NDArray[np.float64] = moved[:, 0].flatten(1).T.detach().numpy()
    return found


def test_likelihood_is_that_of_a_dense_gaussian() -> None:
    """Of whole clips: the innovations' joint Gaussian, carried through the definition of the recursion."""
    motion = some_motion()
    prior, seen, size = make(motion=motion), encoded(), 32
    gain, kept = (p.detach().sigmoid().expand(SHAPE).flatten().numpy() for p in (prior.gain, prior.radius))
    mean = prior.mean.detach().expand(SHAPE).flatten().numpy()
    first = prior.log_initial.detach().exp().expand(SHAPE).flatten().numpy()
    later = (prior.log_variance.detach() + motion[:, 0, 2:]).exp().flatten(1).numpy()
    variances = np.concatenate((first[None], later))[:FRAMES]
    # Each clip is mean + sum over innovations of what each does to it and to the frames after it.
    root, expected = np.zeros((FRAMES * size, FRAMES * size)), np.zeros((FRAMES, size))
    state = mean
    for t in range(FRAMES):
        effect = np.eye(size)
        for after in range(t, FRAMES):
            root[after * size : (after + 1) * size, t * size : (t + 1) * size] = effect
            effect = kept[:, None] * matrix(prior, motion[after]) @ (gain[:, None] * effect if after == t else effect)
        expected[t] = state
        state = kept * (matrix(prior, motion[t]) @ state) + (1 - kept) * mean
    covariance = root * variances.flatten() @ root.T
    gaussian = multivariate_normal(expected.flatten(), covariance)
    found = prior.log_likelihood(seen).detach().numpy()
    np.testing.assert_allclose(found, gaussian.logpdf(seen.embeddings.flatten(1).numpy()), rtol=1e-8)
    each = prior.log_density(seen)
    np.testing.assert_allclose(each.sum(1).detach().numpy(), found, rtol=1e-10)


def lattice(dimensions: int, reach: float, points: int) -> tuple[Tensor, float]:
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * dimensions), dimensions * float((axis[1] - axis[0]).log())


def test_the_density_of_a_step_integrates_to_one() -> None:
    """Over all values of a frame, given a past that decides where they come from."""
    prior = make((1, 2, 2))
    past = torch.rand(1, 3, 1, 2, 2, dtype=torch.float64)
    points, log_cell = lattice(4, 6, 19)
    clips = torch.cat((past.expand(len(points), -1, -1, -1, -1), points.reshape(-1, 1, 1, 2, 2)), 1)
    found = prior.log_density(Encoded(clips, clips.flatten(2)), first=3)[:, 0].detach()
    assert float((found.logsumexp(0) + log_cell).exp()) == pytest.approx(1, abs=1e-3)


class Following(nn.Module):
    """A motion that depends on the last frame without a network, for pictures too small for one."""

    def forward(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        shown = frames[:, :, None].expand(-1, -1, REACH, -1, -1, -1)
        return torch.cat((shown.sum(-1, keepdim=True).expand_as(shown).sin(), shown.cos(), 0.5 * shown), 3)


def test_the_density_of_a_clip_integrates_to_one() -> None:
    """Over all values of two frames, the first of which decides how the second is expected, and how surely."""
    prior = make((1, 1, 2))
    prior.motion = Following()  # type: ignore[assignment]
    points, log_cell = lattice(4, 10, 33)
    clips = points.reshape(-1, 2, 1, 1, 2)
    found = prior.log_likelihood(Encoded(clips, clips.flatten(2))).detach()
    assert float((found.logsumexp(0) + log_cell).exp()) == pytest.approx(1, abs=1e-3)


def test_a_missing_frame_leaves_the_state_to_its_course() -> None:
    prior = make(motion=some_motion())
    seen = encoded()
    observed = torch.ones(2, FRAMES, dtype=torch.bool)
    observed[:, 2] = False
    followed = prior.filter(seen, observed)
    torch.testing.assert_close(followed.states[:, 2], followed.expected[:, 2])
    torch.testing.assert_close(followed.states[:, :2], prior.filter(seen.first(2)).states)
    assert not followed.log_density[:, 2].any()
    changed = seen._replace(embeddings=seen.embeddings + 7 * ~observed[..., None])
    torch.testing.assert_close(prior.forecast(changed, 2, observed), prior.forecast(seen, 2, observed))


def shifting(velocity: tuple[int, int], frames: int = 6) -> tuple[Tensor, Encoded]:
    """A bright spot on black that moves by whole pixels: pictures (T, C, H, W), and what is seen of them."""
    picture = torch.zeros(1, 12, 12, dtype=torch.float64)
    picture[0, 7:10, 2:4] = torch.rand(3, 2, dtype=torch.float64)
    pictures = torch.stack([picture.roll((t * velocity[1], t * velocity[0]), (1, 2)) for t in range(frames)])
    return pictures, Encoded(pictures[None], pictures.flatten(1)[None])


def exact(velocity: tuple[int, int]) -> WarpPrior:
    prior = make((1, 12, 12), constant(velocity, (1, 12, 12)))
    with torch.no_grad():
        prior.gain.fill_(40)
        prior.radius.fill_(40)
    return prior


def test_what_moves_by_whole_pixels_is_forecast_exactly() -> None:
    pictures, seen = shifting((1, -1))
    found = exact((1, -1)).forecast(seen.first(3), REACH)[0].unflatten(1, (1, 12, 12))
    torch.testing.assert_close(found, pictures[3:6], rtol=0, atol=1e-10)


def test_moments_between_and_after_frames_lie_on_the_way() -> None:
    """Half a frame of two pixels is one pixel; both sides agree only if the field of the way back is the reverse."""
    pictures, seen = shifting((2, 0), frames=3)
    prior = exact((2, 0))
    observed = torch.ones(3, dtype=torch.bool)
    after = prior.at(seen, observed, torch.tensor([2.5, 3.0]))[0].unflatten(1, (1, 12, 12))
    torch.testing.assert_close(after[0], pictures[2].roll(1, 2), rtol=0, atol=1e-10)
    torch.testing.assert_close(after[1], pictures[2].roll(2, 2), rtol=0, atol=1e-10)
    still = exact((0, 0))
    between = still.at(seen, observed, torch.tensor([0.25]))[0, 0].unflatten(0, (1, 12, 12))
    torch.testing.assert_close(between, 0.75 * pictures[0] + 0.25 * pictures[1], rtol=0, atol=1e-10)
    known = still.at(seen, observed, torch.tensor([1.0]))[0, 0].unflatten(0, (1, 12, 12))
    torch.testing.assert_close(known, pictures[1], rtol=0, atol=1e-6)


def test_draws_have_the_mean_and_the_variances_of_the_model() -> None:
    prior, seen = make(motion=some_motion()), encoded(clips=1)
    drawn = prior.draw(seen, 1, 20_000, 1.0, torch.Generator().manual_seed(0))[:, 0, 0].detach()
    errors = (drawn.mean(0) - prior.forecast(seen, 1)[0, 0].detach()) / drawn.std(0) * len(drawn) ** 0.5
    assert errors.abs().max() < 4
    expected = (prior.log_variance + some_motion()[FRAMES - 1, 0, 2:]).exp().flatten().detach()
    torch.testing.assert_close(drawn.var(0), expected, rtol=0.1, atol=0)


def test_draws_of_later_frames_spread_as_the_filter_would_with_new_frames() -> None:
    """x_{t+1} = x_t + K e_t and z_t = x_t + e_t, with e_t ~ N(0, S), simulated alone."""
    prior = make((1, 4, 4), constant((0, 0), (1, 4, 4)))
    with torch.no_grad():
        prior.gain.fill_(0.0)  # K = 1/2
        prior.radius.fill_(30.0)  # nothing decays
    drawn = prior.draw(encoded((1, 4, 4), clips=1), 3, 5000, 1.0, torch.Generator().manual_seed(0))[:, 0].detach()
    random, expected = np.random.default_rng(0), np.zeros(20_000)
    for step in range(3):
        new = random.normal(0, prior.log_variance.exp().sqrt().item(), expected.shape)
        assert drawn[:, step].var(0).mean().item() == pytest.approx((expected + new).var(), rel=0.05)
        expected = expected + 0.5 * new

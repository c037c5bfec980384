from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from linear_video.evaluation import linearity
from linear_video.evaluation.linearity import linearization
from linear_video.models.base import VideoModel
from linear_video.models.dynamic_vae.model import DynamicVae
from linear_video.models.dynamic_vae.settings import DynamicVaeSettings
from linear_video.models.last_frame import LastFrame, LastFrameSettings
from linear_video.models.lds import LdsSettings, LinearDynamicSystem

STATE = 6
SIZE = 20  # grey levels of one standard deviation
Step = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def pixels_as_codes(scale: float = 1.0) -> LinearDynamicSystem:
    """A linear system whose codes are the frames (1, 1, n) themselves, from mid-grey on, times a factor."""
    model = LinearDynamicSystem((1, 1, STATE), LdsSettings(STATE))
    model.mean.fill_(128 / 255)
    model.observation.copy_(scale * torch.eye(STATE))
    return model


def clips(step: Step, number: int = 250, length: int = 12, seed: int = 0) -> NDArray[np.uint8]:
    """Frames (1, 1, n) of a process from N(0, I); each clip also has its negative, so that the mean is 0."""
    random = np.random.default_rng(seed)
    codes = [random.standard_normal((number, STATE)).clip(-3, 3)]
    for _ in range(length - 1):
        codes.append(step(codes[-1], random))
    levels = np.rint(SIZE * np.stack(codes, axis=1))
    frames = 128 + np.concatenate((levels, -levels))
    assert 0 <= frames.min() <= frames.max() <= 255
    return frames.astype(np.uint8)[:, :, None, None]


def turned(degrees: float) -> Step:
    """A turn by the same angle in each of three planes."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.kron(np.eye(STATE // 2), [[cosine, -sine], [sine, cosine]])
    return lambda codes, random: codes @ matrix.T


def with_memory(memory: float) -> Step:
    """h(t+1) = a h(t) + sqrt(1 - a²) v(t), which is stationary."""
    return lambda codes, random: memory * codes + np.sqrt(1 - memory**2) * random.standard_normal(codes.shape)


def errors(model: VideoModel, train: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> tuple[float, float]:
    found = linearization(model, train, held_out)
    assert tuple(found) == linearity.NAMES
    return found["linearization_error"], found["persistence_error"]


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_a_code_that_a_matrix_moves_has_no_error(degrees: float) -> None:
    """These turns keep whole grey levels; the distance from a vector to its turned one is 2 - 2 cos of the angle."""
    step = turned(degrees)
    found = errors(pixels_as_codes(), clips(step), clips(step, seed=1))
    assert found == pytest.approx((0, 2 - 2 * np.cos(np.deg2rad(degrees))), abs=1e-6)


@pytest.mark.parametrize("degrees", [10, 60])
def test_grey_levels_alone_are_a_small_error(degrees: float) -> None:
    step = turned(degrees)
    found = errors(pixels_as_codes(), clips(step), clips(step, seed=1))
    assert found == pytest.approx((0, 2 - 2 * np.cos(np.deg2rad(degrees))), abs=1e-3)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_the_error_of_a_noisy_process_is_the_share_of_its_noise(memory: float) -> None:
    """1 - a² of the variance is new; a code that stands still also misses (1 - a)² of it."""
    step = with_memory(memory)
    found = errors(pixels_as_codes(), clips(step), clips(step, seed=1))
    assert found == pytest.approx((1 - memory**2, 2 - 2 * memory), abs=0.05)


def test_the_matrix_is_fitted_on_training_clips_and_judged_on_held_out_ones() -> None:
    """With turns in opposite directions, the guess is off by twice the angle."""
    angle = np.deg2rad(2 * 30)
    found = errors(pixels_as_codes(), clips(turned(30)), clips(turned(-30)))
    assert found == pytest.approx((2 - 2 * np.cos(angle), 2 - 2 * np.cos(angle / 2)), abs=1e-3)


def test_few_held_out_frames_are_not_learned_by_heart() -> None:
    """Three steps of six numbers can be met exactly by some matrix, even if they are noise."""
    noise = with_memory(0.0)
    error, _ = errors(pixels_as_codes(), clips(noise), clips(noise, number=1, length=4, seed=1))
    assert error > 0.8


def test_a_code_that_is_small_is_no_better() -> None:
    train, held_out = clips(with_memory(0.5)), clips(with_memory(0.5), seed=1)
    assert errors(pixels_as_codes(1e-3), train, held_out) == pytest.approx(errors(pixels_as_codes(), train, held_out))


def test_a_constant_in_the_held_out_codes_is_no_variance() -> None:
    """Without its mean, the held-out code varies by 1 / (1 + 4) of its mean square."""
    noise = with_memory(0.0)
    held_out = clips(noise, seed=1)
    shifted = (held_out + 2 * SIZE).astype(np.uint8)
    error, persistence = errors(pixels_as_codes(), clips(noise), shifted)
    assert error == pytest.approx(1 + 4, abs=0.15)
    assert persistence == pytest.approx(2, abs=0.03)


def test_no_more_clips_are_read_than_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearity, "CLIPS", 50)
    frames = clips(with_memory(0.8), number=1000)
    chosen = np.linspace(0, len(frames) - 1, 50).round().astype(int)
    model = pixels_as_codes()
    assert errors(model, frames, frames) == errors(model, frames[chosen], frames[chosen])


def test_the_code_of_a_dynamic_vae_is_its_mean_of_the_state() -> None:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    model = DynamicVae(shape, DynamicVaeSettings(state_dimension=4, channels=8, hidden_units=0)).eval()
    train, held_out = (np.random.default_rng(seed).integers(0, 256, (40, 5, *shape), np.uint8) for seed in range(2))

    def steps(frames: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        pictures = torch.from_numpy(frames).float() / 255
        with torch.no_grad():
            pairs = [model.encode(pictures[:, t : t + 2])[0][:, :4].double().numpy() for t in range(4)]
        return [np.concatenate(pairs[:-1]), np.concatenate(pairs[1:])]

    (x, y), (first, second) = steps(train), steps(held_out)
    matrix = y.T @ x @ np.linalg.inv(x.T @ x)
    variance = np.trace(np.cov(second.T, bias=True))
    expected = [((second - guess) ** 2).sum(1).mean() / variance for guess in (first @ matrix.T, first)]
    assert errors(model, train, held_out) == pytest.approx(expected, rel=1e-4)


def test_there_is_no_error_without_a_code_or_two_of_them_in_a_row() -> None:
    frames = clips(with_memory(0.5))
    assert linearization(LastFrame((1, 1, STATE), LastFrameSettings()), frames, frames) == {}
    assert linearization(pixels_as_codes(), frames[:, :1], frames[:, :1]) == {}
    assert linearization(pixels_as_codes(), frames[:, :2], frames[:, :2])
    pairs = np.zeros((3, 2, 1, 8, 8), np.uint8)
    small = DynamicVae((1, 8, 8), DynamicVaeSettings(state_dimension=4, channels=8))
    assert linearization(small, pairs, pairs) == {}  # it sees pairs: two frames are one code


def test_held_out_codes_that_do_not_vary_have_no_error() -> None:
    frames = clips(with_memory(0.5))
    assert linearization(pixels_as_codes(), frames, np.full((3, 5, 1, 1, STATE), 90, np.uint8)) == {}

"""References without a model, against definitions and against pictures that really move."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import lagrange
from scipy.ndimage import gaussian_filter

from linear_video.models.optical_flow import flow
from linear_video.tasks import references
from linear_video.tasks.backtest import psnr
from linear_video.tasks.references import Values
from tests.tasks.pictures_that_move import moment, noisy, texture

INNER = (slice(8, -8), slice(8, -8))


@given(st.floats(0, 1), st.integers(0, 5))
def test_cubic_is_the_polynomial_through_four_frames(share: float, seed: int) -> None:
    frames = np.random.default_rng(seed).uniform(0.3, 0.7, (4, 3, 2, 1)).astype(np.float32)
    found = references.cubic(list(frames), share)
    coefficients = np.polyfit([-1, 0, 1, 2], frames.reshape(4, -1), 3)
    expected = [np.polyval(one, share) for one in coefficients.T]
    np.testing.assert_allclose(found.ravel(), np.clip(expected, 0, 1), atol=1e-5)
    assert found[0, 0, 0] == pytest.approx(lagrange([-1, 0, 1, 2], frames[:, 0, 0, 0])(share), abs=1e-5)


@pytest.mark.parametrize(("share", "number"), [(0.0, 1), (1.0, 2)])
def test_cubic_goes_through_its_neighbours(share: float, number: int) -> None:
    frames = [texture(6, 7, seed=seed) for seed in range(4)]
    np.testing.assert_allclose(references.cubic(frames, share), frames[number], atol=1e-6)


def test_cubic_stays_within_black_and_white() -> None:
    black, white = np.zeros((2, 2, 1), np.float32), np.ones((2, 2, 1), np.float32)
    assert references.cubic([white, black, black, white], 0.5).min() == 0
    assert references.cubic([black, white, white, black], 0.5).max() == 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_mean_counts_the_nearer_frame_more(share: float) -> None:
    one, two = texture(5, 6, 3), texture(5, 6, 3, seed=1)
    found = references.mean_of_neighbours(one, two, share)
    np.testing.assert_allclose(found, one + share * (two - one), atol=1e-6)
    assert found.dtype == np.float32


def test_the_last_frame_is_repeated() -> None:
    frames = [texture(5, 6), texture(5, 6, seed=1)]
    found = references.last_frame(frames, 3)
    assert len(found) == 3
    for frame in found:
        np.testing.assert_array_equal(frame, frames[1])


@pytest.mark.parametrize("fine", [False, True])
def test_what_shifts_goes_on_shifting_along_its_optical_flow(fine: bool) -> None:
    found = references.optical_flow([moment(0), moment(1)], 3, fine)
    for lead, frame in enumerate(found, 2):
        truth = moment(lead)
        still = psnr(moment(1)[INNER], truth[INNER])
        assert psnr(frame[INNER], truth[INNER]) > max(30, still + 10)


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("speed", [4.0, -4.0])
def test_moments_between_are_found_along_the_optical_flow(fine: bool, share: float, speed: float) -> None:
    before, after, truth = (moment(time, speed=speed) for time in (0, 1, share))
    found = references.optical_flow_between(before, after, share, fine)
    mixed = references.mean_of_neighbours(before, after, share)
    assert psnr(found[INNER], truth[INNER]) > max(32, psnr(mixed[INNER], truth[INNER]) + 10)


def test_the_mean_of_both_ends_is_where_they_agree() -> None:
    """At either end, the frame that is there counts alone, and has not moved."""
    before, after = moment(0), moment(1)
    np.testing.assert_allclose(references.optical_flow_between(before, after, 0.0), before, atol=1e-6)
    np.testing.assert_allclose(references.optical_flow_between(before, after, 1.0), after, atol=1e-6)


def test_a_frame_is_moved_onto_another_of_the_same_scene() -> None:
    frame, other = moment(0), moment(1)
    found = references.onto(noisy(frame, 0.02, 0), other)
    assert psnr(found[INNER], frame[INNER]) > max(30, psnr(other[INNER], frame[INNER]) + 10)


def test_blur_is_a_gaussian() -> None:
    frame = texture(30, 40, 3, smooth=1.0)
    expected = gaussian_filter(frame, (1.5, 1.5, 0), mode="mirror", truncate=4)
    np.testing.assert_allclose(references.blurred(frame, 1.5)[INNER], expected[INNER], atol=2e-3)


@pytest.mark.parametrize(("planes", "strength"), [(1, 12.0), (3, 6.0)])
def test_non_local_means_take_noise_away(planes: int, strength: float) -> None:
    clean = texture(32, 40, planes, smooth=6.0)
    frame = noisy(clean, 12 / 255, 1).clip(0, 1)
    assert psnr(references.non_local_means(frame, strength), clean) > psnr(frame, clean) + 4


MAKERS: dict[str, Callable[[Values], Values]] = {
    "last_frame": lambda frame: references.last_frame([frame, frame], 1)[0],
    "optical_flow": lambda frame: references.optical_flow([frame, frame], 2)[1],
    "mean": lambda frame: references.mean_of_neighbours(frame, frame, 0.3),
    "cubic": lambda frame: references.cubic([frame] * 4, 0.3),
    "between": lambda frame: references.optical_flow_between(frame, frame, 0.3),
    "onto": lambda frame: references.onto(frame, frame),
    "blurred": lambda frame: references.blurred(frame, 1.0),
    "non_local_means": lambda frame: references.non_local_means(frame, 3.0),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", [(24, 31, 1), (31, 24, 3), (9, 14, 1), (130, 20, 3)])
def test_what_does_not_change_is_guessed_as_it_is_in_its_own_shape(name: str, shape: tuple[int, int, int]) -> None:
    frame = texture(*shape, smooth=8.0)
    found = MAKERS[name](frame)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert psnr(found, frame) > 30


@pytest.mark.parametrize("speed", [0.0, 0.5, 4.0])
def test_motion_is_that_of_the_picture(speed: float) -> None:
    before, after = (moment(time, speed=speed) for time in (0.0, 1.0))
    assert references.motion(before, after) == pytest.approx(speed, abs=0.1 + 0.1 * speed)


@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_motion_of_large_frames_is_in_their_own_pixels(speed: float) -> None:
    before, after = (moment(time, 500, 600, speed=speed) for time in (0.0, 1.0))
    assert references.motion(before, after) == pytest.approx(speed, abs=0.1 + 0.1 * speed)


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (2, 32), (3, 40), (8, 64), (15, 200), (12, 12)])
@pytest.mark.parametrize("fine", [False, True])
def test_thin_frames_have_an_optical_flow(size: tuple[int, int], fine: bool) -> None:
    """OpenCV itself ends the process on some of these."""
    pair = np.random.default_rng(0).random((2, *size, 1), np.float32)
    field = flow(pair[0], pair[1], 1, fine)
    assert field.shape == (*size, 2)
    assert np.isfinite(field).all()

"""Modes from autocovariances, against systems whose modes are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linear_video.models.subspace import lasting_modes


def cycle(length: int, clips: int, frames: int, noise: float, seed: int = 0) -> NDArray[np.float64]:
    """Clips of a cycle of random patterns, each from its own place in the cycle, with noise in every value."""
    random = np.random.default_rng(seed)
    patterns = random.standard_normal((length, length + 5))
    places = (random.integers(length, size=clips)[:, None] + np.arange(frames)) % length
    return np.asarray(patterns[places] + noise * random.standard_normal((clips, frames, length + 5)))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.floats(0, 1.5), st.integers(0, 10))
def test_a_cycle_has_the_roots_of_one_whatever_the_noise(length: int, noise: float, seed: int) -> None:
    found = lasting_modes(cycle(length, 300, 33, noise, seed))
    angles = np.sort(np.degrees(np.angle(found)))
    expected = 360 / length * np.arange(1, length // 2 + 1)  # without the mean, which does not turn
    np.testing.assert_allclose(angles, expected, atol=1)
    np.testing.assert_allclose(np.abs(found), 1, atol=0.02)


def test_a_mode_that_decays_has_its_modulus_and_angle() -> None:
    """A damped rotation, driven by noise, and seen with noise as large as itself; least squares finds it at half."""
    random, turn = np.random.default_rng(0), np.radians(40)
    matrix = 0.98 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    state = random.standard_normal((2000, 2))
    states = [state]
    for _ in range(39):
        states.append(states[-1] @ matrix.T + (1 - 0.98**2) ** 0.5 * random.standard_normal(state.shape))
    seen = np.stack(states, 1) + random.standard_normal((2000, 40, 2))
    [found] = lasting_modes(seen)
    assert abs(found) == pytest.approx(0.98, abs=0.01)
    assert np.degrees(np.angle(found)) == pytest.approx(40, abs=0.5)
    before, after = (part.reshape(-1, 2) for part in (seen[:, :-1], seen[:, 1:]))
    assert np.abs(np.linalg.eigvals(np.linalg.lstsq(before, after, rcond=None)[0])).max() < 0.55


def test_noise_and_what_stands_still_have_no_lasting_mode() -> None:
    assert len(lasting_modes(np.random.default_rng(0).standard_normal((500, 33, 6)))) == 0
    assert len(lasting_modes(np.ones((5, 33, 6)))) == 0


@pytest.mark.parametrize(("frames", "found"), [(2, 0), (3, 1), (4, 1)])
def test_clips_of_few_frames_tell_what_they_can(frames: int, found: int) -> None:
    """Two frames have no second autocovariance; three are enough for a cycle of two."""
    assert len(lasting_modes(cycle(2, 400, frames, 0.1))) == found

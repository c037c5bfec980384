from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.tasks.bagged_modes import bagged_modes
from linear_video.tasks.frequencies import fourier, magnified_linear, magnified_modes, oscillations

FPS = 20.0
BAND = (0.8, 1.6)
METHODS = [magnified_linear, magnified_modes]


def video(
    *tones: tuple[float, float], frames: int = 160, noise: float = 0.0, planes: int = 1, seed: int = 0
) -> NDArray[np.uint8]:
    """A textured picture (64, 80, planes); its brightness has tones of amplitudes, in grey levels, and frequencies."""
    time = np.arange(frames) / FPS
    rows, columns = np.mgrid[:64, :80]
    still = 120 + 40 * np.sin(rows / 5) * np.cos(columns / 7)
    change = sum((a * np.sin(2 * np.pi * f * time + f) for a, f in tones), np.zeros(frames))
    values = (still + change[:, None, None])[..., None] + np.random.default_rng(seed).normal(
        0, noise or 0.3, (frames, 64, 80, planes)
    )
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def amplitude(frames: NDArray[np.uint8], frequency: float) -> float:
    """Amplitude of a tone in the mean brightness, in grey levels, by least squares in the middle of the video."""
    time = np.arange(len(frames)) / FPS
    turns = 2 * np.pi * frequency * time
    regressors = np.stack([np.cos(turns), np.sin(turns), np.ones_like(time)], 1)[20:-20]
    found = np.linalg.lstsq(regressors, frames.mean(axis=(1, 2, 3))[20:-20], rcond=None)[0]
    return float(np.hypot(*found[:2]))


# --- the Fourier transform --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [0.7, 1.234, 3.3, 8.05])
def test_the_peak_is_the_frequency_of_a_sine(frequency: float) -> None:
    found = fourier(video((10, frequency)), FPS)
    assert found.frequency_hz == pytest.approx(frequency, abs=1e-4)
    assert found.interval_hz[0] < found.frequency_hz < found.interval_hz[1]
    assert found.interval_hz[1] - found.interval_hz[0] < 1e-3


def test_power_is_the_density_that_numpy_finds() -> None:
    frames = video((10, 1.2), planes=3)[:, :1, :1]
    found = fourier(frames, FPS).table
    time, cells = np.arange(len(frames)), frames.reshape(len(frames), 3) / 255
    slope, level = np.polyfit(time, cells, 1)
    window = np.sin(np.pi * time / len(time)) ** 2
    spectrum = np.fft.rfft((cells - np.outer(time, slope) - level) * window[:, None], 4 * len(time), axis=0)
    density = 2 * np.square(np.abs(spectrum)).mean(axis=1) / (FPS * np.square(window).sum())
    np.testing.assert_allclose(found["frequency_hz"], np.fft.rfftfreq(4 * len(time), 1 / FPS))
    np.testing.assert_allclose(found["power"][1:-1], density[1:-1], rtol=1e-3, atol=1e-8)


def test_the_strongest_peak_within_limits_counts() -> None:
    frames = video((10, 0.7), (5, 2.0), (2, 5.0))
    for lowest, highest, wanted in (None, None, 0.7), (1.0, None, 2.0), (2.5, 8.0, 5.0):
        assert fourier(frames, FPS, lowest, highest).frequency_hz == pytest.approx(wanted, abs=5e-3)


def test_intervals_hold_the_truth_and_shrink_with_noise() -> None:
    widths = []
    for noise in (60.0, 10.0):
        found = [fourier(video((3, 1.3), noise=noise, seed=seed), FPS, 0.6, 4.0) for seed in range(6)]
        assert sum(low <= 1.3 <= high for _, _, (low, high) in found) >= 5
        widths.append(np.median([high - low for _, _, (low, high) in found]))
    assert widths[1] < widths[0] / 2


def test_the_same_seed_gives_the_same_interval() -> None:
    frames = video((3, 1.3), noise=20)
    assert fourier(frames, FPS, seed=1)[1:] == fourier(iter(frames), FPS, seed=1)[1:]
    assert fourier(frames, FPS, seed=1).interval_hz != fourier(frames, FPS, seed=2).interval_hz


def test_a_still_video_has_no_peak() -> None:
    found = fourier([np.full((9, 7, 3), 50, np.uint8)] * 40, FPS)
    assert np.isnan([found.frequency_hz, *found.interval_hz]).all()


# --- magnification ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("magnify", METHODS)
@pytest.mark.parametrize("planes", [1, 3])
def test_what_is_in_the_band_grows_by_the_factor(magnify: Callable[..., Iterator[Any]], planes: int) -> None:
    """Everything outside the band, and the picture itself, stays the same."""
    frames = video((2, 1.15), (3, 3.5), noise=2, planes=planes)
    made = np.stack(list(magnify(frames, FPS, BAND, 6.0)))
    assert made.shape == frames.shape
    assert made.dtype == np.uint8
    assert amplitude(frames, 1.15) == pytest.approx(2, rel=0.02)
    assert amplitude(made, 1.15) == pytest.approx(12, rel=0.1)
    assert amplitude(made, 3.5) == pytest.approx(3, rel=0.05)
    np.testing.assert_allclose(made.mean(axis=0), frames.mean(axis=0), atol=1.5)


def test_the_modes_amplify_less_noise_than_the_filter_and_no_tone_beside_the_band() -> None:
    frames = video((2, 1.15), (2, 2.0), noise=8)
    time = np.arange(len(frames)) / FPS
    added, beside = [], []
    for magnify in METHODS:
        change = np.stack(list(magnify(frames, FPS, BAND, 6.0))).astype(float) - frames
        true = 10 * np.sin(2 * np.pi * 1.15 * time + 1.15)
        shared = change.mean(axis=(1, 2, 3))
        added.append(np.square(change - shared[:, None, None, None]).mean())
        beside.append(amplitude(np.stack(list(magnify(frames, FPS, BAND, 6.0))), 2.0))
        assert np.corrcoef(shared, true)[0, 1] > 0.85
    assert added[1] < 0.6 * added[0]
    assert beside[1] == pytest.approx(2, rel=0.15)
    assert abs(beside[1] - 2) < abs(beside[0] - 2)


def test_tiles_leave_no_seams() -> None:
    frames = video((3, 1.15))
    change = np.stack(list(magnified_modes(frames, FPS, BAND, 6.0))).astype(float) - frames
    np.testing.assert_allclose(
        change, np.broadcast_to(change.mean((1, 2, 3))[:, None, None, None], change.shape), atol=2
    )


def test_the_modes_know_the_frequency() -> None:
    found = oscillations(iter(video((3, 1.15), (5, 3.0), noise=5)), FPS, BAND)
    assert found.frequency_hz == pytest.approx(1.15, rel=0.01)
    assert found.table["frequency_hz"].between(*BAND).all()
    assert found.part.shape == (160, 16, 20, 1)


@pytest.mark.parametrize("magnify", METHODS)
def test_a_factor_of_one_and_a_still_video_change_nothing(magnify: Callable[..., Iterator[Any]]) -> None:
    frames = video((3, 1.15), noise=5)[..., 0]  # grey, without an axis for it
    np.testing.assert_array_equal(np.stack(list(magnify(frames, FPS, BAND, 1.0))), frames)
    still = np.repeat(frames[:1], 100, axis=0)
    np.testing.assert_array_equal(np.stack(list(magnify(still, FPS, BAND, 20.0))), still)


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("magnify", [*METHODS, lambda *a: oscillations(*a[:3])])
def test_impossible_bands_and_short_footage_are_refused(magnify: Callable[..., Any]) -> None:
    frames = video((3, 1.15))
    for band in ((0.0, 1.0), (2.0, 1.0), (1.0, 10.0), (1.0, 1.0)):
        with pytest.raises(InputError, match=r"band must be two frequencies within \(0, 10\) Hz"):
            magnify(frames, FPS, band, 2.0)
    with pytest.raises(InputError, match=r"the footage has 30 frames, but this needs at least 75; give a longer video"):
        magnify(frames[:30], FPS, BAND, 2.0)


def test_what_can_be_read_only_once_is_refused() -> None:
    for magnify in METHODS:
        with pytest.raises(InputError, match="read twice: give a list"):
            magnify(iter(video()), FPS, BAND, 2.0)


def test_fourier_refuses_short_footage_and_impossible_limits() -> None:
    frames = video((3, 1.15))
    for short in (frames[:0], frames[:15]):
        with pytest.raises(InputError, match=rf"the footage has {len(short)} frames, but this needs at least 16"):
            fourier(short, FPS)
    for limits in ((0.0, None), (3.0, 2.0), (None, 11.0)):
        with pytest.raises(InputError, match=r"lowest and highest must be within \(0, 10\] Hz"):
            fourier(frames, FPS, *limits)


def test_frames_of_other_kinds_are_refused() -> None:
    frames = video()
    with pytest.raises(InputError, match="frames must be uint8"):
        fourier(frames / 255, FPS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"frame 3 is \(10, 80, 1\), the ones before \(64, 80, 1\)"):
        fourier([*frames[:3], frames[3][:10]], FPS)


def test_an_order_without_any_pair_is_refused() -> None:
    with pytest.raises(InputError, match="order must be at least 2"):
        oscillations(video(), FPS, BAND, order=1)


# --- bags of frames ---------------------------------------------------------------------------------------------------


def test_bags_find_the_frequencies_of_two_sines_and_their_order() -> None:
    pytest.importorskip("pydmd")
    rows, columns = np.mgrid[:24, :32]
    time = np.arange(120)[:, None, None] / FPS
    one, other = (np.cos(2 * np.pi * f * time + 2 * np.pi * x / 32) for f, x in ((0.7, rows), (2.3, columns)))
    noise = np.random.default_rng(0).normal(0, 2, (120, 24, 32))
    frames = np.rint(128 + 40 * one + 15 * other + noise).clip(0, 255).astype(np.uint8)[..., None]
    state: Any = np.random.get_state()  # noqa: NPY002
    found = bagged_modes(frames, FPS, 4)
    assert found["frequency_hz"].tolist() == pytest.approx([0.7, 2.3], abs=0.02)
    assert (found["from_hz"] < found["frequency_hz"]).all()
    assert found.equals(bagged_modes(frames, FPS, 4))
    after: Any = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], state[1])
    within = bagged_modes(frames, FPS, 2, (1.5, 4.0))
    assert within["frequency_hz"].iloc[0] == pytest.approx(2.3, abs=0.05)


def test_bags_refuse_short_footage_and_impossible_bands() -> None:
    pytest.importorskip("pydmd")
    with pytest.raises(InputError, match="10 frames, but this needs at least 16"):
        bagged_modes(video(frames=10), FPS, 4)
    with pytest.raises(InputError, match="band must be"):
        bagged_modes(video(), FPS, 4, (3.0, 30.0))

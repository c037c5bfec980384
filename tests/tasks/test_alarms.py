import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.tasks.alarms import LEAST_ERROR, Calibration, calibrate, forecast_error, ordinary_errors
from linear_video.tasks.trained import Surprises

HORIZON = 3


def surprises(frames: int, seed: int = 0, before: int = 4, likelihood: bool = True) -> Surprises:
    """Surprises of a video of independent frames, with NaN where too few frames come before."""
    random = np.random.default_rng(seed)
    errors = random.chisquare(5, (frames, HORIZON)) * [1e-3, 2e-3, 4e-3]
    for lead in range(HORIZON):
        errors[: before + lead, lead] = np.nan
    return Surprises(random.normal(3, 0.5, frames) if likelihood else np.full(frames, np.nan), errors)


def complete(of_one: Surprises) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(of_one.errors).all(axis=1))


def test_forecast_error_is_the_worst_in_multiples_of_the_ordinary() -> None:
    errors = np.array([[1.0, 8.0, 2.0], [6.0, 2.0, 2.0], [np.nan, 2.0, 2.0], [1.0, np.nan, np.nan]])
    found = forecast_error(errors, np.array([2.0, 4.0, 8.0]))
    np.testing.assert_array_equal(found, [2.0, 3.0, np.nan, np.nan])


def test_ordinary_errors_are_means_over_frames_with_every_forecast() -> None:
    videos = [surprises(9), surprises(30, 1)]
    rows = [row for video in videos for row in video.errors if not np.isnan(row).any()]
    assert len(rows) == (9 - 6) + (30 - 6)
    np.testing.assert_allclose(ordinary_errors(videos), np.mean(rows, axis=0))


def test_what_is_always_forecast_exactly_is_no_division_by_zero() -> None:
    still = Surprises(np.zeros(9), np.zeros((9, HORIZON)))
    np.testing.assert_array_equal(ordinary_errors([still]), [LEAST_ERROR] * HORIZON)
    assert not calibrate([still], 0.5).alarms(still).any()
    moved = Surprises(np.zeros(9), np.full((9, HORIZON), 1e-3))
    assert calibrate([still], 0.5).alarms(moved).all()


@pytest.mark.parametrize("frames", [0, 3, 6])
def test_footage_too_short_for_any_complete_frame_is_refused(frames: int) -> None:
    with pytest.raises(InputError, match=r"too few frames: it needs at least context \+ horizon"):
        ordinary_errors([surprises(frames)])


@given(st.integers(7, 300), st.integers(1, 999), st.booleans(), st.integers(0, 99))
def test_thresholds_are_the_order_statistics_of_split_conformal(
    frames: int, per_mille: int, likelihood: bool, seed: int
) -> None:
    """Of n frames at most n - rank exceed one; with two kinds of surprise, each has half of the rate."""
    normal = [surprises(frames // 2, seed, likelihood=likelihood), surprises(frames, seed + 1, likelihood=likelihood)]
    count = sum(int(complete(video).sum()) for video in normal)
    halves = 2 if likelihood else 1
    rank = -(-(1000 * halves - per_mille) * (count + 1) // (1000 * halves))
    if rank > count:
        with pytest.raises(InputError, match=f"{count} frames of normal footage.*give at least"):
            calibrate(normal, per_mille / 1000)
        return
    found = calibrate(normal, per_mille / 1000)
    ordinary = ordinary_errors(normal)
    errors = np.sort(np.concatenate([forecast_error(v.errors, ordinary)[complete(v)] for v in normal]))
    bits = np.sort(np.concatenate([v.likelihood[complete(v)] for v in normal]))
    np.testing.assert_array_equal(found.errors, ordinary)
    # Rounding may make it one rank more careful.
    assert found.forecast in errors[rank - 1 : rank + 1]
    assert found.likelihood in (bits[rank - 1 : rank + 1] if likelihood else [np.inf])
    alarms = sum(int(found.alarms(video).sum()) for video in normal)
    assert alarms <= halves * (count - rank)
    assert alarms <= per_mille / 1000 * (count + 1)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("likelihood", [True, False])
def test_further_ordinary_frames_are_alarms_at_most_at_the_rate(rate: float, likelihood: bool) -> None:
    """Many independent calibrations, each followed by ordinary frames."""
    rates = []
    for seed in range(150):
        found = calibrate([surprises(250, seed, likelihood=likelihood)], rate)
        further = surprises(300, 1000 + seed, likelihood=likelihood)
        rates.append(found.alarms(further)[complete(further)].mean())
    standard_error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) < rate + 3 * standard_error
    assert np.mean(rates) > 0.6 * rate - 3 * standard_error  # and not of no use


@given(st.integers(1, 400), st.sampled_from([0.005, 0.01, 0.02, 0.05, 0.1, 0.2]), st.booleans())
def test_as_many_frames_as_a_refusal_asks_for_are_enough(count: int, rate: float, likelihood: bool) -> None:
    normal = [surprises(count + 6, likelihood=likelihood)]
    try:
        calibrate(normal, rate)
        assume(False)
    except InputError as error:
        wanted = int(str(error).rsplit(" ", 1)[1].rstrip("."))
    assert wanted > count
    calibrate([surprises(wanted + 6, likelihood=likelihood)], rate)


def test_alarms_are_what_either_surprise_exceeds() -> None:
    errors = np.array([[1.0, 1.0], [1.0, 5.0], [1.0, 1.0], [np.nan, 9.0], [np.nan, np.nan]])
    likelihood = np.array([1.0, 1.0, 7.0, 9.0, 9.0])
    found = Calibration(np.array([1.0, 2.0]), 2.0, 6.0).alarms(Surprises(likelihood, errors))
    assert found.tolist() == [False, True, True, False, False]  # never without every forecast


def test_a_threshold_itself_is_no_alarm() -> None:
    errors = np.array([[2.0, 2.0]])
    assert not Calibration(np.ones(2), 2.0, 6.0).alarms(Surprises(np.array([6.0]), errors)).any()


def test_models_without_likelihood_have_alarms_by_their_forecasts_alone() -> None:
    normal = surprises(300, likelihood=False)
    found = calibrate([normal], 0.1)
    assert found.likelihood == np.inf
    strange = Surprises(normal.likelihood, 100 * normal.errors)
    np.testing.assert_array_equal(found.alarms(strange), complete(normal))


def test_the_first_frames_without_likelihood_do_not_hide_it() -> None:
    """The Dynamic VAE has none for the first frame."""
    normal = surprises(300)
    normal.likelihood[0] = np.nan
    assert np.isfinite(calibrate([normal], 0.1).likelihood)

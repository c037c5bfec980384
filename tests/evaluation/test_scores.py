import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from linear_video.common.errors import InputError
from linear_video.evaluation.scores import (
    PSNR_CEILING,
    confidence95,
    judge_as_openstl,
    judge_frames,
    score,
    score_frames,
)


def make_frames(shape: tuple[int, ...] = (4, 3, 1, 9, 8), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def psnr(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """PSNR by its definition, for values in [0, 1]: (N, T)."""
    return np.asarray(10 * np.log10(1 / ((predicted - truth) ** 2).mean(axis=(2, 3, 4))))


Scored = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
both = pytest.mark.parametrize("scored", [judge_frames, score_frames])


@both
@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_is_ten_log_of_one_over_the_mean_square_error(scored: Scored, channels: int) -> None:
    predicted, truth = (make_frames((4, 3, channels, 9, 8), seed) for seed in range(2))
    np.testing.assert_allclose(scored(predicted, truth)[0], psnr(predicted, truth))


@both
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_the_mean_over_channels_of_single_pictures(scored: Scored, channels: int) -> None:
    truth = make_frames((4, 3, channels, 9, 8))
    predicted = np.clip(truth + 0.1 * make_frames(truth.shape, seed=1), 0, 1)
    _, ssim = scored(predicted, truth)
    for n, t in np.ndindex(4, 3):
        pairs = zip(truth[n, t], predicted[n, t], strict=True)
        each = [structural_similarity(*pair, data_range=1, win_size=7) for pair in pairs]
        assert ssim[n, t] == pytest.approx(np.mean(each))


@given(
    st.tuples(st.integers(1, 2), st.sampled_from([1, 3]), st.integers(7, 20), st.integers(7, 20)),
    st.sampled_from([0.0, 1e-3, 0.1, 1.0]),
    st.integers(0, 2**16),
)
def test_scores_are_scikit_images_to_rounding(shape: tuple[int, ...], noise: float, seed: int) -> None:
    """This includes flat pictures, whose variances are rounding errors."""
    generator = np.random.default_rng(seed)
    truth = generator.choice([0.0, 0.3, 1.0], size=(2, *shape)).round(1)
    truth[0] = truth[0, ..., :1, :1]  # flat
    predicted = np.clip(truth + noise * generator.standard_normal(truth.shape), 0, 1)
    predicted[:, 0, 0, 0, 0] = 0.5  # no frame is predicted exactly, but for its cap
    psnr, ssim = score_frames(predicted, truth)
    for values, judged in zip((psnr, ssim), judge_frames(predicted, truth), strict=True):
        np.testing.assert_allclose(values, judged, rtol=0, atol=1e-9)
    for index in np.ndindex(truth.shape[:2]):
        pair = truth[index], predicted[index]
        expected = structural_similarity(*pair, data_range=1, channel_axis=0)
        assert ssim[index] == pytest.approx(expected, abs=1e-10)
        with np.errstate(divide="ignore"):
            expected = min(peak_signal_noise_ratio(*pair, data_range=1), PSNR_CEILING)
        assert psnr[index] == pytest.approx(expected, abs=1e-9)


def test_single_precision_changes_nothing_that_matters() -> None:
    predicted, truth = (make_frames(seed=seed) for seed in range(2))
    for single, double in zip(
        score_frames(predicted.astype(np.float32), truth.astype(np.float32)),
        score_frames(predicted, truth),
        strict=True,
    ):
        np.testing.assert_allclose(single, double, rtol=1e-5)


@both
@pytest.mark.filterwarnings("error")
def test_perfect_prediction_has_finite_scores(scored: Scored) -> None:
    truth = make_frames()
    found_psnr, ssim = scored(truth, truth)
    np.testing.assert_array_equal(found_psnr, PSNR_CEILING)
    np.testing.assert_allclose(ssim, 1)


@both
def test_almost_perfect_prediction_is_capped_as_well(scored: Scored) -> None:
    truth = make_frames()
    assert (scored(truth + 1e-9, truth)[0] == PSNR_CEILING).all()
    assert (scored(truth + 1e-4, truth)[0] < PSNR_CEILING).all()


@both
@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        ((4, 3, 1, 9, 8), (4, 2, 1, 9, 8)),
        ((4, 3, 1, 9, 8), (4, 3, 3, 9, 8)),
        ((1, 3, 1, 9, 8), (4, 3, 1, 9, 8)),
        ((3, 1, 9, 8), (3, 1, 9, 8)),
    ],
)
def test_shapes_that_differ_are_refused(scored: Scored, predicted: tuple[int, ...], truth: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="must both be"):
        scored(make_frames(predicted), make_frames(truth))


@both
@pytest.mark.parametrize("size", [(6, 9), (9, 6)])
def test_frames_smaller_than_the_window_of_ssim_are_refused(scored: Scored, size: tuple[int, int]) -> None:
    frames = make_frames((2, 2, 1, *size))
    with pytest.raises(InputError, match="at least 7x7"):
        scored(frames, frames)


@pytest.mark.parametrize("channels", [1, 3])
def test_openstls_scores_are_those_of_its_formulas(channels: int) -> None:
    truth = make_frames((4, 3, channels, 9, 8))
    predicted = truth + 0.3 * (make_frames(truth.shape, seed=1) - 0.5)  # beyond [0, 1], too
    found, shown = judge_as_openstl(predicted, truth), predicted.clip(0, 1)
    assert found["mse"].mean() == pytest.approx(np.mean((predicted - truth) ** 2, axis=(0, 1)).sum())
    assert found["mae"].mean() == pytest.approx(np.mean(np.abs(predicted - truth), axis=(0, 1)).sum())
    # A range of 2 is a range of 1 for values half as large.
    np.testing.assert_allclose(found["ssim"], judge_frames(shown / 2, truth / 2)[1])
    np.testing.assert_allclose(found["psnr"], psnr(shown, truth))
    for index in np.ndindex(4, 3):
        pairs = zip((255 * shown[index]).ravel(), (255 * truth[index]).ravel(), strict=True)
        squares = [(int(one) - int(other)) ** 2 % 256 for one, other in pairs]  # all that is left in 8 bits
        assert found["psnr_uint8"][index] == pytest.approx(10 * np.log10(255**2 / np.mean(squares)))


def test_openstls_range_is_what_scikit_image_took_for_floats() -> None:
    from skimage.util.dtype import dtype_range

    least, greatest = dtype_range[np.float32]
    truth, predicted = make_frames(seed=0), make_frames(seed=1)
    expected = structural_similarity(truth[0, 0, 0], predicted[0, 0, 0], data_range=greatest - least)
    assert judge_as_openstl(predicted, truth)["ssim"][0, 0] == pytest.approx(expected)
    assert expected > judge_frames(predicted, truth)[1][0, 0]


@pytest.mark.filterwarnings("error")
def test_a_perfect_prediction_has_finite_scores_in_openstls_conventions() -> None:
    truth = make_frames()
    found = {name: values.mean() for name, values in judge_as_openstl(truth, truth).items()}
    assert found == {"mse": 0, "mae": 0, "ssim": 1, "psnr": PSNR_CEILING, "psnr_uint8": PSNR_CEILING}


@pytest.mark.parametrize("count", [2, 5, 300])
def test_confidence_interval_is_students(count: int) -> None:
    values = np.random.default_rng(0).normal(20, 3, (count, 4))
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(axis=0), scale=stats.sem(values, axis=0))
    np.testing.assert_allclose(confidence95(values), (high - low) / 2)


def test_confidence_interval_agrees_with_the_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(3, 2, 200)
    interval = stats.bootstrap((values,), np.mean, n_resamples=2000, rng=0).confidence_interval
    assert confidence95(values[:, None])[0] == pytest.approx((interval.high - interval.low) / 2, rel=0.1)


def test_single_value_has_no_interval() -> None:
    assert np.isnan(confidence95(np.ones((1, 5)))).all()


def test_scores_of_a_single_clip_say_that_their_interval_is_unknown() -> None:
    frames = make_frames((1, 2, 1, 9, 8))
    scores = json.loads(json.dumps(score(frames, frames, 1 - frames, frames[0, 0]), allow_nan=False))
    for row in (scores, scores["last_frame"], scores["mean_frame"]):
        assert row["psnr_ci95"] == row["ssim_ci95"] == [None, None]


def test_other_references_are_scored_as_the_model_is() -> None:
    predicted, truth = make_frames((3, 2, 1, 9, 8), seed=1), make_frames((3, 2, 1, 9, 8), seed=2)
    scores = score(predicted, truth, truth, truth[0, 0], optical_flow=predicted)
    assert scores["optical_flow"] == {name: scores[name] for name in ("psnr", "psnr_ci95", "ssim", "ssim_ci95")}


@pytest.fixture
def scored() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Scores of noise, and the arrays they come from; the horizon is unlike the context."""
    arrays: dict[str, Any] = {
        "predicted": make_frames((6, 3, 3, 9, 8), seed=1),
        "context": make_frames((6, 5, 3, 9, 8), seed=2),
        "truth": make_frames((6, 3, 3, 9, 8), seed=3),
        "mean_frame": make_frames((3, 9, 8), seed=4),
    }
    return score(**arrays), arrays


def test_scores_are_means_over_sequences_of_each_predicted_frame(scored: Any) -> None:
    scores, arrays = scored
    expected = psnr(arrays["predicted"], arrays["truth"])
    assert scores["psnr"] == pytest.approx(expected.mean(axis=0))
    interval = stats.t.interval(0.95, 5, scale=stats.sem(expected, axis=0))
    assert scores["psnr_ci95"] == pytest.approx(interval[1])
    assert (len(scores["ssim"]), len(scores["ssim_ci95"])) == (3, 3)


def test_last_frame_row_repeats_the_newest_context_frame(scored: Any) -> None:
    scores, arrays = scored
    repeated = np.stack([arrays["context"][:, 4]] * 3, axis=1)
    assert scores["last_frame"]["psnr"] == pytest.approx(psnr(repeated, arrays["truth"]).mean(axis=0))
    assert scores["last_frame"]["ssim"] == pytest.approx(judge_frames(repeated, arrays["truth"])[1].mean(axis=0))


def test_mean_frame_row_repeats_the_mean_frame(scored: Any) -> None:
    scores, arrays = scored
    repeated = np.tile(arrays["mean_frame"], (6, 3, 1, 1, 1))
    assert scores["mean_frame"]["psnr"] == pytest.approx(psnr(repeated, arrays["truth"]).mean(axis=0))
    assert scores["mean_frame"]["ssim"] == pytest.approx(judge_frames(repeated, arrays["truth"])[1].mean(axis=0))


def test_scores_are_what_the_file_promises(scored: Any) -> None:
    scores = json.loads(json.dumps(scored[0], allow_nan=False))
    sizes = {name: scores[name] for name in ("n_sequences", "context", "horizon", "frame_shape")}
    assert sizes == {"n_sequences": 6, "context": 5, "horizon": 3, "frame_shape": [3, 9, 8]}
    for row in (scores, scores["last_frame"], scores["mean_frame"]):
        for name in ("psnr", "ssim", "psnr_ci95", "ssim_ci95"):
            assert len(row[name]) == 3


def test_openstls_scores_are_there_for_each_row_if_they_are_asked_for() -> None:
    frames = [make_frames((6, 3, 1, 9, 8), seed) for seed in range(3)]
    assert "openstl" not in score(frames[0], frames[1], frames[2], frames[0][0, 0])
    scores = score(frames[0], frames[1], frames[2], frames[0][0, 0], openstl=True, optical_flow=frames[1])
    shown = {
        "model": frames[0],
        "last_frame": np.broadcast_to(frames[1][:, -1:], frames[2].shape),
        "mean_frame": np.broadcast_to(frames[0][0, 0], frames[2].shape),
        "optical_flow": frames[1],
    }
    for name, predicted in shown.items():
        row = json.loads(json.dumps((scores | {"model": scores})[name]["openstl"], allow_nan=False))
        expected = {metric: values.mean() for metric, values in judge_as_openstl(predicted, frames[2]).items()}
        assert row == pytest.approx(expected)

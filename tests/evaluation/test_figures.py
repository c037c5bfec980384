from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linear_video.evaluation.figures import (
    animation,
    filmstrip,
    horizon_plot,
    representative_clips,
    spectrum_plot,
)


def make_frames(clips: int, frames: int, channels: int = 1, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (clips, frames, channels, side, side)) / 255


def check_written(figure: Figure, path: Path) -> None:
    """Save a figure and read it back: a picture in which something is drawn."""
    figure.savefig(path, dpi=40)
    with Image.open(path) as image:
        assert len(np.unique(np.array(image.convert("L")))) > 10


# --- film strip -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clips", "context", "horizon", "channels"), [(1, 1, 1, 3), (2, 3, 2, 3), (2, 10, 2, 1)])
def test_filmstrip_shows_truth_prediction_and_error_of_each_clip(
    tmp_path: Path, clips: int, context: int, horizon: int, channels: int
) -> None:
    seen, truth, predicted = (
        make_frames(clips, frames, channels, seed=frames + 1) for frames in (context, horizon, horizon)
    )
    predicted = 1 - predicted
    figure = filmstrip(seen, truth, predicted, "a title")
    shown = min(context, 5)
    visible = [axis for axis in figure.axes if axis.get_visible()]
    pictures = [axis.images[0].get_array() for axis in visible]
    assert len(visible) == clips * (shown + 3 * horizon)
    assert all(len(axis.images) == 1 for axis in visible)

    def as_shown(frames: np.ndarray) -> list[np.ndarray]:
        return [frame[0] if channels == 1 else np.moveaxis(frame, 0, -1) for frame in frames]

    expected = []
    for clip in range(clips):
        expected += as_shown(seen[clip, -shown:]) + as_shown(truth[clip]) + as_shown(predicted[clip])
        expected += list(abs(predicted[clip] - truth[clip]).mean(axis=1))
    for picture, wanted in zip(pictures, expected, strict=True):
        assert picture is not None
        np.testing.assert_allclose(picture, wanted)
    check_written(figure, tmp_path / "filmstrip.png")


def test_filmstrip_shows_grey_values_as_they_are() -> None:
    figure = filmstrip(make_frames(1, 2) / 4, make_frames(1, 2) / 4, make_frames(1, 2) / 4, "dark")
    assert {image.get_clim() for axis in figure.axes for image in axis.images} == {(0, 1)}


def test_filmstrip_numbers_the_predicted_frames_from_one() -> None:
    figure = filmstrip(make_frames(1, 2), make_frames(1, 3), make_frames(1, 3), "numbers")
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == ["-2", "-1", "+1", "+2", "+3"]


# --- plots ----------------------------------------------------------------------------------------------------------


def make_scores(horizon: int) -> dict[str, Any]:
    def row(best: float) -> dict[str, list[float]]:
        fall = [best - t for t in range(horizon)]
        share = [value / 40 for value in fall]
        return {"psnr": fall, "psnr_ci95": [0.5] * horizon, "ssim": share, "ssim_ci95": [0.01] * horizon}

    return {"horizon": horizon, **row(30), "last_frame": row(20), "mean_frame": row(15)}


@pytest.mark.parametrize("horizon", [1, 5])
def test_horizon_plot_shows_model_and_baselines(tmp_path: Path, horizon: int) -> None:
    scores = make_scores(horizon)
    rows = {"our model": scores, "last frame": scores["last_frame"], "mean frame": scores["mean_frame"]}
    figure = horizon_plot(rows)
    assert [axis.get_ylabel() for axis in figure.axes] == ["PSNR / dB", "SSIM"]
    for axis, metric in zip(figure.axes, ("psnr", "ssim"), strict=True):
        lines = {str(line.get_label()): line for line in axis.get_lines()}
        assert list(lines) == ["our model", "last frame", "mean frame"]
        for line, row in zip(lines.values(), (scores, scores["last_frame"], scores["mean_frame"]), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), range(1, horizon + 1))
            np.testing.assert_array_equal(line.get_ydata(), row[metric])
        assert len(axis.collections) == 3  # bands
        heights = np.asarray(axis.collections[0].get_paths()[0].vertices)[:, 1]
        assert heights.max() == pytest.approx(scores[metric][0] + scores[f"{metric}_ci95"][0])
        assert heights.min() == pytest.approx(scores[metric][-1] - scores[f"{metric}_ci95"][-1])
    check_written(figure, tmp_path / "horizon.png")


def test_spectrum_plot_shows_pairs_and_keeps_endless_modes_on_the_page(tmp_path: Path) -> None:
    eigenvalues = np.array([0.9 * np.exp(0.5j), 1.0, 0.5j])
    with np.errstate(divide="ignore"):
        period = 2 * np.pi / np.abs(np.angle(eigenvalues))
        half_life = np.log(0.5) / np.log(np.abs(eigenvalues)) * np.array([1, -1, 1])
    figure = spectrum_plot(eigenvalues, period, half_life)
    disc, times = figure.axes
    shown = np.concatenate([points.get_offsets() for points in disc.collections]) @ (1, 1j)
    np.testing.assert_allclose(np.sort_complex(shown), np.sort_complex([*eigenvalues, *eigenvalues.conj()]))
    (modes,) = times.collections
    offsets = np.asarray(modes.get_offsets())
    np.testing.assert_allclose(offsets[[0, 2]], np.stack((period, half_life), axis=1)[[0, 2]])
    assert np.isfinite(offsets).all()
    assert offsets[1].tolist() == [1e4, 1e4]
    check_written(figure, tmp_path / "spectrum.png")


# --- animation ------------------------------------------------------------------------------------------------------

PAD, HEADER = 3, 18


def tile(picture: np.ndarray, row: int, clip: int, side: int) -> np.ndarray:
    """The frame of one clip within a picture of the animation."""
    top, left = HEADER + row * (side + 2 * PAD) + PAD, clip * (side + 2 * PAD) + PAD
    return picture[top : top + side, left : left + side]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("frame_side", [8, 10, 128])
def test_animation_shows_truth_above_prediction_pixel_by_pixel(channels: int, frame_side: int) -> None:
    context, truth, predicted = (
        make_frames(2, frames, channels, frame_side, seed) for seed, frames in enumerate((3, 2, 2))
    )
    pictures = animation(context, truth, predicted, "model", side=96)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (5, HEADER + 2 * (96 + 2 * PAD), 2 * (96 + 2 * PAD), 3)
    nearest = np.arange(96) * frame_side // 96
    for clip in range(2):
        for row, strip in enumerate((truth, predicted)):
            frames = np.concatenate((context[clip], strip[clip]))
            for t, frame in enumerate(frames):
                expected = np.rint(255 * frame[:, nearest][:, :, nearest]).transpose(1, 2, 0)
                expected = np.broadcast_to(expected, (96, 96, 3))
                np.testing.assert_array_equal(tile(pictures[t], row, clip, 96), expected)


def test_only_frames_that_are_predicted_stand_in_a_red_border() -> None:
    context, truth = make_frames(1, 2), make_frames(1, 3)
    pictures = animation(context, truth, truth, "model")
    above, below = pictures[:, HEADER, 10].astype(int), pictures[:, -1, 10].astype(int)
    red = [bool(colour[0] > colour[1] + 50 and colour[0] > colour[2] + 50) for colour in below]
    assert red == [False, False, True, True, True]
    assert (above == above[:, :1]).all()  # grey


def test_animation_clips_what_no_screen_can_show() -> None:
    predicted = np.stack([np.full((1, 1, 8, 8), value) for value in (-0.5, 1.5)], axis=1)
    pictures = animation(make_frames(1, 1), make_frames(1, 2), predicted, "model")
    assert (tile(pictures[1], 1, 0, 96) == 0).all()
    assert (tile(pictures[2], 1, 0, 96) == 255).all()


# --- which clips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_representative_clips_go_from_bad_to_good_without_the_extremes(count: int) -> None:
    quality = np.random.default_rng(0).permutation(101)
    chosen = representative_clips(quality[:, None] + np.array([-2.0, 0.0, 2.0]), count)
    shares = quality[chosen] / 100
    np.testing.assert_allclose(shares, (np.arange(count) + 0.5) / count, atol=0.011)


@pytest.mark.parametrize("clips", [2, 3])
def test_a_median_clip_stands_in_the_middle(clips: int) -> None:
    assert representative_clips(np.array([[3.0], [1.0], [2.0]])[:clips], clips) == ([1, 0] if clips == 2 else [1, 2, 0])


@pytest.mark.parametrize("clips", [2, 4])
def test_no_clip_is_shown_twice_when_there_are_few(clips: int) -> None:
    chosen = representative_clips(np.arange(float(clips))[:, None], 6)
    assert chosen == list(range(clips))

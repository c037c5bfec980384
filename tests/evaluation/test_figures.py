import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linear_video.evaluation.figures import (
    animation,
    drawn_clips,
    filmstrip,
    horizon_plot,
    representative_clips,
    spectrum_plot,
    synthesis_animation,
)
from linear_video.io.figures import encoded


def make_frames(clips: int, frames: int, channels: int = 1, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (clips, frames, channels, side, side)) / 255


def check_written(figure: Figure, path: Path) -> None:
    """Save a figure and read it back: a picture in which something is drawn."""
    figure.savefig(path, dpi=40)
    with Image.open(path) as image:
        assert len(np.unique(np.array(image.convert("L")))) > 10


# --- film strip -----------------------------------------------------------------------------------------------------


def rows_of(figure: Figure) -> list[np.ndarray]:
    """The rows of frames in a film strip, from the top."""
    return [np.ma.filled(np.ma.asarray(axis.images[0].get_array()), np.nan) for axis in figure.axes]


def frames_of(row: np.ndarray, count: int, width: int) -> list[np.ndarray]:
    """Frames in a row of pictures, from the right, without the gaps between them."""
    gap = max(1, width // 24)
    ends = [row.shape[1] - (width + gap) * k for k in range(count)]
    return [row[:, end - width : end] for end in reversed(ends)]


def as_shown(frames: np.ndarray) -> list[np.ndarray]:
    return [frame[0] if len(frame) == 1 else np.moveaxis(frame, 0, -1) for frame in frames]


@pytest.mark.parametrize(
    ("clips", "context", "horizon", "channels", "width"),
    [(1, 1, 1, 3, 8), (2, 3, 2, 3, 8), (3, 10, 2, 1, 48), (3, 4, 5, 1, 8), (3, 9, 8, 3, 8)],
)
def test_filmstrip_shows_context_truth_prediction_and_error_of_each_clip(
    tmp_path: Path, clips: int, context: int, horizon: int, channels: int, width: int
) -> None:
    seen, truth, predicted = (
        np.random.default_rng(seed).random((clips, frames, channels, 8, width))
        for seed, frames in enumerate((context, horizon, horizon))
    )
    captions = [f"clip {clip}" for clip in range(clips)]
    figure = filmstrip(seen, truth, predicted, "a title", captions)
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == captions
    shown = rows_of(figure)
    beside = clips * horizon * width / 8 <= 20  # else each clip stands below the one before
    blocks = [shown[clip::clips] if beside else shown[4 * clip : 4 * clip + 4] for clip in range(clips)]
    newest = min(context, horizon)
    for clip, block in enumerate(blocks):
        rows = (
            seen[clip, context - newest :],
            truth[clip],
            predicted[clip],
            abs(predicted[clip] - truth[clip]).mean(axis=1, keepdims=True),
        )
        for found, wanted in zip(block, rows, strict=True):
            for frame, expected in zip(frames_of(found, len(wanted), width), as_shown(wanted), strict=True):
                np.testing.assert_allclose(frame, expected)
    check_written(figure, tmp_path / "filmstrip.png")


@pytest.mark.parametrize(
    ("clips", "context", "shape"), [(1, 10, (32, 32)), (3, 10, (32, 32)), (3, 5, (24, 48)), (2, 8, (64, 32))]
)
def test_a_film_strip_uses_its_space(clips: int, context: int, shape: tuple[int, int]) -> None:
    black = np.zeros((clips, context + 5, 1, *shape))
    drawn = encoded(
        filmstrip(black[:, :context], black[:, context:], black[:, context:], "a title", ["a clip"] * clips)
    )
    with Image.open(io.BytesIO(drawn.content)) as image:
        grey = np.array(image.convert("L"))
    # White are the lines of text, the names of the rows at the left, and small gaps between the pictures.
    assert (grey > 250).mean() < 0.4
    assert (grey[60:, 90:] > 250).mean() < 0.17
    assert grey.shape[1] < 1800


def test_filmstrip_shows_grey_values_as_they_are() -> None:
    figure = filmstrip(make_frames(1, 2) / 4, make_frames(1, 2) / 4, make_frames(1, 2) / 4, "dark")
    assert {image.get_clim() for axis in figure.axes for image in axis.images} == {(0, 1)}


@pytest.mark.parametrize(
    ("context", "horizon", "above_context", "above_truth"),
    [
        (2, 3, ["-2", "-1"], ["+1", "+2", "+3"]),
        (4, 2, ["-2", "-1"], ["+1", "+2"]),
        (5, 21, ["-5", "-4", "-3", "-2", "-1"], ["+1", "+6", "+11", "+16", "+21"]),
    ],
)
def test_filmstrip_numbers_frames_from_the_first_that_is_predicted(
    context: int, horizon: int, above_context: list[str], above_truth: list[str]
) -> None:
    frames = make_frames(1, context + horizon)
    figure = filmstrip(frames[:, :context], frames[:, context:], frames[:, context:], "numbers")
    numbers = [[label.get_text() for label in axis.get_xticklabels()] for axis in figure.axes]
    assert numbers == [above_context, above_truth, [], []]
    for axis, row, shown in zip(figure.axes, rows_of(figure), numbers, strict=False):
        columns = [int(place) // 9 for place in axis.get_xticks()]  # frames are 8 pixels wide, 1 is between them
        assert columns == list(range(row.shape[1] // 9 + 1))[-len(shown) :][: len(columns)]


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


def test_a_horizon_plot_of_one_clip_has_no_bands() -> None:
    scores = json.loads('{"psnr": [20, 18], "psnr_ci95": [null, null], "ssim": [0.9, 0.8], "ssim_ci95": [null, null]}')
    figure = horizon_plot({"our model": scores})
    for axis, metric in zip(figure.axes, ("psnr", "ssim"), strict=True):
        np.testing.assert_array_equal(axis.get_lines()[0].get_ydata(), scores[metric])
        assert all(np.size(path.vertices) == 0 for band in axis.collections for path in band.get_paths())


def test_a_reference_has_one_colour_in_every_horizon_plot() -> None:
    scores = make_scores(2)
    colours = []
    for names in (["ile", "last frame"], ["optical_flow", "last_frame", "a", "b", "c", "d", "ile"]):
        lines = horizon_plot(dict.fromkeys(names, scores)).axes[0].get_lines()
        assert len({line.get_color() for line in lines}) == len(names)
        colours.append({line.get_label(): line.get_color() for line in lines}[names[1]])
    assert colours[0] == colours[1]


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

PAD, HEADER = 3, 24


def tile(picture: np.ndarray, clip: int, column: int, size: tuple[int, int]) -> np.ndarray:
    """A frame of one clip within a picture of the animation: truth, prediction or error."""
    height, width = size
    top, left = HEADER + clip * (height + 2 * PAD) + PAD, column * (width + 2 * PAD) + PAD
    return picture[top : top + height, left : left + width]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shape", "size"), [((8, 8), (256, 256)), ((32, 32), (256, 256)), ((20, 30), (180, 270))])
def test_animation_shows_truth_prediction_and_error_side_by_side(
    channels: int, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    context, truth, predicted = (
        np.random.default_rng(seed).integers(0, 256, (2, frames, channels, *shape)) / 255
        for seed, frames in enumerate((3, 2, 2))
    )
    pictures = animation(context, truth, predicted, "model")
    assert pictures.dtype == np.uint8
    assert pictures.shape == (5, HEADER + 2 * (size[0] + 2 * PAD), 3 * (size[1] + 2 * PAD), 3)
    rows, columns = (np.arange(large) * small // large for small, large in zip(shape, size, strict=True))
    for clip in range(2):
        true, made = (np.concatenate((context[clip], after[clip])) for after in (truth, predicted))
        for t in range(5):
            for column, frame in enumerate((true[t], made[t])):
                expected = np.rint(255 * frame[:, rows][:, :, columns]).transpose(1, 2, 0)
                expected = np.broadcast_to(expected, (*size, 3))
                np.testing.assert_array_equal(tile(pictures[t], clip, column, size), expected)
            error = abs(true[t] - made[t]).mean(axis=0)[rows][:, columns]
            brightness = tile(pictures[t], clip, 2, size).astype(float).sum(axis=-1)
            order = np.argsort(error, axis=None)  # the map of colours gets brighter with the error
            assert (np.diff(brightness.ravel()[order]) > -12).all()
            assert brightness.max() < 12 if t < 3 else brightness.max() > 300


def test_only_frames_that_are_predicted_stand_in_an_orange_border() -> None:
    context, truth = make_frames(1, 2), make_frames(1, 3)
    pictures = animation(context, truth, truth, "model")
    borders = [pictures[:, -1, 10 + column * (256 + 2 * PAD)].astype(int) for column in range(3)]
    orange = [[bool(colour[0] > colour[2] + 50) for colour in of_column] for of_column in borders]
    assert orange == [[False] * 5, [False, False, True, True, True], [False] * 5]


def test_animation_clips_what_no_screen_can_show() -> None:
    predicted = np.stack([np.full((1, 1, 8, 8), value) for value in (-0.5, 1.5)], axis=1)
    pictures = animation(make_frames(1, 1), make_frames(1, 2), predicted, "model")
    assert (tile(pictures[1], 0, 1, (256, 256)) == 0).all()
    assert (tile(pictures[2], 0, 1, (256, 256)) == 255).all()


def test_synthesised_sequences_are_enlarged_as_they_are() -> None:
    truth, made = ([np.full((frames, 1, 8, 16), grey, np.uint8) for grey in greys] for frames, greys in
                   ((2, (10, 20)), (3, (30, 40))))  # fmt: skip
    made[1][2] = 50
    pictures = synthesis_animation({"truth": truth, "model": made})
    assert pictures.shape == (3, 2 * (HEADER + 128 + 2 * PAD), 2 * (256 + 2 * PAD), 3)
    centres = [[int(pictures[t, y, x, 0]) for y in (90, 248) for x in (130, 392)] for t in range(3)]
    assert centres == [[10, 20, 30, 40], [10, 20, 30, 40], [10, 20, 30, 50]]


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


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        (1, ["the only clip"]),
        (2, ["the worse clip", "the better clip"]),
        (3, ["the worst clip", "the median clip", "the best clip"]),
        (30, ["a bad clip", "the median clip", "a good clip"]),
    ],
)
def test_captions_say_what_a_clip_stands_for(clips: int, words: list[str]) -> None:
    psnr = np.random.default_rng(0).permutation(clips)[:, None] + np.array([9.0, 11.0])
    numbers = 5 * np.arange(clips)
    captions = drawn_clips(psnr, numbers)
    assert list(captions.values()) == [
        f"{word}: number {numbers[clip]}, {psnr[clip].mean():.1f} dB"
        for word, clip in zip(words, captions, strict=True)
    ]
    ranks = [float(psnr[clip].mean()) for clip in captions]
    assert ranks == sorted(ranks)

"""Scores of synthesised sequences: counting, dynamic textures, rotation. Frames are uint8 (N, F, C, H, W)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_video.evaluation.scores import judge_frames

Frames = NDArray[np.uint8]  # (N, F, C, H, W)

READABLE = 0.9  # confidence at which a frame counts as readable
LAGS = 24  # greatest lag of the autocorrelation
CELLS = 4  # cells on a side, for the features of the Fréchet distance
SMALL = 1e-12  # a variance or mean below this counts as zero
DIAMETRICAL = 150  # degrees of error at which a view counts as confused with the opposite one


def score_counting(symbols: NDArray[np.str_], confidence: NDArray[np.float32], cycle: str) -> dict[str, float]:
    """How well sequences count, from the ``symbols`` (N, F) that a reader reads and its ``confidence``.

    ``correct_transitions`` is the share of steps to the symbol that follows in the cycle; ``mean_run`` is the mean
    number of correct steps in a row.
    """
    follows = [symbol + other for symbol, other in zip(cycle, cycle[1:] + cycle[0], strict=True)]
    correct = np.isin(np.char.add(symbols[:, :-1], symbols[:, 1:]), follows)  # (N, F - 1)
    edges = np.diff(np.pad(correct.astype(np.int64), ((0, 0), (1, 1))), axis=1)
    runs = max(int((edges == 1).sum()), 1)
    return {
        "readable_frames": float((confidence > READABLE).mean()),
        "correct_transitions": float(correct.mean()),
        "mean_run": float(correct.sum() / runs),
    }


def variety(
    frames: Frames,
    symbols: NDArray[np.str_],
    confidence: NDArray[np.float32],
    pictures: Frames,
    labels: NDArray[np.str_],
) -> float:
    """How different the readable frames of one symbol are, relative to real pictures of it: 1 as in life, 0 all equal.

    The mean over symbols of the ratio of the pixels' variances. A symbol that is not read twice counts as 0.

    Args:
        frames: (N, F, C, H, W), of which ``symbols`` (N, F) are read with this ``confidence``.
        pictures: real ones (M, C, H, W), with their labels (M,). Only these symbols count.
    """
    ratios = []
    for symbol in np.unique(labels):
        shown = frames[(symbols == symbol) & (confidence > READABLE)]
        real = pictures[labels == symbol].var(axis=0).mean()
        ratios.append(shown.var(axis=0).mean() / max(real, SMALL) if len(shown) > 1 else 0.0)
    return float(np.mean(ratios))


def score_texture(synthesised: Frames, truth: Frames) -> dict[str, float]:
    """Distances of synthesised textures from held-out footage, and whether they last.

    ``spectrum_distance`` is the root mean square difference of the spatial power spectra in dB;
    ``autocorrelation_distance`` is the same for the pixels' temporal autocorrelations, in windows as long as the
    shorter of the two; ``frechet_distance`` compares normal distributions of grey values, gradients and changes in 4x4
    cells; ``sharpness`` is the mean gradient relative to the footage. ``late_mean`` and ``late_deviation`` are the mean
    and the standard deviation over time of the last tenth of the frames, relative to the footage in windows of the same
    length: both stay near 1 if nothing fades out or blows up.
    """
    made, real = synthesised / 255, truth / 255
    length = min(made.shape[1], real.shape[1])
    last = min(max(2, made.shape[1] // 10), length)
    late = made[:, -last:]
    return {
        "spectrum_distance": _rms(_power_spectrum(made) - _power_spectrum(real)),
        "autocorrelation_distance": _rms(
            _autocorrelation(_windows(made, length)) - _autocorrelation(_windows(real, length))
        ),
        "frechet_distance": frechet_distance(_features(made), _features(real)),
        "sharpness": float(_gradient(made).mean() / _gradient(real).mean()),
        "late_mean": float(late.mean() / max(real.mean(), SMALL)),
        "late_deviation": float(late.std(axis=1).mean() / max(_windows(real, last).std(axis=1).mean(), SMALL)),
    }


def score_rotation(shown: Frames, views: Frames) -> dict[str, Any]:
    """How well a full turn is shown, frame by frame against the true views (N, V, C, H, W) in the same order.

    ``angle_error`` is the mean angle in degrees between a frame's nearest true view and the one that it should show;
    ``confused`` is the share of frames whose nearest view is nearly opposite.
    """
    count = views.shape[1]
    psnr, ssim = judge_frames(shown[:, :count] / 255, views / 255)
    errors = np.array([_nearest_view_errors(s, v) for s, v in zip(shown[:, :count] / 255, views / 255, strict=True)])
    return {
        "turn_psnr": float(psnr.mean()),
        "turn_ssim": float(ssim.mean()),
        "angle_error": float(errors.mean()),
        "confused": float((errors >= DIAMETRICAL).mean()),
    }


def _nearest_view_errors(shown: NDArray[np.float64], views: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees between the nearest view (V, C, H, W) of each frame and the right one."""
    count = len(views)
    distances = ((shown[:, None] - views[None]) ** 2).sum(axis=(2, 3, 4))
    steps = np.abs(distances.argmin(axis=1) - np.arange(count))
    return np.asarray(np.minimum(steps, count - steps) * 360 / count)


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2) of means and covariances of two sets of features (N, K).

    FID and FVD are the same distance, of features of a network. No dependency brings such a network's weights along.
    """
    means = first.mean(axis=0) - second.mean(axis=0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(one)  # symmetric, and possibly singular
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    values = np.linalg.eigvalsh(root @ two @ root)
    distance = means @ means + np.trace(one) + np.trace(two) - 2 * np.sqrt(np.maximum(values, 0)).sum()
    return max(float(distance), 0.0)  # rounding


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _power_spectrum(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power of the frames' spatial frequencies in dB, by whole numbers of waves across the frame."""
    frames = frames - frames.mean(axis=(-2, -1), keepdims=True)
    power = (np.abs(np.fft.fft2(frames)) ** 2).mean(axis=(0, 1, 2)) / frames[0, 0, 0].size
    height, width = power.shape
    waves = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width) * width).round().astype(int)
    total = np.bincount(waves.ravel(), power.ravel()) / np.bincount(waves.ravel())
    return np.asarray(10 * np.log10(total[1 : min(height, width) // 2 + 1] + 1e-12))


def _windows(frames: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Cut sequences (N, F, ...) into windows of ``length`` frames, without the remainder."""
    count = frames.shape[1] // length
    return frames[:, : count * length].reshape(-1, length, *frames.shape[2:])


def _autocorrelation(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocorrelation of pixels over time, a mean over pixels and sequences, for lags 1 .. 24 (or half of the frames).

    It is 1 where nothing moves.
    """
    frames = frames - frames.mean(axis=1, keepdims=True)
    variance = (frames**2).mean()
    lags = range(1, min(LAGS, frames.shape[1] // 2) + 1)
    if variance < SMALL:
        return np.ones(len(lags))
    return np.array([(frames[:, lag:] * frames[:, :-lag]).mean() / variance for lag in lags])


def _gradient(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of the gradient at each pixel except the last row and column."""
    down, right = np.diff(frames, axis=-2)[..., :-1], np.diff(frames, axis=-1)[..., :-1, :]
    return np.asarray(np.hypot(down, right))


def _features(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of grey value, gradient and change in 4x4 cells of each frame but the last: (N (F - 1), 48)."""
    grey = frames.mean(axis=2)
    parts = (grey[:, :-1], _gradient(grey)[:, :-1], np.abs(np.diff(grey, axis=1)))
    return np.concatenate([_cells(part) for part in parts], axis=1)


def _cells(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means in CELLS x CELLS cells of (N, F, h, w): (N F, CELLS²); pixels that do not fill a cell are left out."""
    height, width = (side // CELLS for side in values.shape[-2:])
    cut = values[..., : height * CELLS, : width * CELLS]
    split = cut.reshape(-1, CELLS, height, CELLS, width)
    return np.asarray(split.mean(axis=(2, 4)).reshape(-1, CELLS * CELLS))

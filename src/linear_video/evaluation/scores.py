"""PSNR and SSIM of predicted frames, with the baselines that everybody should beat.

Frames are float in [0, 1], ``data_range`` is 1, and each score is the mean over sequences of one predicted frame.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from linear_video.errors import InputError

Frames = NDArray[np.floating[Any]]  # (N, T, C, H, W)

PSNR_CEILING = 100.0  # dB given to a frame that is predicted exactly, whose PSNR would be infinite
SSIM_WINDOW = 7  # scikit-image's default


def score_frames(predicted: Frames, truth: Frames) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR in dB and SSIM of every frame: two arrays (N, horizon).

    Raises:
        InputError: if the shapes differ, or the frames are smaller than SSIM's window of 7 pixels.
    """
    if predicted.shape != truth.shape or predicted.ndim != 5:
        raise InputError(f"predictions {predicted.shape} and truth {truth.shape} must both be (N, horizon, C, H, W).")
    if min(truth.shape[-2:]) < SSIM_WINDOW:
        raise InputError(f"SSIM needs frames of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, not {truth.shape[-2:]}.")
    psnr, ssim = np.empty(truth.shape[:2]), np.empty(truth.shape[:2])
    for index in np.ndindex(truth.shape[:2]):
        pair = truth[index].astype(np.float64), predicted[index].astype(np.float64)
        with np.errstate(divide="ignore"):
            psnr[index] = min(peak_signal_noise_ratio(*pair, data_range=1), PSNR_CEILING)
        ssim[index] = structural_similarity(*pair, data_range=1, channel_axis=0, win_size=SSIM_WINDOW)
    return psnr, ssim


def sharpness(predicted: Frames, truth: Frames) -> NDArray[np.float64]:
    """Mathieu's measure of every frame in dB, (N, horizon): 10 log10(1 / mean | |∇Y| - |∇Ŷ| |), |∇| over both axes.

    A frame as sharp as the true one at every pixel is given 100 dB.
    """
    differences = np.abs(_gradients(truth) - _gradients(predicted)).mean(axis=(-3, -2, -1))
    return np.asarray(np.minimum(-10 * np.log10(np.maximum(differences, 1e-30)), PSNR_CEILING))


def _gradients(frames: Frames) -> NDArray[np.float64]:
    """Absolute differences from the pixels above and to the left, added; without the first row and column."""
    down, right = np.diff(frames, axis=-2)[..., 1:], np.diff(frames, axis=-1)[..., 1:, :]
    return np.asarray(np.abs(down) + np.abs(right), np.float64)


def confidence95(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half-width of the 95 % interval of the mean over the first axis, by Student's t; 0 for a single value."""
    if len(values) < 2:
        return np.zeros(values.shape[1:])
    factor = stats.t.ppf(0.975, len(values) - 1)
    return np.asarray(factor * values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def score(predicted: Frames, context: Frames, truth: Frames, mean_frame: Frames) -> dict[str, Any]:
    """Scores of a model and of two constant predictions: the last frame seen, and the mean training frame (C, H, W).

    Returns the body of ``scores.json``: lists with one entry for each predicted frame; ``*_ci95`` are half-widths.
    """
    scores: dict[str, Any] = {
        "n_sequences": len(truth),
        "context": context.shape[1],
        "horizon": truth.shape[1],
        "frame_shape": list(truth.shape[2:]),
    }
    scores |= _summary(predicted, truth)
    scores["last_frame"] = _summary(np.broadcast_to(context[:, -1:], truth.shape), truth)
    scores["mean_frame"] = _summary(np.broadcast_to(mean_frame, truth.shape), truth)
    return scores


def _summary(predicted: Frames, truth: Frames) -> dict[str, list[float]]:
    summary: dict[str, list[float]] = {}
    for name, values in zip(("psnr", "ssim"), score_frames(predicted, truth), strict=True):
        summary[name] = values.mean(axis=0).tolist()
        summary[f"{name}_ci95"] = confidence95(values).tolist()
    return summary

"""PSNR and SSIM of predicted frames, with the baselines that every model should beat.

What is reported is computed by scikit-image (``judge_frames``). Where many frames are scored on the way to something
else, a form of our own for many frames at once takes its place (``score_frames``); tests hold them to be equal.

Frames are float in [0, 1], ``data_range`` is 1, and each score is the mean over sequences of one predicted frame.
``judge_as_openstl`` has the conventions of OpenSTL's benchmarks, for comparison with what is published there.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from linear_video.common.errors import InputError

Frames = NDArray[np.floating[Any]]  # (N, T, C, H, W)

PSNR_CEILING = 100.0  # dB, for a frame that is predicted exactly, since its PSNR would be infinite
SSIM_WINDOW = 7  # scikit-image's default, like the two constants of Wang et al. 2004 for a range of 1
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
OPENSTL_RANGE = 2.0  # of floats, -1 to 1, for scikit-image where none was given
REFERENCES = ("last_frame", "mean_frame", "optical_flow")  # that may be in scores beside the model


def references_of(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The references in the scores that ``score`` returns, by name, without the model itself if it is one of them."""
    return {name: scores[name] for name in REFERENCES if scores.get(name) and name != scores["model"]}


def judge_frames(predicted: Frames, truth: Frames) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR in dB and SSIM of every frame by scikit-image, with its defaults: two arrays (N, horizon).

    Raises:
        InputError: if the shapes differ, or the frames are smaller than SSIM's window of 7 pixels.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    _check(predicted, truth)
    psnr, ssim = np.empty(truth.shape[:2]), np.empty(truth.shape[:2])
    for index in np.ndindex(truth.shape[:2]):
        one, other = truth[index].astype(np.float64), predicted[index].astype(np.float64)  # (C, H, W)
        with np.errstate(divide="ignore"):  # of an exact prediction
            psnr[index] = min(peak_signal_noise_ratio(one, other, data_range=1), PSNR_CEILING)
        ssim[index] = structural_similarity(one, other, data_range=1, channel_axis=0)
    return psnr, ssim


def judge_as_openstl(predicted: Frames, truth: Frames) -> dict[str, NDArray[np.float64]]:
    """Scores of every frame in the conventions of OpenSTL (Tan et al. 2023): arrays (N, horizon) by name.

    Its tables have their means over all frames and clips.

    - ``mse`` and ``mae``: squared and absolute errors, summed over the values of a frame.
    - ``ssim``: scikit-image's, without a data range. Older versions took a range of 2 for floats then, newer ones
      refuse to guess. Its two constants are four times those for a range of 1, which makes it higher.
    - ``psnr``: from the mean squared error of a frame with a range of 1, as ``judge_frames`` has it.
    - ``psnr_uint8``: as OpenSTL had it before version 0.2, from E3D-LSTM: frames are cut to 8 bits, and differences and
      squares overflow in 8 bits. So it is far higher than a PSNR; some tables still have it.

    Raises:
        InputError: as ``judge_frames`` does.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    _check(predicted, truth)
    shape = truth.shape[:2]
    found = {name: np.empty(shape) for name in ("mse", "mae", "ssim", "psnr", "psnr_uint8")}
    for index in np.ndindex(shape):
        one, other = truth[index].astype(np.float64), predicted[index].astype(np.float64)  # (C, H, W)
        found["mse"][index], found["mae"][index] = np.square(other - one).sum(), np.abs(other - one).sum()
        other = other.clip(0, 1)
        found["ssim"][index] = structural_similarity(one, other, data_range=OPENSTL_RANGE, channel_axis=0)
        overflowing = (np.uint8(255 * other) - np.uint8(255 * one)) ** 2  # uint8 as well
        with np.errstate(divide="ignore"):  # of an exact prediction
            found["psnr"][index] = peak_signal_noise_ratio(one, other, data_range=1)
            found["psnr_uint8"][index] = 20 * np.log10(255) - 10 * np.log10(overflowing.mean())
    return found | {name: np.minimum(found[name], PSNR_CEILING) for name in ("psnr", "psnr_uint8")}


def score_frames(predicted: Frames, truth: Frames) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same as ``judge_frames``, of many frames at once and several times as fast.

    Raises:
        InputError: if the shapes differ, or the frames are smaller than SSIM's window of 7 pixels.
    """
    _check(predicted, truth)
    scores = [_score(*pair) for pair in zip(predicted, truth, strict=True)]  # a sequence at a time: little memory
    psnr, ssim = np.array(scores).reshape(-1, 2, truth.shape[1]).swapaxes(0, 1)
    return psnr, ssim


def _check(predicted: Frames, truth: Frames) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 5:
        raise InputError(f"predictions {predicted.shape} and truth {truth.shape} must both be (N, horizon, C, H, W).")
    if min(truth.shape[-2:]) < SSIM_WINDOW:
        raise InputError(f"SSIM needs frames of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, not {truth.shape[-2:]}.")


def _score(predicted: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR and SSIM of a sequence's frames, as scikit-image has them: (horizon, C, H, W) -> two arrays (horizon,)."""
    x, y = predicted.astype(np.float64), truth.astype(np.float64)
    with np.errstate(divide="ignore"):
        psnr = np.minimum(-10 * np.log10(np.square(x - y).mean(axis=(1, 2, 3))), PSNR_CEILING)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _window_means(np.stack((x, y, x * x, y * y, x * y), axis=-1))
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # sample covariances
    covariance_xx, covariance_yy = sample * (mean_xx - mean_x**2), sample * (mean_yy - mean_y**2)
    covariance_xy = sample * (mean_xy - mean_x * mean_y)
    light = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance_xy + SSIM_C2) / (covariance_xx + covariance_yy + SSIM_C2)
    return psnr, (light * structure).mean(axis=(1, 2, 3))


def _window_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of K values over the SSIM windows that lie within a picture: (T, C, H, W, K) -> (K, T, C, H - 6, W - 6)."""
    edge, means = SSIM_WINDOW // 2, np.empty_like(values)
    for index in np.ndindex(values.shape[:2]):
        cv2.boxFilter(values[index], -1, (SSIM_WINDOW, SSIM_WINDOW), means[index])
    return np.ascontiguousarray(np.moveaxis(means[..., edge:-edge, edge:-edge, :], -1, 0))


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
    """Half-width of the 95 % interval of the mean over the first axis, by Student's t.

    A single value says nothing about its spread. Its interval is unknown, so the result is NaN.
    """
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    factor = stats.t.ppf(0.975, len(values) - 1)
    return np.asarray(factor * values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def score(
    predicted: Frames,
    context: Frames,
    truth: Frames,
    mean_frame: Frames,
    openstl: bool = False,
    **references: Frames,
) -> dict[str, Any]:
    """Scores of a model and of two constant predictions: the last frame seen, and the mean training frame (C, H, W).

    ``references`` are further predictions, by name, in the same form as the model's.

    Returns the body of ``scores.json``: lists with one entry for each predicted frame. ``*_ci95`` are half-widths, or
    None if there is a single sequence. With ``openstl``, there are the means of ``judge_as_openstl`` as well.
    """
    constant = {"last_frame": context[:, -1:], "mean_frame": mean_frame}
    references = {name: np.broadcast_to(frames, truth.shape) for name, frames in constant.items()} | references
    return {
        "n_sequences": len(truth),
        "context": context.shape[1],
        "horizon": truth.shape[1],
        "frame_shape": list(truth.shape[2:]),
        **_summary(predicted, truth, openstl),
        **{name: _summary(frames, truth, openstl) for name, frames in references.items()},
    }


def _summary(predicted: Frames, truth: Frames, openstl: bool) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, values in zip(("psnr", "ssim"), judge_frames(predicted, truth), strict=True):
        summary[name] = values.mean(axis=0).tolist()
        summary[f"{name}_ci95"] = [None if np.isnan(half) else half for half in confidence95(values).tolist()]
    if openstl:
        summary["openstl"] = {name: float(values.mean()) for name, values in judge_as_openstl(predicted, truth).items()}
    return summary

"""Every model on the same clips: scores frame by frame, with paired intervals against the last frame."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.evaluation.scores import Frames, confidence95, score_frames, sharpness

BASELINE = "last_frame"


def fingerprint(frames: NDArray[np.uint8]) -> str:
    """What tells clips (N, T, C, H, W) from others: their shape and SHA-256."""
    return f"{'x'.join(map(str, frames.shape))} {hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()}"


def compare(predictions: Mapping[str, Frames], context: Frames, truth: Frames) -> pd.DataFrame:
    """Score the predictions of several models, all (N, horizon, C, H, W), after the last frame of the context.

    Returns a row for each model and predicted frame: means of ``psnr`` (dB), ``ssim`` and ``sharpness`` (dB), and of
    the gains in PSNR and SSIM over the last frame clip by clip; ``*_ci95`` are half-widths of their 95 % intervals.
    """
    shown = {BASELINE: np.broadcast_to(context[:, -1:], truth.shape), **predictions}
    values = {name: dict(zip(("psnr", "ssim"), score_frames(p, truth), strict=True)) for name, p in shown.items()}
    rows: list[dict[str, Any]] = []
    for name, of_model in values.items():
        columns = {}
        for metric, value in of_model.items():
            gain = value - values[BASELINE][metric]
            for label, quantity in ((metric, value), (f"{metric}_gain", gain)):
                columns[label], columns[f"{label}_ci95"] = quantity.mean(axis=0), confidence95(quantity)
        columns["sharpness"] = sharpness(shown[name], truth).mean(axis=0)
        for k in range(truth.shape[1]):
            rows.append({"model": name, "frame": k + 1, **{label: float(value[k]) for label, value in columns.items()}})
    return pd.DataFrame(rows)

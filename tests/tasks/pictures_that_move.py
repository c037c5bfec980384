"""Smooth moving pictures, and noise: float32 (h, w, planes) in [0, 1], and footage uint8 (T, h, w, planes)."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from linear_video.tasks.parts import Frame, to_frame
from linear_video.tasks.references import Values


def texture(height: int, width: int, planes: int = 1, smooth: float = 3.0, seed: int = 0) -> Values:
    noise = np.random.default_rng(seed).normal(size=(height, width, planes))
    values = gaussian_filter(noise, (smooth, smooth, 0), mode="wrap")
    return np.asarray(0.5 + 0.2 * values / values.std(), np.float32).clip(0, 1)


def moment(time: float, height: int = 48, width: int = 64, planes: int = 1, speed: float = 2.0) -> Values:
    """A texture that moves to the right, by ``speed`` pixels a frame, at any time: a part of a periodic one."""
    big = texture(height, 2 * width, planes)
    spectrum = np.fft.fft(big, axis=1)
    shift = np.exp(-2j * np.pi * np.fft.fftfreq(2 * width) * speed * time)[None, :, None]
    moved = np.fft.ifft(spectrum * shift, axis=1).real[:, width // 2 : width // 2 + width]
    return np.asarray(moved, np.float32).clip(0, 1)


def pan(frames: int, height: int = 48, width: int = 64, planes: int = 1, speed: float = 2.0) -> NDArray[np.uint8]:
    return np.stack([to_frame(moment(float(time), height, width, planes, speed)) for time in range(frames)])


def noisy(frame: Values, deviation: float, seed: int) -> Values:
    return np.asarray(frame + np.random.default_rng(seed).normal(0, deviation, frame.shape), np.float32)


def far_off(one: Frame, other: Frame) -> float:
    """Mean absolute difference, in grey levels."""
    return float(np.abs(one.astype(float) - other).mean())

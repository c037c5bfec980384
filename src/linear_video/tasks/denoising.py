"""Denoise a video frame by frame: each frame is predicted from those around it, and corrected by its observation.

This is a Kalman filter's update in bands of detail: prediction P from the frames around, observation y, and Wiener's
gain ``G = (R - N) / R``, where R is the local energy of ``y - P`` and N the energy of the noise alone.
"""

from collections.abc import Iterable, Iterator
from functools import cache

import cv2
import numpy as np

from linear_video.tasks import references
from linear_video.tasks.backtest import psnr
from linear_video.tasks.blend import Blend, bands, whole
from linear_video.tasks.parts import Frame, all_checked, to_frame, to_values
from linear_video.tasks.references import Values

AROUND = 3  # frames on either side
SQUARE = 16  # size in pixels of the parts of a frame, of which the flattest show its noise
FLATTEST, FLATTEST_ARE_LOW = 0.2, 1.06  # their share, and by how much chance lowers their noise
CLIPPED = 0.05  # grey values nearer to black or white have lost some of their noise
LOCAL = (3.0, 2.0)  # pixels over which energies are averaged: in the finest band, and in all others
TESTS, TEST_STEP = 6, 4  # of the backtest, and frames from one test to the next
WIDTHS, STRENGTHS = (0.7, 1.0, 1.5), (6.0, 12.0, 18.0)  # strengths of the references, of which the best counts
# The predictions from the frames around: as they are, or moved onto this one along the optical flow; the last is
# blurred.
GUESSES = ("nearest_two", "all_still", "nearest_two_moved", "all_moved", "all_moved_smooth")


def noise_of(frame: Values) -> float:
    """Standard deviation of white noise in a frame, by Immerkaer (1996), where the frame is flattest and not clipped.

    Noise with correlated neighbouring pixels, as after compression, is underestimated.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    squares = np.square(cv2.filter2D(frame, -1, kernel)).reshape(frame.shape)
    size = (max(1, frame.shape[1] // SQUARE), max(1, frame.shape[0] // SQUARE))
    energy, level = (cv2.resize(values, size, interpolation=cv2.INTER_AREA).ravel() for values in (squares, frame))
    inside = (level > CLIPPED) & (level < 1 - CLIPPED)
    found = np.sqrt(energy[inside] if inside.any() else energy) / 6
    return float(FLATTEST_ARE_LOW * np.quantile(found, FLATTEST))


@cache
def _energies(height: int, width: int) -> tuple[float, ...]:
    """Mean squares of the bands of white noise with standard deviation 1."""
    noise = np.random.default_rng(0).normal(size=(height, width, 1)).astype(np.float32)
    return tuple(float(np.square(band).mean()) for band in bands(noise))


class Denoiser:
    """Denoises the frames of one video in turn, and learns on the way which surrounding frames to trust."""

    def __init__(self) -> None:
        self.blend = Blend(GUESSES, "nearest_two_moved")
        self.noise = 0.0  # standard deviation, of values in [0, 1]
        self._seen = 0

    def clean(self, frames: list[Values], number: int) -> Values:
        """The frame with this number among consecutive frames, without noise."""
        frame = frames[number]
        self._seen += 1
        self.noise += (noise_of(frame) - self.noise) / min(self._seen, 20)
        others = [at for at in range(len(frames)) if 0 < abs(at - number) <= AROUND]
        if not others or self.noise <= 0:
            return frame
        near = [at for at in others if abs(at - number) == 1]
        moved = {at: references.onto(frame, frames[at]) for at in others}
        all_moved = np.mean(list(moved.values()), axis=0)
        guesses = {
            "nearest_two": np.mean([frames[at] for at in near], axis=0),
            "all_still": np.mean([frames[at] for at in others], axis=0),
            "nearest_two_moved": np.mean([moved[at] for at in near], axis=0),
            "all_moved": all_moved,
            "all_moved_smooth": references.blurred(all_moved, 1.0),
        }
        self.blend.learn(guesses, frame)  # no prediction has seen its noise
        return self._updated(self.blend.blended(guesses), frame)

    def _updated(self, predicted: Values, frame: Values) -> Values:
        found = []
        for level, (before, seen, energy) in enumerate(
            zip(bands(predicted), bands(frame), _energies(*frame.shape[:2]), strict=True)
        ):
            squares = np.square(seen - before).mean(axis=2)
            local = cv2.GaussianBlur(squares, (0, 0), LOCAL[min(level, 1)])
            gain = ((local - self.noise**2 * energy) / np.maximum(local, 1e-12)).clip(0, 1)[..., None]
            found.append(before + gain.astype(np.float32) * (seen - before))
        return whole(found).clip(0, 1)


def denoised(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Every frame without noise."""
    denoiser = Denoiser()
    for around, number in _windows(to_values(frame) for frame in all_checked(frames)):
        yield to_frame(denoiser.clean(around, number))


def _windows(frames: Iterable[Values]) -> Iterator[tuple[list[Values], int]]:
    """For each frame, the frames around it and its place among them."""
    kept: list[Values] = []
    place = 0
    for frame in frames:
        kept.append(frame)
        if len(kept) - place > AROUND:
            yield kept, place
            place += 1
            if place > AROUND:
                kept, place = kept[1:], place - 1
    while place < len(kept):
        yield kept, place
        place += 1


def backtest(frames: list[Values], seed: int) -> dict[str, float]:
    """The mean PSNR in dB of each method on some of these frames, after the same amount of noise is added again.

    The frames themselves are the truth. They are noisy, and a method is penalised if it removes that noise, so true
    gains are larger than these numbers. Blur and non-local means have the best of several strengths.
    """
    denoiser = Denoiser()
    noise = float(np.mean([noise_of(frame) for frame in frames]))
    random = np.random.default_rng(seed)
    noisy = [np.asarray(frame + random.normal(0, noise, frame.shape), np.float32).clip(0, 1) for frame in frames]
    scores: dict[str, list[float]] = {}
    for number in range(AROUND, len(frames) - AROUND, TEST_STEP)[:TESTS]:
        frame, true = noisy[number], frames[number]
        made = {"untouched": frame, "blend": denoiser.clean(noisy[number - AROUND : number + AROUND + 1], AROUND)}
        made |= {f"blur {width}": references.blurred(frame, width) for width in WIDTHS}
        made |= {f"non_local_means {h:g}": references.non_local_means(frame, h) for h in STRENGTHS}
        for name, one in made.items():
            scores.setdefault(name, []).append(psnr(one, true))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    best: dict[str, float] = {}
    for name, value in means.items():
        kind = name.split(" ")[0]
        best[kind] = max(best.get(kind, -np.inf), value)
    return best

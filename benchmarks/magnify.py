"""What oscillates in videos: found by the Fourier transform and by linear modes, and magnified by both methods.

    python benchmarks/magnify.py baby.mp4:0.4-0.8 face.mp4:0.7-1.1
    python benchmarks/magnify.py baby.mp4:0.4-0.8 --factor 10 --pictures /tmp/pictures

Frequencies: the strongest Fourier peak in the band with its 95 % interval, the frequency of the modes, and their
difference. Magnification: the growth of the Fourier amplitude of the cells at the peak, ideally ``factor``; in the band
but more than 1 / duration from the peak, which is noise; and outside the band, ideally 1.

Without videos, a synthetic one with known truth is used: the amplitude of the known oscillation in the output relative
to the true one; the same for an oscillation outside the band; and everything else that was added, in grey levels (root
mean square).
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import periodogram

from linear_video.common.markup import markdown_table
from linear_video.tasks.footage import find_footage, open_footage
from linear_video.tasks.frequencies import fourier, magnified_linear, magnified_modes, oscillations

Frame = NDArray[np.uint8]
Method = Callable[[Iterable[Frame], float, tuple[float, float], float], Iterator[Frame]]
METHODS: dict[str, Method] = {"linear": magnified_linear, "modes": magnified_modes}
TONE, OTHER, SYNTHETIC_FPS = 1.1, 2.6, 25.0  # Hz, of the synthetic video
BAND = (0.8, 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*", help="video:lo-hi, in Hz")
    parser.add_argument("--factor", type=float, default=10.0)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each video, and of a line in time")
    arguments = parser.parse_args()
    if not arguments.videos:
        print(synthetic_table(arguments.factor).to_markdown(index=False))
        return
    found, grown = [], []
    for video in arguments.videos:
        path, _, limits = video.rpartition(":")
        low, high = (float(limit) for limit in limits.split("-"))
        for name, fps, frames in recordings(Path(path)):
            peak = fourier(frames, fps, low, high)
            modes = oscillations(frames, fps, (low, high))
            found.append(
                {
                    "video": name,
                    "band / Hz": f"{low:g}-{high:g}",
                    "Fourier / Hz": f"{peak.frequency_hz:.4f}",
                    "interval": "{:.4f}-{:.4f}".format(*peak.interval_hz),
                    "modes / Hz": f"{modes.frequency_hz:.4f}",
                    "difference": f"{100 * (modes.frequency_hz / peak.frequency_hz - 1):+.1f} %",
                }
            )
            for method, magnify in METHODS.items():
                made = list(magnify(frames, fps, (low, high), arguments.factor))
                figures = growth(frames, made, fps, (low, high), peak.frequency_hz)
                grown.append({"video": name, "method": method, **figures})
                if arguments.pictures:
                    pictures(arguments.pictures, f"{Path(name).stem}_{method}", frames, made)
    print(markdown_table(pd.DataFrame(found)), end="\n\n")
    print(pd.DataFrame(grown).round(2).to_markdown(index=False))


def recordings(path: Path) -> Iterator[tuple[str, float, list[Frame]]]:
    for source in find_footage(path):
        for recording in open_footage(source):
            yield recording.name, recording.fps or 25.0, list(recording.frames)


def growth(
    frames: list[Frame], made: list[Frame], fps: float, band: tuple[float, float], peak: float
) -> dict[str, float]:
    """Growth of amplitudes (made / frames) in cells of 8 x 8 pixels, from means of power over cells."""
    spectra = []
    for video in (frames, made):
        size = (max(1, video[0].shape[1] // 8), max(1, video[0].shape[0] // 8))
        cells = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA).ravel() for frame in video])
        grid, power = periodogram(cells.astype(np.float32), fps, "hann", detrend="linear", axis=0)
        spectra.append(power.mean(axis=1))
    resolution = fps / len(frames)
    at_peak = np.abs(grid - peak) <= resolution
    within = (grid >= band[0]) & (grid <= band[1]) & (np.abs(grid - peak) > 2 * resolution)
    below = (grid > resolution) & (grid < band[0] / 1.5)
    above = (grid > band[1] * 1.5) & (grid < band[1] * 4)
    places = {"at peak": at_peak, "in band beside": within, "below": below, "above": above}
    return {name: float(np.sqrt(spectra[1][at].sum() / spectra[0][at].sum())) for name, at in places.items()}


def pictures(folder: Path, name: str, frames: list[Frame], made: list[Frame]) -> None:
    """Draw a frame from the middle, and a line of pixels over time, both before and after."""
    folder.mkdir(parents=True, exist_ok=True)
    middle, column = len(frames) // 2, frames[0].shape[1] // 2
    both = np.concatenate([frames[middle], made[middle]], axis=1)
    lines = np.concatenate([np.stack([frame[:, column] for frame in video], 1) for video in (frames, made)], axis=1)
    for suffix, picture in (("frame", both), ("time", lines)):
        cv2.imwrite(str(folder / f"{name}_{suffix}.png"), picture[..., ::-1])


def synthetic(
    seed: int, noise: float = 8.0, brightness: float = 2.0, shift: float = 0.15, frames: int = 250
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Frame]]:
    """The oscillations in the band and outside it, each (T, 128, 128) in grey levels, and noisy frames with both.

    On the left, a texture moves by a part of a pixel; on the right, brightness oscillates; in the middle, brightness
    oscillates outside the band.
    """
    random = np.random.default_rng(seed)
    time, side = np.arange(frames) / SYNTHETIC_FPS, 128
    rows, columns = np.mgrid[:side, :side].astype(float)

    def bump(row: int, column: int) -> NDArray[np.float64]:
        return np.asarray(np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2 / 12**2))

    still = 120 + 60 * np.sin(columns / 9) * np.cos(rows / 11)
    slope = np.gradient(still, axis=1)
    tone, other = np.sin(2 * np.pi * TONE * time), np.sin(2 * np.pi * OTHER * time + 1)
    wanted = tone[:, None, None] * (brightness * bump(64, 100) - shift * slope * bump(64, 28))
    unwanted = other[:, None, None] * brightness * bump(64, 64)
    seen = still + wanted + unwanted + random.normal(0, noise, wanted.shape)
    return wanted, unwanted, list(np.rint(seen.clip(0, 255)).astype(np.uint8)[..., None])


def synthetic_table(factor: float) -> pd.DataFrame:
    rows = []
    for noise in (2.0, 8.0, 20.0):
        wanted, unwanted, frames = synthetic(0, noise)
        before = np.stack(frames)[..., 0].astype(float)
        for method, magnify in METHODS.items():
            change = np.stack(list(magnify(frames, SYNTHETIC_FPS, BAND, factor)))[..., 0] - before
            gains = np.linalg.lstsq(np.stack([wanted.ravel(), unwanted.ravel()], 1), change.ravel(), rcond=None)[0]
            left = change - gains[0] * wanted - gains[1] * unwanted
            peak, modes = fourier(frames, SYNTHETIC_FPS, *BAND), oscillations(frames, SYNTHETIC_FPS, BAND)
            rows.append(
                {
                    "noise": noise,
                    "method": method,
                    "in band": 1 + gains[0],
                    "out of band": 1 + gains[1],
                    "noise added": float(np.sqrt(np.square(left).mean())),
                    "Fourier / Hz": peak.frequency_hz,
                    "modes / Hz": modes.frequency_hz,
                }
            )
    return pd.DataFrame(rows).round(4)


if __name__ == "__main__":
    main()

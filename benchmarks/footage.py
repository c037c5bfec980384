"""How fast recordings are read, and in how much memory: ``python benchmarks/footage.py``.

Videos of 320x240 pixels are made first. One worker and two read the same files in turns, so that a load of the machine
that comes and goes meets both alike. Memory is the peak of a process of its own, for few files and for many.
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy is imported
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from linear_video.clips.footage import FootageSettings, extract  # noqa: E402

FILES, FRAMES, REPETITIONS = 24, 120, 5
FEW, MANY = 50, 500
TARGET = 1.7  # times the speed of one worker
SETTINGS = FootageSettings(
    raw_folder="",
    include=[],
    unusable="fail",
    frame_size=(64, 64),
    fit="crop",
    crop_size=None,
    crops=1,
    channels=1,
    frames=15,
    frame_step=1,
    window_step=5,
    least_motion=0,
    cut_threshold=None,
    split_by="video",
    validation_share=0.1,
    test_share=0.1,
    workers=1,
)


def write_videos(folder: Path, files: int, frames: int) -> None:
    """Noise that drifts, in MPEG-4: no two videos are equal."""
    folder.mkdir()
    for number in range(files):
        noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        picture = cv2.resize(noise, (320 + frames, 240))
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        video = cv2.VideoWriter(str(folder / f"{number:04d}.mp4"), cv2.CAP_FFMPEG, codec, 25, (320, 240))
        for t in range(frames):
            video.write(np.ascontiguousarray(picture[:, t : t + 320]))
        video.release()


def seconds(raw: Path, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        extract(dataclasses.replace(SETTINGS, raw_folder=str(raw), workers=workers), Path(folder))
        return time.perf_counter() - start


def peak_memory(raw: Path) -> float:
    """MiB of a fresh process that reads the folder."""
    done = subprocess.run([sys.executable, __file__, str(raw)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "speed"
        write_videos(raw, FILES, FRAMES)
        times: dict[int, list[float]] = {1: [], 2: []}
        for repetition in range(REPETITIONS + 1):
            for workers, found in times.items():
                taken = seconds(raw, workers)
                if repetition:  # the first one warms up
                    found.append(taken)
        for workers, found in times.items():
            rates = [FILES * FRAMES / taken for taken in found]
            median = statistics.median(rates)
            print(f"{workers} workers: median {median:,.0f} frames/s, from {min(rates):,.0f} to {max(rates):,.0f}")
        ratios = [one / two for one, two in zip(times[1], times[2], strict=True)]
        median = statistics.median(ratios)
        print(f"two against one: {median:.2f}, from {min(ratios):.2f} to {max(ratios):.2f} (target {TARGET})")
        for files in (FEW, MANY):
            raw = Path(temporary) / f"memory_{files}"
            write_videos(raw, files, 40)
            print(f"peak memory with {files} files: {peak_memory(raw):.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        seconds(Path(sys.argv[1]), workers=2)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()

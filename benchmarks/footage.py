"""How fast recordings are read, and how much memory that takes."""

import dataclasses
import tempfile
from pathlib import Path

import cv2
import numpy as np

from linear_video.clips.extraction import extract
from linear_video.clips.footage import FootageSettings
from measuring import Step, in_turns, peak_memory, table

FILES, FRAMES = 24, 120
FEW, MANY = 50, 500
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
    """Write videos of drifting noise in MPEG-4; no two videos are equal."""
    folder.mkdir()
    for number in range(files):
        noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        picture = cv2.resize(noise, (320 + frames, 240))
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        video = cv2.VideoWriter(str(folder / f"{number:04d}.mp4"), cv2.CAP_FFMPEG, codec, 25, (320, 240))
        for t in range(frames):
            video.write(np.ascontiguousarray(picture[:, t : t + 320]))
        video.release()


def read(raw: str, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        extract(dataclasses.replace(SETTINGS, raw_folder=raw, workers=workers), Path(folder))


def prepare(raw: str) -> Step:
    return lambda: read(raw, workers=2)


def report() -> str:
    """Table of the time with one worker and with two, and the memory for few and for many files."""
    with tempfile.TemporaryDirectory() as temporary:
        raw = str(Path(temporary) / "speed")
        write_videos(Path(raw), FILES, FRAMES)
        steps = {f"{workers} workers": lambda workers=workers: read(raw, workers) for workers in (2, 1)}
        times = in_turns(steps, reference="2 workers", rounds=5)
        times["frames/s"] = [f"{1000 * FILES * FRAMES / ms:,.0f}" for ms in times["ms"]]
        memory = []
        for files in (FEW, MANY):
            many = Path(temporary) / f"memory_{files}"
            write_videos(many, files, 40)
            memory.append(f"{peak_memory(prepare, str(many)):.0f} MiB with {files} files")
    return (
        f"{FILES} videos of {FRAMES} frames, 320x240, MPEG-4, read into 64x64 grey. Target: 1.7 times with a second "
        f"worker.\n\n{table(times)}\n\nMemory, minus what the program held before: {', '.join(memory)}."
    )

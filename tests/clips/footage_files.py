"""Raw footage for tests, written and read with OpenCV and Pillow directly."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from linear_video.clips.extraction import COLUMNS
from linear_video.clips.footage import FootageSettings
from linear_video.clips.readers.recordings import Recording, Source, read_source

FPS = 12.5
# Four characters of the codec and suffix of the container; FFV1 is lossless.
LOSSLESS = [("FFV1", ".avi"), ("FFV1", ".mkv")]
LOSSY = [("MJPG", ".avi"), ("mp4v", ".mp4"), ("mp4v", ".mov"), ("mp4v", ".m4v"), ("VP90", ".webm"), ("VP80", ".webm")]


def noise(seed: int, frames: int = 12, height: int = 24, width: int = 32) -> np.ndarray:
    """Frames of random values: uint8 (T, h, w, 3), in red, green, blue."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def write_video(path: Path, frames: np.ndarray, codec: str = "FFV1", fps: float = FPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height), True)
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def write_gif(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray(frame).quantize(32) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=80, loop=0)
    return path


def write_images(folder: Path, frames: np.ndarray, suffix: str = ".png", name: str = "frame{}") -> Path:
    """Write frames as images, numbered from 1 without leading zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, 1):
        assert cv2.imwrite(str(folder / (name.format(number) + suffix)), np.ascontiguousarray(frame[..., ::-1]))
    return folder


def write_array(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


def put(path: Path, content: bytes | bytearray) -> Path:
    """Write a new file in place of an old one. (Overwriting the old one makes file systems wait for the disk.)"""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


def cut_off(path: Path, share: float = 0.5) -> Path:
    """Cut off a file after its first part."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def decoded(path: Path) -> np.ndarray:
    """All frames of a video in turn, as OpenCV gives them: (T, h, w, 3), in red, green, blue."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames: list[np.ndarray] = []
    while True:
        there, frame = capture.read()
        if not there:
            capture.release()
            return np.stack(frames)[..., ::-1]
        frames.append(frame)


def luma(frames: np.ndarray) -> np.ndarray:
    """Grey by ITU-R BT.601, not rounded: (..., 3) -> (...)."""
    return np.asarray(frames @ np.array([0.299, 0.587, 0.114]))


def read_all(path: Path, channels: int = 3) -> list[tuple[Recording, np.ndarray]]:
    """Recordings of a single file, with all frames (T, h, w, C)."""
    return read_whole(Source(path.name, "", (path,)), channels)


def read_whole(source: Source, channels: int = 3) -> list[tuple[Recording, np.ndarray]]:
    return [(recording, np.array(list(recording.frames))) for recording in read_source(source, channels)]


def footage_settings(raw: Path, **changes: Any) -> FootageSettings:
    values: dict[str, Any] = {
        "raw_folder": str(raw),
        "include": [],
        "unusable": "skip",
        "frame_size": (8, 8),
        "fit": "crop",
        "crop_size": None,
        "crops": 1,
        "channels": 3,
        "frames": 4,
        "frame_step": 1,
        "window_step": 4,
        "least_motion": 0.0,
        "cut_threshold": None,
        "split_by": "video",
        "validation_share": 0.1,
        "test_share": 0.1,
        "workers": 2,
    }
    return FootageSettings(**{**values, **changes})


def extracted(folder: Path, recordings: dict[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """Store frames uint8 (F, C, H, W) of each (source, crop) as ``footage.extract`` does, and return the same table."""
    rows = []
    for number, ((source, crop), frames) in enumerate(recordings.items()):
        file = f"{number}/0_{crop}.npy"
        write_array(folder / file, frames)
        label = source.split("/")[0]
        row = {"source": source, "label": label, "crop": crop, "frames": len(frames), "fps": 25.0, "file": file}
        rows.append({**row, "reason": ""})
    return pd.DataFrame(rows, columns=COLUMNS)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: the content of files, None for folders."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}

"""How fast clips are made: simulated, and read from recordings, from nothing to files that a training reads."""

import dataclasses
import tempfile
from pathlib import Path

import cv2
import numpy as np

from linear_video.clips.base import DatasetSettings
from linear_video.clips.footage import FootageSettings
from linear_video.clips.moving_symbols import MovingSymbolsSettings
from linear_video.io.clips import ClipSetDataset
from measuring import Row, Step, in_turns, peak_memory, target

SIZES = {"clips": 1000, "files": 24, "frames": 120, "few": 50, "many": 500}
TINY = {"clips": 10, "files": 4, "frames": 30, "few": 3, "many": 6}
SHORT = 40  # frames of a video when memory is measured
WIDTH, HEIGHT = 320, 240  # of the videos
FRAME, LENGTH = 64, 15  # side of the frames that are kept, and frames of a clip
SPLITS = ("train", "validation", "test")


def write_videos(folder: Path, files: int, frames: int) -> None:
    """Write videos of drifting noise in MPEG-4; no two videos are equal."""
    folder.mkdir()
    for number in range(files):
        noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        picture = cv2.resize(noise, (WIDTH + frames, HEIGHT))
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        video = cv2.VideoWriter(str(folder / f"{number:04d}.mp4"), cv2.CAP_FFMPEG, codec, 25, (WIDTH, HEIGHT))
        for t in range(frames):
            video.write(np.ascontiguousarray(picture[:, t : t + WIDTH]))
        video.release()


def footage(raw: Path, workers: int) -> FootageSettings:
    """Overlapping clips of grey frames."""
    return FootageSettings(
        raw_folder=str(raw),
        unusable="fail",
        frame_size=(FRAME, FRAME),
        frames=LENGTH,
        window_step=5,
        least_motion=0,
        cut_threshold=None,
        validation_share=0.1,
        test_share=0.1,
        workers=workers,
    )


def ingest(settings: DatasetSettings) -> int:
    """Make and save all clips, as the first node of a run does; return how many frames they have."""
    with tempfile.TemporaryDirectory() as temporary:
        made = settings.make("clips", 0, Path(temporary, "read"))
        for split in SPLITS:
            ClipSetDataset(filepath=str(Path(temporary, split))).save(made.clips[split])  # type: ignore[index]
        return sum(np.load(Path(temporary, split, "frames.npy"), mmap_mode="r").shape[0] for split in SPLITS)


def prepare(raw: Path) -> Step:
    return lambda: ingest(footage(raw, workers=2))


def measure(tiny: bool) -> Row:
    """Clips per second of each kind, with one worker and with two; and memory with few and with many recordings."""
    sizes = TINY if tiny else SIZES
    cv2.setNumThreads(1)
    symbols = MovingSymbolsSettings(clips={"train": sizes["clips"], "validation": 1, "test": 1})
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary, "speed")
        write_videos(raw, sizes["files"], sizes["frames"])
        kinds = {
            "simulated, one symbol": symbols,
            "simulated, two symbols that collide": dataclasses.replace(
                symbols, symbols_per_clip=(2, 2), collisions=True
            ),
            "videos, 1 worker": footage(raw, workers=1),
            "videos, 2 workers": footage(raw, workers=2),
        }
        count = {name: ingest(settings) for name, settings in kinds.items()}
        steps = {name: lambda settings=settings: ingest(settings) for name, settings in kinds.items()}
        rows = in_turns(steps, reference="videos, 1 worker", rounds=1 if tiny else 5)
        for row in rows:
            row["clips"] = count[row["name"]]
            row["clips_per_second"] = 1000 * row["clips"] / row["ms"]
        memory = []
        for files in (sizes["few"], sizes["many"]):
            many = Path(temporary, f"memory_{files}")
            write_videos(many, files, SHORT)
            memory.append({"files": files, "mib": peak_memory(prepare, many, times=1)})
    of_clip = {"length": LENGTH, "side": FRAME, "width": WIDTH, "height": HEIGHT}
    one, two = (row["ms"] for row in rows[2:])
    targets = [
        target("time with two workers, by that with one", two / one, 1 / 1.7),
        target("memory with many files, by that with few", memory[1]["mib"] / memory[0]["mib"], 1.1),
    ]
    return {**sizes, **of_clip, "codec": "MPEG-4", "short": SHORT, "rows": rows, "memory": memory, "targets": targets}

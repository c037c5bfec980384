"""Random clips of a training from a Zarr array beside those from a memory-mapped ``.npy`` file, on a local disk.

    python benchmarks/zarr_clips.py

Each draws the same clips as a training does, in turns; what counts is the ratio of their times in each turn.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from linear_video.clips.moving_symbols import MovingSymbolsSettings
from linear_video.io.zarr_frames import write_array
from linear_video.training.data import TrainingSteps

CLIPS_PER_STEP = 16


class OfZarr:
    """What ``TrainingSteps`` needs of an array."""

    def __init__(self, path: Path) -> None:
        self.array: Any = zarr.open_array(str(path), mode="r")

    def __len__(self) -> int:
        return int(self.array.shape[0])

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        numbers, where = np.unique(chosen, return_inverse=True)
        return np.asarray(self.array.oindex[numbers])[where]


def plain(path: Path, frames: NDArray[np.uint8]) -> None:
    """A file for each clip, without compression: the least that Zarr can have to do."""
    zarr.create_array(str(path), data=frames, chunks=(1, *frames.shape[1:]), compressors=None)


def compare(frames: NDArray[np.uint8], write: Callable[[Path, NDArray[np.uint8]], None], turns: int, steps: int) -> Any:
    """Milliseconds of a step from each, by turn, and the size of Zarr's files beside that of the frames."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "frames.npy"), frames)
        write(Path(folder, "frames.zarr"), frames)
        size = sum(path.stat().st_size for path in Path(folder, "frames.zarr").rglob("*") if path.is_file())
        mapped: Any = np.load(Path(folder, "frames.npy"), mmap_mode="r")
        kinds: dict[str, Any] = {"npy": mapped, "zarr": OfZarr(Path(folder, "frames.zarr"))}
        rows = []
        for turn in range(turns + 1):  # the first is for warming up
            row = {}
            for kind, array in kinds.items():
                drawn = TrainingSteps(array, CLIPS_PER_STEP, seed=turn)
                started = time.perf_counter()
                for step in range(steps):
                    drawn[step]
                row[kind] = 1000 * (time.perf_counter() - started) / steps
            rows.append(row)
            first, second = (TrainingSteps(array, CLIPS_PER_STEP, seed=turn)[0][1] for array in kinds.values())
            assert (first == second).all()
    table = pd.DataFrame(rows[1:])
    ratio = table["npy"] / table["zarr"]
    return {
        "npy / ms": table["npy"].median(),
        "zarr / ms": table["zarr"].median(),
        "speed": ratio.median(),
        "least": ratio.min(),
        "most": ratio.max(),
        "size": size / frames.nbytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    settings = MovingSymbolsSettings(clips={"train": arguments.clips, "validation": 1, "test": 1})
    made: Any = settings.make("moving_symbols", 0, Path()).clips["train"]
    noise = np.random.default_rng(0).integers(0, 256, (arguments.clips // 4, 15, 3, 64, 64), dtype=np.uint8)
    sets = {"moving_symbols": made.frames, "noise in colour, 64x64": noise}
    ways = {"compressed, many clips to a file": write_array, "plain, a file for each clip": plain}
    rows = []
    for name, frames in sets.items():
        for way, write in ways.items():
            row = compare(frames, write, arguments.turns, arguments.steps)
            rows.append({"clips": f"{name} {'x'.join(map(str, frames.shape))}", "Zarr": way, **row})
    print(f"Steps of {CLIPS_PER_STEP} clips. speed: that of Zarr, where npy is 1 (median, least and most of turns).\n")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))


if __name__ == "__main__":
    main()

"""Footage in the layout of UCSD's pedestrians, to measure and to try anomalies with: walkers, and one on wheels.

    python benchmarks/walkers.py data/01_raw/walkers
    kedro run --pipelines=ile.ucsd --params=ucsd.raw_folder=data/01_raw/walkers

Walkers are upright patches of texture that drift over a textured ground, with noise of a camera. In each test video, a
skater crosses the scene, who looks like a walker and is twice as fast as the fastest one. Frames that show the skater
are anomalous. Test videos with an odd number have a mask for each frame; a text in MATLAB names the anomalous frames of
all of them.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SPEED = (0.4, 1.2)  # pixels per frame, of walkers
SKATER_SPEED = 2.4
NOISE = 3.0  # grey levels


def texture(random: np.random.Generator, height: int, width: int, grain: float) -> NDArray[np.float64]:
    """Smooth random values with mean 0 and standard deviation 1."""
    values = cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), grain)
    return np.asarray((values - values.mean()) / values.std(), np.float64)


def put(frame: NDArray[np.float64], patch: NDArray[np.float64], x: float, y: float) -> NDArray[np.bool_]:
    """Draw a patch with its upper left corner at a place between pixels; return which pixels it covers."""
    shape = (frame.shape[1], frame.shape[0])
    move = np.array([[1, 0, x], [0, 1, y]], np.float64)
    covered = cv2.warpAffine(np.ones_like(patch), move, shape)
    frame[:] = (1 - covered) * frame + cv2.warpAffine(patch, move, shape)
    return np.asarray(covered > 0.5)


def video(
    random: np.random.Generator, frames: int, size: tuple[int, int], ground: NDArray[np.float64], skates: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames and masks of a skater, both (T, h, w)."""
    height, width = size
    tall, wide = height // 6, height // 14
    count = int(random.integers(4, 11))
    patches = [110 + random.uniform(-50, 50) + 25 * texture(random, tall, wide, 1.5) for _ in range(count + 1)]
    places = random.uniform((-wide, 0), (width, height - tall), (count, 2))
    speeds = random.uniform(*SPEED, count) * random.choice([-1, 1], count)
    drift = random.uniform(-0.1, 0.1, count)
    start, row = int(random.integers(frames // 4, frames // 2)), random.uniform(0, height - tall)
    shown, masks = [], []
    for t in range(frames):
        frame = ground.copy()
        for patch, (x, y), speed, slow in zip(patches[:-1], places, speeds, drift, strict=True):
            around = width + 2 * wide
            put(frame, patch, (x + speed * t + wide) % around - wide, float(np.clip(y + slow * t, 0, height - tall)))
        mask = np.zeros(size, np.bool_)
        if skates and t >= start:
            mask = put(frame, patches[-1], SKATER_SPEED * (t - start) - wide, row)
        noisy = frame + random.normal(0, NOISE, size)
        shown.append(np.rint(noisy.clip(0, 255)).astype(np.uint8))
        masks.append(255 * mask.astype(np.uint8))
    return np.stack(shown), np.stack(masks)


def write(root: Path, train: int, test: int, frames: int, size: tuple[int, int], seed: int) -> None:
    """Write the folders ``Train`` and ``Test``."""
    random = np.random.default_rng(seed)
    ground = 90 + 20 * texture(random, *size, 6.0)
    lines = ["TestVideoFile = {};"]
    for part, count in (("Train", train), ("Test", test)):
        for number in range(1, count + 1):
            shown, masks = video(random, frames, size, ground, part == "Test")
            folder = root / part / f"{part}{number:03d}"
            write_pictures(folder, shown, ".tif")
            if part == "Test":
                there = 1 + np.flatnonzero(masks.any(axis=(1, 2)))
                lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{there.min()}:{there.max()}];")
                if number % 2:
                    write_pictures(folder.with_name(f"{folder.name}_gt"), masks, ".bmp")
    (root / "Test" / f"{root.name}.m").write_text("\n".join(lines) + "\n")


def write_pictures(folder: Path, pictures: NDArray[np.uint8], suffix: str) -> None:
    """Write each picture, numbered from 001 on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, 1):
        cv2.imwrite(str(folder / f"{number:03d}{suffix}"), picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=16, help="videos")
    parser.add_argument("--test", type=int, default=12, help="videos")
    parser.add_argument("--frames", type=int, default=150, help="of a video")
    parser.add_argument("--size", type=int, nargs=2, default=(120, 180), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    size = (arguments.size[0], arguments.size[1])
    write(arguments.folder, arguments.train, arguments.test, arguments.frames, size, arguments.seed)


if __name__ == "__main__":
    main()

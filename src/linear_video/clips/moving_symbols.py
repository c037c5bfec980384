"""Moving Symbols (Szeto et al. 2018), simulated exactly: symbols that drift, turn, grow and bounce inside a frame.

The module ``motion`` computes where they are; this module draws them, with sub-pixel precision. Moving MNIST
(Srivastava et al. 2015) is made by the same code, in whole pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from linear_video.clips.base import SPLITS, ClipSet, DatasetSettings, Made, Split, check_each_split
from linear_video.clips.motion import Trajectory, draw_trajectory
from linear_video.clips.readers.moving_mnist import read_test_clips
from linear_video.clips.readers.symbols import Symbol, in_channels, load_symbols, split_images
from linear_video.common.checks import check_choice, check_least, check_literals, check_pair, check_within
from linear_video.common.errors import InputError
from linear_video.common.files import check_path
from linear_video.common.images import read_picture, resized


@dataclass(frozen=True)
class MovingSymbolsSettings(DatasetSettings):
    """How clips are simulated. Every range is (least, greatest), drawn uniformly for each symbol.

    Attributes:
        clips: number of clips in each split.
        symbols: where the symbols come from: ``"digits"``, ``"mnist"`` or ``"folder"``, see ``load_symbols``.
        symbols_folder: folder of MNIST's files or of the pictures; unused by ``"digits"``.
        generator: how symbols are drawn and moved. ``"exact"``: cropped tightly, in sub-pixel steps, with exact
            reflections, each over those before it. ``"moving_mnist"``: as Moving MNIST is made (Srivastava et al.
            2015): whole images, at whole pixels; a step across a wall ends on the wall; where symbols overlap, the
            brighter pixel shows. It knows no rotation, scale, collisions, pushes or backgrounds.
        test_file: Moving MNIST's own test clips, ``mnist_test_seq.npy``, which are read in place of simulated ones;
            None to simulate them. Only for the generator ``"moving_mnist"``.
        symbol_size: longer side of a symbol (or of its whole image, see ``generator``) in pixels of the rendered frame.
        backgrounds_folder: folder of pictures, from which each clip draws its background; None for plain grey.
        frames: number of frames in a clip.
        render_size: side of the square frame in which symbols move, in pixels.
        frame_size: side of the frame that is kept; the rendered frame is averaged down to it.
        channels: 1 (grey) or 3 (red, green, blue).
        symbols_per_clip: (least, greatest) number of symbols.
        speed: pixels of the rendered frame per frame; the direction is drawn uniformly.
        rotation_speed: degrees per frame, counter-clockwise; negative for clockwise.
        scale: size of a symbol relative to its own; two different numbers make it grow and shrink.
        scale_period: frames from one largest form to the next.
        scale_wave: course of the scale between its limits: ``"constant"`` (a size drawn for each symbol), ``"sine"``
            or ``"triangle"``.
        collisions: whether symbols bounce off each other, or pass over one another.
        pushes: (least, greatest) number of pushes in a clip, each on the way to a randomly drawn frame. A push changes
            the velocity of all symbols by the same vector. The pushes are the actions of the clips.
        push: size of that change in pixels of the rendered frame per frame; the direction is drawn uniformly.
        background: grey value in [0, 1].
    """

    clips: dict[Split, int] = field(default_factory=lambda: {"train": 10_000, "validation": 100, "test": 100})
    symbols: Literal["digits", "mnist", "folder"] = "digits"
    symbols_folder: str = "data/01_raw/mnist"
    generator: Literal["exact", "moving_mnist"] = "exact"
    test_file: str | None = None
    symbol_size: int = 20
    backgrounds_folder: str | None = None
    frames: int = 15
    render_size: int = 64
    frame_size: int = 64
    channels: int = 1
    symbols_per_clip: tuple[int, int] = (1, 1)
    speed: tuple[float, float] = (0.0, 3.0)
    rotation_speed: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    scale_period: float = 10.0
    scale_wave: Literal["constant", "sine", "triangle"] = "constant"
    collisions: bool = False
    pushes: tuple[int, int] = (0, 0)
    push: tuple[float, float] = (0.5, 1.0)
    background: float = 0.0

    def __post_init__(self) -> None:
        check_each_split(self, "clips")
        check_literals(self)
        check_least(self, 1, "frames", "symbol_size", "render_size", "frame_size")
        check_choice(self, (1, 3), "channels")
        check_pair(self, "[1, inf)", "symbols_per_clip")
        check_pair(self, "[0, inf)", "speed", "pushes", "push")
        check_pair(self, "(-inf, inf)", "rotation_speed")
        check_pair(self, "(0, inf)", "scale")
        check_within(self, "(0, inf)", "scale_period")
        check_within(self, "[0, 1]", "background")
        if self.frame_size > self.render_size:
            raise ValueError(f"frame_size {self.frame_size} must not exceed render_size {self.render_size}.")
        if self.pushes[1] >= self.frames and self.pushes[1]:
            raise ValueError(f"pushes must be fewer than the frames, {self.frames}, not {self.pushes[1]}.")
        if self.pushes[1] and self.collisions:
            raise ValueError("pushes and collisions cannot be combined; leave one out.")
        if self.generator == "moving_mnist":
            self._check_moving_mnist()
        elif self.test_file is not None:
            raise ValueError("test_file is for the generator moving_mnist alone; set generator, or test_file to null.")

    def _check_moving_mnist(self) -> None:
        still: dict[str, Any] = {"rotation_speed": (0, 0), "scale": (1, 1), "collisions": False, "pushes": (0, 0)}
        given = [name for name, value in still.items() if getattr(self, name) != value]
        if self.backgrounds_folder is not None:
            given.append("backgrounds_folder")
        if given:
            raise ValueError(f"the generator moving_mnist does not know {', '.join(given)}; leave them out.")

    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Simulate the clips of all splits, which share no symbols, and no backgrounds if there are enough of them.

        Test clips are read from ``test_file``, if there is one.
        """
        return Made({split: self._clips(split, seed) for split in SPLITS})

    def _clips(self, split: Split, seed: int) -> ClipSet:
        if split == "test" and self.test_file is not None:
            shape = (self.channels, self.frame_size, self.frame_size)
            return read_test_clips(Path(self.test_file), self.clips[split], self.frames, shape)
        cropped = self.generator == "exact"
        symbols = load_symbols(self.symbols, Path(self.symbols_folder), self.symbol_size, split, cropped)
        backgrounds = load_backgrounds(Path(self.backgrounds_folder), self, split) if self.backgrounds_folder else None
        return simulate(self, symbols, split, seed, range(self.clips[split]), backgrounds)


def render(
    settings: MovingSymbolsSettings,
    symbols: list[Symbol],
    trajectory: Trajectory,
    background: NDArray[np.float32] | None,
) -> NDArray[np.uint8]:
    """Draw one clip by bilinear interpolation and opacity over the background: uint8 (T, C, H, W).

    ``background`` is float32 (render_size, render_size, C) in [0, 1]; None takes the settings' grey value.
    """
    size, channels = settings.render_size, settings.channels
    canvas = np.full((settings.frames, size, size, channels), settings.background, np.float32)
    if background is not None:
        canvas[:] = background
    for k, symbol in enumerate(symbols):
        planes = in_channels(symbol.planes, channels)
        radians = np.deg2rad(trajectory.angle[:, k])
        cosine, sine = trajectory.scale[:, k] * np.cos(radians), trajectory.scale[:, k] * np.sin(radians)
        middle = (np.array(planes.shape[1::-1]) - 1) / 2
        # Rows of the affine map from the symbol's pixel numbers to the frame's; y points down, angles turn up.
        maps = np.empty((settings.frames, 2, 3))
        maps[:, 0, 0], maps[:, 0, 1] = cosine, sine
        maps[:, 1, 0], maps[:, 1, 1] = -sine, cosine
        maps[:, :, 2] = trajectory.position[:, k] - 0.5 - maps[:, :, :2] @ middle
        for t in range(settings.frames):
            drawn = cv2.warpAffine(planes, maps[t], (size, size), flags=cv2.INTER_LINEAR)
            drawn = drawn.reshape(size, size, -1)
            if settings.generator == "moving_mnist":
                np.maximum(canvas[t], drawn[..., :channels], out=canvas[t])
                continue
            canvas[t] *= 1 - drawn[..., -1:]
            canvas[t] += drawn[..., :channels]  # for a white symbol in grey, colour and opacity are one plane
    if settings.frame_size != size:
        canvas = np.stack([resized(frame, settings.frame_size, settings.frame_size) for frame in canvas])
    return np.rint(canvas * 255).astype(np.uint8).transpose(0, 3, 1, 2)


def simulate(
    settings: MovingSymbolsSettings,
    symbols: list[Symbol],
    split: Split,
    seed: int,
    clips: Iterable[int],
    backgrounds: list[NDArray[np.float32]] | None = None,
) -> ClipSet:
    """Simulate the clips with the given numbers.

    Clip i depends only on the settings, the symbols, the split, the seed and i, not on how many clips are made or in
    which order. ``backgrounds`` are float32 (render_size, render_size, C); each clip draws one.
    """
    numbers, side = list(clips), settings.frame_size
    labels = sorted({symbol.label for symbol in symbols})
    by_label = {label: [symbol for symbol in symbols if symbol.label == label] for label in labels}
    frames = np.empty((len(numbers), settings.frames, settings.channels, side, side), np.uint8)
    rows, trajectories = [], []
    for row, number in enumerate(tqdm(numbers, desc=f"simulating {split} clips", unit="clip", mininterval=0.5)):
        random = np.random.default_rng((seed, SPLITS.index(split), number))
        chosen = []
        for _ in range(random.integers(settings.symbols_per_clip[0], settings.symbols_per_clip[1] + 1)):
            of_label = by_label[labels[random.integers(len(labels))]]
            chosen.append(of_label[random.integers(len(of_label))])
        background = backgrounds[random.integers(len(backgrounds))] if backgrounds else None
        trajectory = draw_trajectory(settings, chosen, random)
        frames[row] = render(settings, chosen, trajectory, background)
        trajectories.append(trajectory)
        rows.append((",".join(s.source for s in chosen), ",".join(s.label for s in chosen), 0, number))
    table = pd.DataFrame(rows, columns=["source", "label", "start", "number"])
    pushes = [trajectory.pushes for trajectory in trajectories if trajectory.pushes is not None]
    actions = np.stack(pushes).astype(np.float32) if pushes else None
    return ClipSet(frames, table, _states(numbers, trajectories), actions)


def _states(numbers: list[int], trajectories: list[Trajectory]) -> pd.DataFrame:
    """Ground truth as one table: a row for each clip, frame and symbol."""
    shapes = [trajectory.angle.shape for trajectory in trajectories]  # (T, S) each
    columns = {
        "clip": [np.full(shape, number) for number, shape in zip(numbers, shapes, strict=True)],
        "frame": [np.indices(shape)[0] for shape in shapes],
        "symbol": [np.indices(shape)[1] for shape in shapes],
        "x": [t.position[..., 0] for t in trajectories],
        "y": [t.position[..., 1] for t in trajectories],
        "velocity_x": [t.velocity[..., 0] for t in trajectories],
        "velocity_y": [t.velocity[..., 1] for t in trajectories],
        "angle": [t.angle for t in trajectories],
        "scale": [t.scale for t in trajectories],
        "wall_hits": [t.hits for t in trajectories],
    }
    return pd.DataFrame({name: np.concatenate([v.reshape(-1) for v in values]) for name, values in columns.items()})


def load_backgrounds(folder: Path, settings: MovingSymbolsSettings, split: Split) -> list[NDArray[np.float32]]:
    """Pictures of a folder as backgrounds, resized to the rendered frame: float32 (H, W, C) in [0, 1].

    Splits do not share pictures, unless there are fewer than ten different ones: then they share them all.

    Raises:
        InputError: if the folder holds no readable picture, or a picture that is too large.
    """
    flag = cv2.IMREAD_GRAYSCALE if settings.channels == 1 else cv2.IMREAD_COLOR_RGB
    size = settings.render_size
    paths = [path for path in sorted(folder.glob("*")) if path.is_file()]
    for path in paths:
        check_path(path)
    pictures = (read_picture(path, flag) for path in paths)
    backgrounds = [
        (cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)).reshape(size, size, -1)
        for p in pictures
        if p is not None
    ]
    if not backgrounds:
        raise InputError(f"{folder} holds no picture; name a folder of pictures in backgrounds_folder, or null.")
    if len({background.tobytes() for background in backgrounds}) < 10:
        return backgrounds
    return [backgrounds[i] for i in split_images(backgrounds, split)]

"""Moving Symbols (Szeto et al. 2018), simulated exactly: symbols that drift, turn, grow and bounce inside a frame.

A symbol moves as the box around it. Walls reflect elastically and change neither speed nor spin, so a symbol alone
follows a triangle wave on each axis, in closed form. Symbols that collide are boxes of equal mass: they exchange their
velocities along the axis of contact, found event by event. A symbol that turns or grows takes the box it could ever
need (the circle around its largest form), so that it never leaves the frame.

Positions are in pixels of the rendered frame, whose pixel (row i, column j) covers [j, j+1] x [i, i+1]; times are in
frames.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from linear_video.clips.clip_set import ClipSet
from linear_video.clips.symbols import SPLITS, Split, Symbol, split_images
from linear_video.errors import InputError

MAXIMUM_EVENTS = 10_000  # bounces and collisions of one clip; more means that the symbols are wedged
PLACING_ATTEMPTS = 1_000


@dataclass(frozen=True)
class MovingSymbolsSettings:
    """How clips are simulated. Every range is (least, greatest), drawn uniformly for each symbol.

    Attributes:
        clips: number of clips of each split.
        symbols: where symbols come from: ``"digits"``, ``"mnist"`` or ``"folder"``, see ``load_symbols``.
        symbols_folder: folder of MNIST's files or of the pictures; unused by ``"digits"``.
        symbol_size: longer side of a tightly cropped symbol, in pixels of the rendered frame.
        backgrounds_folder: folder of pictures, of which each clip draws one as its background; None for plain grey.
        frames: frames of a clip.
        render_size: side of the square frame in which symbols move, in pixels.
        frame_size: side of the frame that is kept; the rendered frame is averaged down to it.
        channels: 1 (grey) or 3 (red, green, blue).
        symbols_per_clip: (least, greatest) number of symbols.
        speed: pixels of the rendered frame per frame; the direction is uniform.
        rotation_speed: degrees per frame, counter-clockwise.
        scale: size of a symbol relative to its own; two different numbers make it grow and shrink.
        scale_period: frames from one largest form to the next.
        scale_wave: course of the scale between its limits: ``"constant"`` (a size drawn for each symbol), ``"sine"``
            or ``"triangle"``.
        collisions: whether symbols bounce off each other, or pass over one another.
        pushes: (least, greatest) number of pushes of a clip, each on the way to a frame that is drawn; a push changes
            the velocity of all symbols by the same vector. They are the actions of the clips.
        push: size of that change in pixels of the rendered frame per frame; the direction is uniform.
        background: grey value of [0, 1].
    """

    clips: dict[Split, int] = field(default_factory=lambda: {"train": 10_000, "validation": 100, "test": 100})
    symbols: Literal["digits", "mnist", "folder"] = "digits"
    symbols_folder: str = "data/01_raw/mnist"
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
        if set(self.clips) != set(SPLITS) or min(self.clips.values()) < 1:
            raise ValueError(f"clips must give at least 1 clip for each of {', '.join(SPLITS)}, not {self.clips}.")
        for name in ("frames", "symbol_size", "render_size", "frame_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.frame_size > self.render_size:
            raise ValueError(f"frame_size {self.frame_size} must not exceed render_size {self.render_size}.")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}.")
        for name in ("symbols_per_clip", "speed", "rotation_speed", "scale", "pushes", "push"):
            least, greatest = getattr(self, name)
            if not -np.inf < least <= greatest < np.inf:
                raise ValueError(f"{name} must be [least, greatest], both finite, not [{least}, {greatest}].")
        if self.symbols_per_clip[0] < 1:
            raise ValueError(f"symbols_per_clip must be at least 1, not {self.symbols_per_clip[0]}.")
        for name in ("speed", "pushes", "push"):
            if getattr(self, name)[0] < 0:
                raise ValueError(f"{name} must not be below zero, but is {getattr(self, name)[0]}.")
        if self.pushes[1] >= self.frames and self.pushes[1]:
            raise ValueError(f"pushes must be fewer than the frames, {self.frames}, not {self.pushes[1]}.")
        if self.pushes[1] and self.collisions:
            raise ValueError("pushes and collisions cannot be had together; leave one out.")
        if self.scale[0] <= 0:
            raise ValueError(f"scale must be above zero, not {self.scale[0]}.")
        if not 0 < self.scale_period < np.inf:
            raise ValueError(f"scale_period must be finite and above zero, not {self.scale_period}.")
        if self.scale_wave not in ("constant", "sine", "triangle"):
            raise ValueError(f"scale_wave must be constant, sine or triangle, not {self.scale_wave!r}.")
        if not 0 <= self.background <= 1:
            raise ValueError(f"background must be within [0, 1], not {self.background}.")


@dataclass(frozen=True)
class Trajectory:
    """States of the S symbols of one clip at frames 0 .. T-1.

    Attributes:
        position: (T, S, 2), x and y of the centres in pixels.
        velocity: (T, S, 2), pixels per frame.
        hits: (T, S), bounces off walls since the frame before.
        angle: (T, S), degrees, counter-clockwise.
        scale: (T, S).
        pushes: (T, 2), change of every symbol's velocity on the way to each frame, pixels per frame; None for none.
    """

    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    hits: NDArray[np.int64]
    angle: NDArray[np.float64]
    scale: NDArray[np.float64]
    pushes: NDArray[np.float64] | None = None


def billiard(
    start: NDArray[np.float64], velocity: NDArray[np.float64], length: NDArray[np.float64], frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Motion between elastic walls at 0 and ``length``, in closed form, for each entry of ``start`` on its own.

    Returns positions (T, ...), velocities (T, ...) and the walls hit since the frame before (T, ...).
    """
    free = start + np.arange(frames).reshape(-1, *[1] * start.ndim) * velocity
    room = np.where(length > 0, length, 1)
    bounces = np.floor(free / room).astype(np.int64)
    folded = free - bounces * room
    forward = bounces % 2 == 0
    position = np.clip(np.where(forward, folded, room - folded), 0, length)
    hits = np.abs(np.diff(bounces, axis=0, prepend=bounces[:1]))
    resting = np.broadcast_to(length <= 0, position.shape)
    return (
        np.where(resting, 0, position),
        np.where(resting, 0, np.where(forward, velocity, -velocity)),
        np.where(resting, 0, hits),
    )


def pushed_billiard(
    start: NDArray[np.float64], velocity: NDArray[np.float64], length: NDArray[np.float64], pushes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """``billiard`` whose velocity changes by ``pushes[t]`` (T, 2) on the way to frame t, right after frame t-1."""
    moments = [0, *np.flatnonzero(pushes[1:].any(axis=1)), len(pushes) - 1]  # frames from which a new course is taken
    position, velocities, hits = billiard(start, velocity, length, len(pushes))
    for first, last in itertools.pairwise(moments[1:]):
        course = billiard(position[first], velocities[first] + pushes[first + 1], length, last - first + 1)
        for of_all, of_course in zip((position, velocities, hits), course, strict=True):
            of_all[first + 1 : last + 1] = of_course[1:]
    return position, velocities, hits


def collide(
    start: NDArray[np.float64], velocity: NDArray[np.float64], half: NDArray[np.float64], size: float, frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Motion of boxes that bounce off the walls of a square of side ``size`` and off each other, event by event.

    ``start``, ``velocity`` and ``half`` (half the boxes' sides) are (S, 2). Boxes have equal mass and exchange their
    velocities along the axis of contact. Returns positions (T, S, 2), velocities (T, S, 2), wall hits (T, S).

    Raises:
        InputError: if the boxes are wedged (more than 10,000 events in one clip).
    """
    position, velocity = start.copy(), velocity.copy()
    symbols = len(position)
    positions, velocities = np.empty((frames, symbols, 2)), np.empty((frames, symbols, 2))
    hits = np.zeros((frames, symbols), np.int64)
    events = 0
    for t in range(frames):
        remaining = 1.0 if t else 0.0
        while remaining > 0:
            # Walls: the time until each box reaches the wall it moves towards.
            room = np.where(velocity > 0, size - half - position, position - half)
            speed = np.abs(velocity)
            to_wall = np.divide(np.maximum(room, 0), speed, out=np.full_like(room, np.inf), where=speed > 0)
            step, pair = float(to_wall.min()), None
            for i in range(symbols):
                for j in range(i + 1, symbols):
                    contact = _contact(position[j] - position[i], velocity[j] - velocity[i], half[i] + half[j])
                    if contact is not None and contact[0] < step:
                        step, pair = contact[0], (i, j, contact[1])
            if step >= remaining:
                position += velocity * remaining
                break
            position += velocity * step
            remaining -= step
            events += 1
            if events > MAXIMUM_EVENTS:
                raise InputError("the symbols are wedged between walls and each other; use fewer or smaller ones.")
            if pair is None:
                i, axis = divmod(int(to_wall.argmin()), 2)
                velocity[i, axis] = -velocity[i, axis]
                hits[t, i] += 1
            else:
                i, j, axis = pair
                velocity[[i, j], axis] = velocity[[j, i], axis]
        positions[t], velocities[t] = position, velocity
    return positions, velocities, hits


def _contact(
    offset: NDArray[np.float64], velocity: NDArray[np.float64], reach: NDArray[np.float64]
) -> tuple[float, int] | None:
    """Time until two boxes touch, and the axis on which they do; None if they do not, or are parting."""
    enter, leave, axis = -np.inf, np.inf, 0
    for k in range(2):
        if velocity[k] == 0:
            if abs(offset[k]) >= reach[k]:
                return None
            continue
        times = sorted(((-reach[k] - offset[k]) / velocity[k], (reach[k] - offset[k]) / velocity[k]))
        if times[0] > enter:
            enter, axis = times[0], k
        leave = min(leave, times[1])
    approaching = offset[axis] * velocity[axis] < 0
    # Boxes in touch after their last exchange may overlap by rounding: then they meet now, if they still approach. The
    # overlap is measured in pixels, since slow boxes take long to overlap by little.
    if not approaching or enter >= leave or leave <= 0 or enter * abs(velocity[axis]) < -1e-9:
        return None
    return max(enter, 0.0), axis


def draw_trajectory(settings: MovingSymbolsSettings, symbols: list[Symbol], random: np.random.Generator) -> Trajectory:
    """Draw where the symbols of one clip start and how they move, and follow them.

    Raises:
        InputError: if a symbol is larger than the frame, or colliding symbols find no place beside each other.
    """
    size, frames, count = settings.render_size, settings.frames, len(symbols)
    sides = np.array([symbol.planes.shape[1::-1] for symbol in symbols], dtype=np.float64)  # (S, 2), width and height
    spin = random.uniform(*settings.rotation_speed, count)
    scale = _scales(settings, random, count)
    turning = any(settings.rotation_speed)
    boxes = np.hypot(sides[:, :1], sides[:, 1:]).repeat(2, axis=1) if turning else sides
    half = boxes * (scale.max(axis=0)[:, None] / 2)
    if (2 * half > size).any():
        raise InputError(
            f"a symbol of {2 * half.max():.0f} pixels (with its rotation and scale) is larger than the frame of "
            f"{size}; lower the symbols' size or scale, or raise render_size."
        )
    direction = random.uniform(0, 2 * np.pi, count)
    speed = random.uniform(*settings.speed, count)
    velocity = speed[:, None] * np.stack((np.cos(direction), np.sin(direction)), axis=1)
    start = half + random.uniform(size=(count, 2)) * (size - 2 * half)
    pushes = None
    if settings.collisions and count > 1:
        start = _place_apart(start, half, size, random)
        position, velocities, hits = collide(start, velocity, half, size, frames)
    else:
        if settings.pushes[1]:  # nothing more is drawn otherwise
            pushes = _draw_pushes(settings, random)
            course = pushed_billiard(start - half, velocity, size - 2 * half, pushes)
        else:
            course = billiard(start - half, velocity, size - 2 * half, frames)
        position, velocities, wall_hits = course
        position, hits = position + half, wall_hits.sum(axis=-1)
    angle = random.uniform(0, 360, count) * turning + np.arange(frames)[:, None] * spin
    return Trajectory(position, velocities, hits, angle, scale, pushes)


def _draw_pushes(settings: MovingSymbolsSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """Pushes of one clip: (T, 2), zeros where there is none."""
    count = random.integers(settings.pushes[0], settings.pushes[1] + 1)
    moments = 1 + random.choice(settings.frames - 1, count, replace=False)
    direction, strength = random.uniform(0, 2 * np.pi, count), random.uniform(*settings.push, count)
    pushes = np.zeros((settings.frames, 2))
    pushes[moments] = strength[:, None] * np.stack((np.cos(direction), np.sin(direction)), axis=1)
    return pushes


def _scales(settings: MovingSymbolsSettings, random: np.random.Generator, count: int) -> NDArray[np.float64]:
    least, greatest = settings.scale
    if settings.scale_wave == "constant":
        return np.broadcast_to(random.uniform(least, greatest, count), (settings.frames, count))
    phase = random.uniform(size=count) + np.arange(settings.frames)[:, None] / settings.scale_period
    sine = settings.scale_wave == "sine"
    share = (1 + np.sin(2 * np.pi * phase)) / 2 if sine else np.abs(2 * (phase % 1) - 1)
    return np.asarray(least + (greatest - least) * share)


def _place_apart(
    start: NDArray[np.float64], half: NDArray[np.float64], size: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw starts again until no two boxes overlap."""
    for _ in range(PLACING_ATTEMPTS):
        apart: NDArray[np.bool_] = np.any(np.abs(start[:, None] - start) >= half[:, None] + half, axis=-1)
        if apart[np.triu_indices(len(start), 1)].all():
            return start
        start = half + random.uniform(size=start.shape) * (size - 2 * half)
    raise InputError(f"{len(start)} symbols find no place beside each other; use fewer or smaller ones.")


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
        planes = _in_channels(symbol.planes, channels)
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
            canvas[t] *= 1 - drawn[..., -1:]
            canvas[t] += drawn[..., :channels]  # for a white symbol in grey, colour and opacity are one plane
    if settings.frame_size != size:
        kept = settings.frame_size
        canvas = np.stack([cv2.resize(c, (kept, kept), interpolation=cv2.INTER_AREA) for c in canvas])
        canvas = canvas.reshape(settings.frames, kept, kept, channels)
    return np.rint(canvas * 255).astype(np.uint8).transpose(0, 3, 1, 2)


def _in_channels(planes: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Planes to draw: (h, w, 1) for white in grey, else (h, w, channels + 1) with the opacity last."""
    if planes.shape[2] == 1:
        return planes if channels == 1 else np.repeat(planes, channels + 1, axis=2)
    if channels == 3:
        return planes
    grey = planes[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma
    return np.stack((grey, planes[..., 3]), axis=2)


def simulate(
    settings: MovingSymbolsSettings,
    symbols: list[Symbol],
    split: Split,
    seed: int,
    clips: Iterable[int],
    backgrounds: list[NDArray[np.float32]] | None = None,
) -> ClipSet:
    """Simulate the clips with the given numbers.

    Clip i depends on the settings, the symbols, the split, the seed and i alone: not on how many are made, nor in
    which order. ``backgrounds`` are float32 (render_size, render_size, C); each clip draws one.
    """
    numbers = list(clips)
    by_label: dict[str, list[Symbol]] = {}
    for symbol in symbols:
        by_label.setdefault(symbol.label, []).append(symbol)
    labels = sorted(by_label)
    side = settings.frame_size
    frames = np.empty((len(numbers), settings.frames, settings.channels, side, side), np.uint8)
    rows, trajectories = [], []
    for row, number in enumerate(tqdm(numbers, desc=f"simulating {split} clips", unit="clip", mininterval=0.5)):
        random = np.random.default_rng((seed, SPLITS.index(split), number))
        count = int(random.integers(settings.symbols_per_clip[0], settings.symbols_per_clip[1] + 1))
        chosen = []
        for _ in range(count):
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
    grid = [np.indices(shape).reshape(2, -1) for shape in shapes]

    def column(values: list[NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.concatenate([value.reshape(-1) for value in values])

    return pd.DataFrame(
        {
            "clip": np.repeat(numbers, [t * s for t, s in shapes]),
            "frame": column([indices[0] for indices in grid]),
            "symbol": column([indices[1] for indices in grid]),
            "x": column([t.position[..., 0] for t in trajectories]),
            "y": column([t.position[..., 1] for t in trajectories]),
            "velocity_x": column([t.velocity[..., 0] for t in trajectories]),
            "velocity_y": column([t.velocity[..., 1] for t in trajectories]),
            "angle": column([t.angle for t in trajectories]),
            "scale": column([t.scale for t in trajectories]),
            "wall_hits": column([t.hits for t in trajectories]),
        }
    )


def load_backgrounds(folder: Path, settings: MovingSymbolsSettings, split: Split) -> list[NDArray[np.float32]]:
    """Pictures of a folder as backgrounds, resized to the rendered frame: float32 (H, W, C) in [0, 1].

    Splits share none; with fewer than ten different pictures, they share all.

    Raises:
        InputError: if the folder holds no readable picture.
    """
    flag = cv2.IMREAD_GRAYSCALE if settings.channels == 1 else cv2.IMREAD_COLOR_RGB
    size = settings.render_size
    pictures = [cv2.imread(str(path), flag) for path in sorted(folder.glob("*")) if path.is_file()]
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

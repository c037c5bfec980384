"""How symbols move: in closed form between walls, event by event where they collide.

A symbol moves as the box around it. Walls reflect elastically and change neither speed nor spin, so a symbol alone
follows a triangle wave on each axis, in closed form. Symbols that collide are boxes of equal mass: they exchange their
velocities along the axis of contact, found event by event. A symbol that turns or grows takes the box it could ever
need (the circle around its largest form), so that it never leaves the frame.

Positions are in pixels of the rendered frame, whose pixel (row i, column j) covers [j, j+1] x [i, i+1]; times are in
frames.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from linear_video.clips.readers.symbols import Symbol
from linear_video.common.errors import InputError

if TYPE_CHECKING:
    from linear_video.clips.moving_symbols import MovingSymbolsSettings

MAXIMUM_EVENTS = 10_000  # bounces and collisions of one clip; more means that the symbols are wedged
PLACING_ATTEMPTS = 1_000


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


def clamped_walk(
    start: NDArray[np.float64], velocity: NDArray[np.float64], length: NDArray[np.float64], frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Motion as Moving MNIST's generator has it (Srivastava et al. 2015), of which ``billiard`` is the exact form.

    A step that would cross a wall ends on the wall, and the velocity is reversed. Frame 0 is one step after ``start``.
    Arguments and results are those of ``billiard``.
    """
    position, velocity = start.astype(np.float64), velocity.astype(np.float64)
    positions, velocities = np.empty((2, frames, *start.shape))
    hits = np.zeros((frames, *start.shape), np.int64)
    for t in range(frames):
        moved = position + velocity
        position = np.clip(moved, 0, length)
        crossed = (moved <= 0) | (moved >= length)
        velocity = np.where(crossed, -velocity, velocity)
        positions[t], velocities[t], hits[t] = position, velocity, crossed
    return positions, velocities, hits


def pushed_billiard(
    start: NDArray[np.float64], velocity: NDArray[np.float64], length: NDArray[np.float64], pushes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Like ``billiard``, but the velocity changes by ``pushes[t]`` (T, 2) right after frame t-1."""
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
    """Time until two boxes touch, and the axis on which they do; None if they do not touch, or move apart."""
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
    # Boxes that touch after their last exchange may overlap because of rounding: if they still approach, they meet
    # now. The overlap is measured in pixels, since slow boxes take long to overlap by little.
    if not approaching or enter >= leave or leave <= 0 or enter * abs(velocity[axis]) < -1e-9:
        return None
    return max(enter, 0.0), axis


def draw_trajectory(
    settings: "MovingSymbolsSettings", symbols: list[Symbol], random: np.random.Generator
) -> Trajectory:
    """Draw where the symbols of one clip start and how they move, and follow them.

    Raises:
        InputError: if a symbol is larger than the frame, or colliding symbols do not fit beside each other.
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
        elif settings.generator == "moving_mnist":
            corner, velocities, wall_hits = clamped_walk(start - half, velocity, size - 2 * half, frames)
            course = np.floor(corner), velocities, wall_hits  # whole pixels
        else:
            course = billiard(start - half, velocity, size - 2 * half, frames)
        position, velocities, wall_hits = course
        position, hits = position + half, wall_hits.sum(axis=-1)
    angle = random.uniform(0, 360, count) * turning + np.arange(frames)[:, None] * spin
    return Trajectory(position, velocities, hits, angle, scale, pushes)


def _draw_pushes(settings: "MovingSymbolsSettings", random: np.random.Generator) -> NDArray[np.float64]:
    """Pushes of one clip: (T, 2), zeros at frames without a push."""
    count = random.integers(settings.pushes[0], settings.pushes[1] + 1)
    moments = 1 + random.choice(settings.frames - 1, count, replace=False)
    direction, strength = random.uniform(0, 2 * np.pi, count), random.uniform(*settings.push, count)
    pushes = np.zeros((settings.frames, 2))
    pushes[moments] = strength[:, None] * np.stack((np.cos(direction), np.sin(direction)), axis=1)
    return pushes


def _scales(settings: "MovingSymbolsSettings", random: np.random.Generator, count: int) -> NDArray[np.float64]:
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
    raise InputError(f"{len(start)} symbols do not fit beside each other; use fewer or smaller ones.")

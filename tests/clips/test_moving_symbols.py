import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from linear_video.clips.base import SPLITS, ClipSet
from linear_video.clips.motion import Trajectory, billiard, collide, draw_trajectory, pushed_billiard
from linear_video.clips.moving_symbols import MovingSymbolsSettings, load_backgrounds, render, simulate
from linear_video.clips.readers.symbols import Symbol
from linear_video.common.errors import InputError

# --- motion ---------------------------------------------------------------------------------------------------------


def bounce_event_by_event(start: float, velocity: float, length: float, frames: int) -> list[tuple[float, float, int]]:
    """Position, velocity and hits at each frame, in exact fractions, one wall at a time."""
    x, v, room = Fraction(start), Fraction(velocity), Fraction(length)
    states = [(float(x), float(v), 0)]
    for _ in range(frames - 1):
        remaining, hits = Fraction(1), 0
        while v != 0:
            to_wall = (room - x) / v if v > 0 else -x / v
            if to_wall > remaining:
                break
            x, v, remaining, hits = x + v * to_wall, -v, remaining - to_wall, hits + 1
        x += v * remaining
        states.append((float(x), float(v), hits))
    return states


def clear_of_walls(positions: np.ndarray, length: float) -> bool:
    """Whether no frame falls on the moment of a hit, where rounding decides which frame counts it."""
    return bool((np.minimum(positions, length - positions) > 1e-6 * length).all())


shares = st.floats(0.01, 0.99)
speeds = st.floats(-40, 40).map(lambda speed: round(speed, 4))
lengths = st.floats(1, 100)


@given(share=shares, velocity=speeds, length=lengths)
def test_billiard_agrees_with_reflection_event_by_event(share: float, velocity: float, length: float) -> None:
    expected = np.array(bounce_event_by_event(share * length, velocity, length, 12))
    assume(clear_of_walls(expected[:, 0], length))
    position, velocities, hits = billiard(np.array(share * length), np.array(velocity), np.array(length), 12)
    np.testing.assert_allclose(position, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(velocities, expected[:, 1], atol=1e-12)
    np.testing.assert_array_equal(hits, expected[:, 2])


@given(
    share=st.floats(0, 1),
    velocity=st.floats(-1e6, 1e6),
    length=st.one_of(st.just(0.0), st.floats(1e-6, 1e3)),
)
def test_billiard_stays_inside_and_keeps_its_speed_however_fast(share: float, velocity: float, length: float) -> None:
    position, velocities, hits = billiard(np.array(share * length), np.array(velocity), np.array(length), 20)
    assert ((position >= 0) & (position <= length)).all()
    assert (hits >= 0).all()
    np.testing.assert_array_equal(np.abs(velocities), abs(velocity) if length else 0)


def test_billiard_of_many_equals_billiard_of_each() -> None:
    random = np.random.default_rng(0)
    length = random.uniform(1, 20, (3, 2))
    start, velocity = random.uniform(size=(3, 2)) * length, random.normal(scale=10, size=(3, 2))
    together = billiard(start, velocity, length, 9)
    for index in np.ndindex(3, 2):
        alone = billiard(np.array(start[index]), np.array(velocity[index]), np.array(length[index]), 9)
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[(slice(None), *index)], part)


@given(shares=st.tuples(shares, shares), velocity=st.tuples(speeds, speeds), half=st.tuples(*[st.floats(0.5, 15)] * 2))
def test_collide_with_one_box_is_a_billiard(
    shares: tuple[float, float], velocity: tuple[float, float], half: tuple[float, float]
) -> None:
    size, sides = 32.0, np.array([half])
    room = size - 2 * sides
    start, speed = np.array([shares]) * room, np.array([velocity])
    expected, expected_velocity, wall_hits = billiard(start, speed, room, 10)
    for axis in range(2):
        assume(clear_of_walls(expected[:, 0, axis], room[0, axis]))
    position, velocities, hits = collide(start + sides, speed, sides, size, 10)
    np.testing.assert_allclose(position, expected + sides, atol=1e-9)
    np.testing.assert_array_equal(velocities, expected_velocity)
    np.testing.assert_array_equal(hits, wall_hits.sum(axis=-1))


def test_colliding_boxes_in_a_row_move_like_points_that_pass_through_each_other() -> None:
    # Equal masses that exchange velocities are equivalent, except for their names, to points without extent: Tonks'
    # gas.
    random, size = np.random.default_rng(3), 60.0
    half_x = np.array([2.0, 5.0, 3.0, 1.0])
    room = size - 2 * half_x.sum()
    points, velocity = np.sort(random.uniform(0, room, 4)), random.uniform(-7, 7, 4)
    left = 2 * np.cumsum(half_x) - half_x  # centres, were there no space between the boxes
    start = np.stack((points + left, np.full(4, 30.0)), axis=1)
    half = np.stack((half_x, np.full(4, 4.0)), axis=1)
    position, velocities, hits = collide(start, np.stack((velocity, np.zeros(4)), axis=1), half, size, 25)
    ghosts, _, ghost_hits = billiard(points, velocity, np.full(4, room), 25)
    np.testing.assert_allclose(position[..., 0] - left, np.sort(ghosts, axis=1), atol=1e-9)
    np.testing.assert_array_equal(position[..., 1], 30)
    np.testing.assert_allclose(np.sort(velocities[..., 0] ** 2), np.tile(np.sort(velocity**2), (25, 1)))
    np.testing.assert_array_equal(hits.sum(axis=1), ghost_hits.sum(axis=1))


def test_boxes_that_meet_on_their_sides_exchange_only_that_axis() -> None:
    start, velocity = np.array([[10.0, 20.0], [20.0, 21.0]]), np.array([[2.0, 0.5], [-1.0, -0.25]])
    _, velocities, _ = collide(start, velocity, np.full((2, 2), 3.0), 40.0, 3)  # 4 pixels apart: met after 4/3 frames
    np.testing.assert_array_equal(velocities[1], velocity)
    np.testing.assert_array_equal(velocities[2], [[-1.0, 0.5], [2.0, -0.25]])


def overlap(position: np.ndarray, half: np.ndarray) -> float:
    """The greatest overlap of two boxes at any frame (T, S, 2); negative if all are apart."""
    return max(
        float((half[i] + half[j] - np.abs(position[:, i] - position[:, j])).min(axis=-1).max())
        for i, j in itertools.combinations(range(len(half)), 2)
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 4), speed=st.sampled_from([0.3, 2.0, 30.0]))
def test_collisions_conserve_energy_and_momentum_and_never_overlap(seed: int, count: int, speed: float) -> None:
    random, size = np.random.default_rng(seed), 32.0
    cells = np.array(list(itertools.product((8.0, 24.0), repeat=2)))[random.permutation(4)[:count]]
    half = random.uniform(2, 7.5, (count, 2))
    start = cells + random.uniform(-1, 1, (count, 2)) * (8 - half)  # each box within a quarter of its own
    velocity = random.normal(scale=speed, size=(count, 2))
    position, velocities, hits = collide(start, velocity, half, size, 20)
    assert overlap(position, half) < 1e-6
    assert ((position >= half - 1e-9) & (position <= size - half + 1e-9)).all()
    energy = (velocities**2).sum(axis=(1, 2))
    np.testing.assert_allclose(energy, energy[0], rtol=1e-12)
    momentum = velocities.sum(axis=1)
    free = hits[1:].sum(axis=1) == 0
    np.testing.assert_allclose(momentum[1:][free], momentum[:-1][free], atol=1e-9 * speed)


def test_slow_boxes_that_overlap_by_rounding_bounce_off_each_other() -> None:
    start, velocity = np.array([[8.0, 8.0], [16.0 - 1e-14, 8.0]]), np.array([[1e-7, 0.0], [-2e-7, 0.0]])
    half = np.full((2, 2), 4.0)
    position, velocities, _ = collide(start, velocity, half, 32.0, 100)
    np.testing.assert_array_equal(velocities[1:], np.broadcast_to(velocity[::-1], (99, 2, 2)))
    assert overlap(position, half) < 1e-9


def test_wedged_boxes_are_refused() -> None:
    half = np.full((2, 2), 5.0 - 1e-7)
    with pytest.raises(InputError, match="wedged"):
        collide(np.array([[5.0, 10.0], [15.0, 10.0]]), np.array([[3.0, 0.0], [-1.0, 0.0]]), half, 20.0, 5)


# --- drawing trajectories -------------------------------------------------------------------------------------------


def block(width: int, height: int, label: str = "block") -> Symbol:
    return Symbol(np.ones((height, width, 1), np.float32), label, f"{label}/{width}x{height}")


def make_settings(**changes: Any) -> MovingSymbolsSettings:
    small: dict[str, Any] = {"render_size": 32, "frame_size": 32, "frames": 10, "speed": (1.0, 4.0)}
    return MovingSymbolsSettings(**(small | changes))


def corners(symbol: Symbol, trajectory: Trajectory, k: int) -> np.ndarray:
    """Corners (T, 4, 2) of a symbol's picture, x to the right and y down."""
    height, width = symbol.planes.shape[:2]
    signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    turn = np.exp(-1j * np.deg2rad(trajectory.angle[:, k, None]))  # counter-clockwise, where y points down
    local = trajectory.scale[:, k, None] * turn * (signs @ (width / 2, 1j * height / 2))
    return np.asarray(trajectory.position[:, k, None] + np.stack((local.real, local.imag), axis=-1))


@pytest.mark.parametrize("wave", ["constant", "sine", "triangle"])
@pytest.mark.parametrize("rotation_speed", [(0.0, 0.0), (-20.0, 20.0), (90.0, 400.0)])
@pytest.mark.parametrize("collisions", [False, True])
def test_turning_and_growing_symbols_stay_inside(
    wave: Any, rotation_speed: tuple[float, float], collisions: bool
) -> None:
    chosen = make_settings(
        frames=30,
        rotation_speed=rotation_speed,
        scale=(0.5, 1.5),
        scale_wave=wave,
        scale_period=7,
        collisions=collisions,
        speed=(0.0, 20.0),
    )
    symbols = [block(8, 3), block(2, 6)]
    for seed in range(10):
        trajectory = draw_trajectory(chosen, symbols, np.random.default_rng(seed))
        for k, symbol in enumerate(symbols):
            points = corners(symbol, trajectory, k)
            assert points.min() >= -1e-9
            assert points.max() <= 32 + 1e-9
        assert ((trajectory.scale >= 0.5) & (trajectory.scale <= 1.5)).all()
        spin = np.diff(trajectory.angle, axis=0)
        np.testing.assert_allclose(spin, spin[:1].repeat(29, axis=0), atol=1e-9)
        assert ((spin >= rotation_speed[0] - 1e-9) & (spin <= rotation_speed[1] + 1e-9)).all()


def test_symbols_fill_the_whole_range_of_settings() -> None:
    chosen = make_settings(frames=2, speed=(1.0, 3.0), render_size=200, frame_size=200)
    drawn = [draw_trajectory(chosen, [block(4, 4)], np.random.default_rng(seed)) for seed in range(300)]
    speed = np.array([math.hypot(*trajectory.velocity[0, 0]) for trajectory in drawn])
    assert 1 <= speed.min() < 1.1
    assert 2.9 < speed.max() <= 3
    quadrants = {tuple(np.sign(trajectory.velocity[0, 0])) for trajectory in drawn}
    assert len(quadrants) == 4
    start = np.array([trajectory.position[0, 0] for trajectory in drawn])
    assert 2 <= start.min() < 8
    assert 192 < start.max() <= 198


@pytest.mark.parametrize("wave", ["sine", "triangle"])
def test_scale_waves_repeat_after_their_period_and_reach_both_limits(wave: Any) -> None:
    chosen = make_settings(frames=400, scale=(0.5, 2.0), scale_wave=wave, scale_period=80)
    scale = draw_trajectory(chosen, [block(4, 4)], np.random.default_rng(0)).scale[:, 0]
    np.testing.assert_allclose(scale[80:], scale[:-80], atol=1e-9)
    assert scale.min() == pytest.approx(0.5, abs=0.03)
    assert scale.max() == pytest.approx(2.0, abs=0.03)
    steps = np.abs(np.diff(scale))
    assert steps.max() <= (1.001 * 2 * 1.5 / 80 if wave == "triangle" else 1.001 * math.pi * 1.5 / 80)


def test_constant_scale_does_not_change_within_a_clip() -> None:
    scale = draw_trajectory(make_settings(scale=(0.5, 2.0)), [block(4, 4)] * 5, np.random.default_rng(0)).scale
    assert (scale == scale[0]).all()
    assert len(np.unique(scale)) == 5


def test_symbols_that_do_not_turn_stand_upright_and_reach_the_walls() -> None:
    # Settings from a file hold lists, not tuples.
    for rotation_speed in ((0.0, 0.0), [0, 0]):
        chosen = make_settings(rotation_speed=rotation_speed, frames=200)
        trajectory = draw_trajectory(chosen, [block(24, 24)], np.random.default_rng(0))
        assert (trajectory.angle == 0).all()
        assert trajectory.position.min() == pytest.approx(12, abs=0.2)
        assert trajectory.position.max() == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize(
    ("symbol", "changes"),
    [
        (block(33, 5), {}),
        (block(5, 33), {}),
        (block(17, 5), {"scale": (2.0, 2.0)}),
        (block(28, 28), {"rotation_speed": (1.0, 1.0)}),
    ],
)
def test_symbol_larger_than_the_frame_is_refused(symbol: Symbol, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="larger than the frame of 32"):
        draw_trajectory(make_settings(**changes), [symbol], np.random.default_rng(0))


def test_symbol_as_large_as_the_frame_rests() -> None:
    trajectory = draw_trajectory(make_settings(), [block(32, 32)], np.random.default_rng(0))
    assert (trajectory.position == 16).all()
    assert (trajectory.velocity == 0).all()
    assert (trajectory.hits == 0).all()


def test_colliding_symbols_without_room_are_refused() -> None:
    with pytest.raises(InputError, match="4 symbols do not fit beside each other"):
        draw_trajectory(make_settings(collisions=True), [block(17, 17)] * 4, np.random.default_rng(0))


# --- rendering ------------------------------------------------------------------------------------------------------


def at(positions: list[tuple[float, float]], angle: float = 0.0, scale: float = 1.0) -> Trajectory:
    """One symbol at given places (x, y), one a frame."""
    position = np.array(positions, dtype=np.float64)[:, None]
    still = np.zeros((len(positions), 1))
    return Trajectory(position, np.zeros_like(position), still.astype(np.int64), still + angle, still + scale)


def picture(height: int, width: int, planes: int = 1, seed: int = 0) -> Symbol:
    return Symbol(np.random.default_rng(seed).random((height, width, planes), np.float32), "noise", "noise")


def coloured(colour: tuple[float, float, float], opacity: float, side: int = 4) -> Symbol:
    planes = np.full((side, side, 4), (*(opacity * np.array(colour)), opacity), np.float32)
    return Symbol(planes, "colour", "colour")


@pytest.mark.parametrize(("height", "width"), [(5, 5), (4, 4), (3, 8), (1, 1)])
def test_symbol_at_whole_pixels_is_copied_exactly(height: int, width: int) -> None:
    symbol, places = picture(height, width), [(0, 0), (7, 11), (32 - width, 32 - height)]
    centres = [(x + width / 2, y + height / 2) for x, y in places]
    frames = render(make_settings(frames=3), [symbol], at(centres), None)
    for frame, (x, y) in zip(frames[:, 0], places, strict=True):
        expected = np.zeros((32, 32))
        expected[y : y + height, x : x + width] = np.rint(255 * symbol.planes[..., 0])
        np.testing.assert_array_equal(frame, expected)


def bilinear(symbol: Symbol, centre: tuple[float, float], angle: float, scale: float, size: int) -> np.ndarray:
    """The symbol at the centre of each pixel, interpolated by SciPy; transparent outside."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    right, up = columns - centre[0], centre[1] - rows
    turned = (right + 1j * up) * np.exp(-1j * np.deg2rad(angle)) / scale
    height, width = symbol.planes.shape[:2]
    places = (height - 1) / 2 - turned.imag, (width - 1) / 2 + turned.real
    planes = symbol.planes[..., 0].astype(float)
    return np.asarray(ndimage.map_coordinates(planes, places, order=1, mode="grid-constant"))


@settings(max_examples=50, deadline=None)
@given(
    centre=st.tuples(st.floats(4, 28), st.floats(4, 28)),
    angle=st.one_of(st.just(0.0), st.floats(-720, 720)),
    scale=st.one_of(st.just(1.0), st.floats(0.4, 2.5)),
)
def test_rendering_agrees_with_an_independent_bilinear_interpolation(
    centre: tuple[float, float], angle: float, scale: float
) -> None:
    symbol = picture(7, 6)
    frame = render(make_settings(frames=1), [symbol], at([centre], angle, scale), None)[0, 0]
    np.testing.assert_allclose(frame, 255 * bilinear(symbol, centre, angle, scale, 32), atol=1)


def test_quarter_turn_is_counter_clockwise() -> None:
    symbol = picture(5, 5)
    frame = render(make_settings(frames=1), [symbol], at([(12.5, 12.5)], angle=90), None)[0, 0]
    np.testing.assert_allclose(frame[10:15, 10:15], 255 * np.rot90(symbol.planes[..., 0]), atol=1)


@given(centre=st.tuples(st.floats(2.5, 29.5), st.floats(3.5, 28.5)))
def test_moving_conserves_the_mass_of_a_symbol(centre: tuple[float, float]) -> None:
    symbol = picture(7, 5)
    frame = render(make_settings(frames=1), [symbol], at([centre]), None)
    assert frame.sum() == pytest.approx(255 * symbol.planes.sum(), abs=0.5 * 8 * 6)  # rounding of the pixels it touches


@pytest.mark.parametrize("opacity", [0.0, 0.25, 1.0])
def test_opacity_mixes_symbol_and_background(opacity: float) -> None:
    symbol = Symbol(np.full((4, 4, 1), opacity, np.float32), "glass", "glass")
    frame = render(make_settings(frames=1, background=0.4), [symbol], at([(10, 10)]), None)[0, 0]
    assert frame[0, 0] == round(0.4 * 255)
    np.testing.assert_allclose(frame[8:12, 8:12], 255 * (opacity + (1 - opacity) * 0.4), atol=0.51)


def test_later_symbols_cover_earlier_ones() -> None:
    symbols = [coloured((1, 0, 0), 1.0), coloured((0, 1, 0), 0.75)]
    still = np.zeros((1, 2))
    both = Trajectory(np.full((1, 2, 2), 10.0), np.zeros((1, 2, 2)), still.astype(np.int64), still, still + 1)
    frame = render(make_settings(frames=1, channels=3), symbols, both, None)[0]
    np.testing.assert_allclose(frame[:, 10, 10], [64, 191, 0], atol=1)


@pytest.mark.parametrize(("channel", "colour"), [(0, (1, 0, 0)), (1, (0, 1, 0)), (2, (0, 0, 1))])
def test_channels_are_red_green_blue(channel: int, colour: tuple[float, float, float]) -> None:
    symbol, settings = coloured(colour, 1.0), make_settings(frames=1, channels=3)
    frame = render(settings, [symbol], at([(10, 10)]), None)[0]
    assert frame.shape == (3, 32, 32)
    np.testing.assert_array_equal(frame[:, 10, 10], 255 * np.eye(3)[channel])


def test_white_symbol_is_white_in_colour_frames() -> None:
    symbol = picture(5, 5)
    grey = render(make_settings(frames=1), [symbol], at([(10.3, 9.1)]), None)
    colour = render(make_settings(frames=1, channels=3), [symbol], at([(10.3, 9.1)]), None)
    np.testing.assert_array_equal(colour, grey.repeat(3, axis=1))


def test_coloured_symbol_in_grey_frames_has_its_luma() -> None:
    symbol = coloured((0.2, 0.6, 0.4), 0.5)
    frame = render(make_settings(frames=1, background=1.0), [symbol], at([(10, 10)]), None)[0, 0]
    luma = 0.299 * 0.2 + 0.587 * 0.6 + 0.114 * 0.4
    np.testing.assert_allclose(frame[8:12, 8:12], 255 * (0.5 + 0.5 * luma), atol=0.51)


@pytest.mark.parametrize("channels", [1, 3])
def test_halving_the_frame_takes_means_of_four_pixels(channels: int) -> None:
    symbol = picture(20, 17, planes=1)
    places = at([(31.3, 30.8), (20.1, 40.7)], angle=25)
    sizes = {"render_size": 64, "frames": 2, "channels": channels, "background": 0.3}
    large = render(make_settings(**sizes, frame_size=64), [symbol], places, None)
    small = render(make_settings(**sizes, frame_size=32), [symbol], places, None)
    means = large.reshape(2, channels, 32, 2, 32, 2).mean(axis=(3, 5))
    assert small.shape == means.shape
    np.testing.assert_allclose(small, means, atol=1)


# --- simulating -----------------------------------------------------------------------------------------------------

SYMBOLS = [picture(6, 5, seed=1), picture(4, 6, seed=2), block(5, 5, "a"), block(4, 4, "b")]


def test_centre_of_mass_agrees_with_the_states() -> None:
    chosen = make_settings(rotation_speed=(-10.0, 10.0), scale=(1.0, 1.6), scale_wave="sine", channels=3)
    bell = np.exp(-(np.linspace(-2.5, 2.5, 12) ** 2))
    clips = simulate(
        chosen, [Symbol(np.outer(bell, bell)[..., None].astype(np.float32), "bell", "bell")], "train", 0, range(8)
    )
    assert clips.states is not None
    centre = np.arange(32) + 0.5
    state: Any
    for state in clips.states.itertuples():
        mass = clips.frames[state.clip, state.frame, 0].astype(float)
        assert (mass.sum(axis=0) @ centre) / mass.sum() == pytest.approx(state.x, abs=0.05)
        assert (mass.sum(axis=1) @ centre) / mass.sum() == pytest.approx(state.y, abs=0.05)


def test_tables_have_a_row_for_each_clip_and_each_state() -> None:
    clips = simulate(make_settings(symbols_per_clip=(1, 3)), SYMBOLS, "train", 0, [4, 2, 9])
    assert clips.states is not None
    assert clips.frames.shape == (3, 10, 1, 32, 32)
    assert clips.table["number"].tolist() == [4, 2, 9]
    counts = [source.count(",") + 1 for source in clips.table["source"]]
    assert [label.count(",") + 1 for label in clips.table["label"]] == counts
    for number, count in zip((4, 2, 9), counts, strict=True):
        states = clips.states[clips.states["clip"] == number]
        assert states[["frame", "symbol"]].to_numpy().tolist() == [[t, k] for t in range(10) for k in range(count)]


def test_states_follow_from_each_other_between_wall_hits() -> None:
    states = simulate(make_settings(frames=20), SYMBOLS, "train", 0, range(5)).states
    assert states is not None
    for _, clip in states.groupby("clip"):
        free = clip["wall_hits"].to_numpy()[1:] == 0
        for axis in "xy":
            moved, velocity = np.diff(clip[axis]), clip[f"velocity_{axis}"].to_numpy()
            np.testing.assert_allclose(moved[free], velocity[1:][free])
            np.testing.assert_allclose(np.abs(velocity), abs(velocity[0]))
        flips = np.diff(np.sign(clip[["velocity_x", "velocity_y"]]), axis=0) != 0
        np.testing.assert_array_equal(clip["wall_hits"].to_numpy()[1:] % 2, flips.sum(axis=1) % 2)


def test_number_of_symbols_covers_its_range() -> None:
    clips = simulate(make_settings(symbols_per_clip=(1, 3), frames=1), SYMBOLS, "train", 0, range(60))
    assert {source.count(",") + 1 for source in clips.table["source"]} == {1, 2, 3}
    assert {label for labels in clips.table["label"] for label in labels.split(",")} == {"noise", "a", "b"}


@pytest.mark.parametrize("numbers", [[3], [7, 3], [3, 7, 0, 1], list(range(8))])
def test_a_clip_is_the_same_whichever_others_are_simulated(numbers: list[int]) -> None:
    chosen = make_settings(symbols_per_clip=(2, 3), rotation_speed=(-5, 5), collisions=True)
    all_clips = simulate(chosen, SYMBOLS, "test", 11, range(10))
    some = simulate(chosen, SYMBOLS, "test", 11, numbers)
    assert all_clips.states is not None
    assert some.states is not None
    np.testing.assert_array_equal(some.frames, all_clips.frames[numbers])
    assert some.table.equals(all_clips.table.iloc[numbers].reset_index(drop=True))
    for number in numbers:
        np.testing.assert_array_equal(
            some.states[some.states["clip"] == number], all_clips.states[all_clips.states["clip"] == number]
        )


def test_every_clip_of_every_split_and_seed_is_different() -> None:
    clips = [simulate(make_settings(), SYMBOLS, split, seed, range(10)) for split in SPLITS for seed in range(3)]
    frames = {frames.tobytes() for part in clips for frames in part.frames}
    assert len(frames) == 3 * 3 * 10


def test_lists_and_tuples_give_the_same_clips() -> None:
    ranges = {"speed": (1, 2), "rotation_speed": (0, 0), "scale": (1, 1), "symbols_per_clip": (1, 2)}
    tuples = simulate(make_settings(**ranges), SYMBOLS, "train", 0, range(5))
    lists = simulate(make_settings(**{name: list(r) for name, r in ranges.items()}), SYMBOLS, "train", 0, range(5))
    np.testing.assert_array_equal(lists.frames, tuples.frames)


def test_colliding_symbols_never_share_a_pixel_in_the_states() -> None:
    chosen = make_settings(symbols_per_clip=(3, 3), collisions=True, frames=40, speed=(0.0, 8.0))
    states = simulate(chosen, [block(6, 6)], "train", 0, range(10)).states
    assert states is not None
    for _, clip in states.groupby("clip"):
        assert overlap(clip[["x", "y"]].to_numpy().reshape(40, 3, 2), np.full((3, 2), 3.0)) < 1e-6


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clips", {"train": 1, "test": 1}),
        ("clips", {"train": 1, "validation": 0, "test": 1}),
        ("clips", {"train": 1, "validation": 1, "test": 1, "extra": 1}),
        ("frames", 0),
        ("symbol_size", 0),
        ("render_size", -1),
        ("frame_size", 0),
        ("frame_size", 33),
        ("channels", 2),
        ("symbols_per_clip", (2, 1)),
        ("symbols_per_clip", (0, 1)),
        ("speed", (2.0, 1.0)),
        ("speed", (-1.0, 1.0)),
        ("speed", (math.nan, 1.0)),
        ("speed", (0.0, math.inf)),
        ("rotation_speed", (1.0, -1.0)),
        ("rotation_speed", (0.0, math.nan)),
        ("scale", (2.0, 1.0)),
        ("scale", (0.0, 1.0)),
        ("scale_period", 0.0),
        ("scale_period", math.nan),
        ("scale_wave", "square"),
        ("pushes", (2, 1)),
        ("pushes", (-1, 1)),
        ("pushes", (0, 10)),
        ("push", (1.0, 0.5)),
        ("push", (-0.1, 0.5)),
        ("push", (0.0, math.inf)),
        ("background", 1.5),
        ("background", -0.1),
        ("background", math.nan),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} "):
        make_settings(**{name: value})


# --- pushes ---------------------------------------------------------------------------------------------------------


def pushed_frame_by_frame(
    start: float, velocity: float, length: float, pushes: list[float]
) -> list[tuple[float, float, int]]:
    """Position, velocity and hits at each frame, in exact fractions; a push comes before its frame's motion."""
    states = [(float(start), float(velocity), 0)]
    for push in pushes[1:]:
        x, v, _ = states[-1]
        states.append(bounce_event_by_event(x, v + push, length, 2)[1])
    return states


@given(
    share=st.tuples(shares, shares),
    velocity=st.tuples(speeds, speeds),
    length=st.tuples(lengths, lengths),
    pushes=st.lists(st.tuples(*[st.one_of(st.just(0.0), st.floats(-9, 9).map(lambda p: round(p, 3)))] * 2), min_size=8),
)
def test_pushed_billiard_agrees_with_reflection_event_by_event(
    share: tuple[float, float],
    velocity: tuple[float, float],
    length: tuple[float, float],
    pushes: list[tuple[float, float]],
) -> None:
    room = np.array([length])
    start = np.array([share]) * room
    position, velocities, hits = pushed_billiard(start, np.array([velocity]), room, np.array(pushes))
    for axis in range(2):
        of_axis = [push[axis] for push in pushes]
        expected = np.array(pushed_frame_by_frame(start[0, axis], velocity[axis], length[axis], of_axis))
        assume(clear_of_walls(expected[:, 0], length[axis]))
        np.testing.assert_allclose(position[:, 0, axis], expected[:, 0], atol=1e-8)
        np.testing.assert_allclose(velocities[:, 0, axis], expected[:, 1], atol=1e-10)
        np.testing.assert_array_equal(hits[:, 0, axis], expected[:, 2])


def test_a_billiard_without_pushes_is_a_billiard() -> None:
    random = np.random.default_rng(0)
    length = random.uniform(1, 20, (3, 2))
    start, velocity = random.uniform(size=(3, 2)) * length, random.normal(scale=10, size=(3, 2))
    pushes = np.zeros((9, 2))
    pushes[0] = 5  # on the way to the first frame: before anything is seen
    for ours, expected in zip(
        pushed_billiard(start, velocity, length, pushes), billiard(start, velocity, length, 9), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_pushes_change_the_velocity_of_all_symbols_alike_from_their_frame_on() -> None:
    chosen = make_settings(frames=12, pushes=(2, 2), push=(0.5, 1.0), speed=(0.0, 0.1), render_size=200, frame_size=200)
    trajectory = draw_trajectory(chosen, [block(4, 4)] * 3, np.random.default_rng(2))
    assert trajectory.pushes is not None
    assert trajectory.pushes.shape == (12, 2)
    assert np.count_nonzero(trajectory.pushes.any(axis=1)) == 2
    free = trajectory.hits.cumsum(axis=0)[-1] == 0
    assert free.any()
    change = np.diff(trajectory.velocity, axis=0)[:, free]
    np.testing.assert_allclose(change, np.broadcast_to(trajectory.pushes[1:, None], change.shape), atol=1e-12)
    moved = np.diff(trajectory.position, axis=0)[:, free]
    np.testing.assert_allclose(moved, trajectory.velocity[1:, free], atol=1e-9)


def test_pushes_fill_the_whole_range_of_settings() -> None:
    chosen = make_settings(frames=4, pushes=(0, 3), push=(0.5, 1.0))
    drawn = [draw_trajectory(chosen, [block(4, 4)], np.random.default_rng(seed)).pushes for seed in range(300)]
    pushes = np.stack([one for one in drawn if one is not None])
    assert pushes.shape == (300, 4, 2)  # zeros where there are none
    there = np.asarray(pushes.any(axis=2))
    assert set(there.sum(axis=1)) == {0, 1, 2, 3}
    assert not there[:, 0].any()
    assert there[:, 1:].any(axis=0).all()
    strength = np.hypot(*pushes[there].T)
    assert 0.5 <= strength.min() < 0.52
    assert 0.98 < strength.max() <= 1
    assert len({tuple(signs) for signs in np.sign(pushes[there])}) == 4


def test_pushed_symbols_stay_inside() -> None:
    chosen = make_settings(frames=30, pushes=(5, 20), push=(0.0, 30.0), rotation_speed=(-20.0, 20.0))
    for seed in range(10):
        trajectory = draw_trajectory(chosen, [block(8, 3)], np.random.default_rng(seed))
        points = corners(block(8, 3), trajectory, 0)
        assert points.min() >= -1e-9
        assert points.max() <= 32 + 1e-9


def test_clips_start_alike_with_and_without_pushes() -> None:
    """Pushes change no other random number: up to its first push, a clip equals the one without pushes."""
    plain, pushed = (simulate(make_settings(pushes=(k, k)), SYMBOLS, "train", 0, range(6)) for k in (0, 1))
    assert plain.actions is None
    assert pushed.actions is not None
    assert pushed.actions.dtype == np.float32
    assert pushed.actions.shape == (6, 10, 2)
    for number in range(6):
        (moment,) = np.flatnonzero(pushed.actions[number].any(axis=1))
        np.testing.assert_array_equal(pushed.frames[number, :moment], plain.frames[number, :moment])
        assert (pushed.frames[number, moment:] != plain.frames[number, moment:]).any()


def test_actions_are_the_pushes_in_the_states() -> None:
    clips = simulate(make_settings(pushes=(1, 3), frames=12), SYMBOLS, "test", 4, [5, 1, 8])
    assert clips.actions is not None
    assert clips.states is not None
    for row, number in enumerate((5, 1, 8)):
        states = clips.states[(clips.states["clip"] == number) & (clips.states["symbol"] == 0)]
        change = np.diff(states[["velocity_x", "velocity_y"]].to_numpy(), axis=0)
        free = states["wall_hits"].to_numpy()[1:] == 0
        np.testing.assert_allclose(change[free], clips.actions[row, 1:][free], atol=1e-6)
        assert clips.actions[row, 1:][free].any()


def test_clips_know_their_actions_for_a_model_that_does() -> None:
    without, clips = (simulate(make_settings(pushes=(k, k)), SYMBOLS, "train", 0, range(2)) for k in (0, 1))
    assert clips.actions_of(0) is None
    assert without.actions_of(0) is None
    assert clips.actions_of(2) is clips.actions
    with pytest.raises(InputError, match=r"takes actions of 3 values, but the clips have 2 values.*parameter actions"):
        clips.actions_of(3)
    with pytest.raises(InputError, match=r"takes actions of 2 values, but the clips have none"):
        without.actions_of(2)


@pytest.mark.parametrize("shape", [(2, 10), (2, 9, 2), (1, 10, 2)])
def test_actions_of_other_clips_are_refused(shape: tuple[int, ...]) -> None:
    clips = simulate(make_settings(), SYMBOLS, "train", 0, range(2))
    with pytest.raises(ValueError, match=r"actions must be \(N, T, m\)"):
        ClipSet(clips.frames, clips.table, None, np.zeros(shape, np.float32))


def test_pushes_and_collisions_are_not_had_together() -> None:
    with pytest.raises(ValueError, match="pushes and collisions cannot be combined"):
        make_settings(pushes=(0, 1), collisions=True)


# --- backgrounds ----------------------------------------------------------------------------------------------------


def save_pictures(folder: Path, colours: list[tuple[int, int, int]]) -> None:
    for number, colour in enumerate(colours):
        Image.new("RGB", (40, 30), colour).save(folder / f"{number:02}.png")


def test_backgrounds_are_red_green_blue_and_resized(tmp_path: Path) -> None:
    save_pictures(tmp_path, [(255, 128, 0)])
    (tmp_path / "notes.txt").write_text("no picture")
    settings = make_settings(channels=3, frames=2)
    (background,) = load_backgrounds(tmp_path, settings, "train")
    clips = simulate(settings, [block(4, 4)], "train", 0, range(2), [background])
    assert background.shape == (32, 32, 3)
    for frame in clips.frames.reshape(-1, 3, 32 * 32):
        assert (frame == [[255], [128], [0]]).all(axis=0).sum() >= 32 * 32 - 25  # all but the symbol


def test_splits_share_no_background(tmp_path: Path) -> None:
    save_pictures(tmp_path, [(10 * i, 0, 0) for i in range(20)])
    parts = [load_backgrounds(tmp_path, make_settings(channels=3), split) for split in SPLITS]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len({background.tobytes() for part in parts for background in part}) == 20


@pytest.mark.parametrize("colours", [[(i, 0, 0) for i in range(9)], [(7, 0, 0)] * 12])
def test_too_few_backgrounds_are_shared_by_all_splits(tmp_path: Path, colours: list[tuple[int, int, int]]) -> None:
    save_pictures(tmp_path, colours)
    for split in SPLITS:
        assert len(load_backgrounds(tmp_path, make_settings(channels=3), split)) == len(colours)


def test_folder_without_backgrounds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="holds no picture"):
        load_backgrounds(tmp_path, make_settings(), "train")

from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.tasks.parts import Parts, to_frame

sizes = st.integers(1, 21)
planes = st.sampled_from([1, 3])
sides = st.integers(1, 9)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(planes, sides, sides, sizes, sizes, planes)
def test_tiles_joined_are_the_frame_whatever_the_sizes(
    channels: int, high: int, wide: int, height: int, width: int, colours: int
) -> None:
    frame = noise(height, width, colours)
    parts = Parts((channels, high, wide), frame.shape, "tile")
    split = parts.split(frame)
    count = -(-height // high) * -(-width // wide) * (colours if channels == 1 else 1)
    assert split.shape == (count, channels, high, wide)
    assert split.dtype == np.float32
    assert 0 <= split.min() <= split.max() <= 1
    joined = parts.join(split)
    assert joined.shape == frame.shape
    np.testing.assert_array_equal(to_frame(joined), frame)


@given(sizes, sizes, planes)
def test_frames_of_the_models_size_are_left_as_they_are(height: int, width: int, colours: int) -> None:
    frame = noise(height, width, colours)
    for fit in ("resize", "tile"):
        for channels in {1, colours}:
            parts = Parts((channels, height, width), frame.shape, fit)
            assert parts.exact
            split = parts.split(frame)
            expected = np.moveaxis(frame, 2, 0).reshape(-1, channels, height, width) / np.float32(255)
            np.testing.assert_array_equal(split, expected)
            np.testing.assert_array_equal(to_frame(parts.join(split)), frame)


@given(planes, sizes, sizes, planes, st.sampled_from([1, 2, 4, 8]))
def test_frames_that_are_seen_whole_are_mirrored_beyond_the_edge_and_come_back(
    channels: int, height: int, width: int, colours: int, step: int
) -> None:
    """To the size of the model, which is made for it: the next multiple of a step."""
    frame = noise(height, width, colours)
    high, wide = (-(-side // step) * step for side in (height, width))
    parts = Parts((channels, high, wide), frame.shape, "whole")
    split = parts.split(frame)
    assert split.shape == (colours if channels == 1 else 1, channels, high, wide)
    if high - height <= height and wide - width <= width:
        mirrored = np.pad(frame, ((0, high - height), (0, wide - width), (0, 0)), mode="symmetric") / np.float32(255)
        expected = mirrored.transpose(2, 0, 1)[:, None] if channels == 1 else mirrored.transpose(2, 0, 1)[None]
        np.testing.assert_array_equal(split, np.broadcast_to(expected, split.shape))
    joined = parts.join(split)
    assert joined.shape == frame.shape
    np.testing.assert_array_equal(to_frame(joined), frame)


@pytest.mark.parametrize("size", [(7, 5), (8, 16), (3, 2), (17, 30)])
def test_tiles_are_mirrored_beyond_the_edge(size: tuple[int, int]) -> None:
    frame = noise(*size, 3)
    parts = Parts((3, 8, 8), frame.shape, "tile")
    assert not parts.exact
    high, wide = (-(-side // 8) * 8 for side in size)
    mirrored = np.pad(frame, ((0, high - size[0]), (0, wide - size[1]), (0, 0)), mode="symmetric")
    tiles = [mirrored[i : i + 8, j : j + 8] for i in range(0, high, 8) for j in range(0, wide, 8)]
    np.testing.assert_array_equal(parts.split(frame), np.stack(tiles).transpose(0, 3, 1, 2) / np.float32(255))


@given(planes, sides, sides, sizes, sizes, planes)
def test_resized_frames_keep_their_shape_and_a_flat_colour(
    channels: int, high: int, wide: int, height: int, width: int, colours: int
) -> None:
    colour = noise(colours)
    frame = np.broadcast_to(colour, (height, width, colours))
    parts = Parts((channels, high, wide), frame.shape, "resize")
    split = parts.split(frame)
    assert split.shape == (colours if channels == 1 else 1, channels, high, wide)
    joined = parts.join(split)
    assert joined.shape == frame.shape
    np.testing.assert_array_equal(to_frame(joined), frame)


def test_halving_takes_means_of_four_pixels() -> None:
    frame = noise(8, 12, 3)
    split = Parts((3, 4, 6), frame.shape, "resize").split(frame)
    means = frame.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(split[0], means.transpose(2, 0, 1), atol=1e-6)


def test_doubling_is_bilinear() -> None:
    """Of a ramp, bilinear interpolation is the ramp, but for half a pixel at its ends."""
    ramp = np.broadcast_to((np.arange(6) * 40).astype(np.uint8)[None, :, None], (4, 6, 1))
    split = Parts((1, 8, 12), ramp.shape, "resize").split(ramp)
    expected = np.clip((np.arange(12) + 0.5) / 2 - 0.5, 0, 5) * 40 / 255
    np.testing.assert_allclose(split[0, 0], np.broadcast_to(expected, (8, 12)), atol=1e-6)


def test_what_comes_back_is_what_opencv_resizes() -> None:
    parts = Parts((3, 8, 8), (13, 21, 3), "resize")
    values = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32)
    expected = cv2.resize(values[0].transpose(1, 2, 0), (21, 13), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(parts.join(values), expected, atol=1e-6)


def test_a_model_of_grey_frames_sees_the_colours_one_by_one() -> None:
    frame = noise(4, 4, 3)
    split = Parts((1, 4, 4), frame.shape, "resize").split(frame)
    for plane in range(3):
        np.testing.assert_array_equal(split[plane, 0], frame[..., plane] / np.float32(255))
    tiles = Parts((1, 2, 4), frame.shape, "tile").split(frame)  # (2 rows of 3 colours)
    for row, plane in np.ndindex(2, 3):
        np.testing.assert_array_equal(
            tiles[3 * row + plane, 0], frame[2 * row : 2 * row + 2, :, plane] / np.float32(255)
        )


@pytest.mark.parametrize("fit", ["resize", "tile"])
def test_a_model_of_colour_frames_sees_grey_in_three_equal_planes_and_gives_their_mean(
    fit: Literal["resize", "tile"],
) -> None:
    frame = noise(4, 4, 1)
    parts = Parts((3, 4, 4), frame.shape, fit)
    split = parts.split(frame)
    for plane in range(3):
        np.testing.assert_array_equal(split[0, plane], frame[..., 0] / np.float32(255))
    values = np.random.default_rng(0).random((1, 3, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(parts.join(values)[..., 0], values[0].mean(0), atol=1e-6)


def test_differences_keep_their_sign() -> None:
    parts = Parts((1, 4, 4), (7, 9, 3), "tile")
    split = parts.split(noise(7, 9, 3))
    np.testing.assert_array_equal(parts.join(-split), -parts.join(split))


def test_channels_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InputError, match="frames of 4 channels do not go with a model of 3"):
        Parts((3, 8, 8), (8, 8, 4), "resize")


@pytest.mark.parametrize(
    ("channels", "size", "fit", "words"),
    [
        (1, (8, 8, 1), "resize", "frames of 8x8"),
        (1, (16, 24, 3), "resize", "frames of 24x16 resized to 8x8 and back, 3 colours one by one"),
        (3, (17, 24, 3), "tile", "frames of 24x17 cut into 3 x 3 tiles of 8x8"),
        (3, (7, 5, 3), "whole", "frames of 5x7"),
    ],
)
def test_what_is_done_is_told_in_words(
    channels: int, size: tuple[int, int, int], fit: Literal["resize", "tile", "whole"], words: str
) -> None:
    assert str(Parts((channels, 8, 8), size, fit)) == words


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=9))
def test_values_become_the_nearest_grey_level(values: list[float]) -> None:
    frame = to_frame(np.array(values))
    assert frame.dtype == np.uint8
    assert (np.abs(frame / 255 - np.clip(values, 0, 1)) <= 0.5 / 255 + 1e-12).all()


def test_every_grey_level_survives() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    parts = Parts((1, 16, 16), levels.shape, "resize")
    np.testing.assert_array_equal(to_frame(parts.join(parts.split(levels))), levels)

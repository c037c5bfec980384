import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from linear_video.clips.base import SPLITS, ClipStream
from linear_video.clips.rotation import RotationSettings, TurningObject, find_objects, rotate
from linear_video.common.errors import InputError
from tests.clips.norb_files import View, decode, picture, turntable, write_norb

CATEGORIES = ("animal", "human", "airplane", "truck", "car")
CONFIGURATIONS = [(lighting, elevation) for lighting in (0, 3) for elevation in (0, 1, 8)]
OBJECTS = [(4, 4), (0, 6), (4, 0)]  # car/4, animal/6; car/0 in the other half
SETTINGS = RotationSettings(
    raw_folder="raw",
    object="all",
    unusable="fail",
    frame_size=8,
    channels=1,
    frames=19,
    window_step=18,
    degrees_per_frame=20,
    directions=["forward"],
    cameras=[0],
    validation=(0, 1),
    test=(3, 8),
)


def norb(folder: Path, training: list[View], testing: list[View] | None = None) -> list[TurningObject]:
    write_norb(folder / "raw", "training", training)
    if testing:
        write_norb(folder / "raw", "testing", testing)
    return find_objects(folder / "raw", folder / "unpacked")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[TurningObject]:
    """Three objects of small NORB, at each of six configurations."""
    folder = tmp_path_factory.mktemp("norb")
    return norb(folder, turntable(OBJECTS[:2], CONFIGURATIONS), turntable(OBJECTS[2:], CONFIGURATIONS))


def frames_of(stream: ClipStream) -> np.ndarray:
    """All clips (N, T, C, H, W) of a stream, which must be the same each time."""
    once, again = (list(stream.pieces()) for _ in range(2))
    frames = np.concatenate(once)
    np.testing.assert_array_equal(frames, np.concatenate(again))
    assert frames.dtype == np.uint8
    assert frames.shape == (len(stream.table), *stream.clip_shape)
    return frames


def shown(stream: ClipStream) -> np.ndarray:
    """The views in clips of one channel (N, T, 6): category, ..., lighting, camera."""
    return decode(frames_of(stream)[:, :, 0]).astype(int)


def every_clip(streams: dict[Any, ClipStream]) -> Iterator[tuple[Any, np.ndarray]]:
    """Row of the table and views in the frames (T, 6), for each clip of every split."""
    for split in SPLITS:
        yield from zip(streams[split].table.itertuples(), shown(streams[split]), strict=True)


# --- small NORB -----------------------------------------------------------------------------------------------------


def test_objects_of_both_halves_are_found_by_name_and_in_order(objects: list[TurningObject]) -> None:
    assert [(o.name, o.label, o.degrees, o.cameras, o.reason) for o in objects] == [
        ("animal/6", "animal", 20, 2, ""),
        ("car/0", "car", 20, 2, ""),
        ("car/4", "car", 20, 2, ""),
    ]
    for turning in objects:
        assert set(turning.views) == set(CONFIGURATIONS)
        assert {len(views) for views in turning.views.values()} == {18}


def test_every_category_has_its_name(tmp_path: Path) -> None:
    found = norb(tmp_path, turntable([(category, 7) for category in range(5)], [(0, 0)]))
    assert [o.name for o in found] == ["airplane/7", "animal/7", "car/7", "human/7", "truck/7"]
    for turning in found:
        view = turning.views[0, 0][0]
        assert isinstance(view, tuple)
        part, row = view
        assert CATEGORIES[decode(part.images[row, 0])[0]] == turning.label


def test_compressed_files_give_the_same_clips(tmp_path: Path) -> None:
    views = turntable([(1, 1)], [(0, 0), (0, 1), (3, 8)])
    write_norb(tmp_path / "packed", "testing", views, compressed=True)
    write_norb(tmp_path / "plain", "testing", views)
    clips = [
        [frames_of(stream) for stream in rotate(find_objects(tmp_path / name, tmp_path / "to"), SETTINGS)[0].values()]
        for name in ("packed", "plain")
    ]
    for packed, plain in zip(*clips, strict=True):
        np.testing.assert_array_equal(packed, plain)


@pytest.mark.parametrize(("direction", "step"), [("forward", 1), ("backward", -1)])
def test_each_step_of_twenty_degrees_occurs_once_in_a_sequence(
    objects: list[TurningObject], direction: Any, step: int
) -> None:
    streams, _ = rotate(objects, replace(SETTINGS, directions=[direction], cameras=[0, 1]))
    seen: Counter[tuple[int, ...]] = Counter()
    for _, clip in every_clip(streams):
        assert len(clip) == 19
        for first, second in pairwise(clip):
            assert (second[3] - first[3]) % 18 == step % 18
            seen[*first, second[3]] += 1
    assert len(seen) == 3 * 6 * 2 * 18  # objects, configurations, cameras, steps
    assert set(seen.values()) == {1}


@pytest.mark.parametrize(
    ("direction", "azimuths"), [("forward", [*range(18), 0]), ("backward", [*range(17, -1, -1), 17])]
)
def test_after_the_last_view_comes_the_first(objects: list[TurningObject], direction: Any, azimuths: list[int]) -> None:
    streams, _ = rotate(objects, replace(SETTINGS, object="car/4", directions=[direction]))
    for _, clip in every_clip(streams):
        assert clip[:, 3].tolist() == azimuths
        assert len(np.unique(np.delete(clip, 3, axis=1), axis=0)) == 1  # all else stands still


def test_both_cameras_give_the_same_sequences_each_of_its_own_pictures(objects: list[TurningObject]) -> None:
    streams, _ = rotate(objects, replace(SETTINGS, cameras=[0, 1]))
    for split in SPLITS:
        frames, table = frames_of(streams[split]), streams[split].table
        views = decode(frames[:, :, 0])
        cameras = [views[(table["camera"] == camera).to_numpy()] for camera in (0, 1)]
        for camera in (0, 1):
            assert (cameras[camera][..., 5] == camera).all()
        np.testing.assert_array_equal(cameras[0][..., :5], cameras[1][..., :5])
        for clip, of_clip in zip(frames, views, strict=True):
            for frame, (*view, camera) in zip(clip, of_clip.tolist(), strict=True):
                np.testing.assert_array_equal(frame[0], picture(View(*view), camera))


@pytest.mark.parametrize("both", [((0, 1), (3, 8)), ((3, 0), (0, 0)), ([3, 1], [3, 0])])
def test_held_out_configurations_are_shown_in_no_other_split(objects: list[TurningObject], both: Any) -> None:
    validation, test = both
    streams, _ = rotate(objects, replace(SETTINGS, validation=validation, test=test, cameras=[0, 1]))
    found = {split: {(int(f[4]), int(f[2])) for clip in shown(streams[split]) for f in clip} for split in SPLITS}
    assert found["validation"] == {tuple(validation)}
    assert found["test"] == {tuple(test)}
    assert found["train"] == set(CONFIGURATIONS) - {tuple(validation), tuple(test)}
    for stream in streams.values():
        assert set(stream.table["source"]) == {"animal/6", "car/0", "car/4"}


@examples(max_examples=20)
@given(
    frames=st.integers(2, 40),
    window_step=st.integers(1, 40),
    interleaved=st.sampled_from([1, 2, 3, 6, 9, 18]),
    directions=st.permutations(["forward", "backward"]).flatmap(lambda d: st.sampled_from([d, d[:1]])),
    cameras=st.permutations([0, 1]).flatmap(lambda c: st.sampled_from([c, c[:1]])),
)
def test_the_table_says_what_the_frames_show(
    objects: list[TurningObject],
    frames: int,
    window_step: int,
    interleaved: int,
    directions: list[Any],
    cameras: list[Any],
) -> None:
    settings = replace(
        SETTINGS,
        frames=frames,
        window_step=window_step,
        degrees_per_frame=20 * interleaved,
        directions=directions,
        cameras=cameras,
    )
    streams, sources = rotate(objects, settings)
    length = 18 // interleaved
    clips: Counter[tuple[Any, ...]] = Counter()
    for row, clip in every_clip(streams):
        assert len(clip) == frames
        places = (row.start + np.arange(frames)) % length
        if row.direction == "backward":
            places = length - 1 - places
        assert clip[:, 3].tolist() == (row.turn + interleaved * places).tolist()
        category, instance = row.source.split("/")
        assert row.label == category
        rest = [CATEGORIES.index(category), int(instance), row.elevation, row.lighting, row.camera]
        assert (np.delete(clip, 3, axis=1) == rest).all()
        clips[row.source, row.lighting, row.elevation, row.camera, row.turn, row.direction, row.start] += 1
    starts = len(range(0, length, window_step))
    each = 6 * interleaved * len(cameras) * len(directions) * starts
    assert len(clips) == sum(clips.values()) == 3 * each
    assert sources["source"].tolist() == ["animal/6", "car/0", "car/4"]
    assert sources["clips"].tolist() == [each] * 3
    assert sources["frames"].tolist() == [2 * 6 * 18] * 3
    assert sources["reason"].tolist() == [""] * 3


def test_forty_degrees_give_two_interleaved_turns(objects: list[TurningObject]) -> None:
    streams, _ = rotate(objects, replace(SETTINGS, object="car/0", degrees_per_frame=40, frames=10, window_step=9))
    turns = shown(streams["test"])[:, :, 3].tolist()
    assert turns == [[0, 2, 4, 6, 8, 10, 12, 14, 16, 0], [1, 3, 5, 7, 9, 11, 13, 15, 17, 1]]
    assert streams["test"].table["turn"].tolist() == [0, 1]
    assert set(streams["test"].table["elevation"]) == {8}


@pytest.mark.parametrize("degrees", [10, 30, 45, 90, 1])
def test_degrees_that_are_no_multiple_of_the_datas_are_refused(objects: list[TurningObject], degrees: int) -> None:
    with pytest.raises(InputError, match=f"animal/6 are 20 degrees apart.* but is {degrees}"):
        rotate(objects, replace(SETTINGS, degrees_per_frame=degrees))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *[("degrees_per_frame", degrees, "must divide 360") for degrees in (100, 7, 720, 16)],
        *[(name, value, name) for name in ("frame_size", "window_step", "degrees_per_frame") for value in (0, -1)],
        *[("frames", value, "frames must be at least 2") for value in (1, 0, -5)],
        *[("channels", value, "channels must be 1 or 3") for value in (0, 2, 4)],
        *[("directions", value, "directions must name") for value in ([], ["forward", "forward"])],
        *[("cameras", value, "cameras must name") for value in ([], [1, 1])],
        *[("test", value, "validation and test must differ, but both are") for value in ((0, 1), [0, 1])],
    ],
)
def test_settings_without_sense_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **{name: value})


@pytest.mark.parametrize(
    ("name", "sources"), [("first", ["animal/6"]), ("car/4", ["car/4"]), ("all", ["animal/6", "car/0", "car/4"])]
)
def test_the_named_object_is_shown_and_no_other(objects: list[TurningObject], name: str, sources: list[str]) -> None:
    streams, table = rotate(objects, replace(SETTINGS, object=name))
    assert table["source"].tolist() == sources
    seen = {f"{CATEGORIES[clip[0][0]]}/{clip[0][1]}" for _, clip in every_clip(streams)}
    assert seen == set(sources)


@pytest.mark.parametrize("name", ["car/9", "car", "Car/4", ""])
def test_an_unknown_object_is_refused_with_those_there_are(objects: list[TurningObject], name: str) -> None:
    with pytest.raises(InputError, match=f"no object '{name}' in raw, only animal/6, car/0, car/4"):
        rotate(objects, replace(SETTINGS, object=name))


@pytest.mark.parametrize(("split", "wrong"), [("validation", (0, 2)), ("test", (1, 1)), ("validation", (8, 3))])
def test_holding_out_what_an_object_has_not_is_refused(
    objects: list[TurningObject], split: str, wrong: tuple[int, int]
) -> None:
    message = re.escape(f"no (lighting, elevation) {list(wrong)} to hold out for {split}, only [0, 0], [0, 1], [0, 8]")
    changes: dict[str, Any] = {split: wrong}
    with pytest.raises(InputError, match=message):
        rotate(objects, replace(SETTINGS, **changes))


def test_holding_out_all_there_is_leaves_nothing_to_train_with(tmp_path: Path) -> None:
    found = norb(tmp_path, turntable([(4, 4)], [(0, 1), (3, 8)]))
    with pytest.raises(InputError, match="left for the train clips"):
        rotate(found, SETTINGS)


def damaged(kind: str) -> list[View]:
    """Views of two objects; animal/6 lacks one view at lighting 3 and elevation 0."""
    views = turntable(OBJECTS[:2], CONFIGURATIONS)
    wrong = views.index(View(0, 6, 0, 11, 3))
    if kind == "missing":
        del views[wrong]
    elif kind == "twice":
        views.append(views[wrong])
    else:
        views[wrong] = views[wrong]._replace(azimuth=12)
    return views


@pytest.mark.parametrize("kind", ["missing", "twice", "another twice"])
def test_an_object_without_all_its_views_is_passed_over_and_listed(tmp_path: Path, kind: str) -> None:
    views = damaged(kind)
    found = norb(tmp_path, views)
    streams, sources = rotate(found, replace(SETTINGS, unusable="skip", cameras=[0, 1]))
    assert {tuple(clip[0][:2]) for _, clip in every_clip(streams)} == {(4, 4)}
    assert sources["source"].tolist() == ["animal/6", "car/4"]
    assert sources["clips"].tolist() == [0, 2 * 6]
    assert sources["frames"].tolist() == [2 * sum(v.category == 0 for v in views), 2 * 6 * 18]
    assert "(3, 0)" in sources["reason"][0]
    assert sources["reason"][1] == ""


def test_an_object_without_all_its_views_stops_if_it_shall(tmp_path: Path) -> None:
    found = norb(tmp_path, damaged("missing"))
    message = r"1 of 2 objects in raw cannot be used:\n  - animal/6: .*\(3, 0\)"
    with pytest.raises(InputError, match=message):
        rotate(found, SETTINGS)
    with pytest.raises(InputError, match="1 of 1 objects"):  # nothing would be left
        rotate(found, replace(SETTINGS, object="animal/6", unusable="skip"))
    _, sources = rotate(found, replace(SETTINGS, object="car/4"))  # what is not chosen does not matter
    assert sources["source"].tolist() == ["car/4"]


def test_the_first_object_is_the_first_that_can_be_used(tmp_path: Path) -> None:
    streams, _ = rotate(norb(tmp_path, damaged("missing")), replace(SETTINGS, object="first", unusable="skip"))
    assert set(streams["train"].table["source"]) == {"car/4"}


def test_grey_pictures_in_three_channels_are_equal_in_each(objects: list[TurningObject]) -> None:
    grey, colour = (frames_of(rotate(objects, replace(SETTINGS, channels=c))[0]["test"]) for c in (1, 3))
    assert colour.shape == (3, 19, 3, 8, 8)
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize(
    ("size", "kind"),
    [(1, cv2.INTER_AREA), (3, cv2.INTER_AREA), (4, cv2.INTER_AREA), (7, cv2.INTER_AREA), (13, cv2.INTER_LINEAR)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_resized(objects: list[TurningObject], size: int, kind: int, channels: int) -> None:
    settings = replace(SETTINGS, object="car/4", frame_size=size, channels=channels)
    (clip,) = frames_of(rotate(objects, settings)[0]["test"])
    assert clip.shape == (19, channels, size, size)
    for k, frame in enumerate(clip):
        original = picture(View(4, 4, 8, k % 18, 3), camera=0).astype(np.uint8)
        for plane in frame:
            np.testing.assert_array_equal(plane, cv2.resize(original, (size, size), interpolation=kind))


def test_shrinking_to_half_takes_means(objects: list[TurningObject]) -> None:
    (clip,) = frames_of(rotate(objects, replace(SETTINGS, object="car/4", frame_size=4))[0]["test"])
    original = picture(View(4, 4, 8, 0, 3), camera=0)
    means = original.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert (abs(clip[0, 0] - means) <= 0.5).all()


# --- COIL -----------------------------------------------------------------------------------------------------------


COIL = replace(SETTINGS, validation=(0, 1), test=(0, 2))


def save(folder: Path, name: str, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return folder / name


def coil_pixels(number: int, view: int, side: int = 8) -> np.ndarray:
    """A grey picture whose first two pixels say which object it is, and which view."""
    pixels = np.random.default_rng([number, view]).integers(0, 256, (side, side))
    pixels[0, :2] = number, view
    return pixels


def write_coil(folder: Path, numbers: list[int], step: int, views: int = 72) -> None:
    """Write pictures with step 1, as COIL-20 counts its views, or 5, as COIL-100 gives degrees."""
    for number in numbers:
        for view in range(views):
            save(folder, f"obj{number}__{view * step}.png", coil_pixels(number, view))


def coil(folder: Path) -> list[TurningObject]:
    return find_objects(folder, folder / "never used")


@pytest.mark.parametrize("step", [1, 5])
def test_coil_is_dealt_into_turns_that_stand_for_elevations(tmp_path: Path, step: int) -> None:
    write_coil(tmp_path, [10, 2, 1], step)
    streams, sources = rotate(coil(tmp_path), replace(COIL, directions=["forward", "backward"], cameras=[0, 1]))
    assert sources["source"].tolist() == ["obj1", "obj2", "obj10"]
    assert sources["label"].tolist() == ["obj1", "obj2", "obj10"]
    assert sources["frames"].tolist() == [72] * 3
    assert sources["clips"].tolist() == [4 * 2] * 3  # turns, directions; one camera
    turns = {"train": {0, 3}, "validation": {1}, "test": {2}}
    row: Any
    for split in SPLITS:
        table = streams[split].table
        for row, clip in zip(table.itertuples(), frames_of(streams[split])[:, :, 0, 0, :2], strict=True):
            assert {f"obj{number}" for number in clip[:, 0]} == {row.source}
            places = np.arange(19) % 18 if row.direction == "forward" else 17 - np.arange(19) % 18
            assert clip[:, 1].tolist() == (row.elevation + 4 * places).tolist()
            assert row.turn == row.elevation
            assert (row.lighting, row.camera, row.start) == (0, 0, 0)
        assert {*table["elevation"]} == turns[split]
        assert len(table) == 3 * len(turns[split]) * 2


@pytest.mark.parametrize(("views", "degrees"), [(2, 180), (12, 30), (36, 10), (72, 5), (120, 3), (360, 1)])
def test_the_number_of_views_tells_their_distance(tmp_path: Path, views: int, degrees: int) -> None:
    for view in range(views):
        save(tmp_path, f"obj1__{view}.png", np.zeros((2, 2)))
    (turning,) = coil(tmp_path)
    assert (turning.degrees, turning.cameras, turning.reason) == (degrees, 1, "")


def test_pictures_of_other_names_are_passed_over(tmp_path: Path) -> None:
    write_coil(tmp_path / "coil-20-proc", [3], 1)
    for name in ("obj1.png", "obj__1.png", "obj1__1.png.png", "my obj1__1.png", "obj1__a.png", "obj1_1.png"):
        save(tmp_path, name, np.zeros((8, 8)))
    (tmp_path / "obj2__0.txt").write_text("no picture")
    assert [o.name for o in coil(tmp_path)] == ["obj3"]


@pytest.mark.parametrize("missing", [0, 1, 17, 71])
@pytest.mark.parametrize("step", [1, 5])
def test_a_missing_view_is_a_reason(tmp_path: Path, missing: int, step: int) -> None:
    write_coil(tmp_path, [1, 2], step)
    (tmp_path / f"obj1__{missing * step}.png").unlink()
    found = coil(tmp_path)
    streams, sources = rotate(found, replace(COIL, unusable="skip"))
    assert sources["source"].tolist() == ["obj1", "obj2"]
    assert sources["frames"].tolist() == [71, 72]
    assert sources["clips"].tolist() == [0, 4]
    assert "71 views" in sources["reason"][0]
    assert sources["reason"][1] == ""
    for stream in streams.values():
        assert (frames_of(stream)[:, :, 0, 0, 0] == 2).all()
    with pytest.raises(InputError, match=r"1 of 2 objects in raw cannot be used:\n  - obj1: its 71 views"):
        rotate(found, COIL)


def test_views_that_do_not_start_from_zero_are_a_reason(tmp_path: Path) -> None:
    for view in range(1, 73):
        save(tmp_path, f"obj1__{view}.png", np.zeros((2, 2)))
    assert "from 0" in coil(tmp_path)[0].reason


def test_degrees_of_half_a_turn_are_a_reason(tmp_path: Path) -> None:
    write_coil(tmp_path, [1], 5, views=36)
    assert coil(tmp_path)[0].reason


def test_a_single_picture_is_a_reason(tmp_path: Path) -> None:
    save(tmp_path, "obj1__0.png", np.zeros((8, 8)))
    assert "1 views" in coil(tmp_path)[0].reason


def test_every_truncation_of_a_picture_is_a_reason_that_names_it(tmp_path: Path) -> None:
    write_coil(tmp_path, [1], 1, views=2)
    assert coil(tmp_path)[0].reason == ""
    path = tmp_path / "obj1__1.png"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "obj1__1.png" in coil(tmp_path)[0].reason


def test_a_damaged_byte_of_the_pixels_is_a_reason_that_names_the_picture(tmp_path: Path) -> None:
    write_coil(tmp_path, [1], 1, views=2)
    path = tmp_path / "obj1__1.png"
    whole = path.read_bytes()
    start = whole.index(b"IDAT") + 4
    for place in range(start, start + struct.unpack(">I", whole[start - 8 : start - 4])[0]):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert "obj1__1.png" in coil(tmp_path)[0].reason


def test_a_view_that_is_there_twice_is_a_reason(tmp_path: Path) -> None:
    write_coil(tmp_path / "a", [1], 1)
    save(tmp_path / "b", "obj1__5.png", np.zeros((8, 8)))
    assert coil(tmp_path)[0].reason


def test_what_is_no_picture_is_a_reason_that_names_it(tmp_path: Path) -> None:
    write_coil(tmp_path, [1], 1)
    (tmp_path / "obj1__7.png").write_bytes(b"GIF89a" + bytes(100))
    assert "obj1__7.png" in coil(tmp_path)[0].reason
    (tmp_path / "obj1__7.png").unlink()
    (tmp_path / "obj1__7.png").mkdir()
    assert coil(tmp_path)[0].reason


def test_pictures_that_are_not_square_are_a_reason(tmp_path: Path) -> None:
    for view in range(72):
        save(tmp_path, f"obj1__{view}.png", np.zeros((8, 10)))
    assert "10x8 pixels are not square" in coil(tmp_path)[0].reason


@pytest.mark.parametrize("shape", [(9, 9), (8, 9), (1, 1)])
def test_pictures_that_differ_in_size_are_a_reason(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_coil(tmp_path, [1], 1)
    save(tmp_path, "obj1__71.png", np.zeros(shape))
    assert "differ in size" in coil(tmp_path)[0].reason


def test_objects_may_differ_in_size_from_each_other(tmp_path: Path) -> None:
    write_coil(tmp_path, [1], 1)
    for view in range(72):
        save(tmp_path, f"obj2__{view}.png", coil_pixels(2, view, side=16))
    streams, sources = rotate(coil(tmp_path), COIL)
    assert sources["clips"].tolist() == [4, 4]
    large = coil_pixels(2, 2, side=16).astype(np.uint8)
    np.testing.assert_array_equal(
        frames_of(streams["test"])[1, 0, 0], cv2.resize(large, (8, 8), interpolation=cv2.INTER_AREA)
    )


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TurningObject], np.ndarray]:
    """An object in colour, and its pictures (72, 8, 8, 3) in red, green and blue."""
    folder = tmp_path_factory.mktemp("colours")
    pictures = np.random.default_rng(0).integers(0, 256, (72, 8, 8, 3))
    for view, pixels in enumerate(pictures):
        save(folder, f"obj1__{5 * view}.png", pixels)
    return coil(folder), pictures


def test_colours_are_in_the_order_red_green_blue(colours: tuple[list[TurningObject], np.ndarray]) -> None:
    found, pictures = colours
    (clip,) = frames_of(rotate(found, replace(COIL, channels=3))[0]["test"])
    expected = pictures[[*range(2, 72, 4), 2]].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(clip, expected)


def test_colours_become_grey_by_their_luma(colours: tuple[list[TurningObject], np.ndarray]) -> None:
    found, pictures = colours
    (clip,) = frames_of(rotate(found, COIL)[0]["test"])
    luma = pictures[[*range(2, 72, 4), 2]] @ (0.299, 0.587, 0.114)  # ITU-R BT.601
    assert abs(clip[:, 0] - luma).max() < 1.5


def test_colours_are_resized_each_by_itself(colours: tuple[list[TurningObject], np.ndarray]) -> None:
    found, pictures = colours
    (clip,) = frames_of(rotate(found, replace(COIL, channels=3, frame_size=5))[0]["validation"])
    for channel in range(3):
        plane = pictures[1, ..., channel].astype(np.uint8)
        np.testing.assert_array_equal(clip[0, channel], cv2.resize(plane, (5, 5), interpolation=cv2.INTER_AREA))


def test_coil_in_its_own_step_is_one_turn_of_which_none_can_be_held_out(tmp_path: Path) -> None:
    write_coil(tmp_path, [1], 1)
    with pytest.raises(InputError, match=re.escape("no (lighting, elevation) [0, 1] to hold out for validation, only")):
        rotate(coil(tmp_path), replace(COIL, degrees_per_frame=5))
    with pytest.raises(InputError, match="obj1 are 5 degrees apart"):
        rotate(coil(tmp_path), replace(COIL, degrees_per_frame=24))


def test_small_norb_goes_before_pictures_in_the_same_folder(tmp_path: Path) -> None:
    write_coil(tmp_path / "raw", [1], 1, views=2)
    assert [o.name for o in norb(tmp_path, turntable([(2, 3)], [(0, 0)]))] == ["airplane/3"]


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_objects_is_refused_with_where_to_get_them(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "raw"
    if there:
        save(folder, "picture.png", np.zeros((8, 8)))
    with pytest.raises(InputError, match=r"raw holds neither small NORB's files nor pictures .* Fetch it!$"):
        find_objects(folder, tmp_path, "Fetch it!")


def test_tables_of_clips_and_sources_have_their_columns(objects: list[TurningObject]) -> None:
    streams, sources = rotate(objects, SETTINGS)
    columns = ["source", "label", "start", "lighting", "elevation", "camera", "turn", "direction"]
    for stream in streams.values():
        assert isinstance(stream.table, pd.DataFrame)
        assert stream.table.columns.tolist() == columns
        assert stream.table.index.tolist() == list(range(len(stream.table)))
    assert sources.columns.tolist() == ["source", "label", "frames", "clips", "reason"]
    assert sources["label"].tolist() == ["animal", "car", "car"]

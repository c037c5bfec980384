import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from linear_video.clips.base import SPLITS, ClipStream, Split
from linear_video.clips.footage import FootageSettings
from linear_video.clips.windows import cut, find_cuts, frame_differences
from linear_video.common.errors import InputError
from linear_video.io.clips import ClipSetDataset
from tests.clips.footage_files import extracted, footage_settings, tree

SETTINGS = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def numbered(recording: int, frames: int) -> np.ndarray:
    """Frames uint8 (F, 1, 1, 3) whose values are the number of their recording and of the frame."""
    index = np.arange(frames)
    values = np.stack([np.full(frames, recording), index // 256, index % 256], axis=1)
    return values.astype(np.uint8)[:, None, None, :]


def numbers(stream: ClipStream) -> list[tuple[int, tuple[int, ...]]]:
    """For each clip of numbered frames, the number of the recording and the numbers of the frames."""
    clips = []
    for clip in whole(stream)[:, :, 0, 0].astype(int):
        [recording] = set(clip[:, 0].tolist())
        clips.append((recording, tuple((clip[:, 1] * 256 + clip[:, 2]).tolist())))
    return clips


def whole(stream: ClipStream) -> np.ndarray:
    return np.concatenate([np.empty((0, *stream.clip_shape), np.uint8), *stream.pieces()])


def lay_numbered(folder: Path, lengths: list[int], crops: int = 1) -> pd.DataFrame:
    recordings = {}
    for number, length in enumerate(lengths):
        for crop in range(crops):
            recordings[f"class{number % 3}/r{number}.avi", crop] = numbered(number * crops + crop, length)
    return extracted(folder, recordings)


def clip_settings(**changes: Any) -> FootageSettings:
    return footage_settings(Path("raw"), **{"channels": 1, "frame_size": (1, 3), **changes})


def used(streams: dict[Split, ClipStream], recording: int) -> dict[str, set[int]]:
    """Frames of one recording in each split."""
    return {
        split: {frame for number, frames in numbers(streams[split]) if number == recording for frame in frames}
        for split in SPLITS
    }


# ---- clips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "frame_step", "window_step", "length", "starts"),
    [
        (4, 1, 4, 13, [0, 4, 8]),  # side by side; what is left over is too short
        (4, 1, 4, 12, [0, 4, 8]),
        (4, 1, 4, 11, [0, 4]),
        (4, 1, 1, 6, [0, 1, 2]),  # overlapping
        (3, 2, 1, 6, [0, 1]),  # 0 2 4, 1 3 5
        (3, 2, 3, 11, [0, 3, 6]),
        (2, 5, 7, 20, [0, 7, 14]),  # with gaps; the last are frames 14 and 19
        (5, 1, 50, 30, [0]),
    ],
)
def test_clips_are_the_frames_that_their_start_tells(
    tmp_path: Path, frames: int, frame_step: int, window_step: int, length: int, starts: list[int]
) -> None:
    recordings = lay_numbered(tmp_path, [length] * 4)
    choice = clip_settings(frames=frames, frame_step=frame_step, window_step=window_step)
    streams, sources = cut(recordings, tmp_path, choice)
    seen = []
    for stream in streams.values():
        of_rows = [int(name[8:-4]) for name in stream.table["source"]]
        expected = [
            (number, tuple(start + frame_step * t for t in range(frames)))
            for number, start in zip(of_rows, stream.table["start"], strict=True)
        ]
        assert numbers(stream) == expected
        seen += expected
    assert sorted(seen) == [
        (number, tuple(start + frame_step * t for t in range(frames))) for number in range(4) for start in starts
    ]
    assert sources["clips"].tolist() == [len(starts)] * 4


def test_pieces_are_small_and_make_up_the_clips_of_the_table_in_its_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = {"a/0": 150, "b/1": 5, "b/2": 67, "c/3": 130, "c/4": 4}
    recordings = {
        (name, crop): rng.integers(0, 256, (length, 3, 6, 5), np.uint8)
        for name, length in lengths.items()
        for crop in (0, 1)
    }
    table = extracted(tmp_path, recordings)
    choice = footage_settings(Path("raw"), frame_size=(6, 5), frames=3, frame_step=1, window_step=1)
    streams, sources = cut(table, tmp_path, choice)
    for stream in streams.values():
        assert stream.clip_shape == (3, 3, 6, 5)
        assert list(stream.table.columns) == ["source", "label", "crop", "start", "fps"]
        assert stream.table.index.tolist() == list(range(len(stream.table)))
        pieces = list(stream.pieces())
        assert all(0 < len(piece) <= 100 for piece in pieces)
        rows: list[Any] = list(stream.table.itertuples(index=False))
        expected = [recordings[row.source, row.crop][row.start : row.start + 3] for row in rows]
        np.testing.assert_array_equal(np.concatenate(pieces), expected)
        np.testing.assert_array_equal(whole(stream), expected)  # a second time
        assert (stream.table["label"] == stream.table["source"].str[0]).all()
        assert (stream.table["fps"] == 25).all()
    assert sum(len(stream.table) for stream in streams.values()) == sum(2 * (length - 2) for length in lengths.values())
    assert sources["clips"].tolist() == [length - 2 for length in lengths.values() for _ in (0, 1)]


def test_unusable_recordings_keep_their_reason_and_give_no_clips(tmp_path: Path) -> None:
    recordings = lay_numbered(tmp_path, [20] * 5)
    recordings.loc[[1, 3], ["file", "reason"]] = ["", "broken"]
    recordings.loc[[1, 3], "frames"] = 0
    streams, sources = cut(recordings, tmp_path, clip_settings())
    assert sources["source"].tolist() == recordings["source"].tolist()
    assert sources["reason"].tolist() == ["", "broken", "", "broken", ""]
    assert sources["clips"].tolist() == [5, 0, 5, 0, 5]
    assert (sources["split"] == "").tolist() == [False, True, False, True, False]
    assert {number for stream in streams.values() for number, _ in numbers(stream)} == {0, 2, 4}


# ---- split by video --------------------------------------------------------------------------------------------------


@SETTINGS
@given(
    lengths=st.lists(st.integers(4, 12), min_size=3, max_size=25),
    crops=st.integers(1, 2),
    shares=st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45)),
    seed=st.integers(0, 1000),
)
def test_whole_videos_with_all_their_crops_are_in_one_split_whatever_the_order(
    tmp_path: Path, lengths: list[int], crops: int, shares: tuple[float, float], seed: int
) -> None:
    recordings = lay_numbered(tmp_path, lengths, crops)
    choice = clip_settings(window_step=2, validation_share=shares[0], test_share=shares[1])
    try:
        streams, sources = cut(recordings, tmp_path, choice)
    except InputError:  # the shares leave nothing for training
        assert sum(max(1, share * len(lengths)) for share in shares) > len(lengths) - 2
        return
    of_split = {split: set(stream.table["source"]) for split, stream in streams.items()}
    assert set.union(*of_split.values()) == set(recordings["source"])
    assert sum(len(found) for found in of_split.values()) == len(lengths)
    assert all(of_split.values())
    held_out: dict[Split, float] = {"validation": shares[0], "test": shares[1]}
    for split, share in held_out.items():
        assert len(of_split[split]) == 1 or abs(len(of_split[split]) - share * len(lengths)) <= 0.5
    row: Any
    for row in sources.itertuples():
        assert row.source in of_split[row.split]
    clips_of = sources.groupby("split")["clips"].sum()
    assert clips_of.to_dict() == {split: len(stream.table) for split, stream in streams.items()}

    mixed = recordings.sample(frac=1, random_state=seed, ignore_index=True)
    again, _ = cut(mixed, tmp_path, choice)
    assert {split: set(stream.table["source"]) for split, stream in again.items()} == of_split


def test_three_videos_are_enough_and_two_are_not(tmp_path: Path) -> None:
    streams, _ = cut(lay_numbered(tmp_path / "3", [8] * 3, crops=2), tmp_path / "3", clip_settings())
    assert sorted(len(stream.table) for stream in streams.values()) == [4, 4, 4]
    with pytest.raises(InputError, match=r"2 recordings.*split_by to time"):
        cut(lay_numbered(tmp_path / "2", [80] * 2, crops=4), tmp_path / "2", clip_settings())


def test_a_name_decides_the_split_and_not_the_clips(tmp_path: Path) -> None:
    lengths = [8] * 20
    first = cut(lay_numbered(tmp_path / "a", lengths), tmp_path / "a", clip_settings())[1]
    longer = [8 + number for number in range(20)]
    choice = clip_settings(frames=3, window_step=1)
    second = cut(lay_numbered(tmp_path / "b", longer), tmp_path / "b", choice)[1]
    assert first["split"].tolist() == second["split"].tolist()
    assert first["split"].value_counts().to_dict() == {"train": 16, "validation": 2, "test": 2}
    # Neither is it the order of the names: the splits are not three runs of it.
    for order in (first, first.sort_values("source")):
        changes = sum(before != after for before, after in itertools.pairwise(order["split"]))
        assert changes > 2


# ---- split by time ---------------------------------------------------------------------------------------------------


@SETTINGS
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    frames=st.integers(2, 5),
    frame_step=st.integers(1, 3),
    window_step=st.integers(1, 12),
    shares=st.tuples(st.floats(0.01, 0.6), st.floats(0.01, 0.6)),
    crops=st.integers(1, 2),
)
def test_by_time_no_frame_is_in_two_splits_and_training_comes_first(
    tmp_path: Path,
    lengths: list[int],
    frames: int,
    frame_step: int,
    window_step: int,
    shares: tuple[float, float],
    crops: int,
) -> None:
    assume(sum(shares) < 1)
    span = (frames - 1) * frame_step + 1
    lengths = [max(length, span) for length in lengths]  # what is shorter, footage.extract tells
    choice = clip_settings(
        split_by="time",
        frames=frames,
        frame_step=frame_step,
        window_step=window_step,
        validation_share=shares[0],
        test_share=shares[1],
    )
    table = lay_numbered(tmp_path, lengths, crops)
    # Train, validation and test have room for a clip and their share each.
    roomy = [length >= sum(max(span, share * length + 0.5) for share in shares) + span for length in lengths]
    try:
        streams, sources = cut(table, tmp_path, choice)
    except InputError:
        assert not any(roomy)
        return
    for number, length in enumerate(lengths):
        parts = [used(streams, number * crops + crop) for crop in range(crops)]
        assert all(part == parts[0] for part in parts)
        train, validation, test = (parts[0][split] for split in SPLITS)
        assert not train & validation
        assert not train & test
        assert not validation & test
        assert max(train, default=-1) < min(validation | test, default=length)
        assert max(validation, default=-1) < min(test, default=length)
        assert test
        assert max(test) < length
        if roomy[number]:
            assert train
            assert min(train) == 0
            begins = min(test), min(validation)
            ends = length, begins[0]
            for begin, end, share in zip(begins, ends, shares[::-1], strict=True):
                assert abs(end - begin - max(span, share * length)) <= 0.5
    of_source = sources.set_index(["source", "crop"])
    row: Any
    for row in of_source.itertuples():
        found = [split for split in SPLITS if row.Index[0] in set(streams[split].table["source"])]
        assert row.split == "+".join(found)
    assert sources["clips"].sum() == sum(len(stream.table) for stream in streams.values())


def test_by_time_the_shares_of_a_long_recording_are_met(tmp_path: Path) -> None:
    recordings = lay_numbered(tmp_path, [1000])
    choice = clip_settings(split_by="time", window_step=1, validation_share=0.1, test_share=0.25)
    streams, sources = cut(recordings, tmp_path, choice)
    assert used(streams, 0) == {
        "train": set(range(650)),
        "validation": set(range(650, 750)),
        "test": set(range(750, 1000)),
    }
    assert sources["split"].tolist() == ["train+validation+test"]


def test_by_time_one_long_recording_makes_up_for_short_ones(tmp_path: Path) -> None:
    recordings = lay_numbered(tmp_path, [4, 7, 8, 11, 12])
    streams, sources = cut(recordings, tmp_path, clip_settings(split_by="time"))
    assert sources["split"].tolist() == ["test", "test", "validation+test", "validation+test", "train+validation+test"]
    assert sources["clips"].tolist() == [1, 1, 2, 2, 3]
    assert numbers(streams["train"]) == [(4, (0, 1, 2, 3))]
    assert numbers(streams["test"])[:3] == [(0, (0, 1, 2, 3)), (1, (3, 4, 5, 6)), (2, (4, 5, 6, 7))]


@pytest.mark.parametrize(("length", "split"), [(4, "train"), (11, "train"), (12, None)])
def test_by_time_too_short_recordings_are_an_input_error(tmp_path: Path, length: int, split: str | None) -> None:
    recordings = lay_numbered(tmp_path, [length] * 3)
    choice = clip_settings(split_by="time")
    if split is None:
        assert all(len(stream.table) == 3 for stream in cut(recordings, tmp_path, choice)[0].values())
    else:
        with pytest.raises(InputError, match=rf"leaves {split} clips of 4 frames"):
            cut(recordings, tmp_path, choice)


# ---- standstill and cuts ---------------------------------------------------------------------------------------------


def levels(*values: int) -> np.ndarray:
    """Uniform frames (F, 1, 1, 3) with these values."""
    return np.repeat(np.array(values, np.uint8)[:, None, None, None], 3, axis=3)


@given(
    shape=st.tuples(st.integers(2, 6), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 1000),
)
def test_differences_are_the_mean_distance_of_brightness(shape: tuple[int, int, int, int], seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    values = frames.astype(np.float64) / 255
    expected = np.abs(values[1:] - values[:-1]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(frame_differences(frames), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("differences", "cuts"),
    [
        ([0, 0, 0.5, 0, 0], [2]),
        ([0.02, 0.03, 0.5, 0.02, 0.03], [2]),
        ([0.02, 0.5, 0.02, 0.02, 0.6, 0.02], [1, 4]),
        ([0.5, 0, 0], [0]),
        ([0, 0, 0.5], [2]),
        ([0.5], [0]),
        ([0, 0.5, 0.5, 0.5, 0.5, 0], []),  # fast motion lasts
        ([0.3, 0.5, 0.3, 0.4, 0.3], []),
        ([0.02] * 40, []),  # a slow fade
        ([0.01, 0.2, 0.01], []),  # too small
        ([0, 0, 0, 0], []),
        ([0, 0.3, 0], [1]),  # as large as the threshold
    ],
)
def test_a_cut_is_a_jump_that_neither_lasts_nor_fades(differences: list[float], cuts: list[int]) -> None:
    assert np.flatnonzero(find_cuts(np.array(differences, float), 0.3)).tolist() == cuts


@given(
    differences=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    threshold=st.floats(0.01, 1),
    other=st.floats(0.01, 1),
)
def test_cuts_never_neighbour_and_a_higher_threshold_finds_no_others(
    differences: list[float], threshold: float, other: float
) -> None:
    low, high = sorted((threshold, other))
    values = np.array(differences)
    found = np.flatnonzero(find_cuts(values, low))
    assert (np.diff(found) > 1).all()
    assert set(np.flatnonzero(find_cuts(values, high))) <= set(found)
    np.testing.assert_array_equal(find_cuts(values[::-1], low), find_cuts(values, low)[::-1])


@pytest.mark.parametrize(
    ("frame_step", "before", "after"), [(1, range(7), range(10, 17)), (2, range(4), range(10, 14))]
)
def test_windows_across_a_cut_are_passed_over_and_those_up_to_it_kept(
    tmp_path: Path, frame_step: int, before: range, after: range
) -> None:
    # Frames 0 .. 9 and 10 .. 19 move a little; between 9 and 10 lies the cut.
    moving = levels(*range(20, 30), *range(220, 230))
    recordings = extracted(tmp_path, {(f"a/{number}", 0): moving + np.uint8(number) for number in range(3)})
    choice = clip_settings(frame_step=frame_step, window_step=1, cut_threshold=0.3)
    streams, sources = cut(recordings, tmp_path, choice)
    for stream in streams.values():
        assert stream.table["start"].tolist() == [*before, *after]
        values = whole(stream)[:, :, 0, 0, 0].astype(int)
        assert (np.diff(values, axis=1) == frame_step).all()
    across = 20 - 3 * frame_step - len(before) - len(after)
    assert sources["cut"].tolist() == [across] * 3
    assert sources["still"].tolist() == [0] * 3
    kept, _ = cut(recordings, tmp_path, clip_settings(frame_step=frame_step, window_step=1))
    assert all(len(stream.table) == 20 - 3 * frame_step for stream in kept.values())


def test_fast_motion_and_slow_fades_are_no_cuts(tmp_path: Path) -> None:
    fast = levels(*[0, 150] * 8)
    fade = levels(*range(0, 160, 10))
    recordings = extracted(tmp_path, {("a/0", 0): fast, ("a/1", 0): fade, ("a/2", 0): 255 - fast})
    _, sources = cut(recordings, tmp_path, clip_settings(cut_threshold=0.1))
    assert sources["cut"].tolist() == [0, 0, 0]
    assert sources["clips"].tolist() == [4, 4, 4]


def test_still_windows_are_passed_over_and_counted(tmp_path: Path) -> None:
    # Frames 0 .. 9 stand still; from then on each is two brighter, a mean difference of 2 / 255.
    half_still = levels(*[10] * 10, *range(12, 32, 2))
    recordings = extracted(tmp_path, {(f"a/{number}", 0): half_still + np.uint8(number) for number in range(3)})
    choice = clip_settings(window_step=1, least_motion=1.9 / 255)
    streams, sources = cut(recordings, tmp_path, choice)
    for stream in streams.values():
        assert stream.table["start"].tolist() == list(range(9, 17))  # all three differences are motion
    assert sources["still"].tolist() == [9, 9, 9]
    choice = clip_settings(window_step=1, least_motion=0.6 / 255)  # one difference of the three is enough
    streams, sources = cut(recordings, tmp_path, choice)
    for stream in streams.values():
        assert stream.table["start"].tolist() == list(range(7, 17))
    assert sources["still"].tolist() == [7, 7, 7]


def test_a_recording_left_without_clips_has_a_reason_and_is_in_no_split(tmp_path: Path) -> None:
    moving = levels(*range(0, 120, 10))
    recordings = extracted(
        tmp_path,
        {
            ("a/moving0", 0): moving,
            ("a/still", 0): levels(*[9] * 12),
            ("a/moving1", 0): moving + np.uint8(1),
            ("b/cut", 0): levels(0, 10, 200, 210, 0, 10),
            ("b/moving2", 0): moving + np.uint8(2),
        },
    )
    choice = clip_settings(least_motion=0.01, cut_threshold=0.3, window_step=2)
    streams, sources = cut(recordings, tmp_path, choice)
    rows: dict[Any, Any] = {row.source: row for row in sources.itertuples()}
    assert rows["a/still"].reason == "no clip is left: 5 without motion, 0 across a cut"
    assert (rows["a/still"].clips, rows["a/still"].still, rows["a/still"].split) == (0, 5, "")
    assert rows["b/cut"].reason == "no clip is left: 0 without motion, 2 across a cut"
    assert (rows["b/cut"].clips, rows["b/cut"].cut, rows["b/cut"].split) == (0, 2, "")
    for number in range(3):
        name = f"{'ab'[number == 2]}/moving{number}"
        assert not rows[name].reason
        assert rows[name].clips == 5
    assert sorted(rows[f"{folder}/moving{number}"].split for number, folder in enumerate("aab")) == sorted(SPLITS)
    assert {split: len(stream.table) for split, stream in streams.items()} == dict.fromkeys(SPLITS, 5)


def test_a_window_both_still_and_across_a_cut_counts_as_cut(tmp_path: Path) -> None:
    jump = levels(*[0] * 6, *[80] * 6)  # by 0.31 once, which is 0.1 a frame
    moving = levels(*[0, 100] * 6)
    others = {(f"a/{number}", 0): moving + np.uint8(number) for number in range(3)}
    recordings = extracted(tmp_path, {("a/jump", 0): jump, **others})
    choice = clip_settings(window_step=1, least_motion=0.15, cut_threshold=0.3)
    _, sources = cut(recordings, tmp_path, choice)
    assert sources["cut"].tolist() == [3, 0, 0, 0]
    assert sources["still"].tolist() == [6, 0, 0, 0]
    assert sources["clips"].tolist() == [0, 9, 9, 9]


@pytest.mark.parametrize("split_by", ["video", "time"])
def test_with_no_motion_anywhere_there_is_an_error(tmp_path: Path, split_by: str) -> None:
    recordings = extracted(tmp_path, {(f"a/{number}", 0): levels(*[number] * 40) for number in range(5)})
    with pytest.raises(InputError, match="raw"):
        cut(recordings, tmp_path, clip_settings(least_motion=0.01, split_by=split_by))


@SETTINGS
@given(
    seed=st.integers(0, 1000),
    split_by=st.sampled_from(["video", "time"]),
    least_motion=st.sampled_from([0.0, 0.02]),
    cut_threshold=st.sampled_from([None, 0.2]),
)
def test_the_table_of_sources_counts_every_window_once(
    tmp_path: Path, seed: int, split_by: str, least_motion: float, cut_threshold: float | None
) -> None:
    rng = np.random.default_rng(seed)
    recordings = {}
    for number in range(6):
        length = int(rng.integers(12, 60))
        motion = rng.integers(0, 12, length) * rng.integers(0, 2, length)
        jumps = 120 * (rng.random(length) < 0.05)
        recordings[f"a/{number}", 0] = levels(*((number + np.cumsum(motion + jumps)) % 256))
    table = extracted(tmp_path, recordings)
    choice = clip_settings(split_by=split_by, window_step=3, least_motion=least_motion, cut_threshold=cut_threshold)
    try:
        streams, sources = cut(table, tmp_path, choice)
        everything, all_sources = cut(table, tmp_path, clip_settings(split_by=split_by, window_step=3))
    except InputError:
        assume(False)
    counted = sources["clips"] + sources["still"] + sources["cut"]
    assert counted.tolist() == all_sources["clips"].tolist()
    assert sources["clips"].sum() == sum(len(stream.table) for stream in streams.values())
    assert (sources["reason"] == "").tolist() == (sources["clips"] > 0).tolist()
    assert (sources["split"] == "").tolist() == (sources["clips"] == 0).tolist()
    per_source = pd.concat([stream.table for stream in streams.values()])["source"].value_counts()
    assert sources.set_index("source")["clips"].to_dict() == {
        name: int(per_source.get(name, 0)) for name, _ in recordings
    }
    kept: set[Any] = {(row.source, row.start) for stream in streams.values() for row in stream.table.itertuples()}
    assert kept <= {(row.source, row.start) for stream in everything.values() for row in stream.table.itertuples()}
    for source, start in kept:
        values = recordings[source, 0][start : start + 4, 0, 0, 0].astype(int)
        assert np.abs(np.diff(values)).mean() / 255 >= least_motion


# ---- in a file -------------------------------------------------------------------------------------------------------


def stream_of(frames: np.ndarray, sizes: list[int], rows: int | None = None) -> ClipStream:
    count = len(frames) if rows is None else rows
    table = pd.DataFrame({"source": [f"s{i}" for i in range(count)], "label": "a", "start": range(count)})
    return ClipStream(table, frames.shape[1:], lambda: iter(np.split(frames, np.cumsum(sizes))))


@pytest.mark.parametrize("sizes", [[], [1], [3, 0, 5], [1] * 10])
def test_a_stream_is_saved_as_numpy_saves_the_whole(tmp_path: Path, sizes: list[int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (11, 4, 3, 6, 5), np.uint8)
    dataset = ClipSetDataset(filepath=str(tmp_path / "clips"))
    stream = stream_of(frames, sizes)
    dataset.save(stream)
    loaded = dataset.load()
    assert isinstance(loaded.frames, np.memmap)
    assert np.array_equal(loaded.frames, frames)
    pd.testing.assert_frame_equal(loaded.table, stream.table)
    assert loaded.states is None
    expected = io.BytesIO()
    np.save(expected, frames)
    assert (tmp_path / "clips" / "frames.npy").read_bytes() == expected.getvalue()
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_clips_of_recordings_are_saved_and_loaded_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    recordings = {(f"a/{number}", 0): rng.integers(0, 256, (90, 1, 6, 5), np.uint8) for number in range(5)}
    table = extracted(tmp_path / "frames", recordings)
    choice = footage_settings(Path("raw"), channels=1, frame_size=(6, 5), window_step=1)
    streams, _ = cut(table, tmp_path / "frames", choice)
    row: Any
    for split, stream in streams.items():
        dataset = ClipSetDataset(filepath=str(tmp_path / split))
        dataset.save(stream)
        loaded = dataset.load()
        assert isinstance(loaded.frames, np.memmap)
        assert loaded.frames.shape == (len(stream.table), 4, 1, 6, 5)
        pd.testing.assert_frame_equal(loaded.table, stream.table)
        for clip, row in zip(loaded.frames, loaded.table.itertuples(), strict=True):
            np.testing.assert_array_equal(clip, recordings[row.source, 0][row.start : row.start + 4])


FRAMES = np.random.default_rng(2).integers(0, 256, (6, 4, 1, 5, 5), np.uint8)
BAD_STREAMS = {
    "too few clips": stream_of(FRAMES, [2], rows=7),
    "too many clips": stream_of(FRAMES, [2], rows=5),
    "no clips at all": ClipStream(stream_of(FRAMES, []).table, (4, 1, 5, 5), lambda: iter([])),
    "frames of another size": ClipStream(stream_of(FRAMES, []).table, (4, 1, 5, 6), stream_of(FRAMES, [2]).pieces),
    "another size later on": ClipStream(
        stream_of(FRAMES, []).table, (4, 1, 5, 5), lambda: iter([FRAMES[:3], FRAMES[3:, :, :, :4]])
    ),
    "no axis of clips": ClipStream(stream_of(FRAMES, []).table, (4, 1, 5, 5), lambda: iter(FRAMES)),
    "another type": ClipStream(
        stream_of(FRAMES, []).table, (4, 1, 5, 5), lambda: iter([FRAMES[:3], FRAMES[3:].astype(np.int8)])
    ),
}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("fault", sorted(BAD_STREAMS))
def test_a_stream_that_does_not_keep_its_word_is_refused_and_changes_nothing(
    tmp_path: Path, fault: str, before: bool
) -> None:
    dataset = ClipSetDataset(filepath=str(tmp_path / "clips"))
    if before:
        dataset.save(stream_of(FRAMES[:2], [1]))
    earlier = tree(tmp_path)
    assert bool(earlier) is before
    with pytest.raises(DatasetError, match="clips"):
        dataset.save(BAD_STREAMS[fault])
    assert tree(tmp_path) == earlier
    assert dataset.exists() is before

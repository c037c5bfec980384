"""Test videos in which something happens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_video.clips.base import ClipSet
from linear_video.clips.planted_events import EVENTS, PlantedEventsSettings, planted
from linear_video.clips.readers.symbols import load_symbols
from linear_video.common.errors import InputError

SETTINGS = PlantedEventsSettings(
    clips={"train": 3, "validation": 2, "test": 2},
    symbol_size=8,
    render_size=16,
    frame_size=16,
    speed=(0.5, 1.0),
    videos=3,
)


def videos(settings: PlantedEventsSettings) -> ClipSet:
    found = settings.make("planted_events", 0, Path()).videos
    assert isinstance(found, ClipSet)
    return found


def test_every_video_ends_with_the_frames_that_count_as_anomalous() -> None:
    table = videos(SETTINGS).table
    assert table.groupby("label", sort=False)["source"].nunique().to_dict() == dict.fromkeys(EVENTS, 3)
    for _, rows in table.groupby("source"):
        assert rows["start"].tolist() == list(range(len(rows)))
        assert 16 + 5 <= len(rows) < 30
        assert np.flatnonzero(rows["anomalous"]).tolist() == list(range(len(rows) - 5, len(rows)))


def test_frames_move_less_than_a_symbol_does_until_the_event_and_differently_from_it_on() -> None:
    """The mean of positions, weighted by brightness, is where a symbol is."""
    found = videos(SETTINGS)
    places = np.arange(16)
    for source, rows in found.table.groupby("source").indices.items():
        frames = found.frames[np.sort(rows), 0, 0].astype(float)
        moment = len(frames) - 5
        weights = frames / frames.sum(axis=(1, 2), keepdims=True)
        centre = np.stack([(weights.sum(axis=1) * places).sum(1), (weights.sum(axis=2) * places).sum(1)], axis=1)
        steps = np.hypot(*np.diff(centre, axis=0).T)
        assert 0.1 < steps[: moment - 1].max() < 1.3
        event = str(source).split("/")[0]
        if event == "stop":
            assert (frames[moment:] == frames[moment - 1]).all()
        elif event == "jump":
            assert steps[moment - 1] > 1.3
        else:  # another thing at the same place
            assert np.abs(frames[moment] - frames[moment - 1]).mean() > 0


@pytest.mark.parametrize("event", EVENTS)
def test_before_the_event_the_clip_is_one_in_which_nothing_happens(event: str) -> None:
    symbols = load_symbols("digits", Path(), 8, "test")
    settings = replace(SETTINGS, frames=30)
    clip, moment = planted(event, settings, symbols, np.random.default_rng(4), 16, 5)
    quiet, same = planted("none", settings, symbols, np.random.default_rng(4), 16, 5)
    assert moment == same
    assert np.array_equal(clip[:moment], quiet[:moment])
    assert not np.array_equal(clip[moment], quiet[moment])


def test_the_clips_are_those_of_moving_symbols_and_another_seed_gives_other_videos() -> None:
    one, two = videos(SETTINGS), SETTINGS.make("planted_events", 1, Path()).videos
    assert isinstance(two, ClipSet)
    assert np.array_equal(one.frames, videos(SETTINGS).frames)
    assert one.frames.shape != two.frames.shape or not np.array_equal(one.frames, two.frames)


def test_what_cannot_be_planted_is_an_error() -> None:
    symbols, random = load_symbols("digits", Path(), 8, "test"), np.random.default_rng(0)
    with pytest.raises(InputError, match="has no room to jump 3 pixels"):
        planted("jump", replace(SETTINGS, frames=30, render_size=8, frame_size=8), symbols, random, 16, 5)
    with pytest.raises(InputError, match="all symbols are of the label"):
        planted("another identity", replace(SETTINGS, frames=30), symbols[:1], random, 16, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_frames": 21}, "video_frames must be above first_event"),
        ({"symbols_per_clip": (1, 2)}, "clips of one symbol without backgrounds"),
        ({"lasting": 0}, "lasting must be at least 1"),
    ],
)
def test_settings_that_leave_no_room_for_events_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)

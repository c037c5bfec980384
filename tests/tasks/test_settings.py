import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_video.tasks.settings import PredictSettings, parse_frames

SETTINGS: dict[str, Any] = {
    "model": "data/06_models/ile/moving_symbols",
    "video": None,
    "task": "extrapolate",
    "method": "blend",
    "fit": "resize",
    "fps": None,
    "lines": None,
    "context": 10,
    "horizon": 5,
    "window_step": None,
    "missing": "",
    "dropped": "",
    "factor": 2.0,
    "playback": "slow",
    "normal": None,
    "false_alarm_rate": 0.01,
    "window": 50,
    "modes": 6,
    "futures": 16,
    "noise": 1.0,
    "actions": None,
}


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), max_size=8))
def test_frames_are_the_union_of_numbers_and_ranges_in_order(ranges: list[tuple[int, int]]) -> None:
    text = "  ".join(f"{first}-{first + more}" if more else f"{first}" for first, more in ranges)
    assert parse_frames(text) == sorted({n for first, more in ranges for n in range(first, first + more + 1)})


def test_frames_of_a_text() -> None:
    assert parse_frames("7 40-45") == [7, 40, 41, 42, 43, 44, 45]
    assert parse_frames("") == []
    assert parse_frames("3-3") == [3]
    assert parse_frames(7) == [7]  # as YAML reads it


@pytest.mark.parametrize("text", ["-1", "5-", "-", "a", "7,8", "9-7", "1-2-3", "1.5", "7 x", "²", 1.5, -1, True, None])
def test_texts_that_are_no_frames_are_refused(text: Any) -> None:
    part = str(text).split()[-1]
    with pytest.raises(ValueError, match="must be frame numbers like '7 40-45'") as caught:
        parse_frames(text)
    assert repr(part) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", 1),
        ("horizon", 0),
        ("window", 1),
        ("modes", 0),
        ("futures", 1),
        ("window_step", 0),
        ("lines", 0),
        ("fps", 0),
        ("fps", -1.0),
        ("fps", float("inf")),
        ("fps", float("nan")),
        ("factor", 0.09),
        ("factor", 10.1),
        ("factor", float("nan")),
        ("false_alarm_rate", 0.0),
        ("false_alarm_rate", 1.0),
        ("false_alarm_rate", float("nan")),
        ("noise", -0.1),
        ("noise", float("inf")),
        ("noise", float("nan")),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        PredictSettings(**{**SETTINGS, name: value})


@pytest.mark.parametrize("name", ["missing", "dropped"])
def test_frames_that_are_none_are_refused_before_any_work(name: str) -> None:
    with pytest.raises(ValueError, match="must be frame numbers"):
        PredictSettings(**{**SETTINGS, name: "7 to 9"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("context", 2), ("horizon", 1), ("window_step", 1), ("fps", 0.5), ("factor", 0.1), ("factor", 10), ("noise", 0)],
)
def test_settings_reach_their_limits(name: str, value: Any) -> None:
    assert getattr(PredictSettings(**{**SETTINGS, name: value}), name) == value


@pytest.mark.parametrize(
    ("method", "able"),
    [
        ("blend", {"extrapolate", "fill_in", "retime", "denoise"}),
        ("model", {"extrapolate", "fill_in", "retime", "denoise"}),
        ("optical_flow", {"extrapolate", "fill_in", "retime"}),
        ("last_frame", {"extrapolate"}),
        ("mean", {"fill_in", "retime"}),
        ("cubic", {"fill_in", "retime"}),
    ],
)
def test_methods_are_for_tasks_that_they_can_do(method: str, able: set[str]) -> None:
    for task in ("extrapolate", "fill_in", "retime", "denoise"):
        chosen = {**SETTINGS, "method": method, "task": task}
        if task in able:
            assert PredictSettings(**chosen).method == method
        else:
            with pytest.raises(ValueError, match=f"method {method} cannot {task}; it can "):
                PredictSettings(**chosen)


@pytest.mark.parametrize(
    "text", ["0-99999999999", "0-999999 2000000", f"0-{10**14}", f"{10**13}-{10**15} 5", f"0-{10**25}"]
)
def test_more_frames_than_anybody_names_are_refused_before_they_are_counted_out(text: str) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"missing and dropped must name at most 1,000,000 frames, not [\d,]+\."):
        PredictSettings(missing=text)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_number_of_thousands_of_digits_is_no_frame() -> None:
    with pytest.raises(ValueError, match="must be frame numbers like") as refused:
        parse_frames("9" * 10_000)
    assert len(str(refused.value)) < 200

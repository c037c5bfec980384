import numpy as np
import pandas as pd

from linear_video.clips.base import ClipSet
from linear_video.pipelines.ingestion.nodes import summarise


def clips(sources: list[str], length: int = 3) -> ClipSet:
    frames = np.zeros((len(sources), length, 1, 8, 8), np.uint8)
    return ClipSet(frames, pd.DataFrame({"source": sources, "label": "x", "start": range(len(sources))}))


def test_clips_sources_and_frames_of_each_split_are_counted() -> None:
    table, _ = summarise(clips(["a", "a", "b"]), clips(["c"]), clips(["d,e", "e,f"]), dataset="things")
    assert table.to_dict("list") == {
        "part": ["train", "validation", "test"],
        "clips": [3, 1, 2],
        "sources": [2, 1, 3],  # simulated clips name every image they show
        "frames": [9, 3, 6],
    }


def test_what_was_read_and_rejected_is_counted_by_recording() -> None:
    sources = pd.DataFrame(
        {
            "source": ["a", "a", "b", "c"],  # two crops of a
            "clips": [1, 2, 1, 0],
            "frames": [10, 10, 7, 1],
            "reason": ["", "", "", "a single frame"],
        }
    )
    table, _ = summarise(clips(["a"] * 3), clips(["b"]), clips(["b"]), sources, dataset="things")
    rows = {part: numbers for part, *numbers in table.to_numpy().tolist()}
    assert rows["read"] == [4, 2, 17]
    assert rows["rejected"] == [0, 1, 1]


def test_the_contact_sheet_shows_clips_of_every_split_from_first_to_last() -> None:
    bright = clips([f"v{i}" for i in range(20)], length=10)
    bright.frames[:] = np.arange(20, dtype=np.uint8)[:, None, None, None, None] * 10
    _, figure = summarise(bright, clips(["c"], 10), clips(["d", "e"], 10), dataset="things")
    rows = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert [row.split("\n")[0] for row in rows] == ["train"] * 4 + ["validation"] + ["test"] * 2
    first = [axis.images[0].get_array().max() for axis in figure.axes[:32:8]]
    assert first == [0, 60, 130, 190]  # clips 0, 6, 13 and 19 of 20
    assert [axis.get_title() for axis in figure.axes[:8]] == ["0", "1", "3", "4", "5", "6", "8", "9"]


def test_a_comma_in_the_path_of_a_recording_makes_no_second_source() -> None:
    name = "Diving, part 1/a.avi"
    sources = pd.DataFrame({"source": [name], "clips": [3], "frames": [9], "reason": [""]})
    table, _ = summarise(clips([name]), clips([name]), clips([name]), sources, dataset="things")
    assert table["sources"].tolist() == [1, 1, 1, 1, 0]

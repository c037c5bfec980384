"""Clips from recordings: overlapping windows without standstill and cuts, in splits that share no frame."""

import hashlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import SPLITS, ClipStream, Split
from linear_video.common import storage
from linear_video.common.errors import InputError

if TYPE_CHECKING:
    from linear_video.clips.footage import FootageSettings

PIECE = 64  # clips in memory at once
SOURCES = ["source", "label", "crop", "split", "clips", "frames", "fps", "still", "cut", "reason"]
CLIPS = ["source", "label", "crop", "start", "fps"]


def cut(
    recordings: pd.DataFrame, folder: Path, settings: "FootageSettings"
) -> tuple[dict[Split, ClipStream], pd.DataFrame]:
    """Cut clips out of the recordings that ``extraction.extract`` has left in ``folder``.

    Returns the clips of each split, in the order of the recordings, and a row for each recording and crop: its split,
    number of clips, clips left out because they lack motion (``still``) or contain a ``cut``, and the reason if there
    are no clips. With a split by time, a recording is in several splits.

    Raises:
        InputError: if a split would be empty.
    """
    usable = recordings[recordings["reason"] == ""]
    windows, passed_over = [], []
    for index, file in usable["file"].items():
        if not (folder / file).exists():  # another machine has read it
            storage.fetch_folder((folder / file).parent)
        frames = np.load(folder / file, mmap_mode="r", allow_pickle=False)
        of_recording = np.zeros(2, np.int64)
        for split, first, end in _parts(len(frames), settings):
            starts = np.arange(first, end - settings.span + 1, settings.window_step)
            motionless, across = _passed_over(frames, starts, settings)
            of_recording += (motionless & ~across).sum(), across.sum()
            windows.append(pd.DataFrame({"recording": index, "start": starts[~motionless & ~across], "split": split}))
        passed_over.append(of_recording)
    clips = pd.concat(windows, ignore_index=True)
    if settings.split_by != "time":
        clips["split"] = _split_whole(clips["recording"].map(recordings["source"]), settings)
    for split in SPLITS:
        if not (clips["split"] == split).any():
            raise InputError(
                f"no recording in {settings.raw_folder} leaves {split} clips of {settings.span} frames; lower frames, "
                "frame_step, window_step or least_motion, or use another value of split_by."
            )
    counts = pd.DataFrame(passed_over, usable.index, ["still", "cut"])
    counts["clips"] = clips["recording"].value_counts().reindex(usable.index, fill_value=0)
    sources = recordings.join(counts.reindex(recordings.index, fill_value=0))
    splits = clips.groupby("recording")["split"].agg(lambda found: "+".join(dict.fromkeys(found)))
    sources["split"] = splits.reindex(sources.index, fill_value="")
    for row in counts[counts["clips"] == 0].itertuples():
        sources.loc[row.Index, "reason"] = f"no clip is left: {row.still} without motion, {row.cut} across a cut"
    clips = clips.join(recordings[["source", "label", "crop", "fps", "file"]], on="recording")
    streams = {}
    shape = (settings.frames, settings.channels, *settings.frame_size)
    for split in SPLITS:
        table = clips[clips["split"] == split].sort_values(["recording", "start"], ignore_index=True)
        pieces = partial(_pieces, folder, table["file"].tolist(), table["start"].tolist(), settings)
        streams[split] = ClipStream(table[CLIPS], shape, pieces)
    return streams, sources[SOURCES]


def _pieces(
    folder: Path, files: list[str], starts: list[int], settings: "FootageSettings"
) -> Iterator[NDArray[np.uint8]]:
    """Frames of clips (n, T, C, H, W); each piece is from one recording."""
    first = 0
    while first < len(files):
        last = first + 1
        while last < min(len(files), first + PIECE) and files[last] == files[first]:
            last += 1
        frames = np.load(folder / files[first], mmap_mode="r", allow_pickle=False)
        offsets = np.arange(0, settings.span, settings.frame_step)
        yield frames[np.array(starts[first:last])[:, None] + offsets]
        first = last


def frame_differences(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute difference in [0, 1] of each of the frames (F, C, H, W) from the next: (F - 1,)."""
    pairs = itertools.pairwise(frames)
    return np.array([np.abs(after.astype(np.int16) - before).mean() / 255 for before, after in pairs], np.float64)


def find_cuts(differences: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Where a difference is at least ``threshold`` and three times its neighbours; fast motion lasts longer."""
    around = np.maximum(np.append(0, differences[:-1]), np.append(differences[1:], 0))
    return np.asarray((differences >= threshold) & (differences >= 3 * around))


def _passed_over(
    frames: NDArray[np.uint8], starts: NDArray[np.int64], settings: "FootageSettings"
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which windows lack motion, and which contain a cut."""
    none = np.zeros(len(starts), np.bool_)
    if not settings.least_motion and settings.cut_threshold is None:
        return none, none
    differences = frame_differences(frames)

    def within(values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sum over the differences inside each window."""
        total = np.append(0, np.cumsum(values, dtype=np.float64))
        return np.asarray(total[starts + settings.span - 1] - total[starts])

    across = none if settings.cut_threshold is None else within(find_cuts(differences, settings.cut_threshold)) > 0
    return within(differences) / (settings.span - 1) < settings.least_motion, across


def _parts(frames: int, settings: "FootageSettings") -> list[tuple[str, int, int]]:
    """Parts of a recording, as (split, first frame, one after the last); one part, unless they are split by time."""
    if settings.split_by != "time":
        return [("", 0, frames)]
    # A part that is not empty has room for at least one clip.
    test = frames - max(settings.span, round(settings.test_share * frames))
    validation = test - max(settings.span, round(settings.validation_share * frames))
    return [("train", 0, validation), ("validation", max(validation, 0), test), ("test", test, frames)]


def _split_whole(names: pd.Series, settings: "FootageSettings") -> pd.Series:
    """Put each recording, with all its crops, into one split, in an order that the names alone decide."""
    order = sorted(names.unique(), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if settings.split_by == "folder":
        tests = [name for name in order if "test" in name.casefold().split("/")[:-1]]
        validations = max(1, round(settings.validation_share * (len(order) - len(tests))))
        if not tests:
            raise InputError(
                f"no recording in {settings.raw_folder} that can be used lies in a folder called Test, as split_by "
                "folder asks for; add one, or set split_by to video or time."
            )
    else:
        tests = order[: max(1, round(settings.test_share * len(order)))]
        validations = max(1, round(settings.validation_share * len(order)))
    others = [name for name in order if name not in set(tests)]
    if len(others) < validations + 1:
        raise InputError(
            f"there are clips of {len(order)} recordings in {settings.raw_folder}, too few to put whole ones into "
            "train, validation and test; add some, or set split_by to time."
        )
    parts = dict.fromkeys(tests, "test") | dict.fromkeys(others, "train")
    return names.map(parts | dict.fromkeys(others[:validations], "validation"))

"""Footage in which some frames of the test videos are anomalous, in the layout of UCSD's pedestrians (Ped1 and Ped2).

``Train/Train001/001.tif`` and so on show nothing out of the ordinary. For each of ``Test/Test001``, a folder
``Test/Test001_gt`` holds a mask for each frame, and a frame is anomalous if its mask has a pixel that is not black. Or
a file ``Test/*.m`` names the anomalous frames, counted from 1, in a line for each test video.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import ClipStream, Made
from linear_video.clips.extraction import extract, quiet_opencv
from linear_video.clips.footage import FootageSettings
from linear_video.clips.readers.recordings import TRUTH_SUFFIX, natural_order, reading
from linear_video.clips.windows import cut
from linear_video.common.errors import InputError, shown
from linear_video.common.images import read_picture
from linear_video.common.limits import read_bounded

PIECE = 64  # frames in memory at once
MASK_SUFFIX = ".bmp"
INTERVAL = r"\d{1,6}(?::\d{1,6})?"
VIDEO_LINE = re.compile(rf"TestVideoFile\{{end\+1\}}\.gt_frame=\[({INTERVAL}(?:,{INTERVAL})*)\];?")
FIRST_LINE = re.compile(r"TestVideoFile=\{\};?")


@dataclass(frozen=True)
class AnomaliesSettings(FootageSettings):
    """Footage that is split by its folders, with labels for each frame of the test videos."""

    labels_anomalies: ClassVar[bool] = True
    where_to_get: ClassVar[str] = (
        "Unpack UCSD's pedestrians (http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm) there, such that it holds "
        "Train and Test, or a folder with both"
    )

    frame_size: tuple[int, int] = (64, 96)
    least_motion: float = 0.0
    cut_threshold: float | None = None
    split_by: Literal["video", "time", "folder"] = "folder"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split_by != "folder":
            raise ValueError(f"split_by must be folder where frames are labelled, not {self.split_by}.")
        if self.crops > 1:
            raise ValueError(f"crops must be 1, not {self.crops}: labels are of whole frames.")

    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Read every recording once into ``folder``, cut the clips, and read the labels of the test videos."""
        hint = f"{self.where_to_get}; or name another folder with --params={name}.raw_folder=..."
        recordings = extract(self, folder, hint)
        clips, sources = cut(recordings, folder, self)
        tests = recordings[(recordings["reason"] == "") & recordings["source"].isin(clips["test"].table["source"])]
        return Made(clips, sources, labelled_videos(tests, folder, self))


def labelled_videos(recordings: pd.DataFrame, folder: Path, settings: FootageSettings) -> ClipStream:
    """All frames of recordings that ``extract`` has left in ``folder``, as ``Made.videos``.

    Every ``frame_step``-th frame is taken, as for clips.

    Raises:
        InputError: if the labels of a recording are missing, or do not fit its frames.
    """
    tables = []
    with quiet_opencv():
        for row in recordings.to_dict("records"):
            labels = frame_labels(Path(settings.raw_folder) / row["source"], row["frames"])
            facts = {"source": row["source"], "label": row["label"], "start": range(row["frames"])}
            tables.append(pd.DataFrame(facts).assign(anomalous=labels)[:: settings.frame_step])
    files = [folder / file for file in recordings["file"]]
    shape = (1, settings.channels, *settings.frame_size)
    return ClipStream(pd.concat(tables, ignore_index=True), shape, partial(_pieces, files, settings.frame_step))


def _pieces(files: list[Path], step: int) -> Iterator[NDArray[np.uint8]]:
    for file in files:
        frames = np.load(file, mmap_mode="r", allow_pickle=False)[::step]
        for first in range(0, len(frames), PIECE):
            yield np.asarray(frames[first : first + PIECE, None])


def frame_labels(video: Path, frames: int) -> NDArray[np.bool_]:
    """Which frames of a test video are anomalous, by its masks; without masks, by the text beside it: (frames,).

    Raises:
        InputError: if there is neither, or it does not fit the number of frames.
    """
    masks = video.with_name(video.name + TRUTH_SUFFIX)
    if masks.is_dir():
        return _labels_of_masks(masks, frames)
    texts = sorted(path for path in video.parent.glob("*.m") if not path.name.startswith("."))
    if len(texts) != 1:
        raise InputError(
            f"{video} has no labels: there must be a folder {masks.name} with a mask for each frame, or one file *.m "
            f"beside it that names the anomalous frames, but there are {len(texts)}."
        )
    videos = sorted((path.name for path in video.parent.iterdir() if _is_video(path)), key=natural_order)
    intervals = read_intervals(texts[0])
    if len(intervals) != len(videos):
        raise InputError(f"{texts[0]} names the frames of {len(intervals)} videos, but {len(videos)} lie beside it.")
    labels = np.zeros(frames, np.bool_)
    if video.name not in videos:
        raise InputError(
            f"{texts[0]} names the frames of folders, but {video} is a file; put its frames into a folder."
        )
    for first, last in intervals[videos.index(video.name)]:
        if last > frames:
            raise InputError(f"{texts[0]} names frame {last} of {video.name}, which has {frames} frames.")
        labels[first - 1 : last] = True
    return labels


def _is_video(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and not path.name.endswith(TRUTH_SUFFIX)


def _labels_of_masks(folder: Path, frames: int) -> NDArray[np.bool_]:
    paths = [path for path in folder.iterdir() if path.suffix.lower() == MASK_SUFFIX and not path.name.startswith(".")]
    if len(paths) != frames:
        raise InputError(
            f"{folder} holds {len(paths)} masks ({MASK_SUFFIX}) for {frames} frames; complete it, or remove it so that "
            "the file *.m beside it counts."
        )
    labels = []
    for path in sorted(paths, key=lambda path: natural_order(path.name)):
        mask = read_picture(path, cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise InputError(f"{path} cannot be read as a picture; repair it, or remove the folder.")
        labels.append(bool(mask.any()))
    return np.array(labels)


def read_intervals(path: Path) -> list[list[tuple[int, int]]]:
    """First and last anomalous frames, counted from 1, in the order of the videos, from UCSD's text in MATLAB.

    Its lines are ``TestVideoFile = {};``, then one for each video: ``TestVideoFile{end+1}.gt_frame = [5:90, 140:200];``
    Nothing is executed.

    Raises:
        InputError: if the text says anything else, or an interval is empty.
    """
    with reading():
        lines = read_bounded(path).decode("latin-1").splitlines()
    found: list[list[tuple[int, int]]] = []
    for number, line in enumerate(lines, 1):
        content = re.sub(r"(?<=\d)\s*[,\s]\s*(?=\d)", ",", line.partition("%")[0])  # MATLAB separates by either
        content = re.sub(r"\s+", "", content)
        if not content or (not found and FIRST_LINE.fullmatch(content)):
            continue
        match = VIDEO_LINE.fullmatch(content)
        parts = [part.partition(":") for part in match[1].split(",")] if match else []
        intervals = [(int(first), int(last or first)) for first, _, last in parts]
        if not intervals or not all(1 <= first <= last for first, last in intervals):
            raise InputError(
                f"{path}, line {number}: {shown(line.strip())} names no frames; a line for each video must look like "
                "TestVideoFile{end+1}.gt_frame = [60:152];"
            )
        found.append(intervals)
    return found

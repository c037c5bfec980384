"""How anomalous each frame of whole videos is: by a model's surprise, and by what anybody has without a model."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from linear_video.clips.base import ClipSet
from linear_video.tasks import references
from linear_video.tasks.alarms import forecast_error, ordinary_errors
from linear_video.tasks.parts import Frame, difference, to_values
from linear_video.tasks.trained import TrainedModel

COLUMNS = ["source", "frame", "anomalous", "forecast_error", "likelihood_bits", "frame_difference", "optical_flow"]


def watch(trained: TrainedModel, videos: ClipSet, ordinary: NDArray[np.uint8], horizon: int) -> pd.DataFrame:
    """A table of ``COLUMNS``, a row for each frame of the videos.

    ``forecast_error`` is the worst of a frame's forecasts in multiples of the ordinary error, ``likelihood_bits`` the
    bits per value, NaN for a model without a likelihood, ``frame_difference`` the mean absolute difference from the
    frame before, and ``optical_flow`` the mean squared error of the frame that optical flow predicts from the two
    frames before it.

    Args:
        trained: the model.
        videos: as ``Made.videos`` has them.
        ordinary: clips (N, T, C, H, W) without anomalies, from which it is learned how wrong forecasts ordinarily are.
        horizon: frames ahead of which forecasts are made, at most.
    """
    usual = ordinary_errors([trained.surprise(as_frames(clip), horizon) for clip in ordinary])
    tables = []
    groups = videos.table.groupby("source", sort=False).indices
    for source, rows in tqdm(groups.items(), desc="watching", unit="video", mininterval=1):
        rows = np.sort(rows)
        frames, facts = as_frames(videos.frames[rows, 0]), videos.table.iloc[rows]
        surprises = trained.surprise(frames, horizon)
        columns = {
            "source": source,
            "frame": facts["start"].to_numpy(),
            "anomalous": facts["anomalous"].to_numpy(),
            "forecast_error": forecast_error(surprises.errors, usual),
            "likelihood_bits": surprises.likelihood,
            "frame_difference": [np.nan, *map(difference, frames[:-1], frames[1:])],
            "optical_flow": flow_errors(frames),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def as_frames(clip: NDArray[np.uint8]) -> list[Frame]:
    """A clip (T, C, H, W) as frames (H, W, C)."""
    return list(np.ascontiguousarray(clip.transpose(0, 2, 3, 1)))


def flow_errors(frames: Sequence[Frame]) -> list[float]:
    """Mean squared error of each frame as optical flow predicts it; NaN for the first two."""
    values = [to_values(frame) for frame in frames]
    errors = [
        float(np.square(references.optical_flow(values[t - 2 : t], 1)[0] - values[t]).mean())
        for t in range(2, len(values))
    ]
    return [np.nan, np.nan, *errors][: len(frames)]

"""How well anomalous frames are told from others, as the field measures it: the area under the ROC curve of frames.

Scores of frames are a table, a row for each frame of whole videos: ``source`` (the video), ``frame`` (its number in
the video), ``anomalous`` (bool), and a column for each kind of score, NaN where a frame has too few others before it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from linear_video.common.spread import spread
from linear_video.evaluation.figures import COLOURS

OWN = {"forecast_error": "forecast error", "likelihood_bits": "likelihood"}  # scores of the model, and their names
REFERENCES = {"frame_difference": "frame difference", "optical_flow": "error of optical flow"}  # of no model
AREAS = {"auroc": "AUROC, all frames", "auroc_of_videos": "mean over videos", "auroc_unscaled": "all, not scaled"}
SHOWN = 6  # videos in a figure, at most


def auroc(anomalous: NDArray[np.bool_], values: NDArray[np.float64]) -> float | None:
    """Probability that an anomalous frame scores higher than an ordinary one; None where there are none of either."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(anomalous, values)) if 0 < anomalous.sum() < len(anomalous) else None


def scaled(table: pd.DataFrame, score: str) -> pd.Series:
    """A score in [0, 1] within each video, from its least to its greatest value; 0 where all are equal."""
    by_video = table.groupby("source", sort=False)[score]
    least, greatest = by_video.transform("min"), by_video.transform("max")
    return (table[score] - least) / (greatest - least).where(greatest > least, 1.0)


def scored_frames(table: pd.DataFrame) -> pd.DataFrame:
    """The frames that every score of the table knows, without scores that know no frame at all."""
    kept = table.dropna(axis="columns", how="all")
    return kept.dropna().reset_index(drop=True)


def score_anomalies(table: pd.DataFrame) -> dict[str, Any]:
    """The body of ``anomalies`` in ``scores.json``: counts, and for each score three areas under the ROC curve.

    ``auroc`` is that of all frames together, each video scaled to [0, 1] before; ``auroc_of_videos`` the mean over the
    videos that have frames of both kinds; ``auroc_unscaled`` that of all frames together as they are, which is what an
    alarm would have, since nobody knows the greatest value of a video before its end. All scores are compared on the
    same frames. An area is None where all frames are of one kind.
    """
    frames = scored_frames(table)
    scores = {}
    for score in (name for name in (*OWN, *REFERENCES) if name in frames):
        values = scaled(frames, score)
        areas = [
            auroc(frames.loc[rows, "anomalous"].to_numpy(), values[rows].to_numpy())
            for rows in frames.groupby("source", sort=False).groups.values()
        ]
        known = [area for area in areas if area is not None]
        anomalous = frames["anomalous"].to_numpy()
        scores[score] = {
            "auroc": auroc(anomalous, values.to_numpy()),
            "auroc_of_videos": float(np.mean(known)) if known else None,
            "auroc_unscaled": auroc(anomalous, frames[score].to_numpy()),
        }
    return {
        "videos": int(table["source"].nunique()),
        "frames": len(frames),
        "anomalous_frames": int(frames["anomalous"].sum()),
        "scores": scores,
    }


def intro(anomalies: Mapping[str, Any]) -> str:
    """What a reader has to know of the areas."""
    return (
        f"Anomalies: {anomalies['anomalous_frames']:,} of {anomalies['frames']:,} frames in {anomalies['videos']} test "
        "videos are anomalous. The area under the ROC curve is 1 for a score that is higher in every anomalous frame "
        "than in any other, and 0.5 for chance. Scores are scaled to [0, 1] within each video, from its least to its "
        "greatest value; the last column is without that."
    )


def as_table(anomalies: Mapping[str, Any], model: str) -> pd.DataFrame:
    """A row for each score: the model's, then those of the references."""
    names = {name: f"{model}: {shown}" for name, shown in OWN.items()} | REFERENCES
    rows = [
        {"anomaly score": names[name]}
        | {title: "" if areas[area] is None else f"{areas[area]:.3f}" for area, title in AREAS.items()}
        for name, areas in anomalies["scores"].items()
    ]
    return pd.DataFrame(rows)


def anomalies_plot(table: pd.DataFrame, model: str) -> Figure:
    """Some videos, spread over all: each score over the time, scaled within the video; anomalous frames are shaded."""
    frames = scored_frames(table)
    videos = [str(name) for name in frames["source"].unique()]
    chosen = [videos[number] for number in spread(SHOWN, len(videos))]
    figure = Figure(figsize=(11, 1.5 * len(chosen) + 0.8), layout="constrained")
    lines = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
    names = {name: f"{model}: {shown}" for name, shown in OWN.items()} | REFERENCES
    values = frames.assign(**{name: scaled(frames, name) for name in names if name in frames})
    for axis, video in zip(lines, chosen, strict=True):
        rows = values[values["source"] == video]
        for first, last in _intervals(rows):
            axis.axvspan(first - 0.5, last + 0.5, color="#e69f00", alpha=0.25, linewidth=0)
        for colour, (name, shown) in zip(COLOURS, names.items(), strict=False):
            if name in rows:
                width, strength = (1.6, 1.0) if name in OWN else (0.9, 0.7)
                axis.plot(rows["frame"], rows[name], color=colour, label=shown, linewidth=width, alpha=strength)
        axis.set_title(video, fontsize=8, loc="left", parse_math=False)  # $ may be in a name
        axis.set(xlim=(rows["frame"].min() - 0.5, rows["frame"].max() + 0.5), yticks=(0, 1))
        axis.grid(alpha=0.3)
    axis.set_xlabel("frame")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


def _intervals(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """First and last frame of each run of anomalous frames."""
    edges = np.diff(np.concatenate(([0], rows["anomalous"].to_numpy(np.int8), [0])))
    numbers = rows["frame"].to_numpy()
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [(int(numbers[first]), int(numbers[last])) for first, last in zip(firsts, lasts, strict=True)]

"""Areas under the ROC curve of frames, recomputed by counting pairs."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from linear_video.evaluation.anomalies import (
    anomalies_plot,
    as_table,
    auroc,
    scaled,
    score_anomalies,
    scored_frames,
)


def counted(anomalous: Any, values: Any) -> float:
    """The share of pairs in which the anomalous frame scores higher; ties count half."""
    pairs = list(itertools.product(np.asarray(values)[anomalous], np.asarray(values)[~np.asarray(anomalous)]))
    return float(np.mean([(high > low) + 0.5 * (high == low) for high, low in pairs]))


def watched(**videos: list[bool]) -> pd.DataFrame:
    """Scores that know something of the labels, each video in a range of its own; two frames are not known."""
    random, tables = np.random.default_rng(0), []
    for number, (source, labels) in enumerate(videos.items()):
        values = (1 + 3 * number) * (np.array(labels) + random.normal(size=len(labels))) + 10 * number
        values[:2] = np.nan
        table = pd.DataFrame({"source": source, "frame": range(len(labels)), "anomalous": labels})
        tables.append(
            table.assign(
                forecast_error=values,
                likelihood_bits=np.nan,
                frame_difference=random.random(len(labels)),
                optical_flow=np.round(values),
            )
        )
    return pd.concat(tables, ignore_index=True)


LABELS = {"a": [False] * 12 + [True] * 8, "b": [False] * 5 + [True] * 10 + [False] * 5, "all": [True] * 9}


def test_areas_are_shares_of_pairs() -> None:
    table = watched(**LABELS)
    found = score_anomalies(table)
    assert (found["videos"], found["frames"], found["anomalous_frames"]) == (3, 18 + 18 + 7, 8 + 10 + 7)
    assert list(found["scores"]) == ["forecast_error", "frame_difference", "optical_flow"]  # no likelihood is known
    known = table[table["frame"] >= 2]
    for score, areas in found["scores"].items():
        parts = dict(iter(known.groupby("source")))
        units = [
            (rows[score] - rows[score].min()) / (rows[score].max() - rows[score].min())
            for rows in (parts[source] for source in LABELS)
        ]
        labels = np.concatenate([parts[source]["anomalous"] for source in LABELS])
        assert areas["auroc"] == pytest.approx(counted(labels, np.concatenate(units)))
        assert areas["auroc_unscaled"] == pytest.approx(counted(known["anomalous"].to_numpy(), known[score]))
        alone = [counted(parts[source]["anomalous"].to_numpy(), parts[source][score]) for source in ("a", "b")]
        assert areas["auroc_of_videos"] == pytest.approx(np.mean(alone))  # "all" has no ordinary frame


def test_scores_are_compared_on_the_frames_that_all_of_them_know() -> None:
    table = watched(**LABELS)
    table.loc[5, "optical_flow"] = np.nan
    assert 5 not in scored_frames(table)["frame"].iloc[:18].tolist()
    assert len(scored_frames(table)) == 18 + 18 + 7 - 1


def test_where_all_frames_are_of_one_kind_there_is_no_area() -> None:
    found = score_anomalies(watched(all=[True] * 9))
    assert set(found["scores"]["forecast_error"].values()) == {None}
    assert auroc(np.zeros(4, bool), np.arange(4.0)) is None
    assert as_table(found, "ile").iloc[0].tolist() == ["ile: forecast error", "", "", ""]


def test_a_score_that_never_changes_in_a_video_is_0_there() -> None:
    table = pd.DataFrame({"source": ["a", "a", "b", "b"], "forecast_error": [3.0, 3.0, 1.0, 5.0]})
    assert scaled(table, "forecast_error").tolist() == [0, 0, 0, 1]


def test_the_table_names_the_model_and_what_is_without_one() -> None:
    table = as_table(score_anomalies(watched(**LABELS)), "dynamic vae")
    names = table["anomaly score"].tolist()
    assert names == ["dynamic vae: forecast error", "frame difference", "error of optical flow"]
    area = score_anomalies(watched(**LABELS))["scores"]["frame_difference"]["auroc"]
    assert table.iloc[1, 1] == f"{area:.3f}"


def test_the_picture_shades_the_anomalous_frames_of_each_video() -> None:
    figure = anomalies_plot(watched(**LABELS), "ile")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b", "all"]
    shaded = [
        [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axis.patches]  # type: ignore[attr-defined]
        for axis in figure.axes
    ]
    assert shaded == [[(11.5, 19.5)], [(4.5, 14.5)], [(1.5, 8.5)]]
    for axis in figure.axes:
        assert len(axis.lines) == 3
        for line in axis.lines:
            assert (np.min(line.get_ydata()), np.max(line.get_ydata())) == (0, 1)


def test_of_many_videos_some_are_drawn() -> None:
    figure = anomalies_plot(watched(**{f"v{k}": LABELS["a"] for k in range(20)}), "ile")
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert (len(titles), titles[0], titles[-1]) == (6, "v0", "v19")

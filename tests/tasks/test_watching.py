"""How anomalous frames are, by a model whose forecasts are known: the last frame."""

import cv2
import numpy as np
import pandas as pd
import pytest

from linear_video.clips.base import ClipSet
from linear_video.models.last_frame import LastFrame, LastFrameSettings
from linear_video.tasks.trained import TrainedModel
from linear_video.tasks.watching import COLUMNS, flow_errors, watch

HORIZON, CONTEXT = 2, 3


def shifted(distance: float, size: int = 48) -> np.ndarray:
    """A smooth texture that has moved to the right by so many pixels."""
    values = cv2.GaussianBlur(np.random.default_rng(3).normal(size=(size, size + 40)), (0, 0), 3)
    move = np.array([[1, 0, distance - 20], [0, 1, 0]], float)
    moved = cv2.warpAffine(values, move, (size, size), flags=cv2.INTER_CUBIC)
    return np.rint(np.clip(127 + 600 * moved, 0, 255)).astype(np.uint8)


@pytest.fixture
def videos() -> ClipSet:
    """Two videos, of which the second comes to a sudden stop."""
    tables, frames = [], []
    for source, length, stop in (("a", 9, 99), ("b", 12, 8)):
        frames += [shifted(min(t, stop)) for t in range(length)]
        facts = {"source": source, "label": "x", "start": range(length)}
        tables.append(pd.DataFrame(facts).assign(anomalous=np.arange(length) > stop))
    return ClipSet(np.stack(frames)[:, None, None], pd.concat(tables, ignore_index=True))


def test_every_score_is_what_it_is_called(videos: ClipSet) -> None:
    trained = TrainedModel(LastFrame((1, 48, 48), LastFrameSettings()), {"model": "last_frame"}, context=CONTEXT)
    ordinary = np.stack([shifted(t) for t in range(7)])[None, :, None]  # one clip
    table = watch(trained, videos, ordinary, HORIZON)
    assert list(table) == COLUMNS
    assert table["frame"].tolist() == [*range(9), *range(12)]
    assert table["anomalous"].tolist() == videos.table["anomalous"].tolist()
    assert table["likelihood_bits"].isna().all()

    def error(clip: np.ndarray, t: int, lead: int) -> float:
        return float(np.square(clip[t] - clip[t - lead]).mean())

    usual_clip = ordinary[0, :, 0] / 255
    usual = [np.mean([error(usual_clip, t, lead) for t in range(CONTEXT + HORIZON - 1, 7)]) for lead in (1, 2)]
    for source, rows in table.groupby("source"):  # as if the other were not there
        clip = videos.frames[videos.table["source"] == source][:, 0, 0] / 255
        expected = [
            max(error(clip, t, lead) / usual[lead - 1] for lead in (1, 2)) if t >= CONTEXT + HORIZON - 1 else np.nan
            for t in range(len(clip))
        ]
        assert rows["forecast_error"].tolist() == pytest.approx(expected, rel=1e-4, nan_ok=True)
        changes = [np.nan, *(np.abs(clip[t] - clip[t - 1]).mean() for t in range(1, len(clip)))]
        assert rows["frame_difference"].tolist() == pytest.approx(changes, nan_ok=True)


def test_optical_flow_errs_where_motion_changes_and_not_where_it_goes_on() -> None:
    errors = flow_errors([shifted(min(t, 8))[..., None] for t in range(14)])
    assert np.isnan(errors[:2]).all()
    assert len(errors) == 14
    still = np.square((shifted(5.0) - shifted(4.0).astype(float)) / 255).mean()
    assert max(errors[2:9]) < 0.3 * still  # the edge is not known
    assert errors[9] > 3 * max(errors[2:9])  # it stands still, and was expected to go on
    assert max(errors[11:]) < 1e-3 * still
    assert len(flow_errors([shifted(0)[..., None]])) == 1

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.predictions import predict_clips
from linear_video.models.registry import build


def numbered_clips(count: int, length: int = 6) -> np.ndarray:
    """Frame t of clip i is i + t everywhere."""
    values = np.arange(count)[:, None] + np.arange(length)
    return np.broadcast_to(values[..., None, None, None], (count, length, 1, 2, 2)).astype(np.uint8)


@given(st.integers(1, 500), st.integers(1, 500))
def test_scored_clips_are_different_and_spread_from_the_first_to_the_last(clips: int, wanted: int) -> None:
    chosen = EvaluationSettings(sequences=wanted).scored(clips)
    assert len(chosen) == min(clips, wanted)
    assert chosen[0] == 0
    gaps = np.diff(chosen)
    if len(chosen) > 1:
        assert chosen[-1] == clips - 1
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_the_last_frame_of_the_context_of_each_scored_clip_is_predicted() -> None:
    settings = EvaluationSettings(context=4, horizon=2, sequences=3, clips_per_batch=2)
    predicted = predict_clips(build("last_frame", (1, 2, 2), {}), numbered_clips(9), settings)
    assert predicted.shape == (3, 2, 1, 2, 2)
    assert torch.from_numpy(255 * predicted[:, :, 0, 0, 0]).round().tolist() == [[3, 3], [7, 7], [11, 11]]


def test_all_clips_are_predicted_where_there_are_fewer_than_asked_for() -> None:
    settings = EvaluationSettings(context=4, horizon=1, sequences=100)
    assert len(predict_clips(build("last_frame", (1, 2, 2), {}), numbered_clips(5), settings)) == 5


def test_clips_that_are_too_short_are_refused() -> None:
    settings = EvaluationSettings(context=4, horizon=3)
    with pytest.raises(InputError, match=r"have 6 frames, but context 4 \+ horizon 3 need 7"):
        predict_clips(build("last_frame", (1, 2, 2), {}), numbered_clips(5), settings)


def test_each_clip_is_predicted_under_its_own_actions() -> None:
    torch.manual_seed(0)
    settings = {
        "dynamics": "dense",
        "state_dimension": 4,
        "blocks": 1,
        "couplings": 1,
        "hidden_channels": 2,
        "actions": 2,
        "first_squeezes": 1,
    }
    model: Any = build("ile", (1, 2, 2), settings).eval()
    with torch.no_grad():
        model.prior.control.normal_()
    clips = np.random.default_rng(0).integers(0, 256, (9, 6, 1, 2, 2), dtype=np.uint8)
    actions = np.random.default_rng(1).standard_normal((9, 6, 2)).astype(np.float32)
    chosen = EvaluationSettings(context=3, horizon=2, sequences=4, clips_per_batch=3)
    predicted = predict_clips(model, clips, chosen, actions)
    assert len(predicted) == 4
    for row, number in enumerate(chosen.scored(9)):
        context = torch.from_numpy(clips[number : number + 1, :3]).float() / 255
        expected = model.predict(context, 2, actions=torch.from_numpy(actions[number : number + 1, :5]))
        np.testing.assert_allclose(predicted[row], expected[0].numpy(), atol=1e-6)
    assert np.abs(predicted - predict_clips(model, clips, chosen)).max() > 1e-3

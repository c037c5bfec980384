"""Settings are chosen on validation clips: what is scored then must not be the test clips."""

import numpy as np
import pandas as pd
import pytest
import torch

from linear_video.clips.base import ClipSet
from linear_video.io.models import Checkpoint
from linear_video.models.last_frame import LastFrame
from linear_video.models.settings import LastFrameSettings
from linear_video.models.spectrum import spectrum_of
from linear_video.pipelines.prediction import nodes as prediction
from linear_video.pipelines.synthesis import nodes as synthesis

SHAPE = (1, 8, 8)


class Stays(LastFrame):
    """Shows the first frame for ever."""

    def synthesise(self, start, frames, seed, noise_scale):
        return start[:, :1].expand(-1, frames, *start.shape[2:])

    def spectrum(self):
        return spectrum_of(torch.ones(1, dtype=torch.complex128))


def clips_of(grey):
    """Two turns of 5 views and the first again, all of one colour but for a moving dot."""
    frames = np.full((2, 6, *SHAPE), grey, np.uint8)
    for view in range(6):
        frames[:, view, :, view % 5, 3] = 255
    return ClipSet(frames, pd.DataFrame({"source": ["a", "b"]}))


CLIPS = {"validation": clips_of(50), "test": clips_of(200)}
HELD_OUT = {f"{split}_clips": clips for split, clips in CLIPS.items()}
CHECKPOINT = Checkpoint(Stays(SHAPE, LastFrameSettings()), {"frame_shape": SHAPE})
NAMES = {"model_name": "stays", "dataset": "dots"}


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_predictions_are_of_the_chosen_clips_and_scored_against_them(held_out):
    evaluation = {"context": 3, "horizon": 2, "sequences": 2, "clips_per_batch": 2, "held_out": held_out}
    predictions, facts = prediction.predict(CHECKPOINT, **HELD_OUT, evaluation=evaluation, **NAMES)
    assert facts["held_out"] == held_out
    np.testing.assert_allclose(predictions[:, 1], CLIPS[held_out].frames[:, 2] / 255, atol=1e-6)
    scores = prediction.evaluate(predictions, clips_of(0), **HELD_OUT, evaluation=evaluation, **NAMES)
    assert scores["held_out"] == held_out
    assert scores["psnr"] == pytest.approx(scores["last_frame"]["psnr"])


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_sequences_start_from_the_chosen_clips_and_are_scored_against_them(held_out):
    evaluation = {"context": 3, "horizon": 2, "sequences": 2, "clips_per_batch": 2, "held_out": held_out}
    settings = {"sequences": 2, "frames": 5, "noise_scale": 0.0, "spread_starts": False}
    shown, starts = synthesis.synthesise(CHECKPOINT, **HELD_OUT, synthesis=settings, evaluation=evaluation, seed=0)
    np.testing.assert_array_equal(shown[:, 4], CLIPS[held_out].frames[:, 0])
    texture = synthesis.score_textures(CHECKPOINT, shown, **HELD_OUT, evaluation=evaluation, **NAMES)
    rotation = synthesis.score_rotation(CHECKPOINT, shown, starts, **HELD_OUT, evaluation=evaluation, **NAMES)
    assert texture["held_out"] == rotation["held_out"] == held_out
    assert texture["synthesis"]["late_mean"] == pytest.approx(1)
    assert rotation["synthesis"]["turn_psnr"] > 15  # against the other clips: below 5 dB

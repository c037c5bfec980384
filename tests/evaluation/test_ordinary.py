"""The ordinary scores of a model, against their definition."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from linear_video.evaluation.ordinary import ordinary
from linear_video.models.base import HasLikelihood
from linear_video.models.last_frame import LastFrame
from linear_video.models.optical_flow import OpticalFlow
from linear_video.models.registry import build

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 4, 1, 5, 4), dtype=np.uint8)


@dataclass(frozen=True)
class Nothing:
    """No settings."""


class Brightness(HasLikelihood):
    """A model for which a frame is as unlikely as it is bright."""

    settings_class = Nothing

    def predict(self, context: Tensor, horizon: int) -> Tensor:
        return context[:, -1:].expand(-1, horizon, -1, -1, -1)

    def surprise(self, clips: Tensor, past: int) -> Tensor:
        assert past == clips.shape[1] - 1
        return clips.mean((2, 3, 4))


def test_psnr_is_that_of_the_last_frame_given_the_others() -> None:
    found = ordinary(build("last_frame", (1, 5, 4), LastFrame.settings_class()), FRAMES)
    expected = [peak_signal_noise_ratio(clip[-1], clip[-2]) for clip in FRAMES]
    assert found["psnr"] == pytest.approx([min(expected), max(expected)], abs=1e-4)
    assert found["mean_psnr"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert found["bits_per_value"] is None


def test_bits_are_nats_of_grey_levels() -> None:
    found = ordinary(Brightness((1, 5, 4), Nothing()), FRAMES)
    brightness = FRAMES[:, -1].mean(axis=(1, 2, 3)) / 255
    bits = brightness / np.log(2) + np.log2(255)
    assert found["bits_per_value"] == pytest.approx([bits.min(), bits.max()], abs=1e-4)


def test_of_many_clips_some_are_looked_at() -> None:
    frames = np.zeros((1000, 2, 1, 2, 2), np.uint8)
    frames[-1, 1] = 255  # the last one is among them
    psnr = ordinary(build("last_frame", (1, 2, 2), LastFrame.settings_class()), frames)["psnr"]
    assert psnr == pytest.approx([0, 100])


def test_clips_too_short_for_a_model_tell_nothing() -> None:
    flow = build("optical_flow", (1, 16, 16), OpticalFlow.settings_class())
    assert ordinary(flow, np.zeros((3, 2, 1, 16, 16), np.uint8)) == {
        "psnr": None,
        "mean_psnr": None,
        "bits_per_value": None,
    }


def test_what_is_not_finite_is_not_known() -> None:
    class Broken(Brightness):
        def surprise(self, clips: Tensor, past: int) -> Tensor:
            return torch.full(clips.shape[:2], torch.nan)

    assert ordinary(Broken((1, 5, 4), Nothing()), FRAMES)["bits_per_value"] is None

"""Settings are chosen on validation clips: what is scored then must not be the test clips."""

import io
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import Tensor

from linear_video.clips.base import ClipSet, DatasetSettings
from linear_video.clips.footage import TextureSettings
from linear_video.clips.rotation import RotationSettings
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.judges import SynthesisSettings
from linear_video.evaluation.linearity import linearization
from linear_video.io.models import Checkpoint
from linear_video.models.base import Synthesises
from linear_video.models.last_frame import LastFrame, LastFrameSettings
from linear_video.models.lds import LdsSettings, LinearDynamicSystem
from linear_video.pipelines.prediction import nodes as prediction
from linear_video.pipelines.synthesis import nodes as synthesis

SHAPE = (1, 8, 8)
HeldOut = Literal["validation", "test"]


class Stays(LastFrame, Synthesises):
    """A model that repeats the first frame."""

    def synthesise(self, start: Tensor, frames: int, seed: int = 0, noise_scale: float = 1.0) -> Tensor:
        return start[:, :1].expand(-1, frames, *start.shape[2:])

    def steadiness(self) -> dict[str, float]:
        return {"spectral_radius": 1.0}


def clips_of(grey: int) -> ClipSet:
    """Two turns of 5 views and the first again, in one colour except for a moving dot."""
    frames = np.full((2, 6, *SHAPE), grey, np.uint8)
    for view in range(6):
        frames[:, view, :, view % 5, 3] = 255
    return ClipSet(frames, pd.DataFrame({"source": ["a", "b"]}))


CLIPS = {"validation": clips_of(50), "test": clips_of(200)}
CHECKPOINT = Checkpoint(Stays(SHAPE, LastFrameSettings()), {})


def evaluation(held_out: HeldOut) -> EvaluationSettings:
    return EvaluationSettings(context=3, horizon=2, sequences=2, clips_per_batch=2, held_out=held_out)


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_predictions_are_of_the_chosen_clips_and_scored_against_them(held_out: HeldOut) -> None:
    settings, both = evaluation(held_out), (CLIPS["validation"], CLIPS["test"])
    predictions, facts = prediction.predict(CHECKPOINT, clips_of(0), *both, settings, "stays", "dots")
    assert facts["held_out"] == held_out
    np.testing.assert_allclose(predictions[:, 1], CLIPS[held_out].frames[:, 2] / 255, atol=1e-6)
    scores = prediction.evaluate(predictions, facts, clips_of(0), *both, settings, "stays", "dots")
    assert scores["held_out"] == held_out
    assert scores["bits_per_value"] is None  # the last frame has no likelihood
    assert scores["psnr"] == pytest.approx(scores["last_frame"]["psnr"])


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_test_videos_are_watched_only_where_the_test_is_held_out(held_out: HeldOut) -> None:
    frames = clips_of(0).frames.reshape(-1, 1, *SHAPE)
    table = pd.DataFrame({"source": "a", "start": range(len(frames)), "anomalous": [False] * 6 + [True] * 6})
    settings, both = evaluation(held_out), (CLIPS["validation"], CLIPS["test"])
    watched = prediction.watch(CHECKPOINT, CLIPS["validation"], ClipSet(frames, table), settings)
    assert len(watched) == (len(frames) if held_out == "test" else 0)
    predictions, facts = prediction.predict(CHECKPOINT, clips_of(0), *both, settings, "stays", "dots")
    scores = prediction.evaluate(predictions, facts, clips_of(0), *both, settings, "stays", "dots", watched)
    assert ("anomalies" in scores) == (held_out == "test")


def test_the_code_of_a_model_with_linear_states_is_scored_and_shown_on_the_chosen_clips() -> None:
    model = LinearDynamicSystem(SHAPE, LdsSettings(2))
    model.fit_closed_form(CLIPS["test"].frames)
    checkpoint, both = Checkpoint(model, {}), (CLIPS["validation"], CLIPS["test"])
    found = {}
    for held_out in ("validation", "test"):
        settings = evaluation(held_out)
        predictions, facts = prediction.predict(checkpoint, CLIPS["test"], *both, settings, "lds", "dots")
        scores = prediction.evaluate(predictions, facts, CLIPS["test"], *both, settings, "lds", "dots")
        expected = linearization(model, CLIPS["test"].frames, CLIPS[held_out].frames)
        assert {name: scores[name] for name in expected} == expected
        found[held_out] = expected["linearization_error"]
        _, page = prediction.draw(checkpoint, predictions, facts, scores, *both, TextureSettings("nowhere"), settings)
        assert f"<dt>linearization error</dt><dd>{found[held_out]:.3g}, of the codes" in page
    assert found["validation"] != pytest.approx(found["test"], rel=0.01)


@pytest.mark.parametrize(("side", "shown"), [(8, 2), (144, 1)])
def test_an_animation_shows_several_small_clips_or_one_large_one(side: int, shown: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 1, side, side), dtype=np.uint8)
    clips = ClipSet(frames, pd.DataFrame({"source": ["a", "b"]}))
    checkpoint = Checkpoint(LastFrame((1, side, side), LastFrameSettings()), {})
    settings = evaluation("test")
    predictions, facts = prediction.predict(checkpoint, clips, clips, clips, settings, "stays", "dots")
    scores = prediction.evaluate(predictions, facts, clips, clips, clips, settings, "stays", "dots")
    drawn, page = prediction.draw(
        checkpoint, predictions, facts, scores, clips, clips, TextureSettings("nowhere"), settings
    )
    assert set(drawn) == {"filmstrip", "horizon", "prediction"}  # the last frame has no spectrum
    with Image.open(io.BytesIO(drawn["prediction"].content)) as animation:
        enlarged = -(-256 // side) * side
        assert animation.size == (3 * (enlarged + 6), 24 + shown * (enlarged + 6))
    assert page.count("<img ") == 3
    assert "<dt>raw_folder</dt><dd>nowhere</dd>" in page


@pytest.mark.parametrize("held_out", ["validation", "test"])
@pytest.mark.parametrize("dataset", [TextureSettings("nowhere"), RotationSettings("nowhere")])
def test_sequences_start_from_the_chosen_clips_and_are_scored_against_them(
    held_out: HeldOut, dataset: DatasetSettings
) -> None:
    settings, both = evaluation(held_out), (CLIPS["validation"], CLIPS["test"])
    wanted = SynthesisSettings(sequences=2, frames=5, noise_scale=0.0, spread_starts=False)
    shown, starts = synthesis.synthesise(CHECKPOINT, *both, wanted, settings, 0)
    np.testing.assert_array_equal(shown[:, 4], CLIPS[held_out].frames[:, 0])
    scores = synthesis.evaluate(CHECKPOINT, shown, starts, clips_of(0), *both, dataset, settings, 0, "stays", "dots")
    assert scores["held_out"] == held_out
    assert scores["synthesis"]["spectral_radius"] == 1
    if dataset.judge == "texture":
        assert scores["synthesis"]["late_mean"] == pytest.approx(1)
    else:
        assert scores["synthesis"]["turn_psnr"] > 15  # against the other clips: below 5 dB

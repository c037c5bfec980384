"""Bits per value of densities for which they are known."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.likelihood import bits_per_value
from linear_video.models.base import HasExactLikelihood, HasLikelihood, VideoModel
from linear_video.models.last_frame import LastFrame
from linear_video.models.registry import build

SETTINGS = EvaluationSettings(context=3, horizon=2, sequences=4, clips_per_batch=3)
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 7, 1, 4, 4), dtype=np.uint8)


@dataclass(frozen=True)
class Nothing:
    """A class of settings without any."""


class Independent(HasExactLikelihood):
    """Every value has the same density."""

    settings_class = Nothing

    def density(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def predict(self, context: Tensor, horizon: int) -> Tensor:
        raise NotImplementedError

    def surprise(self, clips: Tensor, past: int) -> Tensor:
        return -self.density(clips).mean((2, 3, 4))

    def log_likelihood(self, clips: Tensor, observed: Tensor | None = None) -> Tensor:
        return self.density(clips).sum((1, 2, 3, 4))


class Uniform(Independent):
    def density(self, values: Tensor) -> Tensor:
        inside = (values >= -0.5 / 255) & (values <= 255.5 / 255)
        return torch.where(inside, np.log(255 / 256), -torch.inf)


class Normal(Independent):
    def density(self, values: Tensor) -> Tensor:
        found: Tensor = torch.distributions.Normal(0.5, 0.3).log_prob(values)  # type: ignore[no-untyped-call]
        return found


def test_a_uniform_guess_takes_eight_bits() -> None:
    assert bits_per_value(Uniform((1, 4, 4), Nothing()), FRAMES, SETTINGS) == pytest.approx(8, abs=1e-6)


def test_bits_are_those_of_the_probability_of_a_grey_level() -> None:
    """Against SciPy's probability of each level's interval, of the clips and frames that are scored."""
    levels = FRAMES[SETTINGS.scored(len(FRAMES)), :5].astype(float)
    probability = norm.cdf((levels + 0.5) / 255, 0.5, 0.3) - norm.cdf((levels - 0.5) / 255, 0.5, 0.3)
    found = bits_per_value(Normal((1, 4, 4), Nothing()), FRAMES, SETTINGS)
    assert found == pytest.approx(float(-np.log2(probability).mean()), abs=1e-3)
    assert found == bits_per_value(Normal((1, 4, 4), Nothing()), FRAMES, SETTINGS)


def test_a_bound_leaves_out_the_frame_that_it_does_not_know() -> None:
    class Bound(HasLikelihood):
        settings_class = Nothing

        def predict(self, context: Tensor, horizon: int) -> Tensor:
            raise NotImplementedError

        def surprise(self, clips: Tensor, past: int) -> Tensor:
            assert clips.shape[1] == past == 5
            return torch.tensor([torch.nan, 1.0, 2.0, 3.0, 4.0]).expand(len(clips), -1)

    found = bits_per_value(Bound((1, 4, 4), Nothing()), FRAMES, SETTINGS)
    assert found == pytest.approx(2.5 / np.log(2) + np.log2(255))


def test_a_model_without_a_likelihood_has_no_bits() -> None:
    model: VideoModel = build("last_frame", (1, 4, 4), {})
    assert isinstance(model, LastFrame)
    assert bits_per_value(model, FRAMES, SETTINGS) is None

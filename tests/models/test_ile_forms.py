"""What the ILE does in the same way whatever the form of its dynamics, where a motion is found from frames."""

from typing import Any

import pytest
import torch
from torch import Tensor

from linear_video.common.errors import InputError
from linear_video.models.base import HasSpectrum, KnowsActions
from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.settings import IleSettings
from linear_video.tasks.trained import TrainedModel
from tests.models.invertible import randomise

SHAPE = (1, 8, 8)


@pytest.fixture(params=["modal", "warp"])
def model(request: pytest.FixtureRequest) -> InvertibleLinearEmbedding:
    return make(request.param)


def make(dynamics: Any, **changes: Any) -> InvertibleLinearEmbedding:
    torch.manual_seed(0)
    small: dict[str, Any] = {"look_back": 3, "reach": 2, "motion_channels": 4, "couplings": 2, "hidden_channels": 4}
    small |= {"blocks": 2, "first_squeezes": 2}
    model = InvertibleLinearEmbedding(SHAPE, IleSettings(dynamics=dynamics, **{**small, **changes}))
    randomise(model.flow)
    return model.double().eval()


def clips(count: int = 3, frames: int = 7) -> Tensor:
    return torch.rand(count, frames, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_forecasts_beyond_the_reach_go_on_from_those_before(model: InvertibleLinearEmbedding) -> None:
    seen = clips()
    far = model.predict(seen, 5)
    assert far.shape == (3, 5, *SHAPE)
    torch.testing.assert_close(far[:, :2], model.predict(seen, 2), rtol=0, atol=1e-6)
    later = model.predict(torch.cat((seen, far[:, :2]), 1), 2)  # as if the forecast had been seen
    torch.testing.assert_close(far[:, 2:4], later, rtol=0, atol=0.05)  # but for what clipping to [0, 1] took away


@pytest.mark.parametrize("gone", [[0], [3], [2, 3, 4, 5], [0, 1, 6]])
def test_nothing_depends_on_what_missing_frames_hold(model: InvertibleLinearEmbedding, gone: list[int]) -> None:
    seen, observed = clips(), torch.ones(3, 7, dtype=torch.bool)
    observed[:, gone] = False
    other = torch.where(observed[..., None, None, None], seen, 0.5)
    for one, two in (
        (model.predict(seen, 3, observed), model.predict(other, 3, observed)),
        (model.log_likelihood(seen, observed), model.log_likelihood(other, observed)),
        *(
            (
                model.interpolate(model.project(seen), observed[0], moment)[1],
                model.interpolate(model.project(other), observed[0], moment)[1],
            )
            for moment in (-1.0, 3.0, 3.4, 7.5)
        ),
    ):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-5)


def test_clips_may_lack_different_frames(model: InvertibleLinearEmbedding) -> None:
    seen, observed = clips(), torch.ones(3, 7, dtype=torch.bool)
    observed[0, 2], observed[1, 4:] = False, False
    together = model.predict(seen, 2, observed)
    for row in range(3):
        alone = model.predict(seen[row : row + 1], 2, observed[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)


def test_draws_beyond_the_reach_are_frames_of_each_clip(model: InvertibleLinearEmbedding) -> None:
    drawn = model.futures(clips(), 5, count=4, seed=0)
    assert drawn.shape == (4, 3, 5, *SHAPE)
    assert torch.equal(drawn, model.futures(clips(), 5, count=4, seed=0))
    assert (drawn[0] != drawn[1]).any()


def test_in_the_first_stage_only_the_motion_learns(model: InvertibleLinearEmbedding) -> None:
    model.train()
    for done, learns in ((0.5, False), (0.9, True)):
        model.zero_grad()
        model.at_step(done)
        _, parts = model.loss(clips(), torch.Generator().manual_seed(0))
        model.loss(clips(), torch.Generator().manual_seed(0))[0].backward()
        assert set(parts) == ({"log_abs_det", "likelihood", "forecast"} if learns else {"motion"})
        assert any(p.grad is not None and p.grad.any() for p in model.flow.parameters()) == learns
        assert any(p.grad.any() for p in model.prior.motion.parameters())  # type: ignore[union-attr]
    assert set(model.eval().loss(clips())[1]) == {"log_abs_det", "likelihood", "forecast"}  # validation compares


def test_validation_is_of_the_whole_objective_in_every_stage(model: InvertibleLinearEmbedding) -> None:
    early = model.loss(clips())[0]
    model.at_step(0.1)
    torch.testing.assert_close(model.loss(clips())[0], early)


def test_the_motion_is_only_refined_in_the_second_stage() -> None:
    model = make("modal", motion_refinement=0.2)
    assert model.stages == (0.8,)
    assert model.paces("prior.motion.last.weight") == (1.0, 0.2)
    for name in ("flow.blocks.0.1.network.0.weight", "prior.angle", "prior.motion.doubt.weight"):
        assert model.paces(name) == (1.0, 1.0)
    for one in (make("modal", motion_share=0.0), make("dense")):
        assert one.stages == ()
        assert one.paces("prior.motion.last.weight") == (1.0,)


def test_a_form_without_modes_offers_no_spectrum() -> None:
    assert not make("warp").offers(HasSpectrum)
    assert make("modal").offers(HasSpectrum)
    assert not make("modal").offers(KnowsActions)
    assert make("modal", actions=2).offers(KnowsActions)
    trained = TrainedModel(make("warp"), {"model": "ile"}, context=3)
    with pytest.raises(InputError, match="this ile has no modes; one that was trained with dynamics modal has"):
        trained.able("spectrum")


def test_the_embedding_is_laid_out_as_the_picture_when_the_flow_is_the_identity() -> None:
    for mix in ("haar", "none"):
        model = make("modal", couplings=0, mix=mix)
        frames = clips()
        embeddings, log_abs_det = model.encode(frames)
        torch.testing.assert_close(embeddings, frames.flatten(2), rtol=0, atol=1e-6)
        assert not log_abs_det.any()


def test_pictures_and_embeddings_are_permutations_of_orthonormal_bases(model: InvertibleLinearEmbedding) -> None:
    frames = clips()
    embeddings, _ = model.encode(frames)
    torch.testing.assert_close(model.decode(embeddings), frames, rtol=0, atol=1e-5)
    basis = model.flow.as_pictures(torch.eye(64, dtype=torch.float64))
    torch.testing.assert_close(basis @ basis.T, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.flow.from_pictures(basis), torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("missing", [0, 3])
def test_frames_far_before_the_first_are_those_of_a_prediction_backwards(
    model: InvertibleLinearEmbedding, missing: int
) -> None:
    """Beyond the reach of one forecast. Frames that are missing at the beginning are before the first one as well."""
    seen, observed = clips(), torch.arange(7) >= missing
    expected = model.predict(seen[:, missing:].flip(1), 5).flip(1)
    for number in range(3):  # modal dynamics smooth what one forecast reaches, if it is missing
        frame = model.interpolate(model.project(seen), observed, float(missing - 5 + number))[1]
        torch.testing.assert_close(frame, expected[:, number], rtol=0, atol=1e-6)


@pytest.mark.parametrize("missing", [0, 3])
def test_frames_far_after_the_last_are_those_of_a_prediction(model: InvertibleLinearEmbedding, missing: int) -> None:
    seen, observed = clips(), torch.arange(7) < 7 - missing
    expected = model.predict(seen[:, : 7 - missing], 5)
    for number in range(2, 5):  # what one forecast reaches is filtered on, through frames that are missing
        frame = model.interpolate(model.project(seen), observed, float(7 - missing + number))[1]
        torch.testing.assert_close(frame, expected[:, number], rtol=0, atol=1e-6)
    halfway = model.interpolate(model.project(seen), observed, 7 - missing + 3.5)[1]
    torch.testing.assert_close(halfway, expected[:, 3:].mean(1), rtol=0, atol=1e-6)


def test_modes_are_found_on_the_device_of_the_model() -> None:
    """Without a GPU, the device without memory stands for one: tensors of two devices do not mix there either."""
    model = make("modal").float().to("meta")
    assert model.mode_response(clips().float().to("meta"), [0, 1]).device.type == "meta"

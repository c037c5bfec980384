"""What every registered model promises: as a model, and by each capability that its class declares."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from linear_video.common.errors import InputError
from linear_video.models.base import (
    DrawsFutures,
    FittedInClosedForm,
    HasExactLikelihood,
    HasLikelihood,
    HasSpectrum,
    KnowsActions,
    KnowsAnyTime,
    Synthesises,
    TrainedBySteps,
    VideoModel,
)
from linear_video.models.checkpoint import load_checkpoint, save_checkpoint
from linear_video.models.registry import MODELS, build, describe, model_class
from linear_video.training.fit import TrainingSettings

SHAPES = {"grey": (1, 16, 16), "colour": (3, 16, 24)}
ILE = {"blocks": 2, "first_squeezes": 2, "couplings": 2, "hidden_channels": 4, "motion_channels": 4, "actions": 2}
SMALL: dict[
    str, dict[str, Any]
] = {  # settings that make large models small; a model that is small by default needs none
    "ile": ILE,
    "ile-velocities": {**ILE, "velocities": 2},
    "ile-warp": {**ILE, "dynamics": "warp"},
    "ile-dense": {**ILE, "dynamics": "dense", "state_dimension": 8},
    "dynamic_vae": {"state_dimension": 4, "channels": 8, "hidden_units": 8},
    "lds": {"state_dimension": 4},
}
CASES = [*MODELS, *(name for name in SMALL if "-" in name)]  # a model may have several forms
HORIZON = 3


def clips_of(shape: tuple[int, ...], clips: int = 3, frames: int = 16) -> NDArray[np.uint8]:
    """Bright bars that wander over noise: uint8 (N, T, C, H, W)."""
    made = np.random.default_rng(0).integers(0, 40, (clips, frames, *shape), dtype=np.uint8)
    for clip, frame in np.ndindex(clips, frames):
        made[clip, frame, :, (clip + frame) % shape[1]] = 220
    return made


def model_of(name: str, shape: tuple[int, int, int]) -> VideoModel:
    """A model that has seen clips, as after a training of zero steps."""
    torch.manual_seed(0)
    model = build(name.split("-")[0], shape, SMALL.get(name, {}))
    if isinstance(model, TrainedBySteps):
        model.initialise(clips_of(shape))
        model.finish(clips_of(shape))
    if isinstance(model, FittedInClosedForm):
        model.fit_closed_form(clips_of(shape))
    return model.eval()


def that(capability: type) -> pytest.MarkDecorator:
    """Every registered model with a capability, for grey and for colour frames."""
    names = [name for name in CASES if issubclass(model_class(name.split("-")[0]), capability)]
    names = [name for name in names if name != "ile-warp" or capability is not HasSpectrum]
    cases = [pytest.param((name, shape), id=f"{name}-{kind}") for name in names for kind, shape in SHAPES.items()]
    return pytest.mark.parametrize("model", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> VideoModel:
    name, shape = request.param
    return model_of(name, shape)


@pytest.fixture
def clips(model: VideoModel) -> Tensor:
    return torch.from_numpy(clips_of(model.frame_shape)).float() / 255


def name_of(model: VideoModel) -> str:
    return next(name for name in MODELS if model_class(name) is type(model))


def again(model: VideoModel) -> VideoModel:
    """The same model, untouched by other tests."""
    torch.manual_seed(0)
    made = build(name_of(model), model.frame_shape, model.settings)
    if isinstance(made, TrainedBySteps):
        made.initialise(clips_of(model.frame_shape))
    return made.eval()


def check_frames(frames: Tensor, shape: tuple[int, ...]) -> None:
    assert frames.shape == shape
    assert frames.dtype == torch.float32
    assert frames.isfinite().all()
    assert frames.min() >= 0
    assert frames.max() <= 1


# --- as a model -----------------------------------------------------------------------------------------------------


@that(VideoModel)
def test_it_predicts_frames_the_same_ones_each_time(model: VideoModel, clips: Tensor) -> None:
    predicted = model.predict(clips, HORIZON)
    check_frames(predicted, (len(clips), HORIZON, *model.frame_shape))
    torch.testing.assert_close(model.predict(clips, HORIZON), predicted, rtol=0, atol=0)
    assert not predicted.requires_grad


@that(VideoModel)
def test_it_predicts_each_clip_for_itself(model: VideoModel, clips: Tensor) -> None:
    torch.testing.assert_close(
        model.predict(clips[1:2], HORIZON), model.predict(clips, HORIZON)[1:2], rtol=0, atol=1e-4
    )


@that(VideoModel)
def test_a_longer_horizon_begins_as_a_shorter_one(model: VideoModel, clips: Tensor) -> None:
    torch.testing.assert_close(model.predict(clips, HORIZON)[:, :1], model.predict(clips, 1), rtol=0, atol=1e-5)


@that(VideoModel)
def test_any_context_from_the_least_on_will_do(model: VideoModel, clips: Tensor) -> None:
    for length in range(model.least_context, clips.shape[1] + 1):
        check_frames(model.predict(clips[:, :length], 2), (len(clips), 2, *model.frame_shape))


@that(VideoModel)
def test_forecasts_are_the_predictions_of_every_window(model: VideoModel, clips: Tensor) -> None:
    context = max(4, model.least_context)
    windows = [clips[:, start : start + context] for start in range(clips.shape[1] - context + 1)]
    expected = torch.stack([model.predict(window, HORIZON) for window in windows], 1)
    torch.testing.assert_close(model.forecasts(clips, context, HORIZON), expected, rtol=0, atol=1e-4)


@that(VideoModel)
def test_a_checkpoint_gives_the_same_model_again(model: VideoModel, clips: Tensor, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, model, describe(name_of(model), model))
    again = load_checkpoint(tmp_path)
    assert type(again) is type(model)
    described = [json.dumps(describe(name_of(one), one)) for one in (model, again)]
    assert described[0] == described[1]
    torch.testing.assert_close(again.predict(clips, HORIZON), model.predict(clips, HORIZON), rtol=0, atol=0)


@that(VideoModel)
def test_it_knows_where_it_has_been_moved(model: VideoModel) -> None:
    has_numbers = bool([*model.parameters(), *model.buffers()])
    assert deepcopy(model).to("meta").device.type == ("meta" if has_numbers else "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@that(VideoModel)
def test_it_predicts_the_same_on_a_gpu(model: VideoModel, clips: Tensor) -> None:
    predicted = deepcopy(model).to("cuda").predict(clips.to("cuda"), HORIZON)
    torch.testing.assert_close(predicted.cpu(), model.predict(clips, HORIZON), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_says_of_the_class_what_is_so(name: str) -> None:
    found = model_class(name)
    assert issubclass(found, VideoModel)
    assert issubclass(found, Synthesises) == MODELS[name].synthesises
    assert not (issubclass(found, TrainedBySteps) and issubclass(found, FittedInClosedForm))
    assert found.settings_class() == found.settings_class()  # complete defaults
    if issubclass(found, TrainedBySteps):
        TrainingSettings(**found.training_defaults)


def test_an_unknown_model_is_named_beside_the_known_ones() -> None:
    with pytest.raises(InputError, match="there is no model 'ilo'; choose one of ile, "):
        model_class("ilo")


# --- by capability --------------------------------------------------------------------------------------------------


@that(TrainedBySteps)
def test_steps_lower_the_loss_by_its_gradient(model: TrainedBySteps, clips: Tensor) -> None:
    learner = again(model)
    assert isinstance(learner, TrainedBySteps)
    start, parts = learner.loss(clips)
    assert start.ndim == 0
    assert all(value.ndim == 0 and value.isfinite() for value in parts.values())
    assert torch.equal(learner.loss(clips)[0], start)  # without a generator, nothing is drawn
    start.backward()
    gradients = [(p, p.grad) for p in learner.parameters() if p.grad is not None]
    size = sum(float(gradient.square().sum()) for _, gradient in gradients)
    assert size > 0
    with torch.no_grad():
        for parameter, gradient in gradients:
            parameter.sub_(gradient, alpha=1e-4 / size**0.5)
        assert learner.loss(clips)[0] < start


@that(TrainedBySteps)
def test_the_generator_decides_what_is_random_in_training(model: TrainedBySteps, clips: Tensor) -> None:

    first, again = (model.loss(clips, torch.Generator().manual_seed(1))[0] for _ in range(2))
    assert torch.equal(first, again)


@that(KnowsActions)
def test_actions_that_are_zero_are_as_good_as_none(model: KnowsActions, clips: Tensor) -> None:
    actions = torch.zeros(len(clips), clips.shape[1] + HORIZON, model.actions)
    torch.testing.assert_close(model.predict(clips, HORIZON, actions=actions), model.predict(clips, HORIZON))
    loss, _ = model.loss(clips, None, actions[:, : clips.shape[1]])
    torch.testing.assert_close(loss, model.loss(clips)[0])


@that(Synthesises)
def test_sequences_go_on_as_long_as_is_asked_for(model: Synthesises, clips: Tensor) -> None:
    made = model.synthesise(clips[:, :2], 50, seed=3)
    check_frames(made, (len(clips), 50, *model.frame_shape))
    torch.testing.assert_close(model.synthesise(clips[:, :2], 50, seed=3), made, rtol=0, atol=0)
    assert not torch.equal(model.synthesise(clips[:, :2], 50, seed=4), made)
    quiet = [model.synthesise(clips[:, :2], 5, seed=seed, noise_scale=0.0) for seed in (3, 4)]
    torch.testing.assert_close(quiet[0], quiet[1], rtol=0, atol=0)
    assert model.steadiness()["spectral_radius"] <= 1.0001


@that(DrawsFutures)
def test_futures_are_draws_about_what_is_predicted(model: DrawsFutures, clips: Tensor) -> None:
    drawn = model.futures(clips, HORIZON, count=4, seed=1)
    check_frames(drawn.flatten(0, 1), (4 * len(clips), HORIZON, *model.frame_shape))
    torch.testing.assert_close(model.futures(clips, HORIZON, 4, 1), drawn, rtol=0, atol=0)
    assert not torch.equal(drawn[0], drawn[1])


@that(HasSpectrum)
def test_modes_belong_to_the_spectrum(model: HasSpectrum, clips: Tensor) -> None:
    spectrum = model.spectrum()
    modes = len(spectrum.eigenvalues)
    assert spectrum.eigenvalues.dtype == torch.complex128
    assert (spectrum.eigenvalues.imag >= 0).all()
    assert spectrum.period.shape == spectrum.half_life.shape == (modes,)
    energy = model.mode_energy(clips)
    assert energy.shape == (len(clips), modes)
    assert (energy >= 0).all()
    response = model.mode_response(clips, [0, modes - 1])
    assert response.shape[:2] == (2, len(clips))
    assert clips.shape[1] - response.shape[2] in (0, 1)


@that(KnowsAnyTime)
def test_moments_between_frames_are_known(model: KnowsAnyTime[Any], clips: Tensor) -> None:
    seen, observed = model.project(clips), torch.ones(clips.shape[1], dtype=torch.bool)
    weights, correction = model.interpolate(seen, observed, 4.0)
    assert weights.tolist() == [float(t == 4) for t in range(clips.shape[1])]  # a frame that was seen is itself
    assert not correction.any()
    weights, correction = model.interpolate(seen, observed, 4.5)
    assert float(weights.sum()) == pytest.approx(1)
    assert correction.shape == clips[:, 0].shape
    check_frames(model.smooth(seen, 4), clips[:, 0].shape)
    assert model.forgotten(3.0).dtype == torch.bool
    # Slices of what was seen are what was seen of slices.
    for part, frames in ((seen.first(7), clips[:, :7]), (seen.from_frame(5), clips[:, 5:])):
        torch.testing.assert_close(model.smooth(part, 3), model.smooth(model.project(frames), 3))
    together = seen.first(5).followed_by(seen.from_frame(5))
    torch.testing.assert_close(model.smooth(together, 6), model.smooth(seen, 6))


@that(HasLikelihood)
def test_what_is_unlikely_is_surprising(model: HasLikelihood, clips: Tensor) -> None:
    nats = model.surprise(clips, past=5)
    assert nats.shape == clips.shape[:2]
    assert nats[:, 1:].isfinite().all()
    other = clips.clone()
    other[:, 8] = torch.rand(other[:, 8].shape, generator=torch.Generator().manual_seed(0))
    assert (model.surprise(other, past=5)[:, 8] > nats[:, 8]).all()
    torch.testing.assert_close(model.surprise(other, past=5)[:, :8], nats[:, :8], equal_nan=True)  # the past alone


@that(HasExactLikelihood)
def test_surprises_add_up_to_the_density(model: HasExactLikelihood, clips: Tensor) -> None:
    whole = model.log_likelihood(clips)
    each = model.surprise(clips, past=clips.shape[1]).sum(1) * clips[0, 0].numel()
    torch.testing.assert_close(-each, whole.to(each), rtol=1e-5, atol=1e-3)


@that(VideoModel)
def test_a_context_below_the_least_is_an_error_for_the_user(model: VideoModel, clips: Tensor) -> None:
    least = model.least_context
    if least == 1:
        pytest.skip("one frame is enough for this model")
    with pytest.raises(InputError, match=rf"context has {least - 1} frames, but .* {least}\."):
        model.predict(clips[:, : least - 1], 1)

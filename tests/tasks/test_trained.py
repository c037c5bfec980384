import gc
import itertools
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import linear_video
from linear_video.common.errors import InputError
from linear_video.models.checkpoint import save_checkpoint
from linear_video.models.dynamic_vae.model import DynamicVae
from linear_video.models.registry import build, describe
from linear_video.tasks import stream
from linear_video.tasks.parts import Parts, to_frame
from linear_video.tasks.settings import Fit
from linear_video.tasks.stream import BATCH
from linear_video.tasks.trained import NEEDS, TrainedModel
from tests.tasks.small_models import SIDE, Reading, load_small, save_model, waves

CONTEXT = 4


class Load(Protocol):
    def __call__(self, name: str = "ile", fit: Fit = "resize", context: int = CONTEXT) -> TrainedModel: ...


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of models of every kind."""
    root = tmp_path_factory.mktemp("models")
    for name in ("ile", "dynamic_vae", "lds", "last_frame"):
        save_model(root / name, name)
    save_model(root / "colour", channels=3)
    save_model(root / "actions", actions=2)
    save_model(root / "lasting", fading_memory=1.0)
    return root


@pytest.fixture
def load(folders: Path) -> Load:
    def load_one(name: str = "ile", fit: Fit = "resize", context: int = CONTEXT) -> TrainedModel:
        return linear_video.load(folders / name, fit, context, "cpu", method="model")

    return load_one


def inner(trained: TrainedModel) -> Any:
    """The model itself, with all that it may offer."""
    return trained.model


def trajectory(trained: TrainedModel, clip: Tensor, weights: Tensor, wanted: float) -> Tensor:
    """The frame at a real time of the trajectory that fits the frames of clip (P, T, C, H, W) best: (P, C, H, W)."""
    model, times = inner(trained), torch.arange(clip.shape[1]).double()
    projected = model.prior.project(model.project(clip).embeddings)
    with torch.no_grad():
        embeddings = model.prior.trajectory(projected, weights, times, torch.tensor([wanted]).double())
        frames: Tensor = model.decode(embeddings.float()).clamp(0, 1)
    return frames[:, 0]


def footage(frames: int = 12, planes: int = 1) -> NDArray[np.uint8]:
    return waves(frames, SIDE, SIDE, planes)


def seen_by_model(trained: TrainedModel, frames: NDArray[np.uint8]) -> tuple[Parts, Tensor]:
    """Parts of all frames: (P, T, C, H, W)."""
    parts = Parts(tuple(trained.config["frame_shape"]), frames.shape[1:], trained.fit)
    return parts, torch.from_numpy(np.stack([parts.split(frame) for frame in frames], 1))


def one_by_one(call: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """All that a task yields, stacked."""
    return np.stack(list(call))


def nearly_equal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    """Check equality up to rounding to grey levels, since float32 sums depend on the number of summands."""
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).max() <= 1
    assert (one != other).mean() < 0.01


STREAMS: dict[str, Callable[[TrainedModel, Any], Iterator[NDArray[np.uint8]]]] = {
    "retime": lambda trained, frames: trained.retime(frames, 1.7),
    "fill_in": lambda trained, frames: trained.fill_in(frames, [0, 5, 6, 11]),
    "denoise": lambda trained, frames: trained.denoise(frames),
}


# --- the future and the past ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ile", "dynamic_vae", "lds", "last_frame"])
@pytest.mark.parametrize("fit", ["resize", "tile"])
def test_extrapolation_is_the_prediction_of_each_part_from_the_last_frames(load: Load, name: str, fit: Fit) -> None:
    trained, frames = load(name, fit), waves(9, 11, 14)
    found = trained.extrapolate(frames, 3)
    parts, clip = seen_by_model(trained, frames)
    expected = inner(trained).predict(clip[:, -CONTEXT:], 3)
    assert found.shape == (3, 11, 14, 3)
    assert found.dtype == np.uint8
    for k in range(3):
        nearly_equal(found[k], to_frame(parts.join(expected[:, k].numpy())))


def test_the_last_frame_is_repeated_in_its_own_size_and_colours(load: Load) -> None:
    frames = waves(6, 21, 13)
    np.testing.assert_array_equal(load("last_frame", "tile").extrapolate(frames, 2), frames[[-1, -1]])


def test_hindcast_is_the_trajectory_of_the_first_frames_before_them(load: Load) -> None:
    trained, frames = load("ile", "tile"), waves(9, 11, 14)
    found = trained.hindcast(frames, 3)
    parts, clip = seen_by_model(trained, frames)
    times = torch.arange(CONTEXT).double()
    assert found.shape == (3, 11, 14, 3)
    for k, time in enumerate((-3.0, -2.0, -1.0)):
        fading = 0.8 ** ((times - time).abs() - 1)
        expected = trajectory(trained, clip[:, :CONTEXT], fading, time)
        nearly_equal(found[k], to_frame(parts.join(expected.numpy())))


def test_hindcast_reads_no_further_than_its_context(load: Load) -> None:
    frames = Reading(footage(12))
    load().hindcast(frames, 2)
    assert frames.count == CONTEXT


def test_modes_that_hindcast_leaves_out_are_named(load: Load) -> None:
    trained = load()
    spectrum = inner(trained).spectrum()
    table = trained.forgotten(30)
    expected = [k for k, half_life in enumerate(spectrum.half_life.tolist()) if 0.5 ** (30 / half_life) < 0.1]
    assert 0 < len(expected) < 4
    assert table["mode"].tolist() == expected
    np.testing.assert_allclose(table["half_life_frames"], spectrum.half_life[expected])
    np.testing.assert_allclose(table["period_frames"], spectrum.period[expected])
    assert trained.forgotten(1).empty


def test_futures_are_those_of_the_model_by_seed(load: Load) -> None:
    for name in ("ile", "dynamic_vae", "lds"):
        trained, frames = load(name, "tile"), waves(9, 11, 14)
        found = trained.sample(frames, 2, 3, noise=0.5, seed=4)
        assert found.shape == (3, 2, 11, 14, 3)
        np.testing.assert_array_equal(found, trained.sample(frames, 2, 3, noise=0.5, seed=4))
        assert (found != trained.sample(frames, 2, 3, noise=0.5, seed=5)).any()
        assert (found[0] != found[1]).any()
        parts, clip = seen_by_model(trained, frames)
        drawn = inner(trained).futures(clip[:, -CONTEXT:], 2, 3, 4, 0.5)
        for future, k in itertools.product(range(3), range(2)):
            nearly_equal(found[future, k], to_frame(parts.join(drawn[future, :, k].numpy())))


def test_what_if_is_the_prediction_under_actions_of_every_part(load: Load) -> None:
    trained, frames = load("actions", "tile"), waves(9, 11, 14)
    actions = np.random.default_rng(0).standard_normal((CONTEXT + 3, 2)).astype(np.float32)
    found = trained.what_if(frames, 3, actions)
    parts, clip = seen_by_model(trained, frames)
    known = torch.from_numpy(np.stack([actions] * len(clip)))
    expected = inner(trained).predict(clip[:, -CONTEXT:], 3, actions=known)
    for k in range(3):
        nearly_equal(found[k], to_frame(parts.join(expected[:, k].numpy())))
    nothing = trained.what_if(frames, 3, np.zeros((CONTEXT + 3, 2)))
    nearly_equal(nothing, trained.extrapolate(frames, 3))
    assert np.abs(found.astype(int) - nothing).max() > 5


@pytest.mark.parametrize("shape", [(CONTEXT + 2, 2), (CONTEXT + 3, 3), (CONTEXT + 3,)])
def test_actions_of_another_shape_are_refused(load: Load, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"actions must be \(7, 2\), not"):
        load("actions").what_if(footage(), 3, np.zeros(shape))


# --- frames of any size ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes frames of any size, multiples of 4; it knows nothing."""
    torch.manual_seed(0)
    settings = {"dynamics": "warp", "look_back": 2, "reach": 3, "motion_channels": 4, "blocks": 2, "first_squeezes": 1}
    model = build("ile", (3, SIDE, SIDE), settings | {"couplings": 2, "hidden_channels": 4})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("warping")
    save_checkpoint(folder, model.eval(), describe("ile", model))
    return folder


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (11, 14), (17, 30)])
def test_a_model_that_takes_any_size_sees_frames_whole(warping: Path, size: tuple[int, int]) -> None:
    trained, frames = linear_video.load(warping, context=CONTEXT, device="cpu", method="model"), waves(9, *size)
    assert trained.fit == "whole"
    high, wide = (-(-side // 4) * 4 for side in size)
    wider = np.pad(frames, ((0, 0), (0, high - size[0]), (0, wide - size[1]), (0, 0)), mode="symmetric")
    clip = torch.from_numpy(wider).float().permute(0, 3, 1, 2)[None] / 255
    model = inner(trained).sized(high, wide)
    expected = model.predict(clip[:, -CONTEXT:], 2)[0].permute(0, 2, 3, 1)[:, : size[0], : size[1]]
    nearly_equal(trained.extrapolate(frames, 2), to_frame(expected.numpy()))
    density = model.surprise(clip, CONTEXT)[0] / math.log(2) + math.log2(255)
    np.testing.assert_allclose(trained.surprise(frames).likelihood, density.numpy(), rtol=1e-4)
    assert len(list(trained.retime(frames, 2))) == 17
    assert len(list(trained.fill_in(frames, [3]))) == len(list(trained.denoise(frames))) == 9


def test_the_same_model_sees_one_size_after_another(warping: Path) -> None:
    trained = linear_video.load(warping, context=CONTEXT, device="cpu", method="model")
    before = trained.extrapolate(waves(6, 12, 20), 2)
    assert trained.extrapolate(waves(6, 20, 12), 2).shape == (2, 20, 12, 3)
    np.testing.assert_array_equal(trained.extrapolate(waves(6, 12, 20), 2), before)
    assert trained.sized((12, 20, 3)) is trained.sized((11, 17, 3))
    assert trained.sized((SIDE, SIDE, 3)).frame_shape == (3, SIDE, SIDE)


@pytest.mark.parametrize(("name", "fit"), [("ile", "resize"), ("lds", "resize"), ("last_frame", "whole")])
def test_frames_are_resized_by_default_if_a_model_takes_one_size_alone(folders: Path, name: str, fit: Fit) -> None:
    assert linear_video.load(folders / name, device="cpu").fit == fit


# --- frames in between ------------------------------------------------------------------------------------------------


def test_no_change_of_time_leaves_the_frames_as_they_are(load: Load) -> None:
    frames = waves(20, 11, 14)
    np.testing.assert_array_equal(one_by_one(load("ile").retime(frames, 1.0)), frames)


@pytest.mark.parametrize("length", [2, 3, 15, 16, 17, 33])
def test_doubling_keeps_every_frame_at_even_places(load: Load, length: int) -> None:
    frames = waves(length, 11, 14)
    doubled = one_by_one(load().retime(frames, 2))
    assert len(doubled) == 2 * length - 1
    np.testing.assert_array_equal(doubled[::2], frames)
    if length > 3:  # what is in between is nearer to its neighbours than they are to each other
        apart = np.abs(frames[1:].astype(int) - frames[:-1]).mean()
        assert np.abs(doubled[1::2].astype(int) - frames[1:]).mean() < 0.8 * apart


@pytest.mark.parametrize("factor", [0.1, 0.3, 1 / 3, 0.5, 0.7, 1.1, 1.5, 2.4, 3, 7.7, 10])
@pytest.mark.parametrize("length", [2, 17])
def test_retimed_footage_ends_with_its_last_frame_or_just_before(load: Load, factor: float, length: int) -> None:
    frames = footage(length)
    retimed = list(load().retime(frames, factor))
    exact = Fraction(factor).limit_denominator(100)
    assert len(retimed) == math.floor((length - 1) * exact) + 1
    for k, frame in enumerate(retimed):
        if (k / exact).denominator == 1:
            np.testing.assert_array_equal(frame, frames[int(k / exact)])


@pytest.mark.parametrize("fit", ["resize", "tile"])
def test_frames_in_between_are_interpolated_from_those_around(load: Load, fit: Fit) -> None:
    """Of footage so short that every window is the whole of it."""
    trained, frames = load("ile", fit), waves(CONTEXT + 1, 11, 14)
    parts, clip = seen_by_model(trained, frames)
    projected, all_seen = inner(trained).project(clip), torch.ones(CONTEXT + 1, dtype=torch.bool)
    for k, frame in enumerate(trained.retime(frames, 2.5)):
        weights, correction = inner(trained).interpolate(projected, all_seen, k / 2.5)
        values = np.einsum("t,thwc->hwc", weights.numpy(), frames / 255)
        if k % 5:
            values = values + parts.join(correction.numpy())
        nearly_equal(frame, to_frame(values))


@pytest.mark.parametrize("missing", [[], [0], [11], [3], [5, 6], [0, 1, 4, 10, 11]])
def test_frames_that_are_there_are_untouched(load: Load, missing: list[int]) -> None:
    frames = waves(12, 11, 14)
    filled = one_by_one(load().fill_in(frames, missing))
    there = [k for k in range(12) if k not in missing]
    assert filled.shape == frames.shape
    np.testing.assert_array_equal(filled[there], frames[there])


@pytest.mark.parametrize("fit", ["resize", "tile"])
def test_what_missing_frames_hold_does_not_matter(load: Load, fit: Fit) -> None:
    frames, missing = waves(12, 11, 14), [0, 4, 5, 11]
    others = frames.copy()
    others[missing] = np.random.default_rng(0).integers(0, 256, (4, 11, 14, 3))
    trained = load("ile", fit)
    nearly_equal(one_by_one(trained.fill_in(others, missing)), one_by_one(trained.fill_in(frames, missing)))


def test_missing_frames_are_interpolated_from_those_around(load: Load) -> None:
    trained, frames, missing = load(), waves(CONTEXT + 1, SIDE, SIDE), [1, 4]
    parts, clip = seen_by_model(trained, frames)
    projected = inner(trained).project(clip)
    observed = torch.tensor([True, False, True, True, False])
    filled = one_by_one(trained.fill_in(frames, missing))
    for number in missing:
        weights, correction = inner(trained).interpolate(projected, observed, float(number))
        values = np.einsum("t,thwc->hwc", weights.numpy(), frames / 255) + parts.join(correction.numpy())
        nearly_equal(filled[number], to_frame(values))


def test_denoised_frames_are_those_of_the_trajectory_around(load: Load) -> None:
    trained, frames = load(), waves(CONTEXT + 1, SIDE, SIDE)
    parts, clip = seen_by_model(trained, frames)
    times = torch.arange(CONTEXT + 1).double()
    denoised = one_by_one(trained.denoise(frames))
    assert denoised.shape == frames.shape
    for k, frame in enumerate(denoised):
        weights = 0.8 ** (times - k).abs()
        expected = trajectory(trained, clip, weights, k)
        nearly_equal(frame, to_frame(parts.join(expected.numpy())))


def test_frames_far_away_do_not_matter(load: Load) -> None:
    """A window reaches ``context`` frames to either side."""
    frames = footage(40)
    changed = frames.copy()
    changed[20 + CONTEXT + 1 :] = 0
    changed[: 20 - CONTEXT] = 0
    trained = load("lasting")
    for task in (
        lambda video: next(itertools.islice(trained.denoise(video), 20, None)),
        lambda video: next(itertools.islice(trained.fill_in(video, [20]), 20, None)),
        lambda video: next(itertools.islice(trained.retime(video, 0.5), 10, None)),
    ):
        nearly_equal(task(changed), task(frames))


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", STREAMS)
@pytest.mark.parametrize("length", [12, 16, 17, 33])
def test_generators_and_arrays_give_the_same(load: Load, task: str, length: int) -> None:
    frames, trained = footage(length), load()
    expected = one_by_one(STREAMS[task](trained, frames))
    np.testing.assert_array_equal(one_by_one(STREAMS[task](trained, (frame for frame in frames))), expected)
    np.testing.assert_array_equal(one_by_one(STREAMS[task](trained, list(frames))), expected)


@pytest.mark.parametrize("task", STREAMS)
@pytest.mark.parametrize("batch", [1, 100])
def test_results_do_not_depend_on_how_many_frames_are_read_at_once(
    load: Load, monkeypatch: pytest.MonkeyPatch, task: str, batch: int
) -> None:
    frames, trained = footage(24), load("lasting")
    expected = one_by_one(STREAMS[task](trained, frames))
    monkeypatch.setattr(stream, "BATCH", batch)
    nearly_equal(one_by_one(STREAMS[task](trained, frames)), expected)


@pytest.mark.parametrize("task", STREAMS)
def test_frames_are_given_while_others_are_still_to_be_read(load: Load, task: str) -> None:
    frames, factor = Reading(footage(60)), 1.7 if task == "retime" else 1
    ahead = [frames.count - k / factor for k, _ in enumerate(STREAMS[task](load(), frames))]
    assert frames.count == 60
    assert max(ahead) <= CONTEXT + BATCH + 1


@pytest.mark.parametrize("task", [*STREAMS, "surprise"])
def test_memory_does_not_grow_with_the_video(load: Load, task: str) -> None:
    alive: set[int] = set()
    most = 0

    def watched(frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        nonlocal most
        for number, frame in enumerate(frames):
            one = frame.copy()
            alive.add(number)
            weakref.finalize(one, alive.discard, number)
            most = max(most, len(alive))
            yield one
            del one

    trained = load()
    gc.disable()  # by reference counts alone
    try:
        if task == "surprise":
            trained.surprise(watched(footage(100)))
        else:
            for _ in STREAMS[task](trained, watched(footage(100))):
                pass
    finally:
        gc.enable()
    assert most <= 2 * CONTEXT + 2 * BATCH + 2


def test_projections_of_a_long_video_are_let_go(load: Load) -> None:
    """The part that is kept for the window is not a view of everything before."""
    trained = load()
    for window, _ in trained._windows("denoise", footage(100)):
        for values in (window.projected.frames, window.projected.embeddings):
            kept = values.untyped_storage().nbytes() // (4 * SIDE * SIDE)
            assert kept <= 2 * CONTEXT + 3 * BATCH


# --- surprise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [4, 5, 16, 17, 33])
@pytest.mark.parametrize("name", ["ile", "lds"])
def test_errors_are_those_of_forecasts_from_every_window(load: Load, length: int, name: str) -> None:
    trained, frames = load(name, "tile"), waves(length, 11, 14)
    _, clip = seen_by_model(trained, frames)
    found = trained.surprise(frames, horizon=3).errors
    assert found.shape == (length, 3)
    for t, lead in np.ndindex(length, 3):
        end = t - lead  # the first frame that is not seen
        if end < CONTEXT:
            assert np.isnan(found[t, lead])
            continue
        forecast = inner(trained).predict(clip[:, end - CONTEXT : end], lead + 1)[:, lead]
        assert found[t, lead] == pytest.approx(float((forecast - clip[:, t]).square().mean()), rel=1e-4)


@pytest.mark.parametrize("name", ["ile", "colour"])
def test_likelihood_is_that_of_the_context_in_bits_per_grey_level(load: Load, name: str) -> None:
    trained, frames = load(name, "tile"), waves(21, 11, 14)
    _, clip = seen_by_model(trained, frames)
    found = trained.surprise(frames).likelihood
    for t in range(21):
        before = min(t, CONTEXT)
        window = clip[:, t - before : t + 1]
        log_density = inner(trained).log_likelihood(window)
        if before:
            log_density = log_density - inner(trained).log_likelihood(window[:, :-1])
        values = clip[0, 0].numel()
        expected = -float(log_density.mean()) / values / math.log(2) + math.log2(255)
        assert found[t] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_likelihood_of_the_dynamic_vae_is_its_bound_and_others_have_none(load: Load) -> None:
    trained, frames = load("dynamic_vae"), footage(20)
    _, clip = seen_by_model(trained, frames)
    assert isinstance(trained.model, DynamicVae)
    expected = inner(trained).surprise(clip, 1)[0].numpy() / math.log(2) + math.log2(255)
    np.testing.assert_allclose(trained.surprise(frames).likelihood, expected, rtol=1e-5)
    assert np.isnan(expected[0])
    assert np.isnan(load("lds").surprise(frames).likelihood).all()
    assert np.isfinite(load("last_frame").surprise(frames).errors[CONTEXT + 4 :]).all()


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("name", ["ile", "dynamic_vae", "lds"])
def test_surprise_does_not_depend_on_how_it_is_read(
    load: Load, monkeypatch: pytest.MonkeyPatch, batch: int, name: str
) -> None:
    trained, frames = load(name), footage(20)
    expected = trained.surprise(frames, 3)
    monkeypatch.setattr(stream, "BATCH", batch)
    found = trained.surprise((frame for frame in frames), 3)
    np.testing.assert_allclose(found.likelihood, expected.likelihood, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.errors, expected.errors, rtol=1e-4)


def test_surprise_does_not_depend_on_how_many_parts_are_taken_at_once(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, frames = load("ile", "tile"), waves(12, 11, 14)
    expected = trained.surprise(frames, 3)
    monkeypatch.setattr(stream, "PARTS_AT_ONCE", 1)
    found = trained.surprise(frames, 3)
    np.testing.assert_allclose(found.likelihood, expected.likelihood, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.errors, expected.errors, rtol=1e-4)


def test_a_strange_frame_is_the_most_surprising(load: Load) -> None:
    frames = footage(30)
    frames[20] = 255 - frames[20]
    found = load().surprise(frames)
    assert CONTEXT + np.argmax(found.likelihood[CONTEXT:]) == 20
    assert CONTEXT + np.argmax(found.errors[CONTEXT:, 0]) in (20, 21)


# --- spectrum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ile", "dynamic_vae", "lds"])
@pytest.mark.parametrize(("length", "windows"), [(7, [(0, 7)]), (10, [(0, 10)]), (25, [(0, 10), (10, 20)])])
def test_spectrum_is_the_mean_energy_of_whole_windows(
    load: Load, name: str, length: int, windows: list[tuple[int, int]]
) -> None:
    trained, frames = load(name, "tile"), waves(length, 11, 14)
    parts, clip = seen_by_model(trained, frames)
    found = trained.spectrum(iter(frames), fps=5.0, window=10, strongest=2)
    energy = sum(inner(trained).mode_energy(clip[:, first:last]).mean(0) for first, last in windows)
    spectrum, table = inner(trained).spectrum(), found.table
    assert sorted(table["mode"]) == list(range(len(energy)))
    assert table["energy"].is_monotonic_decreasing
    assert table["energy"].sum() == pytest.approx(1)
    order = table["mode"].to_numpy()
    np.testing.assert_allclose(table["energy"], (energy / energy.sum()).numpy()[order], rtol=1e-4)
    periods = spectrum.period.numpy()[order]
    np.testing.assert_allclose(table["period_s"], periods / 5)
    np.testing.assert_allclose(table["frequency_hz"], 5 / periods)
    np.testing.assert_allclose(table["half_life_s"], spectrum.half_life.numpy()[order] / 5)
    first, last = windows[-1]
    response = inner(trained).mode_response(clip[:, first:last], order[:2].tolist())
    steps = response.shape[2]
    assert found.responses.shape == (2, steps, 11, 14, 3)
    assert found.responses.dtype == np.float32
    np.testing.assert_array_equal(found.frames, frames[first : first + steps])
    for mode, k in np.ndindex(2, steps):
        np.testing.assert_allclose(found.responses[mode, k], parts.join(response[mode, :, k].numpy()), atol=1e-5)


@pytest.mark.parametrize("task", ["extrapolate", "hindcast", "sample", "surprise", *STREAMS, "spectrum"])
def test_a_context_may_be_longer_than_what_is_read_at_once(load: Load, task: str) -> None:
    frames = footage(2 * BATCH + 13)
    TASKS[task](load("ile", context=BATCH + 4), frames)


# --- what is no footage -----------------------------------------------------------------------------------------------

TASKS: dict[str, Callable[[TrainedModel, Any], object]] = {
    "extrapolate": lambda trained, frames: trained.extrapolate(frames, 2),
    "hindcast": lambda trained, frames: trained.hindcast(frames, 2),
    "sample": lambda trained, frames: trained.sample(frames, 2, 2),
    "what_if": lambda trained, frames: trained.what_if(frames, 2, np.zeros((CONTEXT + 2, 2))),
    "surprise": lambda trained, frames: trained.surprise(frames),
    "retime": lambda trained, frames: list(trained.retime(frames, 2)),
    "fill_in": lambda trained, frames: list(trained.fill_in(frames, [1])),
    "denoise": lambda trained, frames: list(trained.denoise(frames)),
    "spectrum": lambda trained, frames: trained.spectrum(frames, 25.0),
}


@pytest.mark.parametrize("task", ["extrapolate", "hindcast", "sample", "what_if", "surprise"])
@pytest.mark.parametrize("length", [0, 1, CONTEXT - 1])
def test_fewer_frames_than_the_context_are_refused(load: Load, task: str, length: int) -> None:
    frames = "1 frame" if length == 1 else f"{length} frames"
    with pytest.raises(InputError, match=rf"the footage has {frames}, but this needs at least {CONTEXT}"):
        TASKS[task](load("actions"), footage(12)[:length])


@pytest.mark.parametrize("task", ["retime", "fill_in", "denoise", "spectrum"])
@pytest.mark.parametrize("length", [0, 1])
def test_fewer_than_two_frames_are_refused(load: Load, task: str, length: int) -> None:
    for name in ("ile", "dynamic_vae", "lds") if task == "spectrum" else ("ile",):
        with pytest.raises(InputError, match=rf"the footage has {length} frames?, but this needs at least 2"):
            TASKS[task](load(name), footage(12)[:length])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (footage(12) / 255, r"frames must be uint8 .* not float64 \(8, 8, 1\)"),
        (footage(12).astype(np.int64), "not int64"),
        (np.zeros((12, 8, 8, 3, 1), np.uint8), r"not uint8 \(8, 8, 3, 1\)"),
        (np.zeros((12, 64), np.uint8), r"not uint8 \(64,\)"),
        (np.zeros((12, 0, 8, 3), np.uint8), r"not uint8 \(0, 8, 3\)"),
        ([*footage(3), waves(1, 9, 8, 1)[0], *footage(8)], r"frame 3 is \(9, 8, 1\), the ones before \(8, 8, 1\)"),
        ([*footage(3), *footage(9, 3)], r"frame 3 is \(8, 8, 3\), the ones before \(8, 8, 1\)"),
    ],
    ids=["float", "int64", "five axes", "one axis", "empty", "size", "colour"],
)
def test_what_is_no_frame_is_refused(load: Load, task: str, frames: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        TASKS[task](load("actions"), frames)


def test_frames_without_a_last_axis_are_grey(load: Load) -> None:
    frames = footage(12)
    np.testing.assert_array_equal(load().extrapolate(frames[..., 0], 2), load().extrapolate(frames, 2))


@pytest.mark.parametrize("length", [12, 16, 40])
def test_a_missing_frame_beyond_the_end_is_named(load: Load, length: int) -> None:
    with pytest.raises(InputError, match=f"missing names frame {length}, but the footage has {length} frames"):
        list(load().fill_in(footage(length), [3, length + 5, length]))


def test_a_gap_that_no_frame_is_near_to_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BATCH", 1)
    with pytest.raises(InputError, match="context"):
        list(load().fill_in(footage(40), range(10, 30)))


@pytest.mark.parametrize("factor", [0.0, 0.09, 10.5, -1.0, float("nan"), float("inf")])
def test_factors_out_of_range_are_refused(load: Load, factor: float) -> None:
    with pytest.raises(InputError, match=r"factor must be within \[0\.1, 10\]"):
        list(load().retime(footage(), factor))


@pytest.mark.parametrize(
    ("name", "task", "able"),
    [
        ("lds", "hindcast", "ile can"),
        ("dynamic_vae", "fill_in", "ile can"),
        ("last_frame", "denoise", "ile can"),
        ("lds", "retime", "ile can"),
        ("last_frame", "spectrum", "ile and dynamic_vae and lds can"),
        ("last_frame", "sample", "ile and dynamic_vae and lds can"),
    ],
)
def test_models_that_cannot_do_a_task_name_those_that_can(load: Load, name: str, task: str, able: str) -> None:
    with pytest.raises(InputError, match=f"{task}: the model {name} cannot do that; {able}"):
        TASKS[task](load(name), footage())


@pytest.mark.parametrize("name", ["ile", "lds", "dynamic_vae", "last_frame"])
def test_models_without_actions_say_how_to_have_some(load: Load, name: str) -> None:
    with pytest.raises(InputError, match=r"the model knows no actions; ile can, if trained with.*--env=pushes"):
        TASKS["what_if"](load(name), footage())


@pytest.mark.parametrize("name", ["ile", "dynamic_vae", "lds", "last_frame", "actions"])
@pytest.mark.parametrize(
    "task", [task for task in NEEDS if task not in ("fourier", "dmd", "magnify")]
)  # which ask no model
def test_models_do_all_the_tasks_that_they_are_said_to_do(load: Load, name: str, task: str) -> None:
    trained = load(name)
    try:
        trained.able(task)
    except InputError:
        assert name not in ("actions",)
        return
    TASKS[task](trained, footage())


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_loaded_model_tells_what_it_is(load: Load) -> None:
    trained = load("lds", "tile", 7)
    assert (trained.name, trained.fit, trained.context) == ("lds", "tile", 7)
    assert trained.config["frame_shape"] == [1, SIDE, SIDE]
    assert not inner(trained).training


def test_what_cannot_be_is_refused(folders: Path, tmp_path: Path) -> None:
    crop: Any = "crop"
    with pytest.raises(InputError, match="fit must be one of auto, whole, resize, tile, not 'crop'"):
        linear_video.load(folders / "ile", crop)
    with pytest.raises(InputError, match="context must be at least 2 frames, not 1"):
        linear_video.load(folders / "ile", context=1)
    with pytest.raises(InputError, match=r"method must be one of blend, model, .*, not 'magic'"):
        linear_video.load(folders / "ile", method="magic")
    with pytest.raises(InputError, match="only models that take frames of any size see them whole"):
        linear_video.load(folders / "ile", "whole")
    with pytest.raises(InputError, match="train one first"):
        linear_video.load(tmp_path / "nothing")


def test_paths_may_be_text(folders: Path) -> None:
    assert linear_video.load(str(folders / "ile"), device="cpu").name == "ile"


def test_models_of_mlflow_are_found_in_their_folder(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "model" / "artifacts").mkdir(parents=True)
    (tmp_path / "model" / "MLmodel").write_text("")
    (tmp_path / "model" / "artifacts" / "checkpoint").symlink_to(folders / "ile")
    assert linear_video.load(tmp_path / "model", device="cpu").name == "ile"


def test_what_mlflow_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")

    def fail(artifact_uri: str, dst_path: str) -> NoReturn:
        raise mlflow.exceptions.MlflowException(f"Run of {artifact_uri} not found")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fail)
    with pytest.raises(InputError, match=r"runs:/0123/model cannot be loaded from MLflow \(Run of .* not found\)"):
        linear_video.load("runs:/0123/model")


def test_small_models_know_waves(tmp_path: Path) -> None:
    """What the other tests compare is worth comparing."""
    frames = footage(15)
    for name in ("ile", "dynamic_vae", "lds"):
        future = load_small(tmp_path / name, name).extrapolate(frames[:12], 3)
        assert (
            np.abs(future.astype(int) - frames[12:]).mean() < 0.5 * np.abs(frames[12:] - frames[11].astype(int)).mean()
        )
        assert ((future > 0) & (future < 255)).mean() > 0.9, name


@pytest.mark.parametrize("method", ["blend", "model"])
def test_weights_on_a_gpu_are_taken_from_it(folders: Path, monkeypatch: pytest.MonkeyPatch, method: Any) -> None:
    """Without a GPU, tensors that NumPy cannot read stand for those on one."""

    def refuse(*_: Any) -> NoReturn:
        raise TypeError("tensors of a GPU cannot be converted")

    trained = linear_video.load(folders / "ile", context=CONTEXT, device="cpu", method=method)
    expected = [list(trained.fill_in(footage(), [5])), list(trained.retime(footage(), 2.0))]
    monkeypatch.setattr(Tensor, "__array__", refuse)
    assert np.array_equal([list(trained.fill_in(footage(), [5]))], expected[:1])
    assert np.array_equal([list(trained.retime(footage(), 2.0))], expected[1:])

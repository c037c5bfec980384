"""Frames between known ones: what is hidden stays hidden, and each method is what it says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

import linear_video
from linear_video.common.errors import InputError
from linear_video.models.checkpoint import save_checkpoint
from linear_video.models.registry import build, describe
from linear_video.tasks import parts, references
from linear_video.tasks.backtest import Backtest, psnr
from linear_video.tasks.between import AROUND, CALM, READ_AHEAD, Between, filled, retimed
from linear_video.tasks.parts import Frame, to_frame, to_values
from linear_video.tasks.references import Values
from linear_video.tasks.trained import TrainedModel
from tests.tasks.pictures_that_move import far_off, moment, pan, texture
from tests.tasks.small_models import save_model, waves

Frames = NDArray[np.uint8]
Load = Callable[..., TrainedModel]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("ile", "lds", "last_frame"):
        save_model(root / name, name)
    return root


@pytest.fixture
def load(folders: Path) -> Load:
    def load_one(method: str = "blend", name: str = "ile", **settings: Any) -> TrainedModel:
        return linear_video.load(folders / name, settings.get("fit", "resize"), 4, "cpu", method)

    return load_one


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace optical flow by the mean where it does not matter, since it takes most of the time."""

    def mean(before: Values, after: Values, share: float, fine: bool = False) -> Values:
        return references.mean_of_neighbours(before, after, share)

    monkeypatch.setattr(references, "optical_flow_between", mean)


def fill(trained: TrainedModel, frames: Any, missing: list[int]) -> Frames:
    return np.stack(list(trained.fill_in(frames, missing)))


def retime(trained: TrainedModel, frames: Any, factor: float) -> Frames:
    return np.stack(list(trained.retime(frames, factor)))


def static(frames: int, seed: int, height: int = 24, width: int = 32) -> Frames:
    return np.stack([to_frame(texture(height, width, 3, seed=seed))] * frames)


# --- what is hidden ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["blend", "model", "optical_flow", "mean", "cubic"])
@pytest.mark.parametrize("missing", [[10, 11, 20], [0, 1, 8, 29], [2, 4, 6]])
@pytest.mark.usefixtures("quick")
def test_what_missing_frames_hold_does_not_matter(load: Load, method: str, missing: list[int]) -> None:
    frames = pan(30, 24, 32)
    others = frames.copy()
    others[missing] = np.random.default_rng(0).integers(0, 256, (len(missing), 24, 32, 1))
    np.testing.assert_array_equal(fill(load(method), others, missing), fill(load(method), frames, missing))


@pytest.mark.parametrize("other", [None, 3, 7])
@pytest.mark.usefixtures("quick")
def test_a_missing_frame_beside_a_cut_does_not_hide_it(load: Load, other: int | None) -> None:
    """Frames are compared with those beside them, to know a cut: never with ones that are missing, as a black one."""
    frames = np.concatenate((static(5, 0), static(7, 1)))
    missing = [5] if other is None else [5, other]
    frames[missing] = 0
    found = fill(load(), frames, missing)
    assert min(far_off(found[5], frames[4]), far_off(found[5], frames[6])) == 0


@pytest.mark.parametrize("method", ["blend", "optical_flow", "mean", "cubic"])
@pytest.mark.parametrize("missing", [[], [7], [0, 3, 4, 5, 13], [1, 12]])
@pytest.mark.usefixtures("quick")
def test_known_frames_are_as_they_were(load: Load, method: str, missing: list[int]) -> None:
    frames = waves(14, 20, 24)
    found = fill(load(method), frames, missing)
    there = [number for number in range(14) if number not in missing]
    assert found.shape == frames.shape
    np.testing.assert_array_equal(found[there], frames[there])


@pytest.mark.parametrize("factor", [2, 0.5, 1.5, 1])
@pytest.mark.usefixtures("quick")
def test_moments_of_frames_are_those_frames(load: Load, factor: float) -> None:
    frames = pan(20, 24, 32)
    for number, frame in enumerate(retime(load(), frames, factor)):
        if (number / factor).is_integer():
            np.testing.assert_array_equal(frame, frames[int(number / factor)])


@pytest.mark.parametrize(
    ("missing", "gaps"), [([], {1}), ([4], {1}), ([3, 7, 8, 12, 13, 14], {1, 2, 3}), ([0, 1], {2})]
)
@pytest.mark.usefixtures("quick")
def test_gaps_as_long_as_the_ones_to_be_filled_are_tested(load: Load, missing: list[int], gaps: set[int]) -> None:
    last: Between | None = None
    for _, between in load().filled(pan(40, 24, 32), missing):
        last = between
    assert last is not None
    assert last.gaps == gaps
    tested = set(last.backtest.table()["distance"]) if 4 in missing or 7 in missing else set()
    assert tested == (gaps if tested else set())


def test_frames_before_the_first_and_after_the_last_known_one_are_those(load: Load) -> None:
    frames = pan(12, 24, 32)
    found = fill(load(), frames, [0, 1, 10, 11])
    for number, known in {0: 2, 1: 2, 10: 9, 11: 9}.items():
        np.testing.assert_array_equal(found[number], frames[known])


def test_the_blend_fills_what_moves_better_than_the_mean(load: Load) -> None:
    frames = pan(40, 32, 40, planes=3)
    missing = [10, 20, 21, 33]
    blend, mean = (fill(load(method), frames, missing) for method in ("blend", "mean"))
    for number in missing:
        truth = to_values(frames[number])
        assert psnr(to_values(blend[number]), truth) > psnr(to_values(mean[number]), truth) + 5


@pytest.mark.parametrize(("speed", "pace", "lines"), [(0.3, CALM, 64), (3.0, 0, 32)])
def test_moments_between_are_tested_at_half_the_size_unless_little_moves(
    load: Load, speed: float, pace: int, lines: int
) -> None:
    last: Between | None = None
    for _, between in load().retimed(pan(24, 64, 80, speed=speed), 2):
        last = between
    assert last is not None
    assert set(last.backtest.table()["distance"]) == {pace}
    assert {example.frames["truth"].shape[0] for example in last.backtest.examples()} == {lines}


# --- cuts and repeated frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["blend", "optical_flow", "mean", "cubic"])
def test_nothing_is_mixed_across_a_cut(load: Load, method: str) -> None:
    one, other = pan(6, 24, 32, speed=0.1), 255 - pan(6, 24, 32, speed=-0.1)
    frames = np.concatenate((one, other))
    for number, frame in enumerate(retime(load(method), frames, 4)):
        if 20 < number < 24:
            np.testing.assert_array_equal(frame, frames[5] if number < 22 else frames[6])
    found = fill(load(method), frames, [5, 6])
    np.testing.assert_array_equal(found[[5, 6]], frames[[4, 7]])


def with_repeats(frames: int) -> Frames:
    """Every fifth frame repeats the one before it."""
    footage = pan(frames, 32, 48, speed=1.5)
    footage[4::5] = footage[3::5][: len(footage[4::5])]
    return footage


@pytest.mark.parametrize("factor", [1, 2])
def test_repeated_frames_are_replaced_by_what_lies_between(load: Load, factor: int) -> None:
    footage = with_repeats(18)
    found = retime(load(), footage, factor)
    for number in range(4, 17, 5):
        truth = to_frame(moment(number, 32, 48, speed=1.5))
        assert far_off(found[factor * number], truth) < 0.3 * far_off(footage[number], truth)


def test_repeats_are_believed_where_frames_are_filled_in(load: Load) -> None:
    footage = with_repeats(20)
    found = fill(load("mean"), footage, [5])
    np.testing.assert_array_equal(np.delete(found, 5, 0), np.delete(footage, 5, 0))
    np.testing.assert_array_equal(found[5], to_frame(0.5 * to_values(footage[4]) + 0.5 * to_values(footage[6])))


@pytest.mark.usefixtures("quick")
def test_what_stands_still_stays_so(load: Load) -> None:
    frames = static(12, 0)
    for frame in retime(load(), frames, 2):
        np.testing.assert_array_equal(frame, frames[0])


@pytest.mark.usefixtures("quick")
def test_a_pause_stays_a_pause(load: Load) -> None:
    """A scene that stops for a second is not set in motion: its frames are known, and do not count as repeats."""
    before, after = pan(12, 24, 32), np.stack([to_frame(moment(11.0 + k, 24, 32)) for k in range(12)])
    frames = np.concatenate((before, np.stack([before[-1]] * 25), after[1:]))
    found = retime(load("mean"), frames, 2)
    for number in range(24, 70):
        assert far_off(found[number], before[-1]) == 0, number


@pytest.mark.usefixtures("quick")
def test_guesses_are_of_the_moment_that_was_given(load: Load) -> None:
    """For a known frame or across a cut there are no guesses, and never those of an earlier time."""
    frames = np.concatenate((pan(8, 24, 32, speed=0.1), 255 - pan(8, 24, 32, speed=0.1)))
    for number, (_, between) in enumerate(load("mean").retimed(frames, 2)):
        assert between is not None
        before, share = divmod(number / 2, 1)
        two = [to_values(frames[min(int(before) + k, 15)]) for k in (0, 1)]
        if "mean" in between.guesses:
            mean = references.mean_of_neighbours(two[0], two[1], share)
            np.testing.assert_allclose(between.guesses["mean"], mean, atol=1e-6)
    missing = [0, 3, 7, 8, 15]
    for number, (_, between) in enumerate(load("mean").filled(frames, missing)):
        assert between is not None
        if number in missing and "mean" in between.guesses:
            assert number == 3


# --- methods ----------------------------------------------------------------------------------------------------------


def expected(method: str, four: list[Frame], share: float) -> Frame:
    outer = [to_values(frame) for frame in four]
    one, two = outer[1:3]
    made = {
        "mean": lambda: references.mean_of_neighbours(one, two, share),
        "optical_flow": lambda: references.optical_flow_between(one, two, share),
        "cubic": lambda: references.cubic(outer, share),
    }
    return to_frame(made[method]())


@pytest.mark.parametrize(("method", "planes"), [("optical_flow", 3), ("mean", 1), ("cubic", 3)])
def test_a_method_alone_is_that_reference_exactly(load: Load, method: str, planes: int) -> None:
    frames = pan(14, 24, 32, planes)
    found = retime(load(method), frames, 2.5)
    for number in (11, 12, 13, 24):
        before, share = divmod(number / 2.5, 1)
        four = list(frames[int(before) - 1 : int(before) + 3])
        np.testing.assert_array_equal(found[number], expected(method, four, share))
    one = fill(load(method), frames, [8])[8]
    np.testing.assert_array_equal(one, expected(method, [frames[k] for k in (5, 7, 9, 11)], 0.5))
    two = fill(load(method), frames, [8, 9])
    for number, share in ((8, 1 / 3), (9, 2 / 3)):
        np.testing.assert_array_equal(two[number], expected(method, [frames[k] for k in (4, 7, 10, 13)], share))


@pytest.mark.usefixtures("quick")
def test_cubic_is_the_mean_where_no_frames_are_on_the_other_side(load: Load) -> None:
    frames = pan(8, 24, 32)
    cubic, mean = (retime(load(method), frames, 2) for method in ("cubic", "mean"))
    np.testing.assert_array_equal(cubic[[1, -2]], mean[[1, -2]])
    assert (cubic[3:-3:2] != mean[3:-3:2]).any()


@pytest.mark.parametrize("name", ["last_frame", "lds"])
@pytest.mark.parametrize("method", ["blend", "optical_flow"])
def test_models_that_know_no_moments_between_are_not_asked(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, method: str
) -> None:
    def asked(*_: object) -> NoReturn:
        raise AssertionError("the model was asked")

    monkeypatch.setattr(TrainedModel, "model_between", asked)
    trained, frames = load(method, name), pan(20, 24, 32)
    assert len(retime(trained, frames, 2)) == 39
    found = fill(trained, frames, [7])
    assert far_off(found[7], frames[7]) < 0.3 * far_off(frames[6], frames[7])


def test_a_model_alone_is_what_the_model_says(load: Load) -> None:
    """With ``method="model"`` there are no tests, and no references."""
    for given in (load("model").filled(pan(8, 24, 32), [3]), load("model").retimed(pan(8, 24, 32), 2)):
        assert {between for _, between in given} == {None}


@pytest.mark.usefixtures("quick")
def test_the_model_sees_what_is_around_and_nothing_that_is_missing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backtest, "leave_out", lambda *_: False)
    trained, frames, missing = load(), pan(24, 24, 32), [9, 10, 13]
    guessed = {number: between.guesses for number, (_, between) in enumerate(filled(trained, frames, missing))}
    for number, (before, after) in {9: (8, 11), 10: (8, 11), 13: (12, 14)}.items():
        shown = [frames[k] if k not in missing else None for k in range(before - AROUND + 1, after + AROUND)]
        expected_one = to_values(trained.model_between(shown, number - (before - AROUND + 1)))
        np.testing.assert_array_equal(guessed[number]["model"], expected_one)


@pytest.mark.parametrize("task", ["fill_in", "retime"])
def test_a_method_that_is_for_other_tasks_is_refused(load: Load, task: str) -> None:
    trained, frames = load("last_frame"), pan(12, 24, 32)
    with pytest.raises(InputError, match="last_frame"):
        list(trained.fill_in(frames, [4]) if task == "fill_in" else trained.retime(frames, 2))


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["blend", "mean"])
@pytest.mark.usefixtures("quick")
def test_generators_and_arrays_give_the_same(load: Load, method: str) -> None:
    frames, missing = pan(60, 16, 24, 3), [7, 30, 31]
    for task in (lambda video: fill(load(method), video, missing), lambda video: retime(load(method), video, 1.7)):
        np.testing.assert_array_equal(task(frame for frame in frames), task(frames))


def stream_of(count: int) -> Iterator[Frame]:
    few = pan(32, 12, 16)
    return (few[number % 32] for number in range(count))


MEMORY: dict[str, Callable[[TrainedModel], Iterator[tuple[Frame, Between]]]] = {
    "some missing": lambda trained: filled(trained, stream_of(1000), range(5, 1000, 90)),
    "one missing at first": lambda trained: filled(trained, stream_of(1000), [5]),
    "one missing at last": lambda trained: filled(trained, stream_of(1000), [990]),
    "twice as many": lambda trained: retimed(trained, stream_of(1000), 2),
    "as many": lambda trained: retimed(trained, stream_of(1000), 1),
    "half as many": lambda trained: retimed(trained, stream_of(1000), 0.5),
}


@pytest.mark.parametrize("task", MEMORY)
@pytest.mark.parametrize("method", ["blend", "mean"])
@pytest.mark.usefixtures("quick")
def test_memory_does_not_grow_with_the_video(load: Load, task: str, method: str) -> None:
    most = max(len(between.stream.kept) for _, between in MEMORY[task](load(method, "last_frame")))
    assert most <= 4 * READ_AHEAD


@pytest.mark.usefixtures("quick")
def test_a_frozen_scene_does_not_fill_the_memory(load: Load) -> None:
    frozen = (frame for part in (pan(8, 12, 16), np.stack([pan(8, 12, 16)[-1]] * 600)) for frame in part)
    most = max(len(between.stream.kept) for _, between in retimed(load("mean", "last_frame"), frozen, 2))
    assert most <= 4 * READ_AHEAD


@pytest.mark.parametrize("factor", [0.1, 1 / 3, 0.7, 1, 1.5, 2, 7.7, 10])
@pytest.mark.parametrize("length", [2, 17])
@pytest.mark.usefixtures("quick")
def test_retimed_footage_ends_with_its_last_frame_or_just_before(load: Load, factor: float, length: int) -> None:
    frames = pan(length, 12, 16)
    found = retime(load("mean"), frames, factor)
    assert len(found) == int((length - 1) * factor + 1e-9) + 1
    if (len(found) - 1) / factor == pytest.approx(length - 1):
        np.testing.assert_array_equal(found[-1], frames[-1])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["blend", "mean"])
@pytest.mark.parametrize("missing", [[12], [3, 15, 12], [99, 12]])
def test_a_missing_frame_beyond_the_end_is_named(load: Load, method: str, missing: list[int]) -> None:
    with pytest.raises(InputError, match="missing names frame 12, but the footage has 12 frames"):
        fill(load(method), pan(12, 12, 16), missing)


def test_footage_of_which_nothing_is_known_is_refused(load: Load) -> None:
    with pytest.raises(InputError, match="no frame of the footage is known"):
        fill(load(), pan(4, 12, 16), [0, 1, 2, 3])


@pytest.mark.parametrize(("length", "words"), [(0, "0 frames"), (1, "1 frame")])
def test_footage_too_short_to_be_retimed_is_refused(load: Load, length: int, words: str) -> None:
    with pytest.raises(InputError, match=f"the footage has {words}, but this needs at least 2"):
        retime(load(), pan(3, 12, 16)[:length], 2)


@pytest.mark.parametrize(
    "task", [lambda t, f: fill(t, f, [1]), lambda t, f: retime(t, f, 2)], ids=["fill_in", "retime"]
)
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (pan(5, 12, 16) / 255, r"frames must be uint8 .* not float64 \(12, 16, 1\)"),
        (np.zeros((5, 12), np.uint8), r"not uint8 \(12,\)"),
        ([*pan(3, 12, 16), *pan(2, 12, 14)], r"frame 3 is \(12, 14, 1\), the ones before \(12, 16, 1\)"),
    ],
    ids=["float", "one axis", "size"],
)
def test_what_is_no_frame_is_refused(
    load: Load, task: Callable[[TrainedModel, Any], Frames], frames: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        task(load(), frames)


def test_large_frames_are_filled_in_by_smaller_copies_and_retimed_without_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("ile", (3, 16, 16), {"dynamics": "warp", "couplings": 0, "blocks": 1, "motion_channels": 4})
    save_checkpoint(tmp_path, model, describe("ile", model))
    trained = linear_video.load(tmp_path, context=5, device="cpu")
    seen: list[tuple[int, ...]] = []
    asked = trained.model_between
    monkeypatch.setattr(parts, "MODEL_LINES", 32)

    def counted(frames: list[Frame | None], time: float) -> Frame:
        seen.extend(frame.shape for frame in frames if frame is not None)
        return asked(frames, time)

    monkeypatch.setattr(trained, "model_between", counted)
    frames = np.repeat(pan(20, 48, 64), 3, axis=3)
    retime(trained, frames, 2)
    assert not seen
    found = fill(trained, frames, [9])
    assert found.shape == frames.shape
    assert set(seen) == {(24, 32, 3)}

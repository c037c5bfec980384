"""Frames after the last one: windows see the past alone, and each method is what it says."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import linear_video
from linear_video.common.errors import InputError
from linear_video.tasks import references
from linear_video.tasks.ahead import APART, GUESSES, WINDOWS, Ahead, ends_of_tests
from linear_video.tasks.backtest import psnr
from linear_video.tasks.parts import Frame, to_frame, to_values
from linear_video.tasks.references import Values
from linear_video.tasks.trained import TrainedModel
from tests.tasks.pictures_that_move import pan
from tests.tasks.small_models import save_model, waves

CONTEXT, HORIZON = 4, 3
Load = Callable[..., TrainedModel]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("ile", "last_frame"):
        save_model(root / name, name)
    return root


@pytest.fixture
def load(folders: Path) -> Load:
    def load_one(method: str = "blend", name: str = "ile", context: int = CONTEXT) -> TrainedModel:
        return linear_video.load(folders / name, "resize", context, "cpu", method)

    return load_one


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("method", ["model", "optical_flow", "last_frame"])
def test_a_method_alone_is_that_guess_exactly(load: Load, method: str, planes: int) -> None:
    frames = pan(9, 24, 32, planes)
    last = [to_values(frame) for frame in frames[-2:]]
    expected = {
        "model": lambda: load("model").model_ahead(frames, HORIZON),
        "optical_flow": lambda: [to_frame(frame) for frame in references.optical_flow(last, HORIZON)],
        "last_frame": lambda: frames[[-1] * HORIZON],
    }
    found = load(method).extrapolate(frames, HORIZON)
    assert found.shape == (HORIZON, 24, 32, planes)
    np.testing.assert_array_equal(found, expected[method]())


@pytest.mark.parametrize("planes", [1, 3])
def test_the_blend_is_as_good_as_its_guesses(load: Load, planes: int) -> None:
    """The model knows nothing about this texture, and optical flow knows all about it."""
    frames = pan(24 + HORIZON, 32, 40, planes, speed=1.5)
    ahead = Ahead(load(), HORIZON)
    guesses = ahead.run(frames[:24])
    found = ahead.given(guesses)
    for lead in range(HORIZON):
        truth = to_values(frames[24 + lead])
        each = {name: psnr(guess, truth) for name, guess in guesses[lead].items()}
        blended = psnr(to_values(found[lead]), truth)
        assert blended > max(each["model"], each["last_frame"]) + 3
        assert blended > each["optical_flow"] - 1


def test_a_model_that_knows_the_scene_is_believed(load: Load) -> None:
    """Waves of several speeds in one place, of which a flow knows nothing, in the size that the model was made of."""
    frames = waves(40, 8, 8, 1)
    ahead = Ahead(load(), HORIZON)
    ahead.run(frames[:-HORIZON])
    means = ahead.backtest.table().groupby("method")["psnr"].mean()
    assert means["model"] > means[["optical_flow", "fine_flow", "last_frame"]].max()
    assert means["blend"] > means["model"] - 0.5


class Watched(Ahead):
    """Records what every window has seen, and what it was tested with."""

    def __init__(self, trained: TrainedModel, horizon: int) -> None:
        super().__init__(trained, horizon)
        self.seen: list[list[int]] = []
        self.truths: list[list[int]] = []

    def guesses(self, seen: Sequence[Frame]) -> list[dict[str, Values]]:
        self.seen.append([int(frame.flat[0]) for frame in seen])
        nothing = np.zeros((2, 2, 1), np.float32)
        return [dict.fromkeys(GUESSES, nothing) for _ in range(self.horizon)]

    def learn(self, guesses: Any, truth: Sequence[Frame]) -> None:
        self.truths.append([int(frame.flat[0]) for frame in truth])


def numbered(count: int) -> NDArray[np.uint8]:
    """Frames whose values are their numbers."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 1))


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 1, CONTEXT + 2, 12, 90])
@pytest.mark.parametrize("horizon", [1, 3, 6])
def test_windows_never_see_the_frames_that_they_are_tested_with(load: Load, length: int, horizon: int) -> None:
    ahead = Watched(load(), horizon)
    ahead.run(numbered(length))
    *tests, last = ahead.seen
    assert last[-CONTEXT:] == list(range(length - CONTEXT, length))
    assert len(tests) == len(ahead.truths)
    ends = []
    for seen, truth in zip(tests, ahead.truths, strict=True):
        assert len(seen) >= CONTEXT
        assert seen == list(range(seen[0], seen[-1] + 1))
        assert truth[0] == seen[-1] + 1
        ends.append(seen[-1])
    assert ends == sorted(ends)  # the latest count most
    assert len(ends) == len(set(ends))
    if length > CONTEXT:
        assert ends[-1] == length - 2
        assert ends == list(range(ends[0], length, APART))
    if length == 90:
        assert len(ends) >= WINDOWS


def test_guesses_do_not_depend_on_what_follows(load: Load) -> None:
    frames = pan(14, 24, 32)
    changed = frames.copy()
    changed[10:] = 255 - changed[10:]
    one, other = (Ahead(load(), HORIZON).guesses(list(video[:10])) for video in (frames, changed))
    for guess, same in zip(one, other, strict=True):
        for name in GUESSES:
            np.testing.assert_array_equal(guess[name], same[name])


def test_only_the_last_frames_count_and_are_kept(load: Load) -> None:
    frames = pan(60, 12, 16)
    reach = CONTEXT + WINDOWS * APART + HORIZON
    changed = frames.copy()
    changed[: len(frames) - reach] = 0
    trained = load(name="last_frame")
    np.testing.assert_array_equal(trained.extrapolate(changed, HORIZON), trained.extrapolate(frames, HORIZON))


def test_every_lead_is_tested_with_what_is_known_of_it(load: Load) -> None:
    ahead = Ahead(load(name="last_frame"), HORIZON)
    ahead.run(pan(20, 12, 16))
    counts = {lead: sum(score["distance"] == lead for score in ahead.backtest.scores) for lead in range(1, 4)}
    windows = len(range(19, CONTEXT - 1, -APART))
    assert counts == {1: windows, 2: windows - 1, 3: windows - 1}
    assert set(ahead.backtest.table()["distance"]) == {1, 2, 3}


def test_a_model_alone_is_not_tested(load: Load) -> None:
    ahead = Ahead(load("model"), HORIZON)
    ahead.run(pan(20, 12, 16))
    assert ahead.backtest.table().empty


def test_footage_of_the_context_alone_is_guessed_without_a_test(load: Load) -> None:
    frames = pan(CONTEXT, 24, 32)
    np.testing.assert_array_equal(
        load().extrapolate(frames, HORIZON), load("optical_flow").extrapolate(frames, HORIZON)
    )


def test_generators_and_arrays_give_the_same(load: Load) -> None:
    frames = pan(20, 16, 24, 3)
    expected = load().extrapolate(frames, HORIZON)
    np.testing.assert_array_equal(load().extrapolate((frame for frame in frames), HORIZON), expected)
    grey = frames[..., 0]
    np.testing.assert_array_equal(load().extrapolate(grey, HORIZON), load().extrapolate(grey[..., None], HORIZON))


@pytest.mark.parametrize("method", ["blend", "model", "optical_flow", "last_frame"])
@pytest.mark.parametrize("length", [0, 1, CONTEXT - 1])
def test_fewer_frames_than_the_context_are_refused(load: Load, method: str, length: int) -> None:
    frames = "1 frame" if length == 1 else f"{length} frames"
    with pytest.raises(
        InputError, match=rf"the footage has {frames}, but this needs at least {CONTEXT} \(parameter context\)"
    ):
        load(method).extrapolate(pan(4, 12, 16)[:length], HORIZON)


@pytest.mark.parametrize("method", ["mean", "cubic"])
def test_a_method_that_is_for_other_tasks_is_refused(load: Load, method: str) -> None:
    with pytest.raises(InputError, match=method):
        load(method).extrapolate(pan(6, 12, 16), HORIZON)


@pytest.mark.parametrize("method", ["blend", "optical_flow", "last_frame"])
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (pan(9, 12, 16) / 255, r"frames must be uint8 .* not float64 \(12, 16, 1\)"),
        (np.zeros((9, 12, 16, 3, 1), np.uint8), r"not uint8 \(12, 16, 3, 1\)"),
        (np.zeros((9, 12), np.uint8), r"not uint8 \(12,\)"),
        (np.zeros((9, 0, 16, 3), np.uint8), r"not uint8 \(0, 16, 3\)"),
        ([*pan(3, 12, 16), *pan(6, 12, 14)], r"frame 3 is \(12, 14, 1\), the ones before \(12, 16, 1\)"),
    ],
    ids=["float", "five axes", "one axis", "empty", "size"],
)
def test_what_is_no_frame_is_refused(load: Load, method: str, frames: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(method).extrapolate(frames, HORIZON)


@given(st.integers(0, 80), st.integers(2, 20), st.integers(1, 60))
def test_tests_see_enough_frames_and_have_some_to_guess(length: int, context: int, horizon: int) -> None:
    ends = list(ends_of_tests(length, context, horizon))
    assert all(context <= end < length for end in ends)
    assert len(ends) <= WINDOWS + horizon // APART
    assert bool(ends) == (length > context)

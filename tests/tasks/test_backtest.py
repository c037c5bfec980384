"""How a video tells which method to trust, against the same computed by hand."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skimage.metrics import peak_signal_noise_ratio

from linear_video.tasks.backtest import Backtest, psnr
from linear_video.tasks.blend import Blend
from linear_video.tasks.parts import to_frame
from linear_video.tasks.references import Values, blurred
from tests.tasks.pictures_that_move import noisy, texture

NAMES = ["model", "optical_flow", "mean"]
Guesses = dict[str, Values]


def guessed(seed: int, model: float = 0.02, flow: float = 0.05, mean: float = 0.1) -> tuple[Guesses, Values]:
    """Guesses of a frame, with noise of the given sizes, and the frame."""
    truth = texture(32, 40, smooth=2.0, seed=seed)
    sizes = {"model": model, "optical_flow": flow, "mean": mean}
    return {name: noisy(truth, size, 3 * seed + k) for k, (name, size) in enumerate(sizes.items())}, truth


def learned(count: int = 4, distances: tuple[int, ...] = (1,), method: str = "blend", **sizes: float) -> Backtest:
    backtest = Backtest(method, NAMES, "optical_flow")
    for seed in range(count):
        for distance in distances:
            backtest.learn(distance, *guessed(10 * distance + seed, **sizes))
    return backtest


def test_psnr_is_that_of_scikit_image() -> None:
    one, other = texture(20, 30, 3), texture(20, 30, 3, seed=1)
    assert psnr(one, other) == pytest.approx(peak_signal_noise_ratio(other, one, data_range=1), abs=1e-4)
    assert psnr(one, one) == 100
    assert psnr(one + 5, other) == pytest.approx(psnr(np.ones_like(one), other))  # guesses are clipped


def test_the_blend_is_scored_before_it_learns_of_a_frame() -> None:
    backtest, alone = Backtest("blend", NAMES, "optical_flow"), Blend(NAMES, "optical_flow")
    for seed in range(4):
        guesses, truth = guessed(seed)
        expected = {name: psnr(guess, truth) for name, guess in guesses.items()}
        if seed:
            expected["blend"] = psnr(alone.blended(guesses), truth)
        backtest.learn(2, guesses, truth)
        alone.learn(guesses, truth)
        assert backtest.scores[-1] == pytest.approx({"distance": 2, **expected})


def test_guesses_that_are_not_blended_are_scored_alone() -> None:
    backtest = Backtest("blend", NAMES, "optical_flow")
    for seed in range(3):
        guesses, truth = guessed(seed)
        backtest.learn(1, guesses | {"cubic": truth}, truth)
    assert backtest.scores[-1]["cubic"] == 100
    assert backtest.blends[1].names == NAMES
    row = backtest.table().set_index("method").loc["cubic"]
    assert np.isnan(row["share"])


def test_what_is_unknown_of_a_distance_is_that_of_the_nearest() -> None:
    backtest = learned(distances=(1, 4, 9))
    for distance, nearest in {1: 1, 2: 1, 3: 4, 4: 4, 6: 4, 7: 9, 30: 9}.items():
        assert backtest.nearest(distance) is backtest.blends[nearest]
    guesses, _ = guessed(7)
    np.testing.assert_array_equal(backtest.given(7, guesses), backtest.blends[9].blended(guesses))


def test_nothing_known_gives_the_trusted_guess() -> None:
    guesses, _ = guessed(0)
    found = Backtest("blend", NAMES, "optical_flow").given(3, guesses)
    np.testing.assert_allclose(found, guesses["optical_flow"].clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("method", NAMES)
def test_a_method_alone_is_its_guess_whatever_was_learned(method: str) -> None:
    guesses, _ = guessed(7)
    np.testing.assert_array_equal(learned(method=method).given(1, guesses), guesses[method].clip(0, 1))


def test_a_useless_guess_is_left_out_and_the_others_are_kept() -> None:
    backtest = Backtest("blend", NAMES, "optical_flow")
    for seed in range(6):
        guesses, truth = guessed(seed, flow=0.02)
        for distance in (1, 2):
            backtest.learn(distance, guesses | {"model": np.full_like(truth, 0.9)}, truth)
    before = {distance: blend.without("model").weights for distance, blend in backtest.blends.items()}
    assert backtest.leave_out("model")
    assert backtest.names == ["optical_flow", "mean"]
    for distance, blend in backtest.blends.items():
        np.testing.assert_array_equal(blend.weights, before[distance])
    assert not backtest.leave_out("model")  # it is no longer there
    guesses, truth = guessed(30)
    del guesses["model"]
    backtest.learn(1, guesses, truth)
    backtest.learn(5, guesses, truth)
    assert backtest.blends[5].names == ["optical_flow", "mean"]
    assert backtest.given(3, guesses).shape == truth.shape


def test_a_guess_that_helps_at_one_distance_stays() -> None:
    backtest = Backtest("blend", NAMES, "optical_flow")
    for seed in range(6):
        guesses, truth = guessed(seed)
        backtest.learn(1, guesses, truth)
        backtest.learn(2, guesses | {"model": np.full_like(truth, 0.9)}, truth)
    assert not backtest.leave_out("model")
    assert backtest.names == NAMES


def test_nothing_is_left_out_before_a_test_nor_the_last_guess() -> None:
    assert not Backtest("blend", NAMES, "optical_flow").leave_out("model")
    alone = Backtest("blend", ["model"], "model")
    alone.learn(1, *guessed(0))
    assert not alone.leave_out("model")


def test_the_table_has_the_means_and_the_shares_of_each_method() -> None:
    """The table covers all tests except the first, which has no blend."""
    backtest = learned(5, distances=(2,))
    table = backtest.table()
    assert list(table.columns) == ["distance", "method", "tests", "psnr", "share"]
    assert table["method"].tolist() == [*NAMES, "blend"]
    scores, shares = pd.DataFrame(backtest.scores[1:]), backtest.blends[2].shares()
    row: Any
    for row in table.itertuples():
        assert (row.distance, row.tests) == (2, 4)
        assert row.psnr == pytest.approx(scores[row.method].mean())
        assert row.share == pytest.approx(shares.get(row.method, np.nan), nan_ok=True)


def test_the_table_is_sorted_by_distance() -> None:
    assert learned(3, distances=(3, 1, 2)).table()["distance"].tolist() == [1] * 4 + [2] * 4 + [3] * 4


@pytest.mark.parametrize("distances", [(1,), (1, 2), (3, 1, 2)])
def test_all_methods_are_compared_in_the_same_tests(distances: tuple[int, ...]) -> None:
    table = learned(5, distances).table()
    for distance in distances:
        assert len(set(table.loc[table["distance"] == distance, "tests"])) == 1


def test_a_single_test_is_told_too() -> None:
    table = learned(1).table()
    assert table["tests"].tolist() == [1, 1, 1]
    assert table["method"].tolist() == NAMES


def test_no_test_is_an_empty_table_with_the_same_columns() -> None:
    table = Backtest("blend", NAMES, "optical_flow").table()
    assert table.empty
    assert list(table.columns) == list(learned().table().columns)


@pytest.mark.parametrize(("model", "warned"), [(0.02, False), (0.2, True)])
def test_a_model_that_is_worse_than_a_reference_is_told(
    caplog: pytest.LogCaptureFixture, model: float, warned: bool
) -> None:
    backtest = learned(model=model)
    with caplog.at_level(logging.WARNING, "linear_video"):
        backtest.warn("film.avi", None)
    if not warned:
        assert not caplog.records
        return
    means = backtest.table().set_index("method")["psnr"]
    (told,) = caplog.messages
    assert told.startswith("film.avi: the model alone is worse here than optical flow")
    assert f"{means['model']:.1f} dB against {means['optical_flow']:.1f} dB" in told


def test_no_model_and_no_test_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "linear_video"):
        Backtest("blend", NAMES, "optical_flow").warn("film.avi", None)
        without = Backtest("blend", NAMES[1:], "optical_flow")
        for seed in range(3):
            without.learn(1, *guessed(seed))
        without.names = NAMES[1:]
    assert not caplog.records


@pytest.mark.parametrize(("least", "warned"), [(20.0, False), (36.0, False), (38.0, True)])
def test_footage_on_which_a_model_is_much_worse_than_on_its_own_is_told(
    caplog: pytest.LogCaptureFixture, least: float, warned: bool
) -> None:
    backtest = learned(distances=(1, 2))  # with noise of 0.02: 34 dB
    with caplog.at_level(logging.WARNING, "linear_video"):
        backtest.warn("film.avi", (least, 45.0))
    assert [f"{least:.1f} to 45.0 dB" in text for text in caplog.messages] == [True] * warned


def test_a_model_that_was_left_out_of_the_nearest_tests_is_judged_by_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backtest = Backtest("blend", NAMES, "optical_flow")
    for seed in range(6):
        guesses, truth = guessed(seed)
        backtest.learn(2, guesses | {"model": np.full_like(truth, 0.9)}, truth)
    assert backtest.leave_out("model")
    for seed in range(6):
        guesses, truth = guessed(seed)
        del guesses["model"]
        backtest.learn(1, guesses, truth)
    with caplog.at_level(logging.WARNING, "linear_video"):
        backtest.warn("film.avi", (38.0, 45.0))
    table = backtest.table().set_index(["distance", "method"])["psnr"]
    assert f"known frames with {table[2, 'model']:.1f} dB" in caplog.text


def test_the_worst_test_is_kept_to_be_looked_at_and_few_others() -> None:
    backtest = Backtest("blend", NAMES, "optical_flow")
    for seed in range(40):
        backtest.learn(1, *guessed(seed, **({"model": 0.4, "flow": 0.4, "mean": 0.4} if seed == 13 else {})))
    scores = [row["blend"] for row in backtest.scores if "blend" in row]
    worst, *others = backtest.examples()
    assert worst.psnr == min(scores) == backtest.scores[13]["blend"]
    assert 3 <= len(others) <= 6
    assert worst not in others
    assert {example.psnr for example in others} <= set(scores)
    assert list(worst.frames) == ["truth", "blend", *NAMES]
    np.testing.assert_array_equal(worst.frames["truth"], to_frame(guessed(13)[1]))
    assert worst.captions["model"] == f", {backtest.scores[13]['model']:.1f} dB"
    assert not learned(count=1).examples()  # nothing was given yet


def test_examples_of_large_frames_are_smaller_copies() -> None:
    backtest = Backtest("mean", NAMES, "optical_flow")
    truth = texture(400, 300, planes=3)
    backtest.learn(1, dict.fromkeys(NAMES, blurred(truth, 1.0)), truth)
    assert {frame.shape for frame in backtest.examples()[0].frames.values()} == {(320, 240, 3)}


def test_the_blend_is_as_good_as_the_best_of_its_guesses() -> None:
    backtest = Backtest("blend", NAMES, "optical_flow")
    for seed in range(12):
        truth = texture(64, 64, smooth=1.0, seed=seed)
        model = np.asarray(blurred(truth, 1.5), np.float32)  # knows the coarse alone
        guesses = {"model": model, "optical_flow": noisy(truth, 0.1, seed), "mean": noisy(truth, 0.15, seed + 50)}
        backtest.learn(1, guesses, truth)
    means = backtest.table().set_index("method")["psnr"]
    assert means["blend"] > means.drop("blend").max() + 1

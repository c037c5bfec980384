"""Blends of guesses, against another solver and against guesses whose errors are known."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import lsq_linear

from linear_video.tasks.backtest import psnr
from linear_video.tasks.blend import BANDS, COARSEST, LOCAL, MEMORY, SHRINKAGE, Blend, bands, whole
from linear_video.tasks.references import Values, blurred
from tests.tasks.pictures_that_move import noisy, texture

Guesses = dict[str, Values]


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]), st.integers(0, 9))
def test_bands_put_together_are_the_frame(height: int, width: int, planes: int, seed: int) -> None:
    frame = np.random.default_rng(seed).random((height, width, planes), np.float32)
    parts = bands(frame)
    assert [part.shape[2] for part in parts] == [planes] * len(parts)
    np.testing.assert_allclose(whole(parts), frame, atol=1e-6)


@pytest.mark.parametrize(("side", "count"), [(7, 1), (15, 1), (16, 2), (31, 3), (64, 4), (300, BANDS)])
def test_bands_halve_until_the_coarsest_is_small(side: int, count: int) -> None:
    parts = bands(np.zeros((side, side + 40, 1), np.float32))
    assert len(parts) == count
    for fine, coarse in itertools.pairwise(parts):
        assert coarse.shape[:2] == tuple(-(-length // 2) for length in fine.shape[:2])
    assert min(parts[-1].shape[:2]) >= COARSEST or count == 1


def test_a_flat_frame_lies_in_the_coarsest_band_alone() -> None:
    *fine, coarsest = bands(np.full((40, 50, 3), 0.3, np.float32))
    assert all(np.abs(part).max() < 1e-6 for part in fine)
    np.testing.assert_allclose(coarsest, 0.3, atol=1e-6)


def guesses(truth: Values, seed: int) -> Guesses:
    """Guesses with different errors: noise, blur, and another picture mixed in."""
    other = texture(truth.shape[0], truth.shape[1], truth.shape[2], seed=seed + 100)
    return {
        "noisy": noisy(truth, 0.05, seed).clip(0, 1),
        "blurred": blurred(truth, 2.0),
        "mixed": np.asarray(0.8 * truth + 0.2 * other, np.float32),
    }


def learned(tests: int = 3, planes: int = 1, first: str = "noisy") -> tuple[Blend, list[tuple[Guesses, Values]]]:
    known = []
    for seed in range(tests):
        truth = texture(40, 52, planes, smooth=1.5, seed=seed)
        known.append((guesses(truth, seed), truth))
    blend = Blend(list(known[0][0]), first)
    for made, truth in known:
        blend.learn(made, truth)
    return blend, known


@pytest.mark.parametrize("planes", [1, 3])
def test_weights_are_never_negative_and_add_up_to_one(planes: int) -> None:
    blend, _ = learned(planes=planes)
    assert blend.weights.shape == (len(bands(np.zeros((40, 52, 1), np.float32))), 3 + 1)
    assert (blend.weights >= 0).all()
    np.testing.assert_allclose(blend.weights[:, :-1].sum(1), 1, atol=1e-2)
    assert blend.weights[-1, -1] == pytest.approx(0, abs=1e-6)  # the coarsest band is never weakened


def columns_of(made: Guesses, names: list[str], number: int) -> NDArray[np.float64]:
    """By the definition: guesses, and minus their mean times its doubt. (values, guesses + 1)"""
    parts = np.stack([bands(made[name])[number] for name in names]).astype(np.float64)
    mean = parts.mean(0)
    apart, energy = (
        gaussian_filter(np.square(values).mean((0, -1)), LOCAL, mode="mirror", radius=8)
        for values in (parts - mean, mean[None])
    )
    doubt = apart / (apart + energy) if number < len(bands(made[names[0]])) - 1 else np.zeros_like(apart)
    return np.concatenate((parts, -(doubt[..., None] * mean)[None])).reshape(len(names) + 1, -1).T


def test_weights_are_those_of_another_solver() -> None:
    """Bounded least squares of every pixel, each test by its best guess's error, with rows that shrink and add up."""
    blend, known = learned()
    names = blend.names
    errors = np.array([[np.square(made[name] - truth).mean() for name in names] for made, truth in known])
    factors = np.sqrt(MEMORY ** np.arange(len(known))[::-1] / errors.min(1) / known[0][1].size)
    weight = MEMORY ** np.arange(len(known))[::-1]
    best = np.append(np.eye(len(names))[np.average(np.log(errors), axis=0, weights=weight).argmin()], 0)
    for number in range(len(blend.weights)):
        rows = [f * columns_of(made, names, number) for f, (made, _) in zip(factors, known, strict=True)]
        truths = [f * bands(truth)[number].ravel() for f, (_, truth) in zip(factors, known, strict=True)]
        A, b = np.concatenate(rows), np.concatenate(truths)
        wrong = np.append(np.square(A[:, :-1] - b[:, None]).sum(0), np.square(A[:, -1]).sum())
        shrink = np.sqrt(SHRINKAGE * wrong + 1e-9)
        adds_up = 1e3 * np.append(np.ones(len(names)), 0)[None]
        A, b = np.concatenate((A, np.diag(shrink), adds_up)), np.concatenate((b, shrink * best, [1e3]))
        expected = lsq_linear(A, b, (0, np.inf), tol=1e-12).x
        np.testing.assert_allclose(blend.weights[number], expected, atol=0.02)


def test_a_perfect_guess_is_taken() -> None:
    truth = texture(40, 52, 3)
    made = guesses(truth, 0) | {"perfect": truth}
    blend = Blend(list(made), "noisy")
    blend.learn(made, truth)
    np.testing.assert_allclose(blend.weights[:, blend.names.index("perfect")], 1, atol=0.02)
    assert (blend.weights[:, -1] < 0.02).all()
    assert psnr(blend.blended(made), truth) > 50
    assert blend.shares()["perfect"] == pytest.approx(1, abs=0.02)


def test_two_guesses_of_independent_noise_are_better_together() -> None:
    def made(seed: int) -> tuple[Guesses, Values]:
        truth = texture(64, 64, seed=seed)
        return {"one": noisy(truth, 0.05, 2 * seed), "two": noisy(truth, 0.05, 2 * seed + 1)}, truth

    blend = Blend(["one", "two"], "one")
    for seed in range(4):
        blend.learn(*made(seed))
    both, truth = made(9)
    assert psnr(blend.blended(both), truth) > max(psnr(one, truth) for one in both.values()) + 2.5
    np.testing.assert_allclose(blend.weights[0, :2], 0.5, atol=0.03)


def taught_by_wrong_places() -> Blend:
    blend = Blend(["moved", "other"], "moved")
    for seed in range(3):
        truth = texture(64, 64, smooth=0.5, seed=seed)
        blend.learn({"moved": np.roll(truth, 5, 1), "other": texture(64, 64, smooth=0.5, seed=seed + 50)}, truth)
    return blend


def test_detail_at_the_wrong_place_is_left_out() -> None:
    """Bands in which all guesses are wrong get weight 0, not 1."""
    blend = taught_by_wrong_places()
    truth = texture(64, 64, smooth=0.5, seed=9)
    made = {"moved": np.roll(truth, 5, 1), "other": texture(64, 64, smooth=0.5, seed=59)}
    left, known = (np.square(bands(frame)[0]).mean() for frame in (blend.blended(made), truth))
    assert left < 0.1 * known


def test_detail_on_which_all_agree_stays_as_it_is() -> None:
    """Even where the blend has learned to weaken detail that is at the wrong place."""
    blend = taught_by_wrong_places()
    still = texture(64, 64, smooth=0.5, seed=9)
    np.testing.assert_allclose(blend.blended({"moved": still, "other": still}), still, atol=1e-3)


@pytest.mark.parametrize("first", ["noisy", "blurred", "mixed"])
def test_before_anything_is_known_the_trusted_guess_is_given(first: str) -> None:
    made = guesses(texture(40, 52, 3), 0)
    blend = Blend(list(made), first)
    np.testing.assert_allclose(blend.blended(made), made[first].clip(0, 1), atol=1e-6)
    assert blend.shares() == {name: float(name == first) for name in made}


def test_without_a_guess_is_as_if_it_had_never_been_there() -> None:
    """Of a guess that was never the best: what a test counts is by the error of the best."""
    _, known = learned()
    useless = [(made | {"useless": np.full_like(truth, 0.9)}, truth) for made, truth in known]
    with_it, never = Blend(["noisy", "useless", "blurred", "mixed"], "noisy"), learned()[0]
    for made, truth in useless:
        with_it.learn(made, truth)
    without = with_it.without("useless")
    assert without.names == never.names
    np.testing.assert_allclose(without.weights, never.weights, atol=1e-5)
    np.testing.assert_allclose(without.blended(known[0][0]), never.blended(known[0][0]), atol=1e-5)
    truth = texture(40, 52, smooth=1.5, seed=7)
    without.learn(guesses(truth, 7), truth)
    never.learn(guesses(truth, 7), truth)
    np.testing.assert_allclose(without.weights, never.weights, atol=1e-5)


def test_without_a_guess_before_anything_is_known_another_is_trusted() -> None:
    made = guesses(texture(40, 52), 0)
    kept = Blend(list(made), "mixed").without("noisy")
    np.testing.assert_allclose(kept.blended(made), made["mixed"], atol=1e-6)
    other = Blend(list(made), "mixed").without("mixed")
    np.testing.assert_allclose(other.blended(made), made["noisy"], atol=1e-6)


def test_the_error_is_that_of_the_blend_on_what_it_has_learned() -> None:
    """Of all bands, in units of the best guess's error, later tests counting more."""
    blend, known = learned()
    found = 0.0
    for made, truth in known:
        best = min(float(np.square(guess - truth).mean()) for guess in made.values())
        wrong = 0.0
        for number, wanted in enumerate(bands(truth)):
            mixed = columns_of(made, blend.names, number) @ blend.weights[number]
            wrong += float(np.square(mixed - wanted.ravel()).sum())
        found = MEMORY * found + wrong / (best * truth.size)
    assert blend.error == pytest.approx(found, rel=0.01)


def test_the_gain_is_what_would_be_lost_without_a_guess() -> None:
    _, known = learned()
    blend = Blend(["noisy", "blurred", "mixed", "useless"], "noisy")
    for made, truth in known:
        blend.learn(made | {"useless": texture(40, 52, seed=99)}, truth)
    assert blend.gain("useless") == pytest.approx(0, abs=0.03)
    gains = {name: blend.gain(name) for name in blend.names[:3]}
    assert max(gains.values()) > 0.3
    for name, gain in gains.items():
        assert gain == pytest.approx(10 * np.log10(blend.without(name).error / blend.error), abs=1e-3)


def weight_of_one(order: list[str]) -> float:
    """The share of one guess, after tests in which one or the other guess is right."""
    blend = Blend(["one", "two"], "one")
    for seed, right in enumerate(order):
        truth = texture(40, 52, seed=seed)
        wrong = noisy(truth, 0.1, seed)
        blend.learn({"one": truth if right == "one" else wrong, "two": truth if right == "two" else wrong}, truth)
    return float(blend.weights[:, 0].mean())


def test_later_tests_count_more_than_earlier_ones() -> None:
    early, late = weight_of_one(["one"] * 5 + ["two"] * 5), weight_of_one(["two"] * 5 + ["one"] * 5)
    assert late > early + 0.1
    assert late > 0.5 > early


def test_tests_count_alike_whatever_the_size_of_their_errors() -> None:
    """In one test all errors are ten times as large: which guess is better still counts as much."""
    blend = Blend(["one", "two"], "two")
    sizes: NDArray[np.float64] = np.array([0.1, 0.01] * 6)
    for seed, size in enumerate(sizes):
        truth = texture(64, 64, seed=seed)
        small, large = noisy(truth, 0.2 * size, seed), noisy(truth, size, seed + 50)
        one_is_better = size < 0.05
        one, two = (small, large) if one_is_better else (large, small)
        blend.learn({"one": one, "two": two}, truth)
    np.testing.assert_allclose(blend.weights[1, :2], 0.5, atol=0.15)  # the finest is hardly more than noise


def test_frames_smaller_than_those_learned_of_are_blended_by_the_finest_bands() -> None:
    blend, _ = learned()
    made = guesses(texture(9, 12), 3)
    mixed = sum(blend.weights[0, number] * made[name] for number, name in enumerate(blend.names))
    np.testing.assert_allclose(blend.blended(made), np.clip(mixed, 0, 1), atol=1e-4)


def test_blends_stay_within_black_and_white() -> None:
    blend, _ = learned()
    made = {name: np.full((40, 52, 1), value, np.float32) for name, value in (("noisy", 1.5), ("blurred", 1.2))}
    found = blend.blended(made | {"mixed": np.full((40, 52, 1), 2.0, np.float32)})
    assert found.max() <= 1

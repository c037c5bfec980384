import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import linalg, ndimage

from linear_video.clips.base import Split
from linear_video.clips.digit_cycles import DigitCyclesSettings
from linear_video.common.errors import InputError
from linear_video.evaluation import symbol_reader
from linear_video.evaluation.judges import JUDGES, Sequences, SynthesisSettings
from linear_video.evaluation.scores import PSNR_CEILING
from linear_video.evaluation.synthesis import (
    frechet_distance,
    score_counting,
    score_rotation,
    score_texture,
    variety,
)

FEW: dict[Split, int] = {"train": 5, "validation": 5, "test": 5}

# --- counting ------------------------------------------------------------------------------------------------------


def counted(*sequences: str, cycle: str = "1234") -> tuple[float, float]:
    """Share of correct transitions, and mean run."""
    symbols = np.array([list(sequence) for sequence in sequences])
    scores = score_counting(symbols, np.ones(symbols.shape, np.float32), cycle)
    return scores["correct_transitions"], scores["mean_run"]


@pytest.mark.parametrize(
    ("sequences", "correct", "run"),
    [
        (["1234123"], 1, 6),
        (["4123412"], 1, 6),  # wherever it starts
        (["1233412"], 5 / 6, 2.5),  # stays once: runs of 2 and 3
        (["1234134"], 5 / 6, 2.5),  # skips one digit: runs of 4 and 1
        (["1239412"], 4 / 6, 2),  # one digit that is none of the cycle costs two steps
        (["4321432"], 0, 0),
        (["1111111"], 0, 0),
        (["5678901"], 0, 0),
        (["1234", "1234"], 1, 3),  # a run ends with its sequence
        (["1234", "1111"], 0.5, 3),
        (["1234", "1244"], 4 / 6, 2),
    ],
)
def test_counting_by_hand(sequences: list[str], correct: float, run: float) -> None:
    assert counted(*sequences) == pytest.approx((correct, run))


@pytest.mark.parametrize(
    ("sequence", "correct", "run"),
    [
        ("1213121", 1, 6),
        ("3121312", 1, 6),
        ("1123121", 4 / 6, 2),  # 1 -> 1 and 2 -> 3 are no steps of the cycle
        ("2321213", 4 / 6, 4),
    ],
)
def test_counting_in_cycles_with_repeated_digits(sequence: str, correct: float, run: float) -> None:
    assert counted(sequence, cycle="1213") == pytest.approx((correct, run))


def test_counting_in_letters() -> None:
    assert counted("DEABCDE", cycle="ABCDE") == (1, 6)
    assert counted("DEabcDE", cycle="ABCDE") == pytest.approx((2 / 6, 1))  # small letters are other symbols
    assert counted("FGHIJ", cycle="ABCDE") == (0, 0)


def test_symbols_are_read_by_a_reader_that_knows_all_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four kinds of bars; the sequences go through three of them, and one shows the fourth once."""
    random, bars = np.random.default_rng(0), np.zeros((4, 16, 16), np.uint8)
    bars[0, 2:5], bars[1, :, 2:5], bars[2, 11:14], bars[3, :, 11:14] = 200, 200, 200, 200
    for label, bar in zip("ABCZ", bars, strict=True):
        (tmp_path / label).mkdir()
        for number in range(60):
            Image.fromarray(bar + random.integers(0, 50, bar.shape, np.uint8)).save(tmp_path / label / f"{number}.png")
    monkeypatch.setattr(symbol_reader, "STEPS", 100)
    dataset = DigitCyclesSettings(
        cycle="CAB", symbols="folder", symbols_folder=str(tmp_path), frame_size=16, images_per_digit=FEW, frames=5
    )
    order = np.array([[0, 1, 2, 0, 1, 2], [2, 0, 1, 3, 0, 1]])
    sequences = Sequences(bars[order][:, :, None], pd.DataFrame(), np.zeros((1, 5, 1, 16, 16), np.uint8))
    scores = JUDGES["counting"].score(sequences, dataset, 0)
    assert scores["reader_accuracy"] == 1
    assert scores["variety"] == 0  # a bar without noise
    assert (scores["cycle"], scores["correct_transitions"], scores["mean_run"]) == ("CAB", 8 / 10, 8 / 3)


def test_several_models_are_judged_by_one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, train = [], symbol_reader.train_reader

    def noting(images: np.ndarray, labels: np.ndarray, seed: int) -> torch.nn.Module:
        seeds.append(seed)
        return train(images, labels, seed)

    monkeypatch.setattr(symbol_reader, "STEPS", 5)
    monkeypatch.setattr(symbol_reader, "train_reader", noting)
    dataset = DigitCyclesSettings(cycle="12", symbols="digits", frame_size=16, images_per_digit=FEW, frames=5)
    frames = np.zeros((1, 4, 1, 16, 16), np.uint8)
    for seed in (5, 5, 6):
        JUDGES["counting"].score(Sequences(frames, pd.DataFrame(), frames), dataset, seed)
    assert seeds == [5, 6]


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.5, 0.25), (0.0, 0.0)])
def test_variety_is_the_variance_of_a_symbols_frames_relative_to_real_ones(share: float, expected: float) -> None:
    """Deviations of half the size have a quarter of the variance. Frames that cannot be read do not count."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 200, (200, 1, 4, 5)).astype(np.uint8)
    labels = np.repeat(np.array(["A", "B"]), 100)
    frames = np.rint(100 + share * (random.permutation(pictures).astype(float) - 100)).astype(np.uint8)
    read = np.where(np.arange(200).reshape(10, 20) % 2, "A", "B")
    sure = np.ones(read.shape, np.float32)
    sequences = frames.reshape(10, 20, 1, 4, 5)
    assert variety(sequences, read, sure, pictures, labels) == pytest.approx(expected, rel=0.05, abs=1e-9)
    sure[read == "B"] = 0.5
    assert variety(sequences, read, sure, pictures, labels) == pytest.approx(expected / 2, rel=0.05, abs=1e-9)


def test_cycle_of_a_digit_twice_in_a_row_may_stay_or_go_on() -> None:
    assert counted("1121", cycle="112") == (1, 3)
    assert counted("1221", cycle="112") == pytest.approx((2 / 3, 1))


@given(st.permutations(list("0123456789")), st.integers(2, 10), st.integers(0, 2**32 - 1))
def test_counting_agrees_with_counting_step_by_step(order: list[str], length: int, seed: int) -> None:
    cycle = "".join(order[:length])
    random = np.random.default_rng(seed)
    sequences = []
    for _ in range(3):
        place, text = 0, ""
        for _ in range(25):
            text += cycle[place % length]
            place += 1 if random.random() < 0.7 else int(random.integers(10))
        sequences.append(text)
    steps = [[b == cycle[(cycle.index(a) + 1) % length] for a, b in itertools.pairwise(text)] for text in sequences]
    runs = [len(list(run)) for line in steps for right, run in itertools.groupby(line) if right]
    expected = np.mean(steps), np.mean(runs) if runs else 0
    assert counted(*sequences, cycle=cycle) == pytest.approx(expected)


def test_random_digits_count_by_chance() -> None:
    """4 of 100 pairs are steps of the cycle; a run continues with probability 1/10."""
    digits = np.random.default_rng(0).integers(0, 10, (300, 1000)).astype(str)
    scores = score_counting(digits, np.ones(digits.shape, np.float32), "1234")
    assert scores["correct_transitions"] == pytest.approx(0.04, abs=0.002)
    assert scores["mean_run"] == pytest.approx(1 / 0.9, abs=0.02)


def test_readable_frames_are_those_read_with_confidence() -> None:
    confidence = np.array([[0.95, 0.85, 0.2, 0.99], [0.91, 0.89, 1.0, 0.0]], np.float32)
    assert score_counting(np.full((2, 4), "1"), confidence, "12")["readable_frames"] == 0.5


# --- textures ------------------------------------------------------------------------------------------------------

DISTANCES = ("spectrum_distance", "autocorrelation_distance", "frechet_distance")


def to_grey(deviation: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(128 + deviation), 0, 255), np.uint8)


def footage(memory: float, sequences: int = 4, frames: int = 200, side: int = 12, seed: int = 0) -> np.ndarray:
    """Each pixel keeps a share (``memory``) of its previous value; its variance is the same in all frames."""
    random = np.random.default_rng(seed)
    value, values = random.standard_normal((sequences, 1, side, side)), []
    for _ in range(frames):
        values.append(value)
        value = memory * value + np.sqrt(1 - memory**2) * random.standard_normal(value.shape)
    return to_grey(24 * np.stack(values, axis=1))


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_equal_footage_has_no_distance_and_ratios_of_one(memory: float) -> None:
    frames = footage(memory)
    scores = score_texture(frames, frames)
    assert [scores[name] for name in DISTANCES] == pytest.approx([0, 0, 0], abs=1e-6)
    assert scores["sharpness"] == 1
    assert scores["late_mean"] == pytest.approx(1, abs=0.02)
    if not memory:
        assert scores["late_deviation"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_other_footage_of_the_same_kind_is_near(memory: float) -> None:
    scores = score_texture(footage(memory, seed=1), footage(memory))
    assert scores["spectrum_distance"] < 0.3
    assert scores["autocorrelation_distance"] < 0.1
    assert scores["frechet_distance"] < 0.02
    assert scores["sharpness"] == pytest.approx(1, abs=0.03)


def test_half_the_contrast_is_six_decibels_and_half_the_sharpness() -> None:
    deviation = 2.0 * np.random.default_rng(0).integers(-30, 31, (2, 100, 1, 9, 12))
    scores = score_texture(to_grey(deviation / 2), to_grey(deviation))
    assert scores["spectrum_distance"] == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert scores["sharpness"] == pytest.approx(0.5)
    assert scores["late_deviation"] == pytest.approx(0.5, abs=0.05)
    assert scores["autocorrelation_distance"] == pytest.approx(0, abs=1e-9)


def test_brightness_changes_the_mean_but_no_spectrum() -> None:
    frames = footage(0.0) // 2
    scores = score_texture(frames + 60, frames)
    assert scores["spectrum_distance"] == pytest.approx(0, abs=1e-6)
    assert scores["autocorrelation_distance"] == pytest.approx(0, abs=1e-9)
    assert scores["sharpness"] == pytest.approx(1)
    assert scores["late_mean"] == pytest.approx((frames.mean() + 60) / frames.mean(), abs=0.02)
    # Of the features only the 16 grey values differ, by 60 of 255 each.
    assert scores["frechet_distance"] == pytest.approx(16 * (60 / 255) ** 2, rel=1e-4)


def test_blurred_footage_is_less_sharp_and_far_in_its_spectrum() -> None:
    frames = footage(0.5)
    found = [
        score_texture(to_grey(ndimage.gaussian_filter(frames - 128.0, (0, 0, 0, blur, blur))), frames)
        for blur in (0.4, 0.8, 1.6)
    ]
    for lighter, stronger in itertools.pairwise(found):
        assert stronger["sharpness"] < lighter["sharpness"] < 0.95
        assert stronger["spectrum_distance"] > lighter["spectrum_distance"] > 0.5
        assert stronger["frechet_distance"] > lighter["frechet_distance"] > 0.01


def test_autocorrelation_distance_of_square_waves_is_known() -> None:
    """+ - + - against + + - -: 1, 2, 1, 0 apart at lags 1, 2, 3, 4 and so on, of root mean square √1.5."""
    phase = np.arange(960)[None, :, None, None, None] + np.zeros((1, 1, 1, 8, 8), int)
    fast, slow = to_grey(np.where(phase % 2, 50, -50)), to_grey(np.where(phase % 4 < 2, 50, -50))
    # Not alike in space, so that the other scores are defined.
    picture = np.random.default_rng(0).integers(0, 40, (8, 8)).astype(np.uint8)
    scores = score_texture(fast + picture, slow + picture)
    assert scores["autocorrelation_distance"] == pytest.approx(np.sqrt(1.5), abs=0.01)


def test_slow_footage_is_far_from_white_noise_in_time_only() -> None:
    scores = score_texture(footage(0.0), footage(0.98))
    assert scores["autocorrelation_distance"] > 0.5
    assert scores["spectrum_distance"] < 0.5


def test_footage_that_stands_still_is_far_from_white_noise() -> None:

    noise = footage(0.0)
    assert score_texture(noise[:, :1].repeat(200, axis=1), noise)["autocorrelation_distance"] > 0.5


@pytest.mark.parametrize("memory", [0.9, 0.97])
def test_longer_synthesis_of_the_same_kind_is_near(memory: float) -> None:

    # changes count on one side only: 0.2 and 0.4 apart although both are the same process.
    scores = score_texture(footage(memory, 4, 1000), footage(memory, 20, 75, seed=1))
    assert scores["autocorrelation_distance"] < 0.1


def test_short_footage_is_as_near() -> None:

    scores = score_texture(footage(0.95, 4, 200), footage(0.95, 200, 20, seed=1))
    assert scores["autocorrelation_distance"] < 0.15


@pytest.mark.parametrize(("memory", "frames"), [(0.0, 20), (0.8, 200)])
def test_late_deviation_of_what_does_not_fade_is_near_one(memory: float, frames: int) -> None:

    # is less over fewer frames: 0.6 for white noise of 20 frames, 0.8 for 200 frames with some memory.
    same = footage(memory, 20, frames)
    assert score_texture(same, same)["late_deviation"] == pytest.approx(1, abs=0.1)


def test_what_fades_out_shows_in_the_late_scores() -> None:
    frames = footage(0.0)
    fading = np.linspace(1, 0, 200)[None, :, None, None, None]
    grey, black = to_grey(fading * (frames - 128.0)), np.rint(fading * frames).astype(np.uint8)
    scores = score_texture(grey, frames)
    assert scores["late_mean"] == pytest.approx(1, abs=0.02)
    assert scores["late_deviation"] < 0.1
    scores = score_texture(black, frames)
    assert scores["late_mean"] < 0.1
    assert scores["late_deviation"] < 0.2
    assert score_texture(frames, grey)["late_deviation"] > 1.2


# --- Fréchet distance ----------------------------------------------------------------------------------------------


def exact_sample(mean: np.ndarray, root: np.ndarray, seed: int, count: int = 40) -> np.ndarray:
    """Samples whose mean and covariance root rootᵀ are exact."""
    values = np.random.default_rng(seed).standard_normal((count, len(mean)))
    values -= values.mean(0)
    white = values @ np.linalg.inv(np.linalg.cholesky(np.cov(values.T))).T
    return np.asarray(white @ root.T + mean)


@given(
    st.lists(
        st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 4), st.floats(0.1, 4)), min_size=2, max_size=6
    )
)
def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form(axes: list[tuple[float, ...]]) -> None:
    """|m1 - m2|² + Σ (s1 - s2)²."""
    m1, m2, s1, s2 = np.array(axes).T
    first, second = exact_sample(m1, np.diag(s1), 1), exact_sample(m2, np.diag(s2), 2)
    expected = np.sum((m1 - m2) ** 2) + np.sum((s1 - s2) ** 2)
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(second, first) == pytest.approx(expected, abs=1e-6)


def test_frechet_distance_of_any_gaussians_is_the_textbook_formula() -> None:
    random = np.random.default_rng(0)
    roots, means = random.standard_normal((2, 5, 5)), random.standard_normal((2, 5))
    first, second = (exact_sample(m, r, k) for k, (m, r) in enumerate(zip(means, roots, strict=True)))
    one, two = (r @ r.T for r in roots)
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(one + two - 2 * linalg.sqrtm(one @ two).real)
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)


def test_frechet_distance_of_few_samples_is_symmetric_and_zero_to_themselves() -> None:
    """Fewer samples than features: neither covariance has full rank."""
    random = np.random.default_rng(0)
    first, second = random.standard_normal((20, 48)), random.standard_normal((25, 48)) + 1
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), abs=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-4)


# --- rotation ------------------------------------------------------------------------------------------------------


def views(count: int = 12, objects: int = 3, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (objects, count, channels, 9, 8), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_true_views_have_perfect_scores(channels: int) -> None:
    true = views(channels=channels)
    expected = {"turn_psnr": PSNR_CEILING, "turn_ssim": 1, "angle_error": 0, "confused": 0}
    assert score_rotation(true, true) == pytest.approx(expected)
    assert score_rotation(np.concatenate((true, true[:, :5]), axis=1), true) == pytest.approx(expected)


@pytest.mark.parametrize("count", [9, 12, 18])
@pytest.mark.parametrize("shift", range(1, 9))
def test_views_shifted_by_some_places_are_wrong_by_the_angle_between(count: int, shift: int) -> None:
    scores = score_rotation(np.roll(views(count), shift, axis=1), views(count))
    angle = min(shift, count - shift) * 360 / count
    assert scores["angle_error"] == pytest.approx(angle)
    assert scores["confused"] == (angle >= 150)
    assert scores["turn_psnr"] < 15
    assert scores["turn_ssim"] < 0.5


def test_opposite_views_are_all_confused() -> None:
    scores = score_rotation(np.roll(views(), 6, axis=1), views())
    assert (scores["angle_error"], scores["confused"]) == (180, 1)


def test_a_view_shown_faintly_is_still_that_view() -> None:
    scores = score_rotation((views() * 0.8).astype(np.uint8), views())
    assert (scores["angle_error"], scores["confused"]) == (0, 0)


def test_scores_are_means_over_frames_and_objects() -> None:
    shown = views()
    shown[1] = np.roll(shown[1], 6, axis=0)  # one of three objects
    shown[0, 3] = shown[0, 4]  # 30 degrees at one of 36 frames
    scores = score_rotation(shown, views())
    assert scores["angle_error"] == pytest.approx(180 / 3 + 30 / 36)
    assert scores["confused"] == pytest.approx(1 / 3)


def test_fewer_frames_than_views_are_refused() -> None:
    with pytest.raises(InputError, match="must both be"):
        score_rotation(views()[:, :5], views())


# --- starts --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 12), st.integers(2, 9), st.booleans())
def test_every_start_and_the_frame_after_it_are_within_a_clip(
    sequences: int, clips: int, length: int, spread: bool
) -> None:
    numbers, frames = SynthesisSettings(sequences, 10, 1.0, spread).starts(clips, length)
    assert len(numbers) == len(frames) == sequences
    assert numbers.min() >= 0
    assert numbers.max() < clips
    assert frames.min() >= 0
    assert frames.max() < length - 1
    assert len(np.unique(numbers)) == min(sequences, clips)
    if not spread:
        assert (frames == 0).all()

"""Noise taken out of videos whose truth is known."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from linear_video.common.errors import InputError
from linear_video.tasks import references
from linear_video.tasks.backtest import psnr
from linear_video.tasks.denoising import AROUND, STRENGTHS, WIDTHS, _windows, backtest, denoised, noise_of
from linear_video.tasks.parts import to_frame, to_values
from linear_video.tasks.references import Values
from tests.tasks.pictures_that_move import moment, noisy, pan, texture


def clean(frames: Iterable[NDArray[np.uint8]]) -> list[Values]:
    return [to_values(frame) for frame in denoised(frames)]


def noisy_video(truth: list[Values], deviation: float) -> NDArray[np.uint8]:
    return np.stack([to_frame(noisy(frame, deviation, seed)) for seed, frame in enumerate(truth)])


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("deviation", [0.02, 0.05, 0.1])
def test_noise_is_measured_on_a_smooth_picture(planes: int, deviation: float) -> None:
    frame = noisy(texture(64, 80, planes, smooth=6.0), deviation, 1)
    assert noise_of(frame) == pytest.approx(deviation, rel=0.15)


def test_edges_do_not_sway_the_noise() -> None:
    stripes = np.zeros((64, 80, 1), np.float32)
    stripes[:, ::16] = 1
    assert noise_of(noisy(stripes, 0.05, 0)) == pytest.approx(0.05, rel=0.3)
    assert noise_of(stripes) < 1e-6


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("deviation", [12 / 255, 20 / 255])
def test_a_still_noisy_scene_gains_more_than_any_filter_of_single_frames(planes: int, deviation: float) -> None:
    truth = texture(48, 64, planes, smooth=1.5)
    video = noisy_video([truth] * 12, deviation)
    found = clean(video)
    at = slice(AROUND, -AROUND)
    score = np.mean([psnr(frame, truth) for frame in found[at]])
    seen = [to_values(frame) for frame in video[at]]
    assert score > np.mean([psnr(frame, truth) for frame in seen]) + 4
    strengths = [float(strength) for strength in np.geomspace(3, 40, 8)]
    others = [[references.blurred(frame, width) for frame in seen] for width in np.linspace(0.4, 3, 10)]
    others += [[references.non_local_means(frame, strength) for frame in seen] for strength in strengths]
    assert score > max(np.mean([psnr(frame, truth) for frame in frames]) for frames in others)


def test_a_moving_noisy_scene_gains_too() -> None:
    truth = [moment(float(time), speed=1.5) for time in range(12)]
    video = noisy_video(truth, 15 / 255)
    found = clean(video)
    gains = [psnr(one, true) - psnr(to_values(seen), true) for one, seen, true in zip(found, video, truth, strict=True)]
    assert min(gains) > 2
    assert np.mean(gains) > 4


@pytest.mark.parametrize("planes", [1, 3])
def test_a_moving_video_without_noise_comes_back_nearly_as_it_was(planes: int) -> None:
    frames = pan(14, planes=planes)
    for found, frame in zip(clean(frames), frames, strict=True):
        assert psnr(found, to_values(frame)) > 35


def test_detail_without_noise_is_not_smoothed_away() -> None:
    """A small object that appears for one frame is not noise."""
    frames = np.stack([to_frame(noisy(texture(48, 64), 0.02, seed)) for seed in range(9)])
    frames[4, 20:26, 30:36] = 255
    found = clean(frames)[4]
    assert found[21:25, 31:35].mean() > 0.9


def test_a_flash_of_light_stays() -> None:
    frames = np.stack([to_frame(noisy(texture(48, 64), 0.02, seed)) for seed in range(9)])
    frames[4] = to_frame(to_values(frames[4]) * 0.5 + 0.5)
    assert clean(frames)[4].mean() == pytest.approx(frames[4].mean() / 255, abs=0.02)


@pytest.mark.parametrize("length", [1, 2, 3, AROUND, AROUND + 1, 2 * AROUND + 1, 9])
@pytest.mark.parametrize("planes", [1, 3])
def test_every_frame_comes_back_however_few_there_are(length: int, planes: int) -> None:
    video = noisy_video([texture(24, 31, planes)] * length, 0.04)
    found = list(denoised(frame for frame in video))
    assert [frame.shape for frame in found] == [(24, 31, planes)] * length
    assert {frame.dtype for frame in found} == {np.dtype(np.uint8)}
    if length == 1:
        np.testing.assert_array_equal(found[0], video[0])
    else:
        truth = texture(24, 31, planes)
        for frame, seen in zip(found, video, strict=True):
            assert psnr(to_values(frame), truth) > psnr(to_values(seen), truth) + 1


def test_frames_without_a_last_axis_are_grey() -> None:
    video = noisy_video([texture(24, 31)] * 4, 0.04)
    np.testing.assert_array_equal(list(denoised(video[..., 0])), list(denoised(video)))


def test_no_footage_gives_no_frames() -> None:
    assert list(denoised([])) == []


@pytest.mark.parametrize("length", [1, 2, 4, 7, 8, 30])
def test_each_frame_is_seen_with_those_around_it_and_no_others_are_kept(length: int) -> None:
    numbered = (np.full((1, 1, 1), number, np.float32) for number in range(length))
    seen = [([int(frame.item()) for frame in kept], place) for kept, place in _windows(numbered)]
    assert [kept[place] for kept, place in seen] == list(range(length))
    for number, (kept, _) in enumerate(seen):
        around = range(max(0, number - AROUND), min(length, number + AROUND + 1))
        assert set(around) <= set(kept)
        assert len(kept) <= 2 * AROUND + 1


def test_frames_are_given_while_others_are_still_to_be_read() -> None:
    read = 0

    def video() -> Iterable[NDArray[np.uint8]]:
        nonlocal read
        for frame in noisy_video([texture(16, 16)] * 20, 0.04):
            read += 1
            yield frame

    for number, _ in enumerate(denoised(video())):
        assert read <= number + AROUND + 1
    assert read == 20


def test_frames_far_away_hardly_matter() -> None:
    """They matter only through the weights and the estimated noise."""
    video = noisy_video([texture(32, 40)] * 20, 0.04)
    changed = video.copy()
    changed[10 + AROUND + 1 :] = 0
    one, other = (list(denoised(frames))[10] for frames in (video, changed))
    np.testing.assert_array_equal(one, other)


def test_the_backtest_compares_with_filters_at_their_best() -> None:
    frames = [noisy(texture(48, 64, 3), 0.04, seed).clip(0, 1) for seed in range(16)]
    found = backtest(frames, 3)
    assert list(found) == ["untouched", "blend", "blur", "non_local_means"]
    assert found == backtest(frames, 3)
    assert found != backtest(frames, 4)
    assert found["untouched"] == pytest.approx(-20 * np.log10(0.04), abs=0.5)  # as noisy again
    noise = float(np.mean([noise_of(frame) for frame in frames]))
    random = np.random.default_rng(3)
    again = [np.asarray(frame + random.normal(0, noise, frame.shape), np.float32).clip(0, 1) for frame in frames]
    tested = range(AROUND, 13, 4)
    blur = [np.mean([psnr(references.blurred(again[k], width), frames[k]) for k in tested]) for width in WIDTHS]
    assert found["blur"] == pytest.approx(max(blur))
    means = [np.mean([psnr(references.non_local_means(again[k], h), frames[k]) for k in tested]) for h in STRENGTHS]
    assert found["non_local_means"] == pytest.approx(max(means))


def test_frames_smaller_than_a_band_are_cleaned() -> None:
    video = noisy_video([texture(6, 9)] * 5, 0.04)
    assert [frame.shape for frame in denoised(video)] == [(6, 9, 1)] * 5


def test_smooth_noise_is_made_no_worse() -> None:
    """As in compressed footage: hard to tell from what is there; but nothing gets worse."""
    truth = texture(48, 64, smooth=3.0)
    random = np.random.default_rng(0)
    grain = [gaussian_filter(random.normal(0, 0.1, truth.shape), (1, 1, 0)) for _ in range(10)]
    video = np.stack([to_frame(truth + one) for one in grain])
    for found, seen in zip(clean(video), video, strict=True):
        assert psnr(found, truth) >= psnr(to_values(seen), truth) - 1e-3


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (pan(5, 12, 16) / 255, r"frames must be uint8 .* not float64 \(12, 16, 1\)"),
        (np.zeros((5, 12, 16, 3, 1), np.uint8), r"not uint8 \(12, 16, 3, 1\)"),
        (np.zeros((5, 12), np.uint8), r"not uint8 \(12,\)"),
        ([*pan(3, 12, 16), *pan(2, 12, 14)], r"frame 3 is \(12, 14, 1\), the ones before \(12, 16, 1\)"),
    ],
    ids=["float", "five axes", "one axis", "size"],
)
def test_what_is_no_frame_is_refused(frames: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(denoised(frames))

import numpy as np
import pytest
import torch

from linear_video.clips.base import Split
from linear_video.clips.digit_cycles import DigitCyclesSettings, labelled_pictures
from linear_video.evaluation import symbol_reader
from linear_video.evaluation.symbol_reader import read, train_reader

Labelled = tuple[np.ndarray, np.ndarray]


def settings(channels: int = 1, frame_size: int = 16) -> DigitCyclesSettings:
    return DigitCyclesSettings(
        cycle="1234",
        symbols="digits",
        symbols_folder="",
        images_per_digit={"train": 3, "validation": 3, "test": 3},
        frame_size=frame_size,
        channels=channels,
        frames=5,
    )


def digits_of(settings: DigitCyclesSettings, split: Split) -> Labelled:
    images, labels = labelled_pictures(settings, split)
    return images, labels.astype(np.int64)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_reader, "STEPS", 8)


@pytest.fixture(scope="module")
def training() -> Labelled:
    return digits_of(settings(), "train")


@pytest.mark.slow
def test_bundled_digits_are_read() -> None:
    reader = train_reader(*digits_of(settings(1, 32), "train"), seed=0)
    images, labels = digits_of(settings(1, 32), "test")
    found, confidence = read(reader, images)
    assert (found == labels).mean() > 0.95
    # Half one digit and half another is neither; misread ones are too few to tell.
    others = np.roll(np.arange(len(labels)), 1)
    halves = ((images.astype(np.uint16) + images[others]) // 2).astype(np.uint8)[labels != labels[others]]
    assert confidence.mean() > read(reader, halves)[1].mean() + 0.1
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    assert (read(reader, noise)[1] > 0.9).mean() < (confidence > 0.9).mean()


def test_short_training_reads_most_digits(training: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_reader, "STEPS", 100)
    images, labels = digits_of(settings(), "test")
    assert (read(train_reader(*training, seed=0), images)[0] == labels).mean() > 0.8


@pytest.mark.usefixtures("few_steps")
def test_reader_is_reproducible_by_seed(training: Labelled) -> None:
    weights: list[torch.Tensor] = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(weights))
        weights.append(torch.cat([w.flatten() for w in train_reader(*training, seed=seed).state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.usefixtures("few_steps")
def test_global_random_state_is_left_alone(training: Labelled) -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    train_reader(*training, seed=0)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.usefixtures("few_steps")
def test_reading_has_no_chance_in_it_and_keeps_the_shape(training: Labelled) -> None:
    reader, images = train_reader(*training, seed=0), training[0]
    digits, confidence = read(reader, images[:6].reshape(2, 3, *images.shape[1:]))
    assert digits.shape == confidence.shape == (2, 3)
    each = [read(reader, image) for image in images[:6]]
    np.testing.assert_array_equal(digits.ravel(), [digit for digit, _ in each])
    np.testing.assert_allclose(confidence.ravel(), [sure for _, sure in each], rtol=1e-5)


@pytest.mark.usefixtures("few_steps")
def test_many_frames_are_read_as_one_by_one(training: Labelled) -> None:
    reader, images = train_reader(*training, seed=0), training[0]
    many = np.tile(images[:7], (150, 1, 1, 1))  # several pieces
    digits, confidence = read(reader, many)
    few_digits, few_confidence = read(reader, images[:7])
    np.testing.assert_array_equal(digits, np.tile(few_digits, 150))
    np.testing.assert_allclose(confidence, np.tile(few_confidence, 150), rtol=1e-5)


@pytest.mark.usefixtures("few_steps")
def test_confidence_is_the_probability_of_the_digit(training: Labelled) -> None:
    reader, images = train_reader(*training, seed=0), training[0][:20]
    digits, confidence = read(reader, images)
    with torch.no_grad():
        scores = reader(torch.from_numpy(images).float() / 255).double().numpy()
    probability = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_array_equal(digits, probability.argmax(1))
    np.testing.assert_allclose(confidence, probability.max(1), rtol=1e-4)


def test_images_move_by_two_pixels_of_32_and_turn_by_ten_degrees_at_most() -> None:
    """A bright dot 8 pixels right of the middle: the movement of its centre of mass gives shift and turn."""
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(32.0) - 15.5, indexing="ij")
    dots = [torch.exp(-((rows) ** 2 + (columns - right) ** 2) / 4) for right in (0, 8)]
    images = torch.stack(dots)[None].expand(500, 2, 32, 32)
    moved = symbol_reader._moved(images)
    mass = moved.sum((2, 3))
    centres = torch.stack([(moved * axis).sum((2, 3)) / mass for axis in (rows, columns)], -1)  # (500, 2, 2)
    shift = centres[:, 0].abs()
    assert 1.8 < shift.max() < 2.5  # turned as well
    arm = centres[:, 1] - centres[:, 0]
    np.testing.assert_allclose(arm.norm(dim=1), 8, atol=0.1)
    turn = torch.rad2deg(torch.atan2(arm[:, 0], arm[:, 1])).abs()
    assert 9 < turn.max() < 10.5

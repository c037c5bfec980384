from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from linear_video.clips.base import SPLITS, ClipStream, Split
from linear_video.clips.digit_cycles import DigitCyclesSettings, count
from linear_video.common.errors import InputError

WriteIdx = Callable[[Path, np.ndarray], None]
EACH: dict[Split, int] = {"train": 20, "validation": 10, "test": 10}
SETTINGS = DigitCyclesSettings(
    cycle="1234", symbols="digits", symbols_folder="", images_per_digit=EACH, frame_size=8, channels=1, frames=6
)


def frames_of(stream: ClipStream) -> np.ndarray:
    """All clips (N, T, C, H, W) of a stream, which must be the same each time."""
    once, again = (list(stream.pieces()) for _ in range(2))
    frames = np.concatenate(once)
    np.testing.assert_array_equal(frames, np.concatenate(again))
    assert frames.dtype == np.uint8
    assert frames.shape == (len(stream.table), *stream.clip_shape)
    return frames


def sequence(stream: ClipStream) -> list[str]:
    """Names of the images in the order of the long sequence; clips must agree on the image that they share."""
    found: list[str] = []
    row: Any
    for row in stream.table.itertuples():
        names = row.source.split(",")
        assert row.start == max(len(found) - 1, 0)
        assert found[row.start :] == names[: len(found) - row.start]
        found = found[: row.start] + names
    return found


def images_per_digit(number: int) -> dict[Split, int]:
    return dict.fromkeys(SPLITS, number)


# --- the sequence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cycle", "period"),
    [
        ("67896789", "6789"),
        ("1213", "1213"),
        ("1234", "1234"),
        ("12341", "12341"),
        ("11", "1"),
        ("000000", "0"),
        ("1212121", "1212121"),
        ("121121", "121"),
        ("0101", "01"),
        ("9876543210", "9876543210"),
    ],
)
def test_the_period_is_the_cycle_without_repetition(cycle: str, period: str) -> None:
    assert replace(SETTINGS, cycle=cycle, images_per_digit=images_per_digit(20)).period == period


@given(st.text("01", min_size=1, max_size=6), st.integers(1, 4))
def test_a_repeated_cycle_has_the_shortest_period(part: str, times: int) -> None:
    cycle = part * times
    if len(cycle) < 2:
        cycle *= 2
    lengths = [n for n in range(1, len(cycle) + 1) if len(cycle) % n == 0 and cycle[:n] * (len(cycle) // n) == cycle]
    assert replace(SETTINGS, cycle=cycle).period == cycle[: lengths[0]]


def test_a_repeated_cycle_gives_the_same_clips() -> None:
    once, twice = (count(replace(SETTINGS, cycle=cycle), "train", 0) for cycle in ("6789", "67896789"))
    assert once.table.equals(twice.table)
    np.testing.assert_array_equal(frames_of(once), frames_of(twice))


@examples(max_examples=30)
@given(
    cycle=st.text("0123456789", min_size=2, max_size=8),
    number=st.integers(1, 40),
    frames=st.integers(2, 20),
    split=st.sampled_from(SPLITS),
)
def test_labels_follow_the_cycle_and_every_step_is_in_one_clip(
    cycle: str, number: int, frames: int, split: Split
) -> None:
    period = len(replace(SETTINGS, cycle=cycle).period)
    number = max(number, -(-frames // period))  # enough for one clip
    length = period * number
    settings = replace(SETTINGS, cycle=cycle, images_per_digit=images_per_digit(number), frames=frames)
    stream = count(settings, split, 0)
    steps: Counter[int] = Counter()
    row: Any
    for row in stream.table.itertuples():
        assert row.label == (cycle * (row.start + frames))[row.start : row.start + frames]
        steps.update(range(row.start, row.start + frames - 1))
    # None twice, none left out but those at the end that fill no clip.
    assert sorted(steps.elements()) == list(range(len(steps)))
    assert 0 <= length - 1 - len(steps) < frames - 1
    assert len(sequence(stream)) == len(steps) + 1


def test_pairs_of_two_thousand_images_of_four_digits_are_7999_steps() -> None:
    each: dict[Split, int] = {"train": 2000, "validation": 1, "test": 2}
    stream = count(replace(SETTINGS, images_per_digit=each, frames=2), "train", 0)
    assert len(frames_of(stream)) == len(stream.table) == 7999
    assert stream.table["start"].tolist() == list(range(7999))
    assert stream.table["label"].tolist() == (["12", "23", "34", "41"] * 2000)[:7999]
    uses, targets = Counter(sequence(stream)), load_digits().target
    for digit in range(1, 5):
        of_digit = {name: n for name, n in uses.items() if targets[int(name.split("/")[1])] == digit}
        assert sum(of_digit.values()) == 2000
        assert max(of_digit.values()) - min(of_digit.values()) <= 1
    steps = [len(count(replace(SETTINGS, images_per_digit=each, frames=2), s, 0).table) for s in SPLITS[1:]]
    assert steps == [3, 7]


# --- the images -----------------------------------------------------------------------------------------------------


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """As it should be, before rounding: values of [0, 255]."""
    kind = cv2.INTER_AREA if size <= len(image) else cv2.INTER_LINEAR
    return cv2.resize(np.asarray(image, np.float64), (size, size), interpolation=kind)


@pytest.mark.parametrize(
    ("cycle", "size"), [*(("0123456789", size) for size in (1, 3, 4, 8, 14, 32)), ("67896789", 8), ("1213", 14)]
)
def test_each_frame_is_the_bundled_image_that_the_source_names(cycle: str, size: int) -> None:
    digits = load_digits()
    row: Any
    for split in SPLITS:
        stream = count(replace(SETTINGS, cycle=cycle, frame_size=size), split, 1)
        for row, clip in zip(stream.table.itertuples(), frames_of(stream), strict=True):
            for name, label, frame in zip(row.source.split(","), row.label, clip, strict=True):
                index = int(name.removeprefix("digits/"))
                assert str(digits.target[index]) == label
                difference = abs(frame[0] - resized(digits.images[index] * 255 / 16, size))
                assert difference.max() <= 0.51


@pytest.fixture
def mnist(tmp_path: Path, write_idx: WriteIdx) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Small files as MNIST's: 300 and 80 different images of 10x10; what they hold."""
    files = {}
    for seed, (part, number) in enumerate({"train": 300, "t10k": 80}.items()):
        random = np.random.default_rng(seed)
        images, labels = random.integers(0, 256, (number, 10, 10)), random.permutation(np.arange(number) % 10)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
        files[part] = images, labels
    return files


@pytest.mark.parametrize("size", [5, 10, 16])
def test_each_frame_is_the_image_of_mnist_that_the_source_names(
    tmp_path: Path, mnist: dict[str, tuple[np.ndarray, np.ndarray]], size: int
) -> None:
    settings = replace(SETTINGS, cycle="9081", symbols="mnist", symbols_folder=str(tmp_path), frame_size=size)
    row: Any
    for split in SPLITS:
        stream = count(settings, split, 0)
        for row, clip in zip(stream.table.itertuples(), frames_of(stream), strict=True):
            for name, label, frame in zip(row.source.split(","), row.label, clip, strict=True):
                source, part, index = name.split("/")
                assert (source, part) == ("mnist", "t10k" if split == "test" else "train")
                images, labels = mnist[part]
                assert str(labels[int(index)]) == label
                assert abs(frame[0] - resized(images[int(index)], size)).max() <= 0.51


def test_frames_of_mnists_own_size_are_its_bytes(
    tmp_path: Path, mnist: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    settings = replace(SETTINGS, symbols="mnist", symbols_folder=str(tmp_path), frame_size=10)
    stream = count(settings, "test", 0)
    indices = [[int(name.split("/")[2]) for name in source.split(",")] for source in stream.table["source"]]
    np.testing.assert_array_equal(frames_of(stream)[:, :, 0], mnist["t10k"][0][indices])


@pytest.mark.parametrize("symbols", ["digits", "mnist"])
def test_splits_share_no_image(tmp_path: Path, mnist: dict[str, tuple[np.ndarray, np.ndarray]], symbols: Any) -> None:
    size = 8 if symbols == "digits" else 10  # as they are, so that pixels tell images apart
    settings = replace(
        SETTINGS,
        cycle="0123456789",
        symbols=symbols,
        symbols_folder=str(tmp_path),
        images_per_digit=images_per_digit(150),
        frame_size=size,
    )
    names, pixels = [], []
    for split in SPLITS:
        stream = count(settings, split, 0)
        names.append(set(sequence(stream)))
        pixels.append({frame.tobytes() for clip in frames_of(stream) for frame in clip})
        assert len(names[-1]) == len(pixels[-1])
    sizes = {"digits": [1437, 180, 180], "mnist": [270, 30, 80]}  # all images: each was shown
    assert [len(found) for found in names] == sizes[symbols]
    for sets in (names, pixels):
        assert not sets[0] & sets[1]
        assert not sets[0] & sets[2]
        assert not sets[1] & sets[2]


@pytest.mark.parametrize("number", [2, 5, 8, 9, 16, 20, 23])
@pytest.mark.parametrize("cycle", ["1234", "1213", "777"])
def test_images_are_used_evenly_and_none_again_before_all_were_shown(
    tmp_path: Path, mnist: dict[str, tuple[np.ndarray, np.ndarray]], cycle: str, number: int
) -> None:
    settings = replace(
        SETTINGS,
        cycle=cycle,
        symbols="mnist",
        symbols_folder=str(tmp_path),
        images_per_digit={"train": 99, "validation": 99, "test": number},
        frames=2,
    )
    names = sequence(count(settings, "test", 0))
    labels = (settings.period * number)[: len(names)]
    assert len(names) == len(settings.period) * number
    for digit in set(cycle):
        of_digit = [name for name, label in zip(names, labels, strict=True) if label == digit]
        assert len(of_digit) == settings.period.count(digit) * number
        for start in range(0, len(of_digit), 8):  # there are eight images of each
            assert len(set(of_digit[start : start + 8])) == len(of_digit[start : start + 8])
        uses = Counter(of_digit)
        assert max(uses.values()) - min(uses.values()) <= (len(uses) == 8)
        assert len(uses) == min(8, len(of_digit))


def test_images_come_in_another_order_each_time_round(
    tmp_path: Path, mnist: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    settings = replace(
        SETTINGS, symbols="mnist", symbols_folder=str(tmp_path), images_per_digit=images_per_digit(16), frames=2
    )
    ones = sequence(count(settings, "test", 0))[::4]
    assert sorted(ones[:8]) == sorted(ones[8:])
    assert ones[:8] != ones[8:]
    assert ones[:8] != sorted(ones[:8], key=lambda name: int(name.split("/")[2]))


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_order() -> None:
    settings = replace(SETTINGS, images_per_digit=images_per_digit(150))  # all of them
    for split in SPLITS:
        first, same, other = (count(settings, split, seed) for seed in (0, 0, 1))
        assert first.table.equals(same.table)
        assert frames_of(first).tobytes() == frames_of(same).tobytes()
        assert sequence(first) != sequence(other)
        assert frames_of(first).tobytes() != frames_of(other).tobytes()
        assert set(sequence(first)) == set(sequence(other))  # the split itself depends on no seed


@pytest.mark.parametrize("size", [5, 8])
def test_three_channels_are_equal(size: int) -> None:
    one, three = (frames_of(count(replace(SETTINGS, channels=c, frame_size=size), "test", 0)) for c in (1, 3))
    assert three.shape == (7, 6, 3, size, size)  # 40 digits: 39 steps, 5 a clip
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=2))


def test_clips_are_in_pieces_of_bounded_size() -> None:
    stream = count(replace(SETTINGS, images_per_digit=images_per_digit(2000), frames=2), "train", 0)
    sizes = [len(piece) for piece in stream.pieces()]
    assert sum(sizes) == 7999
    assert 1 <= min(sizes) <= max(sizes) <= 1000


# --- letters -------------------------------------------------------------------------------------------------------

LETTERS = "ABCDEFGHIJKLMNOPQRST"


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """Twenty folders of 30 pictures of 8x8, of which every third one has a colour; and one folder that is no letter."""
    random = np.random.default_rng(0)
    for label in (*LETTERS, "other"):
        (tmp_path / label).mkdir()
        for number in range(30):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / label / f"{number}.png"), pixels if number % 3 == 0 else pixels[..., 0])
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_each_frame_is_the_picture_of_the_letter_that_the_cycle_names(letters: Path, channels: int) -> None:
    settings = replace(SETTINGS, cycle=LETTERS, symbols="folder", symbols_folder=str(letters), channels=channels)
    kind, shown = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB, []
    row: Any
    for split in SPLITS:
        stream = count(settings, split, 0)
        shown.append(set(sequence(stream)))
        assert {name.split("/")[0] for name in shown[-1]} == set(LETTERS)
        for row, clip in zip(stream.table.itertuples(), frames_of(stream), strict=True):
            assert row.label == (LETTERS * 20)[row.start : row.start + 6]
            for name, label, frame in zip(row.source.split(","), row.label, clip, strict=True):
                assert name.split("/")[0] == label
                picture = np.asarray(cv2.imread(str(letters / name), kind), np.float64).reshape(8, 8, channels)
                assert abs(frame.transpose(1, 2, 0) - picture).max() <= 1  # OpenCV rounds the grey value
    assert not shown[0] & shown[1]
    assert not shown[0] & shown[2]
    assert not shown[1] & shown[2]


def test_a_letter_without_pictures_is_named(letters: Path) -> None:
    settings = replace(SETTINGS, cycle="ABZ", symbols="folder", symbols_folder=str(letters))
    with pytest.raises(InputError, match=f"no test image of Z in {letters}; add more images of it, or leave it out"):
        count(settings, "test", 0)


@pytest.mark.parametrize("cycle", ["A", "", "A B", "AB!", "A-B"])
def test_a_cycle_of_a_folder_is_of_letters_and_digits(cycle: str) -> None:
    with pytest.raises(ValueError, match="cycle must be at least two letters or digits"):
        replace(SETTINGS, symbols="folder", cycle=cycle)
    assert replace(SETTINGS, symbols="folder", cycle="aB3Ω").period == "aB3Ω"


# --- what cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_a_digit_without_image_is_refused(tmp_path: Path, write_idx: WriteIdx, split: Split) -> None:
    for part in ("train", "t10k"):
        images = np.random.default_rng(len(part)).integers(0, 256, (90, 6, 6))
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.where(np.arange(90) % 3 == 0, 7, 4))
    settings = replace(SETTINGS, symbols="mnist", symbols_folder=str(tmp_path), cycle="47")
    assert set("".join(count(settings, split, 0).table["label"])) == {"4", "7"}
    with pytest.raises(InputError, match=f"no {split} image of 3 in {tmp_path}; add"):
        count(replace(settings, cycle="473"), split, 0)


def test_missing_files_of_mnist_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.*is missing"):
        count(replace(SETTINGS, symbols="mnist", symbols_folder=str(tmp_path)), "train", 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({"cycle": cycle}, "cycle must be at least two digits")
            for cycle in ("1", "", "12a", "1 2", "-1", "1²", "1.5", "٣٤")
        ],
        ({"images_per_digit": {"train": 20, "validation": 10}}, "images_per_digit must give"),
        ({"images_per_digit": {}}, "images_per_digit must give"),
        ({"images_per_digit": EACH | {"dev": 10}}, "images_per_digit must give"),
        *[({"images_per_digit": {**EACH, split: number}}, "at least 1") for split in SPLITS for number in (0, -1)],
        *[({"frame_size": size}, "frame_size must be at least 1") for size in (0, -8)],
        *[({"channels": channels}, "channels must be 1 or 3") for channels in (0, 2, 4)],
        *[({"frames": frames}, "frames must be at least 2") for frames in (1, 0, -3)],
        ({"frames": 41}, "frames is 41, but the shortest sequence has 40 symbols"),
        ({"frames": 21, "cycle": "7878"}, "frames is 21, but the shortest sequence has 20 symbols"),
        ({"images_per_digit": {**EACH, "test": 1}, "frames": 5}, "shortest sequence has 4 symbols"),
    ],
)
def test_settings_without_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)


def test_the_longest_clip_is_the_whole_sequence() -> None:
    stream = count(replace(SETTINGS, frames=40), "test", 0)
    assert stream.table["label"].tolist() == ["1234" * 10]
    assert frames_of(stream).shape == (1, 40, 1, 8, 8)

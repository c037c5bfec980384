"""A damaged state costs at most the rounds since the previous state."""

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from linear_video.training.state import before_replacing
from tests.training.test_fit import SETTINGS, Trained, train

STATE = "training_state"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    """Flip one bit of one weight: PyTorch reads such a file without an error."""
    content, name = bytearray(path.read_bytes()), "prior.theta_alpha"
    weights = torch.load(path, weights_only=True)
    values = next(value for key, value in weights["state_dict"].items() if key.endswith(name))
    content[content.index(values.numpy().tobytes())] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


def write_text(path: Path) -> None:
    path.write_text("this is no state")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in it")


DAMAGES = [truncate, empty, zero, flip, write_text, make_folder]
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished training, and its state, as if it had been killed after its last validation."""
    folder = tmp_path_factory.mktemp("left") / STATE
    return Trained(*train(folder), folder)


@pytest.fixture
def state(left: Trained, tmp_path: Path) -> Iterator[Path]:
    """That state in its own place, restored after the test."""
    shutil.copytree(left.folder, tmp_path / "original")
    yield left.folder
    shutil.rmtree(left.folder)
    shutil.rmtree(left.folder.with_name(f"{STATE}.damaged"), ignore_errors=True)
    shutil.copytree(tmp_path / "original", left.folder)


def check_same_as(left: Trained, folder: Path) -> list[int]:
    """Train again, and check that the weights equal the undisturbed ones. Returns the steps of the history."""
    model, history = train(folder)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in left.model.state_dict().items())
    assert list(history["val_loss"]) == list(left.history["val_loss"])
    return list(history["step"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_training_goes_on_from_the_state_before_a_damaged_one(
    left: Trained, state: Path, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "linear_video")
    damage(state / "last.ckpt")
    check_same_as(left, state)
    assert "last.ckpt is damaged" in caplog.text
    assert "Resuming the interrupted training from step 8 of 11" in caplog.text
    assert [path.name for path in state.with_name(f"{STATE}.damaged").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        *((damage, ["best.ckpt"]) for damage in (flip, make_folder)),
        *((damage, ["last.ckpt", "previous.ckpt"]) for damage in (truncate, zero)),
        *((damage, ["fingerprint"]) for damage in (truncate, zero, make_folder)),
        *((damage, ["digests"]) for damage in (zero, make_folder)),
    ],
)
def test_training_starts_afresh_where_nothing_sound_is_left(
    left: Trained, state: Path, damage: Damage, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "linear_video")
    for name in names:
        damage(state / name)
    check_same_as(left, state)
    assert "is damaged" in caplog.text
    assert "Going on" not in caplog.text
    assert state.with_name(f"{STATE}.damaged").is_dir()
    check_same_as(left, state)  # the next time, nothing is damaged
    assert "Resuming the interrupted training from step 11 of 11" in caplog.text


def test_a_file_in_place_of_the_folder_is_set_aside(left: Trained, state: Path) -> None:
    shutil.rmtree(state)
    state.write_text("a file")
    check_same_as(left, state)
    assert (state.with_name(f"{STATE}.damaged") / STATE).read_text() == "a file"


def test_one_damaged_state_is_kept_the_last(left: Trained, state: Path) -> None:
    for content in ("one", "two"):
        (state / "last.ckpt").write_text(content)
        check_same_as(left, state)
        kept = list(state.with_name(f"{STATE}.damaged").iterdir())
        assert [path.read_text() for path in kept] == [content]


def test_a_kill_between_the_two_renames_leaves_the_previous_state(left: Trained, state: Path) -> None:
    (state / "last.ckpt").unlink()
    check_same_as(left, state)


def test_best_weights_of_long_ago_are_known_to_be_sound(tmp_path: Path) -> None:
    for name, times in (("best.ckpt", 1), ("last.ckpt", 50)):
        for time in range(times):
            (tmp_path / "part").write_text(f"{name} {time}")
            before_replacing(tmp_path / name, tmp_path / "part")
            (tmp_path / "part").rename(tmp_path / name)
    lines = (tmp_path / "digests").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["best.ckpt", *["last.ckpt"] * 3]
    assert (tmp_path / "previous.ckpt").read_text() == "last.ckpt 48"


def test_a_state_of_other_settings_is_not_taken_for_a_damaged_one(left: Trained, state: Path) -> None:
    train(state, settings=replace(SETTINGS, learning_rate=1e-3))
    assert not state.with_name(f"{STATE}.damaged").exists()

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.tasks.footage import find_footage, open_footage
from tests.clips.footage_files import cut_off, noise, write_array, write_gif, write_images, write_video


def all_frames(path: Path) -> dict[str, NDArray[np.uint8]]:
    """By name, all frames of all recordings."""
    return {
        recording.name: np.stack(list(recording.frames))
        for source in find_footage(path)
        for recording in open_footage(source)
    }


def test_a_video_is_read_in_colour_with_its_frame_rate(tmp_path: Path) -> None:
    path, frames = tmp_path / "a.avi", noise(0)
    write_video(path, frames, fps=12.5)
    (source,) = find_footage(path)
    (recording,) = open_footage(source)
    assert recording.name == "a.avi"
    assert recording.fps == 12.5
    np.testing.assert_array_equal(np.stack(list(recording.frames)), frames)


@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_a_folder_of_images_is_one_video_in_natural_order(tmp_path: Path, suffix: str) -> None:
    frames = noise(1)  # twelve: frame10 comes after frame9
    write_images(tmp_path / "walk", frames, suffix)
    found = all_frames(tmp_path / "walk")
    assert list(found) == ["walk"]
    np.testing.assert_array_equal(found["walk"], frames)
    (recording,) = open_footage(find_footage(tmp_path / "walk")[0])
    assert recording.fps is None


def test_a_folder_of_videos_is_each_of_them(tmp_path: Path) -> None:
    write_video(tmp_path / "b" / "two.avi", noise(2))
    write_video(tmp_path / "one.avi", noise(1))
    write_images(tmp_path / "c", noise(3))
    write_gif(tmp_path / "zwei.gif", noise(4))
    (tmp_path / "notes.txt").write_text("of other things")
    found = all_frames(tmp_path)
    assert list(found) == ["one.avi", "zwei.gif", "b/two.avi", "c"]
    np.testing.assert_array_equal(found["b/two.avi"], noise(2))
    np.testing.assert_array_equal(found["c"], noise(3))


def test_an_array_is_footage_and_grey_stays_grey(tmp_path: Path) -> None:
    grey = noise(0)[..., 0]
    found = all_frames(write_array(tmp_path / "grey.npy", grey))
    np.testing.assert_array_equal(found["grey.npy"], grey[..., None])
    found = all_frames(write_array(tmp_path / "colour.npy", noise(0)))
    np.testing.assert_array_equal(found["colour.npy"], noise(0))


def test_several_arrays_of_one_file_are_recordings_of_their_own(tmp_path: Path) -> None:
    both = np.stack((noise(0), noise(1)))
    found = all_frames(write_array(tmp_path / "both.npy", both))
    assert list(found) == ["both.npy/000", "both.npy/001"]
    np.testing.assert_array_equal(np.stack(list(found.values())), both)


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.mp4 does not exist; name a video"):
        find_footage(tmp_path / "nothing.mp4")


def test_files_of_other_kinds_are_named_with_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(b"RIFF")
    with pytest.raises(
        InputError, match=r"sound\.wav cannot be read as footage: its name must end in one of \.avi, \.mp4"
    ):
        find_footage(tmp_path / "sound.wav")


def test_a_folder_without_footage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no videos, images or arrays"):
        find_footage(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match="holds no videos, images or arrays"):
        find_footage(tmp_path)


def test_what_cannot_be_opened_in_a_folder_is_named(tmp_path: Path) -> None:
    write_video(tmp_path / "one.avi", noise(1))
    (tmp_path / "two.avi").symlink_to(tmp_path / "nowhere.avi")
    with pytest.raises(InputError, match=r"two\.avi: a link that leads nowhere or in a circle; repair or remove it"):
        find_footage(tmp_path)


def test_text_that_is_called_a_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video at all")
    (source,) = find_footage(tmp_path / "text.mp4")
    with pytest.raises(InputError, match=r"^text\.mp4: its first bytes are not those of the format MP4\.$"):
        list(open_footage(source))


def test_a_video_that_breaks_off_is_named_when_it_does(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", noise(0, 60))
    cut_off(path, 0.6)
    (recording,) = open_footage(find_footage(path)[0])
    seen: list[NDArray[np.uint8]] = []
    with pytest.raises(InputError, match=r"^a\.avi: cut off or damaged: 60 frames are promised, \d+ can be read\.$"):
        seen.extend(recording.frames)
    broken = []
    recording = next(open_footage(find_footage(path)[0]))
    try:
        for frame in recording.frames:
            broken.append(frame)
    except InputError:
        pass
    assert 10 < len(broken) < 60  # they came before the end was missed
    np.testing.assert_array_equal(broken[0], noise(0, 60)[0])


@pytest.mark.parametrize("values", [np.full((3, 4, 4), np.nan), np.full((3, 4, 4), 300), np.zeros((0, 4, 4))])
def test_arrays_that_hold_no_frames_are_named(tmp_path: Path, values: NDArray[np.float64]) -> None:
    (recording,) = open_footage(find_footage(write_array(tmp_path / "a.npy", values))[0])
    with pytest.raises(InputError, match=r"^a\.npy: holds "):
        list(recording.frames)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "walk", noise(0))
    cut_off(tmp_path / "walk" / "frame7.png")
    with pytest.raises(InputError, match=r"walk: frame7\.png is cut off or damaged"):
        all_frames(tmp_path / "walk")


def test_audio_alone_is_no_footage(tmp_path: Path) -> None:
    """A RIFF file like a video in .avi, but with sound."""
    for path in (tmp_path / "sound.wav", tmp_path / "sound.avi"):
        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(range(256)) * 50)
    with pytest.raises(InputError, match=r"sound\.wav cannot be read as footage"):
        find_footage(tmp_path / "sound.wav")
    with pytest.raises(InputError, match=r"^sound\.avi: cannot be opened as a video: it has only audio"):
        list(open_footage(find_footage(tmp_path / "sound.avi")[0]))

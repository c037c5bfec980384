import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from linear_video.clips.writing import VideoWriter
from linear_video.common.errors import InputError
from tests.clips.footage_files import decoded, read_all
from tests.processes import limited


def smooth(frames: int = 10, height: int = 48, width: int = 64, planes: int = 3) -> np.ndarray:
    """Slowly moving waves with a different phase in each colour, which a lossy codec keeps well."""
    t, y, x, c = np.meshgrid(*(np.arange(n) for n in (frames, height, width, planes)), indexing="ij")
    return np.asarray(np.rint(127 + 100 * np.sin(0.15 * (x + t) + 0.1 * y + 1.5 * c)), np.uint8)


def write(path: Path, frames: Iterable[np.ndarray], fps: float = 25.0) -> Path:
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def test_frames_come_back_in_their_order_and_colours(tmp_path: Path) -> None:
    frames = smooth()
    seen = decoded(write(tmp_path / "a.webm", frames))
    assert seen.shape == frames.shape
    assert psnr(seen, frames) > 30
    for t in range(10):  # no frame is nearer to another one
        assert np.argmax([psnr(seen[t], frame) for frame in frames]) == t


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_red_is_red(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    frames = np.broadcast_to(np.array(colour, np.uint8), (3, 32, 32, 3))
    seen = decoded(write(tmp_path / "a.webm", frames))
    np.testing.assert_allclose(seen.astype(int), frames, atol=12)


def test_grey_frames_are_grey_videos(tmp_path: Path) -> None:
    frames = smooth(planes=1)
    seen = decoded(write(tmp_path / "a.webm", frames))
    assert psnr(seen, frames) > 30
    assert np.ptp(seen.astype(int), axis=3).max() <= 6


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (33, 35), (17, 9), (8, 8)])
def test_the_last_row_or_column_of_odd_sizes_is_doubled(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = smooth(4, *size)
    seen = decoded(write(tmp_path / "a.webm", frames))
    doubled = np.pad(frames, ((0, 0), (0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
    assert seen.shape == doubled.shape
    assert psnr(seen, doubled) > 25


@pytest.mark.parametrize("fps", [1.0, 12.5, 25.0, 29.97, 60.0, 120.0])
def test_the_frame_rate_is_kept(tmp_path: Path, fps: float) -> None:
    path = write(tmp_path / "a.webm", smooth(8), fps)
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=2e-3)


def test_what_is_written_can_be_read_as_footage(tmp_path: Path) -> None:
    ((recording, frames),) = read_all(write(tmp_path / "a.webm", smooth(7), 10.0))
    assert recording.fps == pytest.approx(10)
    assert frames.shape == (7, 48, 64, 3)


def test_the_container_is_webm_and_the_codec_one_of_browsers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webm", smooth(2))
    assert path.read_bytes().startswith(b"\x1a\x45\xdf\xa3")
    assert b"webm" in path.read_bytes()[:64]
    code = int(cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FOURCC))
    assert code.to_bytes(4, "little") in (b"VP80", b"VP90")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/a\.webm cannot be written as a video of 64x48 at 25 fps"):
        write(tmp_path / "nowhere" / "a.webm", smooth(1))


def test_nothing_is_said_on_the_error_output_and_it_works_afterwards(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.webm", smooth(2))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_no_frames_are_no_video(tmp_path: Path) -> None:
    write(tmp_path / "a.webm", smooth(0))
    assert not (tmp_path / "a.webm").exists()


def test_files_stay_open_no_longer_than_needed(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(3):
        write(tmp_path / f"{number}.webm", smooth(2))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("fps", [0.5, 12.345, 240.0, 5000.0])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_short_and_quick_videos_are_not_taken_for_cut_off(tmp_path: Path, frames: int, fps: float) -> None:
    assert len(decoded(write(tmp_path / "a.webm", smooth(frames), fps))) == frames


def test_a_video_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    """Wherever the room ends: in the header, among the frames, or at the last byte."""
    path, frames = tmp_path / "a.webm", np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3)).astype(np.uint8)
    write(path, frames)
    whole = path.stat().st_size
    for size in (0, 100, whole // 3, whole - 2000, whole - 300, whole - 50, whole - 1):
        path.unlink()
        said = limited(partial(write, path, frames), size)
        assert said.startswith(f"NoRoomError: {path} cannot be written: it would be larger than a file may be"), size
    path.unlink()
    assert limited(partial(write, path, frames), whole) == ""
    assert len(decoded(path)) == 30


def test_a_lost_frame_is_an_error(tmp_path: Path) -> None:
    """OpenCV silently leaves out frames of another size."""
    frames = [*smooth(3), *smooth(1, 24, 32)]
    with pytest.raises(OSError, match=r"a\.webm was cut off"):
        write(tmp_path / "a.webm", frames)


def test_an_error_is_not_hidden_by_what_it_has_cut_off(tmp_path: Path) -> None:
    def write_one() -> None:
        with VideoWriter(tmp_path / "a.webm", 25) as writer:
            writer.write(smooth(1)[0])
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_one()

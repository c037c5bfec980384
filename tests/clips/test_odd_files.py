"""Unexpected folders and files: deep, oddly named, or changed after they were read."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from linear_video.clips.extraction import FACTS, extract
from linear_video.clips.moving_symbols import MovingSymbolsSettings, load_backgrounds
from linear_video.clips.readers.recordings import find_sources, read_source
from linear_video.clips.readers.symbols import load_symbols
from linear_video.common.errors import InputError
from linear_video.common.files import files_below
from linear_video.tasks.footage import find_footage, open_footage
from tests.clips.footage_files import footage_settings, noise, tree, write_array, write_video

DEEP = 1100  # more than Python's limit of recursion
NO_UNICODE = os.fsdecode(b"\xff")


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """The root of ``DEEP`` nested folders, with a video and a picture in the last one."""
    root = tmp_path / "raw"
    folders = [f"{root}{'/d' * depth}" for depth in range(DEEP + 1)]
    for folder in folders:
        os.mkdir(folder)  # noqa: PTH102 - pathlib calls itself for each
    write_video(tmp_path / "clip.avi", noise(0))
    assert cv2.imwrite(str(tmp_path / "symbol.png"), np.eye(8, dtype=np.uint8) * 255)
    for name in ("clip.avi", "symbol.png"):
        shutil.copy(tmp_path / name, folders[-1])
    yield root
    subprocess.run(["rm", "-r", root], check=True)  # shutil calls itself for each, too


def test_recordings_are_found_however_deep_they_lie(deep: Path) -> None:
    (source,) = find_sources(deep)
    assert source.name == "d/" * DEEP + "clip.avi"
    (recording,) = read_source(source, 3)
    np.testing.assert_array_equal(np.stack(list(recording.frames)), noise(0))


def test_pictures_are_found_however_deep_they_lie(deep: Path) -> None:
    assert [path.name for path in files_below(deep)] == ["clip.avi", "symbol.png"]
    assert {symbol.label for symbol in load_symbols("folder", deep, 8, "train")} == {"d"}


def test_files_below_are_those_of_rglob(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.txt", "b/c/d.png", ".hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/back").symlink_to(tmp_path)
    expected = sorted(path for path in tmp_path.rglob("*") if path.is_symlink() or path.is_file())
    assert files_below(tmp_path) == expected
    assert files_below(tmp_path / "nowhere") == []


def test_a_time_of_day_is_the_name_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes the text before a colon for a protocol."""
    write_video(tmp_path / "12:30.avi", noise(0))
    monkeypatch.chdir(tmp_path)
    (source,) = find_footage(Path("12:30.avi"))
    (recording,) = open_footage(source)
    np.testing.assert_array_equal(np.stack(list(recording.frames)), noise(0))


def test_names_may_be_as_long_as_the_file_system_takes_them(tmp_path: Path) -> None:
    names = [letter * 251 + ".npy" for letter in "abc"]
    for number, name in enumerate(names):
        write_array(tmp_path / "raw" / name, noise(number))
    table = extract(footage_settings(tmp_path / "raw"), tmp_path / "out")
    assert table["source"].tolist() == names
    assert set(table["reason"]) == {""}


@pytest.mark.parametrize("suffix", [".avi", ".npy"])
def test_footage_whose_path_is_no_unicode_is_told(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / NO_UNICODE
    folder.mkdir()
    (folder / f"clip{suffix}").touch()
    for path in (folder, folder / f"clip{suffix}"):
        with pytest.raises(InputError, match=r"\\udcff.*: its name is not valid Unicode; rename it\."):
            find_footage(path)
        with pytest.raises(InputError, match=r"\\udcff.*: its name is not valid Unicode; rename it\."):
            extract(footage_settings(path), tmp_path / "out")


def test_pictures_whose_names_are_no_unicode_are_told(tmp_path: Path) -> None:
    """OpenCV ends the whole process at such a name."""
    assert cv2.imwrite(str(tmp_path / "a.png"), np.eye(8, dtype=np.uint8) * 255)
    (tmp_path / "a.png").rename(tmp_path / f"{NO_UNICODE}.png")
    with pytest.raises(InputError, match="its name is not valid Unicode"):
        load_symbols("folder", tmp_path, 8, "train")
    with pytest.raises(InputError, match="its name is not valid Unicode"):
        load_backgrounds(tmp_path, MovingSymbolsSettings(), "train")


def without(facts: Any, name: str) -> Any:
    return [{key: value for key, value in fact.items() if key != name} for fact in facts]


@pytest.mark.parametrize("name", ["source", "crop", "frames", "fps", "file", "digest"])
def test_a_recording_whose_facts_lack_something_is_read_again(tmp_path: Path, name: str) -> None:
    check_read_again(tmp_path, lambda path: path.write_text(json.dumps(without(json.loads(path.read_text()), name))))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "5", "[5]", "[{}]", "no JSON", "[" * 100_000, "\xff", '[{"source": NaN}]']
)
def test_a_recording_whose_facts_are_none_is_read_again(tmp_path: Path, content: str) -> None:
    check_read_again(tmp_path, lambda path: path.write_text(content, encoding="latin-1"))


@pytest.mark.parametrize("changes", [{"frames": 3}, {"frames": "12"}, {"file": "../elsewhere.npy"}, {"crop": None}])
def test_a_recording_whose_facts_are_wrong_is_read_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_array(tmp_path / "out" / "elsewhere.npy", np.zeros((12, 3, 8, 8), np.uint8))
    check_read_again(
        tmp_path, lambda path: path.write_text(json.dumps([{**json.loads(path.read_text())[0], **changes}]))
    )


def test_a_recording_whose_frames_are_gone_or_cut_off_is_read_again(tmp_path: Path) -> None:
    check_read_again(tmp_path, lambda path: (path.parent / "0_0.npy").unlink())
    check_read_again(tmp_path, lambda path: os.truncate(path.parent / "0_0.npy", 200))


def check_read_again(folder: Path, damage: Any) -> None:
    """If the stored data of a recording is damaged, it is made again; other recordings are left as they are."""
    raw, out = folder / "raw", folder / "out"
    for number in range(3):
        write_array(raw / f"{number}.npy", noise(number))
    table = extract(footage_settings(raw), out)
    before, stamps = tree(out), {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    (kept,) = out.glob(f"1_npy.*/{FACTS}")
    damage(kept)
    assert tree(out) != before
    again = extract(footage_settings(raw), out)
    assert tree(out) == before
    assert again.equals(table)
    for path, stamp in stamps.items():
        assert path.parent == kept.parent or path.stat().st_mtime_ns == stamp

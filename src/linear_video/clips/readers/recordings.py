"""Find and read recordings: video files, folders of images, arrays of frames."""

import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tokenize import TokenError
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from linear_video.clips.readers.matlab import CANNOT_WRITE, TOO_MUCH
from linear_video.common.errors import InputError
from linear_video.common.images import TIFF_STARTS, picture_size
from linear_video.common.limits import MOST_BYTES, check_pixels, limit, read_bounded

Frame = NDArray[np.uint8]  # (h, w, C)

# How files of each kind start, and from which byte on. Without this check, FFmpeg would take a text file with the
# name of a video for a play list, and read the files that it lists.
VIDEO_STARTS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    ".avi": (0, (b"RIFF",)),
    ".mp4": (4, (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")),
    ".mov": (4, (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")),
    ".m4v": (4, (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")),
    ".webm": (0, (b"\x1a\x45\xdf\xa3",)),
    ".mkv": (0, (b"\x1a\x45\xdf\xa3",)),
    ".gif": (0, (b"GIF87a", b"GIF89a")),
}
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
ARRAY_SUFFIXES = (".npy", ".mat")
KNOWN_SUFFIXES = (*VIDEO_STARTS, *FRAME_SUFFIXES, *ARRAY_SUFFIXES)
# What NumPy raises for a header that is not a Python literal, or a strange one.
NO_HEADER = (ValueError, TypeError, EOFError, SyntaxError, TokenError, OverflowError, MemoryError, RecursionError)
SURROGATES = re.compile("[\ud800-\udfff]")  # stand for bytes of a name that are not valid Unicode
NO_CLASS = ("ucf_sports_actions", "ucf action")  # folders of UCF Sports' own archive above the classes
IGNORED_FOLDERS = ("gt", "gt2", "__MACOSX")  # UCF Sports' ground truth; what macOS adds to archives
TRUTH_SUFFIX = "_gt"  # of folders with UCSD's ground truth, which are ignored as well


@dataclass(frozen=True)
class Source:
    """The place of one recording, or of several recordings in one file.

    Attributes:
        name: path below the raw folder, with "/".
        label: the class, named by the folder.
        paths: a video, an array, or the images of a folder in natural order.
        images: images beside a video that hold its frames once more. They are read if the video cannot be.
        reason: why the source cannot be read, if that is known already.
    """

    name: str
    label: str
    paths: tuple[Path, ...]
    images: tuple[Path, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Recording:
    """One recording being read: frames uint8 (h, w, C), in red, green, blue or grey; frames per second, if known."""

    name: str
    fps: float | None
    frames: Iterator[Frame]


@contextmanager
def reading() -> Iterator[None]:
    """Turn the system's error about a file that cannot be read into an ``InputError``; for reading only."""
    try:
        yield
    except OSError as error:
        raise InputError(error.strerror or str(error)) from error


def natural_order(name: str) -> tuple[Any, ...]:
    """Key that sorts numbers within names by value: a2 before a10."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)), name


def matches(name: str, patterns: list[str]) -> bool:
    """Whether a source's name, or a folder above it, fits one of the patterns (``*``, ``?``); True without patterns."""
    return not patterns or any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}/*") for p in patterns)


def find_sources(root: Path) -> list[Source]:
    """All recordings below a folder, in natural order. A recording that is known to be unusable has a reason.

    Each video file and each array is a source. The images of a folder without videos are one source together. Images
    beside a single video are taken for its frames, as in UCF Sports. Hidden files, folders of ground truth (``gt``,
    ``..._gt``) and files of other kinds are passed over.
    """
    root = root.absolute()  # "." has no name
    found, left = list[Source](), [(root, frozenset[tuple[int, int]]())]  # folders, the next one last, and those above
    while left:
        folder, above = left.pop()
        of_folder, folders = _look_into(folder, root)
        if folders:
            state = folder.stat()
            place = (state.st_dev, state.st_ino)
            if place in above:
                found.append(_source(folder, root, reason="a link back to a folder that it lies in"))
                continue
            above |= {place}
        found += of_folder
        left += [(inner, above) for inner in reversed(folders)]
    return found


def _look_into(folder: Path, root: Path) -> tuple[list[Source], list[Path]]:
    """The sources directly in a folder, and its sub-folders, both in natural order."""
    found = list[Source]()
    videos, images, arrays, folders = (list[Path]() for _ in range(4))
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural_order(entry.name))
    except OSError as error:
        return [_source(folder, root, reason=f"the folder cannot be opened ({error.strerror})")], []
    for entry in entries:
        suffix = entry.suffix.lower()
        if entry.name.startswith(".") or entry.name in IGNORED_FOLDERS or entry.name.endswith(TRUTH_SUFFIX):
            continue
        if SURROGATES.search(entry.name) and (suffix in KNOWN_SUFFIXES or entry.is_dir()):  # OpenCV would crash
            printable = folder / entry.name.encode(errors="backslashreplace").decode()
            found.append(_source(printable, root, reason="its name is not valid Unicode"))
            continue
        try:
            is_folder = entry.is_dir()
        except OSError as error:  # in a folder that may be listed, but not entered
            found.append(_source(entry, root, reason=f"cannot be opened ({error.strerror})"))
            continue
        if is_folder:
            folders.append(entry)
        elif entry.is_symlink() and not entry.exists():
            found.append(_source(entry, root, reason="a link that leads nowhere or in a circle"))
        elif suffix not in KNOWN_SUFFIXES:
            continue
        elif not entry.is_file():
            found.append(_source(entry, root, reason="not a regular file"))
        else:
            (videos if suffix in VIDEO_STARTS else images if suffix in FRAME_SUFFIXES else arrays).append(entry)
    beside = tuple(images) if len(videos) == 1 and len(images) > 1 else ()
    for path in (*videos, *arrays):
        found.append(_source(path, root, (path,), beside if path in videos else ()))
    if images and not videos:
        found.append(_source(folder, root, tuple(images)))
    return found, folders


def _source(
    path: Path, root: Path, paths: tuple[Path, ...] = (), images: tuple[Path, ...] = (), reason: str = ""
) -> Source:
    parts = path.relative_to(root).parts
    classes = [part for part in parts if part not in NO_CLASS]
    if paths == (path,) or reason:  # a file names no class
        classes = classes[:-1]
    return Source("/".join(parts) or root.name, classes[0] if classes else root.name, paths, images, reason)


def read_source(source: Source, channels: int | None) -> Iterator[Recording]:
    """Recordings of a source, with ``channels`` 1 (grey) or 3 (red, green, blue). Read each one before the next.

    With None, arrays without colour have 1 channel, and everything else has 3.

    Raises:
        InputError: if the file is broken. It may be raised only while the frames are read.
    """
    path = source.paths[0]
    suffix = path.suffix.lower()
    if suffix in VIDEO_STARTS:
        yield _video(path, source.name, channels or 3)
    elif suffix in ARRAY_SUFFIXES:
        yield from _arrays(path, source.name, channels)
    else:
        yield Recording(source.name, None, (read_image(image, channels or 3) for image in source.paths))


def _video(path: Path, name: str, channels: int) -> Recording:
    path = path.absolute()  # FFmpeg would take 12:30.avi for the address 30.avi with the protocol 12
    offset, starts = VIDEO_STARTS[path.suffix.lower()]
    with reading(), path.open("rb") as file:
        start = file.read(offset + 8)[offset:]
        file.seek(max(0, file.seek(0, 2) - 1))
        end = file.read(1)
    if not start.startswith(starts):
        raise InputError(
            "empty" if not start else f"its first bytes are not those of the format {path.suffix[1:].upper()}"
        )
    if path.suffix.lower() == ".gif" and end != b"\x3b":  # nothing else tells its number of frames
        raise InputError("cut off: the end mark of a GIF file is missing")
    # One thread for each file, since several files are read at once.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise InputError(
            "cannot be opened as a video: it has only audio, is cut off or damaged, or OpenCV lacks its codec"
        )
    height, width = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    try:
        check_pixels(height, width)
    except InputError:
        capture.release()
        raise
    fps = capture.get(cv2.CAP_PROP_FPS)
    return Recording(name, fps if 0 < fps < math.inf else None, _video_frames(capture, channels))


def _video_frames(capture: cv2.VideoCapture, channels: int) -> Iterator[Frame]:
    try:
        promised, count = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
        while (read := capture.read())[0]:
            count += 1
            frame = cast("Frame", read[1])
            check_pixels(*frame.shape[:2])  # checked again: in some formats, frames have their own sizes
            yield _in_channels(frame, channels)
    finally:
        capture.release()
    # The promised number may be an estimate: duration times mean frame rate.
    if count < 0.95 * promised - 2:
        raise InputError(f"cut off or damaged: {promised:.0f} frames are promised, {count} can be read")


def _in_channels(frame: Frame, channels: int) -> Frame:
    """OpenCV's blue, green, red (h, w, 3) -> (h, w, C)."""
    converted = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY)
    return cast("Frame", converted.reshape(*frame.shape[:2], channels))


def read_image(path: Path, channels: int) -> Frame:
    """A whole JPEG, PNG or TIFF picture as uint8 (h, w, C), in red, green, blue or grey.

    Raises:
        InputError: if it is not a picture, or cut off. (Decoders fill the missing part with grey and raise no error.)
    """
    with reading():
        content = read_bounded(path, path.name)
    if content.startswith(b"\xff\xd8"):
        # The end mark must follow the last start of scan; a preview in the header has marks of its own.
        whole = content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda")
    elif content.startswith(b"\x89PNG"):
        whole = content.rfind(b"IEND") != -1
    elif content.startswith(TIFF_STARTS):
        whole = True  # or it has no size
    else:
        raise InputError(f"{path.name} is not a JPEG, PNG or TIFF picture" if content else f"{path.name} is empty")
    size = picture_size(content) if whole else None
    if size is not None:
        check_pixels(*size, path.name)
    flag = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flag) if size is not None else None
    except cv2.error:  # larger than OpenCV's limit
        picture = None
    if picture is None:
        tiff = content.startswith(TIFF_STARTS)
        raise InputError(f"{path.name} is cut off or damaged{', or holds several pictures' * tiff}")
    return cast("Frame", picture.reshape(*picture.shape[:2], channels))


def _arrays(path: Path, name: str, channels: int | None) -> Iterator[Recording]:
    """Recordings in a NumPy or MATLAB file.

    NumPy arrays are (T, h, w), or (T, h, w, 3) for colour; several recordings have one more axis in front. MATLAB
    arrays are (h, w, T), or (h, w, 3, T) for colour, in variables or in cells, as in UCLA-50.
    """
    if path.suffix.lower() == ".mat":
        for part, values in _matlab(path):
            yield Recording(f"{name}/{part}", None, _array_frames(values, channels))
        return
    values = open_array(path)
    colour = values.shape[-1:] == (3,)
    if values.ndim == 3 + colour:
        yield Recording(name, None, _array_frames(values, channels))
    elif values.ndim == 4 + colour:
        for i, recording in enumerate(values):
            yield Recording(f"{name}/{i:03d}", None, _array_frames(recording, channels))
    else:
        raise InputError(f"holds an array of the shape {values.shape}, not (T, h, w), (T, h, w, 3) or several such")


def open_array(path: Path) -> NDArray[Any]:
    """Memory-map a NumPy file; never unpickles."""
    with reading():
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except NO_HEADER as error:  # NumPy parses the header as a Python literal
            raise InputError(f"not a valid NumPy file ({error})") from error


def _matlab(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and arrays (T, h, w) or (T, h, w, 3) of a MATLAB file, in natural order."""
    with tempfile.TemporaryDirectory() as folder:
        most = limit(MOST_BYTES)
        command = [sys.executable, "-m", "linear_video.clips.readers.matlab", str(path), folder, str(most)]
        # A list of arguments, without a shell; the path is an argument of our own module.
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # nosec B603
        if done.returncode == CANNOT_WRITE:
            raise OSError(f"{path} cannot be unpacked into {folder}: {done.stdout.strip()}")
        if done.returncode == TOO_MUCH:
            raise InputError(
                f"unpacks to more than {most:,} bytes; if you trust it and have enough memory, set {MOST_BYTES} higher"
            )
        if "v7.3" in done.stderr:  # SciPy names the version that it cannot read
            raise InputError("saved by MATLAB's -v7.3; save it again with -v7")
        if done.returncode:
            raise InputError(f"not a valid MATLAB file ({(done.stderr.splitlines() or ['its reader crashed'])[-1]})")
        found = False
        files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in Path(folder).rglob("*.npy")}
        for name in sorted(files, key=natural_order):
            values = open_array(files[name])  # as MATLAB has it: (h, w, T)
            if values.ndim == 3:
                yield name, values.transpose(2, 0, 1)
            elif values.ndim == 4 and values.shape[2] == 3:
                yield name, values.transpose(3, 0, 1, 2)
            elif values.ndim == 4:
                yield from ((f"{name}/{k:03d}", values[..., k].transpose(2, 0, 1)) for k in range(values.shape[3]))
            else:
                continue
            found = True
        if not found:
            raise InputError("holds no array of frames (h, w, T)")


def _array_frames(values: NDArray[Any], channels: int | None) -> Iterator[Frame]:
    """Frames of (T, h, w) or (T, h, w, 3): integers of 0 .. 255, or floats of [0, 1] or [0, 255]."""
    if values.dtype.kind not in "uif" or not len(values) or 0 in values.shape:
        raise InputError(f"holds {values.dtype} of the shape {values.shape}, not frames")
    check_pixels(*values.shape[1:3])
    factor = 1.0
    if values.dtype != np.uint8:
        least, greatest = (float(extreme([extreme(frame) for frame in values])) for extreme in (np.min, np.max))
        if not 0 <= least <= greatest <= 255:
            raise InputError(f"holds values of [{least:g}, {greatest:g}], not of [0, 255]")
        factor = 255.0 if values.dtype.kind == "f" and greatest <= 1 else 1.0
    for frame in values:
        whole = np.asarray(frame if values.dtype == np.uint8 else np.rint(frame * factor), np.uint8, order="C")
        if whole.ndim == 2:
            yield np.repeat(whole[..., None], channels or 1, axis=2)
        else:
            yield whole if channels != 1 else cast("Frame", cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY))[..., None]

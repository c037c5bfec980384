"""From recordings of any size to frames of one size on disk: in parallel, resumable, in little memory.

Each recording becomes a folder of its own, named after what it was made from. A folder that is there is finished: a run
that was stopped, or comes again, reads only what is new or changed.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from linear_video.clips.base import Shard
from linear_video.clips.engines import finished
from linear_video.clips.readers.recordings import (
    ARRAY_SUFFIXES,
    KNOWN_SUFFIXES,
    NO_HEADER,
    Frame,
    Source,
    find_sources,
    matches,
    read_source,
    reading,
)
from linear_video.common import storage
from linear_video.common.errors import InputError
from linear_video.common.files import check_path, recover, remove_all_but, replacing_folder
from linear_video.common.images import resized

if TYPE_CHECKING:
    from linear_video.clips.footage import FootageSettings

logger = logging.getLogger(__name__)

FORMAT = 1  # of a recording's folder; another number makes all anew
FACTS = "recordings.json"
COLUMNS = ["source", "label", "crop", "frames", "fps", "file", "reason"]
REASONS_SHOWN = 20

Region = tuple[int, int, int, int]  # top, left, height, width


def extract(settings: "FootageSettings", folder: Path, hint: str = "") -> pd.DataFrame:
    """Read all recordings into ``folder``, each once: frames uint8 (F, C, H, W) of the settings' size.

    Returns a row for each recording and crop, in natural order: source, label, crop, frames, fps (NaN if unknown),
    file (in ``folder``), and the reason why it cannot be used ("" if it can). ``hint`` is for the message when there
    is nothing to read: where to get it.

    Raises:
        InputError: if nothing is found, nothing can be used, or something cannot and ``unusable`` is ``"fail"``.
    """
    sources = _sources(settings, hint)
    rows, keep = _read(_included(sources, settings), settings, folder)
    table = pd.DataFrame(_without_copies(rows), columns=COLUMNS).astype({"fps": np.float64})
    if not len(table):
        names = ", ".join(source.name for source in sources[:5])
        raise InputError(
            f"none of the names in {settings.raw_folder} fits include ({', '.join(settings.include)}): {names}, ..."
        )
    remove_all_but(folder, keep)
    storage.remove_all_but(folder, keep)
    _report(table, settings)
    return table


def read_shard(settings: "FootageSettings", folder: Path, shard: Shard, hint: str = "") -> str:
    """Read one part of the recordings into ``folder``, for a later ``extract``; remove nothing.

    Recording k of all, in natural order, belongs to part k modulo n. Returns one line that says what was read.

    Raises:
        InputError: if nothing is found, or something cannot be used and ``unusable`` is ``"fail"``.
    """
    sources = _included(_sources(settings, hint), settings)
    part = sources[shard.number - 1 :: shard.of]
    rows, _ = _read(part, settings, folder)
    table = pd.DataFrame(rows, columns=COLUMNS)
    _report(table, settings, whole=False)
    unusable = table[table["reason"] != ""]["source"].nunique()
    return f"{len(part)} of {len(sources)} recordings are read, and {unusable} of these cannot be used"


def _sources(settings: "FootageSettings", hint: str) -> list[Source]:
    """All that the raw folder holds, in natural order."""
    root = Path(settings.raw_folder)
    check_path(root)
    sources = find_sources(root) if root.is_dir() else []
    if root.is_file() and root.suffix.lower() in KNOWN_SUFFIXES:
        sources = [Source(root.name, "", (root.absolute(),))]
    if not sources:
        raise InputError(f"{root} holds no recordings. {hint}".rstrip())
    return sources


def _included(sources: list[Source], settings: "FootageSettings") -> list[Source]:
    """The sources that may hold what the settings include."""
    # An array may hold several recordings, with names of their own.
    array = [any(path.suffix.lower() in ARRAY_SUFFIXES for path in source.paths) for source in sources]
    return [s for s, several in zip(sources, array, strict=True) if several or matches(s.name, settings.include)]


def _read(sources: list[Source], settings: "FootageSettings", folder: Path) -> tuple[list[dict[str, Any]], set[str]]:
    """Rows of the sources in their order, as far as they are included, and the names of their folders."""
    work = partial(_extracted_quietly, settings=settings, folder=folder.absolute())
    shown = {"desc": "reading recordings", "unit": "file", "mininterval": 0.5}
    results: dict[int, tuple[list[dict[str, Any]], str]] = {}
    with quiet_opencv(), closing(finished(work, sources, settings.workers)) as done:
        for number, (of_source, key) in tqdm(done, total=len(sources), **shown):
            if any(row["file"] for row in of_source):
                _check_shared(folder / key)
            results[number] = of_source, key
    rows: list[dict[str, Any]] = []
    for number in range(len(sources)):
        for row in results[number][0]:
            name = row["source"]  # or one within it is wanted, had the file been sound
            if matches(name, settings.include) or any(p.startswith(f"{name}/") for p in settings.include):
                rows.append(row)
    return rows, {key for _, key in results.values()}


def _check_shared(folder: Path) -> None:
    """Raise InputError if what a worker has read into a folder cannot be seen from here."""
    if not folder.exists():
        storage.fetch_folder(folder)  # what a worker on another machine has put into the store
    if not folder.exists():
        raise InputError(
            f"a Dask worker has read {folder}, but it is not there. The workers must see the same folders as this "
            "machine, under the same paths, or the data must lie at a URL (docs/how_to/storage.md)."
        )


def _extracted_quietly(source: Source, settings: "FootageSettings", folder: Path) -> tuple[list[dict[str, Any]], str]:
    """What ``_extracted`` gives, in a process of its own, too."""
    with quiet_opencv():
        return _extracted(source, settings, folder)


def _extracted(source: Source, settings: "FootageSettings", folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Rows of one source, read from it or from what an earlier run has left, and the name of its folder."""
    key = ""
    folder = storage.here(folder)  # which may have its place on another machine
    try:
        if source.reason:
            raise InputError(source.reason)
        key = _key(source, settings)
        storage.fetch_folder(folder / key)
        recover(folder / key)
        facts = _kept(folder / key)
        if not facts:
            with replacing_folder(folder / key, several=True) as part:
                facts = _extract_with_fallback(source, settings, part)
                (part / FACTS).write_text(json.dumps(facts, indent=1))
            storage.put_folder(folder / key)
    except (InputError, cv2.error) as error:
        facts = [{"source": source.name, "crop": 0, "frames": 0, "fps": None, "file": "", "reason": str(error)}]
    rows = []
    for fact in facts:
        reason = fact.get("reason", "")
        if not reason and fact["frames"] < settings.span:
            reason = f"too short: {fact['frames']} frames, but a clip spans {settings.span}"
        file = f"{key}/{fact['file']}" if fact["file"] else ""
        rows.append({"label": source.label, "digest": "", **fact, "file": file, "reason": reason})
    return rows, key


@dataclass(frozen=True)
class _Fact:
    """What is known of a recording, or a crop of it, that has been read."""

    source: str
    crop: int
    frames: int
    fps: float | None
    file: str
    digest: str


def _kept(folder: Path) -> list[dict[str, Any]]:
    """The facts of what an earlier run has left, whole; none if it is to be made anew."""
    from pydantic import TypeAdapter

    try:
        facts = TypeAdapter(list[_Fact]).validate_json((folder / FACTS).read_bytes(), strict=True)
        for fact in facts:
            frames = np.load(folder / fact.file, mmap_mode="r", allow_pickle=False)
            if Path(fact.file).name != fact.file or len(frames) != fact.frames:
                return []
    except (OSError, *NO_HEADER):  # pydantic's is a ValueError
        return []
    return [asdict(fact) for fact in facts]


def _key(source: Source, settings: "FootageSettings") -> str:
    """Name of a source's folder, from all that its content depends on."""
    with reading():
        states = [(path.name, path.stat()) for path in (*source.paths, *source.images)]
    identity = [
        FORMAT,
        source.name,
        [(name, state.st_size, state.st_mtime_ns) for name, state in states],
        [list(settings.frame_size), settings.fit, settings.crop_size, settings.crops, settings.channels],
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in source.name)
    return f"{readable[-80:]}.{digest}"


def _extract_with_fallback(source: Source, settings: "FootageSettings", folder: Path) -> list[dict[str, Any]]:
    try:
        return _extract_one(source, settings, folder)
    except (InputError, cv2.error):
        if not source.images:
            raise
        return _extract_one(Source(source.name, source.label, source.images), settings, folder)


def _extract_one(source: Source, settings: "FootageSettings", folder: Path) -> list[dict[str, Any]]:
    """Write the frames of one source, frame by frame; return the facts of each recording and crop."""
    facts = []
    for number, recording in enumerate(read_source(source, settings.channels)):
        files: list[_FramesFile] = []
        try:
            shape: tuple[int, ...] = ()
            for frame in recording.frames:
                if not files:
                    shape = frame.shape
                    regions = crop_regions((shape[0], shape[1]), settings)
                    frame_shape = (settings.channels, *settings.frame_size)
                    files = [_FramesFile(folder / f"{number}_{k}.npy", frame_shape) for k in range(len(regions))]
                elif frame.shape != shape:
                    sizes = [f"{width}x{height}" for height, width, *_ in (frame.shape, shape)]
                    raise InputError(f"frame {files[0].count} is {sizes[0]} pixels, the ones before {sizes[1]}")
                for file, region in zip(files, regions, strict=True):
                    file.append(fit_frame(frame, region, settings))
            if not files or files[0].count == 1:
                raise InputError("holds a single frame" if files else "holds no frames")
            for crop, file in enumerate(files):
                digest = file.finish()
                name = {"source": recording.name, "crop": crop, "frames": file.count, "fps": recording.fps}
                facts.append({**name, "file": file.path.name, "digest": digest})
        finally:
            for file in files:
                file.close()
    if not facts:
        raise InputError("holds no frames")
    return facts


class _FramesFile:
    """A ``.npy`` file of frames uint8 (F, C, H, W) that grows frame by frame; NumPy leaves room for F in the header."""

    def __init__(self, path: Path, frame_shape: tuple[int, ...]) -> None:
        self.path, self.frame_shape, self.count = path, frame_shape, 0
        self._file: BinaryIO = path.open("wb")
        self._digest = hashlib.sha256()
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.frame_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, frame: Frame) -> None:
        content = frame.transpose(2, 0, 1).tobytes()  # (C, H, W)
        self._digest.update(content)
        self._file.write(content)
        self.count += 1

    def finish(self) -> str:
        """Complete the header; return the digest of all frames."""
        self._file.seek(0)
        self._write_header()
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


def crop_regions(size: tuple[int, int], settings: "FootageSettings") -> list[Region]:
    """Parts of a frame of (height, width) pixels that are kept, each to be resized to ``frame_size``.

    Raises:
        InputError: if the frame is too small for them.
    """
    height, width = size
    ratio = settings.frame_size[1] / settings.frame_size[0]
    if settings.crop_size is None:
        if settings.fit == "letterbox":
            return [(0, 0, height, width)]
        high, wide = max(1, min(height, round(width / ratio))), max(1, min(width, round(height * ratio)))
        return [((height - high) // 2, (width - wide) // 2, high, wide)]
    high = settings.crop_size
    if settings.room_decides:
        high = max(1, min(high, height, int(width / ratio)))
    wide = max(1, round(high * ratio))
    rows, columns = height // high, width // wide
    crops = min(settings.crops, rows * columns) if settings.room_decides else settings.crops
    if rows * columns < crops:
        raise InputError(
            f"frames of {width}x{height} pixels have room for {rows * columns} crops of {wide}x{high}, "
            f"but crops asks for {settings.crops}"
        )
    # A grid in the middle of the frame; of its places, as many as asked for, evenly spread.
    top, left = (height - rows * high) // 2, (width - columns * wide) // 2
    places = [(top + r * high, left + c * wide, high, wide) for r in range(rows) for c in range(columns)]
    return [places[int((k + 0.5) / crops * len(places))] for k in range(crops)]


def fit_frame(frame: Frame, region: Region, settings: "FootageSettings") -> Frame:
    """Cut out a region of a frame (h, w, C) and resize it without aliasing: (H, W, C)."""
    top, left, high, wide = region
    part = frame[top : top + high, left : left + wide]
    height, width = settings.frame_size
    if settings.fit == "crop" or settings.crop_size is not None:
        return resized(part, height, width)
    factor = min(height / high, width / wide)
    inner_height, inner_width = max(1, round(factor * high)), max(1, round(factor * wide))
    canvas = np.zeros((height, width, frame.shape[2]), np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas[top : top + inner_height, left : left + inner_width] = resized(part, inner_height, inner_width)
    return canvas


def _without_copies(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give recordings that show the same frames as an earlier one that for a reason: a copy may not be test data."""
    first: dict[str, str] = {}
    for row in rows:
        if row["reason"]:
            continue
        original = first.setdefault(row["digest"], row["source"])
        if original != row["source"]:
            row["reason"] = f"shows the same frames as {original}"
    return rows


def _report(table: pd.DataFrame, settings: "FootageSettings", *, whole: bool = True) -> None:
    unusable = table[table["reason"] != ""]
    listed = [f"  - {row.source}: {row.reason}" for row in unusable.head(REASONS_SHOWN).itertuples()]
    if len(unusable) > REASONS_SHOWN:
        listed.append(f"  and {len(unusable) - REASONS_SHOWN} more")
    count = f"{len(unusable)} of {len(table)} recordings in {settings.raw_folder} cannot be used:"
    message = "\n".join([count, *listed])
    if (whole and len(unusable) == len(table)) or (len(unusable) and settings.unusable == "fail"):
        raise InputError(message)
    if len(unusable):
        logger.info(message)


class _Quiet:
    """How many are reading in this process, and OpenCV's settings from before."""

    lock, readers = Lock(), 0
    level = threads = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Leave it to us to tell what is broken, and one thread to each recording; several may be in here at once."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
    with _Quiet.lock:
        if not _Quiet.readers:
            _Quiet.level, _Quiet.threads = cv2.utils.logging.getLogLevel(), cv2.getNumThreads()
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            cv2.setNumThreads(1)
        _Quiet.readers += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.readers -= 1
            if not _Quiet.readers:
                cv2.utils.logging.setLogLevel(_Quiet.level)
                cv2.setNumThreads(_Quiet.threads)

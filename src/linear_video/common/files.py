"""The one way to write results: beside their place, synced to the disk, then renamed into it.

If a writer is killed at any moment, or runs out of room, either the old content or all of the new content is there:
never neither, never a mix. What it leaves beside (``.<name>.part``, ``.<name>.old``) is removed by the next writer to
the same place.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from linear_video.common.errors import InputError, NoRoomError

NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it would be larger than a file may be here (see ulimit -f)",
}
CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # what a file system answers if it does not support an operation
PROBE = 2**20  # bytes
LONGEST_NAME = 255  # bytes, of most file systems


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a path to write to. It replaces ``path`` if the block succeeds, and is deleted otherwise.

    Raises:
        NoRoomError: if the disk is full, or a quota or limit is reached; what was there before stays.
    """
    place = path.resolve()  # a link stays, and its target is replaced
    part = _beside(place, "part")
    try:
        with telling_no_room(path, part):
            place.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            yield part
            _sync(part)
            part.replace(place)
            _sync(place.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, several: bool = False) -> Iterator[Path]:
    """Give an empty folder. It replaces the folder ``path`` if the block succeeds, and is deleted otherwise.

    With ``several``, others may write the same folder at the same time, each beside its place under its own name. Any
    of them may be there in the end. ``remove_all_but`` removes what a killed writer leaves.

    Raises:
        NoRoomError: if the disk is full, or a quota or limit is reached; what was there before stays.
    """
    place = path.resolve()
    part = _beside(place, f"{uuid4().hex}.part" if several else "part")
    try:
        with telling_no_room(path, part):
            place.parent.mkdir(parents=True, exist_ok=True)
            if not several:
                _remove_remains(place)
            part.mkdir()
            yield part
            for file in (part, *part.rglob("*")):
                if not file.is_symlink() and (file.is_file() or file.is_dir()):
                    _sync(file)
            if several:
                _put_among_others(part, place)
            else:
                _put(part, place)
            _sync(place.parent)
    finally:
        if several:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(part.with_suffix(".old"), ignore_errors=True)
        else:
            _remove_remains(place)


def recover(path: Path) -> None:
    """Call this before a folder is read: it puts the old folder back, if a kill has left it beside its place.

    That can happen only where two folders cannot be exchanged in one step, between the two steps that are needed there.
    It does not disturb another process that is writing the folder at this moment: see ``_put``.
    """
    place = path.resolve()
    old = _beside(place, "old")
    if not place.exists() and old.exists():
        with suppress(OSError):  # the writer, or another reader, was faster
            old.rename(place)


def _put(part: Path, place: Path) -> None:
    """Put one folder in the place of another, which may be deleted or lie beside it afterwards."""
    if not place.exists():
        part.rename(place)
        return
    if _exchange(part, place):
        return
    old = _beside(place, "old")
    while True:
        place.rename(old)
        try:
            part.rename(place)
        except OSError as error:
            recover(place)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        # Between the two steps, a reader saw no folder and put the old one back. Move it aside again.


def _put_among_others(part: Path, place: Path) -> None:
    """Let one folder take the place of another, where somebody else may put the same at the same time."""
    old = part.with_suffix(".old")
    while True:
        try:
            part.rename(place)  # where nothing is, or an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        if _exchange(part, place):
            return
        shutil.rmtree(old, ignore_errors=True)
        with suppress(FileNotFoundError):  # another one was faster
            place.rename(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system does not support that."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _remove_remains(place: Path) -> None:
    recover(place)
    remains = [_beside(place, "part")]
    if place.exists():  # otherwise the old one is the only copy
        remains.append(_beside(place, "old"))
    for path in remains:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _beside(place: Path, what: str) -> Path:
    name = f".{place.name}.{what}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(place.name)).hexdigest()}.{what}"
    return place.with_name(name)


def _sync(path: Path) -> None:
    """Wait until the content of a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
    finally:
        os.close(handle)


@contextmanager
def telling_no_room(path: Path, part: Path) -> Iterator[None]:
    """Raise ``NoRoomError`` if writing to ``part``, a file or a folder, fails for lack of room; ``path`` is its name.

    Writers fail in many ways, and some do not say why. Then the system is asked.

    Raises:
        NoRoomError: in place of the exception that the writer raises.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        number = no_room(error) or _probe(part)
        if number is None:
            raise
        message = (
            f"{path} cannot be written: {NO_ROOM[number]}. What was there before is kept; make room and try again."
        )
        raise NoRoomError(number, message) from error


def no_room(error: BaseException | None) -> int | None:
    """The system's error number, if an error or one of its causes is a lack of room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _probe(part: Path) -> int | None:
    """Try to write more there, and see whether that fails for lack of room."""
    files = [file for file in part.rglob("*") if file.is_file()] if part.is_dir() else [part]
    longest = max(files, key=lambda file: file.stat().st_size if file.exists() else 0, default=part / "probe")
    try:
        with longest.open("ab") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in NO_ROOM else None
    return None


def remove_all_but(folder: Path, keep: Collection[str]) -> None:
    """Delete all sub-folders that are not named in ``keep``."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, however deep, sorted; links to folders are not followed."""
    found, folders = list[Path](), [folder]
    while folders:
        with suppress(PermissionError, FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else found).append(Path(entry))
    return sorted(found)


def check_path(path: Path) -> None:
    """Raise InputError if a path has bytes that are not text: OpenCV crashes on them, and tables reject them."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise InputError(f"{shown}: its name is not valid Unicode; rename it.") from error

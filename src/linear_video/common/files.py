"""The one way of writing what is kept: beside its place, down to the disk, then renamed into it.

Killed at any moment, or out of room, a writer leaves what was there before or all of what is new: never neither, never
a mix. What it leaves beside (``.<name>.part``, ``.<name>.old``) is removed by whoever writes to the same place next.
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
CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # what a file system says of something that it does not offer
PROBE = 2**20  # bytes
LONGEST_NAME = 255  # bytes, of most file systems


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, which replaces ``path`` when the block ends well, and vanishes otherwise.

    Raises:
        NoRoomError: if the disk is full, or a quota or limit is reached; what was there before stays.
    """
    place = path.resolve()  # a link stays, and what it leads to is replaced
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
    """Give an empty folder, which replaces the folder ``path`` when the block ends well, and vanishes otherwise.

    With ``several``, others may write the same at the same time, each beside its place under a name of its own. Any of
    them may be there in the end. What a killed one leaves beside is for ``remove_all_but`` to remove.

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
    """Before a folder is read: put the one of before back, if a kill has left it beside its place.

    That happens only where two folders cannot change places in one step, between the two steps that are needed there.
    Somebody who writes the folder at this very moment is not disturbed: see ``_put``.
    """
    place = path.resolve()
    old = _beside(place, "old")
    if not place.exists() and old.exists():
        with suppress(OSError):  # the writer, or another reader, was faster
            old.rename(place)


def _put(part: Path, place: Path) -> None:
    """Let one folder take the place of another, which may be gone or stand beside afterwards."""
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
        # A reader saw no folder between the two steps, and has put the old one back: aside with it again.


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
    """Let two paths change places in one step; False where the system or the file system does not offer that."""
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
    if place.exists():  # else the old one is the only copy, and could not be put back
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
    """Wait until a file's content, or a folder's list of names, is on the disk."""
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
    """Say so, if what is written to ``part``, a file or a folder, fails for want of room; ``path`` is its name.

    Writers fail in many ways, and not all say why: then the system is asked.

    Raises:
        NoRoomError: in place of what the writer raises.
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
    """The number of the system's error, if that is a want of room, of an error or of what has led to it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _probe(part: Path) -> int | None:
    """Try to write more there, and see why that fails, if it does for want of room."""
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
    """Delete the sub-folders that are not named in ``keep``."""
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
    """Raise InputError if bytes of a path are no text: OpenCV crashes on such, and no table takes them."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise InputError(f"{shown}: its name is no valid Unicode; rename it.") from error

"""Messages for when other libraries find no room to write: MLflow's database and its copies of files."""

import sqlite3
from collections.abc import Iterator

from kedro.io import DatasetError

from linear_video.common.errors import NoRoomError
from linear_video.common.files import NO_ROOM

UNWRITABLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # the latter also for quotas and limits


def told(error: BaseException) -> str | None:
    """A message, if an error comes from a lack of room; None for other errors, and for those that say so themselves."""
    if isinstance(error, NoRoomError | DatasetError):
        return None
    causes = list(_causes(error))
    for cause in causes:  # the first failure names its file; MLflow's database may fail when it records that
        if isinstance(cause, NoRoomError):
            return str(cause)
    for cause in causes:
        if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in UNWRITABLE:
            return (
                f"MLflow's database cannot be written or read ({cause}). The disk may be full, or a quota or a limit "
                "on the size of a file (ulimit -f) may have been reached. Make room and run the same command again."
            )
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            place = cause.filename2 or cause.filename or "a file"
            return f"{place} cannot be written: {NO_ROOM[cause.errno]}. Make room and run the same command again."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

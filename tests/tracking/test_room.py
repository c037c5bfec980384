import errno
import itertools
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from kedro.io import DatasetError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from linear_video.common.errors import InputError, NoRoomError
from linear_video.tracking.room import told
from tests.processes import limited


def chained(*errors: BaseException) -> BaseException:
    """The first is caused by the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def fill(path: Path) -> None:
    """Write to a database as MLflow does; return the message for the user."""
    try:
        with create_engine(f"sqlite:///{path}").begin() as connection:
            connection.execute(text("create table words (word)"))
            connection.execute(text("insert into words values (:word)"), {"word": "a" * 100_000})
    except OperationalError as error:
        raise InputError(told(error)) from error


@pytest.mark.parametrize("size", [0, 20_000])
def test_a_database_that_may_not_grow_is_one_message(tmp_path: Path, size: int) -> None:
    said = limited(partial(fill, tmp_path / "mlflow.db"), size)
    assert said.startswith("InputError: MLflow's database cannot be written or read (disk I/O error)")
    assert "ulimit -f" in said


def test_a_full_database_is_one_message(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("pragma max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("create table words as select zeroblob(100000)")
    assert "MLflow's database" in str(told(chained(RuntimeError("of MLflow"), caught.value)))
    connection.close()


def test_other_errors_of_databases_are_shown_as_they_are(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("select nothing from nowhere")
    assert told(caught.value) is None
    connection.close()


def test_the_file_that_failed_first_is_named() -> None:
    database = sqlite3.OperationalError("full")
    database.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert told(chained(database, NoRoomError(errno.ENOSPC, "a.npy cannot be written"))) == "a.npy cannot be written"


def test_a_copy_that_has_no_room_is_named(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "from", None, "to")
    said = told(chained(shutil.Error("of many files"), error))
    assert said == "to cannot be written: the disk is full. Make room and run the same command again."


@pytest.mark.parametrize("error", [DatasetError("says so"), NoRoomError(errno.EDQUOT, "says so")])
def test_what_says_so_itself_is_left_alone(error: BaseException) -> None:
    assert told(chained(error, OSError(errno.ENOSPC, "full"))) is None
    assert str(error) == "says so"


def test_what_has_nothing_to_do_with_room_is_left_alone() -> None:
    assert told(chained(ValueError("mine"), OSError(errno.ENOENT, "missing"))) is None

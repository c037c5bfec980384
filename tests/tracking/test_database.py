import os
import signal
from pathlib import Path

import mlflow
import pytest
from sqlalchemy import Engine, event

from linear_video.common.errors import NoRoomError
from linear_video.tracking.database import make_database, make_experiment


def made_and_used(place: Path) -> bool:
    make_database(f"sqlite:///{place}", place.parent / "mlruns")
    client = mlflow.MlflowClient(f"sqlite:///{place}")
    names = [experiment.name for experiment in client.search_experiments()]
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "psnr", 30.0)
    return names == ["Default"] and client.get_run(run.info.run_id).data.metrics == {"psnr": 30.0}


def statements_before(place: Path, last: int | None) -> int:
    """Make a database in another process, killed before a statement; return the number of statements before it."""
    reading, writing = os.pipe()
    if (process := os.fork()) == 0:
        count = 0

        @event.listens_for(Engine, "before_cursor_execute")
        def _count(*_: object) -> None:
            nonlocal count
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            os.write(writing, b".")

        make_database(f"sqlite:///{place}", place.parent / "mlruns")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as counted:
        count = len(counted.read())
    os.waitpid(process, 0)
    return count


def test_killed_while_the_database_is_made_the_next_one_is_whole(tmp_path: Path) -> None:
    all_of_them = statements_before(tmp_path / "whole.db", None)
    assert (tmp_path / "whole.db").exists()
    assert all_of_them > 100
    for part in (0.05, 0.35, 0.65, 0.95):
        place = tmp_path / f"{part}" / "mlflow.db"
        place.parent.mkdir()
        assert statements_before(place, round(part * all_of_them)) == round(part * all_of_them)
        assert not place.exists()
        assert (place.parent / f".{place.name}.part").exists()  # otherwise it was not killed in between
        assert made_and_used(place)
        assert [path.name for path in place.parent.iterdir()] == ["mlflow.db"]


def test_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore.__init__", full)
    with pytest.raises(NoRoomError, match=r"mlflow.db cannot be written: the disk is full"):
        make_database(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlruns")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uri", ["", "http://127.0.0.1:1", "sqlite:///:memory:", "sqlite:///{}/not/there/mlflow.db"])
def test_what_is_no_file_to_make_is_left_to_mlflow(tmp_path: Path, uri: str) -> None:
    make_database(uri.format(tmp_path), tmp_path / "mlruns")
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "mlflow.db"
    place.write_bytes(b"mine")
    make_database(f"sqlite:///{place}", tmp_path / "mlruns")
    assert place.read_bytes() == b"mine"


def test_the_experiment_is_made_once_though_two_machines_find_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    asked: list[str] = []

    class Behind(mlflow.MlflowClient):  # of a server, whose answer is as old as can be
        def __init__(self, uri: str) -> None:
            asked.append(uri)
            super().__init__(f"sqlite:///{tmp_path}/mlflow.db")

        def get_experiment_by_name(self, name: str) -> None:
            return None

    monkeypatch.setattr(mlflow, "MlflowClient", Behind)
    for _ in range(2):
        make_experiment("http://server:5000", "here")
    assert asked == ["http://server:5000"] * 2
    assert sorted(experiment.name for experiment in store.search_experiments()) == ["Default", "here"]
    make_experiment(f"sqlite:///{tmp_path}/another.db", "here")
    make_experiment("", "")
    assert len(asked) == 2


def test_a_server_that_refuses_the_experiment_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Refusing(mlflow.MlflowClient):
        def __init__(self, uri: str) -> None:
            super().__init__(f"sqlite:///{tmp_path}/mlflow.db")

    monkeypatch.setattr(mlflow, "MlflowClient", Refusing)
    with pytest.raises(mlflow.MlflowException, match="name"):
        make_experiment("http://server:5000", "")

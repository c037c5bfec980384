"""MLflow's database in a file, when there is none yet."""

from pathlib import Path

from sqlalchemy.engine import make_url

from linear_video.common.files import replacing_file


def make_database(uri: str, artifacts: Path) -> None:
    """Make the file of MLflow's database, whole or not at all.

    MLflow creates its tables one by one. Ended within that, it refuses what it has left, for ever.

    Args:
        uri: of MLflow's tracking; nothing is done unless it names a file of SQLite that is not there, in a folder that
            is.
        artifacts: folder of the files of runs that belong to no experiment.

    Raises:
        NoRoomError: if there is no room for it.
    """
    if not uri.startswith("sqlite:///") or (database := make_url(uri).database) in (None, ":memory:"):
        return
    place = Path(database)
    if place.exists() or not place.parent.is_dir():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with replacing_file(place) as part:
        store = SqlAlchemyStore(f"sqlite:///{part}", artifacts.as_uri())
        store.engine.dispose()

"""Create the file of MLflow's database, if there is none yet."""

from pathlib import Path

from sqlalchemy.engine import make_url

from linear_video.common.files import replacing_file


def make_database(uri: str, artifacts: Path) -> None:
    """Make the file of MLflow's database, whole or not at all.

    MLflow creates its tables one by one. If it is stopped in between, it refuses the incomplete database ever after.

    Args:
        uri: MLflow's tracking URI; nothing is done unless it names an SQLite file that does not exist, in a folder that
            does.
        artifacts: folder for the files of runs that belong to no experiment.

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

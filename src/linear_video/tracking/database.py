"""Prepare MLflow for a run: its database in a file, and the experiment on a server."""

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


def make_experiment(uri: str, name: str) -> None:
    """Make an experiment, unless it is there or the database is a file.

    Processes of one machine take turns before a file. Those of several machines do not, and the second of two that
    ask at the same moment whether a server has the experiment would fail to make it.

    Args:
        uri: of MLflow's tracking.
        name: of the experiment.

    Raises:
        MlflowException: if the server cannot be used.
    """
    if "://" not in uri or uri.startswith(("sqlite:", "file:")):
        return
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    if client.get_experiment_by_name(name) is not None:
        return
    try:
        client.create_experiment(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another machine at the same moment
            raise

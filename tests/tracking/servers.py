"""PostgreSQL on this machine, for a test."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ACCOUNT = "postgres"  # Debian's, in place of root, who may not start it


def postgresql_binaries() -> Path | None:
    """The folder of PostgreSQL's commands; None where there is none that this user can start."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")]  # Debian has them on no path
    if (command := shutil.which("pg_ctl")) is not None:
        folders.append(Path(command).parent)
    if os.geteuid() == 0 and ACCOUNT not in {account.pw_name for account in pwd.getpwall()}:
        return None
    return max(folders, default=None)


@contextmanager
def postgresql(binaries: Path) -> Iterator[str]:
    """A PostgreSQL server with an empty database, on a free port; yields the address of the database."""
    account = ACCOUNT if os.geteuid() == 0 else None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(command: str, *arguments: str) -> None:
        done = subprocess.run(
            [binaries / command, *arguments], cwd=folder, user=account, stdout=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0, command

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's folders may be closed to other accounts
        if account is not None:
            shutil.chown(folder, account)
        run("initdb", "--pgdata=data", "--username=mlflow", "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        run("pg_ctl", "start", "--pgdata=data", "--log=log", "--wait", f"--options={options}")
        try:
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--pgdata=data", "--mode=immediate", "--wait")

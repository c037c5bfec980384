"""Which runs are at work in a project, and on what: none replaces what another one reads or writes.

Each run has a file of its own in a folder of the project, which it locks for as long as it lives, and beside it a note
that says who it is and what it reads and writes. The operating system gives up the lock of a process that ends,
however it ends: the note of a killed run counts for nothing, and the next run removes it. Notes are read and written
one run at a time, behind a further lock that is held for moments only. A run takes all that it needs at once or
nothing, so that no two runs wait for each other.

Runs on other machines, whose data lie in the same store, are not known here.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from filelock import FileLock, Timeout

from linear_video.common import storage

logger = logging.getLogger(__name__)

FOLDER = ".runs"  # in the project
LOOK_EVERY = 0.3  # seconds between two looks at whether another run is over


class Claims(NamedTuple):
    """Files and folders, by their absolute paths, that must not change meanwhile, and those that will."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def against(self, other: "Claims") -> set[str]:
        """The paths that both cannot have at once; several may read the same."""
        return set(self.writes & (other.reads | other.writes) | self.reads & other.writes)


class Other(NamedTuple):
    """Another run that is alive."""

    name: str
    claims: Claims


class RunLock:
    """The run of this process, known to the others from now until ``release``, or until the process ends.

    Attributes:
        file: the lock file of this run.
        ended: lock files of killed runs that this run has found and removed.
    """

    def __init__(self, project: Path, command: str) -> None:
        self.folder = project / FOLDER
        self.folder.mkdir(exist_ok=True)
        self.file = self.folder / f"{os.getpid()}-{uuid4().hex}.lock"
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        self.who = {"process": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}
        self._gate = FileLock(self.folder / "gate.lock", thread_local=False)
        self._lock = FileLock(self.file, thread_local=False)
        with self._gate:  # else another run could remove the file before it is locked
            self._lock.acquire(blocking=False)
        self.ended = set[Path]()

    def claim(self, claims: Claims, *, wait: bool = True) -> bool:
        """Take these in place of what was claimed before, once no other run is in the way.

        Without ``wait``, False says that one is; then what was claimed before stays. To take less never waits.
        """
        told: set[str] = set()
        while True:
            with self._gate:
                others = [(other, claims.against(other.claims)) for other in self._others()]
                in_the_way = [(other.name, paths) for other, paths in others if paths]
                if not in_the_way:
                    self._write_note(claims)
                    return True
                if not wait:
                    return False
                self._write_note(Claims())  # else two that wait for each other would wait for ever
            for name, paths in in_the_way:
                if name not in told:
                    logger.info("Waiting for another run, which has %s: %s.", _named(paths), name)
            told |= {name for name, _ in in_the_way}
            time.sleep(LOOK_EVERY)

    def release(self) -> None:
        """Let others have everything."""
        with self._gate:
            self._lock.release()
            _remove(self.file)

    def _write_note(self, claims: Claims) -> None:
        note = {**self.who, "reads": sorted(claims.reads), "writes": sorted(claims.writes)}
        part = self.file.with_suffix(".part")  # a kill while it is written must not leave half a note
        part.write_text(json.dumps(note, indent=1))
        part.replace(self.file.with_suffix(".json"))

    def _others(self) -> Iterator[Other]:
        """The other runs, without those that have ended; what those have left is removed."""
        for file in sorted(self.folder.glob("*-*.lock")):
            if file == self.file:
                continue
            if not is_alive(file):
                _remove(file)
                self.ended.add(file)
            elif (path := file.with_suffix(".json")).exists():
                note: dict[str, Any] = json.loads(path.read_text())
                host = "" if note["host"] == self.who["host"] else f" on {note['host']}"
                name = f"process {note['process']}{host}, since {note['since']}, {note['command']}"
                yield Other(name, Claims(frozenset(note["reads"]), frozenset(note["writes"])))


def is_alive(file: Path) -> bool:
    """Whether the run that has this lock file is still there."""
    if not file.exists():
        return False
    try:
        FileLock(file).acquire(blocking=False).lock.release()
    except Timeout:
        return True
    return False


def _remove(file: Path) -> None:
    for path in (file.with_suffix(".part"), file.with_suffix(".json"), file):
        with suppress(FileNotFoundError):
            path.unlink()


def _named(paths: set[str]) -> str:
    """One of the paths, from where the user is, and how many more there are."""
    first, *more = sorted(paths)
    shown = os.path.relpath(first) if Path(first).is_relative_to(Path.cwd()) else storage.name_of(Path(first))
    return f"{shown} and {len(more)} more" if more else shown

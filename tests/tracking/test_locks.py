"""Runs that use the same files take turns, other runs do not wait, and ended processes hold no locks."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from kedro.io import DataCatalog

from linear_video.io.folders import FolderDataset
from linear_video.pipelines.ingestion.pipeline import create_pipeline, create_shard_pipeline
from linear_video.tracking.locks import Claims, RunLock, is_alive
from linear_video.tracking.session import _claims

Start = Callable[..., subprocess.Popen[str]]
PROGRAM = """
import sys, time
from pathlib import Path
from linear_video.tracking.locks import Claims, RunLock
project, reads, writes = sys.argv[1:]
lock = RunLock(Path(project), "kedro run --pipelines=other")
lock.claim(Claims(frozenset(reads.split()), frozenset(writes.split())))
print("has it", flush=True)
sys.stdin.readline()
lock.release()
"""


def claims(reads: str = "", writes: str = "") -> Claims:
    return Claims(frozenset(reads.split()), frozenset(writes.split()))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start another process that holds a lock when this returns, and releases it after a line of input."""
    started: list[subprocess.Popen[str]] = []

    def start(reads: str = "", writes: str = "", wait: bool = True) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), reads, writes]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert not wait or process.stdout.readline() == "has it\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_shards_share_the_folder_of_recordings_and_keep_out_what_merges_them(tmp_path: Path) -> None:
    folder = FolderDataset(filepath=str(tmp_path / "frames"))
    catalog = DataCatalog({"videos.frames_folder": folder})
    [shard] = create_shard_pipeline("videos").nodes
    nodes = create_pipeline("videos", lists_sources=True, labels_anomalies=False).nodes
    make = next(node for node in nodes if node.name == "videos.make")
    of_shard, of_make = _claims([shard], catalog), _claims([make], catalog)
    assert of_shard.against(of_shard) == set()
    assert of_shard.against(of_make) == of_make.against(of_shard) == {str(tmp_path / "frames")}


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[RunLock]:
    lock = RunLock(tmp_path, "kedro run --pipelines=this")
    yield lock
    lock.release()


@pytest.mark.parametrize(
    ("mine", "other", "free"),
    [
        (claims(writes="/a"), {"writes": "/a"}, False),
        (claims(writes="/a"), {"reads": "/a"}, False),
        (claims(reads="/a"), {"writes": "/a"}, False),
        (claims(reads="/a"), {"reads": "/a"}, True),
        (claims(reads="/a", writes="/b"), {"reads": "/a", "writes": "/c"}, True),
    ],
)
def test_only_readers_share(lock: RunLock, start: Start, mine: Claims, other: dict[str, str], free: bool) -> None:
    start(**other)
    assert lock.claim(mine, wait=False) == free


def test_one_waits_until_the_other_lets_go_and_says_for_whom(
    lock: RunLock, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "linear_video")
    other = start(writes="/a /b")

    def let_go(seconds: float) -> None:  # in place of waiting
        other.communicate("\n")

    monkeypatch.setattr("linear_video.tracking.locks.time.sleep", let_go)
    assert lock.claim(claims(reads="/b"))
    (told,) = caplog.messages
    assert told.startswith(f"Waiting for another run, which has /b: process {other.pid}, since 20")
    assert told.endswith("kedro run --pipelines=other.")


def test_a_killed_run_is_in_nobodys_way(lock: RunLock, start: Start, tmp_path: Path) -> None:
    other = start(writes="/a")
    (file,) = set((tmp_path / ".runs").glob("*-*.lock")) - {lock.file}
    assert is_alive(file)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert file.exists()  # it could not tidy up
    assert not is_alive(file)
    assert lock.claim(claims(writes="/a"), wait=False)
    assert not file.exists()
    assert not file.with_suffix(".json").exists()
    assert lock.ended == {file}


def test_what_is_given_up_is_free_while_the_run_goes_on(lock: RunLock, start: Start) -> None:
    lock.claim(claims(reads="/clips", writes="/model"))
    waiting = start(writes="/clips", wait=False)
    lock.claim(claims(writes="/model"))
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "has it\n"


def test_two_that_read_and_want_to_write_do_not_wait_for_each_other(
    lock: RunLock, start: Start, tmp_path: Path
) -> None:
    """A waiting process releases its locks for reading."""
    other = start(reads="/a")
    assert lock.claim(claims(reads="/a"), wait=False)
    assert not lock.claim(claims(writes="/a"), wait=False)
    upgrading = start(writes="/a", wait=False)
    other.communicate("\n")
    lock.claim(Claims())
    assert upgrading.stdout is not None
    assert upgrading.stdout.readline() == "has it\n"


def test_a_run_that_is_over_leaves_nothing(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "kedro run")
    lock.claim(claims(writes="/a"))
    note = json.loads(lock.file.with_suffix(".json").read_text())
    assert (note["process"], note["writes"]) == (os.getpid(), ["/a"])
    lock.release()
    assert {path.name for path in (tmp_path / ".runs").iterdir()} <= {"gate.lock"}


def test_a_run_is_locked_before_others_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that looks between the making of the file and its lock would take it for one of a killed run."""
    taken: list[str] = []

    class Told(FileLock):
        def acquire(self, *arguments: Any, **options: Any) -> Any:
            taken.append(Path(self.lock_file).name.split("-")[0])
            return super().acquire(*arguments, **options)

    monkeypatch.setattr("linear_video.tracking.locks.FileLock", Told)
    RunLock(tmp_path, "kedro run").release()
    assert taken[:2] == ["gate.lock", str(os.getpid())]

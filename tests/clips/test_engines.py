"""Recordings are read alike by threads, by Dask's workers and in shards."""

import gc
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_video.clips import engines, extraction
from linear_video.clips.base import Shard
from linear_video.clips.engines import SCHEDULER, finished
from linear_video.clips.extraction import extract, read_shard
from linear_video.clips.readers.recordings import Source
from linear_video.common.errors import InputError
from tests.clips.footage_files import footage_settings, noise, tree, write_array
from tests.clips.test_footage import stamps, write_unusable, write_usable

distributed = pytest.importorskip("distributed")

SOURCES = [Source(str(number), "", ()) for number in range(60)]
NOTED = list[Any]()  # by functions of this module, which reach the workers by their names


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and three workers of two threads each, all in this process."""
    with in_process(3) as made:
        yield made


def in_process(workers: int) -> Any:
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )


@pytest.fixture
def dask(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(SCHEDULER, cluster.scheduler_address)
    return cluster


def waits_for(condition: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + 30
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)
    return condition()


# ---- the same, whoever reads -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, dict[str, bytes | None]]:
    """Recordings of every kind, and the table and files that one thread makes of them."""
    raw = tmp_path_factory.mktemp("raw")
    write_usable(raw, 10)
    write_unusable(raw)
    write_array(raw / "class0" / "several.npy", np.stack([noise(50), noise(51)]))
    write_array(raw / "class9" / "copy.npy", noise(50))
    out = tmp_path_factory.mktemp("out")
    return raw, extract(footage_settings(raw, workers=1), out), tree(out)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("engine", ["threads", "Dask"])
def test_engine_workers_and_order_change_nothing(
    dask: Any,
    undisturbed: tuple[Path, pd.DataFrame, dict[str, bytes | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    seed: int,
) -> None:
    raw, table, files = undisturbed
    choose, extracted = random.Random(seed), extraction._extracted

    def late(*arguments: Any) -> Any:
        time.sleep(choose.uniform(0, 0.01))
        return extracted(*arguments)

    monkeypatch.setattr(extraction, "_extracted", late)
    monkeypatch.setattr(engines, "TASK_SECONDS", choose.choice([1e-6, 0.02, 10]))
    monkeypatch.setattr(engines, "TASKS_IN_FLIGHT", choose.randint(1, 4))
    if engine == "threads":
        monkeypatch.delenv(SCHEDULER)
    found = extract(footage_settings(raw, workers=choose.randint(1, 4)), tmp_path)
    pd.testing.assert_frame_equal(found, table)
    assert tree(tmp_path) == files


def test_dask_finds_what_threads_have_read(
    dask: Any, undisturbed: tuple[Path, pd.DataFrame, dict[str, bytes | None]], tmp_path: Path
) -> None:
    raw, table, _ = undisturbed
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(SCHEDULER)
        extract(footage_settings(raw), tmp_path)
    before = stamps(tmp_path)
    pd.testing.assert_frame_equal(extract(footage_settings(raw), tmp_path), table)
    assert stamps(tmp_path) == before


@settings(max_examples=4)
@given(parts=st.integers(1, 12), seed=st.integers(0, 100))
def test_shards_in_any_order_read_each_recording_once(
    undisturbed: tuple[Path, pd.DataFrame, dict[str, bytes | None]],
    tmp_path_factory: pytest.TempPathFactory,
    parts: int,
    seed: int,
) -> None:
    raw, table, files = undisturbed
    out = tmp_path_factory.mktemp("out")
    numbers = list(range(1, parts + 1))
    random.Random(seed).shuffle(numbers)
    for number in numbers:
        before = stamps(out)
        read_shard(footage_settings(raw), out, Shard(number, parts))
        after = stamps(out)
        assert {name: after[name] for name in before} == before  # what others have read stays
    assert tree(out) == files
    before = stamps(out)
    pd.testing.assert_frame_equal(extract(footage_settings(raw), out), table)
    assert {name: stamps(out)[name] for name in before} == before


def test_a_shard_leaves_what_others_are_writing_and_says_what_it_has_read(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for number in range(5):
        write_array(raw / f"{number}.npy", noise(number))
    (raw / "4.npy").write_bytes(b"")
    (out / ".other.part").mkdir(parents=True)
    (out / "of_others").mkdir()
    said = read_shard(footage_settings(raw), out, Shard(1, 2))
    assert said == "3 of 5 recordings are read, and 1 of these cannot be used"
    assert {path.name.partition(".")[0] for path in out.iterdir()} == {"", "of_others", "0_npy", "2_npy"}
    assert "0 of 5" in read_shard(footage_settings(raw), out, Shard(6, 6))
    assert "1 of 5" in read_shard(footage_settings(raw), out, Shard(5, 6))  # though nothing in it can be used
    with pytest.raises(InputError, match=r"1 of 1 recordings in .* cannot be used:\n  - 4\.npy"):
        read_shard(footage_settings(raw, unusable="fail"), out, Shard(5, 6))
    with pytest.raises(InputError, match=r"nothing holds no recordings\. Buy some"):
        read_shard(footage_settings(tmp_path / "nothing"), out, Shard(1, 2), "Buy some")


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1.0/3", "1/3\n"])
def test_what_is_no_shard_is_told(text: str) -> None:
    assert Shard.parse("3/8") == (3, 8)
    with pytest.raises(ValueError, match="shard must be i/n"):
        Shard.parse(text)


# ---- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["threads", "Dask"])
def test_what_nobody_expects_reaches_the_user(
    dask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "threads":
        monkeypatch.delenv(SCHEDULER)
    for number in range(4):
        write_array(tmp_path / "raw" / f"{number}.npy", noise(number))
    one = extraction._extract_one

    def breaks(source: Source, *others: Any) -> Any:
        return one(source, *others) if source.name != "2.npy" else 1 // 0

    monkeypatch.setattr(extraction, "_extract_one", breaks)
    with pytest.raises(ZeroDivisionError):
        extract(footage_settings(tmp_path / "raw"), tmp_path / "out")
    assert not list(tmp_path.glob("out/2_npy*"))


def test_without_dask_it_is_said_how_to_install_it(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r'pip install "linear-video\[dask\]"'):
        list(finished(str, [], None))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "no address", "odd://127.0.0.1:{port}", "127.0.0.1:x"])
def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    given = address.format(port=free_port())
    monkeypatch.setenv(SCHEDULER, given)
    monkeypatch.setattr(engines, "CONNECT_WITHIN", 1)
    with pytest.raises(InputError, match="there is no Dask scheduler at") as caught:
        list(finished(str, [], None))
    assert given in str(caught.value)
    assert "\n" not in str(caught.value)
    # A client that is closed by the garbage collector may wait for a lock that the next client holds, for ever.
    clients = [one for one in gc.get_objects() if issubclass(type(one), distributed.Client)]
    assert clients
    assert {client.status for client in clients} == {"closed"}


def test_a_scheduler_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CONNECT_WITHIN", 1)
    with in_process(0) as made:
        monkeypatch.setenv(SCHEDULER, made.scheduler_address)
        with pytest.raises(
            InputError, match=rf"has no workers; start some with `dask worker {made.scheduler_address}`"
        ):
            list(finished(str, [], None))


@pytest.mark.parametrize("place", ["scheduler", "workers"])
def test_other_versions_are_told(dask: Any, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    versions = distributed.Client.get_versions

    def older(client: Any, **options: Any) -> Any:
        found = versions(client, **options)
        of = found[place] if place == "scheduler" else sorted(found[place].items())[-1][1]
        assert of["packages"]["cv2"] == found["client"]["packages"]["cv2"] != ""
        of["packages"]["cv2"] = "4.0"
        return found

    monkeypatch.setattr(distributed.Client, "get_versions", older)
    with pytest.raises(InputError, match=rf"the Dask {place.removesuffix('s')} .*has cv2 4\.0, but this process"):
        list(finished(str, [], None))


def test_folders_that_are_not_shared_are_told(dask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_array(tmp_path / "raw" / "a.npy", noise(0))
    extracted = extraction._extracted
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(
        extraction, "_extracted", lambda source, settings, folder: extracted(source, settings, elsewhere)
    )
    with pytest.raises(InputError, match="The workers must see the same folders"):
        extract(footage_settings(tmp_path / "raw"), tmp_path / "out")


def test_a_recording_that_workers_die_of_is_named(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(source: Source) -> None:
        raise distributed.scheduler.KilledWorker(("read", 7), SimpleNamespace(address=""), 3)

    with pytest.raises(InputError, match=r"^7, or one of the recordings after it: 4 workers have died"):
        list(finished(die, SOURCES, None))


def test_a_scheduler_that_goes_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CONNECT_WITHIN", 2)
    with in_process(1) as made:
        monkeypatch.setenv(SCHEDULER, made.scheduler_address)
        with closing(finished(partial(slowly, 0.2), SOURCES, None)) as results:
            next(results)
            made.close()
            with pytest.raises(InputError, match=r"is gone or has cancelled the work\. What has been read is kept"):
                list(results)


def test_a_timeout_of_the_work_itself_is_told(dask: Any) -> None:
    def late(source: Source) -> None:
        raise TimeoutError("the disk does not answer")

    with pytest.raises(TimeoutError, match="the disk does not answer"):
        list(finished(late, SOURCES, None))


def slowly(seconds: float, source: Source) -> str:
    time.sleep(seconds)
    return source.name


@pytest.mark.parametrize("done", [False, True], ids=["in work", "done but not fetched"])
def test_workers_that_do_not_come_back_are_told(monkeypatch: pytest.MonkeyPatch, done: bool) -> None:
    monkeypatch.setattr(engines, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(engines, "WORKERS_WITHIN", 1)
    with in_process(1) as made:
        monkeypatch.setenv(SCHEDULER, made.scheduler_address)
        with closing(finished(partial(slowly, 0.1), SOURCES, None)) as results:
            next(results)
            while done and {task.state for task in made.scheduler.tasks.values()} != {"memory"}:
                time.sleep(0.01)
            made.scale(0)
            with pytest.raises(InputError, match="has had no workers for 1 seconds"):
                list(results)


def test_a_worker_that_joins_is_given_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(engines, "TASK_SECONDS", 1e-6)
    with in_process(1) as made:
        monkeypatch.setenv(SCHEDULER, made.scheduler_address)
        with closing(finished(slow_address, SOURCES, None)) as results:
            _, first = next(results)
            made.scale(2)
            others = [address for _, address in results]
    assert len(others) == len(SOURCES) - 1
    assert len({first, *others}) == 2


def slow_address(source: Source) -> str:
    time.sleep(0.1)
    address: str = distributed.get_worker().address
    return address


@pytest.mark.parametrize("engine", ["threads", "Dask"])
@pytest.mark.parametrize("end", [GeneratorExit, KeyboardInterrupt])
def test_an_interrupt_cancels_what_is_not_begun(
    dask: Any, monkeypatch: pytest.MonkeyPatch, engine: str, end: type[BaseException]
) -> None:
    if engine == "threads":
        monkeypatch.delenv(SCHEDULER)
    NOTED.clear()
    results = finished(note, SOURCES, 2)
    next(results)
    if end is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)
    results.close()
    assert waits_for(lambda: not dask.scheduler.tasks)
    time.sleep(0.5)
    assert 0 < len(NOTED) < len(SOURCES)


def note(source: Source) -> None:
    NOTED.append(source.name)
    time.sleep(0.05)


# ---- little is held at a time ----------------------------------------------------------------------------------------


def test_the_scheduler_knows_of_few_recordings_at_a_time(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "TASK_SECONDS", 1e-6)  # one recording a task
    NOTED[:] = [dask.scheduler]
    many = [Source(str(number), "", ()) for number in range(300)]
    results = sorted(finished(look_at_the_scheduler, many, None))
    assert results == [(number, str(number)) for number in range(300)]
    threads = 6
    # Those that are done are not forgotten at once.
    assert threads <= max(NOTED[1:]) <= 3 * engines.TASKS_IN_FLIGHT * threads < len(many)


def look_at_the_scheduler(source: Source) -> str:
    NOTED.append(len(NOTED[0].tasks))
    return source.name


def test_short_recordings_share_a_task(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    NOTED.clear()
    monkeypatch.setattr(engines, "_timed", noted_and_timed)
    many = [Source(str(number), "", ()) for number in range(3000)]
    assert sorted(number for number, _ in finished(str, many, None)) == list(range(3000))
    assert sum(NOTED) == 3000
    assert len(NOTED) < 300
    assert max(NOTED) <= engines.MOST_OF_A_TASK


def noted_and_timed(work: Any, sources: list[Source]) -> Any:
    NOTED.append(len(sources))
    return timed(work, sources)


timed = engines._timed


# ---- processes -------------------------------------------------------------------------------------------------------

# What a worker loads first: it writes down what it begins to read, and takes its time.
NOTING = """
import os, time
from linear_video.clips import extraction

def dask_setup(worker):
    read_source = extraction.read_source

    def noted(source, channels):
        with open(os.path.join(os.environ["NOTES"], str(os.getpid())), "a") as file:
            file.write(source.name + "\\n")
        time.sleep(0.05)
        return read_source(source, channels)

    extraction.read_source = noted
"""


@pytest.mark.slow
def test_what_a_killed_worker_held_is_read_by_another_one_and_nothing_else_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, out, notes = tmp_path / "raw", tmp_path / "out", tmp_path / "notes"
    for number in range(80):
        write_array(raw / f"{number}.npy", noise(number))
    undisturbed = extract(footage_settings(raw), tmp_path / "undisturbed")
    notes.mkdir()
    (tmp_path / "noting.py").write_text(NOTING)
    port = str(free_port())
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard", "--no-jupyter"]
    worker = [*dask, "worker", address, "--nthreads=1", "--no-nanny", "--no-dashboard", f"--local-directory={tmp_path}"]
    environment = {**os.environ, "NOTES": str(notes), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (scheduler, *[[*worker, f"--preload={tmp_path / 'noting.py'}"]] * 2)
    ]
    monkeypatch.setenv(SCHEDULER, address)
    monkeypatch.setattr(engines, "CONNECT_WITHIN", 60)
    with distributed.Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)  # else one might read all before the other is there
    killed = processes[1].pid

    def kill() -> None:
        begun = notes / str(killed)
        while len(list(out.glob("[!.]*"))) < 40 or not begun.exists():
            time.sleep(0.01)
        os.kill(killed, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        table = extract(footage_settings(raw), out)
        killer.join(10)
        assert processes[1].poll() == -signal.SIGKILL
    finally:
        for process in processes:
            process.kill()
            process.wait()
    pd.testing.assert_frame_equal(table, undisturbed)
    assert tree(out) == tree(tmp_path / "undisturbed")
    begun = {int(path.name): path.read_text().split() for path in notes.iterdir()}
    assert set(begun) == {processes[1].pid, processes[2].pid}
    assert all(len(names) == len(set(names)) for names in begun.values())
    assert set(begun[killed]) & set(begun[processes[2].pid]) <= {begun[killed][-1]}
    assert 0 < len(begun[killed]) < 80

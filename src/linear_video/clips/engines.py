"""Who works on many recordings: threads of this process, or the workers of a Dask scheduler.

Both give the same results. They differ in where the work runs, and in the order in which results arrive.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

from linear_video.clips.readers.recordings import Source
from linear_video.common.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

SCHEDULER = "DASK_SCHEDULER_ADDRESS"  # environment variable, the one that Dask itself reads
CONNECT_WITHIN = 15  # seconds for the scheduler to answer, and for a first worker to be there
WORKERS_WITHIN = 300  # seconds for a worker to come back, once all have gone
LOOK_EVERY = 2  # seconds between two looks at how many workers there are
TASKS_IN_FLIGHT = 3  # tasks that the scheduler knows of at a time, for each thread of its workers
# Seconds that a task should take: what Dask adds to each, some milliseconds, should not count. Short recordings share
# one; each of them is still finished by itself.
TASK_SECONDS = 1.0
SHORTEST = 1e-3  # seconds that a recording takes at least
MOST_OF_A_TASK = 100  # recordings
SAME = ("linear_video", "cv2", "numpy")  # modules on which the bytes depend: one version everywhere

Result = TypeVar("Result")


def finished(
    work: Callable[[Source], Result], sources: Sequence[Source], threads: int | None
) -> Generator[tuple[int, Result], None, None]:
    """The number of each source and what ``work`` makes of it, as they are finished; close it to cancel the others.

    Dask works if the environment variable ``DASK_SCHEDULER_ADDRESS`` names a scheduler; else ``threads`` do (None for
    as many as there are processors). For Dask, ``work`` must be a function of a module, or a ``partial`` of one.

    Raises:
        InputError: if the scheduler cannot be reached, has no workers or other versions, or workers keep dying.
    """
    address = os.environ.get(SCHEDULER)
    return _by_dask(work, sources, address) if address else _by_threads(work, sources, threads)


def _by_threads(
    work: Callable[[Source], Result], sources: Sequence[Source], threads: int | None
) -> Generator[tuple[int, Result], None, None]:
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        try:
            yield from enumerate(pool.map(work, sources))
        finally:
            pool.shutdown(cancel_futures=True)


def _by_dask(
    work: Callable[[Source], Result], sources: Sequence[Source], address: str
) -> Generator[tuple[int, Result], None, None]:
    """Tasks of one or several recordings; only so many are with the scheduler at a time that memory does not grow."""
    with _connected(address) as client:
        from distributed.client import ClosedClientError
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        workers, name = _Workers(client, address), f"read-{uuid4().hex}"
        running: dict[int, tuple[range, Future[Any]]] = {}  # by the number of its first source
        done = SimpleQueue[int]()
        first, seconds = 0, TASK_SECONDS  # the next source to hand out; what one takes
        try:
            while True:
                threads = workers.threads()
                parts = list[range]()
                while first < len(sources) and len(running) + len(parts) < TASKS_IN_FLIGHT * threads:
                    share = math.ceil((len(sources) - first) / (TASKS_IN_FLIGHT * threads))  # all end at the same time
                    size = max(1, min(MOST_OF_A_TASK, share, int(TASK_SECONDS / seconds)))
                    parts.append(range(first, min(first + size, len(sources))))
                    first = parts[-1].stop
                if parts:
                    given = [[sources[number] for number in part] for part in parts]
                    futures = client.map(partial(_timed, work), given, key=[(name, part.start) for part in parts])
                    for part, future in zip(parts, futures, strict=True):
                        running[part.start] = part, future
                        future.add_done_callback(lambda _, start=part.start: done.put(start))
                if not running and first == len(sources):
                    return
                try:
                    starts = [done.get(timeout=LOOK_EVERY)]
                except Empty:
                    continue
                while not done.empty():
                    starts.append(done.get())
                taken = [running.pop(start) for start in starts]
                for part, future in taken:
                    took, results = _result(future, workers)
                    seconds = (seconds + max(took / len(part), SHORTEST)) / 2
                    yield from zip(part, results, strict=True)
        except KilledWorker as error:
            _, start = cast("tuple[str, int]", error.task)
            raise InputError(
                f"{sources[start].name}, or one of the recordings after it: {error.allowed_failures + 1} "
                "workers have died while they held it. Look into their logs. Give them more memory, or move the "
                "recording out of its folder if it is what they die of."
            ) from error
        except (CancelledError, ClosedClientError, CommClosedError) as error:
            raise InputError(
                f"the Dask scheduler at {address} is gone or has cancelled the work. What has been read is kept: run "
                "the same command again once the scheduler is back."
            ) from error
        finally:
            if client.status == "running":
                client.cancel([future for _, future in running.values()])


def _result(future: "Future[Any]", workers: "_Workers") -> Any:
    """What a task has made. A worker that has gone since took it along, and another one has to make it again."""
    while True:
        try:
            return future.result(timeout=WORKERS_WITHIN / 5)  # so that it is noticed if all have gone
        except TimeoutError:
            if future.status == "error":  # it is the work's own
                raise
            workers.threads()


def _timed(work: Callable[[Source], Result], sources: list[Source]) -> tuple[float, list[Result]]:
    """What is made of some sources, and the seconds that it took."""
    start = time.perf_counter()
    results = [work(source) for source in sources]
    return time.perf_counter() - start, results


def _connected(address: str) -> "Client":
    """A client of the scheduler, which has workers of the right versions."""
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            f'{SCHEDULER} is set to {address}, but Dask is not installed: pip install "linear-video[dask]", or unset '
            "the variable to read with threads."
        ) from error

    class Closed(Client):
        """A client that is closed if it cannot be started.

        Dask leaves that to the garbage collector, which may come while the next client holds the lock that closing
        needs. Then both wait for ever.
        """

        def __init__(self, *arguments: Any, **options: Any) -> None:
            try:
                super().__init__(*arguments, **options)
            except BaseException:
                self.close()
                raise

    try:
        client = Closed(address, timeout=CONNECT_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:  # ValueError is for an address that is none
        raise InputError(
            f"there is no Dask scheduler at {address} ({' '.join(str(error).split())}). Set {SCHEDULER} to the address "
            "that `dask scheduler` prints, or unset it to read with threads."
        ) from error
    try:
        try:
            client.wait_for_workers(1, timeout=CONNECT_WITHIN)
        except TimeoutError as error:
            raise InputError(
                f"the Dask scheduler at {address} has no workers; start some with `dask worker {address}`, or unset "
                f"{SCHEDULER} to read with threads."
            ) from error
        _check_versions(client)
    except BaseException:
        client.close()
        raise
    return client


def _check_versions(client: "Client") -> None:
    """Raise InputError unless all have what the client has: other versions may give other bytes."""
    found: Any = client.get_versions(packages=list(SAME))
    ours = found["client"]["packages"]
    others = {"scheduler": found["scheduler"], **{f"worker {name}": it for name, it in found["workers"].items()}}
    for name, versions in others.items():
        for package in SAME:
            theirs = versions["packages"][package]
            if theirs != ours[package]:
                raise InputError(
                    f"the Dask {name} has {package} {theirs or '(none)'}, but this process has {ours[package]}. "
                    "Install the same versions everywhere."
                )


class _Workers:
    """How many threads the workers have, which come and go."""

    def __init__(self, client: "Client", address: str) -> None:
        self.client, self.address = client, address
        self._threads, self._looked, self._seen = 0, -math.inf, time.monotonic()

    def threads(self) -> int:
        """Threads of all workers, as of the last look.

        Raises:
            InputError: if no worker has been there for long.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return self._threads
        before, self._threads, self._looked = self._threads, sum(self.client.nthreads().values()), now
        if self._threads:
            self._seen = now
        elif before:
            logger.warning("The Dask scheduler at %s has lost all its workers. Waiting for others.", self.address)
        elif now - self._seen > WORKERS_WITHIN:
            raise InputError(
                f"the Dask scheduler at {self.address} has had no workers for {WORKERS_WITHIN} seconds. What has been "
                "read is kept: start workers and run the same command again."
            )
        return self._threads

"""What is done in a process of its own, which is killed, or may not write much."""

import itertools
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from linear_video.common import files

KILLED = 77
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SECONDS = 120  # after which a process that hangs is ended

# Processes come from one that has imported what takes long, and has no threads, as the one of the tests may have.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.preloaded"])


def killed_everywhere(action: Callable[[], Any], folder: Path, exchange: bool = True) -> Iterator[int]:
    """Do an action again and again, each time in a process that is killed before its first, second, ... change.

    Changes are those of files in the folder, folders and names. Yields after each kill; ends once the action does.
    ``exchange`` is whether two folders can change places in one step.
    """
    for number in itertools.count(1):
        ended = _ended(_do_and_die, number, folder, exchange, action)
        if ended == 0:
            assert number > 1, "nothing was changed, and so nothing was tried"
            return
        assert ended == KILLED
        yield number


def cannot_exchange(one: Path, other: Path) -> bool:
    """As on a system where two folders cannot change places in one step."""
    return False


def _do_and_die(number: int, folder: Path, exchange: bool, action: Callable[[], Any]) -> None:
    counter = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if (
                not flags & WRITING
                or not isinstance(path, str | bytes)
                or not os.fsdecode(path).startswith(str(folder))
            ):
                return
        # Two folders change places by a function of the system, which Python looks up, but does not know.
        elif event not in CHANGES and not (event == "ctypes.dlsym" and arguments[1] == "renameat2"):
            return
        if next(counter) == number:
            os._exit(KILLED)

    if not exchange:
        files._exchange = cannot_exchange
    sys.addaudithook(watch)
    action()


def limited(action: Callable[[], Any], size: int) -> str:
    """Do an action in a process whose files may not grow beyond so many bytes; its error's class and message, or ""."""
    here, there = PROCESSES.Pipe()
    assert _ended(_do_limited, size, there, action) == 0
    words: str = here.recv()
    return words


def _do_limited(size: int, there: Connection, action: Callable[[], Any]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # a file of pytest's, which could not grow either
        os.dup2(nowhere, output)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    said = ""
    try:
        action()
    except (OSError, ValueError, DatasetError) as error:
        said = f"{type(error).__name__}: {error}"
    there.send(said)


def _ended(function: Callable[..., None], *arguments: Any) -> int:
    process = PROCESSES.Process(target=_timed, args=(function, *arguments))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _timed(function: Callable[..., None], *arguments: Any) -> None:
    signal.alarm(SECONDS)
    function(*arguments)

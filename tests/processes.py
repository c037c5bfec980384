"""Do something in a separate process, which is killed, or may not write much, or need not import again."""

import itertools
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from linear_video.common import files

KILLED = 77
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SECONDS = 120  # after which a hanging process is ended

# Processes are forked from one with slow imports already done, and without threads, which the tests' process may have.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.preloaded"])


def killed_everywhere(action: Callable[[], Any], folder: Path, exchange: bool = True) -> Iterator[int]:
    """Do an action repeatedly, each time in a process that is killed before its first, second, ... change.

    Changes are writes to files in the folder, and changes to folders and names. It yields after each kill, and ends
    when the action completes. ``exchange`` is whether two folders can be exchanged in one step.
    """
    for number in itertools.count(1):
        ended = _ended(_do_and_die, number, folder, exchange, action)
        if ended == 0:
            assert number > 1, "nothing was changed, and so nothing was tried"
            return
        assert ended == KILLED
        yield number


def cannot_exchange(one: Path, other: Path) -> bool:
    """Behave like a system where two folders cannot be exchanged in one step."""
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
        # Folders are exchanged by a function of the system, which Python looks up, but does not know.
        elif event not in CHANGES and not (event == "ctypes.dlsym" and arguments[1] == "renameat2"):
            return
        if next(counter) == number:
            os._exit(KILLED)

    if not exchange:
        files._exchange = cannot_exchange
    sys.addaudithook(watch)
    action()


def module_forked(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run`` does for ``python -m module arguments``, in a fork that need not import again."""
    module, *arguments = command[2:]
    assert command[:2] == [sys.executable, "-m"]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        code = _ended(_do_module, module, arguments, outputs)
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in outputs))


def _do_module(module: str, arguments: list[str], outputs: list[Path]) -> None:
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")


def limited(action: Callable[[], Any], size: int) -> str:
    """Do an action in a process whose files may not grow beyond so many bytes; its error's class and message, or ""."""
    here, there = PROCESSES.Pipe()
    assert _ended(_do_limited, size, there, action) == 0
    words: str = here.recv()
    return words


def _do_limited(size: int, there: Connection, action: Callable[[], Any]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # they may be files of pytest, which could not grow either
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

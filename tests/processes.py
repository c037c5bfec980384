"""What is done in a process of its own, which is killed, or may not write much."""

import itertools
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

KILLED = 77
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SECONDS = 120  # after which a process that hangs is ended


def killed_everywhere(action: Callable[[], Any], folder: Path) -> Iterator[int]:
    """Do an action again and again, each time in a process that is killed before its first, second, ... change.

    Changes are those of files in the folder, folders and names. Yields after each kill; ends once the action does.
    """
    for number in itertools.count(1):
        ended = _in_a_process(partial(_die_before, number, folder), action)
        if ended == 0:
            return
        assert ended == KILLED
        yield number


def _die_before(number: int, folder: Path) -> None:
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

    sys.addaudithook(watch)


def limited(action: Callable[[], Any], size: int) -> str:
    """Do an action in a process whose files may not grow beyond so many bytes; its error's class and message, or ""."""
    reading, writing = os.pipe()

    def told() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        try:
            action()
        except (OSError, DatasetError) as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())

    ended = _in_a_process(lambda: None, told)
    os.close(writing)
    with open(reading) as file:  # noqa: PTH123
        words = file.read()
    assert ended == 0
    return words


def _in_a_process(first: Callable[[], None], then: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            signal.alarm(SECONDS)
            first()
            then()
            ended = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

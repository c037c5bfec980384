"""How the benchmarks measure: times in turns, memory in fresh processes; the commit, the machine, and other work on it.

Also the parameters of an environment, without a session of Kedro.

Whatever they give is ready for JSON.
"""

import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml

from linear_video.parameters import merged

ROOT = Path(__file__).parents[1]
CODE = ("src", "benchmarks", "conf", "constraints.txt")  # what a figure may depend on
LOW, HIGH = 10, 90  # percentiles of ratios

Step = Callable[[], object]  # the work that is measured
Row = dict[str, Any]


def in_turns(steps: Mapping[str, Step], reference: str, rounds: int) -> list[Row]:
    """Time every step once in each round, after one round that is not counted.

    Ratios are to the reference in the same round, so that a slow phase of the machine slows both. Returns a row for
    each step: its name, the median time in ``ms``, and the median ``ratio`` with the percentiles ``low`` and ``high``.
    """
    seconds = {name: np.empty(rounds) for name in steps}
    for turn in range(-1, rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 0:
                seconds[name][turn] = time.perf_counter() - start
    rows = []
    for name, values in seconds.items():
        ratios = values / seconds[reference]
        low, high = np.percentile(ratios, [LOW, HIGH]).tolist()
        ms, ratio = 1000 * float(np.median(values)), float(np.median(ratios))
        rows.append({"name": name, "ms": ms, "ratio": ratio, "low": low, "high": high})
    return rows


def target(what: str, found: float, most: float) -> Row:
    """A row of a table of targets: a ratio that is to be small, what it may be at most, and what was found."""
    return {"what": what, "most": most, "found": found}


def peak_memory(prepare: Callable[..., Step], *arguments: object, times: int = 2) -> float:
    """Peak resident memory in MiB of a step in a fresh process, minus what the process held before.

    This is the least of several measurements, since the allocator's overhead varies. ``prepare`` is a function of a
    module, and makes the step. A small backward pass comes before the measurement, so that libraries are already
    loaded.
    """
    context = multiprocessing.get_context("spawn")
    peaks = []
    for _ in range(times):
        answers: multiprocessing.Queue[float] = context.Queue()
        process = context.Process(target=_measure, args=(answers, prepare, *arguments))
        process.start()
        peaks.append(answers.get(timeout=600))
        process.join()
    return min(peaks)


def _measure(answers: "multiprocessing.Queue[float]", prepare: Callable[..., Step], *arguments: object) -> None:
    torch.set_num_threads(1)
    step = prepare(*arguments)
    small = torch.randn(1, 4, 8, 8, requires_grad=True)
    torch.nn.functional.conv2d(small, torch.randn(4, 4, 3, 3), padding=1).square().sum().backward()
    before = _high_water_mark()
    step()
    answers.put(_high_water_mark() - before)


def _high_water_mark() -> float:
    """Peak resident memory of this process so far in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the peak memory.")


@contextmanager
def watched() -> Iterator[Row]:
    """Give a row that has ``seconds`` of the block in the end, and the ``others``: cores that other programs kept busy.

    Processes that the block starts are its own if it waits for their end.
    """
    row: Row = {}
    start, busy, own = time.perf_counter(), _busy(), sum(os.times()[:4])
    yield row
    row["seconds"] = time.perf_counter() - start
    row["others"] = max(0.0, _busy() - busy - (sum(os.times()[:4]) - own)) / row["seconds"]


def _busy() -> float:
    """Seconds for which all cores have worked so far; the time that a virtual machine is denied counts as work."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "irq", 0) + getattr(times, "steal", 0))


def read_parameters(env: str) -> dict[str, Any]:
    """Those of ``conf/base``, and of the environment over them."""
    parameters: dict[str, Any] = {}
    conf = ROOT / "conf"
    for path in (*sorted((conf / "base").glob("parameters*.yml")), conf / env / "parameters.yml"):
        parameters = merged(parameters, yaml.safe_load(path.read_text()))
    return parameters


def code_commit(revision: str = "HEAD") -> str:
    """The last commit up to a revision that changed the code, marked if the code has changed since the last commit.

    ``unknown`` outside a repository, and for a revision that is not in it.
    """

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command, "--", *CODE], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-list", "-1", revision) + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> str:
    """Processor, cores, memory, accelerator and versions, in one line."""
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.split(":")[1].strip()
            break
    kibibytes = int(Path("/proc/meminfo").read_text().split()[1])
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{name}, {multiprocessing.cpu_count()} cores, {kibibytes / 2**20:.0f} GiB, {accelerator}; "
        f"Python {platform.python_version()}, PyTorch {torch.__version__.split('+')[0]}"
    )

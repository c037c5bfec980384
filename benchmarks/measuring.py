"""How the benchmarks measure: times in turns, memory in fresh processes, and a description of the machine."""

import multiprocessing
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from linear_video.common.markup import markdown_table

Step = Callable[[], object]  # the work that is measured


def in_turns(steps: Mapping[str, Step], reference: str, rounds: int) -> pd.DataFrame:
    """Time every step once in each round, after one round that is not counted.

    Ratios are to the reference in the same round, so that a slow phase of the machine slows both. Returns a row for
    each step: median time, and median of the ratio with its 10th and 90th percentile.
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
        low, high = np.percentile(ratios, [10, 90])
        rows.append({"": name, "ms": 1000 * np.median(values), "ratio": np.median(ratios), "low": low, "high": high})
    return pd.DataFrame(rows).set_index("")


def table(times: pd.DataFrame) -> str:
    """The result of ``in_turns`` as Markdown; further columns are left as they are."""
    shown = pd.DataFrame(index=times.index)
    shown["ms"] = [f"{ms:,.1f}" for ms in times["ms"]]
    ratios = zip(times["ratio"], times["low"], times["high"], strict=True)
    shown["ratio (10 to 90 %)"] = [f"{ratio:.2f} ({low:.2f} to {high:.2f})" for ratio, low, high in ratios]
    further = times.drop(columns=["ms", "ratio", "low", "high"])
    return markdown_table(shown.join(further).reset_index())


def peak_memory(prepare: Callable[..., Step], *arguments: object) -> float:
    """Peak resident memory in MiB of a step in a fresh process, minus what the process held before.

    This is the least of three measurements, since the allocator's overhead varies. ``prepare`` is a function of a
    module, and makes the step. A small backward pass comes before the measurement, so that libraries are already
    loaded.
    """
    context = multiprocessing.get_context("spawn")
    peaks = []
    for _ in range(3):
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

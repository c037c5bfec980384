"""How fast many small videos are read by threads and by Dask's workers, in how much memory, and what a death costs.

    python benchmarks/ingestion.py --folder <scratch>

Scheduler, workers and client are processes on this machine. Speed is measured in turns, by the clock and by the time of
the processors, which other work on the machine disturbs less. This file is also what it starts: the client (with
``--client``), and what the workers load first so that they write down what they read.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from linear_video.clips import extraction
from linear_video.clips.engines import SCHEDULER
from linear_video.clips.footage import FootageSettings
from linear_video.common.markup import markdown_table

WORKERS, FRAMES, FEW = 2, 30, 300
IDLE = 20  # seconds for which an idle cluster is watched
PROCESSES = ("scheduler", "worker", "client")
SETTINGS = FootageSettings(raw_folder="", unusable="fail", frame_size=(64, 64), workers=WORKERS)
READS = "READS"  # environment variable: the folder in which each worker keeps a list of what it has begun to read


@dataclasses.dataclass
class Cluster:
    """A scheduler and its workers, as processes."""

    address: str
    scheduler: psutil.Popen
    workers: list[psutil.Popen]

    def cpu(self) -> float:
        """Seconds of a processor that all of them have used."""
        return sum(sum(process.cpu_times()[:2]) for process in (self.scheduler, *self.workers))

    def peaks(self) -> dict[str, float]:
        """Greatest resident memory so far of each, in MiB."""
        worker = max(peak_of(worker.pid) for worker in self.workers)
        return {"scheduler": peak_of(self.scheduler.pid), "worker": worker}


def peak_of(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def cluster(folder: Path, **environment: str) -> Iterator[Cluster]:
    """A scheduler and its workers, one thread each, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-jupyter"]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker += ["--local-directory", str(folder), "--preload", __file__]
    processes = list[psutil.Popen]()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, **environment}}
    try:
        for command in [scheduler, *[worker] * WORKERS]:
            processes.append(psutil.Popen(command, **quiet))
        wait_for_workers(address)
        yield Cluster(address, processes[0], processes[1:])
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for_workers(address: str) -> None:
    from distributed import Client

    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(WORKERS, timeout=60)


def dask_setup(worker: Any) -> None:
    """Dask calls this as a worker starts: from then on, it writes down what it begins to read."""
    if (folder := os.environ.get(READS)) is None:
        return
    module: Any = extraction
    read_source, notes = module.read_source, Path(folder) / str(os.getpid())

    def noted(source: Any, channels: int | None) -> Any:
        with notes.open("a") as file:
            file.write(f"{source.name}\n")
        return read_source(source, channels)

    module.read_source = noted


def client_command(raw: Path, out: Path) -> list[str]:
    return [sys.executable, __file__, "--client", str(raw), str(out)]


def run_as_client(raw: Path, out: Path) -> None:
    """Read, and print what it took."""
    start, before = time.perf_counter(), time.process_time()
    settings = dataclasses.replace(SETTINGS, raw_folder=str(raw))
    extraction.extract(settings, out)
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "client": peak_of(os.getpid())}))


def read(raw: Path, out: Path, by: Cluster | None = None) -> dict[str, float]:
    """Seconds by the clock and of processors, and peaks of memory, of reading in a fresh process."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, SCHEDULER: by.address if by else ""}
    before = by.cpu() if by else 0.0
    done = subprocess.run(client_command(raw, out), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    if by:
        found |= {"cpu": found["cpu"] + by.cpu() - before, **by.peaks()}
    return found


def digest_of(folder: Path) -> str:
    """SHA-256 of all names and contents below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder)} {len(content)} ".encode() + content)
    return digest.hexdigest()


def measure_speed(folder: Path, few: Path, many: Path, rounds: int) -> None:
    """Speed with many videos, in turns, and memory with few and with many, each in a fresh cluster."""
    rows: list[dict[str, dict[str, float]]] = []
    with cluster(folder) as by:
        of_few = read(few, folder / "dask", by)
    with cluster(folder) as by:
        start = by.cpu()
        time.sleep(IDLE)
        idle = (by.cpu() - start) / IDLE
        read(few, folder / "warm", by)  # workers import what they need with their first task
        for _ in range(rounds):
            rows.append({"threads": read(many, folder / "threads"), "Dask": read(many, folder / "dask", by)})
    print(f"- load of the machine in the last 15 minutes: {os.getloadavg()[2]:.1f}")
    for row in rows:
        row["Dask"]["busy"] = row["Dask"]["cpu"] - idle * row["Dask"]["seconds"]
        row["threads"]["busy"] = row["threads"]["cpu"]
    names = {
        "seconds": "seconds",
        "cpu": "seconds of processors",
        "busy": f"the same without what an idle cluster takes ({idle:.3f} a second)",
    }
    for quantity, name in names.items():
        ratios = [row["threads"][quantity] / row["Dask"][quantity] for row in rows]
        of_each = {kind: np.median([row[kind][quantity] for row in rows]) for kind in rows[0]}
        shown = ", ".join(f"{kind} {value:.1f}" for kind, value in of_each.items())
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"- {name}: {shown}; speed of Dask by that of threads: {np.median(ratios):.2f} ({listed})", flush=True)
    print("- same bytes:", digest_of(folder / "threads") == digest_of(folder / "dask"), flush=True)
    memory = pd.DataFrame(
        {"videos": len(list(raw.iterdir())), **{f"{who}, MiB": f"{found[who]:.0f}" for who in PROCESSES}}
        for raw, found in ((few, of_few), (many, rows[0]["Dask"]))
    )
    print(f"\nPeaks of memory:\n\n{markdown_table(memory)}\n", flush=True)


def measure_death(folder: Path, raw: Path, undisturbed: Path) -> None:
    """Kill a worker once half of all is read."""
    out, notes, count = folder / "killed", folder / "notes", len(list(raw.iterdir()))
    for path in (out, notes):
        shutil.rmtree(path, ignore_errors=True)
    notes.mkdir()
    with cluster(folder, **{READS: str(notes)}) as by:
        environment = {**os.environ, SCHEDULER: by.address}
        client = subprocess.Popen(
            client_command(raw, out), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while client.poll() is None and len(list(out.glob("[!.]*"))) < count / 2:
            time.sleep(0.1)
        by.workers[0].kill()
        client.wait()
    begun = Counter(name for path in notes.iterdir() for name in path.read_text().split())
    twice = [name for name, times in begun.items() if times > 1]
    print(f"- one of {WORKERS} workers killed half-way: the client ended with {client.returncode}, {len(begun)} videos "
          f"were read, {len(twice)} of them twice; same bytes: {digest_of(undisturbed) == digest_of(out)}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="for videos and what is read from them; videos there are used again"
    )
    parser.add_argument("--videos", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        run_as_client(*options.client)
        return
    from clips import write_videos  # which loads PyTorch, and neither client nor workers do

    folder = options.folder.resolve()
    few, many = folder / "few", folder / f"many{options.videos}"
    for raw, count in ((few, min(FEW, options.videos)), (many, options.videos)):
        if not raw.exists():
            raw.parent.mkdir(parents=True, exist_ok=True)
            write_videos(raw, count, FRAMES)
    measure_speed(folder, few, many, options.rounds)
    measure_death(folder, many, folder / "threads")


if __name__ == "__main__":
    main()

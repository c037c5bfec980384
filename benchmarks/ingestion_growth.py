"""Videos per hour against workers, up to 1,000: measured costs, and a simulation of who waits for whom.

    python benchmarks/ingestion_growth.py --folder <scratch>

Each worker takes a task, reads the bytes of its videos from the shared storage, and decodes them. Scheduler, storage
and client serve one at a time. At the end, the client cuts the clips of all recordings: one after the other. Costs of
scheduler and client are seconds of a processor, measured here; the bandwidth of the storage is an assumption.
"""

import argparse
import dataclasses
import heapq
import math
import os
import shutil
import time
from pathlib import Path

import pandas as pd

import ingestion
from clips import write_videos
from linear_video.clips import engines
from linear_video.clips.extraction import extract
from linear_video.clips.readers.recordings import Source
from linear_video.clips.windows import cut
from linear_video.common.markup import markdown_table

TASKS, VIDEOS = 2000, 200  # that the costs are measured with
WORKERS = (1, 2, 10, 30, 100, 300, 1000)


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of one processor.

    Attributes:
        scheduler: for each task.
        client: for each task.
        merge: for each video, to cut its clips.
    """

    scheduler: float
    client: float
    merge: float


@dataclasses.dataclass(frozen=True)
class Videos:
    """Videos of one kind: seconds of a processor to read one, and its bytes."""

    name: str
    seconds: float
    size: float


def videos_of_a_task(workers: int, count: int, videos: Videos) -> int:
    """How many videos share a task, as ``clips/engines.py`` has it where all have one length."""
    share = math.ceil(count / (engines.TASKS_IN_FLIGHT * workers))
    return max(1, min(engines.MOST_OF_A_TASK, share, int(engines.TASK_SECONDS / videos.seconds)))


def simulate(workers: int, count: int, videos: Videos, costs: Costs, bandwidth: float) -> float:
    """Seconds until ``count`` videos are read and merged."""
    of_task, left = videos_of_a_task(workers, count, videos), count
    scheduler = storage = client = 0.0  # until when each has something to do
    events = [(0.0, "ask", 0)] * workers
    while events:
        now, event, part = heapq.heappop(events)
        if event == "ask" and left:
            part = min(of_task, left)
            left -= part
            scheduler = max(now, scheduler) + costs.scheduler
            heapq.heappush(events, (scheduler, "read", part))
        elif event == "read":
            storage = max(now, storage) + part * videos.size / bandwidth
            heapq.heappush(events, (storage + part * videos.seconds, "done", part))
        elif event == "done":
            client = max(now, client) + costs.client
            heapq.heappush(events, (now, "ask", 0))
    return client + costs.merge * count


def bounds(workers: int, count: int, videos: Videos, costs: Costs, bandwidth: float) -> dict[str, float]:
    """Seconds for which each part is busy: none of them can be done sooner."""
    tasks = count / videos_of_a_task(workers, count, videos)
    return {
        "workers": count * videos.seconds / workers,
        "scheduler": tasks * costs.scheduler,
        "client": tasks * costs.client,
        "storage": count * videos.size / bandwidth,
        "merge": count * costs.merge,
    }


def measure(folder: Path) -> tuple[Costs, Videos]:
    """Costs on this machine, and the videos that they were measured with."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [Source(str(number), "", ()) for number in range(TASKS)]
    with ingestion.cluster(folder) as by:
        os.environ[engines.SCHEDULER] = by.address
        list(engines.finished(str, sources[:100], None))
        engines.TASK_SECONDS = 1e-9  # one video a task
        before = sum(by.scheduler.cpu_times()[:2]), time.process_time()
        list(engines.finished(str, sources, None))
        after = sum(by.scheduler.cpu_times()[:2]), time.process_time()
        del os.environ[engines.SCHEDULER]
    scheduler, client = ((end - start) / TASKS for start, end in zip(before, after, strict=True))
    raw, out = folder / f"videos{VIDEOS}", folder / "out"
    if not raw.exists():
        write_videos(raw, VIDEOS, ingestion.FRAMES)
    shutil.rmtree(out, ignore_errors=True)
    settings = dataclasses.replace(ingestion.SETTINGS, raw_folder=str(raw))
    start = time.process_time()
    table = extract(settings, out)
    reading = (time.process_time() - start) / VIDEOS
    start = time.process_time()
    for stream in cut(table, out, settings)[0].values():
        for _ in stream.pieces():
            pass
    merge = (time.process_time() - start) / VIDEOS
    size = sum(path.stat().st_size for path in raw.iterdir()) / VIDEOS
    return Costs(scheduler, client, merge), Videos("small", reading, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for what the costs are measured with")
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--bandwidth", type=float, default=1e9, help="of the storage, bytes per second")
    options = parser.parse_args()
    task_seconds = engines.TASK_SECONDS
    costs, small = measure(options.folder.resolve())
    engines.TASK_SECONDS = task_seconds
    per_second = {name: f"{1 / cost:,.0f}" for name, cost in dataclasses.asdict(costs).items()}
    print(
        f"Tasks per second of the scheduler {per_second['scheduler']}, of the client {per_second['client']}; "
        f"videos per second of the merge {per_second['merge']}; a small video takes {1000 * small.seconds:.1f} ms "
        f"and has {small.size / 1e3:.0f} kB."
    )
    for videos in (small, Videos("a minute of full HD", 20.0, 50e6)):
        rows = []
        for workers in WORKERS:
            given = (workers, options.videos, videos, costs, options.bandwidth)
            seconds, busy = simulate(*given), bounds(*given)
            rows.append(
                {
                    "workers": f"{workers:,}",
                    "videos per hour": f"{3600 * options.videos / seconds:,.0f}",
                    "busiest": max(busy, key=lambda name: busy[name]),
                    **{f"{name}: busy": f"{share / seconds:.0%}" for name, share in busy.items()},
                }
            )
        print(f"\n{videos.name}, {options.videos:,} of them:\n")
        print(markdown_table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()

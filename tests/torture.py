"""Kill runs at random moments, start pairs at once, fill their disk: nothing may be lost, mixed up or half written.

    python -m tests.torture kills --times 100
    python -m tests.torture pairs --times 20
    python -m tests.torture disk --times 20
    python -m tests.torture sweeps --times 1

Everything runs at test size in copies of the project. Processes are forked from one that has imported Kedro, MLflow and
PyTorch, since imports would take most of the time; ``pairs`` starts real ones.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pandas as pd

from tests.pipelines.project import DATA, begin, copy_of_project, write_footage, write_own_footage

PRELOADED = [
    "kedro.framework.cli.cli",
    "kedro_mlflow.framework.hooks.mlflow_hook",
    "kedro_viz.integrations.kedro.hooks",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "lightning.pytorch",
    "matplotlib.figure",
    "sklearn.datasets",
    "linear_video.models.checkpoint",
    "linear_video.parameters",
    "linear_video.pipeline_registry",
    "linear_video.tasks.presenters",
    "linear_video.training.lightning",
]
VOLATILE = ("seconds", "commit", "git_commit", "frames_per_second", "training_minutes", "checkpoint", "folder")
# Times and commits of a page, numbers in tables (a comparison tells times in them; scores are compared as JSON), and
# players, whose header has a random number.
VOLATILE_HTML = re.compile(
    rb"<dt>(time of training|speed of prediction|model|(trained|page made) at commit)</dt><dd>[^<]*"
    rb"|(?<=<td>)[\d,. \xc2\xb1-]+(?=</td>)|data:video/webm;base64,[^\"]*"
)
RETIME = "--params=predict.video=data/01_raw/own_footage,predict.task=retime,predict.context=4,predict.method=blend"
LONGEST = 300  # seconds of a run
FULL = ("space", "disk", "full", "large", "quota", "size")  # words of a message that says why nothing could be written


class Kind(NamedTuple):
    """A kind of run to kill: its arguments, and those of the runs before it."""

    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()


ILE = ("run", "--env=test", "--pipelines=ile")
TRAINED = (*ILE, "--to-nodes=ile.moving_symbols.train")
PREDICTED = (*ILE, "--to-nodes=ile.moving_symbols.predict")
KINDS = {
    "ingestion": Kind(("run", "--env=test", "--pipelines=ucf_sports")),
    "training": Kind(TRAINED, ((*ILE, "--to-nodes=moving_symbols.make"),)),
    "prediction": Kind(PREDICTED, (TRAINED,)),
    "drawing": Kind(ILE, (PREDICTED,)),
    "tasks": Kind(("run", "--env=test", "--pipelines=predict", RETIME), (TRAINED,)),
}
# What is run with too little room, one after the other.
FILLING = {
    "ingestion": KINDS["ingestion"].arguments,
    "ile": ILE,
    "synthesis": ("run", "--env=test", "--pipelines=dynamic_vae.digit_cycles"),
    "tasks": KINDS["tasks"].arguments,
    "own footage": ("run", "--env=test", "--pipelines=own_footage"),
    "comparison": ("run", "--env=test", "--pipelines=lds.moving_symbols,compare.moving_symbols"),
}


Tracked = tuple[str, str, str, float]  # of a run in MLflow


class Ended(NamedTuple):
    """How a process ended, and its output."""

    code: int
    said: str


def project(folder: Path) -> Path:
    """A copy of the project, with footage to read."""
    folder.mkdir(parents=True)
    copy_of_project(folder)
    write_footage(folder / "data/01_raw/ucf_sports")
    write_own_footage(folder / "data/01_raw/own_footage")
    return folder


def copy(start: Path, folder: Path) -> None:
    """Copy a project with MLflow's files, and change the absolute paths in its database."""
    shutil.copytree(start, folder)
    if not (folder / "mlflow.db").exists():
        return
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for column in database.execute(f"PRAGMA table_info({table})").fetchall():
                name, places = column[1], (str(start), str(folder))
                change = f'UPDATE "{table}" SET "{name}" = replace("{name}", ?, ?) WHERE instr("{name}", ?)'
                database.execute(change, (*places, places[0]))


# --- processes --------------------------------------------------------------------------------------------------------


def _kedro(folder: Path, arguments: tuple[str, ...], output: Path) -> None:
    """In a separate process: run the command, with all its output in a file."""
    from kedro.framework.cli.cli import main

    os.setsid()  # so that what it starts is killed with it
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ.update(DO_NOT_TRACK="true", OMP_NUM_THREADS="1", COLUMNS="200")
    sys.argv = ["kedro", *arguments]
    sys.path.insert(0, str(folder / "src"))
    try:
        main()
    except Exception:  # noqa: BLE001  # multiprocessing would show it in its own way
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        sys.exit(1)


def kedro(folder: Path, arguments: tuple[str, ...], after: float | None = None) -> tuple[Ended, float]:
    """Run a command in a project, or kill it after ``after`` seconds; return how it ended, and the seconds it took."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "output"
        process = context.Process(target=_kedro, args=(folder, arguments, output))
        started = time.monotonic()
        process.start()
        process.join(LONGEST if after is None else after)
        if process.is_alive() and process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL) if os.getpgid(process.pid) == process.pid else process.kill()
            process.join()
        seconds = time.monotonic() - started
        said = output.read_text(errors="replace") if output.exists() else ""
        return Ended(process.exitcode or 0, said), seconds


def must_succeed(folder: Path, arguments: tuple[str, ...]) -> float:
    """Run a command that must succeed; return the seconds it took.

    Raises:
        RuntimeError: if it does not.
    """
    ended, seconds = kedro(folder, arguments)
    if ended.code:
        raise RuntimeError(f"kedro {' '.join(arguments)} ended with {ended.code}:\n{ended.said[-3000:]}")
    return seconds


# --- what is left -----------------------------------------------------------------------------------------------------


def fingerprint(folder: Path) -> dict[str, str]:
    """Digests of all results of runs, by path; times and commits do not count."""
    found = {}
    for path in sorted((folder / DATA).rglob("*")):
        relative = path.relative_to(folder / DATA)
        if path.is_file() and ".stamps" not in relative.parts:
            found[str(relative)] = _digest(path)
    return found


def _digest(path: Path) -> str:
    if path.suffix == ".json":
        content = json.dumps(_steady(json.loads(path.read_text())), sort_keys=True).encode()
    elif path.suffix == ".csv":
        table = pd.read_csv(path)
        content = table.drop(columns=[name for name in VOLATILE if name in table]).to_csv().encode()
    elif path.suffix == ".webm":  # whose header has a random number
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        digest = hashlib.sha256()
        while (frame := video.read()[1]) is not None:
            digest.update(frame.tobytes())
        return digest.hexdigest()
    elif path.suffix == ".html":
        content = VOLATILE_HTML.sub(b"", path.read_bytes())
    elif path.suffix == ".md":  # tables of the same numbers, in columns as wide as these
        content = re.sub(rb"[\d,.| -]", b"", path.read_bytes())
    else:
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(one) for name, one in value.items() if name not in VOLATILE and "sha256" not in name}
    return [_steady(one) for one in value] if isinstance(value, list) else value


def difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    """A description of the differences; "" if there are none."""
    names = {name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)}
    kinds = {name: "missing" if name not in found else "left over" if name not in wanted else "other" for name in names}
    return ", ".join(f"{name} ({kinds[name]})" for name in sorted(names))


# --- kills ------------------------------------------------------------------------------------------------------------


def kills(place: Path, kind: str, times: int, seed: int) -> list[str]:
    """Kill a run at random moments, run it again, and compare it with an undisturbed run; return the problems."""
    arguments, before = KINDS[kind]
    start = project(place / "start")
    for one in before:
        must_succeed(start, one)
    reference = place / "reference"
    copy(start, reference)
    must_succeed(reference, arguments)
    wanted = fingerprint(reference)
    shutil.rmtree(reference)
    copy(start, reference)
    whole = must_succeed(reference, arguments)  # once the files are in the page cache
    shutil.rmtree(reference)
    moments = random.Random(seed)
    problems = []
    for number in range(times):
        folder = place / "killed"
        copy(start, folder)
        after = moments.uniform(0, 1.05 * whole)
        kedro(folder, arguments, after)
        ended, _ = kedro(folder, arguments)
        wrong = f"ended with {ended.code}: {ended.said}" if ended.code else difference(fingerprint(folder), wanted)
        if wrong:
            problems.append(f"{kind}, kill {number} after {after:.2f} s: {wrong}")
        shutil.rmtree(folder)
    return problems


# --- pairs ------------------------------------------------------------------------------------------------------------


def pairs(place: Path, times: int) -> list[str]:
    """Start two runs at once, with the same outputs and two seeds, or with different outputs; return the problems."""
    problems = []
    same = [(*ILE, "--params=seed=1"), (*ILE, "--params=seed=2")]
    different = [(*ILE, "--params=seed=1"), ("run", "--env=test", "--pipelines=lds.ucf_sports", "--params=seed=2")]
    for name, both in (("same", same), ("different", different)):
        alone: list[list[Tracked]] = []
        for one in both:
            folder = project(place / f"{name}{len(alone)}")
            must_succeed(folder, one)
            alone.append(_tracked(folder))
        wanted = sorted(row for rows in alone for row in rows)
        for number in range(times):
            folder = project(place / f"{name}_pair{number}")  # MLflow remembers databases by their path
            processes = [begin(folder, *one) for one in both]
            outputs = [process.communicate(timeout=2 * LONGEST)[0] for process in processes]
            codes = [process.returncode for process in processes]
            tracked = _tracked(folder)
            if any(codes):
                problems.append(
                    f"{name}, pair {number}: exit codes {codes}\n{outputs[codes.index(max(codes))][-2000:]}"
                )
            elif tracked != wanted:
                problems.append(f"{name}, pair {number}: MLflow has {tracked}, alone it was {wanted}")
            shutil.rmtree(folder)
    return problems


def _tracked(folder: Path) -> list[Tracked]:
    """For every successful run in MLflow, its name, its seed, and its PSNR at frames 1 and 5."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("linear_video")
    found = []
    for run in client.search_runs([experiment.experiment_id] if experiment else [], "attributes.status = 'FINISHED'"):
        psnr = round(run.data.metrics.get("evaluation/psnr_frame_1", float("nan")), 6)
        found.append((run.info.run_name or "", run.data.params.get("seed", ""), run.info.status, psnr))
    return sorted(found)


# --- a full disk ------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, kibibytes: int) -> Iterator[Path]:
    """A file system of the given size, in memory. It needs root.

    Raises:
        RuntimeError: if it cannot be mounted.
    """
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a small disk cannot be mounted ({done.stderr.strip()}); this needs root.")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def disk(place: Path, name: str, times: int) -> list[str]:
    """Run with too little room: there must be one message, and success once there is room. Return the problems."""
    arguments = FILLING[name]
    start = project(place / "start")
    if name in ("tasks", "comparison"):
        must_succeed(start, ILE)
    reference = place / "reference"
    copy(start, reference)
    must_succeed(reference, arguments)
    wanted, most = fingerprint(reference), _size(reference)
    needed = most - _size(start)
    problems = []
    for number in range(times):
        with small_disk(place / "small", 4 * most) as small:
            folder = small / "project"
            copy(start, folder)
            room = round((number + 0.5) / times * needed)
            with (small / "ballast").open("wb") as ballast:
                os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small).free - 1024 * room)
            ended, _ = kedro(folder, arguments)
            if ended.code and ("Traceback" in ended.said or not any(word in ended.said.lower() for word in FULL)):
                problems.append(f"{name} with {room} KiB left, not one message: {ended.said[-2000:]}")
            (small / "ballast").unlink()
            again, _ = kedro(folder, arguments)
            wrong = (
                difference(fingerprint(folder), wanted) if not again.code else f"ended with {again.code}: {again.said}"
            )
            if wrong:
                problems.append(f"{name} with {room} KiB left, ended with {ended.code}, then with room: {wrong}")
    return problems


def _size(folder: Path) -> int:
    """Total size of the files in a folder, in KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4 for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print the problems, and how much was tried."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "pairs", "disk", "sweeps"])
    parser.add_argument("--times", type=int, default=20, help="of each kind")
    parser.add_argument("--kinds", nargs="*", help="some of them only")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    problems = []
    kinds = {"kills": list(KINDS), "pairs": ["pairs"], "disk": list(FILLING), "sweeps": ["sweeps"]}[arguments.what]
    for kind in arguments.kinds or kinds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            if arguments.what == "kills":
                found = kills(Path(place), kind, arguments.times, arguments.seed)
            elif arguments.what == "pairs":
                found = pairs(Path(place), arguments.times)
            elif arguments.what == "sweeps":
                from tests.sweeps.killed import sweeps  # which imports this file

                found = [p for number in range(arguments.times) for p in sweeps(Path(place) / str(number))]
            else:
                found = disk(Path(place), kind, arguments.times)
        seconds = time.monotonic() - started
        print(f"{arguments.what}, {kind}: {arguments.times} times, {len(found)} problems, {seconds:.0f} s", flush=True)
        for problem in found:
            print(f"  {problem}", flush=True)
        problems += found
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

"""Feed every reader with thousands of broken inputs: ``python benchmarks/fuzz.py``.

Each input must be accepted, or refused in one line (``InputError``, or status 400), within 60 seconds and 2 GB. A table
counts the outcomes of each kind, and the exit status is 1 if any input failed. ``--seed`` determines the inputs;
``--kind`` and ``--only`` repeat one that failed. A process for each kind reads one input after another. When it hangs
or dies (also of an exception), another one takes its place.
"""

import argparse
import http.client
import json
import logging
import multiprocessing
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from linear_video.clips.readers.matlab import bound_memory

sys.path.insert(0, str(Path(__file__).parent))
import broken

ROOT = Path(__file__).parents[1]
MOST_SECONDS, MOST_BYTES = 60.0, 2 * 2**30
LONGEST = 3000  # letters of a message
# Shares of the inputs; MATLAB files take a second each, since a separate process reads them.
SHARES = {
    **{"video": 20, "image": 12, "array": 10, "matlab": 4, "norb": 10, "idx": 10},
    **{"yaml": 6, "parameters": 8, "checkpoint": 10, "request": 10},
}


class Outcome(NamedTuple):
    """What became of an input: ``"accepted"``, ``"refused"`` or ``"failed"``, with the message or the reason."""

    kind: str
    message: str
    seconds: float
    peak: int  # bytes of the process, while it read


@dataclass
class Row:
    """A line of the table."""

    accepted: int = 0
    refused: int = 0
    failed: int = 0
    peak: int = 0
    slowest: float = 0.0


# --- readers, each made of a folder to work in: a function of a seed that reads the broken input of that seed --------

Reader = Callable[[Random], None]


def files(write: Callable[[Path], None], read: Callable[[Path], None]) -> Callable[[Path], Reader]:
    """A reader of single broken files, made from those that ``write`` makes; most keep their suffix."""

    def make(folder: Path) -> Reader:
        sound = folder / "sound"
        sound.mkdir()
        write(sound)
        contents = {path.name: path.read_bytes() for path in sorted(sound.iterdir())}
        names, others = list(contents), list(contents.values())

        def run(random: Random) -> None:
            name = random.choice(names)
            content = broken.broken_bytes(contents[name], random, others)
            if random.random() < 0.03:
                name = Path(name).stem + Path(random.choice(names)).suffix
            path = folder / f"broken{''.join(Path(name).suffixes)}"
            path.write_bytes(content)
            try:
                read(path)
            finally:
                path.unlink()

        return run

    return make


def read_footage(path: Path) -> None:
    """Read all frames, as tasks do."""
    from linear_video.tasks.footage import find_footage, open_footage

    for source in find_footage(path):
        for recording in open_footage(source):
            for _ in recording.frames:
                pass


def read_image(path: Path) -> None:
    """Read a file as a frame, or as a symbol in a folder."""
    from linear_video.clips.readers.recordings import FRAME_SUFFIXES
    from linear_video.clips.readers.symbols import load_images

    if path.suffix in FRAME_SUFFIXES:
        read_footage(path)
    (path.parent / "symbols").mkdir(exist_ok=True)
    moved = path.parent / "symbols" / path.name
    moved.write_bytes(path.read_bytes())
    try:
        load_images("folder", moved.parent, "train")
    finally:
        moved.unlink()


def read_idx(path: Path) -> None:
    """Read a file as an array."""
    from linear_video.clips.readers import idx

    idx.read_idx(path)


def norb(folder: Path) -> Reader:
    """Three files that belong together, one of them broken."""
    from linear_video.clips.readers.norb import PARTS, open_norb

    sound, target = folder / "sound", folder / "broken"
    sound.mkdir()
    broken.write_norb(sound, PARTS["training"])

    def run(random: Random) -> None:
        broken.broken_norb(sound, target, random)
        try:
            open_norb(target, "training", folder / "unpacked").images.sum()
        finally:
            shutil.rmtree(target)
            shutil.rmtree(folder / "unpacked", ignore_errors=True)

    return run


def parameter_tree() -> Any:
    """The parameters of this project."""
    from linear_video.settings import CONFIG_LOADER_ARGS
    from linear_video.tracking.environments import ProjectConfigLoader

    arguments: Any = CONFIG_LOADER_ARGS
    return ProjectConfigLoader(str(ROOT / "conf"), "test", **arguments)["parameters"]


def parameters(folder: Path) -> Reader:
    """Parameters with values of all kinds in them."""
    from linear_video.parameters import check_parameters

    tree = parameter_tree()

    def run(random: Random) -> None:
        check_parameters(broken.broken_tree(tree, random))

    return run


def yaml(folder: Path) -> Reader:
    """Files of parameters, as Kedro reads them for us."""
    import yaml as library
    from omegaconf.errors import OmegaConfBaseException

    from linear_video.common.errors import InputError
    from linear_video.parameters import check_parameters
    from linear_video.settings import CONFIG_LOADER_ARGS
    from linear_video.tracking.environments import ProjectConfigLoader

    shutil.copytree(ROOT / "conf" / "base", folder / "conf" / "base")
    (folder / "conf" / "local").mkdir()
    contents = [path.read_bytes() for path in sorted((ROOT / "conf").glob("*/parameters*.yml"))]
    arguments: Any = CONFIG_LOADER_ARGS
    bomb = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 8)
    )

    def run(random: Random) -> None:
        content = broken.broken_bytes(random.choice(contents), random, [*contents, bomb, b"- [\n" * 500, b"a: *b\n"])
        path = folder / "conf" / "local" / "parameters.yml"
        path.write_bytes(content)
        try:
            check_parameters(ProjectConfigLoader(str(folder / "conf"), "local", **arguments)["parameters"])
        except (library.YAMLError, OmegaConfBaseException) as error:  # of Kedro, which names the file
            raise InputError(" ".join(str(error).split())) from error

    return run


def checkpoint(folder: Path) -> Reader:
    """Models of several kinds, with their config or weights broken."""
    import linear_video
    from linear_video.models.checkpoint import save_checkpoint
    from linear_video.models.registry import build, describe

    small = {"blocks": 1, "couplings": 2, "hidden_channels": 4, "first_squeezes": 1, "motion_channels": 2}
    sources = list[Path]()
    for name, settings in (
        ("ile", {**small, "dynamics": "modal"}),
        ("ile", {**small, "dynamics": "dense", "state_dimension": 4}),
        ("ile", {**small, "dynamics": "warp"}),
        ("lds", {"state_dimension": 3}),
        ("dynamic_vae", {"state_dimension": 4, "channels": 4, "hidden_units": 8}),
        ("convolutional", {"channels": 2, "hidden_channels": 4, "blocks": 1}),
        ("adversarial", {}),
        ("last_frame", {}),
    ):
        model = build(name, (1, 16, 16), settings)
        sources.append(folder / f"sound-{len(sources)}")
        save_checkpoint(sources[-1], model, {**describe(name, model), "training": {"steps": 3}})
    others = [path.read_bytes() for source in sources for path in sorted(source.iterdir())]

    def run(random: Random) -> None:
        broken.broken_checkpoint(random.choice(sources), folder / "broken", random, others)
        linear_video.load(folder / "broken")

    return run


def request(folder: Path) -> Reader:
    """Requests to a server, which must answer the next one, too."""
    import uvicorn

    import linear_video
    from linear_video.common.errors import InputError
    from linear_video.models.checkpoint import save_checkpoint
    from linear_video.models.registry import build, describe
    from linear_video.tracking.server import application

    model = build("lds", (1, 16, 16), {"state_dimension": 3})
    save_checkpoint(folder / "model", model, describe("lds", model))
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    configured = uvicorn.Config(application(linear_video.load(folder / "model")), log_level="critical")
    threading.Thread(target=uvicorn.Server(configured).run, args=([listening],), daemon=True).start()

    def ask(method: str, path: str, text: bytes | None, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * MOST_SECONDS)
        try:
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def run(random: Random) -> None:
        status, text = ask("POST", "/invocations", *broken.broken_request(random))
        assert ask("GET", "/ping", None, {})[0] == 200, "the server does not answer any more"
        assert status in (200, 400), f"status {status}: {text[:300]}"
        if status == 400:
            raise InputError(json.loads(text)["error"])

    return run


READERS: dict[str, Callable[[Path], Reader]] = {
    "video": files(broken.write_videos, read_footage),
    "image": files(broken.write_images, read_image),
    "array": files(broken.write_arrays, read_footage),
    "matlab": files(broken.write_matlab, read_footage),
    "norb": norb,
    "idx": files(broken.write_idx, read_idx),
    "yaml": yaml,
    "parameters": parameters,
    "checkpoint": checkpoint,
    "request": request,
}


# --- processes that read, and the one that watches them -------------------------------------------------------------


def serve(kind: str, seed: int, pipe: Any, log: Path) -> None:
    """In a separate process: read the inputs whose numbers come through the pipe, until None comes."""
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)  # libraries print what they think of a file
    with tempfile.TemporaryDirectory() as folder:
        reader = READERS[kind](Path(folder))
        bound_memory(2 * MOST_BYTES)  # so that a failure does not take down the machine
        pipe.send(None)
        while (number := pipe.recv()) is not None:
            pipe.send(outcome_of(reader, Random(f"{seed} {kind} {number}")))


def outcome_of(reader: Reader, random: Random) -> Outcome:
    """Read one input, and tell what became of it."""
    from linear_video.common.errors import InputError

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak memory
    start, kind, message = time.perf_counter(), "accepted", ""
    try:
        reader(random)
    except InputError as error:
        kind, message = "refused", str(error)
        lines = message.split("\n  - ")  # parameters list every problem on its own line
        if not message or len(lines[0]) > LONGEST or any("\n" in line for line in lines):
            kind, message = "failed", f"the message is not one line: {message[:300]!r}"
    return Outcome(kind, message, time.perf_counter() - start, peak_memory())


def peak_memory() -> int:
    """Peak memory in bytes of this process since ``clear_refs``, or of the largest process that it has started."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return 1024 * max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Watched:
    """A process that reads inputs of one kind, and is replaced by another when it hangs or dies."""

    def __init__(self, kind: str, seed: int, folder: Path) -> None:
        self.kind, self.seed, self.log = kind, seed, folder / f"{kind}.log"
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(self.kind, self.seed, other, self.log), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def read(self, number: int) -> Outcome:
        """The outcome of one input."""
        start = time.perf_counter()
        try:
            self.pipe.send(number)
            if self.pipe.poll(MOST_SECONDS):
                outcome: Outcome = self.pipe.recv()
                if outcome.peak > MOST_BYTES:
                    return outcome._replace(kind="failed", message=f"took {outcome.peak:,} bytes; {outcome.message}")
                return outcome
            message = f"took more than {MOST_SECONDS:g} seconds"
            self.process.kill()
        except (EOFError, ConnectionError):
            self.process.join()
            trace = self.log.read_text(errors="replace").strip().splitlines()[-8:]
            message = "\n".join([f"its process died with {self.process.exitcode}", *trace])
        self.process.join()
        self._start()
        return Outcome("failed", message, time.perf_counter() - start, 0)

    def end(self) -> None:
        """Let the process end."""
        self.pipe.send(None)
        self.process.join(10)
        self.process.kill()


def main() -> None:
    """Read the inputs, print the table, and exit with status 1 if any input failed."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=READERS, help="this one alone")
    parser.add_argument("--only", type=int, help="number of the one input of that kind to read")
    parser.add_argument("--show", action="store_true", help="print every message")
    arguments = parser.parse_args()
    shares = {arguments.kind: 1} if arguments.kind else SHARES
    print(
        f"{'kind':<12}{'inputs':>8}{'accepted':>10}{'refused':>9}{'failed':>8}{'peak MB':>9}{'slowest s':>11}",
        flush=True,
    )
    failed, folder = 0, tempfile.TemporaryDirectory()
    for kind, share in shares.items():
        count = max(1, arguments.inputs * share // sum(shares.values()))
        row, worker = Row(), Watched(kind, arguments.seed, Path(folder.name))
        for number in range(count) if arguments.only is None else (arguments.only,):
            outcome = worker.read(number)
            setattr(row, outcome.kind, getattr(row, outcome.kind) + 1)
            row.peak, row.slowest = max(row.peak, outcome.peak), max(row.slowest, outcome.seconds)
            if outcome.kind == "failed" or arguments.show:
                print(f"{kind} {number} {outcome.kind}: {outcome.message.strip()}", flush=True)
        worker.end()
        failed += row.failed
        counts = f"{row.accepted + row.refused + row.failed:>8}{row.accepted:>10}{row.refused:>9}{row.failed:>8}"
        print(f"{kind:<12}{counts}{row.peak / 2**20:>9.0f}{row.slowest:>11.1f}", flush=True)
    folder.cleanup()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

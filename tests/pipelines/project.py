"""A copy of the project, and the ``kedro`` command in it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
DATA = Path("data/test")  # where --env=test writes


def kedro(
    project: Path, *arguments: str, timeout: float = 300, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command in a project; ``launcher`` is the module that starts kedro, torchrun's, with its arguments."""
    start = ["-m", *launcher] if launcher else []
    return subprocess.run(
        [sys.executable, *start, "-m", "kedro", *arguments],
        cwd=project,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def begin(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a project without waiting for its end; all of its output is in ``stdout``."""
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=project,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=interruptible,
        text=True,
    )


def _environment() -> dict[str, str]:
    others = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return others | {"DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}


def interruptible() -> None:
    """Called in a process before it starts, so that it accepts Ctrl-C even if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def succeeds(project: Path, *arguments: str) -> str:
    """Run a command that must not fail; return its output, without line breaks."""
    done = kedro(project, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def fails(project: Path, *arguments: str) -> str:
    """Run a command that must end with a single message; return the message, without line breaks."""
    done = kedro(project, *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("Error: ") == 1, done.stderr
    return " ".join(done.stderr.split("Error: ")[1].split())


def copy_of_project(folder: Path) -> Path:
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("conf", "src", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("local", "my_*", "__pycache__"))
    (folder / "conf/local").mkdir()
    return folder


CLASSES = ("Diving", "Golf", "Running")


def write_footage(folder: Path) -> None:
    """Six folders of pictures in three classes: a bright square that moves. One more is broken."""
    for number in range(6):
        place = folder / CLASSES[number % 3] / f"{number:03d}"
        place.mkdir(parents=True)
        for t in range(30):
            picture = np.full((24, 32, 3), 10 * number, np.uint8)
            picture[4 + number : 12 + number, t // 2 : t // 2 + 8] = 250
            assert cv2.imwrite(str(place / f"{t}.png"), picture)
    broken = folder / "Golf" / "900"
    broken.mkdir()
    (broken / "clip.avi").write_text("this is no video")


def write_textures(folder: Path) -> None:
    """Four videos of a class as arrays: waves that travel."""
    folder.mkdir(parents=True)
    across = np.arange(20)
    for number in range(4):
        phase = 0.4 * np.arange(90)[:, None, None] + 0.5 * across + number * np.sin(0.3 * across)[:, None]
        np.save(folder / f"{number}.npy", np.rint(127 + 100 * np.sin(phase)).astype(np.uint8))


def write_turntable(folder: Path) -> None:
    """An object of 72 views as COIL-20 has it: a bar that turns."""
    folder.mkdir(parents=True)
    for view in range(72):
        picture = np.zeros((32, 32), np.uint8)
        angle = 2 * np.pi * view / 72
        end = (round(16 + 12 * np.cos(angle)), round(16 + 12 * np.sin(angle)))
        cv2.line(picture, (16, 16), end, 255, 4)
        assert cv2.imwrite(str(folder / f"obj1__{view}.png"), picture)


def write_own_footage(folder: Path) -> None:
    """Forty pictures: waves that wander over them, in colour, with some noise."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    t, y, x = np.ogrid[:40, :24, :32]
    planes = [np.sin(x / 4 + t / 5 + shift) * np.cos(y / 6 - t / 9) for shift in (0, 1, 2)]
    noisy = 127.5 + 100 * np.stack(planes, -1) + random.normal(0, 6, (40, 24, 32, 3))
    for number, picture in enumerate(np.rint(noisy).clip(0, 255).astype(np.uint8)):
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)


def write_raw_data(project: Path) -> None:
    """Write the raw data that the datasets from files need."""
    write_footage(project / "data/01_raw/ucf_sports")
    write_own_footage(project / "data/01_raw/own_footage")
    write_textures(project / "data/01_raw/ucla_textures/waves")
    write_turntable(project / "data/01_raw/small_norb")

"""A copy of the project, and the ``kedro`` command in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def kedro(project, *arguments, timeout=300, launcher=()):
    """Run a command in a project; ``launcher`` is the module that starts kedro, torchrun's, with its arguments."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }
    command = (
        [sys.executable, "-m", *launcher, "-m", "kedro", *arguments]
        if launcher
        else [sys.executable, "-m", "kedro", *arguments]
    )
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def copy_of_project(folder):
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("conf", "src", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("local", "__pycache__"))
    (folder / "conf/local").mkdir()
    return folder

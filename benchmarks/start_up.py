"""How long commands take until they answer, each in a process of its own, in a copy of the project."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, Row, in_turns

RUN = "kedro run --env=test --pipelines=ile"  # --env=test: small clips and a small model
FRESH = f"{RUN} --params=fresh=true"
HELP = "`kedro run --help`"


def measure(tiny: bool) -> Row:
    """Time of each command; that of the first run from nothing is measured once."""
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary)
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / name, project / name)
        for name in ("conf", "src"):
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("local", "my_*", "__pycache__"))
        (project / "conf/local").mkdir()
        start = time.perf_counter()
        answer(project, RUN)  # the results that are up to date afterwards
        whole = time.perf_counter() - start
        steps = {
            "`import torch`, for comparison": lambda: answer(project, "torch.version"),
            "`kedro --version`": lambda: answer(project, "kedro --version"),
            HELP: lambda: answer(project, "kedro run --help"),
            "`kedro registry list`": lambda: answer(project, "kedro registry list"),
            f"`{RUN}`, all results up to date": lambda: answer(project, RUN),
            f"`{FRESH}`, up to its first node": lambda: answer(project, FRESH, until="Running node: "),
        }
        return {"run": RUN, "whole": whole, "rows": in_turns(steps, reference=HELP, rounds=1 if tiny else 3)}


def answer(project: Path, command: str, until: str | None = None) -> None:
    """Run a module with its arguments, up to its end or to the first line that contains a text."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        cwd=project,
        env=environment | {"DO_NOT_TRACK": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    told = []
    with process:
        for line in process.stdout:
            told.append(line)
            if until is not None and until in line:
                process.kill()
                return
    if process.returncode or until is not None:
        raise SystemExit("".join(told))

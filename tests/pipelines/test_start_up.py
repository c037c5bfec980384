"""Commands that only look at the project answer at once: none loads what trains and draws."""

import subprocess
import sys
from pathlib import Path

from tests.pipelines.project import copy_of_project

HEAVY = ("torch", "lightning", "matplotlib", "sklearn", "skimage")
COMMANDS = (
    "registry list",
    "registry describe ile",
    "catalog list-patterns",
    "catalog describe-datasets",
    "catalog resolve-patterns",
)
PROGRAM = f"""
import sys
from kedro.framework.cli.cli import main
for command in {COMMANDS}:
    sys.argv = ["kedro", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
    print("LOADED by", command, [name for name in {HEAVY} if name in sys.modules])
"""


def test_looking_loads_nothing_heavy(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert loaded == [f"LOADED by {command} []" for command in COMMANDS]

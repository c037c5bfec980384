"""Commands that only look at the project answer at once: none loads what trains and draws."""

import subprocess
import sys

import pytest

from tests.pipelines.project import copy_of_project

HEAVY = ("torch", "lightning", "matplotlib", "sklearn", "skimage")
PROGRAM = f"""
import sys
from kedro.framework.cli.cli import main
sys.argv = ["kedro", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "command",
    [
        ("registry", "list"),
        ("registry", "describe", "ile"),
        ("catalog", "list-patterns"),
        ("catalog", "describe-datasets"),
        ("catalog", "resolve-patterns"),
    ],
)
def test_looking_loads_nothing_heavy(tmp_path, command):
    project = copy_of_project(tmp_path)
    program = [sys.executable, "-c", PROGRAM, *command]
    done = subprocess.run(program, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"

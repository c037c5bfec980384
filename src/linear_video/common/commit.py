"""The version of the project, as its git commit."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """Commit of the project, marked if files have changed since; ``unknown`` outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        # A constant command, without a shell.
        answer = subprocess.run(  # nosec B603
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()

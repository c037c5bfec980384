"""Whole sweeps, of a few trials at test size."""

from pathlib import Path

import pytest

from tests.sweeps.killed import sweeps

pytestmark = pytest.mark.slow


def test_a_sweep_whose_trials_are_killed_ends_as_one_in_sequence(tmp_path: Path) -> None:
    assert sweeps(tmp_path, cases=2, seeds=1, kill_command=False) == []

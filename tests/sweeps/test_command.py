"""The command line of ``kedro sweep``."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from linear_video.cli import cli
from linear_video.common.errors import InputError


def test_optuna_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("linear_video.sweeps.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r'kedro sweep needs Optuna: pip install "linear-video\[sweeps\]"'):
        CliRunner().invoke(cli, ["sweep", str(tmp_path / "study.yml")], catch_exceptions=False)


def test_a_study_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.yml is not a regular file"):
        CliRunner().invoke(cli, ["sweep", str(tmp_path / "study.yml")], catch_exceptions=False)


@pytest.mark.parametrize(
    ("given", "message"), [("seed", "'seed' must be name=value"), ("a=[1", "a value cannot be read")]
)
def test_parameters_that_cannot_be_read_are_named(tmp_path: Path, given: str, message: str) -> None:
    done = CliRunner().invoke(cli, ["sweep", str(tmp_path / "study.yml"), given])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())

"""A release has one version number everywhere, and works without the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.pipelines.project import ROOT
from tests.tasks.small_models import save_model

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

# Loads a model, predicts with it, and fills in a template; says which package did that.
USE = """
import sys
from pathlib import Path
import numpy as np
import linear_video
from linear_video.evaluation.report import page

frames = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 1), np.uint8)
predicted = list(linear_video.load(sys.argv[1], method="model").extrapolate(frames, horizon=3))
assert "nothing to compare" in page("nothing to compare", [], [], {})
print(linear_video.__version__, Path(linear_video.__file__).parent, np.asarray(predicted).shape)
"""


def run(*command: str | Path, folder: Path) -> str:
    """Run a command that must not fail; only what is installed can be imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing of the build stays in the repository."""
    copy, made = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", made, folder=copy)
    [path] = made.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel; what the wheel needs it finds in this environment."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=environment)
    interpreter = environment / "bin/python"
    install = ("-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-index", "--no-deps")
    run(sys.executable, *install, wheel, folder=environment)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def test_the_newest_version_is_the_same_everywhere() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert headings[:2] == ["## Unreleased", f"## {VERSION} - {citation['date-released']}"]
    assert citation["version"] == VERSION


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    files = [path for path in (ROOT / "src/linear_video").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {path.relative_to(ROOT / "src").as_posix() for path in files}
    assert any(name.endswith(".html") for name in held)


@pytest.mark.slow
def test_the_wheel_predicts_outside_the_repository(python: Path, tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path / "model")
    version, package, shape = run(python, "-c", USE, checkpoint, folder=tmp_path).split(maxsplit=2)
    assert version == VERSION
    assert Path(package).is_relative_to(python.parents[1])
    assert shape.strip() == "(3, 8, 8, 1)"


@pytest.mark.slow
def test_the_wheel_runs_a_pipeline_with_the_configuration_alone(python: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local", "my_*"))
    (tmp_path / "conf/local").mkdir()
    arguments = ("--conf-source=conf", "--env=test", "--pipelines=last_frame.moving_symbols")
    said = run(python, "-m", "linear_video", *arguments, folder=tmp_path)
    assert "WARNING" not in said
    results = tmp_path / "data/test/08_reporting/last_frame/moving_symbols"
    assert {"scores.json", "filmstrip.png"} <= {path.name for path in results.iterdir()}

"""Follow docs/extending.md step by step in a copy of the project."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines.project import DATA, ROOT, copy_of_project, succeeds, write_footage

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCK = re.compile(r"`((?:src|conf)/[\w./]+)`[^`]*?:\n\n```\w+\n(.*?)```", re.DOTALL)
TABLE = re.compile(r"^(MODELS|KINDS) = \{\n", re.MULTILINE)


def follow(project: Path) -> None:
    """Write what the page shows: new files, lines of the tables, parameters of the environment in use."""
    for place, content in BLOCK.findall(PAGE):
        path = project / place.replace("conf/local", "conf/test")
        if path.suffix == ".yml":
            path.write_text(path.read_text() + content)
        elif path.name == "registry.py":
            assert content.count("\n") == 1, "one line"
            path.write_text(TABLE.sub(rf"\g<0>{content}", path.read_text()))
        else:
            assert not path.exists()
            path.write_text(content)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_of_project(tmp_path_factory.mktemp("project"))
    follow(project)
    write_footage(project / "data/01_raw/my_videos")
    return project


def test_the_page_shows_two_files_two_lines_and_configuration() -> None:
    assert [place for place, _ in BLOCK.findall(PAGE)] == [
        "conf/local/parameters.yml",
        "src/linear_video/models/momentum.py",
        "src/linear_video/models/registry.py",
        "src/linear_video/clips/gratings.py",
        "src/linear_video/clips/registry.py",
        "conf/local/parameters.yml",
    ]


def test_the_new_ones_are_listed_on_everything_that_suits_them(extended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDRO_ENV", "test")
    listed = succeeds(extended, "registry", "list")
    models = ("ile", "dynamic_vae", "adversarial", "lds", "last_frame", "optical_flow", "convolutional", "momentum")
    for dataset in ("my_videos", "drifting_gratings"):
        assert f"- {dataset} " in f"{listed} "
        assert f"- compare.{dataset} " in f"{listed} "
        for model in models:
            assert f"- {model}.{dataset} " in f"{listed} "
    for name in ("momentum", "momentum.moving_symbols", "momentum.ucf_sports"):
        assert f"- {name} " in f"{listed} "
    assert "momentum.digit_cycles" not in listed  # it does not synthesise


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "models"),
    [
        ("my_videos", ("ile", "lds", "last_frame", "momentum")),
        ("drifting_gratings", ("momentum", "lds", "last_frame")),
        ("moving_symbols", ("momentum",)),
    ],
)
def test_they_train_predict_are_scored_and_compared(extended: Path, dataset: str, models: tuple[str, ...]) -> None:
    names = [f"compare.{dataset}", *(f"{model}.{dataset}" for model in models)]
    succeeds(extended, "run", "--env=test", f"--pipelines={','.join(names)}")
    table = pd.read_csv(extended / DATA / f"08_reporting/comparison/{dataset}.csv").set_index(["model", "frame"])
    assert set(table.index.get_level_values("model")) == {*models, "last_frame"}
    for model in models:
        scores = json.loads((extended / DATA / f"08_reporting/{model}/{dataset}/scores.json").read_text())
        assert scores["psnr"][0] == pytest.approx(table.loc[(model, 1), "psnr"], abs=1e-6)
    if dataset == "drifting_gratings":  # whose change has momentum indeed
        first = table["psnr"].xs(1, level="frame").astype(float).to_dict()
        assert first["momentum"] > first["last_frame"] + 3


@pytest.mark.slow
def test_the_contract_covers_the_new_model(extended: Path) -> None:
    (extended / "tests").symlink_to(ROOT / "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "momentum", "tests/models/test_contract.py"]
    environment = os.environ | {"PYTHONPATH": str(extended / "src")}
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d{2} passed", done.stdout)

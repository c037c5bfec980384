"""From one video to a page on it, as its users run it."""

import base64
import re
from pathlib import Path

import cv2
import pandas as pd
import pytest

from tests.pipelines.project import DATA, copy_of_project, fails, succeeds, write_own_footage

RESULTS = DATA / "08_reporting/footage"
TASKS = ["extrapolate", "retime", "denoise", "surprise", "fourier"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_of_project(tmp_path_factory.mktemp("project"))
    write_own_footage(project / "data/01_raw/own_footage")
    succeeds(project, "run", "--env=test", "--pipelines=footage")
    return project


def test_one_command_does_every_task_and_writes_a_page(made: Path, tmp_path: Path) -> None:
    results = pd.read_csv(made / RESULTS / "results.csv")
    assert results["task"].tolist() == TASKS
    page = (made / RESULTS / "report.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == TASKS
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # it needs no other files
    for name in ("model", "optical flow", "last frame", "mean", "blur", "non local means", "untouched"):
        assert f"<td>{name}</td>" in page
    players = re.findall(r'data:video/webm;base64,([^"]+)', page)
    assert len(players) == 1 + 2 * 3  # the footage; the result and a reference of all but surprise and Fourier
    (tmp_path / "player.webm").write_bytes(base64.b64decode(players[0]))
    assert cv2.VideoCapture(str(tmp_path / "player.webm"), cv2.CAP_FFMPEG).read()[0]


def test_the_page_says_what_the_tables_say(made: Path) -> None:
    row = pd.read_csv(made / RESULTS / "results.csv").set_index("task").loc["retime"]
    table = pd.read_csv(Path(str(row["folder"])) / "backtest.csv")
    psnr = table.loc[table["method"] == "optical_flow", "psnr"].item()
    page = (made / RESULTS / "report.html").read_text()
    retime = page.partition("<h2>retime</h2>")[2].partition("<h2>")[0]
    assert re.search(rf"<td>optical flow</td><td[^>]*>{psnr:.1f}</td>", retime)


@pytest.mark.slow
def test_a_model_that_was_trained_before_is_not_trained_again(made: Path) -> None:
    model = DATA / "06_models/ile/own_footage"
    told = succeeds(made, "run", "--env=test", "--pipelines=footage", f"--params=footage.model={model}")
    assert "footage.run_tasks" in told
    assert "own_footage.train" not in told


@pytest.mark.slow
def test_a_video_that_is_not_there_is_named(made: Path) -> None:
    message = fails(made, "run", "--env=test", "--pipelines=footage", "--params=footage.video=no/such.mp4")
    assert "no/such.mp4 holds no recordings" in message

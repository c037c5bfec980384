"""Training in processes that torchrun has started, as the documentation says."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.pipelines.project import DATA, copy_of_project, fails, kedro

MODEL = DATA / "06_models/ile/moving_symbols"
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")
# Without noise and random moments to forecast from, which each process draws for itself; with few steps, since each
# step enlarges differences of rounding.
PARAMETERS = ",".join(
    f"ile.moving_symbols.{change}"
    for change in (
        *("model.noise=0.0", "model.motion_share=0.0", "model.forecast_weight=0.0"),
        *("training.accelerator=cpu", "training.steps=6"),
    )
)


@pytest.mark.slow
def test_two_processes_of_torchrun_train_one_model(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    done = kedro(project, "run", "--env=test", "--pipelines=moving_symbols")
    assert done.returncode == 0, done.stderr
    train = ("run", "--env=test", "--pipelines=ile", "--nodes=ile.moving_symbols.train")
    alone = kedro(project, *train, f"--params={PARAMETERS}")
    assert alone.returncode == 0, alone.stderr
    expected = load_file(project / MODEL / "model.safetensors")
    together = kedro(
        project, *train, f"--params={PARAMETERS},ile.moving_symbols.training.strategy=ddp", launcher=TORCHRUN
    )
    assert together.returncode == 0, together.stdout + together.stderr
    found = load_file(project / MODEL / "model.safetensors")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert json.loads((project / MODEL / "config.json").read_text())["training"]["settings"]["strategy"] == "ddp"
    assert sorted(path.name for path in (project / MODEL).iterdir()) == ["config.json", "model.safetensors"]
    with sqlite3.connect(project / "mlflow.db") as database:
        statuses = database.execute("select status from runs").fetchall()
    assert statuses == [("FINISHED",)] * 3  # one of the two processes tracks
    predicted = kedro(project, "run", "--env=test", "--pipelines=ile", "--from-nodes=ile.moving_symbols.predict")
    assert predicted.returncode == 0, predicted.stderr


def test_bare_ddp_is_refused_before_the_run(tmp_path: Path) -> None:
    message = fails(copy_of_project(tmp_path), "run", "--params=ile.moving_symbols.training.strategy=ddp")
    assert "Use ddp_spawn, or ddp_fork on CPUs; or start the run with torchrun" in message
    assert not (tmp_path / "data").exists()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (0,)  # what never ran is not tracked

"""Several runs at once on one MLflow server, compared with the same runs alone.

    python benchmarks/tracking_load.py --processes 8 --backend postgresql+psycopg://mlflow@127.0.0.1/mlflow

trains and scores the ILE at test size in as many copies of the project, as if each were on a machine of its own, each
with another learning rate. First each run has an MLflow of its own, one after the other; then all start at once and
use one server. The command starts the server, with the database ``--backend`` (SQLite without it), or uses the server
at ``--uri``. It ends with status 1 if a run has not succeeded, if parameters or scores in MLflow differ between the
two, or if the champion is not the version with the best score.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from linear_video.common.markup import markdown_table

PROJECT = Path(__file__).parents[1]
COPIED = ("pyproject.toml", ".telemetry", "conf", "src")
VARIED = "training.learning_rate"
NOT_COMPARED = ("training/", "system/")  # metrics of time and of the machine
START = 120  # seconds that a server may take to start

Rates = dict[str, float]  # learning rates by the names of the folders


def main() -> None:
    arguments = _arguments()
    environment = f"load_{int(time.time())}"  # so that a server's other runs and models are not concerned
    rates = {f"run_{number}": round(1e-3 * (1 + number / 4), 6) for number in range(arguments.processes)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shared = arguments.uri or stack.enter_context(mlflow_server(Path(folder, "server"), arguments.backend))
        alone: list[Run] = []
        begin = time.perf_counter()
        for name, rate in rates.items():
            uri = f"sqlite:///{folder}/alone/{name}/mlflow.db"
            run_at_once(Path(folder, "alone"), {name: rate}, environment, uri)
            alone += runs_of(uri, environment)
        seconds = [time.perf_counter() - begin]
        begin = time.perf_counter()
        run_at_once(Path(folder, "together"), rates, environment, shared)
        seconds.append(time.perf_counter() - begin)
        together, crowned = runs_of(shared, environment), champion_score(shared, environment)
    rows = [_row(run, together) for run in alone]
    best = max(row["validation PSNR"] for row in rows)
    print(markdown_table(pd.DataFrame(rows)))
    print("\none after the other: {:.0f} s; at once, on the server: {:.0f} s".format(*seconds))
    print(f"validation PSNR of the champion: {crowned:.4f}; the best: {best:.4f}")
    if len(together) != len(rows) or not all(row["in MLflow"] == "as alone" for row in rows):
        raise SystemExit("MLflow does not hold the runs as they are alone.")
    if abs(best - crowned) > 1e-5:
        raise SystemExit("The champion is not the version with the best score.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=8, help="runs at once")
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--backend", help="database of the server that is started; without it, SQLite in a file")
    server.add_argument("--uri", help="a server that is there, http://...; the runs and their models stay in it")
    return parser.parse_args()


def run_at_once(folder: Path, rates: Rates, environment: str, uri: str) -> None:
    """Run the experiment with each learning rate, each in a copy of the project of its own, and wait for all.

    Raises:
        SystemExit: if one of them fails, with what it said.
    """
    processes = {name: _start(folder / name, rate, environment, uri) for name, rate in rates.items()}
    status = {name: process.wait() for name, process in processes.items()}
    for name in filter(status.get, status):
        raise SystemExit(f"{name} ended with status {status[name]}:\n{(folder / name / 'run.log').read_text()}")


def _start(folder: Path, rate: float, environment: str, uri: str) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    for name in COPIED:
        source = PROJECT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    shutil.copytree(PROJECT / "conf/test", folder / "conf" / environment)
    arguments = (f"--env={environment}", "--pipelines=ile.moving_symbols", f"--params=ile.symbols.{VARIED}={rate}")
    settings = {"DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": uri}
    settings["PYTHONPATH"] = str(folder / "src")
    with (folder / "run.log").open("wb") as log:
        command = [sys.executable, "-m", "kedro", "run", *arguments]
        return subprocess.Popen(command, cwd=folder, env=os.environ | settings, stdout=log, stderr=log)


def runs_of(uri: str, environment: str) -> list[Run]:
    """The runs of an environment that MLflow holds."""
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.environment = '{environment}'"))


def champion_score(uri: str, environment: str) -> float:
    """The validation PSNR of the champion, in dB."""
    champion = MlflowClient(uri).get_model_version_by_alias(f"ile-moving_symbols-{environment}", "champion")
    return float(champion.tags["validation_psnr"])


def _row(alone: Run, together: list[Run]) -> dict[str, Any]:
    """What became of the run with the same learning rate."""
    name = next(name for name in alone.data.params if name.endswith(VARIED))
    rate = alone.data.params[name]
    same = [run for run in together if run.data.params.get(name) == rate]
    status = same[0].info.status if len(same) == 1 else f"{len(same)} runs"
    equal = [_compared(run) for run in same] == [_compared(alone)]
    return {
        "learning rate": rate,
        "status": status,
        "parameters": len(alone.data.params),
        "metrics": len(_compared(alone)[2]),
        "validation PSNR": alone.data.metrics["evaluation/validation_psnr"],
        "in MLflow": "as alone" if equal else "different",
    }


def _compared(run: Run) -> tuple[str, dict[str, str], dict[str, float]]:
    """Status, parameters and metrics, without those of time and of the machine."""
    metrics = {name: value for name, value in run.data.metrics.items() if not name.startswith(NOT_COMPARED)}
    return run.info.status, run.data.params, metrics


@contextmanager
def mlflow_server(folder: Path, backend: str | None = None) -> Iterator[str]:
    """An MLflow server on a free port of this machine, which keeps artifacts in a folder; yields its address.

    Raises:
        SystemExit: if it does not start, with what it said.
    """
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stores = ("--backend-store-uri", backend or f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder)
    command = [sys.executable, "-m", "mlflow", "server", *map(str, stores), "--port", str(port), "--workers", "2"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait_for(uri, process, folder / "server.log")
        yield uri
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)  # its workers, too
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)
        with suppress(ProcessLookupError):  # clients that keep their connection would keep it for long
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{uri}/health"):
                return
        except urllib.error.URLError:
            time.sleep(0.3)
    raise SystemExit(f"The MLflow server did not start:\n{log.read_text()}")


if __name__ == "__main__":
    main()

"""Run one experiment in several cases and put their scores into one table.

    python benchmarks/study.py counting digit_cycles.symbols_folder=/data/mnist --folder /tmp/studies --workers 2

runs ``benchmarks/studies/counting.yml``. Each case is a ``kedro run`` in a copy of the project of its own, below
``--folder``; a case that has its scores is not run again, so that an interrupted study goes on. Further arguments are
parameters for every case. Where a study names seeds, each case runs with each of them, and the table shows means, and
the least and the greatest value.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from tqdm import tqdm

from linear_video.common.markup import markdown_table

PROJECT = Path(__file__).parents[1]
COPIED = ("pyproject.toml", ".telemetry", "conf", "src")
MARK = ".study"  # file in each folder that a study has made, and may delete
MADE = Path("data/case")  # where a case, which is an environment, keeps what it makes


def main() -> None:
    arguments = _arguments()
    study: Any = OmegaConf.to_container(OmegaConf.load(PROJECT / f"benchmarks/studies/{arguments.study}.yml"))
    folder = arguments.folder.absolute() / arguments.study
    names = arguments.cases or list(study["cases"])
    for name in names:
        for path, _ in _runs(folder / name, study):
            _check_own(path)
    with ThreadPoolExecutor(arguments.workers) as pool:
        # Seed by seed, so that a study that is not over yet has seen every case.
        by_seed = zip(*(_runs(folder / name, study) for name in names), strict=True)
        runs = [
            pool.submit(_run, path, study, name, [*arguments.parameters, *further])
            for all_cases in by_seed
            for name, (path, further) in zip(names, all_cases, strict=True)
        ]
        for run in tqdm(runs, arguments.study, unit="run"):
            run.result()
    table = pd.DataFrame([row for name in names for row in _rows(folder / name, study, name)])
    print(markdown_table(table))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=sorted(path.stem for path in (PROJECT / "benchmarks/studies").glob("*.yml")))
    parser.add_argument("parameters", nargs="*", help="for every case, such as digit_cycles.symbols_folder=...")
    parser.add_argument("--folder", type=Path, required=True, help="for the runs; outside the project")
    parser.add_argument("--workers", type=int, default=1, help="cases at once; each keeps one processor busy")
    parser.add_argument("--cases", nargs="*", help="only these")
    arguments = parser.parse_args()
    if arguments.folder.resolve().is_relative_to(PROJECT.resolve()):
        parser.error(f"--folder {arguments.folder} lies within the project, which each case copies; name another.")
    return arguments


def _runs(folder: Path, study: dict[str, Any]) -> list[tuple[Path, list[str]]]:
    """Folder and parameters of each run of a case."""
    if "seeds" not in study:
        return [(folder, [])]
    return [(folder / f"seed_{seed}", [f"seed={seed}"]) for seed in study["seeds"]]


def _run(folder: Path, study: dict[str, Any], name: str, further: list[str]) -> None:
    """One case, unless it has been run: its parameters become an environment of a copy of the project."""
    if all((folder / MADE / path).exists() for path in study["scores"].values()):
        return
    _make_empty(folder)
    for part in COPIED:
        source = PROJECT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    layers: list[Any] = [OmegaConf.create(layer) for layer in (study.get("parameters", {}), study["cases"][name] or {})]
    if "env" in study:
        layers.insert(0, OmegaConf.load(PROJECT / f"conf/{study['env']}/parameters.yml"))
    (folder / "conf/case").mkdir()
    OmegaConf.save(OmegaConf.merge(*layers, OmegaConf.from_dotlist(further)), folder / "conf/case/parameters.yml")
    command = [sys.executable, "-m", "kedro", "run", "--env=case", f"--pipelines={study['pipeline']}"]
    environment = {**os.environ, "DO_NOT_TRACK": "true", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with (folder / "run.log").open("w") as log:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit(f"{study['pipeline']}, case {name}, failed; see {folder / 'run.log'}.")


def _check_own(folder: Path) -> None:
    """Refuse a folder that no study has made."""
    nothing = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if folder.is_symlink() or not (nothing or (folder / MARK).is_file()):
        raise SystemExit(f"{folder} was not made by a study, and is left as it is; move it, or name another --folder.")


def _make_empty(folder: Path) -> None:
    """A new folder, in place of one that a study has made."""
    _check_own(folder)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("A study has made this folder, and may delete it.\n")


def _rows(folder: Path, study: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A row of the table for each file of scores."""
    rows = []
    for model, path in study["scores"].items():
        scores = [json.loads((run / MADE / path).read_text()) for run, _ in _runs(folder, study)]
        row = {column: _shown([_value(some, column) for some in scores]) for column in study["columns"]}
        rows.append({"case": name, "model": model, **row})
    return rows


def _value(scores: Any, column: str) -> float:
    """Entry of nested mappings and lists, as in ``synthesis.mean_run`` or ``psnr.0``; NaN where there is none."""
    for key in column.split("."):
        scores = scores[int(key)] if isinstance(scores, list) else scores[key]
    return math.nan if scores is None else float(scores)


def _shown(values: list[float]) -> str:
    mean = f"{sum(values) / len(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4g} to {max(values):.4g})"


if __name__ == "__main__":
    main()

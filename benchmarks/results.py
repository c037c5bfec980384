"""The tables of docs/results.md: run the studies behind them, keep their figures in docs/results, render the page.

    make results                     everything that needs no real data
    make results DATA=<folder>       with real data too: what lies where is said in benchmarks/results.yml
    make results QUICK=1             a small form that only shows that everything runs; docs/ stays as it is

A run that was stopped goes on where it was. ``--only`` names tables, and ``--render`` renders the page alone.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml

from linear_video.common.files import replacing_file
from linear_video.parameters import merged
from measuring import code_commit, machine
from results_page import rendered

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "benchmarks/studies"
FIGURES = ROOT / "docs/results"
PAGE = ROOT / "docs/results.md"
DATA, SWEEPS = "{data}", "{sweeps}"  # stand for the folder of real data, and for that of the sweeps
QUICK_CASES = 1


class Table(NamedTuple):
    """What one file in docs/results holds.

    Attributes:
        name: of the file.
        study: the file of the study in benchmarks/studies, without its ending; "" for a script.
        script: the file in benchmarks that prints tables; "" for a study.
        arguments: for ``kedro sweep`` or the script.
        gpu: whether it is passed over without a GPU.
    """

    name: str
    study: str
    script: str
    arguments: list[str]
    gpu: bool

    @property
    def needs(self) -> list[str]:
        """Paths of real data below the folder that DATA names."""
        return [path for argument in self.arguments for path in re.findall(rf"{re.escape(DATA)}/([\w./]+)", argument)]

    @property
    def models(self) -> list[str]:
        """Models that sweeps before it have trained."""
        return [argument.replace(SWEEPS, "data/sweeps") for argument in self.arguments if SWEEPS in argument]

    def command(self, data: str = "<data>") -> list[str]:
        """What to type."""
        told = [argument.replace(DATA, data).replace(SWEEPS, "data/sweeps") for argument in self.arguments]
        if self.script:
            return ["python", f"benchmarks/{self.script}", *told]
        return ["kedro", "sweep", f"benchmarks/studies/{self.study}.yml", *told]

    @property
    def shown(self) -> str:
        """The command as the page has it."""
        return " ".join(self.command())


def tables() -> list[Table]:
    """All of them, in the order in which they run."""
    found = []
    for name, entry in yaml.safe_load((ROOT / "benchmarks/results.yml").read_text()).items():
        given = entry or {}
        script = given.get("script", "")
        study, gpu = "" if script else given.get("study", name), given.get("gpu", False)
        found.append(Table(name, study, script, given.get("arguments", []), gpu))
    return found


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of real data")
    parser.add_argument("--only", nargs="*", choices=[table.name for table in tables()], metavar="TABLE")
    parser.add_argument("--quick", action="store_true", help="a small form, in data/results_quick")
    parser.add_argument("--render", action="store_true", help="render the page of the figures that are there")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once")
    arguments = parser.parse_args()
    if arguments.quick:
        quick(arguments.workers)
        return
    chosen = [table for table in tables() if arguments.only is None or table.name in arguments.only]
    if not arguments.render:
        runnable = [table for table in chosen if _can_run(table, arguments.data)]
        _say_how_long(runnable, arguments.workers)
        for table in runnable:
            make(table, "" if arguments.data is None else str(arguments.data.absolute()), arguments.workers)
            render(FIGURES, PAGE)
    render(FIGURES, PAGE)


def make(table: Table, data: str, workers: int) -> None:
    """Run what a table needs, as far as that has not been done, and keep its figures."""
    file, command = FIGURES / f"{table.name}.json", table.command(data)
    if not table.script:
        folder = ROOT / "data/sweeps" / table.name
        _run([*command, "--folder", str(folder), "--workers", str(workers)])
        _keep(file, figures_of(folder, table.shown))
        return
    commit = code_commit()
    if not commit.endswith("-dirty") and file.exists() and json.loads(file.read_text())["commit"] == commit:
        return
    missing = [model for model in table.models if not (ROOT / model).exists()]
    if missing:
        print(f"{table.name}: passed over, since {', '.join(missing)} is not there.")
        return
    started = time.perf_counter()
    printed = _run(command)
    minutes = (time.perf_counter() - started) / 60
    _keep(file, _about(table.shown, commit, [0], minutes) | {"printed": printed.strip()})


def render(figures: Path, page: Path) -> None:
    """Write the page of the figures in a folder."""
    page.write_text(rendered(figures, {table.name: table.shown for table in tables()}))


def quick(workers: int) -> None:
    """Run every study that needs no real data at test size, with one seed and one case, and render a page of it."""
    place = ROOT / "data/results_quick"
    shutil.rmtree(place, ignore_errors=True)
    (place / "figures").mkdir(parents=True)
    studies = dict.fromkeys(table.study for table in tables() if table.study and not table.needs)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(_quick_study, place), studies))
    render(place / "figures", place / "results.md")
    print(f"See {place / 'results.md'}.")


def _quick_study(place: Path, name: str) -> None:
    file, folder = place / f"{name}.yml", place / "sweeps" / name
    file.write_text(yaml.safe_dump(at_test_size(yaml.safe_load((STUDIES / f"{name}.yml").read_text()))))
    command = ["kedro", "sweep", str(file), "--folder", str(folder)]
    _run(command)
    _keep(place / "figures" / f"{name}.json", figures_of(folder, " ".join(command)))


def at_test_size(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study that takes seconds: the first case, one seed, and the sizes of conf/test over everything."""
    sizes = yaml.safe_load((ROOT / "conf/test/parameters.yml").read_text())
    cases = dict(list(study.get("cases", {}).items())[:QUICK_CASES])
    small = dict(study) | {"cases": {name: merged(case or {}, sizes) for name, case in cases.items()}, "seeds": [0]}
    small["parameters"] = merged(study.get("parameters", {}), sizes)
    small["search"] = {name: choices[:1] for name, choices in study.get("search", {}).items()}
    return small


def figures_of(folder: Path, command: str) -> dict[str, Any]:
    """What the page may say of a sweep: its table, and how it came about."""
    study = json.loads((folder / "study.json").read_text())
    table = pd.read_csv(
        folder / "table.csv", dtype=dict.fromkeys(["case", *study["search"]], str)
    )  # "012" is no number
    rows = [{name: value for name, value in row.items() if pd.notna(value)} for row in table.to_dict("records")]
    started_from = study["commit"].replace("-dirty", "").split(", ")  # dirty also where figures alone have changed
    commits = dict.fromkeys(code_commit(commit) for commit in started_from)
    return _about(command, ", ".join(commits), study["seeds"] or [0], study["minutes"]) | {"rows": rows}


def _about(command: str, commit: str, seeds: list[int], minutes: float) -> dict[str, Any]:
    """How figures came about."""
    facts = {"command": command, "commit": commit, "machine": machine()}
    return facts | {"seeds": seeds, "minutes": round(minutes, 1)}


def _can_run(table: Table, data: Path | None) -> bool:
    if table.gpu and not torch.cuda.is_available():
        print(f"{table.name}: passed over, since it needs a GPU.")
        return False
    missing = [need for need in table.needs if data is None or not (data / need).exists()]
    if missing:
        print(f"{table.name}: passed over, since it needs {', '.join(missing)} in the folder that DATA names.")
    return not missing


def _say_how_long(chosen: list[Table], workers: int) -> None:
    """From how long it took before, where that is known."""
    files = [FIGURES / f"{table.name}.json" for table in chosen]
    known = [json.loads(file.read_text())["minutes"] for file in files if file.exists()]
    unknown = len(files) - len(known)
    print(
        f"{len(chosen)} tables, about {sum(known) / workers / 60:.1f} hours with {workers} trainings at once, less "
        f"what is done{f'; {unknown} tables have never run' if unknown else ''}."
    )


def _run(command: list[str]) -> str:
    """What a command prints; its progress is shown."""
    print("$", shlex.join(command), flush=True)
    program = str(Path(sys.executable).with_name(command[0]))
    return subprocess.run([program, *command[1:]], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _keep(file: Path, figures: Mapping[str, Any]) -> None:
    with replacing_file(file) as part:
        part.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The tables of docs/results.md: run the studies behind them, keep their figures in docs/results, render the page.

    make results                     everything that needs no real data
    make results DATA=<folder>       with real data too: what lies where is said in benchmarks/results.yml
    make results QUICK=1             a small form that only shows that everything runs; docs/ stays as it is

A run that was stopped goes on where it was. ``--only`` names tables, and ``--render`` renders the page alone.
"""

import argparse
import json
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml

from results_page import rendered

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "benchmarks/studies"
FIGURES = ROOT / "docs/results"
PAGE = ROOT / "docs/results.md"
DATA = "{data}"  # stands for the folder of real data
QUICK_CASES = 1


class Table(NamedTuple):
    """What one file in docs/results holds.

    Attributes:
        name: of the file.
        study: the file of the study in benchmarks/studies, without its ending.
        arguments: parameters for ``kedro sweep``.
    """

    name: str
    study: str
    arguments: list[str]

    @property
    def needs(self) -> list[str]:
        """Paths of real data below the folder that DATA names."""
        return [found.partition(DATA)[2].strip("/") for found in self.arguments if DATA in found]

    def command(self, data: str, *further: str) -> list[str]:
        """``kedro sweep`` with all that it is told."""
        arguments = [argument.replace(DATA, data) for argument in self.arguments]
        return ["kedro", "sweep", f"benchmarks/studies/{self.study}.yml", *arguments, *further]


def tables() -> list[Table]:
    """All of them, in the order in which they run."""
    listed = yaml.safe_load((ROOT / "benchmarks/results.yml").read_text())
    entries = {name: entry or {} for name, entry in listed.items()}
    return [Table(name, entry.get("study", name), entry.get("arguments", [])) for name, entry in entries.items()]


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
        runnable = [table for table in chosen if _has_data(table, arguments.data)]
        _say_how_long(runnable, arguments.workers)
        for table in runnable:
            data = "" if arguments.data is None else str(arguments.data.absolute())
            folder = ROOT / "data/sweeps" / table.name
            _run(table.command(data, "--folder", str(folder), "--workers", str(arguments.workers)))
            _keep(FIGURES / f"{table.name}.json", figures_of(folder, shlex.join(table.command("<data>"))))
            render(FIGURES, PAGE)
    render(FIGURES, PAGE)


def render(figures: Path, page: Path) -> None:
    """Write the page of the figures in a folder."""
    commands = {table.name: shlex.join(table.command("<data>")) for table in tables()}
    page.write_text(rendered(figures, commands))


def quick(workers: int) -> None:
    """Run every study that needs no real data at test size, with one seed and two cases, and render a page of it."""
    place = ROOT / "data/results_quick"
    shutil.rmtree(place, ignore_errors=True)
    (place / "figures").mkdir(parents=True)
    studies = dict.fromkeys(table.study for table in tables() if not table.needs)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(_quick_study, place), studies))
    render(place / "figures", place / "results.md")
    print(f"See {place / 'results.md'}.")


def _quick_study(place: Path, name: str) -> None:
    file, folder = place / f"{name}.yml", place / "sweeps" / name
    file.write_text(yaml.safe_dump(at_test_size(yaml.safe_load((STUDIES / f"{name}.yml").read_text()))))
    command = ["kedro", "sweep", str(file), "--folder", str(folder)]
    _run(command)
    _keep(place / "figures" / f"{name}.json", figures_of(folder, shlex.join(command)))


def at_test_size(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study that takes seconds: the first cases, one seed, and the sizes of conf/test over everything."""
    sizes = yaml.safe_load((ROOT / "conf/test/parameters.yml").read_text())
    cases = dict(list(study.get("cases", {}).items())[:QUICK_CASES])
    small = dict(study) | {"cases": {name: _over(case or {}, sizes) for name, case in cases.items()}, "seeds": [0]}
    small["parameters"] = _over(study.get("parameters", {}), sizes)
    return small


def _over(base: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings in one, where the second wins."""
    found = dict(base)
    for name, value in further.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = _over(found[name], value) if both else value
    return found


def figures_of(folder: Path, command: str) -> dict[str, Any]:
    """What the page may say of a sweep: its table, and how it came about."""
    study = json.loads((folder / "study.json").read_text())
    table = pd.read_csv(folder / "table.csv")
    rows = [{name: value for name, value in row.items() if pd.notna(value)} for row in table.to_dict("records")]
    return {
        "command": command,
        "commit": study["commit"],
        "machine": machine(),
        "seeds": study["seeds"] or [0],
        "minutes": round(study["minutes"], 1),
        "rows": rows,
    }


def machine() -> str:
    """In words: processor, cores, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = f"{len(names) or 'unknown number of'} cores"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{names[0] if names else platform.machine()}, {cores}, {gpu}; Python {platform.python_version()}, "
        f"PyTorch {torch.__version__.partition('+')[0]}"
    )


def _has_data(table: Table, data: Path | None) -> bool:
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


def _run(command: list[str]) -> None:
    print("$", shlex.join(command), flush=True)
    subprocess.run([str(Path(sys.executable).with_name("kedro")), *command[1:]], cwd=ROOT, check=True)


def _keep(file: Path, figures: Mapping[str, Any]) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(figures, indent=1) + "\n")
    part.replace(file)


if __name__ == "__main__":
    main()

"""Measure time and memory of everything that should be fast, into ``docs/performance.json``, and write the page.

    python benchmarks/performance.py                      # what is not measured yet at this commit on this machine
    python benchmarks/performance.py --only flow quality  # these parts, again
    python benchmarks/performance.py --only               # only the page

Candidates run in turns, in one process or each in its own, on one thread; memory is measured in fresh processes. Each
part is written when it is done, so a run that was stopped goes on where it was. The other flow libraries are in the
extra ``bench``.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy is imported
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import argparse  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

import page  # noqa: E402
from linear_video.common.files import replacing_file  # noqa: E402
from measuring import HIGH, LOW, code_commit, machine, watched  # noqa: E402

COMMIT, DIGITS = 40, 6  # letters of a commit, if nothing has changed since; digits of a number
# Modules with a function ``measure(tiny)``, in the order of the page; ``tiny`` is for a trial, in seconds.
PARTS = ("quality", "steps", "flow", "solve", "predict", "start_up", "clips", "ssim")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, help="measure these parts, though they may be measured")
    parser.add_argument("--tiny", type=Path, metavar="FOLDER", help="a trial with tiny sizes; writes into this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, commit, here = arguments.tiny or page.DOCS, code_commit(), machine()
    file = folder / "performance.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"parts": {}}
    results |= {"command": "make bench", "percentiles": [LOW, HIGH]}
    for name in PARTS if arguments.only is None else arguments.only:
        known = results["parts"].get(name, {})
        same = (known.get("commit"), known.get("machine")) == (commit, here)
        if arguments.only is None and same and len(commit) == COMMIT:
            print(f"{name}: measured already")
            continue
        with watched() as row:
            measured = importlib.import_module(name).measure(arguments.tiny is not None)
        results["parts"][name] = rounded({"commit": commit, "machine": here, **row, **measured})
        write(file, json.dumps(results, indent=1) + "\n")
        print(f"{name}: {row['seconds']:.0f} s; other programs kept {row['others']:.1f} cores busy", flush=True)
    write(folder / "performance.md", page.render(page.DOCS / "performance.md.jinja", results))


def rounded(values: Any) -> Any:
    """As they are read from JSON, with fewer digits."""
    return json.loads(json.dumps(values), parse_float=lambda digits: float(f"{float(digits):.{DIGITS}g}"))


def write(path: Path, text: str) -> None:
    with replacing_file(path) as part:
        part.write_text(text)


if __name__ == "__main__":
    main()

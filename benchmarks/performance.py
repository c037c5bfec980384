"""Measure time and memory of everything that should be fast, and write ``docs/performance.md``.

    python benchmarks/performance.py

Candidates run in turns, in one process, on one thread; memory is measured in fresh processes. The other flow libraries
are in the extra ``bench``.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy is imported
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import argparse  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402

import flow  # noqa: E402
import footage  # noqa: E402
import measuring  # noqa: E402
import scaling  # noqa: E402
import simulator  # noqa: E402
import solve  # noqa: E402
import ssim  # noqa: E402
import steps  # noqa: E402
from linear_video.common.commit import git_commit  # noqa: E402
from linear_video.common.files import replacing_file  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs/performance.md"
SECTIONS = {
    "Flow, against other libraries": flow,
    "Growth": scaling,
    "Steps of a training": steps,
    "Initial state": solve,
    "PSNR and SSIM": ssim,
    "Simulator": simulator,
    "Reading recordings": footage,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modules = [module.__name__ for module in SECTIONS.values()]
    parser.add_argument("--only", choices=modules, help="print this part, and write nothing")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    commit = git_commit()  # before pictures change
    parts = []
    for title, module in SECTIONS.items():
        if only in (None, module.__name__):
            parts.append(f"## {title}\n\n{module.report()}")
            print(parts[-1], end="\n\n", flush=True)
    if only is None:
        head = (
            "# Performance\n\n`make bench` (`python benchmarks/performance.py`) measures and writes this page: "
            f"commit {commit}, on {measuring.machine()}.\n\nThe candidates of a table take turns in rounds. Times are "
            "medians of the rounds, and ratios are within a round, with their 10th and 90th percentile. Memory is the "
            "peak of a fresh process, minus what it held before.\n\n"
        )
        with replacing_file(PAGE) as part:
            part.write_text(head + "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

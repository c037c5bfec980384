"""Time and peak memory of every task of ``kedro run --pipelines=predict`` with one video, each in its own command.

    python benchmarks/predict.py --video <a video> --model data/06_models/ile/moving_symbols

Run it in the folder of the project. The results of the commands stay there.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from linear_video.common.markup import markdown_table
from linear_video.tasks.footage import find_footage, open_footage

TASKS = {
    "extrapolate": "",
    "extrapolate, windows": "predict.task=extrapolate,predict.window_step=5",
    "hindcast": "",
    "fill_in": "predict.missing=20-22 30",
    "retime": "predict.factor=2",
    "denoise": "",
    "surprise": "",
    "spectrum": "",
    "sample": "",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True, type=Path)
    parser.add_argument("--model", default="data/06_models/ile/moving_symbols")
    parser.add_argument("--actions-model", help="a model that knows actions of two values, for what_if")
    arguments = parser.parse_args()
    recording = next(open_footage(find_footage(arguments.video)[0]))
    shapes = [frame.shape for frame in recording.frames]
    print(f"{recording.name}: {len(shapes)} frames of {shapes[0][1]}x{shapes[0][0]}\n")
    tasks = {name: f"predict.model={arguments.model},{more}" for name, more in TASKS.items()}
    if arguments.actions_model:
        actions = Path("actions.csv")
        pd.DataFrame({"frame": [len(shapes) + 1], "x": [0.8], "y": [0.0]}).to_csv(actions, index=False)
        tasks["what_if"] = f"predict.model={arguments.actions_model},predict.actions={actions}"
    rows = []
    for name, more in tasks.items():
        task = name.partition(",")[0]
        given = ",".join(part for part in (f"predict.video={arguments.video}", f"predict.task={task}", more) if part)
        started = time.perf_counter()
        command = [sys.executable, "-m", "kedro", "run", "--pipelines=predict", f"--params={given}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)  # its own peak memory, not that of the largest of all
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{name} failed.")
        rows.append({"task": name, "time / s": f"{seconds:.1f}", "peak memory / MiB": f"{usage.ru_maxrss / 1024:.0f}"})
    print(markdown_table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()

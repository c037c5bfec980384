"""How fast models predict, and time and peak memory of every task with one video, each in its own command.

    python benchmarks/predict.py --video <a video> --model data/06_models/ile/moving_symbols

runs ``kedro run --pipelines=predict`` for each task. Run it in the folder of the project; the results of the commands
stay there. ``make bench`` measures models and tasks within one process, without what a command needs to start.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from linear_video.clips.moving_symbols import MovingSymbolsSettings, simulate
from linear_video.clips.readers.symbols import load_symbols
from linear_video.common.markup import markdown_table
from linear_video.models.base import FittedInClosedForm
from linear_video.models.registry import MODELS, build
from linear_video.tasks.footage import find_footage, open_footage
from linear_video.tasks.trained import TrainedModel
from measuring import Row, Step, in_turns

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

SYMBOLS = MovingSymbolsSettings(symbol_size=16, render_size=32, frame_size=32, speed=(1, 2))  # the default's
CLIPS, CONTEXT, HORIZON, LENGTH, FUTURES = 100, 10, 5, 100, 32


def measure(tiny: bool) -> Row:
    """Frames per second of every model, and of the tasks of the ILE; what they have learned matters little."""
    clips, length, rounds = (8, 30, 1) if tiny else (CLIPS, LENGTH, 5)
    symbols = load_symbols("digits", Path(), SYMBOLS.symbol_size, "validation")
    frames = simulate(SYMBOLS, symbols, "validation", 0, range(clips)).frames  # (N, T, 1, 32, 32)
    context = torch.from_numpy(frames[:, :CONTEXT]).float() / 255
    steps = dict[str, Step]()
    for name in MODELS:
        torch.manual_seed(0)
        model = build(name, frames.shape[2:], {}).eval()
        if isinstance(model, FittedInClosedForm):
            model.fit_closed_form(frames)
        steps[name] = lambda model=model: model.predict(context, HORIZON)  # type: ignore[misc]
    models = in_turns(steps, reference="ile", rounds=rounds)
    for row in models:
        row["frames_per_second"] = 1000 * clips * HORIZON / row["ms"]
    settings = dataclasses.replace(SYMBOLS, frames=length)
    video = simulate(settings, symbols, "validation", 0, range(1)).frames[0].transpose(0, 2, 3, 1)
    works = tasks_of(video)
    tasks = in_turns({name: work for name, (work, _) in works.items()}, reference="extrapolate", rounds=rounds)
    for row in tasks:
        row["frames"] = works[row["name"]][1]
        row["frames_per_second"] = 1000 * row["frames"] / row["ms"]
    sizes = {"clips": clips, "context": CONTEXT, "horizon": HORIZON, "side": SYMBOLS.frame_size}
    return {**sizes, "length": length, "futures": FUTURES, "models": models, "tasks": tasks}


def tasks_of(video: np.ndarray) -> dict[str, tuple[Step, int]]:
    """Each task of an ILE with a video (T, h, w, 1), and how many frames it makes or judges."""
    torch.manual_seed(0)
    model = build("ile", (1, *video.shape[1:3]), {}).eval()
    blend, alone = (TrainedModel(model, {"model": "ile"}, method=method) for method in ("blend", "model"))
    length, missing = len(video), [12, 13, 14]

    def tested(trained: TrainedModel, added: str) -> dict[str, tuple[Step, int]]:
        """The tasks that a model does alone, or in a blend with the references."""
        return {
            f"extrapolate{added}": (lambda: trained.extrapolate(video, HORIZON), HORIZON),
            f"fill in{added}": (lambda: list(trained.fill_in(video, missing)), length),
            f"retime x2{added}": (lambda: list(trained.retime(video, 2.0)), 2 * length - 1),
            f"denoise{added}": (lambda: list(trained.denoise(video)), length),
        }

    return {
        **tested(blend, ""),
        **tested(alone, ", the model alone"),
        "hindcast": (lambda: blend.hindcast(video, HORIZON), HORIZON),
        "surprise": (lambda: blend.surprise(video, HORIZON), length),
        "spectrum": (lambda: blend.spectrum(video, 25.0), length),
        "sample": (lambda: blend.sample(video, HORIZON, FUTURES), FUTURES * HORIZON),
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

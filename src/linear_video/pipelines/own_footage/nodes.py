"""Apply all tasks to one video, and make a page of the results.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.common import storage
from linear_video.common.errors import InputError
from linear_video.io.models import Checkpoint
from linear_video.tasks.settings import OwnFootageSettings, PredictSettings

logger = logging.getLogger(__name__)

SURPRISE_LINES = 240  # the model looks at every frame several times


def run_tasks_with(checkpoint: Checkpoint, footage: OwnFootageSettings, seed: int, folder: Path) -> pd.DataFrame:
    """Do all tasks that make sense, with the model that was trained on the video."""
    from linear_video.tasks.trained import TrainedModel

    return _run_all(TrainedModel(checkpoint.model, checkpoint.config, context=footage.context), footage, seed, folder)


def run_tasks(footage: OwnFootageSettings, seed: int, folder: Path) -> pd.DataFrame:
    """Do all tasks that make sense, with the model that the settings name."""
    import linear_video

    if footage.model is None:
        raise InputError("footage.model names no trained model.")
    return _run_all(linear_video.load(footage.model, context=footage.context), footage, seed, folder)


def _run_all(trained: Any, footage: OwnFootageSettings, seed: int, folder: Path) -> pd.DataFrame:
    from linear_video.tasks.denoising import noise_of
    from linear_video.tasks.footage import find_footage, open_footage
    from linear_video.tasks.parts import to_values
    from linear_video.tasks.runner import run_all

    source = find_footage(Path(footage.video))[0]
    first = next(next(open_footage(source)).frames)
    noise = 255 * noise_of(to_values(first))
    tables = []
    for task in footage.tasks:
        if task == "denoise" and noise < footage.noise:
            logger.info(f"{source.name}: noise of {noise:.1f} grey levels is left as it is (footage.noise).")
            continue
        if task == "magnify" and not footage.band:
            continue
        settings = PredictSettings(
            model=footage.model or "own",
            video=footage.video,
            task=task,
            context=footage.context,
            horizon=footage.horizon,
            factor=footage.factor,
            band=footage.band if task == "magnify" else "",
            magnification=footage.magnification,
            lines=min(footage.lines, SURPRISE_LINES) if task == "surprise" else footage.lines,
        )
        tables.append(run_all(settings, trained, folder, seed))
    return pd.concat(tables, ignore_index=True)


def write_report(results: pd.DataFrame, footage: OwnFootageSettings) -> str:
    """One self-contained page about the first video of the results."""
    from linear_video.tasks.footage import find_footage, open_footage
    from linear_video.tasks.report import PLAYED, page
    from linear_video.tasks.runner import read_facts

    of_first = results[results["footage"] == results["footage"].iloc[0]]
    facts = read_facts(storage.place(of_first["folder"].iloc[0]))
    training = facts["training"]
    shortened = f" (players show the first {PLAYED})" if facts["frames"] > PLAYED else ""
    told = {
        "frames": f"{facts['frames']}, {facts['fps']:g} per second{shortened}",
        "model": footage.model
        or f"{facts['model']}, trained on this video for {training.get('seconds', 0):.0f} seconds",
    }
    recording = next(open_footage(find_footage(Path(footage.video))[0]))
    return page(of_first, told, recording.frames, facts["fps"])

"""Do one task with all footage there is; each piece leaves a folder, whole or not at all."""

import itertools
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from linear_video.clips.readers.recordings import Recording
from linear_video.clips.writing import VideoWriter
from linear_video.common.errors import InputError
from linear_video.common.files import replacing_folder
from linear_video.tasks.alarms import Calibration, calibrate
from linear_video.tasks.footage import FPS, find_footage, named, open_footage
from linear_video.tasks.parts import Parts
from linear_video.tasks.presenters import PRESENTERS, Job, Remembered
from linear_video.tasks.settings import PredictSettings
from linear_video.tasks.trained import TrainedModel

logger = logging.getLogger(__name__)

VIDEO, PICTURE, TABLE, FACTS = "video.webm", "picture.png", "table.csv", "facts.json"
DPI = 110


def run_all(settings: PredictSettings, trained: TrainedModel, folder: Path, seed: int) -> pd.DataFrame:
    """Do the task with all footage there is; return a row for each, with the folder of its results.

    Raises:
        InputError: if the model cannot do the task, or something cannot be read; what was finished before stays.
    """
    if settings.video is None:
        raise InputError("predict.video names no footage: give a video, or a folder of images or of videos.")
    trained.able(settings.task)
    sources = find_footage(Path(settings.video))
    calibration = None
    if settings.task == "surprise" and settings.normal is not None:
        normal = []
        for source in find_footage(Path(settings.normal)):
            for recording in open_footage(source):
                bar = tqdm(recording.frames, desc=f"normal: {recording.name}", unit="frame")
                with named(recording.name):
                    normal.append(trained.surprise(bar, settings.horizon))
        calibration = calibrate(normal, settings.false_alarm_rate)
    rows: list[dict[str, Any]] = []
    for source in sources:
        for recording in open_footage(source):
            name = _file_name(recording.name)
            if any(Path(row["folder"]).name == name for row in rows):  # a b.avi after a_b.avi
                name = f"{name}.{len(rows)}"
            with named(recording.name):
                place = folder / settings.task / name
                rows.append(_run_one(settings, trained, recording, place, seed, calibration))
    return pd.DataFrame(rows)


def _run_one(
    settings: PredictSettings,
    trained: TrainedModel,
    recording: Recording,
    place: Path,
    seed: int,
    calibration: Calibration | None,
) -> dict[str, Any]:
    first = next(recording.frames, None)
    if first is None:
        raise InputError("holds no frames.")
    fps = settings.fps or recording.fps or FPS
    if settings.fps is None and recording.fps is None:
        logger.info(f"{recording.name} does not say its frame rate; taken to be {FPS:g} frames per second.")
    done = str(Parts(trained.model.frame_shape, first.shape, trained.fit))
    logger.info(f"{recording.name}: {done}; {fps:g} frames per second.")
    bar = tqdm(itertools.chain([first], recording.frames), desc=f"{settings.task}: {recording.name}", unit="frame")
    footage = Remembered(bar, 1)
    with replacing_folder(place) as part:
        speed = settings.factor if settings.task == "retime" and settings.playback == "rate" else 1.0
        with VideoWriter(part / VIDEO, fps * speed) as writer:
            title = f"{settings.task.replace('_', ' ')}: {recording.name}, {trained.name}"
            job = Job(trained, settings, iter(footage), fps, seed, title, writer, calibration)
            table, picture = PRESENTERS[settings.task](job)
        table.to_csv(part / TABLE, index=False)
        picture.savefig(part / PICTURE, dpi=DPI)
        facts = {"footage": recording.name, "frames": footage.count, "done": done, "fps": fps, "model": trained.name}
        facts |= {"training": trained.config.get("training", {}), "seed": seed, "settings": asdict(settings)}
        (part / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    bar.close()
    row = {name: facts[name] for name in ("footage", "model", "frames", "fps")}
    row |= {"task": settings.task, "folder": str(place)}
    row |= {name: float(table[name].mean()) for name in ("psnr", "last_frame_psnr", "spread") if name in table}
    return row | ({"alarms": int(table["alarm"].sum())} if "alarm" in table else {})


def _file_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name).strip(".") or "footage"

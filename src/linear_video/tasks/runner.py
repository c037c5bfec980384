"""Do one task with all pieces of footage. Each piece gets a folder, which is written whole or not at all."""

import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from linear_video.clips.readers.recordings import Recording, Source
from linear_video.clips.writing import VideoWriter
from linear_video.common import storage
from linear_video.common.errors import InputError
from linear_video.common.files import recover, replacing_folder
from linear_video.models.checkpoint import SIGNATURE
from linear_video.tasks.alarms import Calibration, calibrate
from linear_video.tasks.footage import FPS, find_footage, named, open_footage
from linear_video.tasks.job import Job, Remembered
from linear_video.tasks.parts import Frame, Parts
from linear_video.tasks.pictures import DPI
from linear_video.tasks.presenters import PRESENTERS
from linear_video.tasks.settings import BLENDED, PredictSettings
from linear_video.tasks.trained import TrainedModel

logger = logging.getLogger(__name__)

VIDEO, REFERENCE, PICTURE, COMPARED = "video.webm", "reference.webm", "picture.png", "compared.png"
TABLE, BACKTEST, FACTS = "table.csv", "backtest.csv", "facts.json"
LONGEST = 120  # bytes in the name of a folder


def run_all(settings: PredictSettings, trained: TrainedModel, folder: Path, seed: int) -> pd.DataFrame:
    """Do the task with all pieces of footage; return a row for each, with the folder of its results.

    Raises:
        InputError: if the model cannot do the task, or something cannot be read. Results finished before that stay.
    """
    if settings.video is None:
        raise InputError("predict.video names no footage: give a video, or a folder of images or of videos.")
    if trained.method == "model" or settings.task not in BLENDED:
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
            name = file_name(recording.name)
            if any(Path(row["folder"]).parent.name == name for row in rows):  # "a b.avi" after "a_b.avi"
                name = f"{name}.{len(rows)}"
            if settings.lines is not None:
                recording = replace(recording, frames=shrunk(recording.frames, settings.lines))
            again = Again(source, recording.name, settings.lines)
            with named(recording.name):
                place = folder / settings.task / name / variant(settings)
                try:
                    rows.append(_run_one(settings, trained, recording, again, place, seed, calibration))
                    storage.put_folder(place)
                finally:
                    with suppress(OSError):  # it is not empty
                        place.parent.rmdir()
    return pd.DataFrame(rows)


def _run_one(
    settings: PredictSettings,
    trained: TrainedModel,
    recording: Recording,
    again: "Again",
    place: Path,
    seed: int,
    calibration: Calibration | None,
) -> dict[str, Any]:
    first = next(recording.frames, None)
    if first is None:
        raise InputError("holds no frames.")
    fps = settings.fps or recording.fps or FPS
    if settings.fps is None and recording.fps is None:
        logger.info(f"{recording.name} does not give its frame rate; {FPS:g} frames per second are assumed.")
    done = str(Parts(trained.sized(first.shape).frame_shape, first.shape, trained.fit))
    logger.info(f"{recording.name}: {done}; {fps:g} frames per second.")
    bar = tqdm(
        itertools.chain([first], recording.frames), desc=f"{settings.task}: {recording.name}", unit="frame", miniters=1
    )
    footage = Remembered(bar, 1)
    with replacing_folder(place) as part:
        speed = settings.factor if settings.task == "retime" and settings.playback == "rate" else 1.0
        with VideoWriter(part / VIDEO, fps * speed) as writer, VideoWriter(part / REFERENCE, fps * speed) as beside:
            title = f"{settings.task.replace('_', ' ')}: {recording.name}, {trained.name}"
            job = Job(trained, settings, iter(footage), again, fps, seed, title, writer, beside, calibration)
            result = PRESENTERS[settings.task](job)
        table = result.table
        table.to_csv(part / TABLE, index=False)
        result.picture.savefig(part / PICTURE, dpi=DPI, bbox_inches="tight")
        if result.compared is not None:
            result.compared.savefig(part / COMPARED, dpi=DPI, bbox_inches="tight")
        if result.backtest is not None:
            result.backtest.to_csv(part / BACKTEST, index=False)
        facts = {"footage": recording.name, "frames": footage.count, "done": done, "fps": fps, "model": trained.name}
        facts |= {"training": trained.config.get("training", {}), "seed": seed, "settings": asdict(settings)}
        facts["checkpoint"] = trained.config.get(SIGNATURE, "")
        (part / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    bar.close()
    row = {name: facts[name] for name in ("footage", "model", "frames", "fps")}
    row |= {"task": settings.task, "folder": storage.name_of(place)}
    row |= {name: float(table[name].mean()) for name in map(str, table) if name.endswith("psnr") or name == "spread"}
    if result.backtest is not None and len(result.backtest):
        means = result.backtest.groupby("method")["psnr"].mean()
        row |= {f"backtest_{name}_psnr": float(value) for name, value in means.items()}
    return row | ({"alarms": int(table["alarm"].sum())} if "alarm" in table else {})


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts that a task has written about its result in a folder.

    Raises:
        InputError: if the file is missing, or holds something else.
    """
    path = folder / FACTS
    storage.fetch_folder(folder)
    recover(folder)
    try:
        facts = json.loads(path.read_bytes())
        fine = isinstance(facts["frames"], int) and isinstance(facts["fps"], float | int)
        fine = fine and isinstance(facts["done"], str) and isinstance(facts["training"].get("seconds", 0), float | int)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        fine = False
    if not fine:
        raise InputError(f"{path} is missing, or holds no facts of a result; do the task again.")
    return dict(facts)


class Again:
    """The frames of a recording, which are read again each time they are iterated."""

    def __init__(self, source: Source, name: str, lines: int | None) -> None:
        self.source, self.name, self.lines = source, name, lines

    def __iter__(self) -> Iterator[Frame]:
        frames = next(one.frames for one in open_footage(self.source) if one.name == self.name)
        return frames if self.lines is None else shrunk(frames, self.lines)


def shrunk(frames: Iterable[Frame], lines: int) -> Iterator[Frame]:
    """Frames, made smaller if they have more lines than given."""
    for frame in frames:
        height, width = frame.shape[:2]
        if height > lines:
            size = (max(1, round(width * lines / height)), lines)
            smaller = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            frame = np.asarray(smaller, np.uint8).reshape(size[1], size[0], -1)
        yield frame


def file_name(name: str) -> str:
    """A name that every file system accepts, as close to the footage's name as possible; it keeps all letters."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "footage"
    if len(kept.encode()) <= LONGEST:
        return kept
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{kept.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest}"


def variant(settings: PredictSettings) -> str:
    """The model, and settings that differ from the defaults: results of other settings go to other folders."""
    defaults = {one.name: one.default for one in fields(PredictSettings)}
    model = ".".join(part for part in settings.model.replace(":", "").split("/")[-2:] if part)
    others = {name: value for name, value in asdict(settings).items() if value != defaults[name]}
    told = [f"{name}={value}" for name, value in others.items() if name not in ("model", "video", "task")]
    return file_name(".".join([model, *told]).replace(" ", "+").replace("=", "-").replace("/", "_"))

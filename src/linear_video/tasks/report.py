"""One self-contained page about a video: the results of the tasks, beside references that need no model."""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linear_video.clips.writing import VideoWriter
from linear_video.common import storage
from linear_video.common.pages import as_text, rendered
from linear_video.tasks.between import CALM
from linear_video.tasks.footage import FPS, find_footage, open_footage
from linear_video.tasks.parts import Frame
from linear_video.tasks.runner import BACKTEST, COMPARED, PICTURE, REFERENCE, VIDEO, read_facts, shrunk

LINES = 240  # largest number of lines of the players' frames
PLAYED = 250  # largest number of frames in a player, since the page contains them all
REFERENCES = {"extrapolate": "the last frame", "fill_in": "the mean of the neighbours"}
REFERENCES |= {"retime": "the mean of the neighbours", "denoise": "a Gaussian blur"}
REFERENCES |= {"magnify": "linear Eulerian magnification"}
WORDS = {
    "extrapolate": "What comes after the last frame. Frames with a border are predicted.",
    "retime": "In slow motion. The picture shows the moments that move most.",
    "fill_in": "Missing frames, filled in from the others.",
    "denoise": "Without noise. The test adds as much noise again, and takes the original frames as the truth. A "
    "method is penalised for removing their own noise, so true gains are larger than the table says.",
    "surprise": "How unlikely each frame is, given those before it.",
    "fourier": "What oscillates, and how certain its frequency is.",
    "dmd": "Linear modes, and the spread of their frequencies over bags of frames.",
    "magnify": "Small changes of one frequency band, made large.",
}


def page(results: pd.DataFrame, told: Mapping[str, Any], frames: Iterable[Frame], fps: float) -> str:
    """HTML of the results of one video: a row for each task, with its ``folder``.

    ``told`` are facts by name, shown at the top, above the video itself: ``frames`` uint8 (h, w, planes).
    """
    sections = [_section(storage.place(row["folder"]), str(row["task"])) for row in results.to_dict("records")]
    return rendered(
        "tasks/report.html",
        title=f"{results['footage'].iloc[0]}",
        told=told,
        footage=_small_video(frames, fps),
        sections=sections,
    )


def _section(folder: Path, task: str) -> dict[str, Any]:
    facts = read_facts(folder)
    players = {}
    for name, file in (("result", VIDEO), (REFERENCES.get(task, ""), REFERENCE)):
        if (folder / file).is_file():
            players[name] = _small_video(*_read(folder / file))
    return {
        "task": task.replace("_", " "),
        "words": WORDS.get(task, ""),
        "facts": facts["done"],
        "players": players,
        "backtest": _backtest(folder / BACKTEST),
        "picture": as_text((folder / PICTURE).read_bytes()),
        "compared": as_text((folder / COMPARED).read_bytes()) if (folder / COMPARED).is_file() else None,
    }


def _backtest(file: Path) -> dict[str, Any] | None:
    """PSNR of each method by distance, and its share of the blend; the best value of each column is marked."""
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    if table.empty:
        return None
    wide = table.pivot_table(index="method", columns="distance", values="psnr")
    best = {column: wide[column].idxmax() for column in wide}
    shares = table.groupby("method")["share"].mean() if "share" in table else pd.Series(dtype=float)
    rows = []
    for method in wide.mean(axis=1).sort_values(ascending=False).index:
        cells = [
            {"text": "" if np.isnan(value) else f"{value:.1f}", "best": best[column] == method}
            for column, value in wide.loc[method].items()
        ]
        share = shares.get(method, np.nan)
        rows.append(
            {"name": str(method).replace("_", " "), "cells": cells, "share": "" if np.isnan(share) else f"{share:.2f}"}
        )
    named = {0: "between", CALM: "between, where little moves"}
    return {"columns": [named.get(int(str(column)), str(column)) for column in wide], "rows": rows}


def _small_video(frames: Iterable[Frame], fps: float) -> str:
    """The first ``PLAYED`` frames of a video, with at most ``LINES`` lines, as text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.webm"
        with VideoWriter(path, fps) as writer:
            for frame in shrunk(itertools.islice(frames, PLAYED), LINES):
                writer.write(frame)
        return as_text(path.read_bytes())


def _read(file: Path) -> tuple[Iterator[Frame], float]:
    """Frames of a video that a task has written, and its frame rate."""
    recording = next(open_footage(find_footage(file)[0]))
    return recording.frames, recording.fps or FPS

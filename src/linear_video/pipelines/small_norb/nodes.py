"""Rotating objects: read the views, put them in order."""

from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.clips.clip_set import ClipStream
from linear_video.clips.rotation import RotationSettings, find_objects, rotate

WHERE_TO_GET = (
    "Fetch small NORB with `kedro run --pipeline=download_small_norb`, or put COIL-20's or COIL-100's pictures there; "
    "or name another folder with --params=small_norb.raw_folder=..."
)


def rotate_objects(parameters: dict[str, Any], folder: Path) -> tuple[ClipStream, ClipStream, ClipStream, pd.DataFrame]:
    """Train, validation and test clips of the chosen object, and what became of each object.

    ``folder`` keeps the unpacked files.
    """
    settings = RotationSettings(**parameters)
    objects = find_objects(Path(settings.raw_folder), folder, WHERE_TO_GET)
    clips, sources = rotate(objects, settings)
    return clips["train"], clips["validation"], clips["test"], sources

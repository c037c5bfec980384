"""Read recordings, cut clips."""

from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.clips.clip_set import ClipStream
from linear_video.clips.footage import FootageSettings, extract
from linear_video.clips.windows import cut

WHERE_TO_GET = {
    "ucf_sports": (
        "UCF Sports Action is at https://www.crcv.ucf.edu/data/UCF_Sports_Action.php; unpack it there, or put videos "
        "or folders of images of your own into it, in a folder for each class"
    ),
    "ucla_textures": (
        "Put UCLA-50 or DynTex (http://dyntex.univ-lr.fr) there, as videos, folders of images, .npy or .mat files, in "
        "a folder for each class"
    ),
}


def extract_recordings(parameters: dict[str, Any], folder: Path, dataset: str) -> pd.DataFrame:
    """Read every recording once into frames of the wanted size; a row for each, with the reason if it is unusable."""
    other = f"or name another folder with --params={dataset}.raw_folder=..."
    return extract(FootageSettings(**parameters), folder, f"{WHERE_TO_GET[dataset]}; {other}")


def cut_clips(
    recordings: pd.DataFrame, folder: Path, parameters: dict[str, Any]
) -> tuple[ClipStream, ClipStream, ClipStream, pd.DataFrame]:
    """Cut the recordings into train, validation and test clips; say what became of each recording."""
    clips, sources = cut(recordings, folder, FootageSettings(**parameters))
    return clips["train"], clips["validation"], clips["test"], sources

"""Make, count and show the clips of a dataset."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.clips.base import SPLITS, ClipSet, DatasetSettings, Shard
from linear_video.clips.footage import FootageSettings

logger = logging.getLogger(__name__)

CLIPS_SHOWN = 4  # of each split


def make(settings: DatasetSettings, seed: int, folder: Path, dataset: str) -> tuple[Any, ...]:
    """Train, validation and test clips; a table of the sources and test videos, if the dataset has them.

    ``folder`` keeps recordings that have been read, so that they are not read again.
    """
    made = settings.make(dataset, seed, folder)
    clips = tuple(made.clips[split] for split in SPLITS)
    sources = (made.sources,) if settings.lists_sources else ()
    return (*clips, *sources, *((made.videos,) if settings.labels_anomalies else ()))


def read_shard(settings: FootageSettings, shard: str, folder: Path, dataset: str) -> None:
    """Read one part of the recordings into ``folder``, where ``make`` finds them once all parts are read."""
    done = settings.read_shard(dataset, folder, Shard.parse(shard))
    logger.info(
        "Shard %s of %s: %s. When all shards are done, run the same command without shard.", shard, dataset, done
    )


def summarise(
    train: ClipSet, validation: ClipSet, test: ClipSet, sources: pd.DataFrame | None = None, *, dataset: str
) -> tuple[pd.DataFrame, Any]:
    """Counts of clips, sources and frames of each split; with ``sources``, also of what was read and rejected.

    The frames of a split are those of its clips, which may overlap; frames read are those of the recordings. The second
    result is a contact sheet of some clips of each split, as a matplotlib figure.
    """
    from linear_video.evaluation.figures import contact_sheet

    splits = {"train": train, "validation": validation, "test": test}
    rows: list[dict[str, Any]] = []
    for name, clips in splits.items():
        shown = clips.table["source"]
        if sources is None:  # simulated clips name all their images; a path may have a comma
            shown = shown.str.split(",").explode()
        count, length = clips.frames.shape[:2]
        rows.append({"part": name, "clips": count, "sources": shown.nunique(), "frames": count * length})
    if sources is not None:
        rejected = sources["reason"] != ""
        for name, part in (("read", sources[~rejected]), ("rejected", sources[rejected])):
            once = part.drop_duplicates("source")  # crops of one recording share its frames
            count, frames = int(part["clips"].sum()), int(once["frames"].sum())
            rows.append({"part": name, "clips": count, "sources": len(once), "frames": frames})
    return pd.DataFrame(rows), contact_sheet(splits, CLIPS_SHOWN, dataset)

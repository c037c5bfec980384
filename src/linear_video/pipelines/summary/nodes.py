"""Count and show the clips of a dataset."""

from typing import Any

import pandas as pd

from linear_video.clips.clip_set import ClipSet

CLIPS_SHOWN = 4  # of each split


def summarise(train: ClipSet, validation: ClipSet, test: ClipSet, sources: pd.DataFrame | None = None) -> pd.DataFrame:
    """Clips, sources and frames of each split; and of what was read and rejected, where there are ``sources``.

    Frames of a split are those of its clips, which may overlap; frames read are those of the recordings.
    """
    rows: list[dict[str, Any]] = []
    for name, clips in (("train", train), ("validation", validation), ("test", test)):
        shown = clips.table["source"].str.split(",").explode()  # simulated clips name all their images
        count, length = clips.frames.shape[:2]
        rows.append({"part": name, "clips": count, "sources": shown.nunique(), "frames": count * length})
    if sources is not None:
        rejected = sources["reason"] != ""
        for name, part in (("read", sources[~rejected]), ("rejected", sources[rejected])):
            frames = int(part["frames"].sum())
            rows.append(
                {"part": name, "clips": int(part["clips"].sum()), "sources": part["source"].nunique(), "frames": frames}
            )
    return pd.DataFrame(rows)


def show(train: ClipSet, validation: ClipSet, test: ClipSet, dataset: str) -> Any:
    """Contact sheet of some clips of each split, as a matplotlib figure."""
    from linear_video.evaluation.figures import contact_sheet

    return contact_sheet({"train": train, "validation": validation, "test": test}, CLIPS_SHOWN, dataset)

"""The state of a training in its folder: which training it is of, and whether it can go on from there."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linear_video.common.files import replacing_file
from linear_video.training.fit import TrainingSettings

logger = logging.getLogger(__name__)


def prepare(
    folder: Path, settings: TrainingSettings, seed: int, clips: list[NDArray[Any]], identity: Mapping[str, Any]
) -> Path | None:
    """Checkpoint to resume from, if the folder holds one of this very training; else an empty folder."""
    known = {"training": asdict(settings), "seed": seed, "clips": [_digest(c) for c in clips], **identity}
    fingerprint = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    stamp, last = folder / "fingerprint", folder / "last.ckpt"
    if last.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        step = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
        logger.info("Going on with the interrupted training from step %d of %d.", step, settings.steps)
        return last
    if last.exists():
        logger.info("The interrupted training in %s had other settings or clips; starting afresh.", folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with replacing_file(stamp) as part:
        part.write_text(fingerprint)
    return None


def _digest(frames: NDArray[Any]) -> str:
    """Fingerprint of clips or actions from their shape and about a thousand of them."""
    sample = np.ascontiguousarray(frames[:: max(1, len(frames) // 1000)])
    return f"{frames.shape} {hashlib.sha256(sample.data).hexdigest()}"

"""The state of a training in its folder: to which training it belongs, and whether training can resume from it.

``last.ckpt`` is the state at the last validation, ``previous.ckpt`` the one before, and ``best.ckpt`` has the best
weights so far; ``digests`` lists the digests of what was written. Damaged files are moved to a folder beside it, with a
name that ends in ``.damaged``.
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linear_video.common.files import replacing_file, sha256_of
from linear_video.training.fit import TrainingSettings

logger = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
FINGERPRINT, DIGESTS = "fingerprint", "digests"
KNOWN = 3  # number of digests kept for each file: the last, the previous, and one that may replace the last


def prepare(
    folder: Path, settings: TrainingSettings, seed: int, clips: list[NDArray[Any]], identity: Mapping[str, Any]
) -> Path | None:
    """The checkpoint to resume from, if the folder holds one of the same training; otherwise, the folder is emptied."""
    known = {"training": asdict(settings), "seed": seed, "clips": [_digest(c) for c in clips], **identity}
    fingerprint = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    found = _fingerprint(folder)
    if found == fingerprint:
        if (step := _sound_step(folder)) is not None:
            logger.info("Resuming the interrupted training from step %d of %d.", step, settings.steps)
            return folder / LAST
    elif found is not None and (folder / LAST).exists():
        logger.info("The interrupted training in %s had other settings or clips; starting afresh.", folder)
    elif found is None and (folder.is_file() or (folder / FINGERPRINT).exists() or (folder / LAST).exists()):
        _set_aside(folder, folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with replacing_file(folder / FINGERPRINT) as part:
        part.write_text(fingerprint)
    return None


def before_replacing(path: Path, part: Path) -> None:
    """Note the digest of the file that is about to replace a state, and keep the last state as the previous one."""
    known = [line for line in _digests(path.parent) if line.endswith(path.name)]
    others = [line for line in _digests(path.parent) if not line.endswith(path.name)]
    with replacing_file(path.with_name(DIGESTS)) as text:
        text.write_text("\n".join([*others, *known[1 - KNOWN :], f"{sha256_of(part)} {path.name}"]))
    if path.name == LAST and path.is_file():
        path.replace(path.with_name(PREVIOUS))


def _fingerprint(folder: Path) -> str | None:
    """The fingerprint of the folder's training; None if there is no valid one."""
    text = _text(folder / FINGERPRINT)
    return text if text is not None and re.fullmatch("[0-9a-f]{64}", text) else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _sound_step(folder: Path) -> int | None:
    """The step of the last undamaged state, which is ``last.ckpt`` afterwards; None if there is no such state.

    The best weights must be undamaged, too: those of the last step cannot replace them.
    """
    last, previous, best = (folder / name for name in (LAST, PREVIOUS, BEST))
    if not last.exists() and not previous.exists():
        return None  # it was stopped before its first validation
    if _step(best) is None:
        _set_aside(folder, folder)
        return None
    for path in (last, previous):
        if (step := _step(path)) is not None:
            path.replace(last)
            return step
        if path.exists():
            _set_aside(path, folder)
    return None


def _step(path: Path) -> int | None:
    """The step of a state; None if the file is missing, or is not what was written, which PyTorch would not notice."""
    written_as = LAST if path.name == PREVIOUS else path.name
    if not path.is_file() or f"{sha256_of(path)} {written_as}" not in _digests(path.parent):
        return None
    return int(torch.load(path, map_location="cpu", weights_only=True)["global_step"])


def _digests(folder: Path) -> list[str]:
    """Lines of a digest and the name of a file that has or had this content."""
    return (_text(folder / DIGESTS) or "").splitlines()


def _set_aside(path: Path, folder: Path) -> None:
    """Move a damaged file to a folder beside, in place of anything kept there before."""
    kept = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    path.replace(kept / path.name)
    logger.warning("%s is damaged. It has been moved to %s; training goes on without it.", path, kept)


def _digest(frames: NDArray[Any]) -> str:
    """Fingerprint of clips or actions from their shape and about a thousand of them."""
    sample = np.ascontiguousarray(frames[:: max(1, len(frames) // 1000)])
    return f"{frames.shape} {hashlib.sha256(sample.data).hexdigest()}"

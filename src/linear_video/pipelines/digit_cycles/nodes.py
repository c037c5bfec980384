"""Digit cycles: count with the images of one split."""

from typing import Any

from linear_video.clips.clip_set import ClipStream
from linear_video.clips.digit_cycles import DigitCyclesSettings, count
from linear_video.clips.symbols import Split


def count_split(parameters: dict[str, Any], seed: int, split: Split) -> ClipStream:
    """Clips of one split, from the parameters of ``DigitCyclesSettings``."""
    return count(DigitCyclesSettings(**parameters), split, seed)

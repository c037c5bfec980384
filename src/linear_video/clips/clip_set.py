"""What every source of clips produces."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClipSet:
    """Clips of equal shape, with one row of facts for each.

    Attributes:
        frames: uint8 (N, T, C, H, W); may be memory-mapped.
        table: one row a clip: ``source``, ``label``, ``start`` (frame number in the source), and what else is known.
        states: ground truth of simulated clips, one row for each clip, frame and symbol; None if there is none.
    """

    frames: NDArray[np.uint8]
    table: pd.DataFrame
    states: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 5 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 of shape (N, T, C, H, W), not {self.frames.dtype} {self.frames.shape}."
            )
        if len(self.table) != len(self.frames):
            raise ValueError(f"the table has {len(self.table)} rows for {len(self.frames)} clips.")


@dataclass(frozen=True)
class ClipStream:
    """Clips on their way to a file, never in memory all at once; what is saved as this is loaded as a ``ClipSet``.

    Attributes:
        table: as in ``ClipSet``.
        clip_shape: (T, C, H, W).
        pieces: gives the frames anew with each call, uint8 (n, T, C, H, W) at a time, in the order of the table.
    """

    table: pd.DataFrame
    clip_shape: tuple[int, int, int, int]
    pieces: Callable[[], Iterator[NDArray[np.uint8]]]

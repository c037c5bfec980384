"""Settings of prediction and evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EvaluationSettings:
    """What is predicted and scored.

    Attributes:
        context: frames that the model sees.
        horizon: frames that it predicts.
        sequences: test clips that are scored, spread evenly over all; all, if there are fewer.
        clips_per_batch: clips predicted at once.
    """

    context: int = 10
    horizon: int = 5
    sequences: int = 100
    clips_per_batch: int = 50

    def __post_init__(self) -> None:
        for name in ("context", "horizon", "sequences", "clips_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")

    def scored(self, clips: int) -> NDArray[np.int64]:
        """Numbers of the clips that are scored, in order."""
        return np.linspace(0, clips - 1, min(self.sequences, clips)).round().astype(np.int64)

"""Which held-out clips are scored, and which of their frames a model sees."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet
from linear_video.common.checks import check_least
from linear_video.common.spread import spread


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of the evaluation: what is predicted and scored.

    Attributes:
        context: number of frames that the model sees.
        horizon: number of frames that it predicts.
        sequences: number of held-out clips that are scored, spread evenly over all of them; if there are fewer, all of
            them.
        clips_per_batch: number of clips that are predicted at once.
        held_out: which clips are scored, for synthesis too: ``"test"``, or ``"validation"`` to choose settings.
        openstl: whether frames are scored in the conventions of OpenSTL's benchmarks as well (``judge_as_openstl``).
    """

    context: int = 10
    horizon: int = 5
    sequences: int = 100
    clips_per_batch: int = 50
    held_out: Literal["validation", "test"] = "test"
    openstl: bool = False

    def __post_init__(self) -> None:
        check_least(self, 1, "context", "horizon", "sequences", "clips_per_batch")

    def chosen(self, validation_clips: ClipSet, test_clips: ClipSet) -> ClipSet:
        """The clips that are held out for this evaluation."""
        return {"validation": validation_clips, "test": test_clips}[self.held_out]

    def scored_frames(self, validation_clips: ClipSet, test_clips: ClipSet) -> NDArray[np.uint8]:
        """Context and horizon of the clips that are scored: uint8 (sequences, context + horizon, C, H, W)."""
        frames = self.chosen(validation_clips, test_clips).frames
        return np.asarray(frames[self.scored(len(frames)), : self.context + self.horizon])

    def context_and_truth(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The frames that a model sees, and those that it predicts, both in [0, 1]."""
        scaled = frames / 255
        return scaled[:, : self.context], scaled[:, self.context :]

    def scored(self, clips: int) -> NDArray[np.int64]:
        """Numbers of the clips that are scored, in order."""
        return spread(self.sequences, clips)

"""Settings of prediction and evaluation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationSettings:
    """What is predicted and scored.

    Attributes:
        context: frames that the model sees.
        horizon: frames that it predicts.
        sequences: test clips that are scored, the first so many.
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

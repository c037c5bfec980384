"""A training step of the ILE: of each form of dynamics, and of both stages of a training."""

import torch

from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.settings import IleSettings
from measuring import Step, in_turns, table

CLIPS, FRAMES = 20, 15
DENSE = "dense, 16x16"
CASES = {  # side, dynamics, how much of the training is over
    DENSE: (16, "dense", 0.9),
    "modal, 16x16, the motion alone": (16, "modal", 0.0),
    "modal, 16x16, all": (16, "modal", 0.9),
    "modal, 32x32, the motion alone": (32, "modal", 0.0),
    "modal, 32x32, all": (32, "modal", 0.9),
    "warp, 32x32, the motion alone": (32, "warp", 0.0),
    "warp, 32x32, all": (32, "warp", 0.9),
}


def report() -> str:
    """Table of times, forward and backward."""
    times = in_turns({name: prepare(name) for name in CASES}, reference=DENSE, rounds=5)
    share = IleSettings().motion_share
    modal, alone = (times["ratio"][f"modal, 16x16, {stage}"] for stage in ("all", "the motion alone"))
    return (
        f"A step of {CLIPS} clips of {FRAMES} grey frames, forward and backward, the default's flow. `dense`, 16x16, "
        "was the default once. Target: a step of today's default no slower.\n\n"
        f"{table(times)}\n\n"
        f"At 16x16, with {100 * share:.0f} % of the steps for the motion alone, a modal step takes "
        f"{share * alone + (1 - share) * modal:.2f} of a dense one's time on average."
    )


def prepare(name: str) -> Step:
    """Forward and backward pass."""
    side, dynamics, done = CASES[name]
    torch.manual_seed(0)
    settings = IleSettings(dynamics=dynamics, first_squeezes=2 if side == 16 else 3)  # type: ignore[arg-type]
    model = InvertibleLinearEmbedding((1, side, side), settings)
    model.at_step(done)
    clips = torch.rand(CLIPS, FRAMES, 1, side, side)
    return lambda: model.loss(clips, torch.Generator().manual_seed(0))[0].backward()

"""Training steps: of every model and form of dynamics, and how their time and memory grow with the work."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from linear_video.experiments import Experiment
from linear_video.models.base import TrainedBySteps
from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.recompute import Memory
from linear_video.models.ile.settings import IleSettings
from linear_video.models.registry import build
from linear_video.parameters import experiment_values
from measuring import Row, Step, in_turns, peak_memory, read_parameters, target

CLIPS, FRAMES, SIDE = 16, 15, 32
# The model, settings over its own for the dataset, and how much of the training is over.
CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "ile, all": ("ile", {}, 0.9),
    "ile, the motion alone": ("ile", {}, 0.0),
    "ile, warp, all": ("ile", {"dynamics": "warp"}, 0.9),
    "ile, warp, the motion alone": ("ile", {"dynamics": "warp"}, 0.0),
    "ile, dense": ("ile", {"dynamics": "dense"}, 0.9),
    "convolutional": ("convolutional", {}, 0.9),
    "adversarial": ("adversarial", {}, 0.9),
    "dynamic_vae": ("dynamic_vae", {}, 0.9),
}


@dataclass(frozen=True)
class Work:
    """What a step of the default dynamics has to do, in clips of square frames."""

    clips: int = 8
    side: int = 16
    couplings: int = 4
    channels: int = 32
    frames: int = 15


# What grows, its range, and the greatest exponent that the arithmetic explains.
GROWTH: dict[str, tuple[str, list[int], int]] = {
    "clips": ("clips", [4, 8, 16, 32, 64], 1),
    "side": ("pixels per side", [8, 16, 32, 64], 2),  # convolutions see its square
    "couplings": ("couplings of a block", [2, 4, 8, 16, 32], 1),
    "channels": ("channels of the motion network", [16, 32, 64, 128], 2),
    "frames": ("frames of a clip", [10, 20, 40, 80], 1),
}
MODES: tuple[Memory, ...] = ("none", "checkpoint", "reversible")
DEEP, DEPTHS = Work(clips=10, side=32), (4, 16, 64)


def measure(tiny: bool) -> Row:
    """Times of a step of each case, exponents of their growth, and memory by depth."""
    rounds, clips = (1, 1) if tiny else (5, CLIPS)
    times = in_turns({name: of_case(name, clips) for name in CASES}, reference="ile, all", rounds=rounds)
    grown = []
    for field, (what, values, arithmetic) in GROWTH.items():
        values = values[:2] if tiny else values
        steps = {str(value): of_work(replace(Work(), **{field: value})) for value in values}
        ms = [row["ms"] for row in in_turns(steps, reference=str(values[0]), rounds=rounds)]
        exponent = float(np.log(ms[-1] / ms[-2]) / np.log(values[-1] / values[-2]))
        grown.append({"what": what, "values": values, "ms": ms, "exponent": exponent, "arithmetic": arithmetic})
    work, depths = (Work(), DEPTHS[:1]) if tiny else (DEEP, DEPTHS)
    memory: list[Row] = [
        {"couplings": depth, "mib": [peak_memory(of_work, replace(work, couplings=depth), mode) for mode in MODES]}
        for depth in depths
    ]
    everything, alone, *_ = times
    share = IleSettings().motion_share
    average = share * alone["ratio"] + (1 - share) * everything["ratio"]
    dense = next(row for row in times if row["name"] == "ile, dense")
    reversible = [row["mib"][MODES.index("reversible")] for row in memory]
    return {
        "clips": clips,
        "frames": FRAMES,
        "side": SIDE,
        "rows": times,
        "share": share,
        "targets": [
            target("a step of the default on average, by one of dense dynamics", average / dense["ratio"], 1.0),
            target(
                "memory of reversible at the greatest depth, by that at the least", reversible[-1] / reversible[0], 1.1
            ),
        ],
        "work": asdict(Work()),
        "growth": grown,
        "deep": {"frames": work.clips * work.frames, "side": work.side, "modes": MODES, "rows": memory},
    }


def of_case(name: str, clips: int) -> Step:
    """Two steps, forward and backward, since every second step of ``adversarial`` trains its discriminators."""
    model_name, changes, done = CASES[name]
    settings = experiment_values(read_parameters("base"), Experiment(model_name, "moving_symbols"))["model"]
    torch.manual_seed(0)
    model = build(model_name, (1, SIDE, SIDE), {**settings, **changes})
    assert isinstance(model, TrainedBySteps)
    model.at_step(done)
    batch, generator = torch.rand(clips, FRAMES, 1, SIDE, SIDE), torch.Generator().manual_seed(0)

    def step() -> None:
        for _ in range(2):
            model.loss(batch, generator)[0].backward()

    return step


def of_work(work: Work, memory: Memory = "none") -> Step:
    """A step of all, forward and backward; gradients already exist, as in a training."""
    torch.manual_seed(0)
    settings = IleSettings(
        blocks=1,
        first_squeezes=2,
        couplings=work.couplings,
        hidden_channels=64,
        motion_channels=work.channels,
        memory=memory,
    )
    model = InvertibleLinearEmbedding((1, work.side, work.side), settings)
    clips = torch.rand(work.clips, work.frames, 1, work.side, work.side)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return lambda: model.loss(clips, torch.Generator().manual_seed(0))[0].backward()

"""How the time of a training step, and its memory, grow with the work."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from linear_video.common.markup import markdown_table
from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.recompute import Memory
from linear_video.models.ile.settings import IleSettings
from measuring import Step, in_turns, peak_memory

FIGURES = Path(__file__).parents[1] / "docs/images"

BASE = {"clips": 8, "size": 16, "couplings": 4, "n": 64, "T": 15}
# What grows, its range, and the greatest exponent that the arithmetic explains.
GROWTH = {
    "clips": ([4, 8, 16, 32, 64], 1),
    "size": ([8, 16, 32, 64], 2),  # pixels per side; convolutions see its square
    "couplings": ([2, 4, 8, 16, 32], 1),
    "n": ([64, 128, 256, 512, 1024], 3),  # Cholesky
    "T": ([5, 10, 20, 40, 80], 1),
}
LABELS = {
    "size": "pixels per side",
    "couplings": "couplings per block",
    "n": "n, dimensions of the state",
    "T": "T, frames",
}
DEPTHS = [4, 8, 16, 32, 64]


def prepare(memory: Memory = "none", **sizes: int) -> Step:
    """Forward and backward pass of a training step."""
    sizes = {**BASE, **sizes}
    torch.manual_seed(0)
    settings = IleSettings(
        dynamics="dense",
        state_dimension=sizes["n"],
        blocks=1,
        first_squeezes=2,
        couplings=sizes["couplings"],
        hidden_channels=64,
        profile_weight=0.7,
        forecast_weight=0.0,  # clips of any length
        memory=memory,
    )
    model = InvertibleLinearEmbedding((1, sizes["size"], sizes["size"]), settings)
    clips = torch.rand(sizes["clips"], sizes["T"], 1, sizes["size"], sizes["size"])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return lambda: model.loss(clips, torch.Generator().manual_seed(0))[0].backward()


def deep(memory: Memory, couplings: int) -> Step:
    """A step of 150 frames of 32x32."""
    return prepare(memory, couplings=couplings, size=32, clips=10)


def report() -> str:
    """Table of exponents; the figures are written beside the documentation's."""
    figure, axes = plt.subplots(1, len(GROWTH), figsize=(16, 3.2), layout="constrained")
    rows = []
    for axis, (what, (values, demanded)) in zip(axes, GROWTH.items(), strict=True):
        steps = {str(value): prepare("none", **{what: value}) for value in values}
        times = in_turns(steps, reference=str(values[0]), rounds=5)["ms"].to_numpy()
        exponents = np.diff(np.log(times)) / np.diff(np.log(values))
        axis.loglog(values, times, "o-")
        axis.set(xlabel=LABELS.get(what, what), title=f"exponent {exponents[-1]:.2f} (at most {demanded})")
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()
        rows.append(
            {
                "what grows": LABELS.get(what, what),
                "from, to": f"{values[0]}, {values[-1]}",
                "ms": f"{times[0]:.1f}, {times[-1]:.1f}",
                "exponent at the end": f"{exponents[-1]:.2f}",
                "of the arithmetic": str(demanded),
            }
        )
    axes[0].set_ylabel("ms per step")
    figure.savefig(FIGURES / "scaling.png", dpi=80)
    plt.close(figure)
    memory = {
        mode: [peak_memory(deep, mode, depth) for depth in DEPTHS] for mode in ("none", "checkpoint", "reversible")
    }
    figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for mode, peaks in memory.items():
        axis.loglog(DEPTHS, peaks, "o-", label=mode)
    axis.set(xlabel="couplings", ylabel="peak memory of a step / MiB")
    axis.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
    axis.minorticks_off()
    axis.legend()
    figure.savefig(FIGURES / "depth.png", dpi=80)
    plt.close(figure)
    depths = pd.DataFrame({mode: [f"{value:.0f}" for value in peaks] for mode, peaks in memory.items()}, index=DEPTHS)
    depths.index.name = "couplings"
    sizes = ", ".join(f"{name} {value}" for name, value in BASE.items())
    return (
        f"A step of the whole model, forward and backward, with {sizes}. In each row one of these grows:\n\n"
        f"{markdown_table(pd.DataFrame(rows))}\n\n![Time](images/scaling.png)\n\n"
        "Peak memory in MiB of a step of 150 frames of 32x32, by depth, without weights and gradients. Target: "
        "reversible constant within 10 %.\n\n"
        f"{markdown_table(depths.reset_index())}\n\n![Memory](images/depth.png)"
    )

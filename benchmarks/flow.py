"""A training step of the flow, compared with other libraries of the same topology, and the cost of memory modes."""

from dataclasses import asdict

import torch

import peers
from measuring import Row, Step, in_turns, peak_memory, target

FRAMES, ROUNDS, SEEDS = 128, 5, 5
OURS = "linear-video"
TINY = peers.Topology(frame_shape=(1, 16, 16), blocks=2, couplings=2, hidden_channels=8)
TOPOLOGY = peers.Topology(frame_shape=(1, 32, 32), blocks=3, couplings=10, hidden_channels=128)
BUILDERS = {
    OURS: peers.ours,
    f"{OURS}, checkpoint": peers.ours_checkpoint,
    f"{OURS}, reversible": peers.ours_reversible,
    "normflows": peers.normflows,
    "FrEIA": peers.freia,
    "nflows": peers.nflows,
}


def prepare(name: str, topology: peers.Topology, frames: int) -> Step:
    """Negative log density of frames, forward and backward; gradients already exist, as in a training."""
    torch.manual_seed(0)
    model, batch = BUILDERS[name](topology), torch.rand(frames, *topology.frame_shape)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    def step() -> None:
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()
        (-model(batch).mean() / batch[0].numel()).backward()

    return step


def measure(tiny: bool) -> Row:
    """Time and memory of each library, and the rounding errors of the memory modes' gradients."""
    topology, frames = (TINY, 4) if tiny else (TOPOLOGY, FRAMES)
    steps = {name: prepare(name, topology, frames) for name in BUILDERS}
    rows = in_turns(steps, reference=OURS, rounds=1 if tiny else ROUNDS)
    memory = {name: peak_memory(prepare, name, topology, frames, times=1 if tiny else 2) for name in BUILDERS}
    for row in rows:
        row["mib"] = memory[row["name"]]
    ours, checkpoint, reversible = rows[:3]
    rounding = gradients(topology)
    plain = rounding[0]["error"]
    saved = max(checkpoint["mib"], reversible["mib"]) / ours["mib"]
    return {
        "topology": asdict(topology),
        "kernels": (3, 1, 3),
        "frames": frames,
        "rows": rows,
        "gradients": rounding,
        "seeds": SEEDS,
        "targets": [
            target("time, by that of the quickest other library", 1 / min(row["ratio"] for row in rows[3:]), 1.05),
            target("memory, by that of normflows", ours["mib"] / memory["normflows"], 0.55),
            target("time of checkpoint and reversible, by the plain flow's", max(r["ratio"] for r in rows[1:3]), 1.45),
            target("memory of checkpoint and reversible, by the plain flow's", saved, 0.22),
            target(
                "rounding errors of their gradients, by the plain flow's", max(r["error"] for r in rounding) / plain, 10
            ),
        ],
    }


def gradients(topology: peers.Topology) -> list[Row]:
    """How far the gradients of each mode in float32 are from those in float64: the median over sets of weights."""
    modes = [name for name in BUILDERS if name.startswith(OURS)]
    errors: dict[str, list[float]] = {name: [] for name in modes}
    for seed in range(SEEDS):
        exact = _gradient(OURS, seed, torch.float64, topology)
        for name, found in errors.items():
            rounded = _gradient(name, seed, torch.float32, topology).double()
            found.append(float((rounded - exact).norm() / exact.norm()))
    return [{"name": name, "error": float(torch.tensor(found).median())} for name, found in errors.items()]


def _gradient(name: str, seed: int, dtype: torch.dtype, topology: peers.Topology) -> torch.Tensor:
    torch.manual_seed(seed)
    model, batch = BUILDERS[name](topology), torch.rand(16, *topology.frame_shape)
    with torch.no_grad():
        for parameter in model.parameters():  # the last layers start at zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    (-model.to(dtype)(batch.to(dtype)).mean()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

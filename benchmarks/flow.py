"""A training step of the flow, compared with other libraries of the same topology, and the cost of memory modes."""

import torch

import peers
from measuring import Step, in_turns, peak_memory, table

FRAMES, ROUNDS = 128, 7
TOPOLOGY = peers.Topology(frame_shape=(1, 32, 32), blocks=3, couplings=10, hidden_channels=128)
BUILDERS = {
    "linear-video": peers.ours,
    "linear-video, checkpoint": peers.ours_checkpoint,
    "linear-video, reversible": peers.ours_reversible,
    "normflows": peers.normflows,
    "FrEIA": peers.freia,
    "nflows": peers.nflows,
}


def prepare(name: str, topology: peers.Topology = TOPOLOGY, frames: int = FRAMES) -> Step:
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


def report() -> str:
    """Table of time and memory against the other libraries, and of the memory modes' gradients."""
    times = in_turns({name: prepare(name) for name in BUILDERS}, reference="linear-video", rounds=ROUNDS)
    memory = {name: peak_memory(prepare, name) for name in BUILDERS}
    times["MiB"] = [f"{memory[name]:.0f}" for name in times.index]
    times["of ours"] = [f"{memory[name] / memory['linear-video']:.2f}" for name in times.index]
    best = min(times.loc[["normflows", "FrEIA", "nflows"], "ratio"])
    channels, height, width = TOPOLOGY.frame_shape
    return (
        f"{FRAMES} frames of {channels}x{height}x{width}, {TOPOLOGY.blocks} blocks of {TOPOLOGY.couplings} affine "
        f"couplings, convolutions of 3, 1 and 3 with {TOPOLOGY.hidden_channels} channels between, half of the channels "
        "out after each block, standard normal values; log density and its gradient, float32, one thread. Each library "
        "builds the flow from its own pieces (`benchmarks/peers.py`). Targets: at most 1.05 of the time of the best "
        "other library and 0.55 of the memory of normflows; checkpoint and reversible at most 0.22 of the memory of "
        "the plain flow in 1.45 of its time.\n\n"
        f"{table(times)}\n\n"
        f"linear-video takes {1 / best:.2f} of the time of the quickest other library, and "
        f"{memory['linear-video'] / memory['normflows']:.2f} of the memory of normflows.\n\n{gradients()}"
    )


def gradients(seeds: int = 5) -> str:
    """A sentence on how far the gradients of each mode in float32 are from those in float64."""
    errors: dict[str, list[float]] = {name: [] for name in BUILDERS if name.startswith("linear-video")}
    for seed in range(seeds):
        exact = _gradient("linear-video", seed, torch.float64)
        for name, found in errors.items():
            rounded = _gradient(name, seed, torch.float32).double()
            found.append(float((rounded - exact).norm() / exact.norm()))
    listed = ", ".join(f"{name} {torch.tensor(found).median():.1e}" for name, found in errors.items())
    return (
        f"Relative error of the gradient in float32 against float64, median of {seeds} sets of weights: {listed}. "
        "Target: at most 10 times that of the plain flow."
    )


def _gradient(name: str, seed: int, dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(seed)
    model, batch = BUILDERS[name](TOPOLOGY), torch.rand(16, *TOPOLOGY.frame_shape)
    with torch.no_grad():
        for parameter in model.parameters():  # the last layers start at zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    (-model.to(dtype)(batch.to(dtype)).mean()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

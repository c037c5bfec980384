"""The initial state of a batch of sequences: closed-form Gram matrix against dense solvers.

Run with ``python benchmarks/solve.py``. The work is that of one training step at the paper's size: n = 256, D = 1024,
10 frames, 16 sequences, forward and backward of the profile likelihood. Times are medians over interleaved rounds; the
memory is the peak of the process above what it held before, in a fresh process for each method.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from linear_video.models.linear_prior import LinearPrior

STATE, EMBEDDING, FRAMES, SEQUENCES, ROUNDS = 256, 1024, 10, 16, 5


def observability(prior: LinearPrior) -> Tensor:
    """The dense O, as a straightforward implementation would make it: (T·D, n)."""
    transition, blocks = prior.transition_matrix().float(), [prior.observation]
    for _ in range(FRAMES - 1):
        blocks.append(blocks[-1] @ transition)
    return torch.cat(blocks)


def closed_form(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    powers = prior.powers(FRAMES)
    statistics = prior.statistics(embeddings, torch.ones(FRAMES), powers)
    return -prior.profile_log_likelihood(statistics).sum()


def pinv(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    o, z = observability(prior), embeddings.flatten(1).T
    return (z - o @ (torch.linalg.pinv(o) @ z)).square().sum() / 2


def qr(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    o, z = observability(prior), embeddings.flatten(1).T
    q, _ = torch.linalg.qr(o)
    return (z - q @ (q.T @ z)).square().sum() / 2


METHODS: dict[str, Callable[[LinearPrior, Tensor], Tensor]] = {
    "closed-form Gram, float64": closed_form,
    "QR of O, float32": qr,
    "pinv of O, float32": pinv,
}


def problem() -> tuple[LinearPrior, Tensor]:
    torch.manual_seed(0)
    prior = LinearPrior(EMBEDDING, STATE)
    return prior, torch.randn(SEQUENCES, FRAMES, EMBEDDING, requires_grad=True)


def step(name: str, prior: LinearPrior, embeddings: Tensor) -> float:
    start = time.perf_counter()
    METHODS[name](prior, embeddings).backward()
    return time.perf_counter() - start


def peak_memory(name: str, answers: "multiprocessing.Queue[float]") -> None:
    prior, embeddings = problem()
    embeddings.square().sum().backward()  # what any backward pass loads
    before = high_water_mark()
    step(name, prior, embeddings)
    answers.put(high_water_mark() - before)


def high_water_mark() -> float:
    """Peak resident memory of this process so far in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the peak memory.")


def residual_difference() -> float:
    """Relative difference of our squared residual to float64 QR's."""
    prior, embeddings = problem()
    with torch.no_grad():
        powers = prior.powers(FRAMES)
        ours = prior.statistics(embeddings, torch.ones(FRAMES), powers)
        fitted = prior.observe(prior.infer(ours, precision=0), powers)
        residual = (embeddings - fitted).square().sum()
        a, c = prior.transition_matrix(), prior.observation.double()
        o = torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(FRAMES)])
        q, _ = torch.linalg.qr(o)
        z = embeddings.double().flatten(1).T
        exact = (z - q @ (q.T @ z)).square().sum()
    return float((residual - exact).abs() / exact)


def main() -> None:
    prior, embeddings = problem()
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(ROUNDS):
        for name in METHODS:
            times[name].append(step(name, prior, embeddings))
    reference = statistics.median(times["pinv of O, float32"])
    print(f"n = {STATE}, D = {EMBEDDING}, T = {FRAMES}, {SEQUENCES} sequences, {torch.get_num_threads()} threads")
    context = multiprocessing.get_context("spawn")
    for name, values in times.items():
        answers: multiprocessing.Queue[float] = context.Queue()
        process = context.Process(target=peak_memory, args=(name, answers))
        process.start()
        memory = answers.get()
        process.join()
        median = statistics.median(values)
        print(
            f"{name:28} {1000 * median:8.1f} ms ({1000 * min(values):.1f} to {1000 * max(values):.1f}), "
            f"{reference / median:6.1f}x pinv's speed, {memory:6.0f} MiB"
        )
    print(f"squared residual against float64 QR: relative difference {residual_difference():.1e} (target: 1e-8)")


if __name__ == "__main__":
    main()

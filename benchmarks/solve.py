"""States of a batch of sequences: modal filter, closed-form Gram matrix, dense solvers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from linear_video.models.ile.linear_prior import LinearPrior
from linear_video.models.ile.modal import ModalPrior
from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings
from measuring import Step, in_turns, peak_memory, table

STATE, EMBEDDING, FRAMES, SEQUENCES = 256, 1024, 10, 16  # one training step at the paper's size


def report() -> str:
    """Table of time and memory, forward and backward, and the residual's accuracy."""
    names = (MODAL, AS_LARGE, *METHODS)
    times = in_turns({name: prepare(name) for name in names}, reference="pinv of O, float32", rounds=5)
    times["MiB"] = [f"{peak_memory(prepare, name):.0f}" for name in names]
    return (
        f"Profile likelihood, forward and backward, n = {STATE}, D = {EMBEDDING}, T = {FRAMES}, {SEQUENCES} sequences. "
        "Targets: 30 times as fast as `pinv`, a tenth of its memory. The modal filter's likelihood is that of n = D, "
        "its motion given; targets: 10 times as fast as the Gram matrix, half its memory.\n\n"
        f"{table(times)}\n\n"
        f"Squared residual against float64 QR: relative difference {residual_difference():.0e} (target: 1e-8)."
    )


def observability(prior: LinearPrior) -> Tensor:
    """The dense O, as in a straightforward implementation: (T·D, n)."""
    transition = prior.transition_matrix().float()
    blocks: list[Tensor] = [prior.observation]
    for _ in range(FRAMES - 1):
        blocks.append(blocks[-1] @ transition)
    return torch.cat(blocks)


def closed_form(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    powers = prior.powers(FRAMES)
    statistics = prior.statistics(prior.project(embeddings), torch.ones(FRAMES), powers)
    return -prior.profile_log_likelihood(statistics).sum()


def pinv(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    o, z = observability(prior), embeddings.flatten(1).T
    residual: Tensor = z - o @ (torch.linalg.pinv(o) @ z)
    return residual.square().sum() / 2


def qr(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    o, z = observability(prior), embeddings.flatten(1).T
    q, _ = torch.linalg.qr(o)
    residual: Tensor = z - q @ (q.T @ z)
    return residual.square().sum() / 2


class Given(nn.Module):
    """A given motion, which costs nothing to find."""

    def __init__(self, motion: Tensor) -> None:
        super().__init__()
        self.motion = motion

    def forward(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        """See ``MotionNetwork``."""
        return self.motion


def modal() -> Step:
    torch.manual_seed(0)
    prior = ModalPrior((1, 32, 32), IleSettings())
    motion = torch.randn(SEQUENCES, FRAMES, 5, 3, requires_grad=True)
    prior.motion = Given(motion)  # type: ignore[assignment]
    embeddings = torch.randn(SEQUENCES, FRAMES, EMBEDDING, requires_grad=True)
    return lambda: prior.log_likelihood(Encoded(embeddings, embeddings)).sum().neg().backward()


MODAL = "modal filter, n = 1024, float32"
AS_LARGE = "closed-form Gram, n = 1024, float64"
METHODS: dict[str, Callable[[LinearPrior, Tensor], Tensor]] = {
    "closed-form Gram, float64": closed_form,
    "QR of O, float32": qr,
    "pinv of O, float32": pinv,
}


def problem(state: int = STATE) -> tuple[LinearPrior, Tensor]:
    torch.manual_seed(0)
    prior = LinearPrior(EMBEDDING, state)
    return prior, torch.randn(SEQUENCES, FRAMES, EMBEDDING, requires_grad=True)


def prepare(name: str) -> Step:
    if name == MODAL:
        return modal()
    if name == AS_LARGE:
        prior, embeddings = problem(EMBEDDING)
        return lambda: closed_form(prior, embeddings).backward()
    prior, embeddings = problem()
    return lambda: METHODS[name](prior, embeddings).backward()


def residual_difference() -> float:
    """Relative difference of our squared residual to float64 QR's."""
    prior, embeddings = problem()
    with torch.no_grad():
        powers = prior.powers(FRAMES)
        ours = prior.statistics(prior.project(embeddings), torch.ones(FRAMES), powers)
        fitted = prior.observe(prior.infer(ours, precision=0), powers)
        residual = (embeddings - fitted).square().sum()
        a, c = prior.transition_matrix(), prior.observation.double()
        o = torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(FRAMES)])
        q, _ = torch.linalg.qr(o)
        z = embeddings.double().flatten(1).T
        exact = (z - q @ (q.T @ z)).square().sum()
    return float((residual - exact).abs() / exact)

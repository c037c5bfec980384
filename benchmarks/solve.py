"""States of a batch of sequences: modal filter, closed-form Gram matrix, dense solvers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from linear_video.models.ile.linear_prior import LinearPrior
from linear_video.models.ile.modal import ModalPrior
from linear_video.models.ile.prior import Encoded
from linear_video.models.ile.settings import IleSettings
from measuring import Row, Step, in_turns, peak_memory, target


class Sizes(NamedTuple):
    """Of one training step; by default, at the paper's size."""

    state: int = 256
    embedding: int = 1024
    frames: int = 10
    sequences: int = 16


MODAL, AS_LARGE = "modal filter, n = D, float32", "closed-form Gram, n = D, float64"
GRAM = "closed-form Gram, float64"


def measure(tiny: bool) -> Row:
    """Time and memory, forward and backward, and the residual's accuracy."""
    sizes = Sizes(16, 64, 5, 4) if tiny else Sizes()
    names = (MODAL, AS_LARGE, *METHODS)
    rows = in_turns({name: prepare(name, sizes) for name in names}, reference=GRAM, rounds=1 if tiny else 5)
    for row in rows:
        row["mib"] = peak_memory(prepare, row["name"], sizes, times=1 if tiny else 2)
    modal, as_large, gram, _, pinv = rows
    targets = [
        target("time of the Gram matrix, by that of pinv", gram["ms"] / pinv["ms"], 1 / 30),
        target("memory of the Gram matrix, by that of pinv", gram["mib"] / pinv["mib"], 0.1),
        target("time of the modal filter, by that of the Gram matrix with n = D", modal["ms"] / as_large["ms"], 0.1),
        target("memory of the modal filter, by the same", modal["mib"] / as_large["mib"], 0.5),
        target(
            "relative difference of the squared residual to that of QR in float64", residual_difference(sizes), 1e-8
        ),
    ]
    return {"sizes": sizes._asdict(), "rows": rows, "targets": targets}


def observability(prior: LinearPrior, frames: int) -> Tensor:
    """The dense O, as in a straightforward implementation: (T·D, n)."""
    transition = prior.transition_matrix().float()
    blocks: list[Tensor] = [prior.observation]
    for _ in range(frames - 1):
        blocks.append(blocks[-1] @ transition)
    return torch.cat(blocks)


def closed_form(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    frames = embeddings.shape[1]
    powers = prior.powers(frames)
    statistics = prior.statistics(prior.project(embeddings), torch.ones(frames), powers)
    return -prior.profile_log_likelihood(statistics).sum()


def pseudoinverse(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    o, z = observability(prior, embeddings.shape[1]), embeddings.flatten(1).T
    residual: Tensor = z - o @ (torch.linalg.pinv(o) @ z)
    return residual.square().sum() / 2


def qr(prior: LinearPrior, embeddings: Tensor) -> Tensor:
    o, z = observability(prior, embeddings.shape[1]), embeddings.flatten(1).T
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


def modal(sizes: Sizes) -> Step:
    torch.manual_seed(0)
    side = math.isqrt(sizes.embedding)
    prior = ModalPrior((1, side, side), IleSettings())
    motion = torch.randn(sizes.sequences, sizes.frames, 5, 3, requires_grad=True)
    prior.motion = Given(motion)  # type: ignore[assignment]
    embeddings = torch.randn(sizes.sequences, sizes.frames, sizes.embedding, requires_grad=True)
    return lambda: prior.log_likelihood(Encoded(embeddings, embeddings)).sum().neg().backward()


METHODS: dict[str, Callable[[LinearPrior, Tensor], Tensor]] = {
    GRAM: closed_form,
    "QR of O, float32": qr,
    "pinv of O, float32": pseudoinverse,
}


def problem(sizes: Sizes, state: int) -> tuple[LinearPrior, Tensor]:
    torch.manual_seed(0)
    prior = LinearPrior(sizes.embedding, state)
    return prior, torch.randn(sizes.sequences, sizes.frames, sizes.embedding, requires_grad=True)


def prepare(name: str, sizes: Sizes) -> Step:
    if name == MODAL:
        return modal(sizes)
    prior, embeddings = problem(sizes, sizes.embedding if name == AS_LARGE else sizes.state)
    method = METHODS.get(name, closed_form)
    return lambda: method(prior, embeddings).backward()


def residual_difference(sizes: Sizes) -> float:
    """Relative difference of our squared residual to float64 QR's."""
    prior, embeddings = problem(sizes, sizes.state)
    frames = sizes.frames
    with torch.no_grad():
        powers = prior.powers(frames)
        ours = prior.statistics(prior.project(embeddings), torch.ones(frames), powers)
        fitted = prior.observe(prior.infer(ours, precision=0), powers)
        residual = (embeddings - fitted).square().sum()
        a, c = prior.transition_matrix(), prior.observation.double()
        o = torch.cat([c @ torch.linalg.matrix_power(a, t) for t in range(frames)])
        q, _ = torch.linalg.qr(o)
        z = embeddings.double().flatten(1).T
        exact = (z - q @ (q.T @ z)).square().sum()
    return float((residual - exact).abs() / exact)

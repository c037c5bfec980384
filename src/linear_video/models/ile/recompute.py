"""Gradients of affine couplings that recompute what they need, instead of keeping it.

The intermediate results of a coupling's network are far larger than its input. ``"checkpoint"`` keeps the input of each
coupling. ``"reversible"`` keeps one map of values for a whole chain: a coupling does not change half of the channels,
so the scale and shift of the other half can be recomputed from the output, and undone (Gomez, Ren, Urtasun, Grosse
2017, "The reversible residual network", for residual networks). Either way, each network runs twice, on some frames at
a time.

The map of a reversible chain is in float64; the networks keep their type. In float32, rounding errors of a deep chain
would add up, and a network in bf16 would see a different input than before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from linear_video.models.ile.flow import AffineCoupling

Memory = Literal["none", "checkpoint", "reversible"]

# A quarter of the frames is recomputed at a time, unless that is so little work that the overhead of calls dominates.
PARTS, LEAST_VALUES = 4, 2**14


@dataclass
class _Tape:
    """The one map of values that a reversible chain keeps, and which coupling's output it is."""

    first: Tensor  # the chain's input, to measure how well it is recomputed
    values: Tensor
    number: int
    error: Tensor  # largest relative error so far


class _Step(torch.autograd.Function):
    """One coupling. With a tape, the backward pass moves the tape from the coupling's output to its input."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        inputs: Tensor,
        coupling: "AffineCoupling",
        inverse: bool,
        tape: _Tape | None,
        number: int,
        dtype: torch.dtype,
        *parameters: nn.Parameter,
    ) -> tuple[Tensor, Tensor]:
        device = inputs.device.type
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        ctx.coupling, ctx.inverse, ctx.tape, ctx.number, ctx.parameters = coupling, inverse, tape, number, parameters
        ctx.dtype = dtype
        parts = [_apply(ctx, some) for some in inputs.split(_frames_at_once(inputs))]
        outputs, log_abs_det = (torch.cat(part) for part in zip(*parts, strict=True))
        if tape is None:
            ctx.save_for_backward(inputs)
        else:
            tape.values, tape.number = outputs.detach(), number
        return outputs, log_abs_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tape: _Tape | None = ctx.tape
        if tape is not None and tape.number != ctx.number:
            raise RuntimeError(
                "the memory mode 'reversible' allows one backward pass through a flow; use 'checkpoint' or 'none'."
            )
        known = ctx.saved_tensors[0] if tape is None else tape.values
        at_once = _frames_at_once(known)
        split = (tensor.split(at_once) for tensor in (known, *gradients))
        parts = [_gradients(ctx, *some) for some in zip(*split, strict=True)]
        if tape is not None:
            tape.values, tape.number = torch.cat([inputs for inputs, _, _ in parts]), ctx.number - 1
            if ctx.number == 0:
                error = torch.linalg.vector_norm(tape.values - tape.first) / torch.linalg.vector_norm(tape.first)
                torch.maximum(tape.error, error.to(tape.error), out=tape.error)
        of_parameters = (sum(some) for some in zip(*(found for _, _, found in parts), strict=True))
        return (torch.cat([gradient for _, gradient, _ in parts]), None, None, None, None, None, *of_parameters)


def _apply(ctx: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the coupling to some frames; its network sees its own type."""
    left, right = ctx.coupling.split(inputs)
    scale, shift = ctx.coupling.scale_and_shift(left.to(ctx.dtype))
    right, log_abs_det = ctx.coupling.transform(right, scale, shift, ctx.inverse)
    return ctx.coupling.join(left, right), log_abs_det


def _frames_at_once(values: Tensor) -> int:
    parts = min(PARTS, max(1, values.numel() // LEAST_VALUES))
    return math.ceil(len(values) / parts)


def _gradients(
    ctx: Any, known: Tensor, output_gradient: Tensor, log_abs_det_gradient: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Input of some frames, and the gradients of it and the parameters, from the input or, with a tape, the output."""
    coupling: AffineCoupling = ctx.coupling
    left, right = coupling.split(known)
    with torch.enable_grad(), torch.autocast(cache_enabled=False, **ctx.autocast):
        seen = left.to(ctx.dtype).detach().requires_grad_()
        scale, shift = coupling.scale_and_shift(seen)
        if ctx.tape is not None:
            with torch.no_grad():
                right, _ = coupling.transform(right, scale, shift, not ctx.inverse)
        right = right.detach().requires_grad_()
        outputs = coupling.transform(right, scale, shift, ctx.inverse)
    of_left, of_right = coupling.split(output_gradient)
    found = torch.autograd.grad(outputs, (seen, right, *ctx.parameters), (of_right, log_abs_det_gradient))
    return coupling.join(left, right.detach()), coupling.join(of_left + found[0], found[1]), found[2:]


def couple(
    couplings: Sequence["AffineCoupling"], values: Tensor, inverse: bool, memory: Memory, error: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply couplings one after the other: values (N, C, H, W) -> values (N, C, H, W), log|det| (N,).

    With ``"reversible"`` there can be only one backward pass. It raises ``error`` () in place to the relative error of
    the recomputed input of the chain, if that is larger.
    """
    log_abs_det, dtype = values.new_zeros(len(values)), values.dtype
    if memory == "none" or not torch.is_grad_enabled():
        for coupling in couplings:
            values, log_abs_det_coupling = coupling(values, inverse)
            log_abs_det = log_abs_det + log_abs_det_coupling
        return values, log_abs_det
    tape = None
    if memory == "reversible":
        values = values.double()
        tape = _Tape(values.detach(), values.detach(), -1, error)
    for number, coupling in enumerate(couplings):
        parameters = [parameter for parameter in coupling.parameters() if parameter.requires_grad]
        values, log_abs_det_coupling = _Step.apply(values, coupling, inverse, tape, number, dtype, *parameters)
        log_abs_det = log_abs_det + log_abs_det_coupling
    return values.to(dtype), log_abs_det

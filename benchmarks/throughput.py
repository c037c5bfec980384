"""Training steps per second of the paper's topologies on a GPU, by precision, compilation and memory mode.

    python benchmarks/throughput.py [--tiny]

It needs only PyTorch, and prints a table. A step does the same as in training: loss, gradient, its norm, Adam. PyTorch
counts the operations, except those that memory modes repeat. ``--tiny`` is for a trial on a CPU. Targets on an H100: 99
ms for the first topology in bf16 (40 % of 790 TFLOP/s), 15 ms for the second.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.recompute import Memory
from linear_video.models.ile.settings import IleSettings

PAPER = IleSettings(
    dynamics="dense",
    state_dimension=256,
    blocks=4,
    first_squeezes=1,
    couplings=10,
    hidden_channels=512,
    mix="none",
    profile_weight=1.0,
    forecast_weight=0.0,
)
STEPS = 20
TOPOLOGIES = {  # settings, frame, clips of ten frames
    "3x3 throughout, 64x64": (replace(PAPER, middle_kernel=3), (3, 64, 64), 16),
    "3x3, 1x1, 3x3, 32x32": (PAPER, (3, 32, 32), 15),
}
TINY = {"tiny": (replace(PAPER, state_dimension=16, couplings=2, hidden_channels=16), (3, 16, 16), 2)}
FORMS: dict[str, tuple[bool, bool, bool, Memory]] = {  # bf16, TF32, compiled, memory
    "float32": (False, False, False, "none"),
    "TF32": (False, True, False, "none"),
    "bf16": (True, True, False, "none"),
    "bf16, compiled": (True, True, True, "none"),
    "bf16, compiled, reversible": (True, True, True, "reversible"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a model and frames that a CPU can do")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    print("| topology | form | ms per step | TFLOP/s | GiB |\n| --- | --- | --- | --- | --- |")
    for row in rows(arguments.tiny, arguments.steps):
        name = f"| {row['topology']} | {row['form']} |"
        print(f"{name} {row['ms']:.1f} | {row['tflops']:.2f} | {row['gib']:.1f} |", flush=True)


def rows(tiny: bool, steps: int) -> Iterator[dict[str, Any]]:
    """For each topology and form: time of a step, operations per second, and peak memory (0 on a CPU)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, (settings, frame_shape, clips) in (TINY if tiny else TOPOLOGIES).items():
        operations = 0
        for form, (bf16, tf32, compiled, memory) in FORMS.items():
            model = InvertibleLinearEmbedding(frame_shape, replace(settings, memory=memory)).to(device)
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            torch.backends.cudnn.allow_tf32 = tf32
            step = make_step(model, torch.rand(clips, 10, *frame_shape, device=device), bf16)
            if not operations:
                with FlopCounterMode(display=False) as counter:
                    step()
                operations = counter.get_total_flops()
            if compiled:
                for region in model.regions():
                    region.compile()
            seconds = timed(step, steps, device)
            peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
            speed = operations / seconds / 1e12
            yield {"topology": name, "form": form, "ms": 1000 * seconds, "tflops": speed, "gib": peak}
            del model, step
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


def make_step(model: InvertibleLinearEmbedding, clips: torch.Tensor, bf16: bool) -> Callable[[], None]:
    """A function that does one step of training."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    generator = torch.Generator(clips.device).manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=bf16):
            loss, _ = model.loss(clips, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20)
        optimizer.step()

    return step


def timed(step: Callable[[], None], steps: int, device: torch.device) -> float:
    """Seconds per step, after some warm-up steps."""
    for _ in range(5):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


if __name__ == "__main__":
    main()

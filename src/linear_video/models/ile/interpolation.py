"""Interpolation of frames, which the model's trajectory corrects."""

import math

import torch
from torch import Tensor

from linear_video.models.ile.prior import Encoded


def interpolation_weights(observed: Tensor, wanted: float) -> tuple[Tensor, float]:
    """Weights (T,) of the frames at times 0 .. T-1 for a frame at a real time, and the gap between its neighbours.

    The interpolation is cubic if the four nearest of the ``observed`` (T,) frames are evenly spaced around the time,
    and linear otherwise. At the time of an observed frame, the result is that frame, and the gap is 0. Outside the
    observed frames, all weights and the gap are 0.
    """
    weights = torch.zeros(len(observed), dtype=torch.float64, device=observed.device)
    moments = observed.nonzero().flatten().tolist()
    before, after = [t for t in moments if t <= wanted], [t for t in moments if t >= wanted]
    if not before or not after:
        return weights, 0.0
    if before[-1] == after[0]:
        weights[after[0]] = 1
        return weights, 0.0
    gap = after[0] - before[-1]
    points = [before[-1], after[0]]
    if len(before) > 1 and len(after) > 1 and before[-1] - before[-2] == after[1] - after[0] == gap:
        points = [before[-2], *points, after[1]]
    for one in points:
        weights[one] = math.prod((wanted - other) / (one - other) for other in points if other != one)
    return weights, float(gap)


def facing(seen: Encoded, observed: Tensor, wanted: float) -> tuple[Encoded, Tensor, float]:
    """Frames from the first to the last ``observed`` (T,) one, in the order in which a time lies after them.

    The result is those frames, which of them are observed, and how many steps after the last one the time lies.
    """
    known = observed.nonzero().flatten().tolist()
    first, last = known[0], known[-1]
    seen, observed = seen.first(last + 1).from_frame(first), observed[first : last + 1]
    return (seen, observed, wanted - last) if wanted > last else (seen.reversed(), observed.flip(0), first - wanted)


def check_observed(observed: Tensor | None, clips: Tensor) -> None:
    """Raise ValueError unless ``observed`` (N, T) suits clips (N, T, C, H, W), and has at least one frame of each."""
    if observed is None:
        return
    if observed.shape != clips.shape[:2]:
        raise ValueError(f"observed must be {tuple(clips.shape[:2])}, not {tuple(observed.shape)}.")
    if not observed.any(dim=1).all():
        raise ValueError("every sequence needs at least one observed frame.")

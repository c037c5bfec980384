"""How linear a learned code is: the linearization error of Sagel and Shen 2018."""

import numpy as np
import torch
from numpy.typing import NDArray

from linear_video.common.spread import spread
from linear_video.evaluation.likelihood import LEVELS
from linear_video.models.base import VideoModel
from linear_video.models.state_space import StateSpaceModel

NAMES = ("linearization_error", "persistence_error")
CLIPS = 500  # at most, of the training and of the held-out clips; spread over all
PIECE = 32  # clips in memory at once
SMALL = 1e-12  # a variance below this counts as zero


def linearization(model: VideoModel, train: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> dict[str, float]:
    """The linearization error of a model's code, and what a code that stands still would have.

    Equation 16 of Sagel and Shen 2018 measures how well one matrix M takes the code of a frame to the code of the next
    one, min over M of E||h(t+1) - M h(t)||². Here M is the least squares fit to the codes of the training clips, and
    the squared error is that of the held-out clips. So a code of many numbers cannot learn a few held-out frames by
    heart, and the result is an upper estimate of the minimum. It is divided by the variance E||h(t+1) - E h(t+1)||² of
    the same codes, since the equation alone is smallest for a code that shrinks to nothing.

    The codes are the model's ``states``: of the Dynamic VAE the encoded mean of h(t), for which it sees the frames t
    and t + 1; of the linear system the principal components of frame t.

    Args:
        model: any model; only one with linear states has a code in this sense.
        train: training clips uint8 (N, T, C, H, W), which may be memory-mapped; at most ``CLIPS`` are used.
        held_out: held-out clips, likewise.

    Returns:
        ``linearization_error``: 0 if a matrix takes each code to the next one, 1 if the present code tells nothing
        about the next one; more than 1 if what was fitted on training clips does not hold on the held-out ones.
        ``persistence_error``: the same with the identity in place of M: the next code is the present one.
        Empty if the model has no linear states, if a clip has no two codes in a row, or if the codes of the
        held-out clips do not vary.
    """
    if not isinstance(model, StateSpaceModel) or held_out.shape[1] <= model.least_context:
        return {}  # a code is of as many frames as the least context
    transposed = np.linalg.lstsq(*_steps(model, train), rcond=None)[0]
    first, second = _steps(model, held_out)
    variance = second.var(axis=0).sum()
    if variance < SMALL:
        return {}
    errors = (second - first @ transposed, second - first)
    return {name: float((error**2).sum(axis=1).mean() / variance) for name, error in zip(NAMES, errors, strict=True)}


@torch.no_grad()
def _steps(model: StateSpaceModel, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Codes of clips, and the code after each: (steps, n) each."""
    chosen, first, second = spread(CLIPS, len(frames)), [], []
    for start in range(0, len(chosen), PIECE):
        clips = torch.from_numpy(np.array(frames[chosen[start : start + PIECE]])).to(model.device).float() / LEVELS
        codes = model.states(clips).double()  # (N, T or T - 1, n)
        first.append(codes[:, :-1].flatten(0, 1).cpu().numpy())
        second.append(codes[:, 1:].flatten(0, 1).cpu().numpy())
    return np.concatenate(first), np.concatenate(second)

"""The test clips of Moving MNIST as they are distributed (Srivastava et al. 2015): ``mnist_test_seq.npy``."""

from pathlib import Path

import numpy as np
import pandas as pd

from linear_video.clips.base import ClipSet
from linear_video.clips.readers.recordings import open_array
from linear_video.common.errors import InputError
from linear_video.common.spread import spread


def read_test_clips(path: Path, most: int, frames: int, frame_shape: tuple[int, int, int]) -> ClipSet:
    """The first ``frames`` frames of at most ``most`` clips, which are spread evenly over the file.

    The file is an array uint8 (T, N, H, W), with time first: (20, 10000, 64, 64) as it is distributed. It is mapped
    into memory, never unpickled, and refused where its header says something else.

    Args:
        path: the file.
        most: number of clips that are wanted.
        frames: frames of a clip.
        frame_shape: (C, H, W) that is wanted.

    Raises:
        InputError: if the file is missing, is not such an array, or has too few frames or frames of another size.
    """
    if not path.is_file():
        raise InputError(
            f"{path} is missing; put Moving MNIST's mnist_test_seq.npy there, or set moving_symbols.test_file to null."
        )
    try:
        values = open_array(path)
    except InputError as error:
        raise InputError(f"{path}: {error}; fetch mnist_test_seq.npy again.") from error
    if values.dtype != np.uint8 or values.ndim != 4 or 0 in values.shape:
        raise InputError(f"{path} holds {values.dtype} of the shape {values.shape}, not uint8 (frames, clips, 64, 64).")
    if (1, *values.shape[2:]) != frame_shape or len(values) < frames:
        raise InputError(
            f"{path} holds clips of {len(values)} grey frames of {values.shape[3]}x{values.shape[2]} pixels, but the "
            f"parameters of moving_symbols ask for {frames} frames of the shape {frame_shape}; change frames, "
            "frame_size or channels."
        )
    numbers = spread(most, values.shape[1])
    clips = np.empty((len(numbers), frames, *frame_shape), np.uint8)
    for row, number in enumerate(numbers):
        clips[row, :, 0] = values[:frames, number]
    table = pd.DataFrame({"source": path.name, "label": "", "start": 0, "number": numbers})
    return ClipSet(clips, table)

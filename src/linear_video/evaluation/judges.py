"""Judges of synthesised sequences: counting, dynamic textures, rotation. Each dataset names its judge."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import DatasetSettings
from linear_video.clips.digit_cycles import DigitCyclesSettings, labelled_pictures
from linear_video.common.checks import check_least, check_within
from linear_video.common.errors import InputError
from linear_video.common.spread import spread

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SynthesisSettings:
    """Settings of the synthesis: what is synthesised and scored.

    Attributes:
        sequences: number of sequences. They have different starts, spread over the held-out clips.
        frames: number of frames in a sequence.
        noise_scale: 1 draws from the model, 0 follows its mean.
        spread_starts: whether the starts are spread over time within the clips. Otherwise, they are the first frames.
    """

    sequences: int = 20
    frames: int = 200
    noise_scale: float = 1.0
    spread_starts: bool = True

    def __post_init__(self) -> None:
        check_least(self, 1, "sequences")
        check_least(self, 4, "frames")
        check_within(self, "[0, inf)", "noise_scale")

    def starts(self, clips: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clip and frame of each start. The frame after it is in the clip, too."""
        numbers = np.arange(self.sequences)
        clip = spread(self.sequences, clips) if self.sequences <= clips else numbers % clips
        return clip, numbers % (length - 1) if self.spread_starts else np.zeros_like(numbers)


class Sequences(NamedTuple):
    """Synthesised sequences, and the clips that they are compared with."""

    frames: NDArray[np.uint8]  # (N, F, C, H, W)
    starts: pd.DataFrame  # one row each: the clip and frame from which it starts
    held_out: NDArray[np.uint8]  # clips (M, T, C, H, W)


def judge_counting(sequences: Sequences, dataset: DatasetSettings, seed: int) -> dict[str, Any]:
    """How well the sequences count, as read by a classifier that is trained on images that no model has seen."""
    from linear_video.evaluation.symbol_reader import read
    from linear_video.evaluation.synthesis import score_counting, variety

    if not isinstance(dataset, DigitCyclesSettings):
        raise InputError("only symbols in a cycle can be judged by counting.")
    apart, labels = labelled_pictures(dataset, "test")
    others, other_labels = labelled_pictures(dataset, "validation")
    known, numbers = np.unique(labels, return_inverse=True)
    reader = _reader(apart.tobytes(), apart.shape, numbers.tobytes(), seed)
    read_apart, _ = read(reader, others)
    found, confidence = read(reader, sequences.frames)
    symbols, of_cycle = known[found], np.isin(labels, list(dataset.period))
    scores = score_counting(symbols, confidence, dataset.period)
    scores["variety"] = variety(sequences.frames, symbols, confidence, apart[of_cycle], labels[of_cycle])
    return {**scores, "reader_accuracy": float((known[read_apart] == other_labels).mean()), "cycle": dataset.period}


@lru_cache(maxsize=1)  # a run judges several models on the same images, and training takes a minute
def _reader(images: bytes, shape: tuple[int, ...], labels: bytes, seed: int) -> "nn.Module":
    from linear_video.evaluation.symbol_reader import train_reader

    return train_reader(
        np.frombuffer(images, np.uint8).reshape(shape).copy(), np.frombuffer(labels, np.int64).copy(), seed
    )


def judge_texture(sequences: Sequences, dataset: DatasetSettings, seed: int) -> dict[str, Any]:
    """Distances from held-out footage, and whether the sequences last."""
    from linear_video.evaluation.synthesis import score_texture

    return score_texture(sequences.frames, np.asarray(sequences.held_out))


def judge_rotation(sequences: Sequences, dataset: DatasetSettings, seed: int) -> dict[str, Any]:
    """A full turn against the true views of the held-out configuration."""
    from linear_video.evaluation.synthesis import score_rotation

    frames, starts = sequences.held_out, sequences.starts
    turn = frames.shape[1] - 1  # the last view of a clip is the first again
    if not np.array_equal(frames[:, 0], frames[:, -1]):
        raise InputError(
            "rotation is scored on clips of one full turn and then the first view again; set frames to fit."
        )
    views = np.stack(
        [np.roll(frames[c, :turn], -f, axis=0) for c, f in zip(starts["clip"], starts["frame"], strict=True)]
    )
    return score_rotation(sequences.frames, views)


class SynthesisJudge(NamedTuple):
    """How sequences are scored, and the default settings of their synthesis."""

    score: Callable[[Sequences, DatasetSettings, int], dict[str, Any]]
    defaults: SynthesisSettings


JUDGES = {
    "counting": SynthesisJudge(judge_counting, SynthesisSettings()),
    "texture": SynthesisJudge(judge_texture, SynthesisSettings(sequences=4, frames=1000, spread_starts=False)),
    "rotation": SynthesisJudge(judge_rotation, SynthesisSettings(frames=36, noise_scale=0.0)),
}

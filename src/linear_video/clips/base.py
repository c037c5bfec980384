"""The base of every dataset: its settings, and the clips that are made from them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.common.errors import InputError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# How models are judged on a dataset: by the frames that they predict, or by the sequences that they synthesise.
Judge = Literal["prediction", "counting", "texture", "rotation"]


@dataclass(frozen=True)
class ClipSet:
    """Clips of equal shape, with one row of facts for each.

    Attributes:
        frames: uint8 (N, T, C, H, W); may be memory-mapped.
        table: one row for each clip: ``source``, ``label``, ``start`` (frame number in the source), and any other
            facts.
        states: ground truth of simulated clips, one row for each clip, frame and symbol; None if there is none.
        actions: float32 (N, T, m), what acted between the previous frame and each frame; None if nothing is known.
    """

    frames: NDArray[np.uint8]
    table: pd.DataFrame
    states: pd.DataFrame | None = None
    actions: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 5 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 of shape (N, T, C, H, W), not {self.frames.dtype} {self.frames.shape}."
            )
        if len(self.table) != len(self.frames):
            raise ValueError(f"the table has {len(self.table)} rows for {len(self.frames)} clips.")
        if self.actions is not None and (self.actions.ndim != 3 or self.actions.shape[:2] != self.frames.shape[:2]):
            raise ValueError(f"actions must be (N, T, m) for clips {self.frames.shape}, not {self.actions.shape}.")

    def actions_of(self, values: int) -> NDArray[np.float32] | None:
        """The clips' actions for a model whose actions have ``values`` values; None for a model without actions.

        Raises:
            InputError: if the clips' actions have another number of values, or there are none.
        """
        if not values:
            return None
        if self.actions is None or self.actions.shape[2] != values:
            known = "none" if self.actions is None else f"{self.actions.shape[2]} values"
            raise InputError(
                f"the model takes actions of {values} values, but the clips have {known}; change the model's parameter "
                "actions, or make clips with actions (moving_symbols.pushes)."
            )
        return self.actions


@dataclass(frozen=True)
class ClipStream:
    """Clips on their way to a file, never in memory all at once. They are loaded again as a ``ClipSet``.

    Attributes:
        table: as in ``ClipSet``.
        clip_shape: (T, C, H, W).
        pieces: each call starts again and yields all frames, uint8 (n, T, C, H, W) at a time, in the order of the
            table.
    """

    table: pd.DataFrame
    clip_shape: tuple[int, int, int, int]
    pieces: Callable[[], Iterator[NDArray[np.uint8]]]


class Made(NamedTuple):
    """What a dataset makes.

    Attributes:
        clips: the clips of each split.
        sources: a row for each recording or object, with the reason why it is not used ("" if it is used); None unless
            the dataset ``lists_sources``.
        videos: whole test videos, frame by frame and one after the other, each frame as a clip of length 1. Their table
            has a column ``anomalous`` (bool) beside the usual ones; ``source`` names the video. None unless the
            dataset ``labels_anomalies``.
    """

    clips: Mapping[Split, ClipSet | ClipStream]
    sources: pd.DataFrame | None = None
    videos: ClipSet | ClipStream | None = None


class Shard(NamedTuple):
    """One of several parts into which the recordings of a dataset are divided; numbered from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard of ``i/n``.

        Raises:
            ValueError: if the text does not name one.
        """
        parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        shard = cls(int(parts[1]), int(parts[2])) if parts else cls(0, 0)
        if not 1 <= shard.number <= shard.of:
            raise ValueError(f"shard must be i/n with i from 1 to n, as in 3/8, not {text!r}.")
        return shard


class DatasetSettings(ABC):
    """Settings of one kind of dataset, and how its clips are made. A subclass is a frozen dataclass.

    Attributes:
        judge: how models are judged on the clips.
        lists_sources: whether ``make`` says what became of each recording or object.
        in_shards: whether the dataset has ``read_shard``, which does a part of the reading for ``make``.
        labels_anomalies: whether ``make`` gives whole test videos, and says which of their frames are anomalous.
        frames: number of frames in a clip.
    """

    judge: ClassVar[Judge] = "prediction"
    lists_sources: ClassVar[bool] = False
    labels_anomalies: ClassVar[bool] = False
    in_shards: ClassVar[bool] = False
    frames: int

    @abstractmethod
    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Make the clips of all splits.

        Args:
            name: name of the dataset in the parameters, for messages.
            seed: seed of everything random.
            folder: keeps what is worth keeping from one run to the next.

        Raises:
            InputError: if something is missing or cannot be used.
        """


def check_each_split(settings: DatasetSettings, name: str) -> None:
    """Raise ValueError unless a setting gives a number of at least 1 for each split."""
    given = getattr(settings, name)
    if set(given) != set(SPLITS) or min(given.values()) < 1:
        raise ValueError(f"{name} must give at least 1 for each of {', '.join(SPLITS)}, not {given}.")

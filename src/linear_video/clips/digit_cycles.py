"""Endless counting: digits or letters in a fixed cyclic order, with a new image of the symbol at each step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import SPLITS, ClipStream, DatasetSettings, Judge, Made, Split, check_each_split
from linear_video.clips.readers.symbols import in_channels, load_images
from linear_video.common.checks import check_choice, check_least
from linear_video.common.errors import InputError
from linear_video.common.images import resized

PIECE = 256  # clips in memory at once


@dataclass(frozen=True)
class DigitCyclesSettings(DatasetSettings):
    """Which digits or letters are counted, and with which images.

    Attributes:
        cycle: the symbols of a cycle, such as "1234"; "67896789" is the same as "6789". Letters need the symbols
            ``"folder"``.
        symbols: ``"digits"`` (scikit-learn's, bundled), ``"mnist"``, or ``"folder"``: white symbols on black, or in
            colour, in sub-folders named by a digit or a letter each.
        symbols_folder: folder of MNIST's files or of the pictures; unused by ``"digits"``.
        images_per_digit: images shown at each place of the cycle, for each split. If a symbol has fewer images, all of
            them are shown before one is repeated.
        frame_size: side of the square frame.
        channels: 1 (grey) or 3 (the same in red, green and blue).
        frames: number of frames in a clip. Each clip starts with the last frame of the previous one, so every step from
            one symbol to the next occurs in exactly one clip.
    """

    judge: ClassVar[Judge] = "counting"

    cycle: str = "1234"
    symbols: Literal["digits", "mnist", "folder"] = "digits"
    symbols_folder: str = "data/01_raw/mnist"
    images_per_digit: dict[Split, int] = field(default_factory=lambda: {"train": 2000, "validation": 200, "test": 200})
    frame_size: int = 32
    channels: int = 1
    frames: int = 33

    def __post_init__(self) -> None:
        if self.symbols == "folder":
            if len(self.cycle) < 2 or not self.cycle.isalnum():
                raise ValueError(f"cycle must be at least two letters or digits, in quotes, not {self.cycle!r}.")
        elif len(self.cycle) < 2 or not set(self.cycle) <= set("0123456789"):
            raise ValueError(
                f"cycle must be at least two digits, in quotes, not {self.cycle!r}; letters need symbols: folder."
            )
        check_each_split(self, "images_per_digit")
        check_least(self, 1, "frame_size")
        check_choice(self, (1, 3), "channels")
        check_least(self, 2, "frames")
        shortest = min(self.images_per_digit.values()) * len(self.period)
        if self.frames > shortest:
            raise ValueError(f"frames is {self.frames}, but the shortest sequence has {shortest} symbols.")

    @property
    def period(self) -> str:
        """The cycle without repetition."""
        return self.cycle[: (2 * self.cycle).find(self.cycle, 1)]

    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Count with the images of each split."""
        return Made({split: count(self, split, seed) for split in SPLITS})


def count(settings: DigitCyclesSettings, split: Split, seed: int) -> ClipStream:
    """One long counting sequence of a split, cut into clips. Splits share no image.

    With I images per symbol and a cycle of L symbols, the sequence has I·L frames, and so I·L - 1 steps (paper:
    2,000·4 - 1). Frames at the end that do not fill a clip are left out.

    Raises:
        InputError: if a symbol has no image.
    """
    images, labels, names = load_images(settings.symbols, Path(settings.symbols_folder), split)
    random = np.random.default_rng((seed, SPLITS.index(split)))
    cycle = np.array(list(settings.period))
    symbols = np.tile(cycle, settings.images_per_digit[split])  # in the order in which they are shown
    shown = np.empty(len(symbols), np.int64)
    for symbol in np.unique(cycle):
        places, of_symbol = np.flatnonzero(symbols == symbol), np.flatnonzero(np.array(labels) == symbol)
        if not len(of_symbol):
            raise InputError(
                f"there is no {split} image of {symbol} in {settings.symbols_folder}; add more images of it, or leave "
                "it out of the cycle."
            )
        passes = math.ceil(len(places) / len(of_symbol))
        shown[places] = np.concatenate([random.permutation(of_symbol) for _ in range(passes)])[: len(places)]
    starts = np.arange(0, len(symbols) - settings.frames + 1, settings.frames - 1)
    places = starts[:, None] + np.arange(settings.frames)  # (N, T)
    table = pd.DataFrame(
        {
            "source": [",".join(names[i] for i in clip) for clip in shown[places]],
            "label": ["".join(clip) for clip in symbols[places]],
            "start": starts,
        }
    )
    used = np.unique(shown)
    pictures = _pictures([images[i] for i in used], settings)
    clips = np.searchsorted(used, shown)[places]  # (N, T)
    return ClipStream(table, (settings.frames, *pictures.shape[1:]), partial(_pieces, pictures, clips))


def labelled_pictures(settings: DigitCyclesSettings, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """All images of a split as frames uint8 (N, C, H, W), and their labels (N,)."""
    images, labels, _ = load_images(settings.symbols, Path(settings.symbols_folder), split)
    return _pictures(images, settings), np.array(labels)


def _pictures(images: list[NDArray[np.float32]], settings: DigitCyclesSettings) -> NDArray[np.uint8]:
    """Images, as ``Symbol.planes``, on black as frames (N, C, H, W)."""
    side, channels = settings.frame_size, settings.channels
    planes = [in_channels(resized(image, side, side), channels)[..., :channels] for image in images]
    return np.rint(255 * np.stack(planes)).astype(np.uint8).transpose(0, 3, 1, 2)


def _pieces(pictures: NDArray[np.uint8], clips: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(clips), PIECE):
        yield pictures[clips[start : start + PIECE]]

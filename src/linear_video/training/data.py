"""The clips of each training step, drawn independently of the steps before."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from linear_video.training.fit import Actions, Frames, TrainingSettings

Batch = tuple[int, Tensor, Tensor | None]  # number of the step, clips or their numbers, and their actions


def to_unit_range(frames: Tensor) -> Tensor:
    """uint8 frames of 0 .. 255 -> float32 in [0, 1]."""
    return frames.float() / 255


class TrainingSteps(Dataset[Batch]):
    """Item ``step`` is the number of the step, its clips, drawn by (seed, step), uint8 (N, T, C, H, W), their actions.

    The clips of a step do not depend on earlier steps, so an interrupted training continues as if it had not been
    interrupted. With several devices, number ``rank`` of ``devices`` takes every ``devices``-th clip of a step. With
    ``numbers_only``, the clips' numbers (N,) replace the clips, which are already on the device.
    """

    def __init__(
        self,
        frames: Frames,
        clips_per_step: int,
        seed: int,
        rank: int = 0,
        devices: int = 1,
        numbers_only: bool = False,
        actions: Actions | None = None,
    ) -> None:
        self.frames, self.clips_per_step, self.seed = frames, clips_per_step, seed
        self.rank, self.devices, self.numbers_only = rank, devices, numbers_only
        self.actions = actions

    def chosen(self, step: int) -> NDArray[np.int64]:
        """Numbers of the clips of a step."""
        drawn = np.random.default_rng((self.seed, step)).integers(len(self.frames), size=self.clips_per_step)
        return np.sort(drawn)[self.rank :: self.devices]  # sorted, which is faster for memory-mapped files

    def __getitem__(self, step: int) -> Batch:
        chosen = self.chosen(step)
        actions = None if self.actions is None else torch.from_numpy(self.actions[chosen])
        return step, torch.from_numpy(chosen if self.numbers_only else self.frames[chosen]), actions


class _InTurn(TrainingSteps):
    """Item ``start`` has the clips from number ``start`` on."""

    def chosen(self, step: int) -> NDArray[np.int64]:
        return np.arange(step, min(step + self.clips_per_step, len(self.frames)))


class Clips(pl.LightningDataModule):
    """Training clips drawn at random, validation clips in turn."""

    def __init__(
        self,
        train: Frames,
        validation: Frames,
        settings: TrainingSettings,
        seed: int,
        actions: tuple[Actions | None, Actions | None],
    ) -> None:
        super().__init__()
        self.train, self.validation, self.settings, self.seed = train, validation, settings, seed
        self.train_actions, self.validation_actions = actions

    def train_dataloader(self) -> DataLoader[Any]:
        """Steps of the current round. A round (an epoch in Lightning) lasts from one validation to the next."""
        assert self.trainer is not None
        first = self.trainer.current_epoch * self.settings.validate_every
        last = min(first + self.settings.validate_every, self.settings.steps)
        size, rank, devices = self.settings.clips_per_step, self.trainer.global_rank, self.trainer.world_size
        steps = TrainingSteps(
            self.train, size, self.seed, rank, devices, self.settings.clips_on_device, self.train_actions
        )
        return DataLoader(steps, batch_size=None, sampler=range(first, last))

    def val_dataloader(self) -> DataLoader[Any]:
        """All validation clips in turn; each is read only when needed, since there may be many."""
        size = self.settings.clips_per_step
        in_turn = _InTurn(self.validation, size, self.seed, actions=self.validation_actions)
        return DataLoader(in_turn, batch_size=None, sampler=range(0, len(self.validation), size))

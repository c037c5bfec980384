"""Fit any model to clips with Lightning. A training can be resumed at any time, and ends with the same weights."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.common import storage
from linear_video.common.checks import check_least, check_within
from linear_video.common.errors import InputError

if TYPE_CHECKING:
    from linear_video.models.base import TrainedBySteps

Frames = NDArray[np.uint8]  # (N, T, C, H, W)
Actions = NDArray[np.float32]  # (N, T, m)

# Told of each validation in this process: its step, of how many, and the loss. One that raises ends the training.
watchers: list[Callable[[int, int, float], None]] = []


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is fitted.

    Attributes:
        steps: number of optimiser steps.
        clips_per_step: number of clips in one step, over all devices together.
        learning_rate: greatest learning rate of Adam.
        learning_rates: other rates for parameters, by the start of their names, for example ``{"prior": 0.01}``.
        schedule: course of the rates after the warm-up: ``"constant"``, or ``"cosine"`` down to zero.
        warmup_steps: number of first steps in which the rates rise linearly from zero.
        gradient_norm: the gradient is scaled down to this norm if it is larger.
        weight_average: decay per step of the exponential moving average of the weights; 0 keeps the last weights.
        validate_every: number of steps between two validations; each one writes a checkpoint to resume from.
        threads: number of CPU threads that PyTorch may use in training; None leaves it to PyTorch. Small models gain
            little from a second thread, and with a fixed number the weights do not depend on the machine's cores.
        accelerator: accelerator of Lightning's Trainer: ``"auto"``, ``"cpu"``, ``"gpu"``, ...
        devices: number of devices that share each step.
        precision: with ``"bf16-mixed"``, networks compute in bf16; log-determinants stay in float32, the linear
            system in float64.
        strategy: ``"auto"``; with several devices ``"ddp_spawn"`` or, on CPUs, ``"ddp_fork"``, which start a process
            for each; or ``"ddp"`` under ``torchrun``, which starts the processes itself, and sets their number in place
            of ``devices``.
        float32_products: ``"highest"`` precision of matrix products in float32, or ``"high"``, which may use TF32.
        clips_on_device: whether all training clips are moved to the device before the first step.
        compile: whether the parts that a model names (``regions``) are compiled; takes a minute at the start.
    """

    steps: int = 2000
    clips_per_step: int = 16
    learning_rate: float = 2e-3
    learning_rates: dict[str, float] = field(default_factory=dict)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: int = 50
    gradient_norm: float = 20.0
    weight_average: float = 0.0
    validate_every: int = 200
    threads: int | None = None
    accelerator: str = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    strategy: Literal["auto", "ddp_spawn", "ddp_fork", "ddp"] = "auto"
    float32_products: Literal["highest", "high"] = "highest"
    clips_on_device: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        check_least(self, 1, "steps", "clips_per_step", "validate_every", "devices", "threads")
        check_least(self, 0, "warmup_steps")
        check_within(self, "(0, inf)", "gradient_norm")
        check_within(self, "[0, 1)", "weight_average")
        if self.strategy == "ddp" and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise ValueError(
                "strategy ddp would start the whole program once more for each device. Use ddp_spawn, or ddp_fork on "
                "CPUs; or start the run with torchrun."
            )
        if self.clips_per_step % self.processes:
            raise ValueError(f"clips_per_step {self.clips_per_step} must be a multiple of {self.processes} devices.")
        rates = {f"learning_rates.{name}": rate for name, rate in self.learning_rates.items()}
        for name, rate in {"learning_rate": self.learning_rate, **rates}.items():
            if not rate > 0:
                raise ValueError(f"{name} must be above zero, not {rate}.")

    @property
    def processes(self) -> int:
        """Devices that share a step, over all machines."""
        return int(os.environ["WORLD_SIZE"]) if self.strategy == "ddp" else self.devices


def fit(
    model: "TrainedBySteps",
    train: Frames,
    validation: Frames,
    settings: TrainingSettings,
    seed: int,
    folder: Path,
    identity: Mapping[str, Any],
    actions: tuple[Actions | None, Actions | None] = (None, None),
) -> pd.DataFrame:
    """Train a model in place; it ends with the weights of least validation loss.

    The state is written to ``folder`` at each validation. If ``folder`` holds the state of the same training
    (settings, seed, clips and ``identity`` are all equal), training continues from it; otherwise it starts afresh. With
    the strategy ``"ddp"``, all processes need access to the folder or its URL, and only the first one returns; the
    others exit.

    Args:
        model: the model to train.
        train: clips to learn from, uint8 (N, T, C, H, W).
        validation: clips that choose the weights, uint8 (N, T, C, H, W).
        settings: see ``TrainingSettings``.
        seed: seed of the draw of clips and of the noise.
        folder: folder for the state of this training alone.
        identity: other facts that identify this training (for example the model's settings).
        actions: actions of ``train`` and ``validation``, for a model that knows actions.

    Returns:
        A row for each validation: step, seconds, train_* and val_* means of the losses and their parts.

    Raises:
        TrainingError: if the loss is not finite; the last good state stays in the folder.
        InputError: if there are too few clips, or a learning rate names no parameters.
    """
    import torch

    from linear_video.training import lightning, state
    from linear_video.training.data import Clips

    if not len(train) or not len(validation):
        raise InputError(f"training needs clips, but has {len(train)} for training and {len(validation)} to validate.")
    regions = model.regions() if settings.compile else []
    if settings.compile and not regions:
        raise InputError(f"training.compile: {type(model).__name__} names no parts to compile; set it to false.")
    for region in regions:
        region.compile()
    fitting = lightning.Fitting(model, settings, seed)
    shared = settings.strategy == "ddp"  # with the processes that torchrun has started
    with lightning.quiet():
        trainer = lightning.make_trainer(settings, folder, model.skips_parameters)
        if shared:
            trainer.strategy.setup_environment()  # from here on, the processes can communicate
        first = trainer.global_rank == 0
        clips: list[NDArray[Any]] = [train, validation, *(of_split for of_split in actions if of_split is not None)]
        resume = state.prepare(folder, settings, seed, clips, identity) if first else None
        if shared:
            resume = trainer.strategy.broadcast(resume)
            _share(trainer, folder)
        data = Clips(train, validation, settings, seed, actions)
        with lightning.processor(settings):
            trainer.fit(fitting, data, ckpt_path=resume and storage.here(resume), weights_only=True)
    if shared:
        _share(trainer, folder)
    # Read from the files, since with several devices the training took place in other processes.
    best, last = (torch.load(folder / f"{k}.ckpt", map_location="cpu", weights_only=True) for k in ("best", "last"))
    fitting.load_state_dict(best["state_dict"])
    model.cpu().eval()
    if shared:
        trainer.strategy.barrier()  # all have read the files
        if not first:
            raise SystemExit(0)
    return pd.DataFrame(last["history"])


def _share(trainer: Any, folder: Path) -> None:
    """Let every machine have the state that the first process has put into the store, if the folder lies in one."""
    if trainer.global_rank == 0:
        storage.put_files(folder)
    trainer.strategy.barrier()
    if trainer.local_rank == 0 and trainer.global_rank != 0:
        storage.fetch_files(folder)
    trainer.strategy.barrier()

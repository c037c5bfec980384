"""Fit any model to clips with Lightning: resumable at any moment, the same weights with or without interruption."""

import hashlib
import json
import logging
import math
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from linear_video.errors import InputError, TrainingError
from linear_video.files import replacing_file
from linear_video.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

VALIDATION_STREAM = 2**31  # seeds of the validation noise, apart from the training steps' numbers
CHECK_EVERY = 50  # steps between two looks at whether a GPU's losses were finite; each look waits for the GPU

Frames = NDArray[np.uint8]  # (N, T, C, H, W)
Actions = NDArray[np.float32]  # (N, T, m)
Batch = tuple[int, Tensor, Tensor | None]  # number, clips or their numbers, and their actions


def to_unit_range(frames: Tensor) -> Tensor:
    """uint8 frames of 0 .. 255 -> float32 in [0, 1]."""
    return frames.float() / 255


class TrainingSteps(Dataset[Batch]):
    """Item ``step`` is the number of the step, its clips, drawn by (seed, step), uint8 (N, T, C, H, W), their actions.

    What a step sees depends on nothing that came before, so that an interrupted training goes on as it would have.
    Of several devices, number ``rank`` of ``devices`` takes every ``devices``-th of a step's clips. With
    ``numbers_only``, the clips' numbers (N,) stand for the clips, which lie on the device.
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

    def __getitem__(self, step: int) -> Batch:
        drawn = np.random.default_rng((self.seed, step)).integers(len(self.frames), size=self.clips_per_step)
        drawn = np.sort(drawn)[self.rank :: self.devices]  # sorted: memory-mapped files like it
        actions = None if self.actions is None else torch.from_numpy(self.actions[drawn])
        return step, torch.from_numpy(drawn if self.numbers_only else self.frames[drawn]), actions


class _Clips(pl.LightningDataModule):
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
        """Steps of the current round; a round (Lightning's epoch) lasts from one validation to the next."""
        assert self.trainer is not None
        first = self.trainer.current_epoch * self.settings.validate_every
        last = min(first + self.settings.validate_every, self.settings.steps)
        size, rank, devices = self.settings.clips_per_step, self.trainer.global_rank, self.trainer.world_size
        steps = TrainingSteps(
            self.train, size, self.seed, rank, devices, self.settings.clips_on_device, self.train_actions
        )
        return DataLoader(steps, batch_size=None, sampler=range(first, last))

    def val_dataloader(self) -> DataLoader[Any]:
        """All validation clips in turn; read when they come, since they may be many."""
        size = self.settings.clips_per_step
        in_turn = _InTurn(self.validation, size, self.validation_actions)
        return DataLoader(in_turn, batch_size=None, sampler=range(0, len(self.validation), size))


class _InTurn(Dataset[Batch]):
    """Item ``start`` is itself, the clips from there on, uint8 (N, T, C, H, W), and their actions."""

    def __init__(self, frames: Frames, clips_per_step: int, actions: Actions | None) -> None:
        self.frames, self.clips_per_step, self.actions = frames, clips_per_step, actions

    def __getitem__(self, start: int) -> Batch:
        chosen = slice(start, start + self.clips_per_step)
        actions = None if self.actions is None else torch.from_numpy(self.actions[chosen])
        return start, torch.from_numpy(np.array(self.frames[chosen])), actions


class _Fitting(pl.LightningModule):
    def __init__(self, model: nn.Module, settings: TrainingSettings, seed: int) -> None:
        super().__init__()
        self.model, self.settings, self.seed = model, settings, seed
        self.resident: Tensor | None = None  # all training clips, if they lie on the device
        self.history: list[dict[str, float]] = []
        self.round_sums: dict[str, Tensor] = {}
        self.round_counts: dict[str, int] = {}  # a model's steps may differ in what they report
        self.first_bad_step: Tensor | None = None
        self.started = time.perf_counter()

    def on_fit_start(self) -> None:
        if self.settings.clips_on_device:
            self.resident = torch.from_numpy(np.array(self.trainer.datamodule.train)).to(self.device)  # type: ignore[attr-defined]

    def _loss(self, clips: Tensor, actions: Tensor | None, stream: int) -> tuple[Tensor, dict[str, Tensor]]:
        entropy = np.random.SeedSequence((self.seed, stream, self.global_rank)).generate_state(1, np.uint64)
        generator = torch.Generator(clips.device).manual_seed(int(entropy[0]))
        known = {} if actions is None else {"actions": actions}
        objective, parts = self.model.loss(to_unit_range(clips), generator, **known)  # type: ignore[operator]
        return objective, {"loss": objective.detach(), **{name: value.detach() for name, value in parts.items()}}

    def training_step(self, batch: Batch) -> Tensor:
        step, clips, actions = batch
        if self.resident is not None:
            clips = self.resident[clips]
        try:
            objective, parts = self._loss(clips, actions, step)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise _not_finite(step) from error
        bad = torch.where(objective.detach().isfinite(), math.inf, step)
        self.first_bad_step = bad if self.first_bad_step is None else torch.minimum(self.first_bad_step, bad)
        if clips.device.type == "cpu" or step % CHECK_EVERY == 0:
            self._check_finite()
        for name, value in parts.items():
            self.round_sums[name] = self.round_sums.get(name, 0) + value
            self.round_counts[name] = self.round_counts.get(name, 0) + 1
        return objective

    def _check_finite(self) -> None:
        if hasattr(self.model, "check_numerics"):
            self.model.check_numerics()  # type: ignore[operator]
        if self.first_bad_step is not None and self.first_bad_step.isfinite():
            raise _not_finite(int(self.first_bad_step))

    def on_train_epoch_start(self) -> None:
        self.round_sums, self.round_counts = {}, {}

    def validation_step(self, batch: Batch) -> None:
        start, clips, actions = batch
        _, parts = self._loss(clips, actions, VALIDATION_STREAM + start)
        for name, value in parts.items():
            self.log(f"val_{name}", value, batch_size=len(clips), on_epoch=True, sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Validation is over, and a checkpoint about to be written."""
        self._check_finite()
        row = {"step": self.global_step, "seconds": time.perf_counter() - self.started}
        row |= {f"train_{name}": float(value) / self.round_counts[name] for name, value in self.round_sums.items()}
        row |= {name: float(value) for name, value in self.trainer.callback_metrics.items() if name.startswith("val_")}
        self.history.append(row)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]
        self.started = time.perf_counter() - self.history[-1]["seconds"]

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """PyTorch's own; Lightning's refuses fused optimisers beside bf16, for the sake of fp16."""
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.gradient_norm)

    def configure_optimizers(self) -> Any:
        """Adam with a rate for each group of parameters, and the schedule of all."""
        settings = self.settings
        groups: dict[float, list[nn.Parameter]] = {}
        unused = dict(settings.learning_rates)
        for name, parameter in self.model.named_parameters():
            matching = [prefix for prefix in settings.learning_rates if name.startswith(prefix)]
            rate = settings.learning_rates[max(matching, key=len)] if matching else settings.learning_rate
            for prefix in matching:
                unused.pop(prefix, None)
            groups.setdefault(rate, []).append(parameter)
        if unused:
            names = sorted({name.split(".")[0] for name, _ in self.model.named_parameters()})
            raise InputError(
                f"learning_rates names {', '.join(unused)}, but the model's parameters start with {', '.join(names)}."
            )

        def course(step: int) -> float:
            rise = min(1.0, (step + 1) / (settings.warmup_steps + 1))
            if settings.schedule == "constant":
                return rise
            return rise * (1 + math.cos(math.pi * step / settings.steps)) / 2

        optimizer = torch.optim.Adam([{"params": ps, "lr": rate} for rate, ps in groups.items()], fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, course)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _WholeFiles(TorchCheckpointIO):
    """Checkpoints written beside their place, then renamed: Lightning's own may be cut off by a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with replacing_file(Path(path)) as part:
            torch.save(checkpoint, part)


class _Progress(pl.Callback):
    """One bar over the whole training, with its losses and the time left."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.bar = tqdm(total=self.steps, initial=trainer.global_step, desc="training", unit="step", mininterval=1)
        self.shown: dict[str, str] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.bar.update()
        if trainer.global_step % CHECK_EVERY == 0:
            self.shown["loss"] = f"{float(outputs['loss']):.3f}"
            self.bar.set_postfix(self.shown, refresh=False)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.shown["val_loss"] = f"{float(trainer.callback_metrics['val_loss']):.3f}"
        self.bar.set_postfix(self.shown, refresh=False)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.bar.close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


def fit(
    model: nn.Module,
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
    (settings, seed, clips and ``identity`` all equal), it goes on from there; of another, it starts afresh. With the
    strategy ``"ddp"`` all processes need to see the folder, and only the first returns; the others end.

    Args:
        model: meets ``models.contract.VideoModel``.
        train, validation: clips, uint8 (N, T, C, H, W).
        settings: see ``TrainingSettings``.
        seed: of the draw of clips and of the noise.
        folder: for the state of this training alone.
        identity: what else makes this training what it is (for example the model's settings).
        actions: of ``train`` and ``validation``, for a model that knows actions.

    Returns:
        A row for each validation: step, seconds, train_* and val_* means of the losses and their parts.

    Raises:
        TrainingError: if the loss is not finite; the last good state stays in the folder.
        InputError: if there are too few clips, or a learning rate names no parameters.
    """
    if not len(train) or not len(validation):
        raise InputError(f"training needs clips, but has {len(train)} for training and {len(validation)} to validate.")
    fitting = _Fitting(model, settings, seed)
    if settings.compile:
        if not hasattr(model, "regions"):
            raise InputError(f"training.compile: {type(model).__name__} names no parts to compile; set it to false.")
        for region in model.regions():  # type: ignore[operator]
            region.compile()
    checkpoints = ModelCheckpoint(
        folder,
        filename="best",
        monitor="val_loss",
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[pl.Callback] = [checkpoints, _Progress(settings.steps)]
    if settings.weight_average:
        callbacks.append(WeightAveraging(avg_fn=partial(_moving_average, decay=settings.weight_average)))
    # The last is the same library by its old name, which takes over the log where MLflow has imported it.
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Clips are drawn from a memory map within a millisecond: worker processes would only cost.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # it holds the fingerprint
        warnings.filterwarnings("ignore", message=".*treespec.*")  # Lightning's own use of PyTorch
        trainer = pl.Trainer(
            accelerator=settings.accelerator,
            devices=int(os.environ["LOCAL_WORLD_SIZE"]) if settings.strategy == "ddp" else settings.devices,
            num_nodes=settings.processes // int(os.environ["LOCAL_WORLD_SIZE"]) if settings.strategy == "ddp" else 1,
            precision=settings.precision,
            strategy=settings.strategy,
            # Rounds, not max_steps: with that, Lightning takes up a finished round as an unfinished one.
            max_epochs=math.ceil(settings.steps / settings.validate_every),
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            plugins=[_WholeFiles()],
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        if settings.strategy == "ddp":
            trainer.strategy.setup_environment()  # the processes can talk from here on
        first = trainer.global_rank == 0
        clips: list[NDArray[Any]] = [train, validation, *(of_split for of_split in actions if of_split is not None)]
        resume = _prepare(folder, settings, seed, clips, identity) if first else None
        resume = trainer.strategy.broadcast(resume) if settings.strategy == "ddp" else resume
        data = _Clips(train, validation, settings, seed, actions)
        threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
        torch.set_num_threads(settings.threads or threads)
        torch.set_float32_matmul_precision(settings.float32_products)
        try:
            trainer.fit(fitting, data, ckpt_path=resume, weights_only=True)
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(products)
    # From the files, since with several devices the training took place in other processes.
    best, last = (torch.load(folder / f"{k}.ckpt", map_location="cpu", weights_only=True) for k in ("best", "last"))
    fitting.load_state_dict(best["state_dict"])
    model.cpu().eval()
    if settings.strategy == "ddp":
        trainer.strategy.barrier()  # all have read the files
        if not first:
            raise SystemExit(0)
    return pd.DataFrame(last["history"])


def _moving_average(average: Tensor, current: Tensor, count: Tensor, decay: float) -> Tensor:
    """Exponential moving average; a module's function, since Lightning's own cannot be sent to other processes."""
    return torch.lerp(current, average, decay)


def _not_finite(step: int) -> TrainingError:
    return TrainingError(
        f"the loss stopped being finite at step {step}. Lower learning_rate or gradient_norm, or raise warmup_steps; "
        "the last good state is kept."
    )


def _prepare(
    folder: Path, settings: TrainingSettings, seed: int, clips: list[NDArray[Any]], identity: Mapping[str, Any]
) -> Path | None:
    """Checkpoint to resume from, if the folder holds one of this very training; else an empty folder."""
    known = {"training": asdict(settings), "seed": seed, "clips": [_digest(c) for c in clips], **identity}
    fingerprint = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    stamp, last = folder / "fingerprint", folder / "last.ckpt"
    if last.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        step = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
        logger.info("Going on with the interrupted training from step %d of %d.", step, settings.steps)
        return last
    if last.exists():
        logger.info("The interrupted training in %s had other settings or clips; starting afresh.", folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stamp.write_text(fingerprint)
    return None


def _digest(frames: NDArray[Any]) -> str:
    """Fingerprint of clips or actions from their shape and about a thousand of them."""
    sample = np.ascontiguousarray(frames[:: max(1, len(frames) // 1000)])
    return f"{frames.shape} {hashlib.sha256(sample.data).hexdigest()}"

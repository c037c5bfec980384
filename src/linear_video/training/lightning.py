"""How Lightning runs a training: what a step is, what is written, and what is shown."""

import bisect
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from tqdm import tqdm

from linear_video.common import storage
from linear_video.common.errors import InputError, TrainingError
from linear_video.common.files import replacing_file
from linear_video.models.base import KnowsActions, TrainedBySteps
from linear_video.training.data import Batch, to_unit_range
from linear_video.training.fit import TrainingSettings, watchers
from linear_video.training.state import DIGESTS, before_replacing

VALIDATION_STREAM = 2**31  # seeds of the validation noise, distinct from those of the training steps
CHECK_EVERY = 50  # steps between two checks whether a GPU's losses were finite; each check waits for the GPU


class Fitting(pl.LightningModule):
    """A model and its training, in the form that Lightning needs: losses, history, optimiser, schedule."""

    def __init__(self, model: TrainedBySteps, settings: TrainingSettings, seed: int) -> None:
        super().__init__()
        self.model, self.settings, self.seed = model, settings, seed
        self.resident: Tensor | None = None  # all training clips, if they are on the device
        self.history: list[dict[str, float]] = []
        self.round: dict[str, list[Tensor]] = {}  # since the last validation; steps may differ in what they report
        self.first_bad_step: Tensor | None = None
        self.started = time.perf_counter()

    def on_fit_start(self) -> None:
        """Move the clips to the device, if the settings say so."""
        if self.settings.clips_on_device:
            self.resident = torch.from_numpy(np.array(self.trainer.datamodule.train)).to(self.device)  # type: ignore[attr-defined]

    def _loss(self, clips: Tensor, actions: Tensor | None, stream: int) -> tuple[Tensor, dict[str, Tensor]]:
        entropy = np.random.SeedSequence((self.seed, stream, self.global_rank)).generate_state(1, np.uint64)
        generator = torch.Generator(clips.device).manual_seed(int(entropy[0]))
        known = (actions,) if actions is not None and isinstance(self.model, KnowsActions) else ()
        objective, parts = self.model.loss(to_unit_range(clips), generator, *known)
        return objective, {"loss": objective.detach(), **{name: value.detach() for name, value in parts.items()}}

    def training_step(self, batch: Batch) -> Tensor:
        """The objective of one batch.

        Raises:
            TrainingError: if the loss is not finite.
        """
        step, clips, actions = batch
        if self.resident is not None:
            clips = self.resident[clips]
        self.model.at_step(step / self.settings.steps)
        try:
            objective, parts = self._loss(clips, actions, step)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise not_finite(step) from error
        bad = torch.where(objective.detach().isfinite(), math.inf, step)
        self.first_bad_step = bad if self.first_bad_step is None else torch.minimum(self.first_bad_step, bad)
        if clips.device.type == "cpu" or step % CHECK_EVERY == 0:
            self._check_finite()
        for name, value in parts.items():
            self.round.setdefault(name, []).append(value)
        return objective

    def _check_finite(self) -> None:
        self.model.check_numerics()
        if self.first_bad_step is not None and self.first_bad_step.isfinite():
            raise not_finite(int(self.first_bad_step))

    def on_train_epoch_start(self) -> None:
        """Called when a round starts, the steps from one validation to the next."""
        self.round = {}

    def validation_step(self, batch: Batch) -> None:
        """Log the losses of validation clips, with noise that is the same in every round."""
        start, clips, actions = batch
        _, parts = self._loss(clips, actions, VALIDATION_STREAM + start)
        for name, value in parts.items():
            self.log(f"val_{name}", value, batch_size=len(clips), on_epoch=True, sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Called when validation is over, and a checkpoint is about to be written."""
        self._check_finite()
        row = {"step": self.global_step, "seconds": time.perf_counter() - self.started}
        row |= {f"train_{name}": float(sum(values)) / len(values) for name, values in self.round.items()}
        row |= {name: float(value) for name, value in self.trainer.callback_metrics.items() if name.startswith("val_")}
        self.history.append(row)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the history with the state."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history, its clock, and the best state so far, wherever the folder lay when that was written."""
        callback: Any
        for callback in self.trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if state is None:  # a state of an earlier version has none of the last one
                continue
            for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
                state[name] = _moved(state[name], callback.dirpath)
            state["best_k_models"] = {_moved(path, callback.dirpath): k for path, k in state["best_k_models"].items()}
            state["dirpath"] = callback.dirpath
        self.history = checkpoint["history"]
        self.started = time.perf_counter() - self.history[-1]["seconds"]

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Use PyTorch's clipping. Lightning's refuses fused optimisers with bf16, because of a problem with fp16."""
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.gradient_norm)

    def configure_optimizers(self) -> Any:
        """Adam with a rate for each group of parameters, and their common schedule."""
        settings = self.settings
        groups: dict[tuple[float, tuple[float, ...]], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            matching = [prefix for prefix in settings.learning_rates if name.startswith(prefix)]
            rate = settings.learning_rates[max(matching, key=len)] if matching else settings.learning_rate
            groups.setdefault((rate, self.model.paces(name)), []).append(parameter)
        known = [name for name, _ in self.model.named_parameters()]
        unused = [prefix for prefix in settings.learning_rates if not any(name.startswith(prefix) for name in known)]
        if unused:
            names = sorted({name.split(".")[0] for name in known})
            raise InputError(
                f"learning_rates names {', '.join(unused)}, but the model's parameters start with {', '.join(names)}."
            )

        bounds = [0, *(math.ceil(share * settings.steps) for share in self.model.stages), settings.steps]

        def course(step: int, paces: tuple[float, ...]) -> float:
            stage = min(bisect.bisect_right(bounds, step), len(paces)) - 1
            first, last = bounds[stage : stage + 2]
            pace = paces[stage] * min(1.0, (step - first + 1) / (settings.warmup_steps + 1))
            if settings.schedule == "constant":
                return pace
            length = max(1, last - first)  # a short training may have no step for the last stage
            return pace * (1 + math.cos(math.pi * (step - first) / length)) / 2

        optimizer = torch.optim.Adam([{"params": ps, "lr": rate} for (rate, _), ps in groups.items()], fused=True)
        courses: list[Callable[[int], float]] = [partial(course, paces=paces) for _, paces in groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, courses)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints beside their place, to the disk, then renames them; a kill may cut off Lightning's own."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all."""
        with replacing_file(Path(path)) as part:
            torch.save(checkpoint, part)
            before_replacing(Path(path), part)
        storage.put_files(Path(path).parent, (DIGESTS,))


class Progress(pl.Callback):
    """One bar over the whole training, with its losses and the time left."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the bar."""
        self.bar = tqdm(total=self.steps, initial=trainer.global_step, desc="training", unit="step", mininterval=1)
        self.shown: dict[str, str] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, and show the loss now and then."""
        self.bar.update()
        if trainer.global_step % CHECK_EVERY == 0:
            self.shown["loss"] = f"{float(outputs['loss']):.3f}"
            self.bar.set_postfix(self.shown, refresh=False)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the loss of the validation, and tell the watchers."""
        loss = float(trainer.callback_metrics["val_loss"])
        self.shown["val_loss"] = f"{loss:.3f}"
        self.bar.set_postfix(self.shown, refresh=False)
        if trainer.is_global_zero:
            for watcher in watchers:
                watcher(trainer.global_step, self.steps, loss)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message stands on a line of its own."""
        if hasattr(self, "bar"):
            self.bar.close()


def make_trainer(settings: TrainingSettings, folder: Path, skips_parameters: bool) -> pl.Trainer:
    """Lightning's trainer, which writes its state into ``folder`` at each validation.

    Several devices wait for the gradient of every parameter, unless a step may leave some without one.
    """
    each: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    # Two, since save_last would skip validations that are not the best so far. The last state is written second, and
    # knows what is best.
    best = ModelCheckpoint(folder, filename="best", monitor="val_loss", **each)
    last = ModelCheckpoint(folder, filename="last", **each)
    callbacks: list[pl.Callback] = [best, last, Progress(settings.steps)]
    if settings.weight_average:
        callbacks.append(WeightAveraging(avg_fn=partial(_moving_average, decay=settings.weight_average)))
    started = settings.strategy == "ddp"  # by torchrun, which sets the number of processes
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if started else 1
    uneven = skips_parameters and settings.strategy != "auto"
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=here if started else settings.devices,
        num_nodes=settings.processes // here if started else 1,
        precision=settings.precision,
        strategy=f"{settings.strategy}_find_unused_parameters_true" if uneven else settings.strategy,
        # Rounds, not max_steps: with max_steps, Lightning resumes a finished round as an unfinished one.
        max_epochs=math.ceil(settings.steps / settings.validate_every),
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[WholeFiles()],
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _moved(path: str, folder: str) -> str:
    return path and str(Path(folder, Path(path).name))


def _moving_average(average: Tensor, current: Tensor, count: Tensor, decay: float) -> Tensor:
    """Exponential moving average, as a function of this module: Lightning's cannot be sent to other processes."""
    return torch.lerp(current, average, decay) if current.is_floating_point() else current


def not_finite(step: int) -> TrainingError:
    """The message for a loss that is not finite."""
    return TrainingError(
        f"the loss stopped being finite at step {step}. Lower learning_rate or gradient_norm, or raise warmup_steps; "
        "the last good state is kept."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's messages that do not concern the user."""
    # The last one is the same library under its old name, which takes over the log if MLflow has imported it.
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Clips are drawn from a memory map within a millisecond, so worker processes would only cost time. The folder
    # that is not empty holds the fingerprint; "treespec" is about Lightning's own use of PyTorch.
    unimportant = ("does not have many workers", "GPU available but not used", "exists and is not empty", "treespec")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".*({'|'.join(unimportant)})")
        yield


@contextmanager
def processor(settings: TrainingSettings) -> Iterator[None]:
    """Set threads and precision of matrix products as in the settings, and restore them afterwards."""
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(settings.threads or threads)
    torch.set_float32_matmul_precision(settings.float32_products)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)

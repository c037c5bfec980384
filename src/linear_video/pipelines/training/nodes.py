"""Train a model, by steps or in closed form.

PyTorch is imported within the nodes, since every ``kedro`` command imports this file.
"""

import time
from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.clips.clip_set import ClipSet
from linear_video.commit import git_commit
from linear_video.io.checkpoint import Checkpoint
from linear_video.training.settings import TrainingSettings


def train(
    train_clips: ClipSet,
    validation_clips: ClipSet,
    model_settings: dict[str, Any],
    training_settings: dict[str, Any],
    seed: int,
    training_state: Path,
    model_name: str,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Fit a model; return it with its config, and the course of its losses."""
    import torch

    from linear_video.models.contract import build, describe
    from linear_video.training.fit import fit

    frame_shape = train_clips.frames.shape[2:]
    torch.manual_seed(seed)
    model = build(model_name, frame_shape, model_settings)
    known = getattr(model.settings, "actions", 0)
    if hasattr(model, "initialise"):
        model.initialise(train_clips.frames)  # type: ignore[operator]
    config = describe(model_name, frame_shape, model)
    history = fit(
        model,
        train_clips.frames,
        validation_clips.frames,
        TrainingSettings(**training_settings),
        seed,
        training_state,
        identity=config,
        actions=(train_clips.actions_of(known), validation_clips.actions_of(known)),
    )
    if hasattr(model, "fit_closed_form"):
        model.fit_closed_form(train_clips.frames)  # type: ignore[operator]
    config["training"] = {
        "settings": training_settings,
        "seed": seed,
        "clips": len(train_clips.frames),
        "best_step": int(history["step"].iloc[history["val_loss"].argmin()]),
        "seconds": float(history["seconds"].iloc[-1]),
        "commit": git_commit(),
    }
    return Checkpoint(model, config), history


def fit_in_closed_form(train_clips: ClipSet, model_settings: dict[str, Any], model_name: str) -> Checkpoint:
    """Fit a model that needs no training by steps; return it with its config."""
    from linear_video.models.contract import build, describe

    frame_shape = train_clips.frames.shape[2:]
    model = build(model_name, frame_shape, model_settings)
    config = describe(model_name, frame_shape, model)
    started = time.perf_counter()
    model.fit_closed_form(train_clips.frames)  # type: ignore[operator]
    seconds = time.perf_counter() - started
    config["training"] = {"clips": len(train_clips.frames), "seconds": seconds, "commit": git_commit()}
    return Checkpoint(model.eval(), config)

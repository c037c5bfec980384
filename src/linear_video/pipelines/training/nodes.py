"""Train a model, by steps or in closed form.

PyTorch is imported within the node, since every ``kedro`` command imports this file.
"""

import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from linear_video.clips.base import ClipSet
from linear_video.common.commit import git_commit
from linear_video.io.models import Checkpoint
from linear_video.parameters import ExperimentSettings


def train(
    train_clips: ClipSet,
    validation_clips: ClipSet,
    settings: ExperimentSettings,
    seed: int,
    training_state: Path,
    model_name: str,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Fit a model as its class says; return it with its config and the history of its losses.

    The history of a model that is not trained by steps is a single row, with the seconds that the fit took.
    """
    import torch

    from linear_video.evaluation.ordinary import ordinary
    from linear_video.models.base import FittedInClosedForm, TrainedBySteps, usual_device
    from linear_video.models.registry import build, describe
    from linear_video.training.fit import fit

    torch.manual_seed(seed)
    model = build(model_name, train_clips.frames.shape[2:], settings.model)
    config = describe(model_name, model)
    facts = {"clips": len(train_clips.frames), "commit": git_commit()}
    if isinstance(model, TrainedBySteps) and settings.training is not None:
        model.initialise(train_clips.frames)
        history = fit(
            model,
            train_clips.frames,
            validation_clips.frames,
            settings.training,
            seed,
            training_state,
            identity=config,
            actions=(train_clips.actions_of(model.actions), validation_clips.actions_of(model.actions)),
        )
        model.finish(train_clips.frames)
        best = int(history["step"].iloc[history["val_loss"].argmin()])
        facts |= {"settings": asdict(settings.training), "seed": seed, "best_step": best}
    else:
        started = time.perf_counter()
        if isinstance(model, FittedInClosedForm):
            model.fit_closed_form(train_clips.frames)
        history = pd.DataFrame({"step": [0], "seconds": [time.perf_counter() - started]})
    facts["ordinary"] = ordinary(model.to(usual_device()).eval(), validation_clips.frames)
    model.cpu()
    config["training"] = {**facts, "seconds": float(history["seconds"].iloc[-1])}
    return Checkpoint(model, config), history

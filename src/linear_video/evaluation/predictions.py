"""Predictions of any model for the held-out clips that are scored."""

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.models.base import KnowsActions, VideoModel
from linear_video.models.optical_flow import OpticalFlow, OpticalFlowSettings


def predict_clips(
    model: VideoModel,
    frames: NDArray[np.uint8],
    settings: EvaluationSettings,
    actions: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Predict the horizon after the context of each clip: frames (N, T, C, H, W) -> (sequences, horizon, C, H, W).

    ``actions`` (N, T, m) are the actions of the clips, for a model that knows actions.

    Raises:
        InputError: if the clips have fewer frames than the settings ask for.
    """
    wanted = settings.context + settings.horizon
    if frames.shape[1] < wanted:
        raise InputError(
            f"the {settings.held_out} clips have {frames.shape[1]} frames, but context {settings.context} + horizon "
            f"{settings.horizon} need {wanted}; make longer clips, or lower the two in the parameter evaluation."
        )
    predictions = []
    numbers = settings.scored(len(frames))
    size = settings.clips_per_batch
    for start in tqdm(range(0, len(numbers), size), desc="predicting", unit="batch", mininterval=1):
        chosen = numbers[start : start + size]
        context = torch.from_numpy(np.array(frames[chosen, : settings.context])).to(model.device).float() / 255
        if actions is not None and isinstance(model, KnowsActions):
            known = torch.from_numpy(actions[chosen, :wanted]).to(model.device)
            predicted = model.predict(context, settings.horizon, actions=known)
        else:
            predicted = model.predict(context, settings.horizon)
        predictions.append(predicted.cpu().numpy())
    return np.concatenate(predictions)


def numbers_learned(model: VideoModel) -> int:
    """How many numbers a model has learned: its parameters, or what was fitted in closed form."""
    learned: list[torch.Tensor] = [*model.parameters()] or [*model.buffers()]
    return sum(values.numel() for values in learned)


def optical_flow(context: NDArray[np.float64], horizon: int) -> dict[str, NDArray[np.float32]]:
    """The prediction of optical flow after the context (N, T, C, H, W), by name; empty if the context is one frame."""
    if context.shape[1] < 2:
        return {}
    model = OpticalFlow((context.shape[2], context.shape[3], context.shape[4]), OpticalFlowSettings())
    return {"optical_flow": model.predict(torch.from_numpy(context[:, -2:]).float(), horizon).numpy()}

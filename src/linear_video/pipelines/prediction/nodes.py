"""Predict the held-out clips of a dataset, score and draw.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet
from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.io.figures import Animation
from linear_video.io.models import Checkpoint

CLIPS_DRAWN = 3  # in a film strip


def predict(
    checkpoint: Checkpoint,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
    model_name: str,
    dataset: str,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Predicted frames of the held-out clips that are scored, (sequences, horizon, C, H, W); what there is to know."""
    import torch

    from linear_video.evaluation.comparison import fingerprint
    from linear_video.evaluation.likelihood import bits_per_value
    from linear_video.evaluation.predictions import predict_clips
    from linear_video.models.checkpoint import SIGNATURE

    clips = evaluation.chosen(validation_clips, test_clips)
    model, training = checkpoint.model, checkpoint.config.get("training", {})
    shape = tuple(model.frame_shape)
    if shape != clips.frames.shape[2:]:
        raise InputError(
            f"the trained model takes frames of the shape {shape}, but the {evaluation.held_out} clips have "
            f"{clips.frames.shape[2:]}; train again, or make the clips as they were."
        )
    model.predict(torch.zeros(1, evaluation.context, *shape), 1)  # the first time takes longer
    started = time.perf_counter()
    actions = clips.actions_of(model.actions)
    predictions = predict_clips(model, clips.frames, evaluation, actions)
    seconds = time.perf_counter() - started
    learned = list(model.parameters()) or list(model.buffers())  # the linear system is fitted, not trained
    facts = {
        "model": model_name,
        "dataset": dataset,
        "held_out": evaluation.held_out,
        "clips": fingerprint(evaluation.scored_frames(validation_clips, test_clips)),
        "parameters": sum(values.numel() for values in learned),
        "training_minutes": training.get("seconds", 0.0) / 60,
        "bits_per_value": bits_per_value(model, clips.frames, evaluation),
        "frames_per_second": predictions.shape[0] * predictions.shape[1] / seconds,
        "commit": training.get("commit", "unknown"),
        "checkpoint": checkpoint.config.get(SIGNATURE, ""),
    }
    return predictions, facts


def evaluate(
    predictions: NDArray[np.float32],
    prediction_facts: dict[str, Any],
    train_clips: ClipSet,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
    model_name: str,
    dataset: str,
) -> dict[str, Any]:
    """PSNR and SSIM of every predicted frame, beside last frame and mean frame; bits per value of all frames."""
    from linear_video.evaluation.scores import score

    context, truth = _split(evaluation.scored_frames(validation_clips, test_clips), predictions, evaluation)
    mean_frame = train_clips.frames.mean(axis=(0, 1), dtype=np.float64) / 255
    facts: dict[str, Any] = {"model": model_name, "dataset": dataset, "held_out": evaluation.held_out}
    facts["bits_per_value"] = prediction_facts.get("bits_per_value")  # of clips, not of predictions
    return facts | score(predictions, context, truth, mean_frame)


def draw(
    checkpoint: Checkpoint,
    predictions: NDArray[np.float32],
    scores: dict[str, Any],
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
) -> dict[str, Any]:
    """Film strip, horizon plot and animation; the eigenvalues of a model that has a spectrum."""
    from linear_video.evaluation import figures
    from linear_video.evaluation.scores import score_frames

    clips = evaluation.scored_frames(validation_clips, test_clips)
    context, truth = _split(clips, predictions, evaluation)
    psnr, _ = score_frames(predictions, truth)
    few = figures.representative_clips(psnr, CLIPS_DRAWN)
    name = scores["model"]
    strip = figures.filmstrip(
        context[few], truth[few], predictions[few], f"{name} on {scores['dataset']}: a bad, a median and a good clip"
    )
    several = figures.representative_clips(psnr, 6)
    rows = {name: scores, "last frame": scores["last_frame"], "mean frame": scores["mean_frame"]}
    return {
        "filmstrip": strip,
        "horizon": figures.horizon_plot(rows),
        "prediction": Animation(figures.animation(context[several], truth[several], predictions[several], name), 4),
        **figures.spectrum_of_model(checkpoint.model, clips[few[-1]]),
    }


def _split(
    clips: NDArray[np.uint8], predictions: NDArray[np.float32], evaluation: EvaluationSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Context and truth of the predicted clips, float in [0, 1]."""
    context, truth = evaluation.context_and_truth(clips)
    if predictions.shape != truth.shape:
        raise InputError(
            f"the saved predictions have the shape {predictions.shape}, but the parameters and held-out clips ask for "
            f"{truth.shape}; run again from the node predict."
        )
    return context, truth

"""Predict the held-out clips of a dataset, score and draw.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_video.clips.clip_set import ClipSet
from linear_video.errors import InputError
from linear_video.evaluation.settings import EvaluationSettings
from linear_video.io.checkpoint import Checkpoint

CLIPS_DRAWN = 3  # in a film strip


def predict(
    checkpoint: Checkpoint,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
    model_name: str,
    dataset: str,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Predicted frames of the held-out clips that are scored, (sequences, horizon, C, H, W); what there is to know."""
    import torch

    from linear_video.evaluation.comparison import fingerprint
    from linear_video.evaluation.predict import predict_clips

    settings = EvaluationSettings(**evaluation)
    clips = settings.chosen(validation_clips, test_clips)
    shape = tuple(checkpoint.config["frame_shape"])
    if shape != clips.frames.shape[2:]:
        raise InputError(
            f"the trained model takes frames of the shape {shape}, but the {settings.held_out} clips have "
            f"{clips.frames.shape[2:]}; train again, or make the clips as they were."
        )
    checkpoint.model.predict(torch.zeros(1, settings.context, *shape), 1)  # the first time takes longer
    started = time.perf_counter()
    model, training = checkpoint.model, checkpoint.config.get("training", {})
    actions = clips.actions_of(getattr(model.settings, "actions", 0))
    predictions = predict_clips(model, clips.frames, settings, actions)
    seconds = time.perf_counter() - started
    learned = list(model.parameters()) or list(model.buffers())  # the linear system is fitted, not trained
    facts = {
        "model": model_name,
        "dataset": dataset,
        "held_out": settings.held_out,
        "clips": fingerprint(settings.scored_frames(validation_clips, test_clips)),
        "parameters": sum(values.numel() for values in learned),
        "training_minutes": training.get("seconds", 0.0) / 60,
        "frames_per_second": predictions.shape[0] * predictions.shape[1] / seconds,
        "commit": training.get("commit", "unknown"),
    }
    return predictions, facts


def evaluate(
    predictions: NDArray[np.float32],
    train_clips: ClipSet,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
    model_name: str,
    dataset: str,
) -> dict[str, Any]:
    """PSNR and SSIM of every predicted frame, beside last frame and mean frame."""
    from linear_video.evaluation.scores import score

    settings = EvaluationSettings(**evaluation)
    context, truth = _split(settings.scored_frames(validation_clips, test_clips), predictions, settings)
    mean_frame = train_clips.frames.mean(axis=(0, 1), dtype=np.float64) / 255
    facts = {"model": model_name, "dataset": dataset, "held_out": settings.held_out}
    return facts | score(predictions, context, truth, mean_frame)


def draw(
    predictions: NDArray[np.float32],
    scores: dict[str, Any],
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
) -> tuple[Any, Any, NDArray[np.uint8]]:
    """Film strip and horizon plot as matplotlib figures; animation."""
    from linear_video.evaluation import figures
    from linear_video.evaluation.scores import score_frames

    settings = EvaluationSettings(**evaluation)
    context, truth = _split(settings.scored_frames(validation_clips, test_clips), predictions, settings)
    psnr, _ = score_frames(predictions, truth)
    few = figures.representative_clips(psnr, CLIPS_DRAWN)
    name = scores["model"]
    strip = figures.filmstrip(
        context[few], truth[few], predictions[few], f"{name} on {scores['dataset']}: a bad, a median and a good clip"
    )
    several = figures.representative_clips(psnr, 6)
    return (
        strip,
        figures.horizon_plot({name: scores, "last frame": scores["last_frame"], "mean frame": scores["mean_frame"]}),
        figures.animation(context[several], truth[several], predictions[several], name),
    )


def draw_spectrum(checkpoint: Checkpoint) -> Any:
    """Eigenvalues of the transition as a matplotlib figure."""
    from linear_video.evaluation import figures

    return figures.spectrum_plot(*(values.numpy() for values in checkpoint.model.spectrum()))


def _split(
    clips: NDArray[np.uint8], predictions: NDArray[np.float32], settings: EvaluationSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Context and truth of the predicted clips, float in [0, 1]."""
    context, truth = settings.context_and_truth(clips)
    if predictions.shape != truth.shape:
        raise InputError(
            f"the saved predictions have the shape {predictions.shape}, but the parameters and held-out clips ask for "
            f"{truth.shape}; run again from the node predict."
        )
    return context, truth

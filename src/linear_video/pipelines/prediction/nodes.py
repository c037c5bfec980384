"""Predict the held-out clips of a dataset, score and draw.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_video.clips.clip_set import ClipSet
from linear_video.errors import InputError
from linear_video.evaluation.settings import EvaluationSettings
from linear_video.io.checkpoint import Checkpoint

CLIPS_DRAWN = 3  # in a film strip


def predict(
    checkpoint: Checkpoint, validation_clips: ClipSet, test_clips: ClipSet, evaluation: dict[str, Any]
) -> NDArray[np.float32]:
    """Predicted frames of the held-out clips that are scored: (sequences, horizon, C, H, W)."""
    from linear_video.evaluation.predict import predict_clips

    settings = EvaluationSettings(**evaluation)
    clips = settings.chosen(validation_clips, test_clips)
    shape = tuple(checkpoint.config["frame_shape"])
    if shape != clips.frames.shape[2:]:
        raise InputError(
            f"the trained model takes frames of the shape {shape}, but the {settings.held_out} clips have "
            f"{clips.frames.shape[2:]}; train again, or make the clips as they were."
        )
    return predict_clips(checkpoint.model, clips.frames, settings)


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
    context, truth = _split(settings.chosen(validation_clips, test_clips), predictions, settings)
    mean_frame = train_clips.frames.mean(axis=(0, 1), dtype=np.float64) / 255
    facts = {"model": model_name, "dataset": dataset, "held_out": settings.held_out}
    return facts | score(predictions, context, truth, mean_frame)


def draw(
    checkpoint: Checkpoint,
    predictions: NDArray[np.float32],
    scores: dict[str, Any],
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
) -> tuple[Any, Any, Any, NDArray[np.uint8]]:
    """Film strip, horizon plot and spectrum as matplotlib figures; animation."""
    from linear_video.evaluation import figures
    from linear_video.evaluation.scores import score_frames

    settings = EvaluationSettings(**evaluation)
    context, truth = _split(settings.chosen(validation_clips, test_clips), predictions, settings)
    psnr, _ = score_frames(predictions, truth)
    few = figures.representative_clips(psnr, CLIPS_DRAWN)
    name = scores["model"]
    strip = figures.filmstrip(
        context[few], truth[few], predictions[few], f"{name} on {scores['dataset']}: a bad, a median and a good clip"
    )
    several = figures.representative_clips(psnr, 6)
    spectrum = checkpoint.model.spectrum()  # type: ignore[operator]
    return (
        strip,
        figures.horizon_plot(scores, name),
        figures.spectrum_plot(*(values.numpy() for values in spectrum)),
        figures.animation(context[several], truth[several], predictions[several], name),
    )


def _split(
    clips: ClipSet, predictions: NDArray[np.float32], settings: EvaluationSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Context and truth of the predicted clips, float in [0, 1]."""
    end = settings.context + settings.horizon
    frames = clips.frames[settings.scored(len(clips.frames)), :end] / 255
    truth = frames[:, settings.context :]
    if predictions.shape != truth.shape:
        raise InputError(
            f"the saved predictions have the shape {predictions.shape}, but the parameters and held-out clips ask for "
            f"{truth.shape}; run again from the node predict."
        )
    return frames[:, : settings.context], truth

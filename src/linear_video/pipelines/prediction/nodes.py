"""Predict the held-out clips of a dataset, score and draw.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet, DatasetSettings
from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.io.figures import Animation, encoded
from linear_video.io.models import Checkpoint


def predict(
    checkpoint: Checkpoint,
    train_clips: ClipSet,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
    model_name: str,
    dataset: str,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Predicted frames of the held-out clips that are scored, (sequences, horizon, C, H, W); and facts about them."""
    import torch

    from linear_video.evaluation.comparison import fingerprint
    from linear_video.evaluation.likelihood import bits_per_value
    from linear_video.evaluation.linearity import linearization
    from linear_video.evaluation.predictions import numbers_learned, predict_clips
    from linear_video.models.base import usual_device
    from linear_video.models.checkpoint import SIGNATURE

    clips = evaluation.chosen(validation_clips, test_clips)
    model, training = checkpoint.model.to(usual_device()), checkpoint.config.get("training", {})
    shape = tuple(model.frame_shape)
    if shape != clips.frames.shape[2:]:
        raise InputError(
            f"the trained model takes frames of the shape {shape}, but the {evaluation.held_out} clips have "
            f"{clips.frames.shape[2:]}; train again, or restore the settings of the clips."
        )
    model.predict(torch.zeros(1, evaluation.context, *shape, device=model.device), 1)  # the first time takes longer
    started = time.perf_counter()
    actions = clips.actions_of(model.actions)
    predictions = predict_clips(model, clips.frames, evaluation, actions)
    seconds = time.perf_counter() - started
    facts = {
        "model": model_name,
        "dataset": dataset,
        "held_out": evaluation.held_out,
        "clips": fingerprint(evaluation.scored_frames(validation_clips, test_clips)),
        "parameters": numbers_learned(model),
        "training_minutes": training.get("seconds", 0.0) / 60,
        "bits_per_value": bits_per_value(model, clips.frames, evaluation),
        "linearization": linearization(model, train_clips.frames, clips.frames),
        "frames_per_second": predictions.shape[0] * predictions.shape[1] / seconds,
        "commit": training.get("commit", "unknown"),
        "checkpoint": checkpoint.config.get(SIGNATURE, ""),
    }
    return predictions, facts


def watch(
    checkpoint: Checkpoint, validation_clips: ClipSet, videos: ClipSet, evaluation: EvaluationSettings
) -> pd.DataFrame:
    """How anomalous each frame of the test videos is; no frames, where validation clips are held out.

    What errors are ordinary is learned from validation clips, which have no anomalies.
    """
    from linear_video.tasks.trained import TrainedModel
    from linear_video.tasks.watching import COLUMNS, watch

    if evaluation.held_out != "test":
        return pd.DataFrame(columns=COLUMNS)
    clips = validation_clips.frames
    trained = TrainedModel(checkpoint.model, checkpoint.config, context=max(2, evaluation.context), method="model")
    return watch(trained, videos, clips[evaluation.scored(len(clips))], evaluation.horizon)


def evaluate(
    predictions: NDArray[np.float32],
    prediction_facts: dict[str, Any],
    train_clips: ClipSet,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
    model_name: str,
    dataset: str,
    watched: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """PSNR and SSIM of every predicted frame, beside last frame, mean frame and optical flow.

    Also bits per value, and the linearization error of a model with linear states; OpenSTL's scores, if the evaluation
    asks for them; and how well anomalous frames are distinguished from others, where frames of test videos have been
    ``watched``.
    """
    from linear_video.evaluation.anomalies import score_anomalies
    from linear_video.evaluation.predictions import optical_flow
    from linear_video.evaluation.scores import score

    context, truth = _split(evaluation.scored_frames(validation_clips, test_clips), predictions, evaluation)
    mean_frame = train_clips.frames.mean(axis=(0, 1), dtype=np.float64) / 255
    facts: dict[str, Any] = {"model": model_name, "dataset": dataset, "held_out": evaluation.held_out}
    facts["bits_per_value"] = prediction_facts.get("bits_per_value")  # of clips, not of predictions
    facts |= prediction_facts.get("linearization", {})
    references = optical_flow(context, evaluation.horizon)
    found = {"anomalies": score_anomalies(watched)} if watched is not None and len(watched) else {}
    return facts | score(predictions, context, truth, mean_frame, evaluation.openstl, **references) | found


def draw(
    checkpoint: Checkpoint,
    predictions: NDArray[np.float32],
    prediction_facts: dict[str, Any],
    scores: dict[str, Any],
    validation_clips: ClipSet,
    test_clips: ClipSet,
    settings: DatasetSettings,
    evaluation: EvaluationSettings,
    watched: pd.DataFrame | None = None,
) -> tuple[dict[str, Any], str]:
    """Film strip, horizon plot, animation, the spectrum if the model has one, and a page with all of them.

    Also the course of the scores of anomalies, where frames of test videos have been ``watched``.
    """
    from linear_video.evaluation import experiment, figures
    from linear_video.evaluation.anomalies import anomalies_plot
    from linear_video.evaluation.linearity import NAMES as LINEARITY
    from linear_video.evaluation.predictions import numbers_learned
    from linear_video.evaluation.scores import score_frames

    clips = evaluation.scored_frames(validation_clips, test_clips)
    context, truth = _split(clips, predictions, evaluation)
    psnr, _ = score_frames(predictions, truth)
    numbers = evaluation.scored(len(evaluation.chosen(validation_clips, test_clips).frames))
    captions = figures.drawn_clips(psnr, numbers)
    few = list(captions)
    moving = few if max(truth.shape[-2:]) <= figures.ROOMY else [few[len(few) // 2]]
    name = scores["model"]
    title = f"{name} on {scores['dataset']}"
    frames = figures.animation(context[moving], truth[moving], predictions[moving], name)
    drawn = {
        "filmstrip": figures.filmstrip(context[few], truth[few], predictions[few], title, list(captions.values())),
        "horizon": figures.horizon_plot(experiment.rows_of(scores)),
        "prediction": Animation(frames, 4),
        **figures.spectrum_of_model(checkpoint.model, clips[few[-1]]),
    }
    if watched is not None and len(watched):
        drawn["anomalies"] = anomalies_plot(watched, name)
    pictures = {kind: encoded(picture) for kind, picture in drawn.items()}
    told = {"speed of prediction": f"{prediction_facts['frames_per_second']:,.0f} frames per second"}
    if scores.get("bits_per_value") is not None:
        told["bits per value"] = f"{scores['bits_per_value']:.2f}, of held-out clips"
    for name in LINEARITY:
        if name in scores:
            told[name.replace("_", " ")] = f"{scores[name]:.3g}, of the codes of held-out clips"
    page = experiment.page(
        scores,
        checkpoint.config,
        numbers_learned(checkpoint.model),
        told,
        {"dataset": asdict(settings), "evaluation": asdict(evaluation)},  # type: ignore[call-overload]
        {kind: picture.content for kind, picture in pictures.items()},
    )
    return pictures, page


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

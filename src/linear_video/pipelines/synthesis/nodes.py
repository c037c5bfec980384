"""Endless sequences from held-out starts: synthesise, score, draw.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet, DatasetSettings
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.judges import JUDGES, Sequences, SynthesisSettings
from linear_video.io.figures import Animation, encoded
from linear_video.io.models import Checkpoint


def synthesise(
    checkpoint: Checkpoint,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    synthesis: SynthesisSettings,
    evaluation: EvaluationSettings,
    seed: int,
) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Sequences (sequences, frames, C, H, W), each from two frames of a held-out clip; and a table of these starts.

    Starts are spread over the clips, and within them over time.
    """
    import torch

    clips = evaluation.chosen(validation_clips, test_clips)
    numbers, offsets = synthesis.starts(*clips.frames.shape[:2])
    pairs = np.stack([clips.frames[n, o : o + 2] for n, o in zip(numbers, offsets, strict=True)])
    start = torch.from_numpy(pairs).float() / 255
    frames = checkpoint.model.synthesise(start, synthesis.frames, seed, synthesis.noise_scale)
    starts = pd.DataFrame({"clip": numbers, "frame": offsets})
    return (255 * frames).round().byte().numpy(), starts


def evaluate(
    checkpoint: Checkpoint,
    synthesised: NDArray[np.uint8],
    starts: pd.DataFrame,
    train_clips: ClipSet,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    settings: DatasetSettings,
    evaluation: EvaluationSettings,
    seed: int,
    model_name: str,
    dataset: str,
) -> dict[str, Any]:
    """Scores of the sequences by the judge of the dataset; and of the model: how stable it is, how linear its code."""
    from linear_video.evaluation.linearity import linearization

    frames = evaluation.chosen(validation_clips, test_clips).frames
    scores = JUDGES[settings.judge].score(Sequences(synthesised, starts, frames), settings, seed)
    sequences, length, *shape = synthesised.shape
    return {
        "model": model_name,
        "dataset": dataset,
        "held_out": evaluation.held_out,
        "n_sequences": sequences,
        "frames": length,
        "frame_shape": shape,
        "synthesis": scores
        | checkpoint.model.steadiness()
        | linearization(checkpoint.model, train_clips.frames, frames),
    }


def draw(
    checkpoint: Checkpoint,
    synthesised: NDArray[np.uint8],
    starts: pd.DataFrame,
    scores: dict[str, Any],
    validation_clips: ClipSet,
    test_clips: ClipSet,
    settings: DatasetSettings,
    evaluation: EvaluationSettings,
    synthesis: SynthesisSettings,
    scores_beside: dict[str, Any] | None = None,
    **beside: NDArray[np.uint8],
) -> tuple[dict[str, Any], str]:
    """Film strip and animation of truth, model and the models ``beside`` it by name; the model's spectrum; a page."""
    from linear_video.evaluation import experiment, figures
    from linear_video.evaluation.predictions import numbers_learned

    frames = evaluation.chosen(validation_clips, test_clips).frames
    truth = [frames[c, f:] for c, f in zip(starts["clip"], starts["frame"], strict=True)]
    name = scores["model"]
    rows = {"truth": truth, name: list(synthesised)} | {other: list(made) for other, made in beside.items()}
    drawn = {
        "filmstrip": figures.synthesis_strip(rows, f"{name} on {scores['dataset']}: sequences from held-out starts"),
        "synthesis": Animation(figures.synthesis_animation(rows), 8),
        **figures.spectrum_of_model(checkpoint.model, frames[0]),
    }
    pictures = {kind: encoded(picture) for kind, picture in drawn.items()}
    of_run = {"dataset": settings, "evaluation": evaluation, "synthesis": synthesis}
    page = experiment.page(
        scores,
        checkpoint.config,
        numbers_learned(checkpoint.model),
        {},
        {kind: asdict(values) for kind, values in of_run.items()},  # type: ignore[call-overload]
        {kind: picture.content for kind, picture in pictures.items()},
        scores_beside,
    )
    return pictures, page

"""Endless sequences from held-out starts: synthesise, score, draw.

PyTorch and matplotlib are imported within the nodes, since every ``kedro`` command imports this file.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.clip_set import ClipSet
from linear_video.clips.digit_cycles import DigitCyclesSettings, labelled_pictures
from linear_video.errors import InputError
from linear_video.evaluation.settings import EvaluationSettings, SynthesisSettings
from linear_video.io.checkpoint import Checkpoint


def synthesise(
    checkpoint: Checkpoint,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    synthesis: dict[str, Any],
    evaluation: dict[str, Any],
    seed: int,
) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Sequences (sequences, frames, C, H, W), each from two frames of a held-out clip; and which ones these are.

    Starts are spread over the clips, and within them over time.
    """
    import torch

    settings = SynthesisSettings(**synthesis)
    clips = EvaluationSettings(**evaluation).chosen(validation_clips, test_clips)
    numbers, offsets = settings.starts(*clips.frames.shape[:2])
    pairs = np.stack([clips.frames[n, o : o + 2] for n, o in zip(numbers, offsets, strict=True)])
    start = torch.from_numpy(pairs).float() / 255
    frames = checkpoint.model.synthesise(start, settings.frames, seed, settings.noise_scale)
    starts = pd.DataFrame({"clip": numbers, "frame": offsets})
    return (255 * frames).round().byte().numpy(), starts


def score_counting(
    checkpoint: Checkpoint,
    synthesised: NDArray[np.uint8],
    cycles: dict[str, Any],
    evaluation: dict[str, Any],
    seed: int,
    model_name: str,
    dataset: str,
) -> dict[str, Any]:
    """How well the sequences count, read by a classifier of images that no model is trained on."""
    from linear_video.evaluation.digit_reader import read, train_reader
    from linear_video.evaluation.synthesis import score_counting

    settings = DigitCyclesSettings(**cycles)
    apart, labels = labelled_pictures(settings, "test")
    others, other_labels = labelled_pictures(settings, "validation")
    reader = train_reader(apart, labels, seed)
    reading, _ = read(reader, others)
    scores = score_counting(*read(reader, synthesised), settings.period)
    accuracy = {"reader_accuracy": float((reading == other_labels).mean())}
    return _scores(
        checkpoint, model_name, dataset, evaluation, synthesised, {**scores, **accuracy, "cycle": settings.period}
    )


def score_textures(
    checkpoint: Checkpoint,
    synthesised: NDArray[np.uint8],
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
    model_name: str,
    dataset: str,
) -> dict[str, Any]:
    """Distances from held-out footage, and whether the sequences last."""
    from linear_video.evaluation.synthesis import score_texture

    clips = EvaluationSettings(**evaluation).chosen(validation_clips, test_clips)
    return _scores(
        checkpoint, model_name, dataset, evaluation, synthesised, score_texture(synthesised, np.asarray(clips.frames))
    )


def score_rotation(
    checkpoint: Checkpoint,
    synthesised: NDArray[np.uint8],
    starts: pd.DataFrame,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
    model_name: str,
    dataset: str,
) -> dict[str, Any]:
    """A full turn against the true views of the held-out configuration."""
    from linear_video.evaluation.synthesis import score_rotation

    frames = EvaluationSettings(**evaluation).chosen(validation_clips, test_clips).frames
    turn = frames.shape[1] - 1  # the last view of a clip is the first again
    if not np.array_equal(frames[:, 0], frames[:, -1]):
        raise InputError("rotation is scored on clips of one full turn and the first view again; set frames so.")
    views = np.stack(
        [np.roll(frames[c, :turn], -f, axis=0) for c, f in zip(starts["clip"], starts["frame"], strict=True)]
    )
    return _scores(checkpoint, model_name, dataset, evaluation, synthesised, score_rotation(synthesised, views))


def draw(
    checkpoint: Checkpoint,
    synthesised: NDArray[np.uint8],
    linear: NDArray[np.uint8],
    starts: pd.DataFrame,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: dict[str, Any],
    model_name: str,
    dataset: str,
) -> tuple[Any, Any, NDArray[np.uint8]]:
    """Film strip of truth, model and linear system, spectrum, and an animation of some sequences."""
    from linear_video.evaluation import figures

    frames = EvaluationSettings(**evaluation).chosen(validation_clips, test_clips).frames
    truth = [frames[c, f:] for c, f in zip(starts["clip"], starts["frame"], strict=True)]
    rows = {"truth": truth, model_name: list(synthesised)}
    if model_name != "lds":
        rows["lds"] = list(linear)
    spectrum = checkpoint.model.spectrum()
    return (
        figures.synthesis_strip(rows, f"{model_name} on {dataset}: sequences from held-out starts"),
        figures.spectrum_plot(*(values.numpy() for values in spectrum)),
        figures.synthesis_animation(rows),
    )


def _scores(
    checkpoint: Checkpoint,
    model_name: str,
    dataset: str,
    evaluation: dict[str, Any],
    synthesised: NDArray[np.uint8],
    scores: dict[str, Any],
) -> dict[str, Any]:
    """What the scores are about, the scores, and whether the system that was drawn from lasts."""
    model = checkpoint.model
    lasts = {"spectral_radius": float(model.spectrum().eigenvalues.abs().max())}
    if hasattr(model, "long_run_covariance"):
        covariance = model.long_run_covariance()
        lasts["stationarity_norm"] = float(model.stationarity_error().detach()) ** 0.5
        lasts["long_run_covariance_error"] = float(np.abs(covariance - np.eye(len(covariance))).max())
    held_out = EvaluationSettings(**evaluation).held_out
    sequences, frames, *shape = synthesised.shape
    facts = {"model": model_name, "dataset": dataset, "held_out": held_out, "n_sequences": sequences, "frames": frames}
    return {**facts, "frame_shape": shape, "synthesis": scores | lasts}

"""Every model on the same clips: scores frame by frame, with paired intervals against the last frame."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.evaluation.scores import Frames, confidence95, judge_as_openstl, judge_frames, sharpness

BASELINE = "last_frame"
OPENSTL = "openstl_"  # what the names of columns start with whose scores have OpenSTL's conventions


@dataclass(frozen=True)
class PredictionFacts:
    """The facts that are kept with the predictions of a model."""

    model: str
    dataset: str
    held_out: str
    clips: str  # fingerprint of the clips that were predicted
    parameters: int
    training_minutes: float
    bits_per_value: float | None
    frames_per_second: float
    commit: str
    checkpoint: str = ""  # SHA-256 of the model's config


def check_facts(facts: Mapping[str, Any], model: str, dataset: str) -> None:
    """Raise InputError unless the facts kept with the predictions of a model are complete."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(PredictionFacts).validate_json(json.dumps(facts), strict=True)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors())
        raise InputError(
            f"facts.json beside the predictions of {model} on {dataset} is incomplete or wrong ({wrong}); predict "
            f"again: kedro run --pipelines={model}.{dataset} --from-nodes={model}.{dataset}.predict"
        ) from error


def fingerprint(frames: NDArray[np.uint8]) -> str:
    """The shape and SHA-256 of clips (N, T, C, H, W), which tell them from others."""
    return f"{'x'.join(map(str, frames.shape))} {hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()}"


def compare(predictions: Mapping[str, Frames], context: Frames, truth: Frames, openstl: bool = False) -> pd.DataFrame:
    """Score the predictions of several models, all (N, horizon, C, H, W), after the last frame of the context.

    Returns a row for each model and predicted frame: means of ``psnr`` (dB), ``ssim`` and ``sharpness`` (dB), and of
    the clip-by-clip gains in PSNR and SSIM over the last frame. ``*_ci95`` are half-widths of their 95 % intervals.
    With ``openstl``, there are means of ``judge_as_openstl`` as well, in columns ``openstl_*``.
    """
    shown = {BASELINE: np.broadcast_to(context[:, -1:], truth.shape), **predictions}
    values = {name: dict(zip(("psnr", "ssim"), judge_frames(p, truth), strict=True)) for name, p in shown.items()}
    rows: list[dict[str, Any]] = []
    for name, of_model in values.items():
        columns = {}
        for metric, value in of_model.items():
            gain = value - values[BASELINE][metric]
            for label, quantity in ((metric, value), (f"{metric}_gain", gain)):
                columns[label], columns[f"{label}_ci95"] = quantity.mean(axis=0), confidence95(quantity)
        columns["sharpness"] = sharpness(shown[name], truth).mean(axis=0)
        if openstl:
            judged = judge_as_openstl(shown[name], truth)
            columns |= {f"{OPENSTL}{metric}": value.mean(axis=0) for metric, value in judged.items()}
        for k in range(truth.shape[1]):
            rows.append({"model": name, "frame": k + 1, **{label: float(value[k]) for label, value in columns.items()}})
    return pd.DataFrame(rows)

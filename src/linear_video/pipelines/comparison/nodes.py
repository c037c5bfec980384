"""All trained models of a dataset on the same held-out clips: scores, and a page to read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet
from linear_video.common.commit import git_commit
from linear_video.common.errors import InputError
from linear_video.evaluation.held_out import EvaluationSettings

# By the name of the model, a function that reads its predictions.
Predictions = dict[str, Callable[[], NDArray[np.float32]]]


def compare(
    predictions: Predictions,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
    dataset: str,
    **prediction_facts: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of every model that has predictions, with a row for each predicted frame; and facts about each model.

    ``prediction_facts`` are the facts of every model by name; they are empty for a model without predictions.

    Raises:
        InputError: if there are no models yet, or a model has predicted clips that differ from those held out now.
    """
    from linear_video.evaluation.comparison import check_facts, compare, fingerprint

    clips = evaluation.scored_frames(validation_clips, test_clips)
    facts = {model: of_model for model, of_model in prediction_facts.items() if of_model}
    if not facts:
        raise InputError(
            f"no model has been trained on {dataset} yet; start with "
            f"kedro run --pipelines={next(iter(prediction_facts))}.{dataset}"
        )
    for model, of_model in facts.items():
        check_facts(of_model, model, dataset)
    others = [model for model, of_model in facts.items() if of_model["clips"] != fingerprint(clips)]
    if others:
        again = " and ".join(f"kedro run --pipelines={model}.{dataset}" for model in others)
        raise InputError(
            f"{', '.join(others)} predicted other clips than the {evaluation.held_out} clips that {dataset} and the "
            f"parameter evaluation now stand for; scores would not compare. Run {again} again (with "
            f"--from-nodes={others[0]}.{dataset}.predict, if the training is still valid)."
        )
    context, truth = evaluation.context_and_truth(clips)
    shown = {model: predictions[model]() for model in facts}
    return compare(shown, context, truth, evaluation.openstl), pd.DataFrame(facts.values())


def report(
    scores: pd.DataFrame,
    facts: pd.DataFrame,
    predictions: Predictions,
    validation_clips: ClipSet,
    test_clips: ClipSet,
    evaluation: EvaluationSettings,
    dataset: str,
    models: list[str],
) -> tuple[str, str]:
    """The comparison as Markdown, and as an HTML page with curves and film strips."""
    from linear_video.evaluation import figures
    from linear_video.evaluation.comparison import BASELINE
    from linear_video.evaluation.report import markdown, metric_tables, models_table, openstl_tables, page
    from linear_video.evaluation.scores import score_frames

    clips = evaluation.scored_frames(validation_clips, test_clips)
    context, truth = evaluation.context_and_truth(clips)
    shown = {model: predictions[model]() for model in facts["model"]}
    several = len(clips) > 1
    means = "Means over the clips, with half-widths of 95 % intervals; gains are over the last frame, clip by clip."
    notes = [
        f"{len(clips)} {evaluation.held_out} clip{'s' * several} of {dataset}, {truth.shape[-1]}x{truth.shape[-2]} "
        f"pixels: every model may see the same {evaluation.context} frames and predicts the next {evaluation.horizon}. "
        + (means if several else "Gains are over the last frame. One clip tells nothing about the spread."),
        "All models learn from the same training clips; their training times are in the last table. "
        f"Compared at commit {git_commit()[:10]}.",
    ]
    missing = [model for model in models if model not in shown and model != BASELINE]
    if missing:
        commands = "; ".join(f"kedro run --pipelines={model}.{dataset}" for model in missing)
        notes.append(f"Not shown, since not trained yet: {', '.join(missing)}. To add: {commands}.")
    tables = [*metric_tables(scores).values(), *openstl_tables(scores), models_table(scores, facts)]
    by_model = {
        str(name): {str(column): values.to_numpy() for column, values in of_model.items()}
        for name, of_model in scores.groupby("model", sort=False)
    }
    curves = f"Scores of each predicted frame{', with 95 % intervals' * several}."
    pictures = {curves: figures.horizon_plot(by_model)}
    last = np.broadcast_to(context[:, -1:], truth.shape)
    psnr = np.mean([score_frames(p, truth)[0] for p in shown.values()], axis=0)
    numbers = evaluation.scored(len(evaluation.chosen(validation_clips, test_clips).frames))
    captions = figures.drawn_clips(psnr, numbers)
    few = list(captions)
    rows: dict[str, Any] = {**shown, BASELINE: last}
    strip = {model: frames[few] for model, frames in rows.items()}
    pictures["Clips by the mean PSNR of all models, and what each of these predicts."] = figures.comparison_strip(
        context[few], truth[few], strip, f"Models on {dataset}", list(captions.values())
    )
    title = f"Models compared on {dataset}"
    openstl = evaluation.openstl
    return markdown(title, notes, tables, openstl), page(title, notes, tables, pictures, openstl)
